"""Exact optimal transport, smoothed: move a cell as the source cells that resemble it are transported."""

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from ._neighbors import Nearest, draw


def transport(
    source: Tensor, target: Tensor, /, *, n_neighbors: int = 30, max_cells: int = 1_000, seed: int = 0
) -> Nearest:
    """Pair source with target cells at the least total squared distance; a cell moves as the nearest source cells do.

    Unlike percentiles it sees how neurons move together; unlike `shift` it lets each kind of cell move its own way.

    Parameters
    ----------
    source, target
        Neurons, ``(n_cells, n_neurons)``.
    n_neighbors
        How many source cells' moves are averaged. Fewer follow the pairing more closely and carry more of its noise.
    max_cells
        Cells of either population that are paired, drawn at random; time grows with the cube of it.
    seed
        Of the drawing.

    Returns
    -------
    A map that keeps a cell's own difference from its neighbours.

    References
    ----------
    Ferradans et al. 2014, Regularized discrete optimal transport, doi:10.1137/130929886 (the out-of-sample map); Crouse 2016,
    On implementing 2D rectangular assignment algorithms, doi:10.1109/TAES.2016.140952 (the pairing, in scipy).

    Examples
    --------
    >>> import torch, neuronedit as ne
    >>> source = torch.randn(500, 3)
    >>> ne.edits.transport(source, source + 1)(torch.zeros(1, 3)).round().tolist()
    [[1.0, 1.0, 1.0]]
    """
    n = min(len(source), len(target), max_cells)
    some, others = (cells[draw(len(cells), n, seed)] for cells in (source, target))
    cost = torch.cdist(some.cpu().double(), others.cpu().double()).square()
    paired = torch.from_numpy(linear_sum_assignment(cost.numpy())[1]).to(some.device)
    moves = others[paired] - some
    moves += (target.mean(0) - source.mean(0)) - moves.mean(0)  # on average exactly the mean shift of all cells
    return Nearest(some, moves, n_neighbors)
