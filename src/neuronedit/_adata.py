"""The only bridge between AnnData and tensors: what is read is checked here, once, before any work."""

import itertools
import json
import logging
from collections.abc import Collection, Mapping
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from anndata import AnnData
from scipy import sparse
from torch import Tensor

from . import _slots
from ._check import Selection, labels_of, matrix_of, name_of, select, some
from ._types import Space
from .spaces import SPACES, FittedSpace

logger = logging.getLogger(__name__)

CHUNK = 4096
"""Cells that are encoded, edited and decoded at a time."""


class Rows:
    """The cells of a matrix, dense or sparse, read a block of rows at a time as float32 tensors."""

    def __init__(self, matrix: Any) -> None:
        self.matrix = matrix.tocsr() if sparse.issparse(matrix) and matrix.format != "csr" else matrix
        self.shape: tuple[int, int] = matrix.shape
        self.dtype = np.result_type(matrix.dtype, np.float32)

    def __getitem__(self, rows: slice | np.ndarray, /) -> Tensor:
        block = self.matrix[rows]
        block = block.toarray() if sparse.issparse(block) else np.asarray(block)
        return torch.from_numpy(np.array(block, dtype=np.float32, order="C"))  # a copy: nobody can write into adata

    def dense_copy(self) -> np.ndarray:
        """Return all cells in a floating type that loses nothing of them."""
        return np.array(self.matrix.toarray() if sparse.issparse(self.matrix) else self.matrix, dtype=self.dtype)


def check_adata(adata: AnnData) -> None:
    """Refuse what no tool can work on."""
    if not isinstance(adata, AnnData):
        raise TypeError(f"adata must be an AnnData; it is a {type(adata).__name__}.")
    if adata.isbacked:
        raise ValueError("adata is in backed mode; read it into memory first: adata = adata.to_memory().")
    if not adata.var_names.is_unique:
        twice = adata.var_names[adata.var_names.duplicated()].unique()
        raise ValueError(f"var_names are not unique: {some(twice)}; call adata.var_names_make_unique() first.")


def rows_of(adata: AnnData, layer: str | None) -> Rows:
    """Return the cells of X or a layer, once it is known that they can be used."""
    check_adata(adata)
    matrix, name = matrix_of(adata, layer), name_of(layer)
    if 0 in matrix.shape:
        raise ValueError(f"{name} has no cells or no features: its shape is {matrix.shape}.")
    if not isinstance(matrix, np.ndarray) and not sparse.issparse(matrix):
        raise TypeError(f"{name} is a {type(matrix).__name__}; it must be a numpy array or a CSR or CSC matrix.")
    if matrix.dtype.kind not in "fiub":
        raise TypeError(f"{name} has dtype {matrix.dtype}; it must hold real numbers.")
    return Rows(matrix)


def check_finite(adata: AnnData, rows: Rows, layer: str | None) -> None:
    """Refuse NaN and infinite values, naming the first."""
    if rows.matrix.dtype.kind != "f" or (sparse.issparse(rows.matrix) and np.isfinite(rows.matrix.data).all()):
        return
    for start in range(0, rows.shape[0], CHUNK):
        bad = ~torch.isfinite(rows[start : start + CHUNK])
        if bad.any():
            cell, feature = bad.nonzero()[0].tolist()
            raise ValueError(
                f"{name_of(layer)} has NaN or infinite values, the first in cell {adata.obs_names[start + cell]!r}, feature"
                f" {adata.var_names[feature]!r}; drop or impute them first."
            )


def groups_of(
    adata: AnnData,
    groupby: str | None,
    source: Selection,
    target: Selection,
    query: Selection | None,
    truth: Selection | None = None,
) -> dict[str, np.ndarray]:
    """Return the masks of source, target, query and, where one is given, truth, once they make sense together."""
    if groupby is not None:
        labels_of(adata, groupby)
    given = {"source": source, "target": target} | ({} if truth is None else {"truth": truth})
    groups = {role: select(adata, groupby, wanted, role) for role, wanted in given.items()}
    rest = ~np.logical_or.reduce([mask for role, mask in groups.items() if role != "source"])
    groups["query"] = rest if query is None else select(adata, groupby, query, "query")
    for role, other in itertools.combinations(groups, 2):
        if {role, other} != {"source", "query"} and (both := int((groups[role] & groups[other]).sum())):
            raise ValueError(f"{both} cells are in both {role} and {other}; they must not overlap.")
    for role in given:
        if (n := int(groups[role].sum())) < 2:
            raise ValueError(f"{role} has {n} cell; percentiles need at least 2 cells, and are noise below about 100.")
        if n < 100 and role != "truth":
            logger.warning("%s has only %d cells: its percentiles are mostly noise.", role, n)
    return groups


