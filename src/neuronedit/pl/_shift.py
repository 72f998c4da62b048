"""The change from source to target and that of the query, in one embedding: Figure 5a of the paper."""

from typing import Any

import numpy as np
from anndata import AnnData
from matplotlib.axes import Axes
from scipy import linalg

from .. import _slots
from .._data.check import format_choices
from .._docs import shared_docs
from ._figure import DOT, ROLES, draw_cloud, finish, get_values, ink, legend_beside, panels
from ._record import EditedPopulations

MAX_CELLS_PER_GROUP = 2_000
"""Cells of a group that are drawn: of more, single points are not seen."""

MIN_RATIO_TO_ENLARGE = 4
"""How many times wider than the means the cells must lie for the means to be drawn again, enlarged."""


@shared_docs
def shift(
    adata: AnnData,
    *,
    basis: tuple[str, str] | None = None,
    key: str = _slots.EDITED,
    ax: Axes | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Any:
    """Draw source, target and the query before and after the edit in two dimensions, with arrows between their means.

    Where the edit applied the observed change, the arrow from query to edited query is parallel to the one from source to
    target.

    Examples
    --------
    >>> import neuronedit as ne
    >>> adata = ne.datasets.simulate_batches(n_cells=200)
    >>> ne.tl.train(adata, widths=(32, 8), max_epochs=2)
    >>> ne.tl.edit(adata, "group", source="control_1", target="control_2", query="sample_1")
    >>> ax = ne.pl.shift(adata)
    >>> [text.get_text() for text in ax.get_legend().get_texts()][:2]
    ['source: control_1', 'target: control_2']

    Parameters
    ----------
    %(cells_of_edit)s
    basis
        `None`: the two leading principal components of source, target and query before the edit, onto which the edited cells
        are projected. Or two names in ``obsm``, the coordinates of the cells before and after the edit, both from one
        embedding, ``("X_umap", "X_umap_edited")``, of which the first two columns are drawn.
    %(edit_key)s
    %(figure)s

    Returns
    -------
    The Axes; the Figure with ``return_fig=True``. Of each group at most 2,000 cells are drawn, the same ones each time; the
    arrows join the means of all cells, and are drawn again, enlarged, where the cells lie far wider than the means.

    Raises
    ------
    %(plot_errors)s
    """
    # read
    populations = EditedPopulations.read(adata, key)
    places, labels = _project(populations) if basis is None else _read_embedding(populations, basis)
    generator = np.random.default_rng(0)
    drawn = [generator.permutation(xy)[:MAX_CELLS_PER_GROUP] for xy in places.values()]
    points, colors = np.concatenate(drawn), np.repeat(list(ROLES.values()), [*map(len, drawn)])
    means = np.array([places[role].mean(axis=0) for role in ROLES])

    # draw
    (panel,) = panels(1, ax, size=(4.2, 3.8), room=3.0)
    area = np.clip(20_000 / len(points), 3.0, 12.0)
    draw_cloud(panel, points, colors, alpha=0.6, s=area)
    _span_equally(panel, points, margin=0.05)
    near = panel
    if MIN_RATIO_TO_ENLARGE * np.ptp(means, axis=0).max() < np.ptp(points, axis=0).max():
        near = panel.inset_axes((1.08, 0.0, 0.5, 0.5), xticks=[], yticks=[])
        near.set_title("means, enlarged", fontsize="small")
        draw_cloud(near, points, colors, alpha=0.25, s=area)
        _span_equally(near, means, margin=0.35)
        panel.indicate_inset_zoom(near, edgecolor=ink(0.4))
        _draw_arrows(panel, means, mutation_scale=8)
    _draw_arrows(near, means, mutation_scale=14, shrinkB=3)
    near.scatter(means[:, 0], means[:, 1], s=40, c=list(ROLES.values()), edgecolors=ink(1), zorder=5)
    panel.set(xlabel=labels[0], ylabel=labels[1])
    panel.spines[["top", "right"]].set_visible(False)
    panel.set_anchor("W")
    styles = {populations.names[role]: DOT | {"color": color} for role, color in ROLES.items()}
    styles["change of the mean"] = DOT | {"color": ink(0), "marker": r"$\rightarrow$", "markersize": 14}
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
    for start, end in ((0, 1), (2, 3)):
        arrow = {"arrowstyle": "-|>,head_width=0.25", "color": ink(0), "linewidth": 1.5, "shrinkA": 0, "shrinkB": 0}
        panel.annotate("", means[end], means[start], arrowprops=arrow | head)


def _project(populations: EditedPopulations) -> tuple[dict[str, np.ndarray], list[str]]:
    """Return each group along the two leading principal axes of the cells before the edit, and the axes' names."""
    n_features, masks = populations.adata.n_vars, populations.masks
    if n_features < 2:
        raise ValueError("adata has 1 feature; principal components need at least 2.")
    measured = masks["source"] | masks["target"] | masks["query"]
    before = get_values(populations.adata, populations.layer, measured)
    center, covariance = before.mean(axis=0), np.atleast_2d(np.cov(before, rowvar=False))
    variances, axes = linalg.eigh(covariance, subset_by_index=[n_features - 2, n_features - 1])
    axes *= np.sign(axes[np.abs(axes).argmax(axis=0), [0, 1]])  # either sign is right: take the same one each time
    places = {role: (populations.get_values(role) - center) @ axes[:, ::-1] for role in ROLES}
    shares = variances[::-1] / np.trace(covariance)
    return places, [f"PC{i} ({share:.1%} of variance)" for i, share in enumerate(shares, start=1)]


def _read_embedding(populations: EditedPopulations, basis: Any) -> tuple[dict[str, np.ndarray], list[str]]:
    """Return each group in an embedding of the caller's, and the axes' names."""
    if isinstance(basis, str) or len(basis) != 2:
        raise ValueError(f"basis={basis!r} must be two names in obsm: the cells before the edit, and after it.")
    obsm, (before, after) = populations.adata.obsm, basis
    for name in basis:
        if name not in obsm:
            raise KeyError(f"{name!r} is not in adata.obsm; it has {format_choices(obsm)}.")
        if np.ndim(obsm[name]) != 2 or np.shape(obsm[name])[1] < 2:
            raise ValueError(f"obsm[{name!r}] has the shape {np.shape(obsm[name])}; two columns are drawn.")
    names = dict.fromkeys(ROLES, before) | {"edited": after}
    places = {role: np.asarray(obsm[names[role]])[populations.masks[role], :2] for role in ROLES}
    return places, [f"{before.removeprefix('X_')} {i}" for i in (1, 2)]
