"""The events of a file that is written: put together from what was read and what was edited."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from anndata import AnnData

from .. import _slots
from .._data.check import check_real, describe_layer, get_matrix
from .._data.scales import FeatureScale, read_scales
from ._fcs_record import FcsFile

TYPES_OF_DOUBLES = ("D64", "I32", "I40", "I48", "I56", "I64")  # what may hold numbers that float32 does not


@dataclass(frozen=True)
class FeatureValues:
    """The values of the features: where they are, and how they become linear."""

    names: list[str]
    matrices: list[Any]  # X or the layer, of each feature; None where X is not there
    scales: list[FeatureScale | None]  # of each feature
    raw: list[Any]  # X, of each feature that is linear there and not in the layer; else None
    is_used: np.ndarray
    events: np.ndarray  # number of each cell in its file
    layer: str | None

    @classmethod
    def read(cls, adata: AnnData, layer: str | None, events: np.ndarray) -> Self:
        """Find the values: those of features that are used in the layer, those of the others in X.

        ``events`` are the numbers of the cells in their files.
        """
        edited = get_matrix(adata, layer)
        for matrix, own in ((edited, layer), (adata.X, None)):
            if matrix is not None:
                check_real(matrix, describe_layer(own))
        used = adata.var.get(_slots.USED)
        is_used = np.ones(adata.n_vars, dtype=bool) if used is None else used.to_numpy(dtype=bool)
        of_layer, of_x = read_scales(adata.var, layer), read_scales(adata.var, None)
        matrices = [edited if is_edited else adata.X for is_edited in is_used]
        scales = [a if is_edited else b for a, b, is_edited in zip(of_layer, of_x, is_used, strict=True)]
        is_raw = [scale is not None and own is None for scale, own in zip(scales, of_x, strict=True)]
        raw = [adata.X if own else None for own in is_raw]
        return cls(list(map(str, adata.var_names)), matrices, scales, raw, is_used, events, layer)

    def find_features(self, file: FcsFile) -> list[int | None]:
        """Return which feature each channel of a file is; `None` where it is not among them."""
        places = {name: i for i, name in enumerate(self.names) if self.matrices[i] is not None}
        return [places.get(str(name)) if name else None for name in file.channels["feature"]]

    def read_columns(self, features: Sequence[int], rows: np.ndarray) -> dict[int, tuple[np.ndarray, Any]]:
        """Return the values of features as they are stored, and the raw ones, or None; each matrix is read once."""
        blocks: dict[int, Any] = {id(None): None}
        for i in features:
            for matrix in (self.matrices[i], self.raw[i]):
                if id(matrix) not in blocks:
                    blocks[id(matrix)] = _read_rows(matrix, rows)
        raw = {i: blocks[id(self.raw[i])] for i in features}
        return {i: (blocks[id(self.matrices[i])][:, i], None if raw[i] is None else raw[i][:, i]) for i in features}

    def to_linear(self, i: int, values: np.ndarray, raw: np.ndarray | None, file: FcsFile) -> np.ndarray:
        """Return the linear values of a feature; those that are raw, or were not edited, stay what they are to the bit."""
        bad = ~np.isfinite(values)
        if self.is_used[i] and bad.any():
            where = f"{describe_layer(self.layer)} has {int(bad.sum()):,} NaN or infinite values"
            channel = file.channels["channel"][list(file.channels["feature"]).index(self.names[i])]
            raise ValueError(f"{where} in {self.names[i]!r} ({channel}) of {file.name}; drop or impute them first.")
        scale = self.scales[i]
        return values if scale is None else scale.to_linear(values, raw)


@dataclass
class Composed:
    """The events of a file, and what had to be done to them."""

    events: np.ndarray  # (n_events, n_channels), float32 or float64
    channels: list[int]  # their places in the file that was read
    clipped: Counter[str] = field(default_factory=Counter)  # how many values of each channel

    @classmethod
    def of(cls, file: FcsFile, values: FeatureValues, rows: np.ndarray, *, read_again: bool, mark: bool) -> Self:
        """Put the events of a file together; ``rows`` are its cells, in the order of the events."""
        # what was read, on the scale of the features: (n_events, n_channels)
        features, spilled = values.find_features(file), file.find_places()
        columns = values.read_columns([i for i in features if i is not None], rows)
        original = file.read_again() if read_again else None
        here = values.events[rows].astype(np.int64) if original is not None else np.arange(len(rows))
        events = np.zeros((len(rows), len(features))) if original is None else original.astype(np.float64)
        if original is not None and file.spillover is not None:
            file.spillover.remove(events, spilled)

        # what is here
        for j, i in enumerate(features):
            if i is None:
                continue
            linear = values.to_linear(i, *columns[i], file)
            is_raw = not values.is_used[i] and values.scales[i] is None and j not in spilled
            if original is not None and is_raw and not np.array_equal(events[here, j], linear, equal_nan=True):
                raise ValueError(f"{file.path} was changed: its {file.channels['channel'][j]!r} is not what was read.")
            events[here, j] = linear
        if file.spillover is not None:
            file.spillover.restore(events, spilled)
        if original is not None:
            removed = np.setdiff1d(np.arange(file.n_events), here)
            events[removed] = original[removed]

        # what the file holds
        written = [j for j, i in enumerate(features) if i is not None or original is not None]
        may_be_double = any(str(stored) in TYPES_OF_DOUBLES for stored in file.channels["stored"])
        may_be_double &= any(column.dtype.itemsize > 4 for column, _ in columns.values())
        composed = cls(events[:, written], written)
        composed._set_type([str(file.channels["channel"][j]) for j in written], may_be_double)
        if mark:
            kept = np.isin(np.arange(len(events)), here).astype(composed.events.dtype)
            composed.events = np.column_stack([composed.events, kept])
        return composed

    def _set_type(self, names: Sequence[str], may_be_double: bool) -> None:
        """Bring the events to the type that they have in the file, and clip what that cannot hold."""
        with np.errstate(over="ignore", invalid="ignore"):
            single = self.events.astype(np.float32)
        is_same = np.array_equal(single, self.events, equal_nan=True)
        dtype: type[np.floating[Any]] = np.float64 if may_be_double and not is_same else np.float32
        limit = float(np.finfo(dtype).max)
        for j, name in enumerate(names):
            beyond = np.abs(self.events[:, j]) > limit
            if n := int(beyond.sum()):
                self.clipped[name] += n
                self.events[beyond, j] = np.copysign(limit, self.events[beyond, j])
        self.events = self.events.astype(dtype)


def _read_rows(matrix: Any, rows: np.ndarray) -> np.ndarray:
    """Return rows of a matrix that is in memory, in a file or a dask array."""
    if not len(rows):
        return np.empty((0, matrix.shape[1]), dtype=matrix.dtype)
    first, last = int(rows.min()), int(rows.max()) + 1
    block = matrix[first:last]
    block = block.compute() if hasattr(block, "dask") else block
    block = block.toarray() if hasattr(block, "toarray") else np.asarray(block)
    return np.asarray(block[rows - first])
