"""Shared by the nearest-neighbour edits: average the shifts of the source cells that a cell resembles most."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from .._blocks import pad_rows
from .._maps import ShapeRepr
from .._memory import scratch
from .._types import Map, Space

ROWS_PARTED_AT_ONCE = 32  # their numbers, of 10,000 columns, are 2.5 MB
CELLS_AT_ONCE = 128  # their distances to 10,000 others are 5 MB; 64 to 512 take the same time


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
    blocks = zip(compare_squares(x, cells), distances.split(CELLS_AT_ONCE), rows.split(CELLS_AT_ONCE), strict=True)
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
    parts = [np.argpartition(rows.numpy(), k - 1, axis=1)[:, :k] for rows in values.split(ROWS_PARTED_AT_ONCE)]
    columns = torch.from_numpy(np.concatenate(parts))
    smallest = values.gather(1, columns)
    if ordered:
        smallest, order = smallest.sort(1)
        columns = columns.gather(1, order)
    return smallest, columns


def compare_squares(x: Tensor, cells: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield a part of the squared distances of each row of ``x`` to all cells, and the rest, `CELLS_AT_ONCE` rows at a time.

    ``|x - y|^2 = |x|^2 + (|y|^2 - 2 x y)``; for one x, the bracket alone says which y are nearest. The brackets,
    ``(n_rows, n_cells)``, may be changed, and hold until the next ones, of any call; the rest is ``(n_rows, 1)``.
    """
    center = cells.mean(0)  # far from 0 squares would lose what differs between cells
    cells, x = cells - center, x - center
    n_cells, lengths = len(cells), pad_rows(cells.square().sum(1))
    cells = pad_rows(cells)
    buffer = scratch("brackets", x, CELLS_AT_ONCE, len(cells))
    for block in x.split(CELLS_AT_ONCE):
        padded = pad_rows(block, CELLS_AT_ONCE)
        brackets = torch.addmm(lengths, padded, cells.T, alpha=-2, out=buffer[: len(padded)])
        yield brackets[: len(block), :n_cells], block.square().sum(1, keepdim=True)
