"""What every plot shares: what is read, colours, panels, and what is returned."""

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from anndata import AnnData
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from scipy import sparse

from .. import _slots
from .._check import matrix_of

OKABE_ITO = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#F0E442"]
"""Eight colours that are told apart with any colour vision (Okabe & Ito 2008)."""


ROLES = {"source": "#92C5DE", "target": "#F4A582", "query": "#0571B0", "edited": "#B2182B"}
"""The paper's colours, light for the controls and dark for the query, in shades that are told apart without red and green."""


def ink(shade: float) -> str:
    """Return a grey from the colour of text, 0, to white, 1; where text is light, as in a dark style, to black."""
    red, green, blue = to_rgb(plt.rcParams["text.color"])
    ground = float(red + green + blue < 1.5)
    return to_hex((red + shade * (ground - red), green + shade * (ground - green), blue + shade * (ground - blue)))


def aim() -> dict[str, Any]:
    """Return the style of a line to be reached, or not to be crossed."""
    return {"color": ink(0.3), "linestyle": "--", "linewidth": 1}


def nought() -> dict[str, Any]:
    """Return the style of a line where nothing happened."""
    return {"color": ink(0.6), "linewidth": 0.8}


def values_of(
    adata: AnnData, layer: str | None, rows: np.ndarray | slice = slice(None), names: Sequence[str] | None = None
) -> np.ndarray:
    """Return some cells and features of a layer, dense."""
    values = matrix_of(adata, layer)[rows]
    values = values if names is None else values[:, adata.var_names.get_indexer(names)]
    return np.asarray(values.toarray() if sparse.issparse(values) else values)


def units(adata: AnnData, layer: str | None, names: Sequence[str]) -> str:
    """Return the units of some features of a layer, as far as they are known, else an empty string."""
    if _slots.cofactor(layer) not in adata.var:
        return ""
    cofactors = adata.var.loc[names, _slots.cofactor(layer)].dropna().unique()
    return "" if not len(cofactors) else f"arcsinh, cofactor {cofactors[0]:g}" if len(cofactors) == 1 else "arcsinh"


def axis_label(what: str, unit: str) -> str:
    """Name what is on an axis, with its units where they are known."""
    return f"{what} ({unit})" if unit else what


def panels(
    n: int,
    ax: Axes | Sequence[Axes] | None,
    *,
    columns: int | None = None,
    size: tuple[float, float] = (2.9, 2.9),
    room: float = 1.4,
    **sharing: Any,
) -> list[Axes]:
    """Return n axes, row by row: the caller's own, or new ones of this size, in inches, with room for what stands beside."""
    if ax is None:
        columns = min(columns or n, n)
        rows = -(-n // columns)
        figsize = (size[0] * columns + room, size[1] * rows + 0.4)
        _, axes = plt.subplots(rows, columns, figsize=figsize, squeeze=False, layout="constrained", **sharing)
        for spare in axes.flat[n:]:
            spare.remove()
        return list(axes.flat[:n])
    given = [ax] if isinstance(ax, Axes) else list(np.ravel(np.asarray(ax, dtype=object)))
    if len(given) != n:
        raise ValueError(f"ax holds {len(given)} axes; {n} panels are to be drawn.")
    return given


def cloud(panel: Axes, values: np.ndarray, colors: np.ndarray, **style: Any) -> None:
    """Draw every cell as a point, in an order that is the same each time and gives no group the last word."""
    order = np.random.default_rng(0).permutation(len(values))
    panel.scatter(values[order, 0], values[order, 1], c=colors[order], linewidths=0, rasterized=True, **style)


def colors_of(adata: AnnData, groupby: str, groups: Sequence[Any], palette: Any) -> dict[Any, str]:
    """Return a colour for each group: the caller's, scanpy's in ``uns``, or a colour-blind safe one."""
    if isinstance(palette, dict):
        if missing := [group for group in groups if group not in palette]:
            raise ValueError(f"palette has no colour for {missing!r}.")
        return {group: to_hex(palette[group]) for group in groups}
    stored = adata.uns.get(f"{groupby}_colors")
    if palette is None and stored is not None and hasattr(adata.obs[groupby], "cat"):
        known = dict(zip(adata.obs[groupby].cat.categories, stored, strict=False))
        if all(group in known for group in groups):
            return {group: to_hex(known[group]) for group in groups}
    told_apart = [ink(0) if color == "#000000" else color for color in OKABE_ITO]
    colors = palette or (
        told_apart if len(groups) <= len(OKABE_ITO) else plt.get_cmap("turbo")(np.linspace(0.05, 0.95, len(groups)))
    )
    if len(colors) < len(groups):
        raise ValueError(f"palette has {len(colors)} colours for {len(groups)} groups.")
    return {group: to_hex(color) for group, color in zip(groups, colors, strict=False)}


def finish(axes: Sequence[Axes], *, show: bool | None, return_fig: bool) -> Any:
    """Show the figure where it was asked for; return the figure, the only Axes, or all of them."""
    if show:
        plt.show()
    if return_fig:
        return axes[0].figure
    return axes[0] if len(axes) == 1 else list(axes)
