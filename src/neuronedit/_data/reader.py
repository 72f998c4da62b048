"""The cells of a matrix, read a block of rows at a time as float32 tensors, wherever they are."""

import hashlib
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple, Protocol

import h5py
import numpy as np
import pandas as pd
import torch
from anndata import AnnData
from anndata.abc import CSRDataset
from scipy import sparse
from torch import Tensor

from .._blocks import block_size
from .._check import find_limit
from .._types import Space
from .check import check_real, check_row_pointers, check_sparse, describe_layer, format_choices, get_matrix

# reading: rows of a file
ROWS_PER_SPAN = 1024  # that are read together, even if not all are wanted: a read costs more than they do
MAX_ROWS_PER_READ = 65_536  # that are read at once: 9 MB of 35 features
MAX_VALUES_PER_READ = 2**23  # of cells that are kept: a file's rows are there twice meanwhile
SAMPLE_RUNS, SAMPLE_ROWS = 16, 128  # runs of rows, and rows in each, that a sample of a file holds

# checking
MIN_BYTES_OF_LARGE = 8  # of whole numbers that float32 could not square
MIN_HIGHEST = 1e-6  # below which squares, and constants that stand for nothing, are of one size

# computing
DASK_BLOCKS_AT_ONCE = 2  # of a dask array; more where a cluster has room for them
CHUNK, MAX_VALUES_PER_CHUNK = 2_048, 2**21  # cells, and values or neurons, edited at a time: 8 MB of float32
MAX_NEURONS_KEPT = 2**25  # of all cells, in memory, where nobody asked for them: 128 MiB
MAX_CELLS_IN_DIGEST = 10_000  # all cells of small data; of large data, as many as take a second


class ReadsCells(Protocol):
    """What cells of any rows can be read from."""

    def read(self, indices: Sequence[np.ndarray], device: torch.device, /) -> list[Tensor]: ...


