"""The observed and the applied change, of all features in one embedding and of each: Figure 5a-b of the paper."""

from collections.abc import Callable, Hashable, Iterable, Sequence
from itertools import product
from typing import Annotated, Any

import numpy as np
from anndata import AnnData
from matplotlib.axes import Axes
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from scipy import linalg

from .. import _slots
from .._check import at_least
from .._data.check import describe_choice, format_choices
from ._figure import (
    DOT,
    OKABE_ITO,
    ROLES,
    describe_units,
    draw_cloud,
    finish,
    get_role_colors,
    get_values,
    ideal_line,
    ink,
    legend_beside,
    panels,
    vivid,
    zero_line,
)
from ._record import EditedPopulations
from ._rows import interval_bar

MAX_CELLS_PER_GROUP = 2_000  # that are drawn: of more, single points are not seen
MIN_RATIO_TO_ENLARGE = 4  # how many times wider than the means the cells lie, for the means to be drawn again, enlarged
CHANGES_OF_MEAN = {"observed change of the mean": (0, 1, 0.45), "applied change of the mean": (2, 3, 0.0)}
"""The numbers of two groups that an arrow joins, and its shade."""

NAME_DISTANCES = (
    4.0,
    10.0,
    16.0,
    22.0,
    30.0,
    40.0,
)  # of a name from its point, in points; a line joins the farther ones
NAME_ANGLES = np.deg2rad([0, 180, 90, 270, *range(30, 360, 60), *range(15, 360, 30)])  # the plainest first
MIN_SHARE_OF_ZERO_VALUES = 0.4  # of the measured values, from which on medians do not move
MIN_SHARE_TO_NAME = 0.1  # of the largest change, below which a feature has not moved enough to be named
BAR_WIDTH = 3  # of a standard error, in points: narrower than a point
PLACES_ALONG_BAR = 20  # where a name may not lie


