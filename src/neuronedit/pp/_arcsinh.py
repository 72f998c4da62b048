"""The arcsinh transformation of cytometry, and back."""

import logging
from collections.abc import Callable, Mapping
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

from .. import _slots
from .._check import Positive
from .._data.check import check_features, check_key, check_sparse, describe_layer, find_used, open_adata
from .._data.reader import CellReader, check_finite, read_cells
from .._data.undo import writing

logger = logging.getLogger(__name__)

# Values of arcsinh and log1p end at about 12 (of 400,000 counts with cofactor 5), and raw values reach far more than 20
# cofactors: what stays below both was most likely transformed before.
MAX_TRANSFORMED, MAX_SPREAD = 12.0, 20.0


def arcsinh(
    adata: AnnData,
    cofactor: Positive | Mapping[str, Positive] = 5.0,
    *,
    layer: str | None = None,
    key_added: str | None = None,
    copy: bool = False,
) -> AnnData | None:
    """Transform intensities to ``arcsinh(x / cofactor)`` and keep the cofactors.

    Examples
    --------
    >>> import anndata, numpy as np, neuronedit as ne
    >>> adata = anndata.AnnData(np.array([[0.0, 5.0], [50.0, 500.0]]))
    >>> ne.pp.arcsinh(adata, cofactor=5)
    >>> adata.X.round(2)
    array([[0.  , 0.88],
           [3.  , 5.3 ]])

    Parameters
    ----------
    adata
        Cells by markers, raw intensities or ion counts.
    cofactor
        One for all markers (where ``var["used"]`` is there, for those that are used): 5 is usual for mass cytometry, about 150
        for flow cytometry. Or a dict (or Series) marker -> cofactor; markers that it does not name are left as they are. Those
        of a panel that :func:`neuronedit.io.read_fcs` has read are ``adata.var["cofactor"].dropna()``. Values well below the cofactor stay nearly linear,
        values well above it become logarithmic.
    %(transformed_layer)s

    Returns
    -------
    `None`, or the new AnnData with ``copy=True``. Written are X or the layer (sparse stays sparse, integers become
    float32), and its cofactors in ``var["X_arcsinh_cofactor"]`` or ``var["<layer>_arcsinh_cofactor"]``.

    Raises
    ------
    ValueError, KeyError, TypeError
        When the cofactor is not positive, names an unknown marker, or the values are transformed already.
    """
    adata = open_adata(adata, copy=copy)
    cells, name = read_cells(adata, layer), describe_layer(layer)
    if _slots.cofactor(layer) in adata.var:
        raise ValueError(f"{name} is arcsinh-transformed already; undo it with ne.pp.inverse_arcsinh first.")
    if _slots.logicle_parameters(layer)["T"] in adata.var:
        raise ValueError(f"{name} is logicle-transformed already; undo it with ne.pp.inverse_logicle first.")
    cofactors = _cofactors(adata, cofactor)
    check_output(adata, cells, layer, key_added)
    check_finite(cells, layer, adata.obs_names, adata.var_names)
    _warn_of_transformed_values(cells, cofactors, name)
    into = layer if key_added is None else key_added
    transformed = _transform(cells.matrix, cofactors, lambda x, c: np.arcsinh(x / c))
    with writing(adata, copy) as adata:
        adata.var = adata.var.assign(**{_slots.cofactor(into): cofactors})
        write_layer(adata, into, transformed)
    return adata if copy else None


def inverse_arcsinh(
    adata: AnnData,
    *,
    cofactor: Positive | Mapping[str, Positive] | None = None,
    layer: str | None = None,
    key_added: str | None = None,
    copy: bool = False,
) -> AnnData | None:
    """Return to the intensities that `arcsinh` transformed; also of a layer that was edited since.

    Examples
    --------
    >>> import anndata, numpy as np, neuronedit as ne
    >>> adata = anndata.AnnData(np.array([[0.0, 5.0], [50.0, 500.0]]))
    >>> ne.pp.arcsinh(adata)
    >>> ne.pp.inverse_arcsinh(adata)
    >>> adata.X.round(2)
    array([[  0.,   5.],
           [ 50., 500.]])

    Parameters
    ----------
    adata
        Cells by markers, transformed by `arcsinh`.
    cofactor
        What they were transformed with, as in `arcsinh`. `None`: what ``var`` says. It is lost where cells are stacked by
        :func:`anndata.concat` without ``merge="same"``.
    %(transformed_layer)s

    Returns
    -------
    `None`, or the new AnnData with ``copy=True``. Written is X or the layer; in place, its cofactors in ``var`` are dropped.

    Raises
    ------
    KeyError
        When the values were not transformed by `arcsinh`.
    """
    adata = open_adata(adata, copy=copy)
    cells = read_cells(adata, layer)
    column = _slots.cofactor(layer)
    if cofactor is None and column not in adata.var:
        raise KeyError(
            f"it is not recorded how {describe_layer(layer)} was transformed: {column!r} is not in adata.var. anndata.concat drops it"
            " without merge='same'. Give cofactor=, for example cofactor=5."
        )
    cofactors = adata.var[column].to_numpy(dtype=float) if cofactor is None else _cofactors(adata, cofactor)
    check_output(adata, cells, layer, key_added)
    check_finite(cells, layer, adata.obs_names, adata.var_names)
    into = layer if key_added is None else key_added
    transformed = _transform(cells.matrix, cofactors, lambda x, c: np.sinh(x) * c)
    with writing(adata, copy) as adata:
        if into == layer:
            adata.var = adata.var.drop(columns=column, errors="ignore")
        write_layer(adata, into, transformed)
    return adata if copy else None


