"""Two markers against each other, before and after the edit: Figure 4 of the paper."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from anndata import AnnData
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from scipy import ndimage

from .. import _slots
from .._check import check_features, lookup, some
from ._figure import axis_label, cloud, colors_of, finish, panels, units, values_of

MOST_POINTS = 10_000
"""Cells in a panel above which contours are clearer than points."""

MASSES = (0.9, 0.6, 0.3)
"""Shares of a group's cells that its contours enclose."""


def biaxial(
    adata: AnnData,
    x: str,
    y: str,
    *,
    groupby: str,
    groups: Sequence[Any] | None = None,
    layers: Sequence[str | None] = (None, _slots.EDITED),
    kind: str | None = None,
    palette: Mapping[Any, str] | Sequence[str] | None = None,
    point_size: float | None = None,
    alpha: float = 0.6,
    ax: Axes | Sequence[Axes] | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Any:
    """Draw two markers against each other, a panel for each layer and a colour for each group.

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
    kind
        ``"points"``: every cell, rasterized, in an order shuffled over the groups so that none hides another;
        ``"contours"``: curves that enclose 30, 60 and 90 % of each group's cells; `None`: points up to 10,000 cells.
    palette
        Colours, or a dict group -> colour. `None`: those in ``uns["<groupby>_colors"]``, else colour-blind safe ones.
    point_size
        In points squared. `None`: smaller for more cells.
    alpha
        Opacity of the points.
    ax
        Axes to draw into, one for each layer.
    show
        Call ``plt.show()``.
    return_fig
        Return the figure instead.

    Returns
    -------
    The Axes, or a list with one for each layer; the Figure with ``return_fig=True``.

    Raises
    ------
    KeyError, ValueError
        When a marker, column, group or layer is not there.

    Examples
    --------
    >>> import neuronedit as ne
    >>> adata = ne.datasets.simulate_batches(n_cells=200)
    >>> axes = ne.pl.biaxial(adata, x="IFNg", y="CCR6", groupby="group", layers=[None, "truth"])
    >>> [ax.get_title() for ax in axes]
    ['measured', 'truth']
    """
    check_features(adata, x, y)
    labels, groups = _labels(adata, groupby, groups)
    shown = np.flatnonzero(labels >= 0)
    colors = colors_of(adata, groupby, groups, palette)
    cells = [(values_of(adata, layer, names=(x, y))[shown], labels[shown]) for layer in layers]
    axes = draw_populations(cells, list(colors.values()), kind=kind, point_size=point_size, alpha=alpha, ax=ax)

    for layer, panel in zip(layers, axes, strict=True):
        panel.set_title("measured" if layer is None else layer)
        panel.set_xlabel(axis_label(x, units(adata, layer, [x])))
        panel.label_outer()
    axes[0].set_ylabel(axis_label(y, units(adata, layers[0], [y])))
    legend_beside(axes[-1], colors, title=groupby)
    return finish(axes, show=show, return_fig=return_fig)


def draw_populations(
    cells: Sequence[tuple[np.ndarray, np.ndarray]],
    colors: Sequence[str],
    *,
    kind: str | None,
    point_size: float | None,
    alpha: float,
    ax: Axes | Sequence[Axes] | None,
    room: float = 1.4,
) -> list[Axes]:
    """Draw cells, ``(n_cells, 2)``, and the numbers of their groups, a panel each, all to the same scale."""
    n_cells = max(len(labels) for _, labels in cells)
    draw, share = lookup(KINDS, kind or ("points" if n_cells <= MOST_POINTS else "contours"), "kind")
    axes = panels(len(cells), ax, room=room, sharex=True, sharey=True)
    limits = _limits(np.concatenate([values for values, _ in cells]), share)
    style = {"size": point_size or np.clip(40_000 / n_cells, 1.0, 12.0), "alpha": alpha, "limits": limits}
    for (values, labels), panel in zip(cells, axes, strict=True):
        draw(panel, values, labels, colors, style)
        panel.set(xlim=limits[:, 0], ylim=limits[:, 1])
        panel.spines[["top", "right"]].set_visible(False)
    return axes


def legend_beside(panel: Axes, colors: Mapping[Any, str], **options: Any) -> None:
    """Name the groups on the right of a panel."""
    handles = [Line2D([], [], marker="o", linestyle="", markersize=6, color=color) for color in colors.values()]
    panel.legend(handles, list(colors), frameon=False, loc="center left", bbox_to_anchor=(1.02, 0.5), **options)


def _points(panel: Axes, values: np.ndarray, labels: np.ndarray, colors: Sequence[str], style: dict[str, Any]) -> None:
    """Draw every cell."""
    cloud(panel, values, np.array(colors)[labels], s=style["size"], alpha=style["alpha"])


def _contours(
    panel: Axes, values: np.ndarray, labels: np.ndarray, colors: Sequence[str], style: dict[str, Any]
) -> None:
    """Draw the curves that enclose given shares of each group's cells, from a smoothed histogram."""
    for group, color in enumerate(colors):
        cells = values[labels == group]
        if len(cells) < 10:  # too few for a density: show them as they are
            panel.scatter(cells[:, 0], cells[:, 1], c=color, s=style["size"], linewidths=0, rasterized=True)
            continue
        x, y = cells.T
        counts, *edges = np.histogram2d(x, y, bins=200, range=style["limits"].T)
        scott = cells.std(axis=0) * len(cells) ** (-1 / 6) / [np.diff(edge)[0] for edge in edges]
        density = ndimage.gaussian_filter(counts, sigma=np.maximum(0.6 * scott, 1.0), mode="constant")
        ordered = np.sort(density, axis=None)[::-1]
        enclosed = np.cumsum(ordered) / ordered.sum()
        levels = np.unique([ordered[np.searchsorted(enclosed, mass)] for mass in MASSES])
        centers = [(edge[1:] + edge[:-1]) / 2 for edge in edges]
        panel.contour(*centers, density.T, levels=levels, colors=color, linewidths=np.linspace(0.8, 1.6, len(levels)))


def _labels(adata: AnnData, groupby: str, groups: Sequence[Any] | None) -> tuple[np.ndarray, list[Any]]:
    """Return the number of each cell's group, -1 for cells that are not drawn, and the groups."""
    if groupby not in adata.obs:
        raise KeyError(f"{groupby!r} is not in adata.obs; it has {some(adata.obs)}.")
    column = adata.obs[groupby].astype("category").cat.remove_unused_categories()
    for group in groups or []:
        if group not in column.cat.categories:
            raise ValueError(f"{group!r} is not in obs[{groupby!r}]; it has {some(column.cat.categories)}.")
    groups = list(column.cat.categories if groups is None else groups)
    return column.cat.set_categories(groups).cat.codes.to_numpy(), groups


KINDS = {"points": (_points, 1.0), "contours": (_contours, 0.999)}
"""How to draw, and the share of the cells that the axes must show."""


def _limits(values: np.ndarray, share: float) -> np.ndarray:
    """Return the lower and upper limits of both axes, so that each shows this share of the cells."""
    low, high = np.quantile(values, [(1 - share) / 2, (1 + share) / 2], axis=0)
    margin = 0.08 * np.where(high > low, high - low, 1.0)
    return np.stack([low - margin, high + margin])
