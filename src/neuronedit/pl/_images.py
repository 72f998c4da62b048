"""Images before and after an edit, in a grid: Figure 2a of the paper, and paths from none of an edit to all of it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from anndata import AnnData
from matplotlib.axes import Axes

from .. import _slots
from .._check import config_of, matrix_of, some
from ._figure import finish, panels, values_of

GAP = 0.06
"""Space between two images, as a share of their width."""


def images(
    adata: AnnData,
    *,
    layers: Sequence[str | None] | Mapping[str, str | None] = (None, _slots.EDITED),
    cells: Sequence[str] | None = None,
    truth: Sequence[str] | None = None,
    n: int = 8,
    key: str = _slots.EDITED,
    image_shape: Sequence[int] | None = None,
    limits: tuple[float, float] | None = None,
    ax: Axes | Sequence[Axes] | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Any:
    """Draw images of several layers below each other: the original, after each edit, and the truth.

    Parameters
    ----------
    adata
        Images, one a row, with their shape in ``uns["image_shape"]``.
    layers
        A row of the grid for each; `None`: X, called "original". A dict gives the rows names of your own:
        ``{"original": None, "neuron editing": "edited", "constant shift": "shifted"}``.
    cells
        Names of the images, a column each. `None`: ``n`` of those that were edited, evenly spaced.
    truth
        Names of the images in X that show the truth of each of ``cells``, for a last row, "true".
    n
        How many, when none are named.
    key
        ``key_added`` of the edit whose images are drawn, when none are named.
    image_shape
        ``(rows, columns)``, or ``(rows, columns, channels)`` with 1 or 3 channels. `None`: ``uns["image_shape"]``.
    limits
        Values that are drawn black and white, the same in all rows. `None`: 0 and 1 if all originals lie between, else their
        lowest and highest.
    ax
        Axes to draw into, one for each row.
    show
        Call ``plt.show()``.
    return_fig
        Return the figure instead.

    Returns
    -------
    The Axes, or a list with one for each row; the Figure with ``return_fig=True``.

    Raises
    ------
    KeyError, ValueError
        When a layer, an image, the edit or the shape is not there.

    References
    ----------
    Amodio et al. 2018, Out-of-sample extrapolation with neuron editing, arXiv:1805.12198, Figure 2.

    Examples
    --------
    >>> import neuronedit as ne
    >>> adata = ne.datasets.simulate_images(n_images=10)
    >>> axes = ne.pl.images(adata, layers=[None, "truth"], cells=["image20", "image21"])
    >>> [ax.get_ylabel() for ax in axes]
    ['original', 'truth']
    """
    shape = _shape(adata, image_shape)
    named = layers if isinstance(layers, Mapping) else {"original" if name is None else name: name for name in layers}
    if not named:
        raise ValueError("layers is empty; name at least one, None for X.")
    for layer in named.values():
        matrix_of(adata, layer)
    shown = _edited(adata, key, n) if cells is None else _places(adata, cells, "cells")
    rows = {name: values_of(adata, layer, shown) for name, layer in named.items()}
    if truth is not None:
        if len(truth) != len(shown):
            raise ValueError(f"truth names {len(truth)} images; there are {len(shown)} cells.")
        rows["true"] = values_of(adata, None, _places(adata, truth, "truth"))
    original = values_of(adata, next(iter(named.values())), shown)
    axes = _strips(rows, shape, limits or _limits(original), ax)
    return finish(axes, show=show, return_fig=return_fig)


def image_path(
    adata: AnnData,
    *,
    key: str = _slots.EDITED,
    cells: Sequence[str] | None = None,
    n: int = 4,
    image_shape: Sequence[int] | None = None,
    limits: tuple[float, float] | None = None,
    ax: Axes | Sequence[Axes] | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Any:
    """Draw images on the way from none of an edit to all of it, a row each.

    Parameters
    ----------
    adata
        After :func:`neuronedit.tl.edit` of images with several strengths, such as ``strength=[0.25, 0.5, 0.75, 1]``.
    key
        ``key_added`` of the edit.
    cells
        Names of the images, a row each. `None`: ``n`` of those that were edited, evenly spaced.
    n
        How many, when none are named.
    image_shape, limits
        As in :func:`neuronedit.pl.images`.
    ax
        Axes to draw into, one for each image.
    show
        Call ``plt.show()``.
    return_fig
        Return the figure instead.

    Returns
    -------
    The Axes, or a list with one for each image; the Figure with ``return_fig=True``. Strengths increase from left to right,
    with the image before the edit at 0.

    Raises
    ------
    KeyError, ValueError
        When there is no such edit, layer or image, or no shape.

    Examples
    --------
    >>> import neuronedit as ne
    >>> adata = ne.datasets.simulate_images(n_images=20)
    >>> ne.tl.train(adata, space="pca")
    >>> roles = [{"shape": "square", "bar": "without"}, {"shape": "square", "bar": "with"}, {"shape": "disc", "bar": "without"}]
    >>> pair = dict(zip(["source", "target", "query"], roles))
    >>> ne.tl.edit(adata, **pair, edit="percentile", strength=[0.5, 1])
    >>> axes = ne.pl.image_path(adata, n=2)
    >>> [label.get_text() for label in axes[-1].get_xticklabels()]
    ['0', '0.5', '1']
    """
    config = config_of(adata, key)
    shape = _shape(adata, image_shape)
    strengths = [float(strength) for strength in np.atleast_1d(config["strength"])]
    layers = {0.0: config["layer"]}
    layers |= {strength: f"{key}_{strength:g}" for strength in strengths[:-1]} | {strengths[-1]: key}
    for layer in layers.values():
        matrix_of(adata, layer)
    shown = _edited(adata, key, n) if cells is None else _places(adata, cells, "cells")
    path = np.stack([values_of(adata, layers[strength], shown) for strength in sorted(layers)], axis=1)
    rows = dict(zip(adata.obs_names[shown], path, strict=True))
    axes = _strips(rows, shape, limits or _limits(values_of(adata, config["layer"], shown)), ax)
    width = shape[1] * (1 + GAP)
    places = shape[1] / 2 + np.arange(len(layers)) * width
    axes[-1].set_xticks(places, [f"{strength:g}" for strength in sorted(layers)])
    axes[-1].set_xlabel("strength of the edit")
    return finish(axes, show=show, return_fig=return_fig)


def _shape(adata: AnnData, image_shape: Sequence[int] | None) -> tuple[int, int, int]:
    """Return rows, columns and channels, if they are those of the features."""
    if image_shape is None and _slots.IMAGE_SHAPE not in adata.uns:
        raise KeyError(
            f"uns['image_shape'] is missing, (rows, columns) or (rows, columns, channels); uns has {some(adata.uns)}."
        )
    given = tuple(int(side) for side in (adata.uns[_slots.IMAGE_SHAPE] if image_shape is None else image_shape))
    sides = (*given, 1)[:3]
    if len(given) not in (2, 3) or np.prod(sides) != adata.n_vars or sides[2] not in (1, 3):
        raise ValueError(
            f"image_shape {given} must be (rows, columns), or (rows, columns, channels) with 1 or 3 channels, of"
            f" {adata.n_vars} values in all."
        )
    return sides[0], sides[1], sides[2]


def _places(adata: AnnData, names: Sequence[str], argument: str) -> np.ndarray:
    """Return the row numbers of images."""
    places = adata.obs_names.get_indexer(list(names))
    if not len(places) or (places < 0).any():
        missing = [name for name, place in zip(names, places, strict=True) if place < 0]
        raise KeyError(f"{argument}: {some(missing)} is not in adata.obs_names; it has {some(adata.obs_names)}.")
    return places


def _edited(adata: AnnData, key: str, n: int) -> np.ndarray:
    """Return the row numbers of some images that were edited, evenly spaced."""
    if n < 1:
        raise ValueError(f"n must be at least 1; it is {n}.")
    if _slots.support(key) not in adata.obs:
        raise KeyError(f"uns[{key!r}] holds no edit: name the images, cells=..., or call ne.tl.edit first.")
    edited = np.flatnonzero(adata.obs[_slots.support(key)].notna())
    return edited[np.unique(np.linspace(0, len(edited) - 1, min(n, len(edited))).astype(int))]


def _limits(values: np.ndarray) -> tuple[float, float]:
    """Return the values that are black and white."""
    low, high = float(values.min()), float(values.max())
    return (0.0, 1.0) if low >= 0 and high <= 1 else (low, high if high > low else low + 1)


def _strips(
    rows: Mapping[str, np.ndarray],
    shape: tuple[int, int, int],
    limits: tuple[float, float],
    ax: Axes | Sequence[Axes] | None,
) -> list[Axes]:
    """Draw the images of each row, ``(n_images, n_values)``, beside each other in an Axes of its own, with its name."""
    n_rows, n_columns, n_channels = shape
    n, width = max(map(len, rows.values())), 0.95
    room = 0.5 + 0.1 * max(map(len, rows))
    axes = panels(len(rows), ax, columns=1, size=(width * n, width * n_rows / n_columns), room=room)
    for (name, values), panel in zip(rows.items(), axes, strict=True):
        shares = ((values.reshape(-1, *shape) - limits[0]) / (limits[1] - limits[0])).clip(0, 1)
        for i, image in enumerate(shares):
            left = i * n_columns * (1 + GAP)
            panel.imshow(
                image[..., 0] if n_channels == 1 else image,
                cmap="gray",
                vmin=0,
                vmax=1,
                extent=(left, left + n_columns, n_rows, 0),
                interpolation="nearest",
            )
        panel.set(xlim=(0, n * n_columns * (1 + GAP) - GAP * n_columns), ylim=(n_rows, 0), xticks=[], yticks=[])
        panel.set_ylabel(name, rotation=0, ha="right", va="center")
        panel.set_anchor("E")  # what a column is too wide is room for the names
        panel.spines[:].set_visible(False)
        panel.tick_params(length=0)
    return axes
