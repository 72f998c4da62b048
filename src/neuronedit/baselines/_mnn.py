"""Mutual nearest neighbours, and the correction vectors between them."""

import torch
from torch import Tensor
from torch.nn.functional import normalize

from .._check import Count, Positive
from .._subsample import subsample
from .._types import CellTensor, Map
from ..edits._neighbors import compare_squares, count_at_once, find_nearest

# All pairs of 100,000 cells take minutes. The caps move the mean correction of 50,000 simulated cells by 6 % and that of 100,000
# by 11 %, towards the true one: mutual neighbours among fewer cells lie further apart.
MAX_CELLS_FOR_NEIGHBORS = 20_000  # of either population, among which neighbours are sought
MAX_PLACES = 5_000  # at which the correction is known, between which it is averaged
MAX_PLACES_FOR_WIDTH = 2_000
LEAST_EXPONENT = -60.0  # of weights, the largest of which is 1: numbers that float32 holds as denormal are slow


def mnn(
    source: CellTensor,
    target: CellTensor,
    /,
    *,
    n_neighbors: Count = 20,
    bandwidth: Positive = 1.0,
    cosine: bool = True,
    max_cells: Count = MAX_CELLS_FOR_NEIGHBORS,
) -> Map:
    """Move a cell by the differences between mutual nearest neighbours, averaged with a Gaussian kernel around the cell.

    A source and a target cell are mutual neighbours when each is among the nearest cells of the other. A population without
    a counterpart has none. Neighbours are sought among cells of unit length; their differences are in the units of the cells.

    Examples
    --------
    >>> import torch, neuronedit as ne
    >>> source = torch.tensor([[0.0, 0.0], [0.0, 9.0], [9.0, 0.0]])
    >>> move = ne.baselines.mnn(source, source + 1, n_neighbors=1, cosine=False)
    >>> move(torch.tensor([[0.0, 8.0]])).round(decimals=3).tolist()
    [[1.0, 9.0]]

    Parameters
    ----------
    %(populations)s
    n_neighbors
        How many nearest cells are considered. More finds more mutual neighbours, and less certain ones.
    bandwidth
        Width of the kernel, in units of the median distance from a source cell with mutual neighbours to the nearest other
        one. More is smoother, up to the same vector for every cell.
    cosine
        Seek neighbours among cells of unit length, as published. `False`: among the cells as they are.
    max_cells
        Cells of either population among which mutual neighbours are sought, drawn at random: time grows with its square. Among
        fewer cells neighbours lie further apart. The differences at 5,000 source cells at most are averaged.

    Returns
    -------
    A map of every cell: one far from all mutual neighbours moves as the nearest do.

    References
    ----------
    Haghverdi et al. 2018, Batch effects in single-cell RNA-sequencing data are corrected by matching mutual nearest
    neighbors, Nat Biotechnol 36:421-427, doi:10.1038/nbt.4091.
    """
    # find the mutual neighbours and their differences
    source, target = (cells[subsample(len(cells), max_cells)] for cells in (source, target))
    directions = [normalize(cells, dim=1) if cosine else cells for cells in (source, target)]
    source_rows, target_rows = mutual_neighbors(*directions, n_neighbors=n_neighbors)
    vectors = target[target_rows] - source[source_rows]
    # average the vectors of each source cell, so that it counts once
    places, place_of_vector = torch.unique(source[source_rows], dim=0, return_inverse=True)
    totals = torch.zeros_like(places).index_add_(0, place_of_vector, vectors)
    vectors = totals / place_of_vector.bincount(minlength=len(places))[:, None]
    # measure the distance of each place to the nearest other one: the nearest is the place itself
    sample = places[subsample(len(places), MAX_PLACES_FOR_WIDTH)]
    distances = find_nearest(sample, places, 2)[0][:, -1]
    resolution = torch.finfo(places.dtype).eps * places.abs().max().clamp_min(1e-12)  # many cells may be in one place
    width = bandwidth * torch.maximum(distances.median(), resolution)
    few = subsample(len(places), MAX_PLACES)
    places, vectors = places[few], vectors[few]

    def move(x: Tensor) -> Tensor:
        moved, n_rows = torch.empty_like(x), count_at_once(places)
        parts = zip(compare_squares(x / width, places / width), moved.split(n_rows), x.split(n_rows), strict=True)
        for (weights, _), rows, block in parts:
            weights.sub_(weights.amin(1, keepdim=True)).mul_(-0.5).clamp_min_(
                LEAST_EXPONENT
            ).exp_()  # (n_rows, n_places)
            rows.copy_(block + weights @ vectors / weights.sum(1, keepdim=True))
        return moved

    return move


def mutual_neighbors(x: Tensor, y: Tensor, *, n_neighbors: int) -> tuple[Tensor, Tensor]:
    """Return the row numbers of the mutual nearest neighbours: of ``x``, and of ``y``."""
    forward, backward = find_nearest(x, y, n_neighbors)[1], find_nearest(y, x, n_neighbors)[1]
    rows_of_x = torch.arange(len(x), device=x.device).repeat_interleave(forward.shape[1])
    rows_of_y = torch.arange(len(y), device=x.device).repeat_interleave(backward.shape[1])
    # two row numbers as one number: row of x * len(y) + row of y
    from_x = rows_of_x * len(y) + forward.flatten()
    from_y = backward.flatten() * len(y) + rows_of_y
    mutual = from_x[torch.isin(from_x, from_y)]
    return mutual // len(y), mutual % len(y)
