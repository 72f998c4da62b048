"""The arcsinh transformation of cytometry, and back."""

from collections.abc import Callable, Mapping
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

from .. import _slots
from .._adata import Rows, check_finite, modality, rows_of
from .._check import check_features, name_of


def arcsinh(
    adata: AnnData,
    cofactor: float | Mapping[str, float] = 5.0,
    *,
    layer: str | None = None,
    key_added: str | None = None,
    mod: str | None = None,
    copy: bool = False,
) -> AnnData | None:
    """Transform intensities to ``arcsinh(x / cofactor)`` and remember the cofactors.

    Parameters
    ----------
    adata
        Cells by markers, raw intensities or ion counts.
    cofactor
        One for all markers: 5 is usual for mass cytometry, about 150 for flow cytometry. Or a dict (or Series) marker ->
        cofactor; markers that it does not name are left as they are. Values well below the cofactor stay nearly linear,
        values well above it become logarithmic.
    layer
        Transform this layer instead of X.
    key_added
        Write into this layer instead of in place.
    mod
        The modality, if ``adata`` is a MuData.
    copy
        Return a new AnnData and leave this one as it is.

    Returns
    -------
    `None`, or the new AnnData with ``copy=True``. Written are X or the layer (sparse stays sparse, integers become
    float32), and its cofactors in ``var["X_arcsinh_cofactor"]`` or ``var["<layer>_arcsinh_cofactor"]``.

    Raises
    ------
    ValueError, KeyError, TypeError
        When the cofactor is not positive, names an unknown marker, or the values are transformed already.

    Examples
    --------
    >>> import anndata, numpy as np, neuronedit as ne
    >>> adata = anndata.AnnData(np.array([[0.0, 5.0], [50.0, 500.0]]))
    >>> ne.pp.arcsinh(adata, cofactor=5)
    >>> adata.X.round(2)
    array([[0.  , 0.88],
           [3.  , 5.3 ]])
    """
    adata = modality(adata, mod, copy=copy)
    rows = rows_of(adata, layer)
    if _slots.cofactor(layer) in adata.var:
        raise ValueError(f"{name_of(layer)} is arcsinh-transformed already; undo it with ne.pp.inverse_arcsinh first.")
    if key_added is not None and key_added in adata.layers and key_added != layer:
        raise ValueError(f"layers[{key_added!r}] exists; choose another key_added.")
    cofactors = _cofactors(adata, cofactor)
    _check_writable(rows, layer)
    check_finite(adata, rows, layer)
    adata = adata.copy() if copy else adata
    into = layer if key_added is None else key_added
    adata.var = adata.var.assign(**{_slots.cofactor(into): cofactors})
    _write(adata, into, _transform(rows.matrix, cofactors, lambda x, c: np.arcsinh(x / c)))
    return adata if copy else None


def inverse_arcsinh(
    adata: AnnData,
    *,
    layer: str | None = None,
    key_added: str | None = None,
    mod: str | None = None,
    copy: bool = False,
) -> AnnData | None:
    """Return to the intensities that `arcsinh` transformed; also of a layer that was edited since.

    Parameters
    ----------
    adata
        Cells by markers, transformed by `arcsinh`.
    layer
        Undo this layer instead of X, for example ``"edited"``.
    key_added
        Write into this layer instead of in place.
    mod
        The modality, if ``adata`` is a MuData.
    copy
        Return a new AnnData and leave this one as it is.

    Returns
    -------
    `None`, or the new AnnData with ``copy=True``. Written is X or the layer; where it is undone in place, its cofactors in
    ``var`` are dropped.

    Raises
    ------
    KeyError
        When the values were not transformed by `arcsinh`.

    Examples
    --------
    >>> import anndata, numpy as np, neuronedit as ne
    >>> adata = anndata.AnnData(np.array([[0.0, 5.0], [50.0, 500.0]]))
    >>> ne.pp.arcsinh(adata)
    >>> ne.pp.inverse_arcsinh(adata)
    >>> adata.X.round(2)
    array([[  0.,   5.],
           [ 50., 500.]])
    """
    adata = modality(adata, mod, copy=copy)
    rows = rows_of(adata, layer)
    column = _slots.cofactor(layer)
    if column not in adata.var:
        raise KeyError(f"{name_of(layer)} was not transformed by ne.pp.arcsinh: {column!r} is not in adata.var.")
    if key_added is not None and key_added in adata.layers and key_added != layer:
        raise ValueError(f"layers[{key_added!r}] exists; choose another key_added.")
    _check_writable(rows, layer)
    adata = adata.copy() if copy else adata
    cofactors = adata.var[column].to_numpy()
    into = layer if key_added is None else key_added
    if into == layer:
        adata.var = adata.var.drop(columns=column)
    _write(adata, into, _transform(rows.matrix, cofactors, lambda x, c: np.sinh(x) * c))
    return adata if copy else None


def _check_writable(rows: Rows, layer: str | None) -> None:
    """Refuse what is in a file: it would have to be written there."""
    if not rows.in_memory and not hasattr(rows.matrix, "map_blocks"):
        raise ValueError(f"{name_of(layer)} is in a file (backed mode); transform it in memory, or as a dask array.")


def _cofactors(adata: AnnData, cofactor: Any) -> np.ndarray:
    """Return one cofactor for each marker, NaN where it is to be left alone."""
    if isinstance(cofactor, pd.Series):
        cofactor = cofactor.to_dict()
    given = cofactor if isinstance(cofactor, Mapping) else dict.fromkeys(adata.var_names, cofactor)
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
        matrix = matrix.tocsr()
        values, used = matrix.data.astype(dtype), cofactors[matrix.indices]
        values = np.where(np.isnan(used), values, function(values, used))
        kind = sparse.csr_array if isinstance(matrix, sparse.sparray) else sparse.csr_matrix
        return kind((values, matrix.indices.copy(), matrix.indptr.copy()), shape=matrix.shape)
    result = np.array(matrix, dtype=dtype)
    for j in np.flatnonzero(~np.isnan(cofactors)):  # a column at a time: no second copy
        result[:, j] = function(result[:, j], cofactors[j])
    return result


def _write(adata: AnnData, layer: str | None, matrix: Any) -> None:
    """Write X or a layer. ``adata`` is no view any more: var was set before, and X of a view is its parent's."""
    if layer is None:
        adata.X = matrix
    else:
        adata.layers[layer] = matrix
