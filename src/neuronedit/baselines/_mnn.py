"""Mutual nearest neighbours, and the correction vectors between them."""

import torch
from torch import Tensor, cdist
from torch.nn.functional import normalize

from .._check import Count, Positive
from .._types import CellTensor, Map
from ..edits._neighbors import MAX_DISTANCES_AT_ONCE, find_nearest


def mnn(
    source: CellTensor,
    target: CellTensor,
    /,
    *,
    n_neighbors: Count = 20,
    bandwidth: Positive = 1.0,
    cosine: bool = True,
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

    Returns
    -------
    A map of every cell: one far from all mutual neighbours moves as the nearest do.

    References
    ----------
    Haghverdi et al. 2018, Batch effects in single-cell RNA-sequencing data are corrected by matching mutual nearest
    neighbors, Nat Biotechnol 36:421-427, doi:10.1038/nbt.4091.
    """
    # find the mutual neighbours and their differences
    directions = [normalize(cells, dim=1) if cosine else cells for cells in (source, target)]
    source_rows, target_rows = mutual_neighbors(*directions, n_neighbors=n_neighbors)
    vectors = target[target_rows] - source[source_rows]
    # average the vectors of each source cell, so that it counts once
    places, place_of_vector = torch.unique(source[source_rows], dim=0, return_inverse=True)
    totals = torch.zeros_like(places).index_add_(0, place_of_vector, vectors)
    vectors = totals / place_of_vector.bincount(minlength=len(places))[:, None]
    # measure the distance of each place to the nearest other one: the nearest is the place itself
    distances = torch.cat([find_nearest(block, places, 2)[0][:, -1] for block in places.split(1024)])
    width = bandwidth * distances.median().clamp_min(torch.finfo(places.dtype).tiny)

    def move(x: Tensor) -> Tensor:
        moved = []
        for block in split_for_distances(x, len(places)):
            weights = (-(cdist(block, places) / width).square() / 2).softmax(1)  # (n_rows, n_places)
            moved.append(block + weights @ vectors)
        return torch.cat(moved)

    return move


def mutual_neighbors(x: Tensor, y: Tensor, *, n_neighbors: int) -> tuple[Tensor, Tensor]:
    """Return the row numbers of the mutual nearest neighbours: of ``x``, and of ``y``."""
    forward, backward = nearest_rows(x, y, n_neighbors), nearest_rows(y, x, n_neighbors)
    rows_of_x = torch.arange(len(x), device=x.device).repeat_interleave(forward.shape[1])
    rows_of_y = torch.arange(len(y), device=x.device).repeat_interleave(backward.shape[1])
    # two row numbers as one number: row of x * len(y) + row of y
    from_x = rows_of_x * len(y) + forward.flatten()
    from_y = backward.flatten() * len(y) + rows_of_y
    mutual = from_x[torch.isin(from_x, from_y)]
    return mutual // len(y), mutual % len(y)


def nearest_rows(x: Tensor, y: Tensor, n_neighbors: int) -> Tensor:
    """Return the row numbers of the cells of ``y`` nearest to each cell of ``x``, ``(len(x), n_neighbors)``."""
    return torch.cat([find_nearest(block, y, n_neighbors)[1] for block in split_for_distances(x, len(y))])


def split_for_distances(x: Tensor, n_cells: int) -> tuple[Tensor, ...]:
    """Cut into blocks whose distances to ``n_cells`` other cells fit in memory."""
    return x.split(max(1, MAX_DISTANCES_AT_ONCE // n_cells))
