"""Where a measured combination departs from the predicted one, and which predicted pairs score highest."""

import json
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from .. import _slots
from ._combination import COLORS
from ._figure import aim, axis_label, finish, ink, nought, panels, units

DEPARTS, STAYS = COLORS["both"], "0.55"

EFFECTS: dict[str, dict[str, Any]] = {
    role: {"marker": marker, "color": COLORS[role]} for role, marker in (("a", "^"), ("b", "v"))
}
"""How the two treatments alone are drawn."""

TITLE, LABEL = 72, 44
"""Letters in a line of the title, and of the name of a gate."""


def synergy(
    adata: AnnData,
    *,
    key: str = _slots.SYNERGY,
    most: int = 20,
    ax: Axes | Sequence[Axes] | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Any:
    """Draw where a measured combination departs from the predicted one; or how predicted pairs rank.

    With a measured combination: on the left, for each feature, by how many standard deviations its measured mean is above
    the predicted one, with 95 % interval. Only what lies beyond the band, the margin, can depart; what does is filled. On
    the right, what each treatment alone does to the same feature. Where an effect does not carry over to the cells of the
    other treatment the title says so: then what departs is no interaction of single features.

    Without: a row for each pair, its predicted score with 95 % interval and, below, the scores of its two treatments
    alone; the line is the control.

    Parameters
    ----------
    adata
        After :func:`neuronedit.tl.synergy`.
    key
        ``key_added`` of the result.
    most
        Draw only so many features, those that depart first, then those that differ most; or the best so many pairs.
    ax
        Axes to draw into: two with a measured combination, else one.
    show
        Call ``plt.show()``.
    return_fig
        Return the figure instead.

    Returns
    -------
    A list of the two Axes, differences and effects, or the only one; the Figure with ``return_fig=True``. How many rows
    were not drawn stands below them.

    Raises
    ------
    KeyError, ValueError
        When there is no such result.

    Examples
    --------
    >>> import neuronedit as ne
    >>> adata = ne.datasets.simulate_combination(n_cells=300, interaction=2.0)
    >>> ne.tl.train(adata, space="identity")
    >>> ne.tl.synergy(adata, "condition", control="basal", effects=["A", "B"], measured="A+B")
    >>> differences, effects = ne.pl.synergy(adata, most=5)
    >>> [label.get_text() for label in differences.get_yticklabels()][:2]
    ['p4EBP1', 'pERK']
    """
    record = adata.uns.get(key)
    config = json.loads(record["config"]) if isinstance(record, Mapping) and "config" in record else {}
    if "score" not in config:
        raise KeyError(f"uns[{key!r}] holds no synergy; call ne.tl.synergy first.")
    if most < 1:
        raise ValueError(f"most must be at least 1; it is {most!r}.")
    if "features" in record:
        axes = _departures(record["features"], record["carries_over"], config, most, ax)
    else:
        axes = _ranking(record["pairs"], _named(adata, config), most, ax)
    return finish(axes, show=show, return_fig=return_fig)


def _departures(
    table: pd.DataFrame, carries: pd.DataFrame, config: Mapping[str, Any], most: int, ax: Any
) -> list[Axes]:
    """Draw how far each feature departs, and what either treatment does to it."""
    sd = table["sd"].where(table["sd"] > 0)  # where nothing varies there is no scale
    scaled = table[["difference", "low", "high", "effect_a", "effect_b"]].div(sd, axis=0).fillna(0.0)
    scaled["departs"] = table["departs"].to_numpy(dtype=bool)
    order = np.lexsort((-scaled["difference"].abs(), ~scaled["departs"]))
    rows, hidden = scaled.iloc[order[:most]], max(len(table) - most, 0)
    effects = {f"{name} alone": EFFECTS[role] for role, name in zip(EFFECTS, map(str, config["effects"]), strict=True)}
    room = 1.2 + 0.075 * (max(map(len, map(str, rows.index))) + max(20, *map(len, effects)))
    size = (2.3, 0.26 * (len(rows) + (hidden > 0)) + 0.7)
    left, right = axes = panels(2, ax, size=size, room=room, sharey=True, width_ratios=(1.4, 1))

    margin, places = config["margin"], np.arange(len(rows))
    left.axvspan(-margin, margin, color=ink(0.9), linewidth=0, zorder=0)
    for which, color, fill in ((~rows["departs"], STAYS, ink(1)), (rows["departs"], DEPARTS, DEPARTS)):
        some, y = rows[which], places[which]
        left.hlines(y, some["low"], some["high"], color=color, linewidth=1.6, zorder=2)
        left.scatter(some["difference"], y, s=30, facecolors=fill, edgecolors=color, linewidths=1.4, zorder=3)
    for column, style in zip(("effect_a", "effect_b"), effects.values(), strict=True):
        right.scatter(rows[column], places, s=30, alpha=0.9, linewidths=0, zorder=3, **style)
    for panel in axes:
        panel.axvline(0, zorder=1, **nought())
    _frame(axes, list(rows.index), hidden)
    left.set_xlabel("measured − predicted\n(standard deviations)")
    right.set_xlabel("effect alone\n(standard deviations)")
    left.set_title(_title(carries), loc="left", fontsize="medium")
    line: dict[str, Any] = {"marker": "o", "markeredgewidth": 1.4, "linewidth": 1.6, "markersize": 5.5}
    shown: dict[str, Any] = {
        f"departs (FDR {config['fdr']:.0%})".replace("%", " %"): Line2D([], [], color=DEPARTS, **line),
        "does not depart": Line2D([], [], color=STAYS, markerfacecolor=ink(1), **line),
        f"± {margin:g} sd, the margin": Patch(facecolor=ink(0.9)),
    }
    shown |= {name: Line2D([], [], linestyle="", markeredgewidth=0, **style) for name, style in effects.items()}
    right.legend(shown.values(), shown.keys(), frameon=False, loc="upper left", bbox_to_anchor=(1.02, 1))
    return axes


def _title(carries: pd.DataFrame) -> str:
    """Say what does not carry over."""
    lines = []
    for name, row in carries[carries["says"] == "does not carry over"].iterrows():
        effect, given = str(name).split(" on ", 1)
        share = f"{row['recurs']:.0%}".replace("-", "−").replace("%", " %")
        lines += textwrap.wrap(
            f"{effect} does not carry over to cells of {given}: {share} recurs", TITLE, break_on_hyphens=False
        )
    return "\n".join(lines)


def _ranking(table: pd.DataFrame, label: str, most: int, ax: Any) -> list[Axes]:
    """Draw the predicted score of each pair, the best on top."""
    rows, hidden = table.iloc[:most], max(len(table) - most, 0)
    room = 2.6 + 0.075 * max(map(len, map(str, rows.index)))
    size = (2.8, 0.32 * (len(rows) + (hidden > 0)) + 0.8)
    (panel,) = axes = panels(1, ax, size=size, room=room)
    places = np.arange(len(rows))
    panel.axvline(rows["control"].iloc[0], zorder=1, **aim())
    panel.hlines(places, rows["low"], rows["high"], color=DEPARTS, linewidth=5, alpha=0.35, zorder=2)
    panel.scatter(rows["predicted"], places, s=34, color=DEPARTS, zorder=4)
    shown = {
        "predicted": Line2D([], [], marker="o", linestyle="", color=DEPARTS),
        "95 % interval": Line2D([], [], color=DEPARTS, linewidth=5, alpha=0.35, solid_capstyle="butt"),
    }
    for role, name, style in zip(EFFECTS, ("first alone", "second alone"), EFFECTS.values(), strict=True):
        hollow: dict[str, Any] = {"marker": style["marker"], "facecolors": ink(1), "edgecolors": style["color"]}
        panel.scatter(rows[f"score_{role}"], places + 0.3, s=20, linewidths=1.2, zorder=3, **hollow)
        shown[name] = Line2D([], [], linestyle="", markerfacecolor=ink(1), markeredgewidth=1.2, markersize=5, **style)
    shown["control"] = Line2D([], [], **aim())
    _frame(axes, list(rows.index), hidden)
    panel.set_xlabel(label)
    panel.legend(shown.values(), shown.keys(), frameon=False, loc="upper left", bbox_to_anchor=(1.02, 1))
    return axes


def _named(adata: AnnData, config: Mapping[str, Any]) -> str:
    """Name the score: the mean of a feature with its units, the limits of a gate, or a function's name."""
    score = config["score"]
    if isinstance(score, Mapping):
        gates = ", ".join(_gate(name, *limits) for name, limits in score.items())
        return "\n".join(textwrap.wrap(f"share of cells with {gates}", LABEL, break_on_hyphens=False))
    return axis_label(f"mean {score}", units(adata, config["layer"], [score])) if score in adata.var_names else score


def _gate(name: str, low: float | None, high: float | None) -> str:
    """Write the limits of a gate."""
    least, most = (None if limit is None else f"{limit:g}".replace("-", "−") for limit in (low, high))
    if least and most:
        return f"{least} ≤ {name} ≤ {most}"
    return f"{name} ≥ {least}" if least else f"{name} ≤ {most}" if most else name


def _frame(axes: Sequence[Axes], names: Sequence[Any], hidden: int) -> None:
    """Name the rows."""
    labels = [*map(str, names), *([f"{hidden} more"] if hidden else [])]
    for panel in axes:
        panel.set_yticks(range(len(labels)), labels)
        panel.set_ylim(len(labels) - 0.4, -0.6)
        panel.grid(axis="y", color=ink(0.92))
        panel.set_axisbelow(True)
        panel.spines[["top", "right", "left"]].set_visible(False)
        panel.tick_params(axis="y", length=0)
    for panel in axes[1:]:
        panel.tick_params(axis="y", labelleft=False)
    if hidden:
        axes[0].get_yticklabels()[-1].set_color(ink(0.5))
