"""Images with a known truth: shapes, with a bar across them or without."""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from anndata import AnnData

from .. import _slots
from .._check import Count, Seed

SHAPES: dict[str, tuple[Callable[..., np.ndarray], float]] = {
    "square": (lambda y, x: np.maximum(np.abs(y), np.abs(x)), 0.0),
    "disc": (np.hypot, 0.2),
}
"""For each shape: distance of a pixel from its middle, and how much brighter it is."""


def simulate_images(n_images: Count = 100, *, image_shape: Sequence[Count] = (32, 32), rng: Seed = 0) -> AnnData:
    """Simulate squares and discs, each with a dark bar across its upper half and without it.

    They stand for faces with and without sunglasses. The bar is where the shape is, and as wide. On half of the
    shapes, the brighter ones, it is dark; on the others it is a shade of the shape. So no single image can be added to all of
    them. To try: fit the bar on squares, apply it to discs, which are brighter, and compare with the truth.

    Examples
    --------
    >>> import neuronedit as ne
    >>> adata = ne.datasets.simulate_images(n_images=10)
    >>> adata.shape, adata.uns["image_shape"].tolist()
    ((40, 1024), [32, 32])

    Parameters
    ----------
    n_images
        Of each of the four populations.
    image_shape
        ``(rows, columns)``, or ``(rows, columns, channels)`` with 1 or 3 channels: gray, or colours.
    %(rng)s

    Returns
    -------
    ``4 * n_images`` images, one a row, with values from 0 to 1. ``obs``: ``shape`` ("square", "disc"), ``bar`` ("without",
    "with"), ``bar_kind`` ("dark", "shade": what the image's own bar is, or would be). ``var``: ``row``, ``column``,
    ``channel``. ``uns["image_shape"]``. ``layers["truth"]``: the same images, all with their bar.
    """
    sides = [*map(int, image_shape), 1][:3]
    if len(image_shape) not in (2, 3) or min(sides[:2]) < 16 or sides[2] not in (1, 3):
        raise ValueError(
            f"image_shape must be (rows, columns) or (rows, columns, 1 or 3), 16 rows and columns at least; it is {image_shape!r}."
        )
    # simulate the four populations
    numpy_rng = np.random.default_rng(rng)
    measured, truth, frames = [], [], []
    for shape in SHAPES:
        for bar in ("without", "with"):
            dark = numpy_rng.uniform(size=n_images) < 0.5
            plain, barred = _render(shape, dark, sides, numpy_rng)
            measured.append(barred if bar == "with" else plain)
            truth.append(barred)
            frames.append(pd.DataFrame({"shape": shape, "bar": bar, "bar_kind": np.where(dark, "dark", "shade")}))
    # assemble
    X, true_X = (np.concatenate(images).reshape(4 * n_images, -1) for images in (measured, truth))
    obs = pd.concat(frames)
    obs.index = [f"image{i}" for i in range(len(obs))]
    adata = AnnData(X, obs=obs, var=pixels(sides), layers={"truth": true_X})
    for column in obs:
        adata.obs[column] = pd.Categorical(obs[column], categories=obs[column].unique())
    adata.uns[_slots.IMAGE_SHAPE] = np.array(image_shape)
    return adata


def pixels(image_shape: Sequence[int]) -> pd.DataFrame:
    """Return row, column and channel of each feature of flattened images."""
    row, column, channel = (index.ravel() for index in np.indices(image_shape))
    names = [f"p{r}_{c}_{k}" for r, c, k in zip(row, column, channel, strict=True)]
    return pd.DataFrame({"row": row, "column": column, "channel": channel}, index=names)


def _render(
    shape: str, dark: np.ndarray, sides: Sequence[int], numpy_rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return images of one shape without and with their bar, ``(n, rows, columns, channels)``, with the same noise."""
    n_rows, n_columns, n_channels = sides
    n, unit = len(dark), min(n_rows, n_columns)
    # where: pixels relative to the middle of the shape, each (n, n_rows, n_columns)
    radius = unit * numpy_rng.uniform(0.26, 0.36, (n, 1, 1))
    middle_y = n_rows / 2 + unit * numpy_rng.uniform(-0.08, 0.08, (n, 1, 1))
    middle_x = n_columns / 2 + unit * numpy_rng.uniform(-0.08, 0.08, (n, 1, 1))
    y, x = np.arange(n_rows)[:, None] + 0.5 - middle_y, np.arange(n_columns)[None, :] + 0.5 - middle_x
    get_distance, brighter = SHAPES[shape]
    # how much of each pixel is covered, (n, n_rows, n_columns, 1): on the edge half of it
    covered = (1 / (1 + np.exp(2 * (get_distance(y, x) - radius))))[..., None]
    covered_by_bar = covered * (np.abs(y + 0.3 * radius) < 0.22 * radius)[..., None]
    # brightness, (n, 1, 1, n_channels)
    light = numpy_rng.uniform(0.5, 0.6, (n, 1, 1, n_channels)) + 0.15 * dark[:, None, None, None] + brighter
    ground = numpy_rng.uniform(0.1, 0.3, (n, 1, 1, n_channels))
    bar_light = np.where(dark, 0.1, 0.6)[:, None, None, None] * light
    # images
    noise = numpy_rng.normal(scale=0.02, size=(n, *sides))
    plain = ground + (light - ground) * covered
    barred = plain + (bar_light - plain) * covered_by_bar
    noisy, noisy_barred = ((images + noise).clip(0, 1).astype(np.float32) for images in (plain, barred))
    return noisy, noisy_barred