def shift(
    adata: AnnData,
    *,
    basis: Annotated[tuple[str, str], "two names in obsm: the cells before the edit, and after it"] | None = None,
    key: str = _slots.EDITED,
    ax: Axes | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Any:
    """Draw source, target and the query before and after the edit in two dimensions, with arrows between their means.

    Where the edit applied the observed change, the arrow from query to edited query is parallel to the one from source to
    target. Of each group at most 2,000 cells are drawn, but the arrows join the means of all; they are drawn again,
    enlarged, where the cells lie far wider than the means.

    Examples
    --------
    >>> import neuronedit as ne
    >>> adata = ne.datasets.simulate_batches(n_cells=200)
    >>> ne.tl.train(adata, widths=(32, 8), max_epochs=2)
    >>> ne.tl.edit(adata, "group", source="control_1", target="control_2", query="sample_1")
    >>> ax = ne.pl.shift(adata)

    Parameters
    ----------
    %(cells_of_edit)s
    basis
        `None`: the two leading principal components of source, target and query before the edit, onto which the edited cells
        are projected. Or two names in ``obsm``, the coordinates of the cells before and after the edit, both from one
        embedding, ``("X_umap", "X_umap_edited")``, of which the first two columns are drawn.
    %(result_key)s
    %(figure)s
    """
    # read
    populations = EditedPopulations.read(adata, key)
    places, labels = _project(populations) if basis is None else _read_embedding(populations, basis)
    generator = np.random.default_rng(0)
    drawn = [generator.permutation(xy)[:MAX_CELLS_PER_GROUP] for xy in places.values()]
    color_by_role = get_role_colors()
    points, colors = np.concatenate(drawn), np.repeat(list(color_by_role.values()), [*map(len, drawn)])
    means = np.array([places[role].mean(axis=0) for role in color_by_role])

    # draw
    (panel,) = panels(1, ax, size=(4.2, 3.8), room=3.0)
    area = np.clip(20_000 / len(points), 3.0, 12.0)
    draw_cloud(panel, points, colors, alpha=0.6, s=area)
    _span_equally(panel, points, margin=0.05)
    near = panel
    if MIN_RATIO_TO_ENLARGE * np.ptp(means, axis=0).max() < np.ptp(points, axis=0).max():
        near = panel.inset_axes((1.08, 0.0, 0.5, 0.5), xticks=[], yticks=[])
        near.set_xlabel("means, enlarged", fontsize="small")
        draw_cloud(near, points, colors, alpha=0.15, s=area)
        _span_equally(near, means, margin=0.35)
        panel.indicate_inset_zoom(near, edgecolor=ink(0.4))
        _draw_arrows(panel, means, mutation_scale=6)
    _draw_arrows(near, means, mutation_scale=11)
    near.scatter(means[:, 0], means[:, 1], s=55, c=list(color_by_role.values()), edgecolors=ink(1), zorder=5)
    panel.set(xlabel=labels[0], ylabel=labels[1])
    panel.set_anchor("W")
    styles = {populations.names[role]: DOT | {"color": color} for role, color in color_by_role.items()}
    for name, (_, _, shade) in CHANGES_OF_MEAN.items():
        styles[name] = DOT | {"color": ink(shade), "marker": r"$\rightarrow$", "markersize": 14}
    legend_beside([panel], styles, bbox_to_anchor=(1.02, 1.02))
    return finish([panel], show=show, return_fig=return_fig)


def _span_equally(panel: Axes, shown: np.ndarray, margin: float) -> None:
    """Let both axes span the same, with these points in the middle."""
    low, high = shown.min(axis=0), shown.max(axis=0)
    half = (0.5 + margin) * (high - low).max() or 1.0
    x, y = (low + high) / 2
    panel.set(xlim=(x - half, x + half), ylim=(y - half, y + half), aspect="equal")


def _draw_arrows(panel: Axes, means: np.ndarray, **head: float) -> None:
    """Draw the change from source to target, and that of the query."""
    for start, end, shade in CHANGES_OF_MEAN.values():
        arrow = {"arrowstyle": "simple,head_width=0.9,head_length=0.9,tail_width=0.25", "shrinkA": 0, "shrinkB": 0}
        arrow |= {"facecolor": ink(shade), "edgecolor": ink(1), "linewidth": 0.6}
        panel.annotate("", means[end], means[start], arrowprops=arrow | head, zorder=6)


def _project(populations: EditedPopulations) -> tuple[dict[str, np.ndarray], list[str]]:
    """Return each group along the two leading principal axes of the cells before the edit, and the axes' names."""
    features, masks = populations.features, populations.masks
    n_features = len(features)
    if n_features < 2:
        raise ValueError("one feature is used; principal components need at least 2.")
    measured = masks["source"] | masks["target"] | masks["query"]
    before = get_values(populations.adata, populations.layer, measured, features)
    center, covariance = before.mean(axis=0), np.atleast_2d(np.cov(before, rowvar=False))
    variances, axes = linalg.eigh(covariance, subset_by_index=[n_features - 2, n_features - 1])
    axes *= np.sign(axes[np.abs(axes).argmax(axis=0), [0, 1]])  # either sign is right: take the same one each time
    places = {role: (populations.get_values(role) - center) @ axes[:, ::-1] for role in ROLES}
    shares = variances[::-1] / np.trace(covariance)
    return places, [f"PC{i} ({share:.1%} of variance)" for i, share in enumerate(shares, start=1)]


def _read_embedding(populations: EditedPopulations, basis: Any) -> tuple[dict[str, np.ndarray], list[str]]:
    """Return each group in an embedding of the caller's, and the axes' names."""
    obsm, (before, after) = populations.adata.obsm, basis
    for name in basis:
        if name not in obsm:
            raise KeyError(f"{name!r} is not in adata.obsm; it has {format_choices(obsm, near=name)}.")
        if np.ndim(obsm[name]) != 2 or np.shape(obsm[name])[1] < 2:
            raise ValueError(f"obsm[{name!r}] has the shape {np.shape(obsm[name])}; two columns are drawn.")
    names = dict.fromkeys(ROLES, before) | {"edited": after}
    places = {role: np.asarray(obsm[names[role]])[populations.masks[role], :2] for role in ROLES}
    return places, [f"{before.removeprefix('X_')} {i}" for i in (1, 2)]


def marker_shift(
    adata: AnnData,
    *,
    statistic: Callable[..., Any] | None = None,
    n_labels: Annotated[int, at_least(0)] = 40,
    above_zero: bool | None = None,
    batch: Hashable = None,
    key: str = _slots.EDITED,
    ax: Axes | Sequence[Axes] | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Any:
    """Draw, for every feature, the change applied to the query against the change observed from source to target.

    On the dashed line the edit applied what was observed. Being off it is not an error in itself: cells that differ from
    the source may rightly change by another amount. In the legend stands Pearson's correlation r over features. Features
    that moved less than a tenth as far as the first are grey.

    Where the record holds the standard error of the edited means (``uns["edited"]["features"]["mean_error"]``: from held-out
    folds or :func:`neuronedit.tl.bootstrap`), means are drawn, and pale bars are ± one standard error.

    Where 40 % or more of the measured values are exactly zero, medians do not move. There the means are drawn, and in a
    second panel how the share of cells above zero changed.

    Examples
    --------
    >>> import neuronedit as ne
    >>> adata = ne.datasets.simulate_batches(n_cells=200)
    >>> ne.tl.train(adata, widths=(32, 8), max_epochs=2)
    >>> ne.tl.edit(adata, "group", source="control_1", target="control_2", query="sample_1")
    >>> ax = ne.pl.marker_shift(adata)

    Parameters
    ----------
    %(cells_of_edit)s
    statistic
        Of a population: ``np.median``, ``np.mean``, or another function of ``(cells, axis=0)``. `None`: the median as in the
        paper, or the mean where its standard error is known or 40 % or more of the measured values are zero. Bars are drawn
        at means alone.
    n_labels
        Name at most so many features, those that moved most and at least a tenth as far as the first. A name that finds
        no room is left out.
    above_zero
        Draw a second panel, with the change of the share of cells above zero. `None`: where 40 % or more of the measured
        values are zero, unless ``ax`` is one Axes.
    %(batch)s
    %(result_key)s
    %(figure)s
    """
    # read
    populations = EditedPopulations.read(adata, key, batch)
    values = {role: populations.get_values(role) for role in populations.masks}
    is_sparse = (
        np.mean([(values[role] == 0).mean() for role in ("source", "target", "query")]) >= MIN_SHARE_OF_ZERO_VALUES
    )
    if above_zero is None:
        above_zero = is_sparse and (ax is None or np.size(np.asarray(ax, dtype=object)) == 2)
    errors = populations.get_mean_errors(populations.features)
    statistic = statistic or (np.mean if is_sparse or np.isfinite(errors).any() else np.median)
    units = describe_units(adata, populations.layer, populations.features)
    scales = ["; ".join(filter(None, [describe_choice(statistic), units])), "share of cells above 0"]
    statistics: list[Callable[..., Any]] = [statistic, _measure_share_above_zero]

    # draw
    n_panels = 1 + above_zero
    axes = panels(n_panels, ax, size=(4.2, 3.8), room=0)
    for panel, scale, measure in zip(axes, scales, statistics, strict=False):
        center = {role: measure(cells, axis=0) for role, cells in values.items()}
        changes = np.stack([center["target"] - center["source"], center["edited"] - center["query"]], axis=1)
        panel.set_xlabel(f"observed change: target − source\n({scale})")
        panel.set_ylabel(f"applied change: edited − query\n({scale})")
        known = errors if measure is np.mean else np.full(len(errors), np.nan)
        _draw_changes(panel, changes, known, populations.features, n_labels)
    return finish(axes, show=show, return_fig=return_fig)


def _measure_share_above_zero(cells: np.ndarray, axis: int) -> np.ndarray:
    """Return the share of cells above zero."""
    return np.asarray((cells > 0).mean(axis=axis))


def _draw_changes(panel: Axes, changes: np.ndarray, errors: np.ndarray, names: Sequence[str], n_labels: int) -> None:
    """Draw the observed and the applied change of each feature, and name those that moved most."""
    # draw
    size = np.abs(changes).max(axis=1)
    has_moved = size > MIN_SHARE_TO_NAME * size.max()
    strong = vivid(OKABE_ITO[0])
    colors = np.where(has_moved, strong, ink(0.6))
    panel.scatter(changes[:, 0], changes[:, 1], s=20, c=colors, linewidths=0, zorder=3)
    handles: list[Line2D] = [panel.axline((0, 0), slope=1, zorder=1, label="applied = observed", **ideal_line())]
    for draw_line in (panel.axhline, panel.axvline):
        draw_line(0, zorder=0, **zero_line())
    ends = changes[:, 1] + np.nan_to_num(errors) * np.array([[-1], [1]])  # of the bars, (2, n_features)
    is_known = np.isfinite(errors)
    x_of_bars, ends_of_bars = changes[is_known, 0], ends[:, is_known]
    if is_known.any():
        bar = interval_bar(strong) | {"linewidth": BAR_WIDTH}
        panel.vlines(
            x_of_bars,
            ends_of_bars[0],
            ends_of_bars[1],
            colors=colors[is_known],
            zorder=2,
            lw=BAR_WIDTH,
            alpha=bar["alpha"],
        )
        handles.append(Line2D([], [], label="± standard error", **bar))
    low, high = min(changes.min(), ends.min()), max(changes.max(), ends.max())
    margin = 0.12 * (high - low) or 1.0
    panel.set(xlim=(low - margin, high + margin), ylim=(low - margin, high + margin), aspect="equal")

    # name
    with np.errstate(invalid="ignore"):
        r = np.corrcoef(changes.T)[0, 1]
    x, y = ((np.concatenate([np.stack([changes[:, 0], end], axis=1) for end in ends]) - low) / ((high - low) or 1.0)).T
    is_crowded = ((x < 0.6) & (y > 0.7)).sum() > ((x > 0.4) & (y < 0.3)).sum()
    title = "r undefined" if np.isnan(r) else f"Pearson's r = {r:.2f}"
    place: dict[str, Any] = {"loc": "lower right" if is_crowded else "upper left", "alignment": "left"}
    box: dict[str, Any] = {"facecolor": ink(1), "edgecolor": "none", "framealpha": 1, "borderaxespad": 0.1}
    legend = panel.legend(handles=handles, title=title, **box, **place)
    moved = [i for i in np.argsort(-size)[:n_labels] if has_moved[i]]
    steps = np.linspace(0, 1, PLACES_ALONG_BAR)[:, None]
    along_bars = [np.stack([x_of_bars, y], axis=1) for y in ends_of_bars[0] + steps * np.ptp(ends_of_bars, axis=0)]
    _name_points(panel, changes, np.concatenate(along_bars), names, moved, legend)


def _name_points(
    panel: Axes, points: np.ndarray, bars: np.ndarray, names: Sequence[str], which: Iterable[int], legend: Legend
) -> None:
    """Write names next to their points, the first ones first, each in the nearest place where it covers nothing.

    ``bars`` are places along the bars, which no name may cover, either.
    """
    # what is drawn already, in pixels
    figure = panel.figure.canvas.figure
    figure.draw_without_rendering()  # the layout settles: from here on places and sizes are known
    scale = figure.dpi / 72
    pixels, frame = panel.transData.transform(points), panel.get_window_extent().extents
    diagonal = panel.transData.transform(np.repeat(np.linspace(*panel.get_xlim(), 300)[:, None], 2, axis=1))
    of_legend = np.array(legend.get_window_extent().extents)
    taken = np.vstack([_make_boxes(pixels, 2.5 * scale), _make_boxes(diagonal, 0.5 * scale), of_legend])
    of_bars = _make_boxes(panel.transData.transform(bars), BAR_WIDTH / 2 * scale)

    # one name after the other
    style: dict[str, Any] = {"textcoords": "offset points", "ha": "center", "va": "center", "fontsize": 7}
    for i in which:
        text = panel.annotate(names[i], points[i], (0, 0), **style)
        extent = text.get_window_extent()
        half = np.array([extent.width, extent.height]) / 2 + scale
        for distance, angle in product(NAME_DISTANCES, NAME_ANGLES):
            step = np.array([np.cos(angle), np.sin(angle)]) * scale
            middle = pixels[i] + step * distance + np.clip(1.5 * step / scale, -1, 1) * half
            leader = pixels[i] + step * np.arange(4, distance)[:, None]
            place = np.vstack([_make_boxes(middle, half), _make_boxes(leader, 0.5 * scale)])
            fits = (place[:, :2] >= frame[:2]).all() and (place[:, 2:] <= frame[2:]).all()
            covers = _overlap(place, taken) or _overlap(place[:1], of_bars)  # the line to a name may cross a bar
            gaps = np.linalg.norm(np.maximum(np.abs(pixels - middle) - half, 0), axis=1)
            is_clear = len(leader) or (np.delete(gaps, i) > 1.5 * gaps[i]).all()
            if fits and is_clear and not covers:
                text.set_position((middle - pixels[i]) / scale)
                taken = np.vstack([taken, place])
                if len(leader):
                    ends = panel.transData.inverted().transform([pixels[i], pixels[i] + step * distance])
                    panel.plot(*ends.T, color=ink(0.6), linewidth=0.6, zorder=2)
                break
        else:
            text.remove()


def _make_boxes(centers: np.ndarray, half: Any) -> np.ndarray:
    """Return the lower and upper corners of boxes, ``(n, 4)``."""
    return np.hstack([np.atleast_2d(centers - half), np.atleast_2d(centers + half)])


def _overlap(boxes: np.ndarray, others: np.ndarray) -> bool:
    """Return whether any of these boxes overlaps one of the others."""
    return bool(((boxes[:, None, :2] < others[:, 2:]) & (boxes[:, None, 2:] > others[:, :2])).all(axis=2).any())
