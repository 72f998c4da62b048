"""Two treatments together: measured and predicted (Figure 4c-d of the paper), where these differ, and how combinations rank."""

import textwrap
from collections.abc import Hashable, Mapping, Sequence
from typing import Annotated, Any

import numpy as np
import pandas as pd
from anndata import AnnData
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from .. import _slots
from .._check import Count, Positive, Score, Share
from .._data.check import check_features, describe_choice, format_choices, get_column, select_cells
from .._data.record import Record, Tool
from ._biaxial import MIDDLE, WIDE, GroupedCells, Kind, choose_kind, draw_populations, explain_groups, name_markers
from ._contours import OUTLINE, draw_outline, explain_contours
from ._figure import (
    DOT,
    LETTERS_OF_PANEL_TITLE,
    OKABE_ITO,
    ROLES,
    finish,
    get_values,
    ideal_line,
    ink,
    legend_beside,
    panels,
    vivid,
    zero_line,
)
from ._rows import check_table, draw_estimate, format_number, format_percent, frame_rows, interval_bar

TREATMENTS = {"control": "#B0B0B0", "a": OKABE_ITO[4], "b": OKABE_ITO[5], "both": ROLES["edited"]}
"""Light colours for what was measured alone, a dark one for what is to be compared."""

DEPARTING_COLOR = TREATMENTS["both"]
INTERVAL_WIDTH, MARGIN_SHADE = 1.6, 0.85  # of synergy
ASIDE = {"a": -0.14, "b": 0.14}  # of the row: neither effect hides the other
TREATMENT_STYLES: dict[str, dict[str, Any]] = {
    "a": {"marker": "^", "color": TREATMENTS["a"]},
    "b": {"marker": "v", "color": TREATMENTS["b"]},
}

DOES_NOT_GENERALIZE = "does not generalize"  # verdict of ne.tl.synergy on an effect that does not recur
MAX_LETTERS_IN_TITLE = 72  # in a line, of synergy: both panels are as wide
MAX_LETTERS_IN_LABEL = 44  # in a line of the name of a score: the panel is as wide
RANKING_COLUMNS = ["predicted", "low", "high", "score_a", "score_b", "control"]


