"""Move a cell as the source cells that resemble it move."""

from .._check import Count
from .._subsample import subsample
from .._types import CellTensor
from ._neighbors import Nearest
from ._percentile import percentile


def local(
    source: CellTensor,
    target: CellTensor,
    /,
    *,
    n_neighbors: Count = 30,
    n_bins: Count = 100,
    max_cells: Count = 10_000,
) -> Nearest:
    """Move each cell by the percentile shift of the source cells nearest to it, averaged.

    Examples
    --------
    >>> import torch, neuronedit as ne
    >>> source = torch.randn(500, 3)
    >>> ne.edits.local(source, source + 1)(torch.zeros(1, 3)).round().tolist()
    [[1.0, 1.0, 1.0]]

    Parameters
    ----------
    %(populations)s
    %(n_neighbors)s
    n_bins
        As in `percentile`.
    max_cells
        Source cells among which the nearest are looked for, drawn at random. Time and memory grow with it.

    Returns
    -------
    A map that computes ``n_cells x max_cells`` Euclidean distances, 64 MB of them at a time.

    References
    ----------
    Amodio et al. 2020, Learning general transformations of data for out-of-sample extensions, doi:10.1109/MLSP49062.2020.9231660.
    """
    shifts = percentile(source, target, n_bins=n_bins)(source) - source  # (n_cells, n_neurons)
    rows = subsample(len(source), max_cells)
    return Nearest(source[rows], shifts[rows], n_neighbors)
