"""Hold what was measured under two treatments against what each alone lets expect: the numbers behind `synergy`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.stats import false_discovery_control, norm
from torch import Tensor
from tqdm.auto import tqdm

from ..metrics import energy_distance, gap_closed
from ._carry import Lesson
from ._combine import some_of

RECURS = 0.5
"""Share of an effect that must recur: below it, means are predicted better by leaving the effect out."""


@dataclass(frozen=True)
class Found:
    """Means of all populations (``(n_features,)`` each) and over resamples (``(n_resamples, n_features)``), predicted ones too."""

    mean: Mapping[str, np.ndarray]
    drawn: Mapping[str, np.ndarray]
    sd: Mapping[str, np.ndarray]
    n: Mapping[str, int]
    closed: Sequence[float]

    @property
    def unit(self) -> np.ndarray:
        """Return the standard deviation under both treatments, at least half of what it is on average: what margins are shares of."""
        return np.maximum(self.sd["both"], np.mean(list(self.sd.values()), axis=0) / 2)


def measure(
    cells: Mapping[Any, Tensor],
    lessons: Sequence[Lesson],
    control: Any,
    both_ways: Sequence[tuple[Any, Any]],
    measured: Any,
    n_resamples: int,
    generator: np.random.Generator,
    progress_bar: bool,
) -> Found:
    """Predict both orders, and again on resamples of every population."""
    (a, b), _ = both_ways
    roles = {"control": control, "a": a, "b": b, "both": measured}
    of = {name: role for role, name in roles.items()}
    numpy = {role: cells[name].cpu().double().numpy() for role, name in roles.items()}
    mean = {role: x.mean(0) for role, x in numpy.items()}
    closed = []
    for lesson, (given, effect) in zip(lessons, both_ways, strict=True):
        predicted = lesson.carriers[0](cells[given]).cpu().double().numpy()
        mean[f"{of[effect]} on {of[given]}"] = predicted.mean(0)
        few = (x[some_of(len(x))] for x in (numpy[of[given]], numpy["both"], predicted))
        closed.append(gap_closed(energy_distance, *few, n_splits=20))
    drawn: dict[str, list[np.ndarray]] = {name: [] for name in mean}
    for _ in tqdm(range(n_resamples), unit="resample", disable=not progress_bar):
        rows = {role: generator.integers(len(x), size=len(x)) for role, x in numpy.items()}
        for role, x in numpy.items():
            drawn[role].append(x[rows[role]].mean(0))
        for lesson, (given, effect) in zip(lessons, both_ways, strict=True):
            one = lesson.learnt[0]
            carrier = one.again(one.pair.only(rows["control"], rows[of[effect]]))
            moved = carrier(cells[given][torch.from_numpy(rows[of[given]])])
            drawn[f"{of[effect]} on {of[given]}"].append(moved.cpu().double().numpy().mean(0))
    sd = {role: x.std(0, ddof=1) for role, x in numpy.items()}
    return Found(mean, {k: np.array(v) for k, v in drawn.items()}, sd, {k: len(x) for k, x in numpy.items()}, closed)


def departures(found: Found, names: Sequence[str], margin: float, fdr: float) -> pd.DataFrame:
    """Hold the measured mean of each feature against the predicted one."""
    mean, orders = found.mean, ("b on a", "a on b")
    predicted = (mean[orders[0]] + mean[orders[1]]) / 2
    noise = (found.drawn[orders[0]] + found.drawn[orders[1]]).std(0, ddof=1) / 2
    apart = (mean[orders[0]] - mean[orders[1]]) / 2
    bent = predicted - (mean["a"] + mean["b"] - mean["control"])
    difference = mean["both"] - predicted
    se = np.sqrt(noise**2 + found.sd["both"] ** 2 / found.n["both"] + apart**2 + bent**2)
    sd = found.unit
    p_value = beyond(difference, se, margin * sd)
    q_value = false_discovery_control(p_value)
    columns = {"effect_a": mean["a"] - mean["control"], "effect_b": mean["b"] - mean["control"]}
    columns |= {"predicted": predicted, "measured": mean["both"], "difference": difference, "se": se}
    columns |= {"low": difference - 1.96 * se, "high": difference + 1.96 * se, "sd": sd}
    return pd.DataFrame(
        columns | {"p_value": p_value, "q_value": q_value, "departs": q_value <= fdr}, index=list(names)
    )


def beyond(difference: np.ndarray, se: np.ndarray, margin: np.ndarray) -> np.ndarray:
    """Return the p-value that a difference is at most ``margin`` in size, either way; 1 where nothing varies."""
    safe = np.where(se > 0, se, 1.0)
    p_value = norm.sf((np.abs(difference) - margin) / safe) + norm.sf((np.abs(difference) + margin) / safe)
    return np.where(se > 0, np.minimum(p_value, 1.0), np.where(np.abs(difference) > margin, 0.0, 1.0))


def carries_over(found: Found, both_ways: Sequence[tuple[Any, Any]], margin: float, fdr: float) -> pd.DataFrame:
    """Say how much of each effect recurs in the cells of the other treatment, over the features that it changes."""
    rows = {}
    names = {"a": both_ways[0][0], "b": both_ways[0][1]}
    sd = found.unit
    for (effect, given), closed in zip((("b", "a"), ("a", "b")), found.closed, strict=True):
        change = found.mean[effect] - found.mean["control"]
        se = np.sqrt(sum(found.sd[role] ** 2 / found.n[role] for role in (effect, "control")))
        changed = false_discovery_control(beyond(change, se, margin * sd)) <= fdr

        def share(
            means: Mapping[str, np.ndarray], effect: str = effect, given: str = given, on: np.ndarray = changed
        ) -> Any:
            alone = ((means[effect] - means["control"]) / sd)[..., on]
            again = ((means["both"] - means[given]) / sd)[..., on]
            return (alone * again).sum(-1) / (alone**2).sum(-1)

        recurs = low = high = np.nan
        if changed.any():
            recurs, (low, high) = float(share(found.mean)), np.quantile(share(found.drawn), [0.025, 0.975])
        says = "no effect in the control"
        if changed.any():
            says = "carries over" if recurs >= RECURS else "does not carry over" if high < 1 else "cannot be told"
        row = {"recurs": recurs, "low": low, "high": high, "gap_closed": closed, "n_features": int(changed.sum())}
        rows[f"{names[effect]} on {names[given]}"] = row | {"says": says}
    return pd.DataFrame(rows).T.astype(
        {"recurs": float, "low": float, "high": float, "gap_closed": float, "n_features": int, "says": str}
    )
