"""Compare what was measured under two treatments with what is predicted from each alone: the numbers behind `synergy`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.stats import false_discovery_control, norm
from torch import Tensor

from .._progress import tqdm
from .._subsample import subsample
from ..engine.fit import FittedEdit
from ..engine.outcomes import EDIT_FAILED, check_values
from ..metrics import energy_distance, gap_closed
from ._combine import MAX_CELLS_FOR_AGREEMENT

MIN_SHARE_RECURRING = 0.5  # of an effect: below it, means are predicted better by leaving the effect out
ORDERS = (("b", "a"), ("a", "b"))  # effect and the cells it is applied to, those of the first treatment first


class Generalization(StrEnum):
    """Whether an effect on the control recurs in the cells of the other treatment."""

    HOLDS = "generalizes"
    FAILS = "does not generalize"
    UNDECIDED = "undecided"
    NO_EFFECT = "no effect"


@dataclass(frozen=True)
class MeanEstimates:
    """Means of all populations, ``(n_features,)``, and over resamples, ``(n_bootstrap, n_features)``, predicted ones too."""

    mean: Mapping[str, np.ndarray]
    resampled: Mapping[str, np.ndarray]
    sd: Mapping[str, np.ndarray]
    n: Mapping[str, int]
    closed: Sequence[float]

    @property
    def unit(self) -> np.ndarray:
        """Return the standard deviation under both treatments, at least half of what it is on average: margins are shares of it."""
        return np.maximum(self.sd["both"], np.mean(list(self.sd.values()), axis=0) / 2)


def estimate_means(
    cells: Mapping[Any, Tensor],
    fitted: Mapping[tuple[Any, Any], FittedEdit],
    roles: Mapping[str, Any],
    n_bootstrap: int,
    generator: np.random.Generator,
    progress_bar: bool,
) -> MeanEstimates:
    """Predict both orders, and again on resamples of every population."""
    # measured
    role_of = {name: role for role, name in roles.items()}
    measured = {role: cells[name].cpu().double().numpy() for role, name in roles.items()}
    mean = {role: x.mean(0) for role, x in measured.items()}

    # predicted
    closed = []
    for (given, effect), edit in fitted.items():
        moved = edit.cell_maps[0](cells[given])
        check_values(moved, f"values after the effect of {effect} on {given}", EDIT_FAILED, edit.features)
        predicted = moved.cpu().double().numpy()
        mean[f"{role_of[effect]} on {role_of[given]}"] = predicted.mean(0)
        populations = (measured[role_of[given]], measured["both"], predicted)
        few = [x[subsample(len(x), MAX_CELLS_FOR_AGREEMENT)] for x in populations]
        closed.append(gap_closed(energy_distance, *few, n_splits=20))

    # both on resamples
    resampled: dict[str, list[np.ndarray]] = {name: [] for name in mean}
    for _ in tqdm(range(n_bootstrap), unit="resample", disable=not progress_bar):
        rows = {role: generator.integers(len(x), size=len(x)) for role, x in measured.items()}
        for role, x in measured.items():
            resampled[role].append(x[rows[role]].mean(0))
        for (given, effect), edit in fitted.items():
            fit = edit.fits[0]
            cell_map = fit.refit(fit.populations.subset(rows["control"], rows[role_of[effect]]))
            moved = cell_map(cells[given][torch.from_numpy(rows[role_of[given]])])
            resampled[f"{role_of[effect]} on {role_of[given]}"].append(moved.cpu().double().numpy().mean(0))
    sd = {role: x.std(0, ddof=1) for role, x in measured.items()}
    n = {role: len(x) for role, x in measured.items()}
    return MeanEstimates(mean, {name: np.array(x) for name, x in resampled.items()}, sd, n, closed)


def find_departures(means: MeanEstimates, names: Sequence[str], margin: float, fdr: float) -> pd.DataFrame:
    """Compare the measured mean of each feature with the predicted one."""
    mean, (first, second) = means.mean, ("b on a", "a on b")
    predicted = (mean[first] + mean[second]) / 2
    noise = (means.resampled[first] + means.resampled[second]).std(0, ddof=1) / 2
    between_orders = (mean[first] - mean[second]) / 2
    from_sum = predicted - (mean["a"] + mean["b"] - mean["control"])
    difference = mean["both"] - predicted
    se = np.sqrt(noise**2 + means.sd["both"] ** 2 / means.n["both"] + between_orders**2 + from_sum**2)
    sd = means.unit
    p_value = p_value_beyond(difference, se, margin * sd)
    q_value = false_discovery_control(p_value)
    columns = {"effect_a": mean["a"] - mean["control"], "effect_b": mean["b"] - mean["control"]}
    columns |= {"predicted": predicted, "measured": mean["both"], "difference": difference, "se": se}
    columns |= {"low": difference - 1.96 * se, "high": difference + 1.96 * se, "sd": sd}
    columns |= {"p_value": p_value, "q_value": q_value, "departs": q_value <= fdr}
    return pd.DataFrame(columns, index=list(names))


def p_value_beyond(difference: np.ndarray, se: np.ndarray, margin: np.ndarray) -> np.ndarray:
    """Return the p-value that a difference is at most ``margin`` in size, either way; 1 where nothing varies."""
    safe = np.where(se > 0, se, 1.0)
    p_value = norm.sf((np.abs(difference) - margin) / safe) + norm.sf((np.abs(difference) + margin) / safe)
    return np.where(se > 0, np.minimum(p_value, 1.0), np.where(np.abs(difference) > margin, 0.0, 1.0))


def measure_generalization(means: MeanEstimates, roles: Mapping[str, Any], margin: float, fdr: float) -> pd.DataFrame:
    """Return how much of each effect recurs in the cells of the other treatment, over the features that it changes."""
    rows = {}
    for (effect, given), closed in zip(ORDERS, means.closed, strict=True):
        change = means.mean[effect] - means.mean["control"]
        se = np.sqrt(sum(means.sd[role] ** 2 / means.n[role] for role in (effect, "control")))
        is_changed = false_discovery_control(p_value_beyond(change, se, margin * means.unit)) <= fdr
        recurs = low = high = np.nan
        verdict = Generalization.NO_EFFECT
        if is_changed.any():
            recurs = float(_share_recurring(means.mean, effect, given, means.unit, is_changed))
            shares = _share_recurring(means.resampled, effect, given, means.unit, is_changed)  # (n_bootstrap,)
            low, high = np.quantile(shares, [0.025, 0.975])
            verdict = Generalization.FAILS if high < 1 else Generalization.UNDECIDED
            verdict = Generalization.HOLDS if recurs >= MIN_SHARE_RECURRING else verdict
        names = {"effect": str(roles[effect]), "given": str(roles[given])}
        row = {"recurs": recurs, "low": low, "high": high, "gap_closed": closed, "n_features": int(is_changed.sum())}
        rows[f"{names['effect']} on {names['given']}"] = names | row | {"verdict": str(verdict)}
    return pd.DataFrame.from_dict(rows, orient="index")


def _share_recurring(
    means: Mapping[str, np.ndarray], effect: str, given: str, unit: np.ndarray, is_changed: np.ndarray
) -> Any:
    """Return the share of an effect that recurs, over the features it changes: the slope of the one on the other."""
    alone = ((means[effect] - means["control"]) / unit)[..., is_changed]
    with_other = ((means["both"] - means[given]) / unit)[..., is_changed]
    return (alone * with_other).sum(-1) / (alone**2).sum(-1)
