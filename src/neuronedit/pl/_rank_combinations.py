"""Predicted combinations of two treatments, the highest score on top."""

import textwrap
from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from .._data.check import check_at_least, describe_choice
from .._docs import shared_docs
from ._combination import TREATMENTS
from ._figure import DOT, finish, format_number, ideal_line, ink, legend_beside, panels
from ._rows import INTERVAL, check_table, draw_estimate, frame_rows
from ._synergy import TREATMENT_STYLES

RANKING_COLUMNS = ["predicted", "low", "high", "score_a", "score_b", "control"]

MAX_LETTERS_IN_LABEL = 44
"""Letters in a line of the name of a score: the panel is as wide."""


@shared_docs
def rank_combinations(
    table: pd.DataFrame,
    *,
    score: Any = None,
    most: int = 20,
    ax: Axes | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Any:
    """Draw how predicted combinations of two treatments rank.

    A row for each combination: its predicted score with 95 % interval and, below, the scores of its two treatments alone.
    The dashed line is the control.

    Examples
    --------
    >>> import neuronedit as ne
    >>> adata = ne.datasets.simulate_combination(n_cells=300)
    >>> ne.tl.train(adata, space="identity")
    >>> ranked = ne.tl.rank_combinations(adata, "condition", control="basal", effects=["A", "B", "A+B"], score="CD38")
    >>> ax = ne.pl.rank_combinations(ranked, score="CD38")
    >>> len(ax.get_yticks()), ax.get_xlabel()
    (3, 'mean CD38')

    Parameters
    ----------
    table
        What :func:`neuronedit.tl.rank_combinations` returned.
    score
        What it was ranked by, to name the axis. `None`: "score".
    most
        Draw only so many combinations, the best ones.
    %(figure)s

    Returns
    -------
    The Axes; the Figure with ``return_fig=True``. How many combinations were not drawn stands below them.

    Raises
    ------
    %(plot_errors)s
    """
    # read
    check_table(table, RANKING_COLUMNS, "ne.tl.rank_combinations")
    check_at_least(1, most=most)
    rows, n_hidden = table.iloc[:most], max(len(table) - most, 0)

    # draw
    size = (2.8, 0.32 * (len(rows) + (n_hidden > 0)) + 0.8)
    (panel,) = panels(1, ax, size=size, room=2.6, names=rows.index)
    panel.axvline(rows["control"].iloc[0], zorder=1, **ideal_line())
    places, color = range(len(rows)), TREATMENTS["both"]
    for y, (_, row) in zip(places, rows.iterrows(), strict=True):
        draw_estimate(panel, y, row["predicted"], (row["low"], row["high"]), color)
    styles: dict[str, Any] = {"predicted": DOT | {"color": color}, "95 % interval": INTERVAL | {"color": color}}
    hollow: dict[str, Any] = {"linestyle": "", "markerfacecolor": ink(1), "markeredgewidth": 1.2, "markersize": 5}
    for (role, style), name in zip(TREATMENT_STYLES.items(), ("first alone", "second alone"), strict=True):
        edges: dict[str, Any] = {"marker": style["marker"], "facecolors": ink(1), "edgecolors": style["color"]}
        panel.scatter(rows[f"score_{role}"], [y + 0.3 for y in places], s=20, linewidths=1.2, zorder=3, **edges)
        styles[name] = hollow | style
    styles["control"] = ideal_line()
    frame_rows([panel], places, rows.index, n_hidden)
    panel.set_xlabel(_name_score(score))
    legend_beside([panel], styles)
    return finish([panel], show=show, return_fig=return_fig)


def _name_score(score: Any) -> str:
    """Name a score: the mean of a feature, the limits of a gate, or a function's name."""
    if score is None:
        return "score"
    if isinstance(score, Mapping):
        gate = ", ".join(_describe_limits(name, *limits) for name, limits in score.items())
        return "\n".join(textwrap.wrap(f"share of cells with {gate}", MAX_LETTERS_IN_LABEL, break_on_hyphens=False))
    return f"mean {score}" if isinstance(score, str) else describe_choice(score)


def _describe_limits(name: str, low: float | None, high: float | None) -> str:
    """Write the limits of a gate."""
    lower, upper = (None if limit is None else format_number(limit) for limit in (low, high))
    if lower and upper:
        return f"{lower} ≤ {name} ≤ {upper}"
    return f"{name} ≥ {lower}" if lower else f"{name} ≤ {upper}" if upper else name
