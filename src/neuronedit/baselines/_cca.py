"""Canonical correlation of two populations' features, and anchors in the space that they share."""

import torch
from torch import Tensor
from torch.nn.functional import normalize

from .._types import Map
from ._mnn import mutual_neighbors


def cca(
    source: Tensor, target: Tensor, /, *, n_components: int = 20, n_neighbors: int = 5, n_weights: int = 100
) -> Map:
    """Find anchors between source and target in their canonical correlation space and move cells as the nearest anchors.

    Both populations are standardized, so that what they have in common is compared and not where they are. The canonical
    vectors of the cells are the leading singular vectors of ``source @ target.T`` (covariances taken as diagonal).
    Anchors are mutual nearest neighbours there; a cell moves by the differences between the two cells of its nearest
    anchors, weighted by a Gaussian kernel on the distance.

    Parameters
    ----------
    source, target
        ``(n_cells, n_features)``
    n_components
        Dimensions of the shared space, at most the number of features.
    n_neighbors
        Cells that count as near when anchors are sought. More finds more anchors, and less certain ones.
    n_weights
        Nearest anchors that move a cell. More is smoother.

    Returns
    -------
    A map that places new cells in the shared space as cells of the source.

    References
    ----------
    Butler & Satija 2017, bioRxiv 164889, doi:10.1101/164889 (the diagonal canonical correlation); Stuart et al. 2019, Cell
    177:1888-1902, doi:10.1016/j.cell.2019.05.031 (the anchors).

    Examples
    --------
    >>> import torch, neuronedit as ne
    >>> source = torch.randn(300, 5)
    >>> move = ne.baselines.cca(source, source + 2)
    >>> (move(source) - source).mean().round(decimals=1).item()
    2.0
    """
    (center, spread), (goal, goal_spread) = ((c.mean(0), _positive(c.std(0, correction=0))) for c in (source, target))
    s, t = (source - center) / spread, (target - goal) / goal_spread
    of_source, of_target, project = canonical_vectors(s, t, n_components)
    near_source, near_target = normalize(of_source, dim=1), normalize(of_target, dim=1)
    anchors, partners = mutual_neighbors(near_source, near_target, n_neighbors=n_neighbors)
    places, vectors = near_source[anchors], target[partners] - source[anchors]
    k = min(n_weights, len(places))

    def move(x: Tensor) -> Tensor:
        moved = []
        for block in x.split(max(1, 2**24 // len(places))):
            distance = torch.cdist(normalize((block - center) / spread @ project, dim=1), places)
            nearest = distance.topk(k, largest=False)
            width = _positive(nearest.values[:, -1:])
            weight = (-(nearest.values / width * 2).square()).softmax(1)
            moved.append(block + (weight[:, :, None] * vectors[nearest.indices]).sum(1))
        return torch.cat(moved)

    return move


def canonical_vectors(s: Tensor, t: Tensor, n_components: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the leading left and right singular vectors of ``s @ t.T``, and what projects cells of ``s`` on the left ones.

    With ``s = Q_s R_s`` and ``t = Q_t R_t`` they are those of the small matrix ``R_s @ R_t.T``.
    """
    (q_s, r_s), (q_t, r_t) = (torch.linalg.qr(cells.cpu().double()) for cells in (s, t))
    left, values, right = torch.linalg.svd(r_s @ r_t.T)
    k = int((values[:n_components] > 1e-9 * values[0].clamp_min(1e-300)).sum().clamp_min(1))
    of_t = q_t @ right[:k].T
    project = t.cpu().double().T @ of_t / values[:k].clamp_min(1e-300)
    return (q_s @ left[:, :k]).to(s), of_t.to(s), project.to(s)


def _positive(width: Tensor) -> Tensor:
    return torch.where(width > 0, width, 1.0)
