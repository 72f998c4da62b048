"""The change between the controls and the change of the query, side by side in an embedding: Figure 5a of the paper."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from anndata import AnnData
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from scipy import linalg

from .. import _slots
from .._check import some
from ._figure import ROLES, cloud, finish, ink, values_of
from ._record import Edited, edited

MOST_POINTS = 2_000
"""Cells of a group that are drawn."""

ENLARGED = 4
"""How many times wider than the means the cells must lie for the means to be drawn again, enlarged."""


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

    Where the edit carried the change over, the arrow from query to edited query is parallel to the one from source to
    target.

    Parameters
    ----------
    adata
        After :func:`neuronedit.tl.edit`, whose record says which cells are meant.
    basis
        `None`: the two leading principal components of source, target and query before the edit, onto which the edited
        cells are projected. Or two names in ``obsm``, the coordinates of the cells before and after the edit, both from one
        embedding (``("X_umap", "X_umap_edited")``): an embedding of the measured cells alone has no place for edited
        ones. Of each the first two columns are drawn.
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
    The Axes; the Figure with ``return_fig=True``. Of each group at most 2,000 cells are drawn, the same ones each time; the
    arrows join the means of all cells, and are drawn again, enlarged, where the cells lie far wider than the means.

    Raises
    ------
    KeyError, ValueError
        When there is no such edit or embedding.

    Examples
    --------
    >>> import neuronedit as ne
    >>> adata = ne.datasets.simulate_batches(n_cells=200)
    >>> ne.tl.train(adata, widths=(32, 8), max_epochs=2)
    >>> ne.tl.edit(adata, "group", source="control_1", target="control_2", query="sample_1")
    >>> ax = ne.pl.shift(adata)
    >>> [text.get_text() for text in ax.get_legend().get_texts()][:2]
    ['source: control_1', 'target: control_2']
    """
    record = edited(adata, key)
    places, labels = _principal(adata, record, key) if basis is None else _embedded(adata, record, basis)
    if ax is None:
        _, ax = plt.subplots(figsize=(7.2, 4.2), layout="constrained")

    generator = np.random.default_rng(0)
    drawn = {role: generator.permutation(xy)[:MOST_POINTS] for role, xy in places.items()}
    points, colors = np.concatenate(list(drawn.values())), np.repeat(list(ROLES.values()), [*map(len, drawn.values())])
    means = np.array([places[role].mean(axis=0) for role in ROLES])
    style: dict[str, Any] = {"s": np.clip(20_000 / len(points), 3.0, 12.0)}
    cloud(ax, points, colors, alpha=0.6, **style)
    _square(ax, points, margin=0.05)
    near = ax
    if ENLARGED * np.ptp(means, axis=0).max() < np.ptp(points, axis=0).max():
        near = ax.inset_axes((1.08, 0.0, 0.5, 0.5), xticks=[], yticks=[])
        near.set_title("means, enlarged", fontsize="small")
        cloud(near, points, colors, alpha=0.25, **style)
        _square(near, means, margin=0.35)
        ax.indicate_inset_zoom(near, edgecolor=ink(0.4))
        _arrows(ax, means, mutation_scale=8)
    _arrows(near, means, mutation_scale=14, shrinkB=3)
    near.scatter(means[:, 0], means[:, 1], s=40, c=list(ROLES.values()), edgecolors=ink(1), zorder=5)
    ax.set(xlabel=labels[0], ylabel=labels[1])
    ax.spines[["top", "right"]].set_visible(False)
    ax.set_anchor("W")
    handles = [Line2D([], [], marker="o", linestyle="", color=color) for color in ROLES.values()]
    handles.append(Line2D([], [], marker=r"$\rightarrow$", linestyle="", color=ink(0), markersize=14))
    names = [*(record.names[role] for role in ROLES), "change of the mean"]
    ax.legend(handles, names, frameon=False, loc="upper left", bbox_to_anchor=(1.02, 1.02))
    return finish([ax], show=show, return_fig=return_fig)


def _square(panel: Axes, shown: np.ndarray, margin: float) -> None:
    """Let both axes span the same, with these points in the middle."""
    low, high = shown.min(axis=0), shown.max(axis=0)
    half = (0.5 + margin) * (high - low).max() or 1.0
    x, y = (low + high) / 2
    panel.set(xlim=(x - half, x + half), ylim=(y - half, y + half), aspect="equal")


def _arrows(panel: Axes, means: np.ndarray, **head: float) -> None:
    """Draw what changed between the controls, and in the query."""
    for start, end in ((0, 1), (2, 3)):
        arrow = {"arrowstyle": "-|>,head_width=0.25", "color": ink(0), "linewidth": 1.5, "shrinkA": 0, "shrinkB": 0}
        panel.annotate("", means[end], means[start], arrowprops=arrow | head)


def _principal(adata: AnnData, record: Edited, key: str) -> tuple[dict[str, np.ndarray], list[str]]:
    """Return each group along the two leading principal axes of the cells before the edit, and the axes' names."""
    if adata.n_vars < 2:
        raise ValueError("adata has 1 feature; principal components need at least 2.")
    before = values_of(adata, record.layer, record.masks["source"] | record.masks["target"] | record.masks["query"])
    center, covariance = before.mean(axis=0), np.atleast_2d(np.cov(before, rowvar=False))
    variances, axes = linalg.eigh(covariance, subset_by_index=[adata.n_vars - 2, adata.n_vars - 1])
    axes *= np.sign(axes[np.abs(axes).argmax(axis=0), [0, 1]])  # either sign is right: take the same one each time
    layers = dict.fromkeys(ROLES, record.layer) | {"edited": key}
    places = {role: (values_of(adata, layers[role], record.masks[role]) - center) @ axes[:, ::-1] for role in ROLES}
    shares = variances[::-1] / np.trace(covariance)
    return places, [f"PC{i} ({share:.1%} of variance)" for i, share in enumerate(shares, start=1)]


def _embedded(adata: AnnData, record: Edited, basis: Any) -> tuple[dict[str, np.ndarray], list[str]]:
    """Return each group in an embedding of the caller's, and the axes' names."""
    if isinstance(basis, str) or len(basis) != 2:
        raise ValueError(f"basis={basis!r} must be two names in obsm: the cells before the edit, and after it.")
    for name in basis:
        if name not in adata.obsm:
            raise KeyError(f"{name!r} is not in adata.obsm; it has {some(adata.obsm)}.")
        if np.ndim(adata.obsm[name]) != 2 or np.shape(adata.obsm[name])[1] < 2:
            raise ValueError(f"obsm[{name!r}] has the shape {np.shape(adata.obsm[name])}; two columns are drawn.")
    names = dict.fromkeys(ROLES, basis[0]) | {"edited": basis[1]}
    places = {role: np.asarray(adata.obsm[names[role]])[record.masks[role], :2] for role in ROLES}
    return places, [f"{basis[0].removeprefix('X_')} {i}" for i in (1, 2)]
