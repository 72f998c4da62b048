"""What lies outside that on which an edit, or a correction, was fitted."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator
from scipy import ndimage

from .. import _slots
from .._check import Count
from .._data.check import find_used, get_column, get_labels
from .._data.record import Record, Tool, find_own_layers
from ._figure import (
    DOT,
    INCHES_PER_LETTER,
    OKABE_ITO,
    blank,
    finish,
    get_values,
    ideal_line,
    ink,
    legend_beside,
    panels,
    vivid,
)
from ._rows import ESTIMATE_AREA, format_number, format_percent, frame_rows, label_decades, name_ticks

WITHIN_COLOR, OUTSIDE_COLOR = OKABE_ITO[4], OKABE_ITO[1]
MEDIAN_STYLE: dict[str, Any] = {"linewidth": 1.6, "solid_capstyle": "butt"}
MIN_DISTANCE_DRAWN = 0.01  # smaller ones are drawn here: a cell that stands in the source as well has none at all
USUAL_OUTSIDE = 0.01  # of the source's own cells outside the source, and of the controls' beyond their range
SPACE_BESIDE = 8.0  # points between a plot and the first column of text beside it, and between columns
POINTS_PER_LETTER = 5.6  # width of a column of text for each letter
MAX_SPREADS = 10  # features whose spread over resamples is drawn
HILL_HEIGHT = 0.8  # of the highest point of a distribution, in rows: no hill reaches into the row above

SAMPLE_STYLE: dict[str, Any] = {"marker": "o", "color": OKABE_ITO[0]}
FLAGGED_IN_WORDS = "sample farther than\nany control (flagged)"
FLAGGED_STYLE: dict[str, Any] = {"marker": "D", "color": OKABE_ITO[1]}
MIN_END_OF_SCALE = 0.05  # share of cells that the colours reach at least, so that the usual 1 % is never dark
MIN_END_OF_AXIS = 0.02  # share of cells that the axis of samples reaches at least: the usual 1 % is not at its end
INCHES_PER_FEATURE, INCHES_PER_BATCH = (
    0.21,
    0.26,
)  # width of a column, enough for a name written upwards, and height of a row
MIN_LETTERS_BELOW = 7  # height of the names of features at least: the other panel has two lines there


def support(
    adata: AnnData,
    *,
    groupby: str | None = None,
    key: str = _slots.EDITED,
    ax: Axes | Sequence[Axes] | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Any:
    """Draw how far the query lies from the source on which the edit was fitted: the further, the less is known.

    A row for each group of query cells, the one with the largest share outside on top: how their distances from the source are
    distributed, each curve equally high, and their median. 99 % of the source's own cells stay below a distance of 1. Beside a
    row stands the share of its cells outside. It is coloured where more cells lie outside than the usual 1 % and chance explain.

    After :func:`neuronedit.tl.bootstrap`, also how much the edit depends on which source and target cells were measured: the
    standard deviation of each edited value over resamples, in per cent of that of its feature between the edited cells. Its
    mean over features stands beside each row. A second panel has the ten features with the largest mean over cells, and a
    small dot for each group. One Axes of your own, as ``ax``, is for the distances alone.

    Examples
    --------
    >>> import neuronedit as ne
    >>> adata = ne.datasets.simulate_batches(n_cells=200)
    >>> ne.tl.train(adata, widths=(32, 8), max_epochs=2)
    >>> ne.tl.edit(adata, "group", source="control_1", target="control_2", query="sample_1")
    >>> ax = ne.pl.support(adata, groupby="cell_type")

    Parameters
    ----------
    %(cells_of_edit)s
    groupby
        Column of ``obs``, such as cell types or samples. `None`: one row for all query cells.
    %(result_key)s
    %(figure)s
    """
    # read
    Record.read(adata, key, Tool.EDIT, Tool.CORRECT)
    distances = get_column(adata, _slots.distance(key)).to_numpy()
    is_query = ~np.isnan(distances)
    if not is_query.any():
        raise ValueError("none of these cells was edited.")
    distances, everyone = distances[is_query], pd.Series("all query cells", np.flatnonzero(is_query))
    labels = everyone if groupby is None else get_labels(adata[is_query], groupby)
    groups = {str(name): distances[(labels == name).to_numpy()] for name in labels.unique()}
    rows = dict(sorted(groups.items(), key=lambda group: (-(group[1] > 1).mean(), -np.median(group[1]), group[0])))
    spread = _read_spread(adata, key, is_query)
    spread_by_row = spread.groupby(labels.astype(str).to_numpy()).mean().loc[list(rows)]

    # frame
    heights = [0.36 * len(rows) + 1.2]
    if not spread.empty and not isinstance(ax, Axes):
        heights += [INCHES_PER_FEATURE * min(spread.shape[1] + 1, MAX_SPREADS) + 0.9]
    layout: dict[str, Any] = {"size": (2.8, np.mean(heights)), "n_columns": 1, "height_ratios": heights}
    layout |= {"room": 1.6 if spread.empty else 2.3, "names": [*rows, *spread.columns[:MAX_SPREADS]]}
    panel, *others = panels(len(heights), ax, **layout)
    ends = np.ravel([np.quantile(values, [0.001, 0.999]) for values in rows.values()])
    low, high = np.log10(max(min(1.0, *ends), MIN_DISTANCE_DRAWN)), np.log10(max(1.0, *ends))
    margin = 0.05 * (high - low) or 0.1
    panel.set(xscale="log", xlim=(10 ** (low - margin), 10 ** (high + margin)), ylim=(len(rows) - 0.6, -0.9))
    panel.set_yticks(range(len(rows)), list(rows), va="bottom")
    panel.tick_params(axis="y", length=0)
    panel.set_xlabel("distance from the source\n(99 % of its own cells are nearer than 1)")
    label_decades(panel.xaxis, high - low, format_number)
    panel.spines["left"].set_visible(False)

    # draw
    panel.axvline(1, zorder=4, **ideal_line())
    for y, values in enumerate(rows.values()):
        _draw_hill(panel, y, np.maximum(values, MIN_DISTANCE_DRAWN))
    _write_beside(panel, list(rows.values()), spread_by_row.mean(axis=1).to_numpy())
    styles: dict[str, Any] = {"inside the source": Patch(facecolor=vivid(WITHIN_COLOR), alpha=0.8)}
    styles |= {"outside": Patch(facecolor=vivid(OUTSIDE_COLOR), alpha=0.8)}
    styles |= {"edge of the source": ideal_line(), "median": MEDIAN_STYLE | {"color": ink(0)}}
    legend_beside([panel], styles, loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0)
    for other in others:
        _draw_spread(other, spread.mean(), spread_by_row)
    return finish([panel, *others], show=show, return_fig=return_fig)


def _read_spread(adata: AnnData, key: str, rows: np.ndarray) -> pd.DataFrame:
    """Return how far edited values vary over resamples, relative to their features, the largest first; no columns where not known."""
    if _slots.sd(key) not in find_own_layers(adata, key):
        return pd.DataFrame(index=range(rows.sum()))
    names = find_used(adata)
    edited, sd = (get_values(adata, layer, rows, names) for layer in (key, _slots.sd(key)))
    spread = pd.DataFrame(sd / np.where(np.ptp(edited, axis=0) > 0, edited.std(axis=0), np.nan), columns=names)
    return spread[spread.mean().dropna().sort_values(ascending=False, kind="stable").index]


def _draw_spread(panel: Axes, means: "pd.Series[float]", of_groups: pd.DataFrame) -> None:
    """Draw the mean spread of the features with the largest ones, and those of groups as small dots."""
    means, n_hidden = means.iloc[:MAX_SPREADS], max(len(means) - MAX_SPREADS, 0)
    color = vivid(WITHIN_COLOR)
    y = np.arange(len(means))
    frame_rows([panel], y, means.index, n_hidden)
    styles: dict[str, Any] = {"all query cells": DOT | {"color": color}}
    if len(of_groups) > 1:
        small: dict[str, Any] = {"color": ink(0.5), "markersize": 2.5}
        panel.plot(of_groups[means.index].to_numpy().T, y, zorder=3, **DOT | small)
        styles["a group"] = DOT | small
    panel.scatter(means, y, s=ESTIMATE_AREA, color=color, zorder=2)
    panel.set_xlim(left=0)
    panel.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    panel.xaxis.set_major_formatter(format_percent)
    panel.set_xlabel("spread over resamples\n(100 %: as much as between cells)")
    if len(styles) > 1:
        legend_beside([panel], styles, loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0)


def _write_beside(panel: Axes, rows: Sequence[np.ndarray], spread: np.ndarray) -> None:
    """Write beside each row the share of cells outside, coloured where it is above the usual one, the number of cells and the spread."""
    outside, n_cells = np.array([[(values > 1).mean(), len(values)] for values in rows]).T  # each (n_rows,)
    by_chance = 2 * np.sqrt(USUAL_OUTSIDE * (1 - USUAL_OUTSIDE) / n_cells)
    colors = [vivid(OUTSIDE_COLOR) if is_above else ink(0) for is_above in outside > USUAL_OUTSIDE + by_chance]
    columns = {"outside": [_round_percent(share) for share in outside], "cells": [f"{n:,.0f}" for n in n_cells]}
    if not np.isnan(spread).any():
        columns["spread"] = [_round_percent(share) for share in spread]
    place: dict[str, Any] = {"ha": "right", "va": "bottom", "textcoords": "offset points"}
    right = SPACE_BESIDE
    for head, column in columns.items():
        right += POINTS_PER_LETTER * max(len(text) for text in (head, *column))
        for y, text in enumerate(column):
            color = colors[y] if head == "outside" else ink(0)
            panel.annotate(text, (1, y), (right, 0), xycoords=panel.get_yaxis_transform(), color=color, **place)
        panel.annotate(head, (1, 1), (right, 3), xycoords="axes fraction", color=ink(0.4), **place)
        right += SPACE_BESIDE


def _draw_hill(panel: Axes, y: float, distances: np.ndarray) -> None:
    """Draw the distribution of distances as a hill that stands in row y, and its median."""
    # density
    values, middle = np.log10(distances), np.median(distances)
    bandwidth = max(0.7 * np.std(values) * len(values) ** -0.2, 0.01)
    x = np.arange(values.min() - 3 * bandwidth, values.max() + 3 * bandwidth, bandwidth / 5)
    counts = np.histogram(values, bins=x)[0]
    x, density = (x[1:] + x[:-1]) / 2, ndimage.gaussian_filter1d(counts.astype(float), 5, mode="constant")
    fine = np.union1d(x, [0.0])  # colours meet on the edge of the source
    height = HILL_HEIGHT * np.interp(fine, x, density) / density.max()

    # draw
    for color, side, cells in ((WITHIN_COLOR, fine <= 0, values <= 0), (OUTSIDE_COLOR, fine >= 0, values > 0)):
        if cells.any():  # what is smoothed does not reach where no cell is
            panel.fill_between(
                10 ** fine[side], y, y - height[side], color=vivid(color), alpha=0.8, linewidth=0, zorder=2
            )
    top = y - np.interp(np.log10(middle), fine, height)
    panel.plot([middle, middle], [y, top], zorder=3, color=ink(0), **MEDIAN_STYLE)
    panel.axhline(y, color=ink(0.8), linewidth=0.6, zorder=1)


def _round_percent(share: float) -> str:
    """Write a share in whole per cent, never rounding some to none or to all."""
    if 0 < share < 0.005:
        return "<1 %"
    return ">99 %" if 0.995 <= share < 1 else format_percent(round(share, 2))


def coverage(
    adata: AnnData,
    *,
    key: str = _slots.CORRECTED,
    most: Count = 30,
    ax: Sequence[Axes] | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Any:
    """Draw what the samples of each batch hold that the batch's controls do not: there a correction extrapolates.

    On the left, for each batch and feature, the share of the samples' cells beyond the central 99 % of the control's. 1 %
    is usual, and grey; the largest come first. On the right, how far the composition of each sample is from the controls', as a
    share of how far as many cells of one control are from the others at most. Where no batch has three controls that is not known, and the
    share of each sample's cells that lie outside the control stands there instead. The reference, batches that were left
    alone and those without samples are not drawn.

    Examples
    --------
    >>> import neuronedit as ne
    >>> adata = ne.datasets.simulate_batches(n_cells=200)
    >>> ne.tl.train(adata, space="identity")
    >>> ne.tl.correct(adata, "batch", control_key="role", edit="percentile")
    >>> features, samples = ne.pl.coverage(adata, most=10)

    Parameters
    ----------
    adata
        After :func:`neuronedit.tl.correct`.
    %(result_key)s
    %(most)s
    %(figure)s
    """
    # read
    record = Record.read(adata, key, Tool.CORRECT, fitted_here=True)
    shares = _pivot_shares(record.content["features"])
    if shares.empty:
        raise ValueError(f"uns[{key!r}] has no batch with both controls and samples: there is nothing to compare.")
    order = np.argsort(-shares.max().fillna(0).to_numpy(), kind="stable")
    drawn, n_hidden = shares.iloc[:, order[:most]], max(len(order) - most, 0)

    # draw
    n, width = len(drawn), INCHES_PER_FEATURE * (drawn.shape[1] + (n_hidden > 0))
    height = INCHES_PER_BATCH * n + 0.9 + INCHES_PER_LETTER * max(MIN_LETTERS_BELOW, *map(len, drawn.columns))
    layout: dict[str, Any] = {"size": ((width + 2) / 2, height), "sharey": True, "width_ratios": (width, 2)}
    left, right = axes = panels(2, ax, room=2.7, names=drawn.index, **layout)
    _draw_shares(axes, drawn, n_hidden, 2 / (width + 2))
    frame_rows(axes, range(n), drawn.index)
    left.grid(visible=False)
    left.spines["bottom"].set_visible(False)
    for panel in axes:
        panel.set_ylim(n - 0.5, -0.5)
    _draw_sample_dots(right, record.content["samples"], list(drawn.index))
    return finish(axes, show=show, return_fig=return_fig)


def _pivot_shares(features: pd.DataFrame) -> pd.DataFrame:
    """Return the share of cells beyond the control's range, batches by features; without batches that were not compared."""
    if "outside_control" not in features:
        return pd.DataFrame()
    features = features.astype({"batch": str, "feature": str})
    shares = features.pivot(index="batch", columns="feature", values="outside_control")
    in_order = sorted(
        shares.index, key=lambda batch: [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", batch)]
    )
    return shares.loc[in_order, features["feature"].unique()].dropna(how="all")


def _draw_shares(axes: Sequence[Axes], shares: pd.DataFrame, n_hidden: int, length: float) -> None:
    """Draw batches by features, and the scale of colours above all panels, whose rows stay beside each other."""
    panel, (n, n_features) = axes[0], shares.shape
    edges = np.arange(n_features + 1) - 0.5, np.arange(n + 1) - 0.5
    end = max(MIN_END_OF_SCALE, float(np.nanmax(shares.to_numpy(), initial=0)))
    colors = [(0, ink(0.88)), (USUAL_OUTSIDE / end, ink(0.88)), (1, vivid(OUTSIDE_COLOR))]  # what is usual has none
    style: dict[str, Any] = {"cmap": LinearSegmentedColormap.from_list("outside", colors), "vmin": 0, "vmax": end}
    style |= {"edgecolors": ink(1), "linewidth": 0.5}
    mesh = panel.pcolormesh(*edges, shares.to_numpy(dtype=float), **style)
    name_ticks(panel.xaxis, range(n_features), shares.columns, n_hidden)
    panel.set_xlim(-0.5, panel.get_xticks()[-1] + 0.5)
    panel.tick_params(axis="x", length=0, labelrotation=90)
    ticks: dict[str, Any] = {"ticks": MaxNLocator(4, steps=[1, 2, 5, 10]), "format": FuncFormatter(format_percent)}
    place: dict[str, Any] = {
        "location": "top",
        "anchor": (0, 0),
        "shrink": length,
        "pad": 0.06 / (INCHES_PER_BATCH * n),
    }
    bar = panel.figure.colorbar(mesh, ax=axes, aspect=15, **place, **ticks)
    bar.set_label("share of the samples' cells beyond\nthe controls' range (grey: up to 1 %, as usual)", loc="left")
    bar.outline.set_visible(False)


def _draw_sample_dots(panel: Axes, samples: pd.DataFrame, batches: list[Any]) -> None:
    """Draw each sample's composition, or where no batch has three controls the share of its cells outside."""
    # samples
    has_composition = bool(samples["composition"].notna().any())
    values = samples["composition" if has_composition else "outside"].to_numpy(dtype=float)
    is_flagged = samples["flagged"].to_numpy(dtype=bool)
    rows = samples["batch"].map({batch: y for y, batch in enumerate(batches)}).to_numpy(dtype=float)
    styles = {}
    for name, which, style in (("sample", ~is_flagged, SAMPLE_STYLE), (FLAGGED_IN_WORDS, is_flagged, FLAGGED_STYLE)):
        if (which & ~np.isnan(values)).any():
            style = style | {"color": vivid(style["color"]), "alpha": 0.75}
            panel.scatter(values[which], rows[which], s=26, linewidths=0.4, edgecolors=ink(1), **style)
            styles[name] = DOT | style | {"markeredgewidth": 0}

    # axis
    end = max(np.nanmax(values), float(has_composition), MIN_END_OF_AXIS)
    panel.set_xlim(-0.04 * end, 1.06 * end)
    panel.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    if has_composition:
        panel.set_xlabel("distance of composition\nfrom the controls'")
        panel.axvline(1, zorder=1, **ideal_line())
        styles["farthest control"] = ideal_line()
        style = {"color": ink(0.5), "fontsize": "small", "va": "center", "bbox": blank()}
        for y in set(range(len(batches))) - set(rows[~np.isnan(values)]):
            panel.annotate("fewer than 3 controls", (0.03, y), xycoords=panel.get_yaxis_transform(), **style)
    else:
        panel.set_xlabel("share of cells outside\nthe controls")
        panel.xaxis.set_major_formatter(format_percent)
        panel.axvline(USUAL_OUTSIDE, zorder=1, **ideal_line())
        styles["usual, 1 %"] = ideal_line()
    legend_beside([panel], styles)
