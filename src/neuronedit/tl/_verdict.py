"""What an edit did, in numbers for each feature and in words."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..ensemble import Ensemble

TOLERANCE = 0.1
"""Movements of a mean below this share of the query's standard deviation are not held against an edit."""


TESTED = 0.9
"""Share of the query that resembles what was held out, below which the verdict says so."""


COUNTED = 0.01
"""Weight of a held-out part from which it is counted."""


@dataclass(frozen=True)
class Carried:
    """What was done to the cells of a query: how many, their means and spread before, their means after."""

    n_cells: int
    n_clipped: int
    before: np.ndarray
    sd: np.ndarray
    after: np.ndarray
    outside: float

    def and_then(self, more: "Carried") -> "Carried":
        """Return what was done to these cells and more of them."""
        n = self.n_cells + more.n_cells
        share = more.n_cells / n
        before, after, outside = (
            getattr(self, name) + share * (getattr(more, name) - getattr(self, name))
            for name in ("before", "after", "outside")
        )
        squares = [part.sd**2 + part.before**2 for part in (self, more)]
        variance = squares[0] + share * (squares[1] - squares[0]) - before**2
        return Carried(n, self.n_clipped + more.n_clipped, before, np.sqrt(np.maximum(variance, 0)), after, outside)


def per_feature(
    names: pd.Index,
    control_change: np.ndarray,
    carried: Carried,
    missed: np.ndarray,
    wrong: np.ndarray,
    se: np.ndarray | float = np.nan,
) -> pd.DataFrame:
    """Return what the controls and the edit did to the mean of each feature, and how far to trust it.

    ``missed`` and ``wrong`` are from held-out parts (NaN: none), ``se`` is the standard error of the edited mean over
    resamples of the pair.
    """
    applied, allowed = carried.after - carried.before, TOLERANCE * carried.sd
    beyond = (applied > np.maximum(control_change, 0) + allowed) | (applied < np.minimum(control_change, 0) - allowed)
    table = pd.DataFrame({"control_change": control_change, "change": applied, "beyond_controls": beyond}, index=names)
    table["mean"] = carried.after
    table["mean_error"] = np.where(np.isnan(missed), se, np.sqrt(missed**2 + np.nan_to_num(se) ** 2))
    table["wrong_on_held_out"] = wrong
    return table


def in_words(said: str, features: pd.DataFrame, carried: Carried) -> str:
    """Say what an edit was learnt from, what to expect of it, and what to look at."""
    sentences = [said] if said else []
    sentences.append(f"{carried.outside:.0%} of {carried.n_cells:,} query cells lie outside the source.")
    if features["wrong_on_held_out"].any():
        sentences.append(_features(features, "wrong_on_held_out", "moved the wrong way on most of what was held out"))
    if features["beyond_controls"].any():
        sentences.append(_features(features, "beyond_controls", "moved beyond, or against, what the controls show"))
    return " ".join(sentences)


def said_of(selected: Ensemble | None, strata: str | None) -> str:
    """Say what was chosen, learnt on what, and what to expect of it; nothing where nothing was chosen."""
    if selected is None:
        return ""
    if selected.how == "fixed":
        return "The pair is too small to hold out a part of it: a fixed combination was taken, and nothing says how good it is."
    n = int((selected.part_weights >= COUNTED).sum())
    unusable = f" (too few cells in those of {strata!r})" if strata is not None and selected.how == "derived" else ""
    learnt = (
        f"Learnt on {n} strata of {strata!r}" if selected.how == "strata" else f"Learnt on {n} derived strata{unusable}"
    )
    if selected.strength == 0:
        return f"{learnt}: nothing carries over from one to another, so the cells were left alone."
    said = f"{learnt}, expected to close {selected.expected:.2f} ± {selected.expected_se:.2f} of the gap"
    if selected.tested < TESTED:
        said += f" in cells like those; only {selected.tested:.0%} of the query resembles them"
    return f"{said}." if selected.strength == 1 else f"{said}; strength {selected.strength:.2g}."


def _features(features: pd.DataFrame, column: str, what: str) -> str:
    names = features.index[features[column]]
    shown = ", ".join(map(str, names[:5])) + (", …" if len(names) > 5 else "")
    return f"{len(names)} feature{'s' * (len(names) > 1)} {what}: {shown}."
