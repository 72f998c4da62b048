"""Exact optimal transport, smoothed: move a cell as the source cells that resemble it are transported."""

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment

from .._check import Count, Seed
from .._subsample import subsample
from .._types import CellTensor
from ._neighbors import Nearest

N_BALANCED, HEAT = 10, 0.1  # of Sinkhorn's steps, and how soft they are, as a share of the mean cost
TINY = 1e-30  # so that nothing is divided by 0


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
    Ferradans et al. 2014, doi:10.1137/130929886 (the out-of-sample map); Crouse 2016, doi:10.1109/TAES.2016.140952 (the matching);
    Cuturi 2013, Sinkhorn distances, arXiv:1306.0895 (where it starts).
    """
    n = min(len(source), len(target), max_cells)
    before = source[subsample(len(source), n, rng)]  # (n, n_neurons)
    after = target[subsample(len(target), n, rng)]
    cost = torch.cdist(before.cpu().double(), after.cpu().double()).square()  # (n, n)
    matched = torch.from_numpy(assign(cost.numpy())).to(before.device)
    moves = after[matched] - before
    # on average, move exactly by the mean shift of all cells
    moves += (target.mean(0) - source.mean(0)) - moves.mean(0)
    return Nearest(before, moves, n_neighbors)


def assign(cost: np.ndarray) -> np.ndarray:
    """Return which column each row is assigned at the least total cost; costs are ``(n, n)``, float64, and may be changed.

    The best assignment stays the best when a number is taken from all costs of a row or of a column. With numbers of Sinkhorn's,
    which nearly solve the problem, the exact search takes half of the time.
    """
    _reduce(cost)
    heat = HEAT * cost.mean()
    if heat > 0:
        kernel = np.exp(-cost / heat).astype(np.float32)
        of_rows = np.ones(len(cost), dtype=np.float32)
        for _ in range(N_BALANCED):
            of_columns = 1 / (of_rows @ kernel + TINY)
            of_rows = 1 / (kernel @ of_columns + TINY)
        cost -= heat * np.log(of_rows)[:, None]
        cost -= heat * np.log(of_columns)
        _reduce(cost)
    return linear_sum_assignment(cost)[1]


def _reduce(cost: np.ndarray) -> None:
    """Take the least cost from each row, and then from each column."""
    cost -= cost.min(1, keepdims=True)
    cost -= cost.min(0)