def check_free(
    adata: AnnData, key_added: str, *, model: str | None = None, layers: Collection[str] | None = None
) -> None:
    """Refuse to write over what no tool of ours wrote: the record of that key, and its layers (the key's own)."""
    if key_added == model:
        raise ValueError(f"key_added={key_added!r} is the key of the trained space; choose another.")
    record = adata.uns.get(key_added)
    if isinstance(record, Mapping) and _slots.VERSION in record:
        return
    taken = [f"layers[{name!r}]" for name in ([key_added] if layers is None else layers) if name in adata.layers]
    taken += [f"uns[{key_added!r}]"] * (key_added in adata.uns)
    if taken:
        raise ValueError(f"{taken[0]} exists and was not written by neuronedit; choose another key_added.")


def encode(space: Space, rows: Rows, index: np.ndarray, device: torch.device) -> Tensor:
    """Return the neurons of some cells, a chunk at a time."""
    with torch.no_grad():
        return torch.cat([space.encode(rows[part].to(device)) for part in chunks(index)])


def chunks(index: np.ndarray) -> list[np.ndarray]:
    """Cut an index into parts of at most `CHUNK` cells."""
    return [index[start : start + CHUNK] for start in range(0, len(index), CHUNK)]


def remember(
    adata: AnnData, key: str, name: str, space: FittedSpace, layer: str | None, settings: dict[str, Any]
) -> None:
    """Write a trained space into ``uns[key]``, in a form that survives h5ad and zarr and needs no pickle."""
    adata.uns[key] = {
        "space": name,
        "config": json.dumps({"parameters": space.config, "layer": layer, "training": settings}),
        "weights": {name: weight.numpy() for name, weight in space.weights().items()},
        "var_names": adata.var_names.to_numpy(dtype=str),
        "history": {name: np.asarray(values) for name, values in space.history.items()},
        "versions": json.dumps({package: version(package) for package in ("neuronedit", "torch", "anndata", "numpy")}),
        _slots.VERSION: version("neuronedit"),
    }


def recall(adata: AnnData, key: str) -> tuple[FittedSpace, str | None]:
    """Return the space in ``uns[key]``, frozen, and the layer it was trained on."""
    check_adata(adata)
    if key not in adata.uns:
        raise KeyError(f"uns[{key!r}] holds no trained space; call ne.tl.train(adata, key_added={key!r}) first.")
    record = adata.uns[key]
    if not isinstance(record, Mapping) or "weights" not in record:
        raise ValueError(
            f"uns[{key!r}] is not a trained space; ne.tl.train(adata) writes one to uns[{_slots.MODEL!r}]."
        )
    trained = list(record["var_names"])
    if trained != list(adata.var_names):
        missing, extra = sorted(set(trained) - set(adata.var_names)), sorted(set(adata.var_names) - set(trained))
        difference = f"missing {some(missing)}, extra {some(extra)}" if missing or extra else "in another order"
        raise ValueError(f"adata has other features than the space in uns[{key!r}] was trained on: {difference}.")
    if record["space"] not in SPACES:
        raise ValueError(
            f"uns[{key!r}] was trained in the space {record['space']!r}, which is not in ne.spaces.SPACES; it has"
            f" {some(SPACES)}. Add it there first."
        )
    config = json.loads(record["config"])
    space = SPACES[record["space"]](**config["parameters"])
    space.load_state_dict({name: torch.from_numpy(np.array(weight)) for name, weight in record["weights"].items()})
    return space.requires_grad_(False), config["layer"]
