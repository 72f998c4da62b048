"""Parts of the pair that can be left out: the strata that are given, or some that are derived."""

import numpy as np
import torch
from scipy.stats import wasserstein_distance
from sklearn.cluster import KMeans
from torch import Tensor

from ..edits._neighbors import draw

Labels = tuple[np.ndarray, np.ndarray]
"""The part of every source and every target cell."""


def clusters(source: Tensor, target: Tensor, *, n: int = 6, seed: int = 0) -> Labels:
    """Cluster the source on the features that change least, and carry the clusters over to the target.

    These are half of the features, by the Wasserstein distance between source and target in standard deviations.
    """
    few = [x[draw(len(x), 5_000, seed)].cpu().numpy() for x in (source, target)]
    spread = np.concatenate(few).std(axis=0)
    distances = [wasserstein_distance(before, after) for before, after in zip(few[0].T, few[1].T, strict=True)]
    change = np.where(spread > 1e-6, distances / np.maximum(spread, 1e-6), np.inf)
    stable = np.argsort(change, kind="stable")[: max(3, len(change) // 2)]
    means = KMeans(min(n, len(few[0])), n_init=3, random_state=seed).fit(few[0][:, stable])
    before, after = (means.predict(np.ascontiguousarray(x.cpu().numpy()[:, stable])) for x in (source, target))
    return before, after


def mixtures(labels: Labels, *, n: int = 4, seed: int = 0) -> Labels:
    """Deal the cells of every cluster out to ``n`` parts in unequal shares, the same before and after the change.

    Such a part differs from the rest as one sample differs from others of its kind: in composition.
    """
    generator = np.random.default_rng(seed)
    dealt = tuple(np.empty(len(these), dtype=int) for these in labels)
    for cluster in np.unique(np.concatenate(labels)):
        share = generator.dirichlet(np.ones(n))
        for parts, these in zip(dealt, labels, strict=True):
            own = these == cluster
            parts[own] = generator.choice(n, int(own.sum()), p=share)
    return dealt[0], dealt[1]


def novelty(cells: Tensor, reference: Tensor, *, n_neighbors: int = 10, n_cells: int = 1_000, seed: int = 0) -> float:
    """Mean distance of cells to the nearest of the reference cells, of which at most ``n_cells`` are looked at.

    How dense the reference is says much about such a distance: compare only references of equal size.
    """
    cells, reference = cells[draw(len(cells), n_cells, seed)], reference[draw(len(reference), n_cells, seed + 1)]
    near = torch.cdist(cells, reference).topk(min(n_neighbors, len(reference)), largest=False)
    return float(near.values.mean())


def resembling(
    cells: Tensor, reference: Tensor, *, n_neighbors: int = 15, n_cells: int = 1_000, seed: int = 0
) -> np.ndarray:
    """Return, for some of the cells, the row numbers of the reference cells nearest to each: ``(n, n_neighbors)``."""
    near = torch.cdist(cells[draw(len(cells), n_cells, seed)], reference)
    return near.topk(min(n_neighbors, len(reference)), largest=False).indices.cpu().numpy()
