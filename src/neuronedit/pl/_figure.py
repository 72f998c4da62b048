"""What every plot shares: what is read, colours, panels, legends, and what is returned."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from anndata import AnnData
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import is_color_like, to_hex, to_rgb
from matplotlib.lines import Line2D
from scipy import sparse

from .. import _slots
from .._data.check import check_real, check_sparse, check_unique, describe_layer, get_matrix

OKABE_ITO = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#F0E442"]
"""Eight colours that are told apart with any colour vision (Okabe & Ito 2008)."""

ROLES = {"source": "#92C5DE", "target": "#F4A582", "query": "#0571B0", "edited": "#B2182B"}
"""The paper's colours, light for source and target and dark for the query, in shades that differ without red and green."""

DOT: dict[str, Any] = {"marker": "o", "linestyle": ""}  # in a legend, besides its colour
LIGHT_ON_DARK = 0.35  # share of white in a colour on a dark ground
MAX_QUALITATIVE = 20  # colours that a qualitative colour map lists, as tab20 does
LETTERS_OF_PANEL_TITLE = 20  # in a line, of a panel that is 2 inches wide
INCHES_PER_LETTER = 0.075  # mean width of a letter in matplotlib's font at its usual size


def is_dark() -> bool:
    """Return whether the ground is dark, as text is light."""
    return sum(to_rgb(plt.rcParams["text.color"])) >= 1.5


def ink(shade: float) -> str:
    """Return a grey from the colour of text, 0, to white, 1; where text is light, as in a dark style, to black."""
    red, green, blue = to_rgb(plt.rcParams["text.color"])
    ground = float(not is_dark())
    return to_hex((red + shade * (ground - red), green + shade * (ground - green), blue + shade * (ground - blue)))


def vivid(color: str) -> str:
    """Return a colour; on a dark ground it is mixed with white, so that it stands out."""
    if not is_dark():
        return color
    red, green, blue = (channel + LIGHT_ON_DARK * (1 - channel) for channel in to_rgb(color))
    return to_hex((red, green, blue))


def get_role_colors() -> dict[str, str]:
    """Return the colours of source, target, query and edited query on the ground that is drawn on."""
    return {role: vivid(color) for role, color in ROLES.items()}


def ideal_line() -> dict[str, Any]:
    """Return the style of a line to be reached, or not to be crossed."""
    return {"color": ink(0.3), "linestyle": "--", "linewidth": 1}


def zero_line() -> dict[str, Any]:
    """Return the style of a line where nothing happened."""
    return {"color": ink(0.6), "linewidth": 0.8}


def blank(pad: float = 1) -> dict[str, Any]:
    """Return the style of a box behind text that hides what lies below."""
    return {"facecolor": ink(1), "edgecolor": "none", "pad": pad}


def get_values(adata: AnnData, layer: str | None, rows: Any = slice(None), names: Any = None) -> np.ndarray:
    """Return some cells and features of a layer, dense."""
    values = check_sparse(check_sparse(get_matrix(adata, layer), describe_layer(layer))[rows], describe_layer(layer))
    if names is not None:
        check_unique(adata)
        values = values[:, adata.var_names.get_indexer(names)]
    values = np.asarray(values.toarray() if sparse.issparse(values) else values)
    check_real(values, describe_layer(layer))
    if not values.size:
        raise ValueError(
            f"{describe_layer(layer)} has no values of what is to be drawn: {values.shape[0]} cells by {values.shape[1]} features."
        )
    if not np.isfinite(values).all():
        raise ValueError(f"{describe_layer(layer)} has NaN or infinite values in what is to be drawn.")
    return values


def describe_units(adata: AnnData, layer: str | None, names: Sequence[str]) -> str:
    """Return the units of some features of a layer, as far as they are known, else an empty string."""
    if _slots.cofactor(layer) not in adata.var:
        return ""
    cofactors = adata.var.loc[names, _slots.cofactor(layer)].dropna().unique()
    return "" if not len(cofactors) else f"arcsinh, cofactor {cofactors[0]:g}" if len(cofactors) == 1 else "arcsinh"


def name_axis(adata: AnnData, layer: str | None, name: str) -> str:
    """Name a feature on an axis, with its units where they are known."""
    unit = describe_units(adata, layer, [name])
    return f"{name} ({unit})" if unit else name


