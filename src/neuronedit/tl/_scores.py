"""Score predictions by metrics: values, intervals by the bootstrap, and where they are between a baseline and a replicate."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from .._metric_table import describe_metric
from .._slots import ALL_STRATA, WHOLE
from ..metrics import AGREEMENTS, CHANGES, CHECKS, METRICS
from ..metrics._gap import noise_floor, share_closed

CellsByRole = Mapping[str, np.ndarray]  # of source, target, query and, where it is known, truth
Measure = Callable[..., float]

ALL_METRICS: dict[str, Measure] = METRICS | AGREEMENTS | CHANGES | CHECKS
MAX_CELLS_IN_SAMPLE = 500  # of a population in one bootstrap sample; the intervals are scaled for it
MAX_CELLS_COUNTED = 5_000  # of a population for an interval: distances between all pairs are taken of so many
N_REPLICATES = 5  # splits of the truth into halves, of which one is scored as a prediction of the other
SCORES = ("value", "low", "high", "scaled", "scaled_low", "scaled_high", "baseline", "replicate", "distance")
COVERAGE = 0.95  # of intervals


def draw_samples(cells: CellsByRole, n_bootstrap: int, rng: int) -> list[dict[str, Any]]:
    """Return the populations, and bootstrap samples of them; ``"rows"`` are those of the query."""
    generator = np.random.default_rng(rng)
    samples = [{**cells, "rows": np.arange(len(cells["query"]))}]
    for _ in range(n_bootstrap):
        drawn = {role: generator.integers(len(x), size=min(len(x), MAX_CELLS_IN_SAMPLE)) for role, x in cells.items()}
        samples.append({role: cells[role][rows] for role, rows in drawn.items()} | {"rows": drawn["query"]})
    return samples


@dataclass
class Scorer:
    """One metric on the populations and on bootstrap samples of them; what does not depend on predictions is computed once."""

    metric: str
    measure: Measure
    samples: list[dict[str, Any]]
    baseline: np.ndarray | None  # a prediction: its score is 0 when scaled
    gaps: list[float] = field(init=False)
    floor: float = field(init=False)
    ends: tuple[float, float] = field(init=False)

    def __post_init__(self) -> None:
        """Measure how far the query is from the truth, and score the baseline and the replicates."""
        self.gaps, self.floor = [np.nan] * len(self.samples), np.nan
        if self.is_distance:
            self.gaps = [self.measure(sample["query"], sample["truth"]) for sample in self.samples]
            self.floor = noise_floor(self.measure, self.samples[0]["query"], self.samples[0]["truth"])
        zero = np.nan if self.baseline is None else self._score(0, self.baseline)[0]
        if self.baseline is not None and not self.is_distance:
            zero = float(np.nan_to_num(zero))  # no change at all has no correlation with one
        self.ends = float(rate(zero, self.is_distance)), float(rate(self._score_replicates(), self.is_distance))

    @property
    def is_distance(self) -> bool:
        """Whether it is a distance between prediction and truth, as functions of the caller are."""
        return not any(self.measure in table.values() for table in (AGREEMENTS, CHANGES, CHECKS))

    def score(self, predicted: np.ndarray | None) -> dict[str, float]:
        """Return the score of a prediction, its interval, both between baseline and replicate, and the distance.

        With cells drawn twice distances are too large and correlations too small, so the bootstrap tells the spread alone.
        """
        if predicted is None:
            return dict.fromkeys(SCORES, np.nan) | {"baseline": self.ends[0], "replicate": self.ends[1]}
        scored = [self._score(i, predicted[sample["rows"]]) for i, sample in enumerate(self.samples)]
        (value, distance), *others = scored
        drawn = np.array([other for other, _ in others])
        sizes = [min(len(x), MAX_CELLS_COUNTED) for x in self.samples[0].values()]
        spread = np.sqrt(max(min(n, MAX_CELLS_IN_SAMPLE) / n for n in sizes))
        limits = find_limits(self.metric, self.is_distance)
        found: dict[str, float] = {}
        for name, centre, of_samples, limits_of_score in (
            ("value", value, drawn, limits),
            ("scaled", float(self._scale(value)), self._scale(drawn), self._scale(limits)),
        ):
            low = high = np.nan
            if len(of_samples) and np.isfinite(of_samples).all():
                ends = centre + spread * (np.quantile(of_samples, [0.025, 0.975]) - of_samples.mean())
                low, high = keep_within(ends, centre, limits_of_score)
            found |= dict(zip([name, *list_ends(name)], (centre, low, high), strict=True))
        return found | {"baseline": self.ends[0], "replicate": self.ends[1], "distance": distance}

    def _score(self, i: int, predicted: np.ndarray) -> tuple[float, float]:
        """Return the score of a prediction of one sample and, of a distance to the truth, the distance."""
        sample = self.samples[i]
        if self.is_distance:
            distance = self.measure(predicted, sample["truth"])
            return share_closed(self.gaps[i], self.floor, distance), distance
        return self._compare(sample, sample.get("truth"), predicted), np.nan

    def _compare(self, sample: Mapping[str, Any], truth: Any, predicted: np.ndarray) -> float:
        """Return what a metric that is no distance says."""
        if self.measure in AGREEMENTS.values():
            return self.measure(predicted, truth)
        if self.measure in CHANGES.values():
            return self.measure(sample["query"], truth, predicted)
        return self.measure(sample["source"], sample["target"], sample["query"], predicted)

    def _score_replicates(self) -> float:
        """Return the mean score of halves of the truth as predictions of the other halves; of a distance it is 1 by definition."""
        cells = self.samples[0]
        if "truth" not in cells:
            return np.nan
        if self.is_distance:
            return 1.0
        generator, scores = np.random.default_rng(0), []
        for _ in range(N_REPLICATES):
            rows = np.array_split(generator.permutation(len(cells["truth"])), 2)
            half, other = (cells["truth"][half] for half in rows)
            scores.append(self._compare(cells, other, half))
        return float(np.mean(scores))

    def _scale(self, value: Any) -> Any:
        """Return scores as shares of the way from the baseline to the replicate; NaN where the replicate is not better."""
        return scale_rated(rate(value, self.is_distance), *self.ends)


def scale_rated(rated: Any, zero: float, one: float) -> Any:
    """Return rated scores as shares of the way from ``zero`` to ``one``; NaN where one is not more."""
    return (rated - zero) / (one - zero) if one > zero else np.full(np.shape(rated), np.nan)


def find_limits(metric: str, is_distance: bool) -> np.ndarray:
    """Return the least score of a metric, the best one, which is 1, and the largest one."""
    row = describe_metric(metric)
    return np.array([-np.inf, 1.0, np.inf] if is_distance else [row.least, 1.0, row.largest])


def keep_within(interval: Any, value: float, limits: np.ndarray) -> np.ndarray:
    """Return the ends of an interval, not beyond the limits of a score; the value, which rounding may put there, stays in it."""
    return np.clip(interval, min(limits.min(), value), max(limits.max(), value))


def rate(value: Any, is_distance: Any) -> Any:
    """Return a score of which more is better: what may be above 1, as a ratio of variances, counts by how far it is from 1."""
    return np.where(is_distance, value, 1 - np.abs(1 - value))


def list_ends(name: str) -> list[str]:
    """Return the columns of an interval."""
    return ["low", "high"] if name == "value" else [f"{name}_low", f"{name}_high"]


def add_means(table: pd.DataFrame) -> pd.DataFrame:
    """Add rows of the means over the strata that were held out; their intervals are over strata, by Student's t.

    What lies between baseline and replicate is averaged before it is divided by, so that a stratum where they hardly differ does not outweigh the others.
    """
    keys = ["method", "seed", "metric"]
    rows = []
    for names, group in table.groupby(keys, sort=False):
        row: dict[str, Any] = dict(zip(keys, names, strict=True)) | {"held_out": ALL_STRATA}
        zero, one = group["baseline"].mean(skipna=False), group["replicate"].mean(skipna=False)
        is_distance = bool(group["distance"].notna().any())
        gains = rate(group["value"], group["distance"].notna()) - group["baseline"].to_numpy()
        scaled = scale_rated(gains, 0.0, one - zero)
        limits = find_limits(names[-1], is_distance)
        scaled_limits = scale_rated(rate(limits, is_distance), zero, one)
        for name, values, limits_of_score in (
            ("value", group["value"].to_numpy(), limits),
            ("scaled", scaled, scaled_limits),
        ):
            row |= dict(zip([name, *list_ends(name)], _find_interval(values, limits_of_score), strict=True))
        errors = [error for error in group["error"] if error]
        error = f"in {len(errors)} of {len(group)} strata: {errors[0]}" if errors else ""
        row |= {"baseline": zero, "replicate": one, "distance": group["distance"].mean()}
        rows.append(row | {"seconds": group["seconds"].sum(), "error": error})
    return pd.concat([table, pd.DataFrame(rows)], ignore_index=True)


def _find_interval(values: np.ndarray, limits: np.ndarray) -> tuple[float, float, float]:
    """Return the mean and its interval; NaN where a value is missing, so that no stratum is left out unseen."""
    mean = float(values.mean())
    half = stats.t.ppf((1 + COVERAGE) / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    low, high = keep_within([mean - half, mean + half], mean, limits)
    return mean, low, high


def sort_methods(table: pd.DataFrame, metrics: list[str]) -> pd.DataFrame:
    """Sort the methods by how far they are from 1 in the first metric, the failed ones last."""
    first = table[(table["metric"] == metrics[0]) & table["held_out"].isin(WHOLE)]
    order = (1 - first.groupby("method", sort=False)["value"].mean()).abs().sort_values(kind="stable").index
    table["method"] = pd.Categorical(table["method"], categories=order, ordered=True)
    table["metric"] = pd.Categorical(table["metric"], categories=metrics, ordered=True)
    table["held_out"] = pd.Categorical(table["held_out"], categories=table["held_out"].unique())
    return table.sort_values(["method", "seed", "metric", "held_out"], ignore_index=True)
