"""Mutual nearest neighbours, and the correction vectors between them."""

import torch
from torch import Tensor, cdist

from .._types import Map


def mnn(
    source: Tensor, target: Tensor, /, *, n_neighbors: int = 20, bandwidth: float = 1.0, cosine: bool = True
) -> Map:
    """Move a cell by the differences between mutual nearest neighbours, averaged with a Gaussian kernel around the cell.

    A source and a target cell are mutual neighbours when each is among the nearest cells of the other; where a population
    has no counterpart there are none. They are found on cells of unit length, and differ in the units of the cells.

    Parameters
    ----------
    source, target
        ``(n_cells, n_features)``
    n_neighbors
        How many cells count as near. More finds more pairs, and less certain ones.
    bandwidth
        Of the kernel, in units of the median distance from a source cell of a pair to the nearest other one. More is
        smoother, up to the same vector for every cell.
    cosine
        Find the pairs on cells of unit length, as published. `False`: on the cells as they are.

    Returns
    -------
    A map that moves every cell, also far from any pair, as the nearest pairs do.

    References
    ----------
    Haghverdi et al. 2018, Batch effects in single-cell RNA-sequencing data are corrected by matching mutual nearest
    neighbors, Nat Biotechnol 36:421-427, doi:10.1038/nbt.4091.

    Examples
    --------
    >>> import torch, neuronedit as ne
    >>> source = torch.tensor([[0.0, 0.0], [0.0, 9.0], [9.0, 0.0]])
    >>> move = ne.baselines.mnn(source, source + 1, n_neighbors=1, cosine=False)
    >>> move(torch.tensor([[0.0, 8.0]])).round(decimals=3).tolist()
    [[1.0, 9.0]]
    """
    near = [torch.nn.functional.normalize(cells, dim=1) if cosine else cells for cells in (source, target)]
    of_source, of_target = mutual_neighbors(*near, n_neighbors=n_neighbors)
    return kernel_smoothed(source[of_source], target[of_target] - source[of_source], bandwidth=bandwidth)


def mutual_neighbors(x: Tensor, y: Tensor, *, n_neighbors: int) -> tuple[Tensor, Tensor]:
    """Return the row numbers of the mutual nearest neighbours: of ``x``, and of ``y``."""
    if n_neighbors < 1:
        raise ValueError(f"n_neighbors must be at least 1; it is {n_neighbors}.")
    forward, backward = _nearest(x, y, n_neighbors), _nearest(y, x, n_neighbors)
    pairs_of_x = torch.arange(len(x), device=x.device).repeat_interleave(forward.shape[1])
    pairs = pairs_of_x * len(y) + forward.flatten()
    pairs_of_y = torch.arange(len(y), device=x.device).repeat_interleave(backward.shape[1])
    mutual = pairs[torch.isin(pairs, backward.flatten() * len(y) + pairs_of_y)]
    return mutual // len(y), mutual % len(y)


def kernel_smoothed(places: Tensor, vectors: Tensor, *, bandwidth: float) -> Map:
    """Return the map that adds to a cell the vectors of the places around it, weighted by a Gaussian kernel.

    A place that has many vectors counts once: with their mean.
    """
    places, which = torch.unique(places, dim=0, return_inverse=True)
    total = torch.zeros_like(places).index_add_(0, which, vectors)
    vectors = total / which.bincount(minlength=len(places))[:, None]
    gaps = torch.cat(
        [cdist(block, places).topk(min(2, len(places)), largest=False).values[:, -1] for block in places.split(1024)]
    )
    width = bandwidth * gaps.median().clamp_min(torch.finfo(places.dtype).tiny)
    n_rows = max(1, 2**24 // len(places))

    def move(x: Tensor) -> Tensor:
        return torch.cat(
            [block + (-(cdist(block, places) / width).square() / 2).softmax(1) @ vectors for block in x.split(n_rows)]
        )

    return move


def _nearest(x: Tensor, y: Tensor, k: int) -> Tensor:
    """Return the row numbers of the k cells of ``y`` nearest to each cell of ``x``."""
    n_rows = max(1, 2**24 // len(y))
    return torch.cat([cdist(block, y).topk(min(k, len(y)), largest=False).indices for block in x.split(n_rows)])
