"""How far the query lies from the source on which the edit was fitted."""

from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from matplotlib.axes import Axes
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from scipy import ndimage

from .. import _slots
from .._data.check import get_column, get_labels
from .._docs import shared_docs
from ._figure import OKABE_ITO, finish, format_number, format_percent, ideal_line, ink, legend_beside, panels
from ._record import read_edit

WITHIN_COLOR, OUTSIDE_COLOR = OKABE_ITO[4], OKABE_ITO[1]
MEDIAN_STYLE: dict[str, Any] = {"linewidth": 1.6, "solid_capstyle": "butt"}

MIN_DISTANCE_DRAWN = 0.01
"""Distances below this are drawn here: a cell that stands in the source as well has none at all."""

TICKS_PER_DECADE = {1: (1, 1.5, 2, 3, 5, 7), 2: (1, 2, 5), np.inf: (1,)}
"""What is labelled in each decade, by how many decades the axis has at most."""

HILL_HEIGHT = 0.8
"""Of the highest point of a distribution, in rows: no hill reaches into the row above."""


@shared_docs
def support(
    adata: AnnData,
    *,
    groupby: str | None = None,
    key: str = _slots.EDITED,
    ax: Axes | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Any:
    """Draw how far the query lies from the source on which the edit was fitted: the further, the less is known.

    A row for each group of query cells: how their distances from the source are distributed, with their median, and the share
    of them that lies outside. 99 % of the source's own cells stay below a distance of 1, the dashed line.

    Examples
    --------
    >>> import neuronedit as ne
    >>> adata = ne.datasets.simulate_batches(n_cells=200)
    >>> ne.tl.train(adata, widths=(32, 8), max_epochs=2)
    >>> ne.tl.edit(adata, "group", source="control_1", target="control_2", query="sample_1")
    >>> ax = ne.pl.support(adata, groupby="cell_type")
    >>> len(ax.get_yticks())
    6

    Parameters
    ----------
    adata
        After :func:`neuronedit.tl.edit`.
    groupby
        Column of ``obs``, such as cell types or samples. `None`: one row for all query cells.
    %(edit_key)s
    %(figure)s

    Returns
    -------
    The Axes; the Figure with ``return_fig=True``. The group with the largest share outside is on top. All distributions
    are equally high, whatever the number of cells, which stands beside them.

    Raises
    ------
    %(plot_errors)s
    """
    # read
    read_edit(adata, key)
    distances = get_column(adata, _slots.distance(key)).to_numpy()
    is_query = ~np.isnan(distances)
    if not is_query.any():
        raise ValueError("none of these cells was edited.")
    labels = None if groupby is None else get_labels(adata[is_query], groupby)
    rows = _sort_groups(distances[is_query], labels)

    # frame
    (panel,) = panels(1, ax, size=(2.8, 0.42 * len(rows) + 0.8), room=2.0, names=rows)
    ends = np.ravel([np.quantile(values, [0.001, 0.999]) for values in rows.values()])
    low, high = np.log10(max(min(1.0, *ends), MIN_DISTANCE_DRAWN)), np.log10(max(1.0, *ends))
    margin = 0.05 * (high - low) or 0.1
    panel.set(xscale="log", xlim=(10 ** (low - margin), 10 ** (high + margin)), ylim=(len(rows) - 0.6, -0.9))
    panel.set_yticks(range(len(rows)), list(rows), va="bottom")
    panel.tick_params(axis="y", length=0)
    panel.set_xlabel("distance from the source\n(1: 99 % of its own cells are nearer)")
    ticks = next(ticks for n_decades, ticks in TICKS_PER_DECADE.items() if high - low < n_decades)
    panel.xaxis.set_major_locator(LogLocator(subs=ticks))
    panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: format_number(value)))
    panel.xaxis.set_minor_formatter(NullFormatter())
    panel.spines[["top", "right", "left"]].set_visible(False)

    # draw
    panel.axvline(1, zorder=4, **ideal_line())
    for y, values in enumerate(rows.values()):
        _draw_hill(panel, y, np.maximum(values, MIN_DISTANCE_DRAWN))
        text = f"{_round_percent((values > 1).mean())} outside, n = {len(values):,}"
        panel.annotate(text, (1.03, y), xycoords=panel.get_yaxis_transform(), va="bottom")
    styles: dict[str, Any] = {"edge of the source": ideal_line(), "median": MEDIAN_STYLE | {"color": ink(0)}}
    styles["outside"] = Patch(facecolor=OUTSIDE_COLOR, alpha=0.8)
    legend_beside([panel], styles, loc="lower left", bbox_to_anchor=(0, 1), ncols=3)
    return finish([panel], show=show, return_fig=return_fig)


def _sort_groups(distances: np.ndarray, labels: "pd.Series[Any] | None") -> dict[str, np.ndarray]:
    """Return the distances of each group, the one with the largest share of cells outside first."""
    if labels is None:
        return {"all query cells": distances}
    groups = {str(name): distances[(labels == name).to_numpy()] for name in labels.unique()}
    return dict(sorted(groups.items(), key=lambda group: (-(group[1] > 1).mean(), -np.median(group[1]), group[0])))


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
            panel.fill_between(10 ** fine[side], y, y - height[side], color=color, alpha=0.8, linewidth=0, zorder=2)
    top = y - np.interp(np.log10(middle), fine, height)
    panel.plot([middle, middle], [y, top], zorder=3, color=ink(0), **MEDIAN_STYLE)
    panel.axhline(y, color=ink(0.8), linewidth=0.6, zorder=1)


def _round_percent(share: float) -> str:
    """Write a share in whole per cent, never rounding some to none or to all."""
    if 0 < share < 0.005:
        return "<1 %"
    return ">99 %" if 0.995 <= share < 1 else format_percent(round(share, 2))
