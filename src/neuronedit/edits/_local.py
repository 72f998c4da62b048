"""Move a cell as the source cells that resemble it move."""

from torch import Tensor, cdist

from .._types import Map
from ._percentile import percentile


def local(source: Tensor, target: Tensor, /, *, n_neighbors: int = 30, n_bins: int = 100) -> Map:
    """Average the percentile shift over the source cells nearest to each cell.

    A cell of a population that differs from the source takes the shift of its nearest relatives, not the shift that its
    own values would be given. Nearest means the Euclidean distance over all neurons.

    Parameters
    ----------
    source, target
        Neurons, ``(n_cells, n_neurons)``.
    n_neighbors
        How many source cells are averaged, at most all of them. More is smoother and, at the number of source cells, the
        same shift for every cell.
    n_bins
        As in `percentile`.

    Returns
    -------
    A map that computes ``n_cells x n_source`` distances, 64 MB of them at a time.

    References
    ----------
    Amodio et al. 2020, Learning general transformations of data for out-of-sample extensions, IEEE MLSP,
    doi:10.1109/MLSP49062.2020.9231660.

    Examples
    --------
    >>> import torch, neuronedit as ne
    >>> source = torch.randn(500, 3)
    >>> ne.edits.local(source, source + 1)(torch.zeros(1, 3)).round().tolist()
    [[1.0, 1.0, 1.0]]
    """
    if n_neighbors < 1:
        raise ValueError(f"n_neighbors must be at least 1; it is {n_neighbors}.")
    shifts = percentile(source, target, n_bins=n_bins)(source) - source
    k = min(n_neighbors, len(source))

    def move(z: Tensor) -> Tensor:
        moved = z.clone()
        n_rows = max(1, 2**24 // len(source))  # 64 MB of distances
        for rows, block in zip(moved.split(n_rows), z.split(n_rows), strict=True):
            rows += shifts[cdist(block, source).topk(k, largest=False, sorted=False).indices].mean(1)
        return moved

    return move
