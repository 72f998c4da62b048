"""Move a cell as the source cells that resemble it move."""

from torch import Tensor

from ._neighbors import Nearest, draw
from ._percentile import percentile


def local(
    source: Tensor, target: Tensor, /, *, n_neighbors: int = 30, n_bins: int = 100, max_cells: int = 10_000
) -> Nearest:
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
    max_cells
        Source cells among which the nearest are looked for, drawn at random; time and memory grow with it.

    Returns
    -------
    A map that computes at most ``n_cells x max_cells`` distances, 64 MB of them at a time.

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
    shifts = percentile(source, target, n_bins=n_bins)(source) - source
    few = draw(len(source), max_cells)
    return Nearest(source[few], shifts[few], n_neighbors)
