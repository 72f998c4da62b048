"""The scales of cytometry: arcsinh and logicle, and the way back to linear values."""

import importlib.util
from collections.abc import Callable

import numpy as np
import pandas as pd

from .. import _slots

ToLinear = Callable[[np.ndarray], np.ndarray]
"""Returns linear values from those of one feature."""


def to_logicle(values: np.ndarray, T: float, M: float, W: float, A: float) -> np.ndarray:
    """Return values on the logicle scale: 0 to 1 from the lowest to the highest decade."""
    from flowutils.transforms import logicle

    return np.asarray(logicle(np.ascontiguousarray(values, dtype=np.float64), None, t=T, m=M, w=W, a=A))


def from_logicle(values: np.ndarray, T: float, M: float, W: float, A: float) -> np.ndarray:
    """Return linear values from those on the logicle scale."""
    from flowutils.transforms import logicle_inverse

    return np.asarray(logicle_inverse(np.ascontiguousarray(values, dtype=np.float64), None, t=T, m=M, w=W, a=A))


def check_flowutils() -> None:
    """Refuse the logicle scale without the package that computes it."""
    if importlib.util.find_spec("flowutils") is None:
        raise ImportError("the logicle scale needs flowutils: pip install 'neuronedit[fcs]'.")


def read_scales(var: pd.DataFrame, layer: str | None) -> list[ToLinear | None]:
    """Return how each feature of a layer becomes linear; `None` for those that are."""
    scales: list[ToLinear | None] = [None] * len(var)
    names = _slots.logicle_parameters(layer)
    if all(name in var for name in names.values()):
        parameters = var[list(names.values())].to_numpy(dtype=float)  # (n_features, 4)
        used = np.flatnonzero(~np.isnan(parameters).any(axis=1))
        if len(used):
            check_flowutils()
        for j in used:
            scales[j] = _make_from_logicle(parameters[j])
    if _slots.cofactor(layer) in var:
        cofactors = var[_slots.cofactor(layer)].to_numpy(dtype=float)
        for j in np.flatnonzero(~np.isnan(cofactors)):
            scales[j] = _make_from_arcsinh(cofactors[j])
    return scales


def _make_from_logicle(parameters: np.ndarray) -> ToLinear:
    return lambda values: from_logicle(values, *map(float, parameters))


def _make_from_arcsinh(cofactor: float) -> ToLinear:
    return lambda values: np.sinh(values) * cofactor
