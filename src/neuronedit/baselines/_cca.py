"""Canonical correlation of two populations' features, and anchors in the space that they share."""

import torch
from torch import Tensor
from torch.nn.functional import normalize

from .._check import Count
from .._subsample import subsample
from .._types import CellTensor, Map
from ..edits._neighbors import count_at_once, find_nearest
from ._mnn import MAX_CELLS_FOR_NEIGHBORS, MAX_PLACES, mutual_neighbors


def cca(
    source: CellTensor,
    target: CellTensor,
    /,
    *,
    n_components: Count = 20,
    n_neighbors: Count = 5,
    n_weights: Count = 100,
    max_cells: Count = MAX_CELLS_FOR_NEIGHBORS,
) -> Map:
    """Find anchors between source and target in their canonical correlation space and move cells as the nearest anchors.

    Both populations are standardized. The canonical vectors of the cells are the leading singular vectors of
    ``source @ target.T`` (covariances taken as diagonal). Anchors are mutual nearest neighbours in the space of these vectors.
    A cell moves by the differences between the cells of its nearest anchors, weighted by a Gaussian kernel on the distance.

    Examples
    --------
    >>> import torch, neuronedit as ne
    >>> source = torch.randn(300, 5)
    >>> move = ne.baselines.cca(source, source + 2)
    >>> (move(source) - source).mean().round(decimals=1).item()
    2.0

    Parameters
    ----------
    %(populations)s
    n_components
        Dimensions of the shared space, at most the number of features.
    n_neighbors
        How many nearest cells are considered. More finds more anchors, and less certain ones.
    n_weights
        Nearest anchors that are averaged. More is smoother.
    max_cells
        Cells of either population among which anchors are sought, drawn at random: time grows with its square. The shared
        space is that of all cells; 5,000 anchors at most are kept.

    Returns
    -------
    A map that treats new cells as cells of the source.

    References
    ----------
    Butler & Satija 2017, bioRxiv 164889, doi:10.1101/164889 (the diagonal canonical correlation); Stuart et al. 2019, Cell
    177:1888-1902, doi:10.1016/j.cell.2019.05.031 (the anchors).
    """
    # find the shared space
    center, spread = source.mean(0), _replace_zeros(source.std(0, correction=0))
    target_center, target_spread = target.mean(0), _replace_zeros(target.std(0, correction=0))
    s, t = (source - center) / spread, (target - target_center) / target_spread
    source_vectors, target_vectors, project = canonical_vectors(s, t, n_components)
    # find anchors in it
    rows = [torch.from_numpy(subsample(len(cells), max_cells)) for cells in (source, target)]
    source, target = source[rows[0]], target[rows[1]]
    source_places, target_places = normalize(source_vectors[rows[0]], dim=1), normalize(target_vectors[rows[1]], dim=1)
    source_rows, target_rows = mutual_neighbors(source_places, target_places, n_neighbors=n_neighbors)
    few = torch.from_numpy(subsample(len(source_rows), MAX_PLACES))
    source_rows, target_rows = source_rows[few], target_rows[few]
    places, vectors = source_places[source_rows], target[target_rows] - source[source_rows]

    def move(x: Tensor) -> Tensor:
        own_places = normalize((x - center) / spread @ project, dim=1)
        distances, anchors = find_nearest(own_places, places, n_weights)  # each (n_cells, n_weights)
        weights = (-(distances / _replace_zeros(distances[:, -1:]) * 2).square()).softmax(1)
        moved = torch.empty_like(x)
        parts = (whole.split(count_at_once(places)) for whole in (moved, x, weights, anchors))
        for rows, block, own_weights, own_anchors in zip(*parts, strict=True):
            rows.copy_(block + torch.einsum("nk,nkd->nd", own_weights, vectors[own_anchors]))
        return moved

    return move


def canonical_vectors(s: Tensor, t: Tensor, n_components: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the leading left and right singular vectors of ``s @ t.T``, and the matrix that projects cells on the left ones.

    They come from the QR decompositions ``s = Q_s R_s`` and ``t = Q_t R_t``, and from the small matrix ``R_s @ R_t.T``.
    """
    (q_s, r_s), (q_t, r_t) = (torch.linalg.qr(cells.cpu().double()) for cells in (s, t))
    left, values, right = torch.linalg.svd(r_s @ r_t.T)
    k = int((values[:n_components] > 1e-9 * values[0].clamp_min(1e-300)).sum().clamp_min(1))
    left_vectors, right_vectors = q_s @ left[:, :k], q_t @ right[:k].T
    project = t.cpu().double().T @ right_vectors / values[:k].clamp_min(1e-300)
    return left_vectors.to(s), right_vectors.to(s), project.to(s)


def _replace_zeros(width: Tensor) -> Tensor:
    """Replace 0 by 1, so that it can be divided by."""
    return torch.where(width > 0, width, 1.0)
