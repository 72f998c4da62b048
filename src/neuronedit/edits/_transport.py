"""Exact optimal transport, smoothed: move a cell as the source cells that resemble it are transported."""

import torch
from scipy.optimize import linear_sum_assignment

from .._check import Count, Seed
from .._subsample import subsample
from .._types import CellTensor
from ._neighbors import Nearest


def transport(
    source: CellTensor, target: CellTensor, /, *, n_neighbors: Count = 30, max_cells: Count = 1_000, rng: Seed = 0
) -> Nearest:
    """Match source and target cells at the least total squared distance; a cell moves as the nearest source cells do.

    Examples
    --------
    >>> import torch, neuronedit as ne
    >>> source = torch.randn(500, 3)
    >>> ne.edits.transport(source, source + 1)(torch.zeros(1, 3)).round().tolist()
    [[1.0, 1.0, 1.0]]

    Parameters
    ----------
    %(populations)s
    %(n_neighbors)s
    max_cells
        Cells of either population that are matched, drawn at random. Time grows with the cube of it.
    %(rng)s

    Returns
    -------
    A map that follows how neurons move together, and keeps a cell's own difference from its neighbours.

    References
    ----------
    Ferradans et al. 2014, doi:10.1137/130929886 (the out-of-sample map); Crouse 2016, doi:10.1109/TAES.2016.140952 (the matching).
    """
    n = min(len(source), len(target), max_cells)
    before = source[subsample(len(source), n, rng)]  # (n, n_neurons)
    after = target[subsample(len(target), n, rng)]
    cost = torch.cdist(before.cpu().double(), after.cpu().double()).square()  # (n, n)
    matched = torch.from_numpy(linear_sum_assignment(cost.numpy())[1]).to(before.device)
    moves = after[matched] - before
    # on average, move exactly by the mean shift of all cells
    moves += (target.mean(0) - source.mean(0)) - moves.mean(0)
    return Nearest(before, moves, n_neighbors)
