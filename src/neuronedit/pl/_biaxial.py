"""Two markers against each other, before and after the edit: Figure 4 of the paper."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from anndata import AnnData
from matplotlib.axes import Axes

from .. import _slots
from .._check import Positive, Share
from .._data.check import check_features, format_choices, get_column, lookup
from ._contours import draw_contours, draw_differences, explain_contours
from ._figure import DOT, draw_cloud, finish, get_colors, get_values, ink, legend_beside, name_axis, panels

Kind = Literal["points", "contours"]
GroupedCells = tuple[np.ndarray, np.ndarray]  # two features, (n_cells, 2), and the number of its group, of each cell
Content = tuple[int, int | None]  # of a panel: the number of the layer, and of the group; `None`: all groups
MAX_CELLS_AS_POINTS = 2_000  # in a panel, above which contours are clearer than points
MAX_GROUPS_OVER_EACH_OTHER = 3  # as contours, above which each has a panel of its own
PANELS_IN_A_ROW = 4  # where each group has its own
WIDE, MIDDLE, NARROW = (
    (2.9, 2.9),
    (2.2, 2.4),
    (1.75, 1.75),
)  # of a panel, in inches, of up to 2, of 3, and of more in a row
ARROW_IN_LEGEND = DOT | {"marker": r"$\rightarrow$", "markersize": 14}
MIN_LENGTH_OF_ARROW = 0.03  # of the axes: a mean that moved less has no arrow


def biaxial(
    adata: AnnData,
    x: str,
    y: str,
    *,
    groupby: str,
    groups: Sequence[Any] | None = None,
    layers: Sequence[str | None] = (None, _slots.EDITED),
    kind: Kind | None = None,
    by_group: bool | None = None,
    difference: Literal["groups", "layers"] | None = None,
    arrows: bool = True,
    palette: Mapping[Any, str] | Sequence[Any] | str | None = None,
    point_size: Positive | None = None,
    alpha: Share = 0.6,
    ax: Axes | Sequence[Axes] | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Any:
    """Draw two markers against each other, a panel for each layer and a colour for each group.

    Many cells are drawn as filled contours. An arrow shows how far the mean of a group moved from the first layer.

    Examples
    --------
    >>> import neuronedit as ne
    >>> adata = ne.datasets.simulate_batches(n_cells=200)
    >>> axes = ne.pl.biaxial(adata, x="IFNg", y="CCR6", groupby="group", layers=[None, "truth"])
    >>> ax = ne.pl.biaxial(adata, x="IFNg", y="CCR6", groupby="group", layers=[None], groups=["control_1", "sample_1"],
    ...                    difference="groups")

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
    by_group
        Draw a panel for each layer and group, with all other groups in pale grey. `None`: where more than three groups are
        drawn as contours, unless ``ax`` has one panel for each layer.
    difference
        ``"groups"``: the density of each further group minus that of the first one. ``"layers"``: the density of each group
        in each further layer minus that in the first layer. `None`: the densities themselves.
    arrows
        Draw an arrow from the mean of a group in the first layer to its mean in the layer of the panel. Arrows that are
        shorter than 3 % of the axes are left out.
    %(palette)s
    %(figure)s
    """
    # read
    check_features(adata, x, y)
    if not len(layers):
        raise ValueError("layers is empty; name at least one, such as None for X.")
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
    names = ["measured" if layer is None else layer for layer in layers]
    if difference is not None:
        axes, contents = _draw_change(cells, groups, names, difference, ax)
        name_markers(axes, adata, x, y, [layers[i] for i, _ in contents])
        return finish(axes, show=show, return_fig=return_fig)

    # draw
    kind = choose_kind(cells, kind)
    if by_group is None:
        has_room = ax is None or np.size(np.asarray(ax, dtype=object)) != len(layers)
        by_group = kind == "contours" and len(groups) > MAX_GROUPS_OVER_EACH_OTHER and has_room
    contents = _list_panels(len(layers), len(groups)) if by_group else [(i, None) for i in range(len(layers))]
    axes = draw_populations(cells, colors, kind, {"s": point_size, "alpha": alpha}, contents, ax=ax)
    n_arrows = 0
    for panel, (i, group) in zip(axes, contents, strict=True):
        of_layer = [names[i]] if group is None or len(layers) > 1 else []
        panel.set_title("\n".join([*([] if group is None else [str(groups[group])]), *of_layer]), fontsize="medium")
        if arrows and i:
            n_arrows += _draw_mean_arrows(panel, cells[0], cells[i], range(len(groups)) if group is None else [group])
    change = {f"mean, {names[0]} → here": ARROW_IN_LEGEND | {"color": ink(0)}} if n_arrows else {}
    explain_groups(axes, colors, kind, alpha, groupby, contents, change)
    name_markers(axes, adata, x, y, [layers[i] for i, _ in contents])
    return finish(axes, show=show, return_fig=return_fig)


def choose_kind(cells: Sequence[GroupedCells], kind: Kind | None) -> Kind:
    """Return how cells are drawn: as asked for, or by how many there are."""
    n_cells = max(len(numbers) for _, numbers in cells)
    kind = kind or ("points" if n_cells <= MAX_CELLS_AS_POINTS else "contours")
    lookup(KINDS, kind, "kind")
    return kind


def _list_panels(n_layers: int, n_groups: int, first_layer: int = 0, first_group: int = 0) -> list[Content]:
    """Return what each panel shows: a row for each layer, or, of many groups, one group after the other."""
    layers, groups = range(first_layer, n_layers), range(first_group, n_groups)
    if len(groups) <= PANELS_IN_A_ROW:
        return [(layer, group) for layer in layers for group in groups]
    return [(layer, group) for group in groups for layer in layers]


def _lay_out(contents: Sequence[Content]) -> dict[str, Any]:
    """Return how panels are laid out in rows."""
    n_layers, n_groups = (len({content[part] for content in contents}) for part in (0, 1))
    n_columns = min(n_layers, PANELS_IN_A_ROW) if n_groups == 1 else n_groups
    if n_columns > PANELS_IN_A_ROW:
        n_columns = n_layers * max(PANELS_IN_A_ROW // n_layers, 1)
    return {"n_columns": n_columns, "size": WIDE if n_columns < 3 else MIDDLE if n_columns == 3 else NARROW}


def draw_populations(
    cells: list[GroupedCells],
    colors: dict[Any, str],
    kind: Kind,
    style: Any,
    contents: Sequence[Content] | None = None,
    **layout: Any,
) -> list[Axes]:
    """Draw the cells of each panel, all to the same scale."""
    contents = contents or [(i, None) for i in range(len(cells))]
    draw, share_shown = KINDS[kind]
    axes = _open_panels(cells, contents, share_shown, **layout)
    n_cells = max(len(numbers) for _, numbers in cells)
    style = style | {"s": style["s"] or np.clip(40_000 / n_cells, 1.0, 12.0)}
    for panel, (i, group) in zip(axes, contents, strict=True):
        values, numbers = cells[i]
        if group is not None:
            is_other = numbers != group
            draw(panel, (values[is_other], np.zeros(is_other.sum(), dtype=int)), [ink(0.7)], style | {"alpha": 0.5})
            values, numbers = values[~is_other], numbers[~is_other]
        draw(panel, (values, numbers), list(colors.values()), style)
    return axes


def explain_groups(
    axes: Sequence[Axes],
    colors: dict[Any, Any],
    kind: Kind,
    alpha: float,
    title: Any = None,
    contents: Sequence[Content] = ((0, None),),
    more: Mapping[str, Any] | None = None,
) -> None:
    """Name the groups, or where each has its own panel only the others; and what the shades of contours enclose."""
    if contents[0][1] is not None:
        colors, title = {"all other groups": ink(0.7)}, None
    styles: dict[Any, Any] = {name: DOT | {"color": color} for name, color in colors.items()}
    styles = explain_contours(colors, alpha) if kind == "contours" else styles
    n_columns = _lay_out(contents)["n_columns"] if contents[0][1] is not None else None
    legend_beside(axes, styles | dict(more or {}), n_columns, title=title, alignment="left")


def _open_panels(
    cells: Sequence[GroupedCells], contents: Sequence[Content], share_shown: float, **layout: Any
) -> list[Axes]:
    """Open the panels, all with the limits that show this share of the cells of every panel."""
    axes = panels(len(contents), sharex=True, sharey=True, **(_lay_out(contents) | layout))
    shares = [(1 - share_shown) / 2, (1 + share_shown) / 2]
    low, high = np.quantile(np.concatenate([values for values, _ in cells]), shares, axis=0)
    margin = 0.08 * np.where(high > low, high - low, 1.0)
    limits = np.stack([low - margin, high + margin])
    for panel in axes:
        panel.set(xlim=limits[:, 0], ylim=limits[:, 1])
        panel.locator_params(nbins=5, steps=[1, 2, 5, 10])
    return axes


def _draw_change(
    cells: list[GroupedCells], groups: list[Any], names: list[str], difference: str, ax: Any
) -> tuple[list[Axes], list[Content]]:
    """Draw the difference between the densities of groups, or of layers."""
    is_of_groups = difference == "groups"
    n_parts = len(groups) if is_of_groups else len(names)
    if n_parts < 2:
        raise ValueError(f"difference={difference!r} needs at least two {difference}; there is {n_parts}.")
    contents = _list_panels(len(names), len(groups), first_layer=not is_of_groups, first_group=is_of_groups)
    parts = {(i, j): values[numbers == j] for i, (values, numbers) in enumerate(cells) for j in range(len(groups))}
    if empty := [groups[j] for (_, j), values in parts.items() if not len(values)]:
        raise ValueError(f"no cell is in the group {empty[0]!r}: its density is not known.")
    axes = _open_panels(cells, contents, KINDS["contours"][1], ax=ax, room=1.0)
    numbered = [(i, int(j)) for i, j in contents if j is not None]
    both = [(parts[i, j], parts[(i, 0) if is_of_groups else (0, j)]) for i, j in numbered]
    first = groups[0] if is_of_groups else names[0]
    draw_differences(axes, both, f"density minus that of {first}" if is_of_groups else f"density minus that in {first}")
    for panel, (i, j) in zip(axes, numbered, strict=True):
        of_groups = f"{groups[j]} − {first}" + (f"\n{names[i]}" if len(names) > 1 else "")
        title = of_groups if is_of_groups else f"{groups[j]}\n{names[i]} − {first}"
        panel.set_title(title, fontsize="medium")
    return axes, contents


def _draw_mean_arrows(panel: Axes, before: GroupedCells, after: GroupedCells, groups: Sequence[int]) -> int:
    """Draw an arrow from the mean of each group before to its mean after, where that moved; return how many."""
    n_drawn, spans = 0, np.array([np.ptp(panel.get_xlim()), np.ptp(panel.get_ylim())])
    for group in groups:
        own = before[1] == group
        if not own.any():
            continue
        start, end = before[0][own].mean(axis=0), after[0][own].mean(axis=0)
        if np.linalg.norm((end - start) / spans) > MIN_LENGTH_OF_ARROW:
            arrow = {"arrowstyle": "simple,head_width=0.9,head_length=0.9,tail_width=0.25", "shrinkA": 0, "shrinkB": 0}
            arrow |= {"facecolor": ink(0), "edgecolor": ink(1), "linewidth": 0.8}
            panel.annotate("", end, start, arrowprops=arrow, zorder=6)
            n_drawn += 1
    return n_drawn


def name_markers(axes: Sequence[Axes], adata: AnnData, x: str, y: str, layers: Sequence[str | None]) -> None:
    """Name the two markers where an outer panel shows them."""
    for i, (panel, layer) in enumerate(zip(axes, layers, strict=True)):
        spec = panel.get_subplotspec()
        n_columns = spec.get_gridspec().ncols if spec is not None else 1
        is_narrow = n_columns >= PANELS_IN_A_ROW - 1  # three labels in a row would touch each other
        labels = [name_axis(adata, layer, name) for name in (x, y)]
        labels = [label.replace(" (", "\n(") if is_narrow else label for label in labels]
        panel.set(xlabel=labels[0], ylabel=labels[1])
        panel.label_outer()
        if i + n_columns >= len(axes):  # below it is no panel
            panel.set_xlabel(labels[0])
            panel.tick_params(axis="x", labelbottom=True)
        for axis in (panel.xaxis, panel.yaxis):
            axis.label.set_fontsize("small" if is_narrow else "medium")


def _draw_points(panel: Axes, cells: GroupedCells, colors: Sequence[str], style: dict[str, Any]) -> None:
    """Draw every cell."""
    values, numbers = cells
    draw_cloud(panel, values, np.array(colors)[numbers], **style)


def _draw_all_contours(panel: Axes, cells: GroupedCells, colors: Sequence[str], style: dict[str, Any]) -> None:
    """Draw the filled contours of each group."""
    for group, color in enumerate(colors):
        own = cells[0][cells[1] == group]
        if len(own):
            draw_contours(panel, own, color, **style)


KINDS = {
    "points": (_draw_points, 1.0),
    "contours": (_draw_all_contours, 0.999),
}  # and the share of cells that axes show
