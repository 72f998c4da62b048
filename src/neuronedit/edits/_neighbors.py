"""Shared by the nearest-neighbour edits: average the shifts of the source cells that a cell resembles most."""

from dataclasses import dataclass

import torch
from torch import Tensor

from .._maps import ShapeRepr

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
        n_rows = max(1, MAX_DISTANCES_AT_ONCE // len(self.cells))
        moved = torch.empty_like(z)
        for rows, block in zip(moved.split(n_rows), z.split(n_rows), strict=True):
            _, neighbors = find_nearest(block, self.cells, self.n_neighbors, ordered=False)
            rows.copy_(block + self.moves[neighbors].mean(1))  # (n_rows, n_neighbors, n_neurons) -> (n_rows, n_neurons)
        return moved


def find_nearest(x: Tensor, cells: Tensor, n_neighbors: int, *, ordered: bool = True) -> tuple[Tensor, Tensor]:
    """Return the distances and row numbers of the cells nearest to each row of ``x``, each ``(len(x), n_neighbors)``."""
    center = cells.mean(0)  # far from 0 squares would lose what differs between cells
    return torch.cdist(x - center, cells - center).topk(min(n_neighbors, len(cells)), largest=False, sorted=ordered)