class CellReader:
    """The cells of a matrix: in memory, dense or sparse; in a file, as anndata's backed mode has them; or in a dask array."""

    def __init__(self, matrix: Any, order: np.ndarray | None = None) -> None:
        check_sparse(matrix)
        self.matrix = matrix.tocsr() if sparse.issparse(matrix) and matrix.format != "csr" else matrix
        self.dtype = np.result_type(matrix.dtype, np.float32)
        # where the features that are read stand in the matrix; None: all, as they are
        self.order = None if order is None or np.array_equal(order, np.arange(matrix.shape[1])) else order
        self.shape: tuple[int, int] = (matrix.shape[0], matrix.shape[1] if self.order is None else len(self.order))
        self.in_memory = isinstance(self.matrix, np.ndarray) or sparse.issparse(self.matrix)
        longest_chunk = max(matrix.chunks[0]) if hasattr(matrix, "dask") else 0
        self.span = 1 if self.in_memory else max(longest_chunk, ROWS_PER_SPAN)  # rows that are best read together
        self._last_chunk: tuple[int, int, Any] = (0, 0, None)

    def __getitem__(self, rows: slice | np.ndarray, /) -> Tensor:
        return self._to_tensor(self._read(rows), rows)

    def _to_tensor(self, block: Any, rows: slice | np.ndarray) -> Tensor:
        """Return rows of the matrix that were read as float32, with the features that are read."""
        block = block.toarray() if sparse.issparse(block) else np.asarray(block)
        block = self.pick(block)
        copy = np.array if isinstance(rows, slice) else np.asarray  # never a view: nobody can write into adata
        return torch.from_numpy(copy(block, dtype=np.float32, order="C"))

    def send(self, rows: slice | np.ndarray, device: torch.device, /) -> Tensor:
        """Return cells on a device; of sparse ones only what is not zero is sent to an accelerator."""
        if device.type == "cpu":
            return self[rows]
        block = self._read(rows)
        if sparse.issparse(block):
            return send_sparse(self.pick(block), device)
        return self._to_tensor(block, rows).to(device)

    def _read(self, rows: slice | np.ndarray) -> Any:
        """Return rows of the matrix as it is stored."""
        return self.matrix[rows] if self.in_memory else self._read_far(np.arange(self.shape[0])[rows])

    def load(self, rows: np.ndarray, /) -> "CellReader":
        """Return these rows in memory as they are stored: of a sparse matrix, only what is not zero."""
        return CellReader(self._read_far(rows), self.order)

    def read(self, indices: Sequence[np.ndarray], device: torch.device) -> list[Tensor]:
        """Return the cells of each index, all read in one go through the matrix, at most 32 MiB at a time."""
        rows, width = np.concatenate(indices), self.shape[1]
        order, n_rows = np.argsort(rows, kind="stable"), max(1, MAX_VALUES_PER_READ // width)
        cells = torch.empty(len(rows), width, device=device)
        for start in range(0, len(order), n_rows):
            part = order[start : start + n_rows]
            cells[part] = self.send(rows[part], device)
        return list(cells.split([len(index) for index in indices]))

    def _read_far(self, rows: np.ndarray) -> Any:
        """Read rows of a file or a dask array: runs of them that lie close, in order, and each run at once."""
        wanted, back = np.unique(rows, return_inverse=True)
        is_end = (np.diff(wanted) > ROWS_PER_SPAN) | (np.diff(wanted // MAX_ROWS_PER_READ) > 0)
        runs = np.split(wanted, np.flatnonzero(is_end) + 1)
        if hasattr(self.matrix, "dask") and wanted[-1] - wanted[0] > self.span:
            import dask

            pick = dask.delayed(lambda block, rows: block[rows], pure=False)  # only what is wanted comes back
            parts = dask.compute(*(pick(self.matrix[run[0] : run[-1] + 1], run - run[0]) for run in runs))
            parts = tuple(check_sparse(part) for part in parts)
        else:
            parts = [self._read_run(int(run[0]), int(run[-1]) + 1)[run - run[0]] for run in runs]
        block = sparse.vstack(parts, format="csr") if sparse.issparse(parts[0]) else np.concatenate(parts)
        return block[back]

    def _read_run(self, start: int, stop: int) -> Any:
        """Read consecutive rows; of a dask array whole chunks, the last of which are kept: the next rows are likely there."""
        if not hasattr(self.matrix, "dask"):
            return check_sparse(self.matrix[start:stop])
        first, last, chunk = self._last_chunk
        if start < first or stop > last:
            ends = np.cumsum((0, *self.matrix.chunks[0]))
            first, last = int(ends[ends <= start][-1]), int(ends[ends >= stop][0])
            chunk = check_sparse(self.matrix[first:last].compute())
            chunk = chunk.tocsr() if sparse.issparse(chunk) else chunk
            self._last_chunk = first, last, chunk
        return chunk[start - first : stop - first]

    def put(self, into: np.ndarray, rows: np.ndarray, block: np.ndarray) -> None:
        """Write a block of cells into rows of an array like the matrix; features that are not read stay as they are."""
        if self.order is None:
            into[rows] = block
        else:
            into[rows[:, None], self.order] = block

    def pick(self, block: Any) -> Any:
        """Return of a block like the matrix the features that are read."""
        return block if self.order is None else block[:, self.order]

    def dense_copy(self, rows: np.ndarray | None = None) -> np.ndarray:
        """Return cells with all features of the matrix, in a floating type that loses nothing of them."""
        if self.in_memory:
            block = self.matrix if rows is None else self.matrix[rows]
        else:
            block = self._read_far(np.arange(self.shape[0]) if rows is None else rows)
        return np.array(block.toarray() if sparse.issparse(block) else block, dtype=self.dtype)

    def sample(self, max_cells: int = SAMPLE_RUNS * SAMPLE_ROWS) -> Tensor:
        """Return at most so many cells, evenly spaced; of a file, evenly spaced runs of rows."""
        n_cells = self.shape[0]
        if self.in_memory or n_cells <= max_cells:
            return self[spaced(n_cells, max_cells)]
        starts = np.linspace(0, n_cells - SAMPLE_ROWS, max_cells // SAMPLE_ROWS).astype(np.intp)
        return self[(starts[:, None] + np.arange(SAMPLE_ROWS)).ravel()]

    def digest(self, max_cells: int = MAX_CELLS_IN_DIGEST) -> str:
        """Return the SHA-256 of the shape and of at most so many cells, evenly spaced, as float32."""
        sha = hashlib.sha256(str(self.shape).encode())
        for part in chunks(spaced(self.shape[0], max_cells)):
            sha.update(self[part].numpy().tobytes())
        return sha.hexdigest()

    def map_blocks(
        self, job: Callable[..., Any], step: int, *beside: np.ndarray, only: Iterable[int] | None = None
    ) -> Iterator[tuple[tuple[int, int], Any]]:
        """Yield what the job makes of each ``step`` rows, and of these rows of what stands ``beside`` them.

        ``only`` are the numbers of the blocks that are read, in this order.
        """
        firsts = range(0, self.shape[0], step) if only is None else (number * step for number in only)
        ends = ((first, min(first + step, self.shape[0])) for first in firsts)
        blocks = (((first, last), [array[first:last] for array in beside]) for first, last in ends)
        if not hasattr(self.matrix, "dask"):
            for (first, last), extra in blocks:
                block = self.matrix[first:last] if self.in_memory else self._read_run(first, last)
                yield (first, last), job(block, *extra)
            return
        # of a dask array: where dask computes, a few blocks at a time, and the next few while these are used
        import dask

        call = dask.delayed(lambda job, *arguments: job(*arguments), pure=False)

        def compute(wave: list[tuple[tuple[int, int], list[np.ndarray]]]) -> list[tuple[tuple[int, int], Any]]:
            calls = (call(sent, self.matrix[first:last], *extra) for (first, last), extra in wave)
            return list(zip((rows for rows, _ in wave), dask.compute(*calls), strict=True))

        client = _dask_client()  # a cluster is sent the job once
        sent = job if client is None else client.scatter(job, broadcast=True, hash=False)
        at_once, ahead = (DASK_BLOCKS_AT_ONCE, 1) if client is None else (sum(client.nthreads().values()), 3)
        waves = iter(lambda: list(itertools.islice(blocks, at_once)), [])
        with ThreadPoolExecutor(ahead) as pool:
            pending = deque(pool.submit(compute, wave) for wave in itertools.islice(waves, ahead))
            while pending:
                results = pending.popleft().result()
                pending.extend(pool.submit(compute, wave) for wave in itertools.islice(waves, 1))
                yield from results


def send_sparse(block: sparse.csr_matrix, device: torch.device) -> Tensor:
    """Return a sparse matrix as a dense float32 tensor on a device, made there of the values that are not zero."""
    if not block.has_canonical_format:  # a value may be there in parts
        block = block.copy()
        block.sum_duplicates()
    dense = torch.zeros(block.shape, device=device)
    rows = torch.from_numpy(np.repeat(np.arange(block.shape[0]), np.diff(block.indptr))).to(device)
    columns = torch.from_numpy(block.indices.astype(np.int64)).to(device)
    dense[rows, columns] = torch.from_numpy(block.data.astype(np.float32)).to(device)
    return dense


class PatchedCells(NamedTuple):
    """Cells of which some rows, in ascending order, have other ``values``: ``(n_rows, n_features)``."""

    cells: CellReader
    rows: np.ndarray
    values: np.ndarray

    def read(self, indices: Sequence[np.ndarray], device: torch.device) -> list[Tensor]:
        """Return the cells of each index, ``(n_cells, n_features)`` each."""
        parts = self.cells.read(indices, device)
        for index, part in zip(indices, parts, strict=True):
            places = np.minimum(np.searchsorted(self.rows, index), len(self.rows) - 1)
            own = np.flatnonzero(self.rows[places] == index)
            part[torch.from_numpy(own).to(device)] = torch.from_numpy(self.values[places[own]]).to(part)
        return parts


def read_cells(adata: AnnData, layer: str | None, features: Sequence[str] | None = None) -> CellReader:
    """Return the reader of X or a layer, once it is known that it can be used, with features in the given order."""
    matrix, name = get_matrix(adata, layer), describe_layer(layer)
    if 0 in matrix.shape:
        raise ValueError(f"{name} has no cells or no features: its shape is {matrix.shape}.")
    is_far = isinstance(matrix, h5py.Dataset | CSRDataset) or hasattr(matrix, "dask")
    if not isinstance(matrix, np.ndarray) and not sparse.issparse(matrix) and not is_far:
        kinds = "a numpy array, a CSR or CSC matrix, backed, or a dask array"
        raise TypeError(f"{name} is a {type(matrix).__name__}; it must be {kinds}.")
    check_real(matrix, name)
    check_sparse(matrix, name)  # with its name
    if isinstance(matrix, CSRDataset):
        parts = matrix.group
        check_row_pointers(parts["indptr"][:], matrix.shape[0], min(len(parts["indices"]), len(parts["data"])), name)
    return CellReader(matrix, None if features is None else adata.var_names.get_indexer(pd.Index(features)))


def check_finite(cells: CellReader, layer: str | None, cell_names: Sequence[Any], features: Sequence[str]) -> None:
    """Refuse values that are not finite, or so large or small that float32 cannot square them; name where they are.

    Names are of the cells and the features that are read.
    """
    dtype, name = cells.matrix.dtype, describe_layer(layer)
    if dtype.kind != "f" and dtype.itemsize < MIN_BYTES_OF_LARGE:
        return
    limit, highest = find_limit(cells.shape[1]), 0.0
    step = max(block_size(cells.shape[1]), cells.span)
    for (start, _), (largest, bad) in cells.map_blocks(partial(_find_extreme, order=cells.order, limit=limit), step):
        highest = max(highest, largest)
        if bad is None:
            continue
        cell, first = f"cell {cell_names[start + bad.row]!r}", f"feature {features[bad.columns[0]]!r}"
        if not np.isfinite(bad.value):
            raise ValueError(
                f"{name} has NaN or infinite values, the first in {cell}, {first}; drop or impute them first."
            )
        where = format_choices(features[j] for j in bad.columns)
        text = f"{name} has values too large for float32 in {where}, the first {bad.value:.3g} in {cell}"
        raise ValueError(
            f"{text}: above {limit:.0e} sums of squares are infinite. Drop these cells, or transform first."
        )
    if 0 < highest < MIN_HIGHEST:
        text = f"{name} has no value beyond {highest:.3g}, too small for float32, in which squares vanish"
        raise ValueError(f"{text}: multiply all features by one number, such as {1 / highest:.0e}.")


def chunks(index: np.ndarray, width: int = 1) -> list[np.ndarray]:
    """Cut an index into parts of `CHUNK` cells, fewer where each has many values, and the rest into powers of two."""
    # oneDNN keeps a compiled product for every number of rows that it has met: those of any number would fill the memory
    ends, max_rows = [0], min(CHUNK, 1 << (max(1, MAX_VALUES_PER_CHUNK // width).bit_length() - 1))
    while left := len(index) - ends[-1]:
        ends.append(ends[-1] + min(max_rows, 1 << (left.bit_length() - 1)))
    return [index[start:end] for start, end in itertools.pairwise(ends)]


def encode_cells(space: Space, cells: CellReader, index: np.ndarray, device: torch.device) -> Tensor:
    """Return the neurons of the cells of an index, a chunk at a time: ``(len(index), n_neurons)``."""
    with torch.no_grad():
        first = space.encode(cells.send(index[:1], device))
        neurons = first.new_empty(len(index), first.shape[1])
        for part in chunks(np.arange(len(index)), max(cells.shape[1], first.shape[1])):
            neurons[part[0] : part[-1] + 1] = space.encode(cells.send(index[part], device))
    return neurons


def encode_all(
    space: Space, cells: CellReader, device: torch.device, *, max_neurons: int | None = None
) -> np.ndarray | None:
    """Return the neurons of all cells, or `None` where cells are not in memory, or they have more than ``max_neurons``."""
    n_neurons = cells.shape[0] * count_neurons(space, cells, device)
    if not cells.in_memory or n_neurons > (MAX_NEURONS_KEPT if max_neurons is None else max_neurons):
        return None
    neurons = encode_cells(space, cells, np.arange(cells.shape[0]), device)
    bad = (~torch.isfinite(neurons)).any(1)
    if bad.any():
        where = f"{int(bad.sum()):,} of {len(bad):,} cells, the first in row {int(bad.nonzero()[0])}"
        text = f"the space gives NaN or infinite neurons to {where}"
        raise ValueError(f"{text}: train it again with a lower lr, or drop cells with extreme values.")
    return neurons.cpu().numpy()


def count_neurons(space: Space, cells: CellReader, device: torch.device) -> int:
    """Return how many neurons a space has."""
    with torch.no_grad():
        return space.encode(cells[:1].to(device)).shape[1]


def spaced(n: int, max_n: int) -> np.ndarray:
    """Return at most so many row numbers below ``n``, evenly spaced."""
    return np.unique(np.linspace(0, n - 1, min(max_n, n)).astype(np.intp))


def _dask_client() -> Any:
    """Return what speaks to the cluster of dask.distributed, where there is one."""
    try:
        from dask.distributed import get_client

        return get_client()
    except (ImportError, ValueError):
        return None


class _Extreme(NamedTuple):
    """The first value of a block that cannot be used, and the columns of all of them."""

    row: int
    columns: list[int]
    value: float


def _find_extreme(block: Any, order: np.ndarray | None, limit: float) -> tuple[float, _Extreme | None]:
    """Return the largest absolute value of a block, and what is beyond the limit or not finite."""
    values = block.data if sparse.issparse(block) else np.asarray(block)
    if not values.size:
        return 0.0, None
    low, high = float(values.min()), float(values.max())  # NaN where one value is
    if low >= -limit and high <= limit:
        return max(-low, high), None
    dense = block.toarray() if sparse.issparse(block) else values
    dense = dense if order is None else dense[:, order]  # not of a feature that the space does not have
    is_good = (dense >= -limit) & (dense <= limit)
    if is_good.all():
        return float(np.abs(dense).max()), None
    rows, columns = np.nonzero(~is_good)
    bad = ~np.isfinite(dense[rows, columns])
    first = int(bad.argmax())  # one that is not finite, if there is one
    order_of_columns = dict.fromkeys([int(columns[first]), *columns.tolist()])
    return limit, _Extreme(int(rows[first]), list(order_of_columns), float(dense[rows[first], columns[first]]))
