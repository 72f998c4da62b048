"""Images with a known truth: shapes, with a bar across them or without."""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from anndata import AnnData

from .. import _slots

SHAPES: dict[str, tuple[Callable[..., np.ndarray], float]] = {
    "square": (lambda y, x: np.maximum(np.abs(y), np.abs(x)), 0.0),
    "disc": (np.hypot, 0.2),
}
"""How far a pixel is from the middle, and how much brighter a shape is."""


def simulate_images(n_images: int = 100, *, image_shape: Sequence[int] = (32, 32), rng: int = 0) -> AnnData:
    """Simulate squares and discs, each with a dark bar across its upper half and without it.

    A stand-in for faces with and without sunglasses. The bar lies where the shape is and is as wide as it is; on the brighter
    half of the shapes it is dark, on the others a shade of the shape, so no one constant image can be added to all. Learn
    it on squares, put it on discs, which are also brighter, and compare with the truth.

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
    rng
        Seed.

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
    generator = np.random.default_rng(rng)
    parts, frames = [], []
    for shape in SHAPES:
        for bar in ("without", "with"):
            dark = generator.uniform(size=n_images) < 0.5
            plain, barred = _draw(shape, dark, sides, generator)
            parts.append((barred if bar == "with" else plain, barred))
            frames.append(pd.DataFrame({"shape": shape, "bar": bar, "bar_kind": np.where(dark, "dark", "shade")}))
    measured, truth = (np.concatenate(layer).reshape(4 * n_images, -1) for layer in zip(*parts, strict=True))
    obs = pd.concat(frames)
    obs.index = [f"image{i}" for i in range(len(obs))]
    adata = AnnData(measured, obs=obs, var=pixels(sides), layers={"truth": truth})
    for column in obs:
        adata.obs[column] = pd.Categorical(obs[column], categories=obs[column].unique())
    adata.uns[_slots.IMAGE_SHAPE] = np.array(image_shape)
    return adata


def pixels(image_shape: Sequence[int]) -> pd.DataFrame:
    """Return row, column and channel of each feature of flattened images."""
    row, column, channel = (index.ravel() for index in np.indices(image_shape))
    names = [f"p{r}_{c}_{k}" for r, c, k in zip(row, column, channel, strict=True)]
    return pd.DataFrame({"row": row, "column": column, "channel": channel}, index=names)


def _draw(
    shape: str, dark: np.ndarray, sides: Sequence[int], generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return images of one shape without and with their bar, ``(n, rows, columns, channels)``, with the same noise."""
    n_rows, n_columns, n_channels = sides
    n, unit = len(dark), min(n_rows, n_columns)
    of_images = (n, 1, 1)
    radius = unit * generator.uniform(0.26, 0.36, of_images)
    down, right = (side / 2 + unit * generator.uniform(-0.08, 0.08, of_images) for side in (n_rows, n_columns))
    y, x = np.arange(n_rows)[:, None] + 0.5 - down, np.arange(n_columns)[None, :] + 0.5 - right
    away, brighter = SHAPES[shape]
    inside = (1 / (1 + np.exp(2 * (away(y, x) - radius))))[..., None]  # pixels on the edge are half covered
    across = inside * (np.abs(y + 0.3 * radius) < 0.22 * radius)[..., None]
    light = generator.uniform(0.5, 0.6, (n, 1, 1, n_channels)) + 0.15 * dark[:, None, None, None] + brighter
    ground = generator.uniform(0.1, 0.3, (n, 1, 1, n_channels))
    tint = np.where(dark, 0.1, 0.6)[:, None, None, None] * light
    noise = generator.normal(scale=0.02, size=(n, *sides))
    plain = ground + (light - ground) * inside
    barred = plain + (tint - plain) * across
    return _seen(plain + noise), _seen(barred + noise)


def _seen(images: np.ndarray) -> np.ndarray:
    """Return what a camera makes of them."""
    return images.clip(0, 1).astype(np.float32)
