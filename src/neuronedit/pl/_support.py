"""How far the query lies from the source on which the edit was learnt."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from anndata import AnnData
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from scipy import ndimage

from .. import _slots
from .._check import config_of, some
from ._figure import OKABE_ITO, aim, finish, ink

INSIDE, OUTSIDE = OKABE_ITO[4], OKABE_ITO[1]
MEDIAN: dict[str, Any] = {"linewidth": 1.6, "solid_capstyle": "butt"}

NEAREST = 0.01
"""Distances below this are drawn here: a cell that stands in the source as well has none at all."""

TICKS = {1: (1, 1.5, 2, 3, 5, 7), 2: (1, 2, 5), np.inf: (1,)}
"""What is labelled in each decade, by how many decades the axis has at most."""

HEIGHT = 0.8
"""Of the highest point of a distribution, in rows."""


def support(
    adata: AnnData,
    *,
    groupby: str | None = None,
    key: str = _slots.EDITED,
    ax: Axes | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Any:
    """Draw how far the query lies from the source on which the edit was learnt: the further, the less is known.

    A row for each group of query cells: how their distances from the source are distributed, with their median, and the
    share of them that lies outside. A distance of 1, the dashed line, is what 99 % of the source's own cells stay
    below.

    Parameters
    ----------
    adata
        After :func:`neuronedit.tl.edit`.
    groupby
        Column of ``obs``, such as cell types or samples. `None`: one row for all query cells.
    key
        ``key_added`` of the edit.
    ax
        Axes to draw into.
    show
        Call ``plt.show()``.
    return_fig
        Return the figure instead.

    Returns
    -------
    The Axes; the Figure with ``return_fig=True``. The group with the largest share outside is on top. All distributions
    are equally high, whatever the number of cells, which stands beside them.

    Raises
    ------
    KeyError, ValueError
        When there is no such edit or column, none of these cells was edited, or the group of an edited cell is missing.

    Examples
    --------
    >>> import neuronedit as ne
    >>> adata = ne.datasets.simulate_batches(n_cells=200)
    >>> ne.tl.train(adata, widths=(32, 8), max_epochs=2)
    >>> ne.tl.edit(adata, "group", source="control_1", target="control_2", query="sample_1")
    >>> ax = ne.pl.support(adata, groupby="cell_type")
    >>> len(ax.get_yticks())
    6
    """
    config_of(adata, key)
    for column in filter(None, (_slots.distance(key), groupby)):
        if column not in adata.obs:
            raise KeyError(f"{column!r} is not in adata.obs; it has {some(adata.obs)}.")
    query = adata.obs[adata.obs[_slots.distance(key)].notna()]
    if query.empty:
        raise ValueError("none of these cells was edited.")
    rows = _rows(query[_slots.distance(key)].to_numpy(), None if groupby is None else query[groupby])
    if ax is None:
        room = 2.0 + 0.075 * max(len(name) for name, _ in rows)
        _, ax = plt.subplots(figsize=(2.8 + room, 0.42 * len(rows) + 1.2), layout="constrained")

    ends = [np.quantile(values, [0.001, 0.999]) for _, values in rows]
    low, high = np.log10(max(min(1.0, *np.ravel(ends)), NEAREST)), np.log10(max(1.0, *np.ravel(ends)))
    margin = 0.05 * (high - low) or 0.1
    ax.set(xscale="log", xlim=(10 ** (low - margin), 10 ** (high + margin)), ylim=(len(rows) - 0.6, -0.9))
    ax.axvline(1, zorder=4, **aim())
    for y, (_, values) in enumerate(rows):
        _hill(ax, y, np.maximum(values, NEAREST))
        said = f"{_percent((values > 1).mean())} outside, n = {len(values):,}"
        ax.annotate(said, (1.03, y), xycoords=ax.get_yaxis_transform(), va="bottom")
    ax.set_yticks(range(len(rows)), [name for name, _ in rows], va="bottom")
    ax.tick_params(axis="y", length=0)
    ax.set_xlabel("distance from the source\n(1: 99 % of its own cells are nearer)")
    ax.xaxis.set_major_locator(LogLocator(subs=next(subs for most, subs in TICKS.items() if high - low < most)))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.spines[["top", "right", "left"]].set_visible(False)
    handles = [Line2D([], [], **aim()), Line2D([], [], color=ink(0), **MEDIAN), Patch(facecolor=OUTSIDE, alpha=0.8)]
    names = ["edge of the source", "median", "outside"]
    ax.legend(handles, names, frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=3)
    return finish([ax], show=show, return_fig=return_fig)


def _rows(distances: np.ndarray, labels: "pd.Series[Any] | None") -> list[tuple[str, np.ndarray]]:
    """Return names and distances of the groups, the one with the largest share of cells outside first."""
    if labels is None:
        return [("all query cells", distances)]
    if n := int(labels.isna().sum()):
        raise ValueError(f"obs[{labels.name!r}] is missing (NaN) for {n} query cells; label or drop them first.")
    rows = [(str(name), distances[(labels == name).to_numpy()]) for name in labels.unique()]
    return sorted(rows, key=lambda row: (-(row[1] > 1).mean(), -np.median(row[1]), row[0]))


def _hill(ax: Axes, y: float, distances: np.ndarray) -> None:
    """Draw the distribution of distances as a hill that stands in row y, and its median."""
    values, middle = np.log10(distances), np.median(distances)
    bandwidth = max(0.7 * np.std(values) * len(values) ** -0.2, 0.01)
    x = np.arange(values.min() - 3 * bandwidth, values.max() + 3 * bandwidth, bandwidth / 5)
    counts = np.histogram(values, bins=x)[0]
    x, density = (x[1:] + x[:-1]) / 2, ndimage.gaussian_filter1d(counts.astype(float), 5, mode="constant")
    fine = np.union1d(x, [0.0])  # colours meet on the edge of the source
    height = HEIGHT * np.interp(fine, x, density) / density.max()
    for color, side, cells in ((INSIDE, fine <= 0, values <= 0), (OUTSIDE, fine >= 0, values > 0)):
        if cells.any():  # what is smoothed does not reach where no cell is
            ax.fill_between(10 ** fine[side], y, y - height[side], color=color, alpha=0.8, linewidth=0, zorder=2)
    ax.plot([middle, middle], [y, y - np.interp(np.log10(middle), fine, height)], zorder=3, color=ink(0), **MEDIAN)
    ax.axhline(y, color=ink(0.8), linewidth=0.6, zorder=1)


def _percent(share: float) -> str:
    """Write a share, never rounding some to none or to all."""
    if 0 < share < 0.005:
        return "<1 %"
    return ">99 %" if 0.995 <= share < 1 else f"{share:.0%}".replace("%", " %")