def panels(
    n: int, ax: Any, *, size: Any = (2.9, 2.9), room: float = 1.4, names: Any = (), n_columns: int = 0, **grid: Any
) -> list[Axes]:
    """Return n axes, row by row: the caller's own, or new ones of this size, in inches, with room for names and more beside."""
    if ax is None:
        room += INCHES_PER_LETTER * max((len(str(name)) for name in names), default=0)
        n_columns = min(n_columns or n, n)
        n_rows = -(-n // n_columns)
        figsize = (size[0] * n_columns + room, size[1] * n_rows + 0.4)
        _, ax = plt.subplots(n_rows, n_columns, figsize=figsize, squeeze=False, layout="constrained", **grid)
        for spare in ax.flat[n:]:
            spare.remove()
        ax = ax.flat[:n]
    axes = list(np.ravel(np.asarray(ax, dtype=object)))
    if len(axes) != n:
        raise ValueError(f"ax holds {len(axes)} axes; {n} panels are to be drawn.")
    for panel in axes:
        panel.spines[["top", "right"]].set_visible(False)
    return axes


def legend_beside(axes: Sequence[Axes], styles: Mapping[Any, Any], n_columns: int | None = None, **place: Any) -> None:
    """Name styles of lines and dots, or other artists, on the right of the last panel of the first row."""
    panel = axes[min(len(axes), n_columns or len(axes)) - 1]
    handles = [Line2D([], [], **style) if isinstance(style, dict) else style for style in styles.values()]
    options: dict[str, Any] = {"frameon": False, "loc": "upper left", "bbox_to_anchor": (1.02, 1)}
    panel.legend(handles, list(styles), **(options | place))


def draw_cloud(panel: Axes, values: np.ndarray, colors: np.ndarray, **style: Any) -> None:
    """Draw every cell as a point, in an order that is the same each time and gives no group the last word."""
    order = np.random.default_rng(0).permutation(len(values))
    panel.scatter(values[order, 0], values[order, 1], c=colors[order], linewidths=0, rasterized=True, **style)


def get_colors(adata: AnnData, groupby: str, groups: Sequence[Any], palette: Any) -> dict[Any, str]:
    """Return a colour for each group: the caller's, scanpy's in ``uns``, or a colour-blind safe one."""
    stored = adata.uns.get(f"{groupby}_colors")
    if palette is None and stored is not None and hasattr(adata.obs[groupby], "cat"):
        known = dict(zip(adata.obs[groupby].cat.categories, stored, strict=False))
        palette = known if all(group in known for group in groups) else None
    if isinstance(palette, Mapping):
        if missing := [group for group in groups if group not in palette]:
            raise ValueError(f"palette has no colour for {missing!r}.")
        colors = [palette[group] for group in groups]
    elif isinstance(palette, str):
        colors = _take_colors(palette, len(groups))
    elif palette is not None:
        colors = palette
    elif len(groups) <= len(OKABE_ITO):
        colors = [ink(0) if color == "#000000" else color for color in OKABE_ITO]
    else:
        colors = _take_colors("turbo", len(groups))
    if len(colors) < len(groups):
        raise ValueError(f"palette has {len(colors)} colours for {len(groups)} groups.")
    if bad := [color for color in colors if not is_color_like(color)]:
        raise ValueError(f"palette has {bad[0]!r}, which is no colour of matplotlib, such as 'red' or '#0072B2'.")
    return {group: to_hex(color) for group, color in zip(groups, colors, strict=False)}


def _take_colors(name: str, n: int) -> Any:
    """Return the colours of a qualitative colour map, or ``n`` of another one."""
    if name not in colormaps:
        raise ValueError(
            f"palette={name!r} is no colour map of matplotlib, such as 'tab10'; give its name, or colours."
        )
    listed = getattr(colormaps[name], "colors", [])
    return listed if 0 < len(listed) <= MAX_QUALITATIVE else colormaps[name](np.linspace(0.05, 0.95, n))


class Panels(list[Axes]):
    """The Axes of several panels, and their ``figure``. A notebook shows the figure, and does not print them."""

    @property
    def figure(self) -> Any:
        return self[0].figure

    def _ipython_display_(self) -> None:
        _print_nothing()


def _print_nothing() -> None:
    """Stand for what a notebook would print of a value."""


def finish(axes: Sequence[Axes], *, show: bool | None, return_fig: bool) -> Any:
    """Show the figure where it was asked for; return the figure, the only Axes, or all of them. None of them prints in a notebook."""
    if show:
        plt.show()
    if return_fig:
        return axes[0].figure
    if len(axes) > 1:
        return Panels(axes)
    vars(axes[0])["_ipython_display_"] = _print_nothing
    return axes[0]
