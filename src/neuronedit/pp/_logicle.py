"""The logicle transformation of fluorescence cytometry, and back."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

from .. import _slots
from .._check import NotNegative, Positive
from .._data.check import check_features, describe_layer, find_used, open_adata
from .._data.reader import check_finite, read_cells
from .._data.scales import check_flowutils, from_logicle, to_logicle
from .._data.undo import writing
from ._arcsinh import check_output, write_layer

LogicleParameters = Mapping[str, np.ndarray]  # of each feature, by T, M, W and A; NaN where it is left alone


def logicle(
    adata: AnnData,
    *,
    T: Positive | Mapping[str, Positive] = 262_144.0,
    M: Positive | Mapping[str, Positive] = 4.5,
    W: NotNegative | Mapping[str, NotNegative] = 0.5,
    A: float | Mapping[str, float] = 0.0,
    layer: str | None = None,
    key_added: str | None = None,
    copy: bool = False,
) -> AnnData | None:
    """Transform compensated fluorescence to the logicle scale (Gating-ML 2.0): linear around 0, logarithmic above.

    Examples
    --------
    >>> import anndata, numpy as np, neuronedit as ne
    >>> adata = anndata.AnnData(np.array([[-100.0, 0.0], [1000.0, 262144.0]]))
    >>> ne.pp.logicle(adata)
    >>> adata.X.round(2)
    array([[0.01, 0.11],
           [0.45, 1.  ]])

    Parameters
    ----------
    adata
        Cells by markers, linear and compensated. Not sparse, as 0 does not stay 0.
    T
        The top of the scale: the value that becomes 1.
    M
        Width of the scale in decades.
    W
        Width of its linear part in decades, at most half of ``M``.
    A
        Decades of negative values besides, from ``-W`` to ``M - 2 * W``.

        Each is one number for all markers, or a dict (or Series) marker -> number; markers that a dict does not name are left
        as they are. Where ``var["used"]`` is there, one number is for the markers that are used.
    %(transformed_layer)s

    Returns
    -------
    `None`, or the new AnnData with ``copy=True``. Written are X or the layer, in no unit, most values from 0 to 1, and the
    parameters in ``var["X_logicle_T"]`` or ``var["<layer>_logicle_T"]``, and so on for M, W and A.

    Raises
    ------
    ValueError, KeyError
        When the parameters make no scale, name an unknown marker, or the values are transformed already.
    ImportError
        Without the extra ``fcs``.
    """
    check_flowutils()
    adata = open_adata(adata, copy=copy)
    cells, name = read_cells(adata, layer), describe_layer(layer)
    if there := [column for column in _slots.scale(layer) if column in adata.var]:
        raise ValueError(f"{name} is transformed already, as var[{there[0]!r}] says; undo that first.")
    parameters = _read_parameters(adata, {"T": T, "M": M, "W": W, "A": A})
    return _write_transformed(adata, cells, parameters, to_logicle, layer, key_added, copy)


def inverse_logicle(
    adata: AnnData, *, layer: str | None = None, key_added: str | None = None, copy: bool = False
) -> AnnData | None:
    """Return to the intensities that `logicle` transformed; also of a layer that was edited since.

    Examples
    --------
    >>> import anndata, numpy as np, neuronedit as ne
    >>> adata = anndata.AnnData(np.array([[-100.0, 0.0], [1000.0, 262144.0]]))
    >>> ne.pp.logicle(adata)
    >>> ne.pp.inverse_logicle(adata)
    >>> (adata.X + 0.0).round(2)
    array([[-1.00000e+02,  0.00000e+00],
           [ 1.00000e+03,  2.62144e+05]])

    Parameters
    ----------
    adata
        Cells by markers, transformed by `logicle`.
    %(transformed_layer)s

    Returns
    -------
    `None`, or the new AnnData with ``copy=True``. Written is X or the layer; in place, its parameters in ``var`` are dropped.

    Raises
    ------
    KeyError
        When the values were not transformed by `logicle`.
    ImportError
        Without the extra ``fcs``.
    """
    check_flowutils()
    adata = open_adata(adata, copy=copy)
    cells, columns = read_cells(adata, layer), _slots.logicle_parameters(layer)
    if missing := [column for column in columns.values() if column not in adata.var]:
        raise KeyError(
            f"it is not recorded how {describe_layer(layer)} was transformed: {missing[0]!r} is not in adata.var."
        )
    parameters = {name: adata.var[column].to_numpy(dtype=float) for name, column in columns.items()}
    return _write_transformed(adata, cells, parameters, from_logicle, layer, key_added, copy)


def _write_transformed(
    adata: AnnData,
    cells: Any,
    parameters: LogicleParameters,
    function: Callable[..., np.ndarray],
    layer: str | None,
    key_added: str | None,
    copy: bool,
) -> AnnData | None:
    """Transform a layer, and write it and its parameters, or drop these where it is linear again."""
    if sparse.issparse(cells.matrix):
        raise TypeError(f"{describe_layer(layer)} is sparse, and 0 does not stay 0 on this scale; make it dense first.")
    check_output(adata, cells, layer, key_added)
    check_finite(cells, layer, adata.obs_names, adata.var_names)
    into = layer if key_added is None else key_added
    transformed = _transform_columns(cells.matrix, parameters, function)
    with writing(adata, copy) as adata:
        columns = _slots.logicle_parameters(into)
        if function is to_logicle:
            adata.var = adata.var.assign(**{columns[name]: values for name, values in parameters.items()})
        elif into == layer:
            adata.var = adata.var.drop(columns=list(columns.values()))
        write_layer(adata, into, transformed)
    return adata if copy else None


def _transform_columns(matrix: Any, parameters: LogicleParameters, function: Callable[..., np.ndarray]) -> Any:
    """Apply a function to the columns that have parameters."""
    dtype = matrix.dtype if matrix.dtype.kind == "f" else np.dtype(np.float32)
    if hasattr(matrix, "map_blocks"):  # a dask array stays one
        meta = np.empty((0, 0), dtype=dtype)
        return matrix.map_blocks(_transform_columns, parameters, function, dtype=dtype, meta=meta)
    result = np.array(matrix, dtype=dtype)
    for j in np.flatnonzero(~np.isnan(parameters["T"])):
        own = {name: float(values[j]) for name, values in parameters.items()}
        result[:, j] = function(result[:, j], **own)
    return result


def _read_parameters(adata: AnnData, given: Mapping[str, Any]) -> LogicleParameters:
    """Return the parameters of each feature, once they are known to make a scale."""
    used = adata.var_names.isin(find_used(adata))
    columns, is_named = {}, np.ones(adata.n_vars, dtype=bool)
    for name, value in given.items():
        if isinstance(value, Mapping | pd.Series):
            by_feature = dict(value.items())
            check_features(adata, *by_feature)
            columns[name] = np.array([by_feature.get(one, np.nan) for one in adata.var_names], dtype=float)
            is_named &= ~np.isnan(columns[name])
        else:
            columns[name] = np.full(adata.n_vars, float(value))
    if not any(isinstance(value, Mapping | pd.Series) for value in given.values()):
        is_named = used
    for values in columns.values():
        values[~is_named] = np.nan
    T, M, W, A = columns.values()
    is_scale = (T > 0) & (M > 0) & (W >= 0) & (2 * W <= M) & (A >= -W) & (A <= M - 2 * W) & np.isfinite(T)
    if (bad := is_named & ~is_scale).any():
        j = int(bad.argmax())
        numbers = ", ".join(f"{name}={values[j]:g}" for name, values in columns.items())
        text = f"{numbers} of {adata.var_names[j]!r} make no logicle scale"
        raise ValueError(f"{text}: T and M must be positive, W from 0 to M / 2, and A from -W to M - 2 * W.")
    return columns
