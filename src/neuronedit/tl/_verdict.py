"""What an edit did, in numbers for each feature and in words."""

import numpy as np
import pandas as pd

from ..selection import Selected

TOLERANCE = 0.1
"""Movements of a mean below this share of the query's standard deviation are not held against an edit."""


TESTED = 0.9
"""Share of the query that resembles what was held out, below which the verdict says so."""


COUNTED = 0.01
"""Weight of a held-out part from which it is counted."""


def per_feature(
    names: pd.Index, means: dict[str, np.ndarray], sd: np.ndarray, selected: Selected | None, se: np.ndarray
) -> pd.DataFrame:
    """Return what the controls and the edit did to the mean of each feature, and how far to trust it.

    ``means`` are those of source, target, query and edited cells, ``sd`` is the query's standard deviation and ``se`` the
    standard error of the edited mean over resamples of the pair.
    """
    shown, applied = means["target"] - means["source"], means["edited"] - means["query"]
    allowed = TOLERANCE * sd
    beyond = (applied > np.maximum(shown, 0) + allowed) | (applied < np.minimum(shown, 0) - allowed)
    table = pd.DataFrame({"control_change": shown, "change": applied, "beyond_controls": beyond}, index=names)
    table["mean"] = means["edited"]
    if selected is not None and len(selected.parts):
        missed = np.sqrt(selected.part_weights @ selected.errors**2)
        table["mean_error"] = np.sqrt(missed**2 + np.nan_to_num(se) ** 2)
        table["wrong_on_held_out"] = selected.wrong
    else:
        table["mean_error"], table["wrong_on_held_out"] = se, False
    return table


def in_words(
    selected: Selected | None, strata: str | None, features: pd.DataFrame, outside: float, n_cells: int
) -> str:
    """Say what an edit was learnt from, what to expect of it, and what to look at."""
    said = [_choice(selected, strata)] if selected else []
    said.append(f"{outside:.0%} of {n_cells:,} query cells lie outside the source.")
    if selected and features["wrong_on_held_out"].any():
        said.append(_features(features, "wrong_on_held_out", "moved the wrong way on most of what was held out"))
    if features["beyond_controls"].any():
        said.append(_features(features, "beyond_controls", "moved beyond, or against, what the controls show"))
    return " ".join(said)


def _choice(selected: Selected, strata: str | None) -> str:
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
