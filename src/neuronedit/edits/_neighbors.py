"""Shared by the nearest-neighbour edits: average the shifts of the source cells that a cell resembles most."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from .._blocks import ROWS_PER_PRODUCT, pad_rows
from .._maps import ShapeRepr
from .._memory import scratch
from .._types import Map, Space

MANY_CELLS = 5_000  # with more, fewer rows are compared at once, as memory grows with both
ROWS_PARTED_AT_ONCE = 8  # their numbers, of 10,000 columns, are 0.6 MB


@dataclass(frozen=True, eq=False, repr=False)
class Nearest(ShapeRepr):
    """Moves a cell by the mean of the ``moves`` of the ``n_neighbors`` nearest ``cells``, both ``(n, n_neurons)``.

    With a space, ``compared_in``, neighbours are those of cells in it, and ``cells`` are encoded, ``(n, n_neurons of it)``.
    """

    cells: Tensor
    moves: Tensor
    n_neighbors: int
    compared_in: Space | None = None

    def __post_init__(self) -> None:
        if self.n_neighbors < 1:
            raise ValueError(f"n_neighbors must be at least 1; it is {self.n_neighbors}.")

    def __call__(self, z: Tensor, /) -> Tensor:
        return self.follow(z, self.find(z))

    def find(self, z: Tensor) -> Tensor:
        """Return the row numbers of the cells nearest to each of ``z``: ``(len(z), n_neighbors)``."""
        places = z if self.compared_in is None else self.compared_in.encode(z)
        return find_nearest(places, self.cells, self.n_neighbors, ordered=False)[1]

    def finds_as(self, other: Map) -> bool:
        """Return whether another edit looks for as many neighbours, among the same cells, in the same space."""
        if not isinstance(other, Nearest):
            return False
        if self.n_neighbors != other.n_neighbors or self.compared_in is not other.compared_in:
            return False
        return self.cells is other.cells or torch.equal(self.cells, other.cells)

    def follow(self, z: Tensor, found: Tensor) -> Tensor:
        """Move each of ``z`` by the mean of the moves of its neighbours."""
        return z + embedding_bag(found, self.moves, mode="mean")


def find_nearest(x: Tensor, cells: Tensor, n_neighbors: int, *, ordered: bool = True) -> tuple[Tensor, Tensor]:
    """Return the distances and row numbers of the cells nearest to each row of ``x``, each ``(len(x), n_neighbors)``."""
    k = min(n_neighbors, len(cells))
    distances, rows = x.new_empty(len(x), k), torch.empty(len(x), k, dtype=torch.long, device=x.device)
    n_rows = count_at_once(cells)
    blocks = zip(compare_squares(x, cells), distances.split(n_rows), rows.split(n_rows), strict=True)
    for (brackets, lengths), own_distances, own_rows in blocks:
        squares, nearest = take_smallest(brackets, k, ordered=ordered)
        own_distances.copy_((squares + lengths).clamp_min_(0).sqrt_())
        own_rows.copy_(nearest)
    return distances, rows


def take_smallest(values: Tensor, k: int, *, ordered: bool) -> tuple[Tensor, Tensor]:
    """Return the ``k`` smallest values of each row and their columns, each ``(n_rows, k)``."""
    if values.device.type != "cpu":
        return values.topk(k, largest=False, sorted=ordered)
    # in half of the time that topk takes
    columns = torch.empty(len(values), k, dtype=torch.long)
    for rows, own in zip(values.split(ROWS_PARTED_AT_ONCE), columns.split(ROWS_PARTED_AT_ONCE), strict=True):
        own.numpy()[:] = np.argpartition(rows.numpy(), k - 1, axis=1)[:, :k]
    smallest = values.gather(1, columns)
    if ordered:
        smallest, order = smallest.sort(1)
        columns = columns.gather(1, order)
    return smallest, columns


def count_at_once(cells: Tensor) -> int:
    """Return for how many rows the distances to these cells are found together: to 10,000 of them, they are 2.6 MB."""
    return 64 if len(cells) > MANY_CELLS else 128


def compare_squares(x: Tensor, cells: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield a part of the squared distances of each row of ``x`` to all cells, and the rest, `count_at_once` rows at a time.

    ``|x - y|^2 = |x|^2 + (|y|^2 - 2 x y)``; for one x, the bracket alone says which y are nearest. The brackets,
    ``(n_rows, n_cells)``, may be changed, and hold until the next ones, of any call; the rest is ``(n_rows, 1)``.
    """
    n_cells, n_rows = len(cells), count_at_once(cells)
    center = cells.mean(0)  # far from 0 squares would lose what differs between cells
    padded = cells.new_zeros(n_cells + -n_cells % ROWS_PER_PRODUCT, cells.shape[1])
    torch.sub(cells, center, out=padded[:n_cells])
    lengths = torch.linalg.vector_norm(padded, dim=1).square_()
    buffer = scratch("brackets", x, n_rows, len(padded))
    for rows in x.split(n_rows):
        block = pad_rows(rows - center, n_rows)
        brackets = torch.addmm(lengths, block, padded.T, alpha=-2, out=buffer[: len(block)])
        yield brackets[: len(rows), :n_cells], block[: len(rows)].square().sum(1, keepdim=True)
