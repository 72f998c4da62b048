"""The scales of cytometry: arcsinh and logicle, and the way back to linear values."""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from .. import _slots


@dataclass(frozen=True)
class FeatureScale:
    """The scale of one feature: to it from linear values, and back."""

    transform: Callable[[np.ndarray], np.ndarray]
    invert: Callable[[np.ndarray], np.ndarray]

    def to_linear(self, values: np.ndarray, raw: np.ndarray | None = None) -> np.ndarray:
        """Return linear values: the ``raw`` ones, to the bit, where values are still what these were transformed to."""
        with np.errstate(over="ignore"):
            linear = self.invert(values.astype(np.float64))
        if raw is None:
            return linear
        is_same = self.transform(raw.astype(values.dtype)).astype(values.dtype) == values
        return np.where(is_same, raw, linear)


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


def read_scales(var: pd.DataFrame, layer: str | None) -> list[FeatureScale | None]:
    """Return the scale of each feature of a layer; `None` for those that are linear."""
    scales: list[FeatureScale | None] = [None] * len(var)
    names = _slots.logicle_parameters(layer)
    if all(name in var for name in names.values()):
        parameters = var[list(names.values())].to_numpy(dtype=float)  # (n_features, 4)
        used = np.flatnonzero(~np.isnan(parameters).any(axis=1))
        if len(used):
            check_flowutils()
        for j in used:
            scales[j] = _make_logicle(parameters[j])
    if _slots.cofactor(layer) in var:
        cofactors = var[_slots.cofactor(layer)].to_numpy(dtype=float)
        for j in np.flatnonzero(~np.isnan(cofactors)):
            scales[j] = make_arcsinh(cofactors[j])
    return scales


def make_arcsinh(cofactor: float) -> FeatureScale:
    """Return the scale of ``arcsinh(x / cofactor)``, in the type of the values."""
    return FeatureScale(lambda x: np.arcsinh(x / x.dtype.type(cofactor)), lambda x: np.sinh(x) * cofactor)


def _make_logicle(parameters: np.ndarray) -> FeatureScale:
    T, M, W, A = map(float, parameters)
    return FeatureScale(lambda x: to_logicle(x, T, M, W, A), lambda x: from_logicle(x, T, M, W, A))