def combination(
    adata: AnnData,
    predicted: AnnData,
    x: str,
    y: str,
    *,
    effects: Sequence[Hashable] | None = None,
    measured: Hashable = None,
    key: str = _slots.COMBINED,
    kind: Kind | None = None,
    point_size: Positive | None = None,
    alpha: Share = 0.6,
    ax: Sequence[Axes] | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Any:
    """Draw two markers against each other for a combination of two treatments, once as measured and once as predicted.

    Many cells are drawn as filled contours, with a panel for each population: the control, either treatment, and both as
    measured and as predicted (in both orders). The line in the last panel is the outline of the measured ones. All other
    measured cells are pale grey.

    Few cells are drawn as points, in two panels: measured and predicted. Both show the control and either treatment, too. So
    they do where ``ax`` has two panels.

    Examples
    --------
    >>> import neuronedit as ne
    >>> adata = ne.datasets.simulate_combination(n_cells=200)
    >>> ne.tl.train(adata, space="identity")
    >>> both = ne.tl.combine(adata, "condition", control="basal", effects=["A", "B"], edit="percentile")
    >>> axes = ne.pl.combination(adata, both, x="p4EBP1", y="pSTAT5", measured="A+B")

    Parameters
    ----------
    adata
        The measured cells.
    predicted
        What :func:`neuronedit.tl.combine` returned for them.
    x, y
        Two of ``var_names``.
    effects
        Two of those that were combined. `None`: the first two.
    measured
        Value of the column of treatments for cells that were measured under both. `None`: there are none.
    %(result_key)s
    %(points)s
    %(figure)s
    """
    # check
    config = Record.read(predicted, key, Tool.COMBINE).config
    for cells in (adata, predicted):
        check_features(cells, x, y)
    two = list(config["effects"][:2] if effects is None else effects)
    if isinstance(effects, str) or len(two) != 2 or two[0] == two[1] or not set(two) <= set(config["effects"]):
        raise ValueError(f"effects must be two of {format_choices(config['effects'])}; they are {effects!r}.")
    alone = [config["control"], *two]
    if measured in alone:
        raise ValueError(f"measured={measured!r} is the control or one of the effects; name the cells under both.")

    # read
    groups = dict(zip(alone, ("control", "effects", "effects"), strict=True))
    groups |= {} if measured is None else {measured: "measured"}
    masks = [select_cells(adata, config["groupby"], [name], role) for name, role in groups.items()]
    of_measured = [get_values(adata, config["layer"], mask, (x, y)) for mask in masks]
    taken, received = (get_column(predicted, f"{key}_{name}", "predicted").astype(str) for name in ("from", "effect"))
    a, b = map(str, two)
    is_predicted = ((taken == a) & (received == b)) | ((taken == b) & (received == a))
    if not is_predicted.any():
        raise ValueError(f"predicted holds no cell under {two[0]!r} and {two[1]!r} together.")
    of_predicted = get_values(predicted, None, is_predicted.to_numpy(), (x, y))
    both = f"{two[0]}+{two[1]} (predicted)" if measured is None else measured
    names = [f"{alone[0]} (control)", *two, both]
    colors = dict(zip(map(str, names), map(vivid, TREATMENTS.values()), strict=True))

    # draw
    populations = []
    for both_treatments in (of_measured[3:], [of_predicted]):
        parts = [*of_measured[:3], *both_treatments]
        numbers = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
        populations.append((np.concatenate(parts), numbers))
    style = {"s": point_size, "alpha": alpha}
    kind = choose_kind(populations, kind)
    has_two = ax is not None and np.size(np.asarray(ax, dtype=object)) == 2
    if kind == "points" or has_two:
        axes = draw_populations(populations, colors, kind, style, ax=ax, room=0.9, names=colors)
        explain_groups(axes, colors, kind, alpha)
        titles = ["measured", "predicted"]
    else:
        axes = _draw_each(populations, colors, style, ax)
        measured_names = [f"{measured}, measured"] * len(of_measured[3:])
        titles = [*names[:3], *measured_names, f"{two[0]}+{two[1]}, predicted"]
    for panel, title in zip(axes, titles, strict=True):
        panel.set_title(textwrap.fill(str(title), LETTERS_OF_PANEL_TITLE), fontsize="medium")
    name_markers(axes, adata, x, y, [config["layer"]] * len(axes))
    return finish(axes, show=show, return_fig=return_fig)


def _draw_each(populations: list[GroupedCells], colors: dict[str, str], style: dict[str, Any], ax: Any) -> list[Axes]:
    """Draw the contours of each population in a panel of its own; the last one is predicted."""
    n_measured = populations[0][1].max() + 1
    contents = [(0, i) for i in range(n_measured)] + [(1, 3)]
    n_columns = -(-len(contents) // 2)  # two rows
    layout = {"ax": ax, "n_columns": n_columns, "size": MIDDLE if n_columns > 2 else WIDE}
    colors = colors | {next(iter(colors)): ink(0.3)}  # the control, darker than the grey of all others
    axes = draw_populations(populations, colors, "contours", style, contents, **layout)
    legend = explain_contours({"all other groups": ink(0.7)}, style["alpha"])
    if n_measured > 3:
        values, numbers = populations[0]
        draw_outline(axes[-1], values[numbers == 3], ink(0))
        legend["95 % of the cells, measured"] = Line2D([], [], color=ink(0), **OUTLINE)
    legend_beside(axes, legend, n_columns)
    return axes


def synergy(
    adata: AnnData,
    *,
    key: str = _slots.SYNERGY,
    most: Count = 20,
    ax: Sequence[Axes] | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Any:
    """Draw where a measured combination of two treatments departs from the predicted one.

    On the left, for each feature, by how many standard deviations its measured mean is above the predicted one, with 95 %
    interval: first those that depart, then those that differ most. Only what lies beyond the band, the margin, can depart.
    On the right, what each treatment alone does to the same feature. Where an effect does not generalize to the cells of the
    other treatment the title says so: then what departs is no interaction of single features.

    Examples
    --------
    >>> import neuronedit as ne
    >>> adata = ne.datasets.simulate_combination(n_cells=300, interaction=2.0)
    >>> ne.tl.train(adata, space="identity")
    >>> ne.tl.synergy(adata, "condition", control="basal", effects=["A", "B"], measured="A+B")
    >>> differences, effects = ne.pl.synergy(adata, most=5)

    Parameters
    ----------
    adata
        After :func:`neuronedit.tl.synergy`.
    %(result_key)s
    %(most)s
    %(figure)s
    """
    # read
    record = Record.read(adata, key, Tool.SYNERGY)
    rows, n_hidden = _choose_features(record.content["features"], most)
    margin, fdr, effects = record.config["margin"], format_percent(record.config["fdr"]), record.config["effects"]
    places, departs = np.arange(len(rows)), rows["departs"]
    strong, pale = vivid(DEPARTING_COLOR), ink(0.5)
    groups = {f"departs (FDR {fdr})": (departs, strong, strong), "does not depart": (~departs, pale, ink(1))}
    styles: dict[str, Any] = {}
    for name, (which, color, fill) in groups.items():
        if which.any():
            styles[name] = DOT | {"color": color, "markerfacecolor": fill, "markeredgewidth": 1.4, "markersize": 5.5}
    styles["95 % interval"] = {"color": ink(0.4), "linewidth": INTERVAL_WIDTH}
    styles[f"margin: ± {margin:g}\nstandard deviations"] = Patch(facecolor=ink(MARGIN_SHADE))
    for role, effect in zip("ab", effects, strict=True):
        styles[f"{effect} alone"] = TREATMENT_STYLES[role] | {"linestyle": "", "markeredgewidth": 0}

    # frame
    size = (2.3, 0.26 * (len(rows) + (n_hidden > 0)) + 0.7)
    longest = max("\n".join(styles).split("\n"), key=len)
    beside = [f"{name}{longest}" for name in rows.index]  # on the left, and on the right
    left, right = axes = panels(2, ax, size=size, room=1.2, names=beside, sharey=True, width_ratios=(1.4, 1))
    frame_rows(axes, places, rows.index, n_hidden)
    left.set_xlabel("measured − predicted\n(standard deviations)")
    right.set_xlabel("effect alone\n(standard deviations)")
    left.set_title(_describe_failures(record.content["generalizes"]), loc="left", fontsize="medium")
    legend_beside(axes, styles)

    # draw
    left.axvspan(-margin, margin, color=ink(MARGIN_SHADE), linewidth=0, zorder=0)
    for which, color, fill in groups.values():
        own, y = rows[which], places[which]
        left.hlines(y, own["low"], own["high"], color=color, linewidth=INTERVAL_WIDTH, zorder=2)
        left.scatter(own["difference"], y, s=30, facecolors=fill, edgecolors=color, linewidths=1.4, zorder=3)
    for role, style in TREATMENT_STYLES.items():
        right.scatter(rows[f"effect_{role}"], places + ASIDE[role], s=30, linewidths=0, zorder=3, **style)
    left.axvline(0, zorder=1, **zero_line())
    right.axvline(0, zorder=1, **zero_line())
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


def rank_combinations(
    table: Annotated[pd.DataFrame, "what ne.tl.rank_combinations returned"],
    *,
    score: Score | None = None,
    most: Count = 20,
    ax: Axes | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Any:
    """Draw how predicted combinations of two treatments rank.

    A row for each combination, the best one first: its predicted score with 95 % interval and, below, the scores of its two
    treatments alone, in the order of its name.

    Examples
    --------
    >>> import neuronedit as ne
    >>> adata = ne.datasets.simulate_combination(n_cells=300)
    >>> ne.tl.train(adata, space="identity")
    >>> ranked = ne.tl.rank_combinations(adata, "condition", control="basal", effects=["A", "B", "A+B"], score="CD38")
    >>> ax = ne.pl.rank_combinations(ranked, score="CD38")

    Parameters
    ----------
    table
        What :func:`neuronedit.tl.rank_combinations` returned.
    score
        What it was ranked by, to name the axis. `None`: "score".
    %(most)s
    %(figure)s
    """
    # read
    check_table(table, RANKING_COLUMNS, "ne.tl.rank_combinations")
    rows, n_hidden = table.iloc[:most], max(len(table) - most, 0)

    # draw
    size = (2.8, 0.32 * (len(rows) + (n_hidden > 0)) + 0.8)
    (panel,) = panels(1, ax, size=size, room=2.8, names=rows.index)
    panel.axvline(rows["control"].iloc[0], zorder=1, **ideal_line())
    places, color = range(len(rows)), vivid(TREATMENTS["both"])
    for y, (_, row) in zip(places, rows.iterrows(), strict=True):
        draw_estimate(panel, y, row["predicted"], (row["low"], row["high"]), color)
    styles: dict[str, Any] = {"predicted": DOT | {"color": color}, "95 % interval": interval_bar(color)}
    hollow: dict[str, Any] = {"linestyle": "", "markerfacecolor": ink(1), "markeredgewidth": 1.2, "markersize": 5}
    for (role, style), name in zip(
        TREATMENT_STYLES.items(), ("first in name, alone", "second in name, alone"), strict=True
    ):
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
