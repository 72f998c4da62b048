"""Two markers against each other, before and after the edit: Figure 4 of the paper."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from anndata import AnnData
from matplotlib.axes import Axes
from scipy import ndimage

from .. import _slots
from .._check import Positive, Share
from .._data.check import check_features, format_choices, get_column, lookup
from ._figure import DOT, draw_cloud, finish, get_colors, get_values, legend_beside, name_axis, panels

Kind = Literal["points", "contours"]
GroupedCells = tuple[np.ndarray, np.ndarray]  # two features, (n_cells, 2), and the number of its group, of each cell
MAX_CELLS_AS_POINTS = 10_000  # in a panel, above which contours are clearer than points
MIN_CELLS_FOR_DENSITY = 10  # of a group, below which a density means nothing: they are shown as they are
CONTOUR_SHARES = (0.9, 0.6, 0.3)  # of a group's cells, that its contours enclose


def biaxial(
    adata: AnnData,
    x: str,
    y: str,
    *,
    groupby: str,
    groups: Sequence[Any] | None = None,
    layers: Sequence[str | None] = (None, _slots.EDITED),
    kind: Kind | None = None,
    palette: Mapping[Any, str] | Sequence[str] | None = None,
    point_size: Positive | None = None,
    alpha: Share = 0.6,
    ax: Axes | Sequence[Axes] | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Any:
    """Draw two markers against each other, a panel for each layer and a colour for each group.

    Examples
    --------
    >>> import neuronedit as ne
    >>> adata = ne.datasets.simulate_batches(n_cells=200)
    >>> axes = ne.pl.biaxial(adata, x="IFNg", y="CCR6", groupby="group", layers=[None, "truth"])

    Parameters
    ----------
    adata
        Cells by features, usually after :func:`neuronedit.tl.edit`.
    x, y
        Two of ``var_names``.
    groupby
        Column of ``obs`` that colours the cells.
    groups
        Draw only these, in this order. `None`: all, in the order of the categories.
    layers
        One panel each; `None` is X.
    %(points)s
    %(palette)s
    %(figure)s
    """
    # read
    check_features(adata, x, y)
    column = get_column(adata, groupby).astype("category").cat.remove_unused_categories()
    for group in groups or []:
        if group not in list(column.cat.categories):  # a list takes what has no hash, too
            there = format_choices(column.cat.categories, near=group)
            raise ValueError(f"{group!r} is not in obs[{groupby!r}]; it has {there}.")
    groups = list(column.cat.categories if groups is None else groups)
    numbers = column.cat.set_categories(groups).cat.codes.to_numpy()  # -1 for cells that are not drawn
    shown = np.flatnonzero(numbers >= 0)
    if not len(shown):
        raise ValueError(f"no cell has a value in obs[{groupby!r}] that is drawn; adata has {adata.n_obs:,} cells.")
    colors = get_colors(adata, groupby, groups, palette)
    cells = [(get_values(adata, layer, names=(x, y))[shown], numbers[shown]) for layer in layers]

    # draw
    axes = draw_populations(cells, colors, kind, {"s": point_size, "alpha": alpha}, groupby, ax=ax)
    name_markers(axes, adata, x, y, ["measured" if layer is None else layer for layer in layers], layers)
    return finish(axes, show=show, return_fig=return_fig)


def draw_populations(
    cells: list[GroupedCells], colors: dict[Any, str], kind: Kind | None, style: Any, title: Any = None, **layout: Any
) -> list[Axes]:
    """Draw the cells of each panel, all to the same scale, and name the groups, halfway up."""
    n_cells = max(len(numbers) for _, numbers in cells)
    kind = kind or ("points" if n_cells <= MAX_CELLS_AS_POINTS else "contours")
    draw, share_shown = lookup(KINDS, kind, "kind")
    axes = panels(len(cells), sharex=True, sharey=True, **layout)
    shares = [(1 - share_shown) / 2, (1 + share_shown) / 2]
    low, high = np.quantile(np.concatenate([values for values, _ in cells]), shares, axis=0)
    margin = 0.08 * np.where(high > low, high - low, 1.0)
    limits = np.stack([low - margin, high + margin])
    style = style | {"s": style["s"] or np.clip(40_000 / n_cells, 1.0, 12.0)}
    for of_panel, panel in zip(cells, axes, strict=True):
        panel.set(xlim=limits[:, 0], ylim=limits[:, 1])
        draw(panel, of_panel, list(colors.values()), style)
    styles = {name: DOT | {"color": color} for name, color in colors.items()}
    legend_beside(axes, styles, loc="center left", bbox_to_anchor=(1.02, 0.5), title=title)
    return axes


def name_markers(
    axes: Sequence[Axes], adata: AnnData, x: str, y: str, titles: Sequence[str], layers: Sequence[str | None]
) -> None:
    """Name the panels, and the two markers where an outer panel shows them."""
    for panel, title, layer in zip(axes, titles, layers, strict=True):
        panel.set(title=title, xlabel=name_axis(adata, layer, x))
        panel.label_outer()
    axes[0].set_ylabel(name_axis(adata, layers[0], y))


def _draw_points(panel: Axes, cells: GroupedCells, colors: Sequence[str], style: dict[str, Any]) -> None:
    """Draw every cell."""
    values, numbers = cells
    draw_cloud(panel, values, np.array(colors)[numbers], **style)


def _draw_contours(panel: Axes, cells: GroupedCells, colors: Sequence[str], style: dict[str, Any]) -> None:
    """Draw the curves that enclose given shares of each group's cells, from a smoothed histogram."""
    limits = panel.get_xlim(), panel.get_ylim()
    for group, color in enumerate(colors):
        own = cells[0][cells[1] == group]
        if len(own) < MIN_CELLS_FOR_DENSITY:
            panel.scatter(own[:, 0], own[:, 1], c=color, s=style["s"], linewidths=0, rasterized=True)
            continue
        x, y = own.T
        counts, *edges = np.histogram2d(x, y, bins=200, range=limits)
        scott = own.std(axis=0) * len(own) ** (-1 / 6) / [np.diff(edge)[0] for edge in edges]
        density = ndimage.gaussian_filter(counts, sigma=np.maximum(0.6 * scott, 1.0), mode="constant")
        ordered = np.sort(density, axis=None)[::-1]
        enclosed = np.cumsum(ordered) / ordered.sum()
        levels = np.unique([ordered[np.searchsorted(enclosed, share)] for share in CONTOUR_SHARES])
        centers = [(edge[1:] + edge[:-1]) / 2 for edge in edges]
        panel.contour(*centers, density.T, levels=levels, colors=color, linewidths=np.linspace(0.8, 1.6, len(levels)))


KINDS = {"points": (_draw_points, 1.0), "contours": (_draw_contours, 0.999)}  # and the share of cells that axes show
