"""Shared by the nearest-neighbour edits: average the shifts of the source cells that a cell resembles most."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from .._maps import ShapeRepr

CELLS_AT_ONCE = 512  # their distances to 2,000 others are 4 MB, which a processor's cache may hold
MAX_DISTANCES_AT_ONCE = 2**24  # in memory together: 64 MB of float32


@dataclass(frozen=True, eq=False, repr=False)
class Nearest(ShapeRepr):
    """Moves a cell by the mean of the ``moves`` of the ``n_neighbors`` nearest ``cells``; both are ``(n, n_neurons)``."""

    cells: Tensor
    moves: Tensor
    n_neighbors: int

    def __post_init__(self) -> None:
        if self.n_neighbors < 1:
            raise ValueError(f"n_neighbors must be at least 1; it is {self.n_neighbors}.")

    def __call__(self, z: Tensor, /) -> Tensor:
        _, neighbors = find_nearest(z, self.cells, self.n_neighbors, ordered=False)
        moved = torch.empty_like(z)
        n_rows = max(1, MAX_DISTANCES_AT_ONCE // self.moves[:1].numel() // neighbors.shape[1])
        for rows, block, own in zip(moved.split(n_rows), z.split(n_rows), neighbors.split(n_rows), strict=True):
            rows.copy_(block + self.moves[own].mean(1))  # (n_rows, n_neighbors, n_neurons) -> (n_rows, n_neurons)
        return moved


def find_nearest(x: Tensor, cells: Tensor, n_neighbors: int, *, ordered: bool = True) -> tuple[Tensor, Tensor]:
    """Return the distances and row numbers of the cells nearest to each row of ``x``, each ``(len(x), n_neighbors)``."""
    k = min(n_neighbors, len(cells))
    distances, rows = x.new_empty(len(x), k), torch.empty(len(x), k, dtype=torch.long, device=x.device)
    blocks = zip(compare_squares(x, cells), distances.split(CELLS_AT_ONCE), rows.split(CELLS_AT_ONCE), strict=True)
    for (brackets, lengths), own_distances, own_rows in blocks:
        squares, nearest = brackets.topk(k, largest=False, sorted=ordered)
        own_distances.copy_((squares + lengths).clamp_min_(0).sqrt_())
        own_rows.copy_(nearest)
    return distances, rows


def compare_squares(x: Tensor, cells: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield a part of the squared distances of each row of ``x`` to all cells, and the rest, `CELLS_AT_ONCE` rows at a time.

    ``|x - y|^2 = |x|^2 + (|y|^2 - 2 x y)``; for one x, the bracket alone says which y are nearest. The brackets,
    ``(n_rows, n_cells)``, may be changed, and hold until the next ones; the rest is ``(n_rows, 1)``.
    """
    center = cells.mean(0)  # far from 0 squares would lose what differs between cells
    cells, x = cells - center, x - center
    lengths = cells.square().sum(1)
    buffer = x.new_empty(min(len(x), CELLS_AT_ONCE), len(cells))
    for block in x.split(CELLS_AT_ONCE):
        brackets = torch.addmm(lengths, block, cells.T, alpha=-2, out=buffer[: len(block)])
        yield brackets, block.square().sum(1, keepdim=True)
