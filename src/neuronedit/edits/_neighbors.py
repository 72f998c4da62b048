"""What edits share that move a cell as the source cells that resemble it move: draw some of these, average the nearest."""

import numpy as np
import torch
from torch import Tensor, cdist

from .._types import Map


def nearest(cells: Tensor, values: Tensor, n_neighbors: int) -> Map:
    """Return the function that averages ``values`` over the ``n_neighbors`` of ``cells`` nearest to each cell it is given.

    ``cells`` is ``(n, n_neurons)``, ``values`` ``(n, anything)``. 64 MB of distances are held at a time.
    """
    if n_neighbors < 1:
        raise ValueError(f"n_neighbors must be at least 1; it is {n_neighbors}.")
    k, n_rows = min(n_neighbors, len(cells)), max(1, 2**24 // len(cells))

    def average(z: Tensor) -> Tensor:
        found = z.new_empty(len(z), values.shape[1])
        for rows, block in zip(found.split(n_rows), z.split(n_rows), strict=True):
            rows.copy_(values[cdist(block, cells).topk(k, largest=False, sorted=False).indices].mean(1))
        return found

    return average


def draw(n_cells: int, n: int, seed: int = 0) -> Tensor:
    """Return ``n`` row numbers, drawn without replacement and in order, or all of them."""
    return torch.from_numpy(np.sort(np.random.default_rng(seed).permutation(n_cells)[:n]))
