"""What edits share that move a cell as the source cells that resemble it move: draw some of these, average the nearest."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, cdist

from .._maps import ShapeRepr


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
        """Move neurons; 64 MB of distances are held at a time."""
        k, n_rows = min(self.n_neighbors, len(self.cells)), max(1, 2**24 // len(self.cells))
        moved = torch.empty_like(z)
        for rows, block in zip(moved.split(n_rows), z.split(n_rows), strict=True):
            near = cdist(block, self.cells).topk(k, largest=False, sorted=False).indices
            rows.copy_(block + self.moves[near].mean(1))
        return moved


def draw(n_cells: int, n: int, seed: int = 0) -> Tensor:
    """Return ``n`` row numbers, drawn without replacement and in order, or all of them."""
    return torch.from_numpy(np.sort(np.random.default_rng(seed).permutation(n_cells)[:n]))