def check_output(adata: AnnData, cells: CellReader, layer: str | None, key_added: str | None) -> None:
    """Refuse a layer that exists or that files cannot keep, and cells in a file: they would have to be written there."""
    if key_added is not None and key_added != layer:
        check_key(key_added)
        if key_added in adata.layers:
            raise ValueError(f"layers[{key_added!r}] exists; choose another key_added.")
        if there := [column for column in _slots.scale(key_added) if column in adata.var]:
            raise ValueError(f"var[{there[0]!r}] exists; choose another key_added, or delete it.")
    if not cells.in_memory and not hasattr(cells.matrix, "map_blocks"):
        name = describe_layer(layer)
        raise ValueError(f"{name} is in a file (backed mode); transform it in memory, or as a dask array.")


def _warn_of_transformed_values(cells: CellReader, cofactors: np.ndarray, name: str) -> None:
    """Warn of values that look as if they were transformed before, and forgotten by `anndata.concat`."""
    sample = cells.sample().numpy()[:, ~np.isnan(cofactors)]
    highest = float(sample.max(initial=0))
    is_whole = bool((sample == np.rint(sample)).all())
    if not is_whole and highest < min(MAX_TRANSFORMED, MAX_SPREAD * float(np.nanmin(cofactors))):
        logger.warning(
            "The largest value of %s is %.3g: was it transformed before? anndata.concat drops the cofactors in var without"
            " merge='same'. If it was, undo one of the two: ne.pp.inverse_arcsinh(adata).",
            *(name, highest),
        )


def _cofactors(adata: AnnData, cofactor: Any) -> np.ndarray:
    """Return one cofactor for each marker, NaN where it is to be left alone."""
    is_by_marker = isinstance(cofactor, Mapping | pd.Series)
    given = dict(cofactor.items()) if is_by_marker else dict.fromkeys(find_used(adata), cofactor)
    check_features(adata, *given)
    for name, value in given.items():
        if not isinstance(value, Real) or not 0 < float(value) < np.inf:
            raise ValueError(f"cofactor must be positive; it is {value!r} for {name!r}.")
    return np.array([given.get(name, np.nan) for name in adata.var_names], dtype=np.float64)


def _transform(matrix: Any, cofactors: np.ndarray, function: Callable[[Any, Any], Any]) -> Any:
    """Apply a function that keeps 0 at 0 to the columns that have a cofactor."""
    dtype = matrix.dtype if matrix.dtype.kind == "f" else np.dtype(np.float32)
    cofactors = cofactors.astype(dtype)
    if hasattr(matrix, "map_blocks"):  # a dask array stays one
        return matrix.map_blocks(_transform, cofactors, function, dtype=dtype, meta=np.empty((0, 0), dtype=dtype))
    if sparse.issparse(matrix):
        matrix = check_sparse(matrix).tocsr()
        values, used = matrix.data.astype(dtype), cofactors[matrix.indices]
        values = np.where(np.isnan(used), values, function(values, used))
        kind = sparse.csr_array if isinstance(matrix, sparse.sparray) else sparse.csr_matrix
        return kind((values, matrix.indices.copy(), matrix.indptr.copy()), shape=matrix.shape)
    result = np.array(matrix, dtype=dtype)
    for j in np.flatnonzero(~np.isnan(cofactors)):  # a column at a time: no second copy
        result[:, j] = function(result[:, j], cofactors[j])
    return result


def write_layer(adata: AnnData, layer: str | None, matrix: Any) -> None:
    """Write X or a layer. ``adata`` is no view any more: X of a view is its parent's."""
    if layer is None:
        adata.X = matrix
    else:
        adata.layers[layer] = matrix
