"""A user's own copy of CelebA, whose images are read when they are needed."""

from collections.abc import Mapping
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData

from .. import _slots
from .._check import Count, FilePath
from .._data.check import format_choices, to_list
from ._images import pixels

ATTRIBUTES, IMAGES = "list_attr_celeba.txt", "img_align_celeba"
IMAGES_PER_CHUNK = 256  # 12 MB of float32 at the default size


def celeba(
    root: FilePath, *, where: Mapping[str, Any] | None = None, size: Count = 64, crop: Count | None = 178
) -> AnnData:
    """Read photographs of faces with forty attributes from your own copy of CelebA, without loading them.

    CelebA may be used for research that is not commercial, and is not downloaded here: get the aligned images and the list of
    attributes from its site.

    Examples
    --------
    >>> import neuronedit as ne
    >>> men = ne.datasets.celeba("celeba", where={"Male": True, "Black_Hair": True})  # doctest: +SKIP

    Parameters
    ----------
    root
        Folder in which, or below which, are ``list_attr_celeba.txt`` and the folder ``img_align_celeba`` of JPEG files.
    where
        Attribute -> value or values: ``{"Male": True, "Black_Hair": True}``. All must hold. `None`: every image.
    size
        Rows and columns of the images, to which they are resized.
    crop
        Rows and columns around the middle that are kept before resizing; the aligned images have 218 x 178. `None`: all rows
        and columns, squeezed into a square.

    Returns
    -------
    Images by ``size * size * 3`` values from 0 to 1, float32. X is a dask array whose images are read when they are computed;
    ``adata.to_memory()`` reads all. ``obs``: the forty attributes, true or false, by file name. ``var``: ``row``, ``column``,
    ``channel``. ``uns["image_shape"]``: rows, columns, channels.

    Raises
    ------
    FileNotFoundError
        When the list or the images are not there.
    KeyError, ValueError
        When an attribute is not in the list, or no image has what ``where`` asks for.
    ImportError
        When dask (extra ``dask``) is not installed.

    References
    ----------
    Liu et al. 2015, Deep learning face attributes in the wild, ICCV, arXiv:1411.7766.
    """
    try:
        import dask.array as da
    except ImportError as error:
        raise ImportError("CelebA is read with dask: pip install 'neuronedit[dask]'.") from error
    # choose images by their attributes
    obs = pd.read_csv(_find_below(root, ATTRIBUTES), sep=r"\s+", skiprows=1) > 0
    for attribute, wanted in (where or {}).items():
        if attribute not in obs:
            raise KeyError(f"{attribute!r} is not an attribute; there are {format_choices(obs, max_shown=40)}.")
        obs = obs[obs[attribute].isin(to_list(wanted))]
    if obs.empty:
        raise ValueError(f"no image has {' and '.join(f'{name}={value!r}' for name, value in (where or {}).items())}.")
    # find the images
    folder = _find_below(root, IMAGES)
    folder = folder / IMAGES if (folder / IMAGES).is_dir() else folder  # as some archives unpack
    if not (folder / obs.index[0]).is_file():
        raise FileNotFoundError(f"{folder} has no file {obs.index[0]}, which is in {ATTRIBUTES}.")
    paths = da.from_array(np.array([str(folder / name) for name in obs.index]), chunks=IMAGES_PER_CHUNK)
    # read them when they are needed
    shape = (size, size, 3)
    read, chunks = partial(_read_images, size=size, crop=crop), (paths.chunks[0], (int(np.prod(shape)),))
    meta = np.empty((0, 0), dtype=np.float32)
    X = paths.map_blocks(read, dtype=np.float32, new_axis=1, chunks=chunks, meta=meta)
    adata = AnnData(X, obs=obs, var=pixels(shape))
    adata.uns[_slots.IMAGE_SHAPE] = np.array(shape)
    return adata


def _find_below(root: str | PathLike[str], name: str) -> Path:
    """Find a file or folder in a folder, or below it."""
    for path in (Path(root) / name, *sorted(Path(root).glob(f"*/{name}"))):
        if path.exists():
            return path
    raise FileNotFoundError(f"{name} is not in {root}, nor in a folder of it.")


def _read_images(paths: np.ndarray, *, size: int, crop: int | None) -> np.ndarray:
    """Return images, one a row."""
    from PIL import Image

    images = np.empty((len(paths), size, size, 3), dtype=np.uint8)
    for i, path in enumerate(paths):
        with Image.open(path) as file:
            image = file.convert("RGB")
        if crop is not None:
            left, top = (image.width - crop) / 2, (image.height - crop) / 2
            image = image.crop((round(left), round(top), round(left) + crop, round(top) + crop))
        images[i] = np.asarray(image.resize((size, size), Image.Resampling.BILINEAR, reducing_gap=None))
    return images.reshape(len(paths), -1) / np.float32(255)
