"""Faces of twenty people, in every pose and expression, with and without sunglasses."""

import pickle
from typing import IO, Any

import numpy as np
import pandas as pd
from anndata import AnnData

from ._fetch import annotate, fetch

ARRAY_OF_STRINGS = {
    ("numpy.core.multiarray", "_reconstruct"), ("numpy._core.multiarray", "_reconstruct"),
    ("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode"),
}  # fmt: skip


def cmu_faces() -> AnnData:
    """Load photographs of twenty people in four poses, with four expressions, with and without sunglasses.

    Data that can be looked at. To try: fit the change that sunglasses make in one pose, or on some people, apply it in another
    pose, or to other people, and compare with the photograph.

    Examples
    --------
    >>> import neuronedit as ne
    >>> import numpy as np
    >>> adata = ne.datasets.cmu_faces()  # doctest: +SKIP
    >>> adata.X = adata.X / np.float32(255)  # doctest: +SKIP
    >>> face = adata.X[0].reshape(adata.uns["image_shape"])  # doctest: +SKIP

    Returns
    -------
    624 images by 3,840 pixels, gray values from 0 to 255 as whole numbers (divide by 255). The file has 154 levels, which
    are rounded. ``obs``: ``individual``, ``pose`` ("forward", "left", "right", "up"), ``expression`` ("angry", "happy",
    "neutral", "sad"), ``eyes`` ("eyes", "sunglasses"). ``var``: ``row``, ``col``. ``uns["image_shape"]``: rows and columns.

    References
    ----------
    Mitchell 1997, Machine Learning; UCI CMU Face Images, doi:10.24432/C5JC79 (CC BY 4.0). File of the repository conx-data
    (BSD-3-Clause). 2.3 MB are downloaded once.
    """
    (path,) = fetch("cmu_faces")
    with np.load(path, allow_pickle=False) as npz, npz.zip.open("labels.npy") as labels:
        images = np.rint(npz["data"] * 255).astype(np.uint8)
        rows = [label.split("_") for label in read_strings(labels)]
    obs = pd.DataFrame(rows, columns=["individual", "pose", "expression", "eyes"])
    _, n_rows, n_cols = images.shape
    row, col = (index.ravel() for index in np.indices((n_rows, n_cols)))
    var = pd.DataFrame({"row": row, "col": col}, index=[f"p{r}_{c}" for r, c in zip(row, col, strict=True)])
    adata = annotate("cmu_faces", images.reshape(len(images), -1), obs, var)
    adata.uns["image_shape"] = np.array([n_rows, n_cols])
    return adata


def read_strings(npy: IO[bytes]) -> list[str]:
    """Read an .npy file of pickled strings, without running code that a pickle can contain."""
    np.lib.format.read_magic(npy)
    np.lib.format.read_array_header_1_0(npy)
    array = _Unpickler(npy).load()
    strings = array.state[-1] if isinstance(array, _Inert) else None
    if not isinstance(strings, list) or not all(type(string) is str for string in strings):
        raise pickle.UnpicklingError("The labels are no array of strings.")
    return strings


class _Unpickler(pickle.Unpickler):
    """Accept only the names in the pickle of an array of strings, and call none of these functions and classes."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ARRAY_OF_STRINGS:
            raise pickle.UnpicklingError(f"The labels ask for {module}.{name}: an array of strings does not need it.")
        return _Inert


class _Inert:
    """A stand-in for each of them that only keeps its state; that of an array is ``(..., list of its items)``."""

    def __init__(self, *args: Any) -> None:
        self.state: Any = (None,)

    def __setstate__(self, state: Any) -> None:
        self.state = state
