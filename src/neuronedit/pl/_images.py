"""Images before and after an edit, in a grid: Figure 2a of the paper, and paths from none of an edit to all of it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from anndata import AnnData
from matplotlib.axes import Axes

from .. import _slots
from .._check import Count
from .._data.check import format_choices, get_edited_cells
from .._data.record import Record, Tool
from ._figure import finish, get_values, panels

IMAGE_GAP = 0.06  # space between two images, as a share of their width
INCHES_PER_IMAGE = 0.95  # its width: eight of them, as many as are drawn when none are named, fill a page


def images(
    adata: AnnData,
    *,
    layers: Sequence[str | None] | Mapping[str, str | None] = (None, _slots.EDITED),
    cells: Sequence[str] | None = None,
    truth: Sequence[str] | None = None,
    n: Count = 8,
    key: str = _slots.EDITED,
    image_shape: Sequence[Count] | None = None,
    limits: tuple[float, float] | None = None,
    ax: Axes | Sequence[Axes] | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Any:
    """Draw images beside each other, and their layers below each other: the original, after each edit, and the truth.

    Examples
    --------
    >>> import neuronedit as ne
    >>> adata = ne.datasets.simulate_images(n_images=10)
    >>> axes = ne.pl.images(adata, layers=[None, "truth"], cells=["image20", "image21"])

    Parameters
    ----------
    adata
        Images, one a row, with their shape in ``uns["image_shape"]``.
    layers
        A row of the grid for each; `None`: X, called "original". A dict gives the rows names of your own:
        ``{"original": None, "neuron editing": "edited", "constant shift": "shifted"}``.
    truth
        Names of the images in X that show the truth of each of ``cells``, for a last row, "true".
    key
        ``key_added`` of the edit whose images are drawn, when none are named.
    %(image_grid)s
    %(figure)s
    """
    shape = _get_image_shape(adata, image_shape)
    named = layers if isinstance(layers, Mapping) else {"original" if name is None else name: name for name in layers}
    if not named:
        raise ValueError("layers is empty; name at least one, None for X.")
    shown = _find_edited(adata, key, n) if cells is None else _find_images(adata, cells, "cells")
    strips = {name: get_values(adata, layer, shown) for name, layer in named.items()}
    limits = _find_black_and_white(next(iter(strips.values()))) if limits is None else limits
    if truth is not None:
        if len(truth) != len(shown):
            raise ValueError(f"truth names {len(truth)} images; there are {len(shown)} cells.")
        strips["true"] = get_values(adata, None, _find_images(adata, truth, "truth"))
    return finish(_draw_strips(strips, shape, limits, ax), show=show, return_fig=return_fig)


def image_path(
    adata: AnnData,
    *,
    key: str = _slots.EDITED,
    cells: Sequence[str] | None = None,
    n: Count = 4,
    image_shape: Sequence[Count] | None = None,
    limits: tuple[float, float] | None = None,
    ax: Axes | Sequence[Axes] | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Any:
    """Draw images on the way from none of an edit to all of it, a row each: strengths increase from left to right.

    Examples
    --------
    >>> import neuronedit as ne
    >>> adata = ne.datasets.simulate_images(n_images=20)
    >>> ne.tl.train(adata, space="pca")
    >>> roles = [{"shape": "square", "bar": "without"}, {"shape": "square", "bar": "with"}, {"shape": "disc", "bar": "without"}]
    >>> populations = dict(zip(["source", "target", "query"], roles))
    >>> ne.tl.edit(adata, **populations, edit="percentile", strength=[0.5, 1])
    >>> axes = ne.pl.image_path(adata, n=2)

    Parameters
    ----------
    adata
        After :func:`neuronedit.tl.edit` of images with several strengths, such as ``strength=[0.25, 0.5, 0.75, 1]``.
    %(result_key)s
    %(image_grid)s
    %(figure)s
    """
    # read
    config = Record.read(adata, key, Tool.EDIT, Tool.CORRECT).config
    shape = _get_image_shape(adata, image_shape)
    *others, last = (float(strength) for strength in np.atleast_1d(config["strength"]))
    layers = {0.0: config["layer"]} | {strength: f"{key}_{strength:g}" for strength in others} | {last: key}
    shown = _find_edited(adata, key, n) if cells is None else _find_images(adata, cells, "cells")
    strengths = sorted(layers)
    path = np.stack([get_values(adata, layers[strength], shown) for strength in strengths], axis=1)
    originals = get_values(adata, config["layer"], shown)

    # draw
    strips = dict(zip(adata.obs_names[shown], path, strict=True))  # each (n_strengths, n_values)
    axes = _draw_strips(strips, shape, limits or _find_black_and_white(originals), ax)
    places = shape[1] / 2 + np.arange(len(strengths)) * shape[1] * (1 + IMAGE_GAP)
    axes[-1].set_xticks(places, [f"{strength:g}" for strength in strengths])
    axes[-1].set_xlabel("strength of the edit")
    return finish(axes, show=show, return_fig=return_fig)


def _get_image_shape(adata: AnnData, image_shape: Sequence[int] | None) -> tuple[int, int, int]:
    """Return rows, columns and channels, if they are those of the features."""
    wanted = "(rows, columns), or (rows, columns, channels) with 1 or 3 channels"
    if image_shape is None and _slots.IMAGE_SHAPE not in adata.uns:
        raise KeyError(f"uns['image_shape'] is missing, {wanted}; uns has {format_choices(adata.uns)}.")
    given = tuple(int(side) for side in (adata.uns[_slots.IMAGE_SHAPE] if image_shape is None else image_shape))
    sides = (*given, 1)[:3]
    if len(given) not in (2, 3) or np.prod(sides) != adata.n_vars or sides[2] not in (1, 3):
        raise ValueError(f"image_shape {given} must be {wanted}, of {adata.n_vars} values in all.")
    return sides[0], sides[1], sides[2]


def _find_images(adata: AnnData, names: Sequence[str], argument: str) -> np.ndarray:
    """Return the row numbers of images."""
    places = adata.obs_names.get_indexer(list(names))
    if not len(places) or (places < 0).any():
        missing = format_choices(name for name, place in zip(names, places, strict=True) if place < 0)
        raise KeyError(f"{argument}: {missing} is not in adata.obs_names; it has {format_choices(adata.obs_names)}.")
    return places


def _find_edited(adata: AnnData, key: str, n: int) -> np.ndarray:
    """Return the row numbers of some images that were edited, evenly spaced."""
    edited = np.flatnonzero(get_edited_cells(adata, key))
    return edited[np.unique(np.linspace(0, len(edited) - 1, min(n, len(edited))).astype(int))]


def _find_black_and_white(values: np.ndarray) -> tuple[float, float]:
    """Return the values that are black and white."""
    low, high = float(values.min()), float(values.max())
    return (0.0, 1.0) if low >= 0 and high <= 1 else (low, high if high > low else low + 1)


def _draw_strips(
    strips: Mapping[str, np.ndarray], shape: tuple[int, int, int], limits: tuple[float, float], ax: Any
) -> list[Axes]:
    """Draw the images of each strip, ``(n_images, n_values)``, beside each other in an Axes of its own, with its name."""
    n_rows, n_columns, n_channels = shape
    n, step = max(map(len, strips.values())), n_columns * (1 + IMAGE_GAP)
    size = (INCHES_PER_IMAGE * n, INCHES_PER_IMAGE * n_rows / n_columns)
    room = 0.5 + 0.1 * max(map(len, strips))  # names stand upright beside the images
    axes = panels(len(strips), ax, n_columns=1, size=size, room=room)
    style: dict[str, Any] = {"cmap": "gray", "vmin": 0, "vmax": 1, "interpolation": "nearest"}
    for (name, values), panel in zip(strips.items(), axes, strict=True):
        shades = ((values.reshape(-1, *shape) - limits[0]) / (limits[1] - limits[0])).clip(0, 1)
        for i, image in enumerate(shades):
            edges = (i * step, i * step + n_columns, n_rows, 0)
            panel.imshow(image[..., 0] if n_channels == 1 else image, extent=edges, **style)
        panel.set(xlim=(0, n * step - IMAGE_GAP * n_columns), ylim=(n_rows, 0), xticks=[], yticks=[])
        panel.set_ylabel(name, rotation=0, ha="right", va="center")
        panel.set_anchor("E")  # what a column is too wide is room for the names
        panel.spines[:].set_visible(False)
        panel.tick_params(length=0)
    return axes
