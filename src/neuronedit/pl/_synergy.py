"""Where a measured combination departs from the predicted one."""

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from .. import _slots
from .._data.check import check_at_least
from .._data.record import Record, Tool
from .._docs import shared_docs
from ._combination import TREATMENTS
from ._figure import finish, format_percent, ink, legend_beside, panels, zero_line
from ._rows import frame_rows

DEPARTING_COLOR, STAYING_COLOR = TREATMENTS["both"], "0.55"

TREATMENT_STYLES: dict[str, dict[str, Any]] = {
    "a": {"marker": "^", "color": TREATMENTS["a"]},
    "b": {"marker": "v", "color": TREATMENTS["b"]},
}
"""How the two treatments alone are drawn."""

DOES_NOT_GENERALIZE = "does not generalize"
"""The verdict of :func:`neuronedit.tl.synergy` on an effect that does not recur in the cells of the other treatment."""

MAX_LETTERS_IN_TITLE = 72
"""Letters in a line of the title: both panels are as wide."""


@shared_docs
def synergy(
    adata: AnnData,
    *,
    key: str = _slots.SYNERGY,
    most: int = 20,
    ax: Sequence[Axes] | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Any:
    """Draw where a measured combination of two treatments departs from the predicted one.

    On the left, for each feature, by how many standard deviations its measured mean is above the predicted one, with 95 %
    interval. Only what lies beyond the band, the margin, can depart; what does is filled. On the right, what each treatment
    alone does to the same feature. Where an effect does not generalize to the cells of the other treatment the title says
    so: then what departs is no interaction of single features.

    Examples
    --------
    >>> import neuronedit as ne
    >>> adata = ne.datasets.simulate_combination(n_cells=300, interaction=2.0)
    >>> ne.tl.train(adata, space="identity")
    >>> ne.tl.synergy(adata, "condition", control="basal", effects=["A", "B"], measured="A+B")
    >>> differences, effects = ne.pl.synergy(adata, most=5)
    >>> [label.get_text() for label in differences.get_yticklabels()][:2]
    ['p4EBP1', 'pERK']

    Parameters
    ----------
    adata
        After :func:`neuronedit.tl.synergy`.
    key
        ``key_added`` of the result.
    most
        Draw only so many features, those that depart first, then those that differ most.
    %(figure)s

    Returns
    -------
    A list of the two Axes, differences and effects; the Figure with ``return_fig=True``. How many features were not drawn
    stands below them.

    Raises
    ------
    %(plot_errors)s
    """
    # read
    record = Record.read(adata, key, Tool.SYNERGY)
    check_at_least(1, most=most)
    rows, n_hidden = _choose_features(record.content["features"], most)
    margin, fdr = record.config["margin"], format_percent(record.config["fdr"])
    names = [f"{name} alone" for name in record.config["effects"]]
    styles = dict(zip(names, TREATMENT_STYLES.values(), strict=True))
    in_legend = [f"departs (FDR {fdr})", "does not depart", f"± {margin:g} sd, the margin", *names]

    # differences
    size = (2.3, 0.26 * (len(rows) + (n_hidden > 0)) + 0.7)
    beside = [f"{name}{max(in_legend, key=len)}" for name in rows.index]  # on the left, and on the right
    left, right = axes = panels(2, ax, size=size, room=1.2, names=beside, sharey=True, width_ratios=(1.4, 1))
    places, departs = np.arange(len(rows)), rows["departs"]
    left.axvspan(-margin, margin, color=ink(0.9), linewidth=0, zorder=0)
    for which, color, fill in ((~departs, STAYING_COLOR, ink(1)), (departs, DEPARTING_COLOR, DEPARTING_COLOR)):
        own, y = rows[which], places[which]
        left.hlines(y, own["low"], own["high"], color=color, linewidth=1.6, zorder=2)
        left.scatter(own["difference"], y, s=30, facecolors=fill, edgecolors=color, linewidths=1.4, zorder=3)

    # effects
    for column, style in zip(("effect_a", "effect_b"), styles.values(), strict=True):
        right.scatter(rows[column], places, s=30, alpha=0.9, linewidths=0, zorder=3, **style)

    # explain
    left.axvline(0, zorder=1, **zero_line())
    right.axvline(0, zorder=1, **zero_line())
    frame_rows(axes, places, rows.index, n_hidden)
    left.set_xlabel("measured − predicted\n(standard deviations)")
    right.set_xlabel("effect alone\n(standard deviations)")
    left.set_title(_describe_failures(record.content["generalizes"]), loc="left", fontsize="medium")
    line: dict[str, Any] = {"marker": "o", "markeredgewidth": 1.4, "linewidth": 1.6, "markersize": 5.5}
    shown: list[Any] = [line | {"color": DEPARTING_COLOR}, line | {"color": STAYING_COLOR, "markerfacecolor": ink(1)}]
    shown.append(Patch(facecolor=ink(0.9)))
    shown += [style | {"linestyle": "", "markeredgewidth": 0} for style in styles.values()]
    legend_beside(axes, dict(zip(in_legend, shown, strict=True)))
    return finish(axes, show=show, return_fig=return_fig)


def _choose_features(table: pd.DataFrame, most: int) -> tuple[pd.DataFrame, int]:
    """Return the features that are drawn, in standard deviations, and how many are not."""
    sd = table["sd"].where(table["sd"] > 0)  # where nothing varies there is no scale
    scaled = table[["difference", "low", "high", "effect_a", "effect_b"]].div(sd, axis=0).fillna(0.0)
    scaled["departs"] = table["departs"].to_numpy(dtype=bool)
    order = np.lexsort((-scaled["difference"].abs(), ~scaled["departs"]))
    return scaled.iloc[order[:most]], max(len(table) - most, 0)


def _describe_failures(generalizes: pd.DataFrame) -> str:
    """Say which effects do not generalize."""
    lines = []
    for _, row in generalizes[generalizes["verdict"] == DOES_NOT_GENERALIZE].iterrows():
        share = format_percent(round(row["recurs"], 2))
        text = f"{row['effect']} does not generalize to cells of {row['given']}: {share} recurs"
        lines += textwrap.wrap(text, MAX_LETTERS_IN_TITLE, break_on_hyphens=False)
    return "\n".join(lines)
