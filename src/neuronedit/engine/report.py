"""What an edit did: in numbers for each feature, and in words."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..ensemble import Ensemble, FoldKind
from .alarms import Alarm, AlarmKind, say_alarms, sort_alarms

if TYPE_CHECKING:
    from .fit import FittedEdit

# when the verdict mentions or counts what
TOLERANCE = 0.1  # of the query's standard deviation: a mean that moves by less is not held against an edit
TOLERATED_ERRORS = 2.0  # standard errors, if these are more
MIN_COVERAGE = 0.9  # share of the query that resembles held-out cells, below which the verdict says so
MIN_FOLD_WEIGHT = 0.01  # from which a fold is counted
MAX_SHARE_OUTSIDE = 0.2  # of query cells outside the source, above which the verdict is a warning
MAX_FEATURES_NAMED = 5  # in a sentence


@dataclass(frozen=True)
class EditSummary:
    """What was done to the cells of a query: how many, their means and spread before, their means after, ``(n_features,)``."""

    n_cells: int
    n_clipped: int
    mean_before: np.ndarray
    sd_before: np.ndarray
    mean_after: np.ndarray
    share_outside: float

    def merge(self, more: "EditSummary") -> "EditSummary":
        """Return what was done to these cells and more of them."""
        n_cells = self.n_cells + more.n_cells
        share = more.n_cells / n_cells
        mean_before, mean_after, share_outside = (
            getattr(self, name) + share * (getattr(more, name) - getattr(self, name))
            for name in ("mean_before", "mean_after", "share_outside")
        )
        squares = [part.sd_before**2 + part.mean_before**2 for part in (self, more)]
        variance = squares[0] + share * (squares[1] - squares[0]) - mean_before**2
        sd_before = np.sqrt(np.maximum(variance, 0))
        n_clipped = self.n_clipped + more.n_clipped
        return EditSummary(n_cells, n_clipped, mean_before, sd_before, mean_after, share_outside)


def feature_table(names: Sequence[str], fitted: "FittedEdit", summary: EditSummary) -> pd.DataFrame:
    """Return what the controls and the edit did to the mean of each feature, and how far to trust it."""
    change = summary.mean_after - summary.mean_before
    # two standard errors, of the observed change and of the query's mean, and a tenth of the standard deviation at least
    error = np.hypot(fitted.observed_error, summary.sd_before / np.sqrt(max(summary.n_cells, 1)))
    allowed = np.maximum(TOLERANCE * summary.sd_before, TOLERATED_ERRORS * error)
    is_within = change <= np.maximum(fitted.observed_change, 0) + allowed
    is_within &= change >= np.minimum(fitted.observed_change, 0) - allowed
    columns = {
        "observed_change": fitted.observed_change,
        "observed_error": np.asarray(fitted.observed_error, dtype=np.float32),
        "change": change,
        "beyond_observed": ~is_within,
        "mean": summary.mean_after,
        "mean_error": fitted.held_out_error,
        "held_out_error": fitted.held_out_error,
        "wrong_direction": fitted.wrong_direction,
    }
    return pd.DataFrame(columns, index=pd.Index(names))


def combine_errors(held_out_error: np.ndarray, bootstrap_error: np.ndarray) -> np.ndarray:
    """Return the standard error of each mean from what was missed in held-out folds and from the bootstrap."""
    both = np.sqrt(held_out_error**2 + np.nan_to_num(bootstrap_error) ** 2)
    return np.where(np.isnan(held_out_error), bootstrap_error, both)


def write_verdict(summary: str, features: pd.DataFrame, edited: EditSummary, alarms: Sequence[Alarm] = ()) -> str:
    """Say what is wrong first, then what an edit was fitted to, what to expect of it, and what to look at."""
    sentences = [text for text in (say_alarms(alarms), summary) if text]
    if not any(alarm.kind is AlarmKind.OUTSIDE for alarm in alarms):
        sentences.append(f"{edited.share_outside:.0%} of {edited.n_cells:,} query cells lie outside the source.")
    warnings = {
        "wrong_direction": "moved in the wrong direction in most held-out folds",
        "beyond_observed": "moved further than source and target show, or in the opposite direction",
    }
    size = (features["change"] - features["observed_change"]).abs()
    for column, text in warnings.items():
        effect = features["held_out_error"].abs() if column == "wrong_direction" else size
        names = effect[features[column]].sort_values(ascending=False, kind="stable").index
        if len(names):
            sentences.append(f"{len(names)} feature{'s' * (len(names) > 1)} {text}: {list_names(names)}.")
    return " ".join(sentences)


def find_alarms(fitted: "FittedEdit", summary: EditSummary, known: Sequence[Alarm] = ()) -> list[Alarm]:
    """Return what may be wrong with an edit and with the cells that it was applied to; ``known`` are found already."""
    return sort_alarms([*known, *fitted.alarms, *check_outside(fitted, summary), *check_general(fitted)])


def check_outside(fitted: "FittedEdit", summary: EditSummary, batch: str = "") -> list[Alarm]:
    """Say that many cells lie outside the source, and what that does to the expectation."""
    if summary.share_outside <= MAX_SHARE_OUTSIDE:
        return []
    text = f"{summary.share_outside:.0%} of {summary.n_cells:,} query cells lie outside the source: there the edit extrapolates."
    ensemble = fitted.ensemble
    if ensemble is not None and ensemble.folds:
        if ensemble.familiarity < 1:
            text += f" They lie further out than any held-out fold, so the expected share is {1 - ensemble.familiarity:.0%} lower."
        elif ensemble.fold_kind is FoldKind.STRATA:
            text += " So did the held-out folds: the expected share allows for it."
    return [Alarm(AlarmKind.OUTSIDE, text, batch)]


def check_general(fitted: "FittedEdit", batch: str = "") -> list[Alarm]:
    """Say that an ensemble is not expected to close anything."""
    ensemble = fitted.ensemble
    if ensemble is None or not ensemble.folds or ensemble.expected_low > 0:
        return []
    left_alone = dict(zip(ensemble.candidates, ensemble.weights, strict=True)).get("identity", 0.0)
    moved = ensemble.strength * (1 - left_alone)
    text = "Nothing shows that the change generalizes from fold to fold"
    return [
        Alarm(
            AlarmKind.NOT_GENERAL,
            f"{text}. Cells were moved by {moved:.0%} of it, and may be better left alone.",
            batch,
        )
    ]


def list_names(names: Any, max_named: int = MAX_FEATURES_NAMED) -> str:
    """List names for a sentence, the first few of them."""
    return ", ".join(map(str, names[:max_named])) + (", …" if len(names) > max_named else "")


def summarize_ensemble(ensemble: Ensemble | None, strata: str | None) -> str:
    """Say what an ensemble was cross-validated on and what to expect of it; nothing where there is none."""
    if ensemble is None:
        return ""
    if ensemble.fold_kind is FoldKind.NONE:
        return "Source and target are too small for cross-validation. A fixed average of edits was taken; its error is not known."
    n_folds = int((ensemble.fold_weights >= MIN_FOLD_WEIGHT).sum())
    folds = f"{n_folds} strata of {strata!r}"
    if ensemble.fold_kind is FoldKind.DERIVED:
        too_few = "" if strata is None else f" (too few cells in those of {strata!r})"
        folds = f"{n_folds} matched populations and halves of the cells{too_few}"
    interval = f"{ensemble.expected_low:.2f} to {ensemble.expected_high:.2f} in 4 of 5 cases"
    text = f"Cross-validated over {folds}: expected to close {ensemble.expected:.2f} of the distance to the truth ({interval})"
    if ensemble.coverage < MIN_COVERAGE:
        text += f". Only {ensemble.coverage:.0%} of the query resembles them, so {ensemble.strength:.0%} of the edit was applied"
    if ensemble.fold_kind is FoldKind.DERIVED:
        text += ". Without labels it is not known whether cells unlike the source respond alike"
    return f"{text}."


def ensemble_to_uns(ensemble: Ensemble) -> dict[str, Any]:
    """Return what ``uns`` keeps of an ensemble."""
    names = ("candidates", "weights", "prior", "strength", "folds", "fold_weights", "scores", "ensemble_scores")
    expected = ("expected", "expected_se", "expected_low", "expected_high", "coverage", "familiarity")
    values = {name: getattr(ensemble, name) for name in (*names, *expected)}
    if ensemble.matching is not None:
        found = ("total_variation", "chance_variation", "explained", "differs")
        composition = {name: float(getattr(ensemble.matching, name)) for name in found}
        values["composition"] = composition | {"query_variation": ensemble.query_variation}
    values = {name: np.array(x, dtype=str) if isinstance(x, list) else x for name, x in values.items()}
    return values | {"fold_kind": str(ensemble.fold_kind)}
