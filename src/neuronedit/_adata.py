"""The only bridge between AnnData and tensors: what is read is checked here, once, before any work."""

import hashlib
import itertools
import json
import logging
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.metadata import version
from typing import Any

import h5py
import numpy as np
import pandas as pd
import torch
from anndata import AnnData
from anndata.abc import CSRDataset
from scipy import sparse
from torch import Tensor

from . import _slots
from ._blocks import block_size
from ._check import Selection, labels_of, matrix_of, name_of, select, some
from ._types import Space
from .spaces import SPACES, FittedSpace

logger = logging.getLogger(__name__)

SPAN = 1024
"""Rows of a file that are read together, even if not all of them are wanted."""

RUN = 65_536
"""Rows of a file that are read at once, at most."""

WAVE = 2
"""Blocks of a dask array that are computed at the same time; more where a cluster has room for them."""

CHUNK, MOST_IN_CHUNK = 16_384, 2**21
"""Cells, and their values or neurons, that are encoded, edited and decoded at a time."""

MOST_KEPT = 2**28
"""Neurons of all cells that are kept in memory: 1 GiB."""


class Rows:
    """The cells of a matrix, read a block of rows at a time as float32 tensors, wherever they are.

    In memory, dense or sparse; in a file, as anndata's backed mode has them; or in a dask array. ``order`` says where the
    features that are read stand in the matrix; `None`: as they are. ``span`` rows are best read together.
    """

    def __init__(self, matrix: Any, order: np.ndarray | None = None) -> None:
        self.matrix = matrix.tocsr() if sparse.issparse(matrix) and matrix.format != "csr" else matrix
        self.shape: tuple[int, int] = matrix.shape
        self.dtype = np.result_type(matrix.dtype, np.float32)
        self.order = None if order is None or (order == np.arange(len(order))).all() else order
        self.in_memory = isinstance(self.matrix, np.ndarray) or sparse.issparse(self.matrix)
        self.span = 1 if self.in_memory else max(_longest(matrix), SPAN)
        self._kept: tuple[int, int, Any] = (0, 0, None)

    def __getitem__(self, rows: slice | np.ndarray, /) -> Tensor:
        block = self.matrix[rows] if self.in_memory else self._from_afar(np.arange(self.shape[0])[rows])
        block = block.toarray() if sparse.issparse(block) else np.asarray(block)
        block = block if self.order is None else block[:, self.order]
        made = np.array if isinstance(rows, slice) else np.asarray  # never a view: nobody can write into adata
        return torch.from_numpy(made(block, dtype=np.float32, order="C"))

    def near(self, rows: np.ndarray, /) -> "Rows":
        """Return these rows in memory as they are stored: of a sparse matrix, only what is not zero."""
        return Rows(self._from_afar(rows), self.order)

    def _from_afar(self, rows: np.ndarray) -> Any:
        """Read rows of a file or a dask array: runs of them that lie close, in order, and each run at once."""
        wanted, back = np.unique(rows, return_inverse=True)
        apart = (np.diff(wanted) > SPAN) | (np.diff(wanted // RUN) > 0)
        runs = np.split(wanted, np.flatnonzero(apart) + 1)
        if hasattr(self.matrix, "dask") and wanted[-1] - wanted[0] > self.span:
            parts = self._at_once(runs)
        else:
            parts = [self._run(int(run[0]), int(run[-1]) + 1)[run - run[0]] for run in runs]
        together = sparse.vstack(parts, format="csr") if sparse.issparse(parts[0]) else np.concatenate(parts)
        return together[back]

    def _run(self, start: int, stop: int) -> Any:
        """Read consecutive rows; of a dask array whole chunks, the last of which are kept: the next rows are likely there."""
        if not hasattr(self.matrix, "dask"):
            return self.matrix[start:stop]
        first, last, kept = self._kept
        if start < first or stop > last:
            ends = np.cumsum((0, *self.matrix.chunks[0]))
            first, last = int(ends[ends <= start][-1]), int(ends[ends >= stop][0])
            kept = self.matrix[first:last].compute()
            kept = kept.tocsr() if sparse.issparse(kept) else kept
            self._kept = first, last, kept
        return kept[start - first : stop - first]

    def _at_once(self, runs: Sequence[np.ndarray]) -> Sequence[Any]:
        """Read rows of many chunks of a dask array where dask computes: only what is wanted comes back."""
        import dask

        pick = dask.delayed(lambda block, rows: block[rows], pure=False)
        return dask.compute(*(pick(self.matrix[run[0] : run[-1] + 1], run - run[0]) for run in runs))

    def in_place(self, block: np.ndarray) -> np.ndarray:
        """Return a block of cells with the features where they stand in the matrix."""
        return block if self.order is None else block[:, np.argsort(self.order)]

    def dense_copy(self) -> np.ndarray:
        """Return all cells in a floating type that loses nothing of them."""
        block = self.matrix if self.in_memory else self._from_afar(np.arange(self.shape[0]))
        return np.array(block.toarray() if sparse.issparse(block) else block, dtype=self.dtype)

    def each(
        self, job: Callable[..., Any], step: int, *beside: np.ndarray, start: int = 0
    ) -> Iterator[tuple[tuple[int, int], Any]]:
        """Yield what the job makes of each ``step`` rows, in order, and of these rows of what stands ``beside`` them.

        Rows of a dask array are given to the job where dask computes, a few blocks at a time, and the next few while these
        are used. A cluster is sent the job once.
        """
        ends = ((first, min(first + step, self.shape[0])) for first in range(start, self.shape[0], step))
        blocks = (((first, last), [array[first:last] for array in beside]) for first, last in ends)
        if not hasattr(self.matrix, "dask"):
            for (first, last), own in blocks:
                yield (first, last), job(self.matrix[first:last] if self.in_memory else self._run(first, last), *own)
            return
        import dask

        call = dask.delayed(_called, pure=False)

        def compute(wave: list[tuple[tuple[int, int], list[np.ndarray]]]) -> list[tuple[tuple[int, int], Any]]:
            found = dask.compute(*(call(sent, self.matrix[first:last], *own) for (first, last), own in wave))
            return list(zip((rows for rows, _ in wave), found, strict=True))

        client = _client()
        sent = job if client is None else client.scatter(job, broadcast=True, hash=False)
        at_once, ahead = (WAVE, 1) if client is None else (sum(client.nthreads().values()), 3)
        waves = iter(lambda: list(itertools.islice(blocks, at_once)), [])
        with ThreadPoolExecutor(ahead) as pool:
            coming = deque(pool.submit(compute, wave) for wave in itertools.islice(waves, ahead))
            while coming:
                found = coming.popleft().result()
                coming.extend(pool.submit(compute, wave) for wave in itertools.islice(waves, 1))
                yield from found


def _client() -> Any:
    """Return what speaks to the cluster of dask.distributed, where there is one."""
    try:
        from dask.distributed import get_client

        return get_client()
    except (ImportError, ValueError):
        return None


def _called(job: Callable[..., Any], *given: Any) -> Any:
    return job(*given)


def check_adata(adata: AnnData) -> None:
    """Refuse what no tool can work on."""
    if not isinstance(adata, AnnData):
        named = "; name one of its modalities, mod=..." if hasattr(adata, "mod") else ""
        raise TypeError(f"adata must be an AnnData; it is a {type(adata).__name__}{named}.")
    if not adata.var_names.is_unique:
        twice = adata.var_names[adata.var_names.duplicated()].unique()
        raise ValueError(f"var_names are not unique: {some(twice)}; call adata.var_names_make_unique() first.")


def modality(data: Any, mod: str | None, *, copy: bool = False) -> AnnData:
    """Return the modality of a MuData, or the AnnData itself; what is in a file cannot be copied."""
    if copy and getattr(data, "isbacked", False):
        raise ValueError(
            "adata is in backed mode, which cannot be copied: leave out copy=True, or read it: adata.to_memory()."
        )
    if mod is None:
        return loaded(data)
    modalities = getattr(data, "mod", None)
    if not isinstance(modalities, Mapping):
        raise TypeError(f"mod={mod!r} names a modality of a MuData; adata is a {type(data).__name__}.")
    if mod not in modalities:
        raise KeyError(f"mod: {mod!r} is not a modality; there are {some(modalities)}.")
    return loaded(modalities[mod])


def loaded(data: Any) -> AnnData:
    """Load what describes the cells, where anndata's lazy reader left even that in the file: obs, var and uns."""
    if isinstance(data, AnnData) and not isinstance(data.obs, pd.DataFrame):
        data.obs, data.var, data.uns = data.obs.to_memory(), data.var.to_memory(), _computed(dict(data.uns))
    return data


def _computed(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _computed(part) for name, part in value.items()}
    value = value.compute() if hasattr(value, "dask") else value
    return value.item() if isinstance(value, np.ndarray) and value.ndim == 0 else value


def rows_of(adata: AnnData, layer: str | None, names: Sequence[str] | None = None) -> Rows:
    """Return the cells of X or a layer, once it is known that they can be used, with features in the order of ``names``."""
    check_adata(adata)
    matrix, name = matrix_of(adata, layer), name_of(layer)
    if 0 in matrix.shape:
        raise ValueError(f"{name} has no cells or no features: its shape is {matrix.shape}.")
    if not isinstance(matrix, np.ndarray) and not sparse.issparse(matrix) and not _far(matrix):
        raise TypeError(
            f"{name} is a {type(matrix).__name__}; it must be a numpy array, a CSR or CSC matrix, backed, or a dask array."
        )
    if matrix.dtype.kind not in "fiub":
        raise TypeError(f"{name} has dtype {matrix.dtype}; it must hold real numbers.")
    return Rows(matrix, None if names is None else adata.var_names.get_indexer(pd.Index(names)))


def _far(matrix: Any) -> bool:
    """Whether a matrix is in a file, or a dask array, with rows that can be read alone."""
    in_file = isinstance(matrix, h5py.Dataset | CSRDataset)
    return in_file or hasattr(matrix, "dask")


def _longest(matrix: Any) -> int:
    """Return how many rows a chunk of a dask array has at most, and none of any other matrix."""
    return max(matrix.chunks[0]) if hasattr(matrix, "dask") else 0


def check_finite(adata: AnnData, rows: Rows, layer: str | None) -> None:
    """Refuse NaN and infinite values, naming the first."""
    if rows.matrix.dtype.kind != "f":
        return
    step = max(block_size(rows.shape[1]), rows.span)
    for (start, _), bad in rows.each(partial(_first_bad, order=rows.order), step):
        if bad is not None:
            names = adata.var_names if rows.order is None else adata.var_names[rows.order]
            raise ValueError(
                f"{name_of(layer)} has NaN or infinite values, the first in cell {adata.obs_names[start + bad[0]]!r},"
                f" feature {names[bad[1]]!r}; drop or impute them first."
            )


def _first_bad(block: Any, order: np.ndarray | None) -> tuple[int, int] | None:
    """Return where the first value of a block is that is not finite."""
    if np.isfinite(block.data if sparse.issparse(block) else np.asarray(block)).all():
        return None
    bad = ~torch.isfinite(Rows(block, order)[:])
    return tuple(bad.nonzero()[0].tolist()) if bad.any() else None  # not of a feature that the space does not have


def groups_of(
    adata: AnnData,
    groupby: str | None,
    source: Selection,
    target: Selection,
    query: Selection | None,
    truth: Selection | None = None,
    *,
    inverse: bool = False,
) -> dict[str, np.ndarray]:
    """Return the masks of source, target, query and, where one is given, truth, once they make sense together.

    The query is like the source, and may hold cells of it; with ``inverse`` it is like the target.
    """
    like = "target" if inverse else "source"
    if groupby is not None:
        labels_of(adata, groupby)
    given = {"source": source, "target": target} | ({} if truth is None else {"truth": truth})
    groups = {role: select(adata, groupby, wanted, role) for role, wanted in given.items()}
    rest = ~np.logical_or.reduce([mask for role, mask in groups.items() if role != like])
    groups["query"] = rest if query is None else select(adata, groupby, query, "query")
    for role, other in itertools.combinations(groups, 2):
        if {role, other} != {like, "query"} and (both := int((groups[role] & groups[other]).sum())):
            raise ValueError(f"{both} cells are in both {role} and {other}; they must not overlap.")
    for role in given:
        if (n := int(groups[role].sum())) < 2:
            raise ValueError(f"{role} has {n} cell; percentiles need at least 2 cells, and are noise below about 100.")
        if n < 100 and role != "truth":
            logger.warning("%s has only %d cells: its percentiles are mostly noise; edit='shift' needs fewer.", role, n)
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
        first = space.encode(rows[index[:1]].to(device))
        neurons = first.new_empty(len(index), first.shape[1])
        for part in chunks(np.arange(len(index)), max(rows.shape[1], first.shape[1])):
            neurons[part[0] : part[-1] + 1] = space.encode(rows[index[part]].to(device))
    return neurons


def copied(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of a record in ``uns``; `copy.deepcopy` crashes on words read from zarr, at least in numpy 2.0."""
    parts = {name: copied(value) if isinstance(value, Mapping) else value for name, value in record.items()}
    return {name: value.copy() if hasattr(value, "copy") else value for name, value in parts.items()}


def neurons_of(space: Space, rows: Rows, device: torch.device) -> np.ndarray | None:
    """Return the neurons of all cells, or nothing where cells or neurons are too many for memory."""
    if not rows.in_memory or rows.shape[0] * n_neurons_of(space, rows, device) > MOST_KEPT:
        return None
    return encode(space, rows, np.arange(rows.shape[0]), device).cpu().numpy()


def n_neurons_of(space: Space, rows: Rows, device: torch.device) -> int:
    """Return how many neurons a space has."""
    with torch.no_grad():
        return space.encode(rows[:1].to(device)).shape[1]


def chunks(index: np.ndarray, width: int = 1) -> list[np.ndarray]:
    """Cut an index into parts of `CHUNK` cells, fewer where each has many values, and the rest into powers of two.

    oneDNN keeps a compiled product for every number of rows that it has met: of any number, they would fill the memory.
    """
    ends, most = [0], min(CHUNK, 1 << (max(1, MOST_IN_CHUNK // width).bit_length() - 1))
    while left := len(index) - ends[-1]:
        ends.append(ends[-1] + min(most, 1 << (left.bit_length() - 1)))
    return [index[start:end] for start, end in itertools.pairwise(ends)]


def remember(
    adata: AnnData, key: str, name: str, space: FittedSpace, layer: str | None, settings: dict[str, Any], data: Rows
) -> None:
    """Write a trained space into ``uns[key]``, in a form that survives h5ad and zarr and needs no pickle."""
    seen = {"shape": list(data.shape), "sha256": fingerprint(data)}
    adata.uns[key] = {
        "space": name,
        "config": json.dumps({"parameters": space.config, "layer": layer, "training": settings, "data": seen}),
        "weights": {name: weight.numpy() for name, weight in space.weights().items()},
        "var_names": adata.var_names.to_numpy(dtype=str),
        "history": {name: np.asarray(values) for name, values in space.history.items()},
        "versions": json.dumps({package: version(package) for package in ("neuronedit", "torch", "anndata", "numpy")}),
        _slots.VERSION: version("neuronedit"),
    }


def fingerprint(rows: Rows, most: int = 10_000) -> str:
    """Return the SHA-256 of the shape and of at most so many cells, evenly spaced, as float32."""
    index = np.unique(np.linspace(0, rows.shape[0] - 1, min(most, rows.shape[0])).astype(np.intp))
    digest = hashlib.sha256(str(rows.shape).encode())
    for part in chunks(index):
        digest.update(rows[part].numpy().tobytes())
    return digest.hexdigest()


def features_of(adata: AnnData, key: str) -> list[str]:
    """Return the features that the space in ``uns[key]`` was trained on, in their order."""
    return [str(name) for name in adata.uns[key]["var_names"]]


def check_same_features(adata: AnnData, trained: Sequence[str], what: str) -> None:
    """Refuse features that are missing, and others; their order does not matter."""
    missing, extra = sorted(set(trained) - set(adata.var_names)), sorted(set(adata.var_names) - set(trained))
    if missing or extra:
        raise ValueError(
            f"adata has other features than {what} was trained on: missing {some(missing)}, extra {some(extra)}."
        )


def recall(adata: AnnData, key: str) -> tuple[FittedSpace, str | None]:
    """Return the space in ``uns[key]``, frozen, and the layer it was trained on; it wants features in its own order."""
    check_adata(adata)
    if key not in adata.uns:
        raise KeyError(f"uns[{key!r}] holds no trained space; call ne.tl.train(adata, key_added={key!r}) first.")
    record = adata.uns[key]
    if not isinstance(record, Mapping) or "weights" not in record:
        raise ValueError(
            f"uns[{key!r}] is not a trained space; ne.tl.train(adata) writes one to uns[{_slots.MODEL!r}]."
        )
    check_same_features(adata, features_of(adata, key), f"the space in uns[{key!r}]")
    if record["space"] not in SPACES:
        raise ValueError(
            f"uns[{key!r}] was trained in the space {record['space']!r}, which is not in ne.spaces.SPACES; it has"
            f" {some(SPACES)}. Add it there first."
        )
    config = json.loads(record["config"])
    space = SPACES[record["space"]](**config["parameters"])
    space.load_state_dict({name: torch.from_numpy(np.array(weight)) for name, weight in record["weights"].items()})
    return space.requires_grad_(False), config["layer"]
