"""Folds of the source and target cells: the strata that are given, or some that are derived."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import torch
from scipy.stats import wasserstein_distance
from sklearn.cluster import KMeans
from torch import Tensor

from .._subsample import subsample
from ..edits import Populations
from ..edits._neighbors import find_nearest
from ..edits._strata import MIN_CELLS_PER_STRATUM

MAX_CELLS_TO_CLUSTER = 5_000
"""Cells of source and of target that clusters are found on: centers of six clusters need no more."""

MAX_CELLS_TO_COMPARE = 1_000
"""Cells between which distances are measured. All references are cut to it, as distances depend on how dense cells lie."""

NOVELTY_WIDTH = 0.35
"""Standard deviation, in logarithms. A fold that is 1.4 times as novel as the query counts 0.6 of one that is as novel."""

MIN_RESEMBLANCE = 0.2
"""Added to the share of the query that resembles a fold: a fold that the query does not resemble is still some evidence."""

CellLabels = tuple[np.ndarray, np.ndarray]
"""A value of every source and every target cell: its cluster, or whether it is in a fold."""


class FoldKind(StrEnum):
    """What the folds are."""

    STRATA = "strata"
    """The strata that were given."""
    DERIVED = "derived"
    """Clusters, and mixtures of them."""
    NONE = "none"
    """Too few cells for folds."""


@dataclass(frozen=True)
class Fold:
    """Cells that were left out, and what each candidate predicts for them from the others.

    Attributes
    ----------
    name
        Of the stratum, cluster or mixture.
    weight
        What it counts; the weights of all folds sum to 1.
    query, truth
        Its cells before and after the change, ``(n_cells, n_features)``.
    predicted
        ``(n_candidates, n_cells, n_features)``
    gap
        Energy distance from query to truth.
    """

    name: str
    weight: float
    query: Tensor
    truth: Tensor
    predicted: Tensor
    gap: float

    def blend(self, weights: Tensor) -> Tensor:
        """Return the weighted mean of the predictions, ``(n_cells, n_features)``."""
        return torch.einsum("k,knd->nd", weights, self.predicted)


def make_folds(
    source: Tensor, target: Tensor, strata: CellLabels | None, rng: int
) -> tuple[FoldKind, Populations, dict[str, CellLabels]]:
    """Return what the folds are, the populations with their strata, and for each fold which cells are in it.

    The strata that are given are the folds if at least two have enough cells. Else clusters are the strata, and clusters and
    mixtures of them are the folds.
    """
    # the strata that are given
    if strata is not None:
        names, codes = np.unique(np.concatenate(strata), return_inverse=True)
        labels = codes[: len(source)], codes[len(source) :]
        folds = {str(name): find_members(labels, code) for code, name in enumerate(names)}
        n_usable = sum(has_enough_cells(members) for members in folds.values())
        if n_usable >= 2:
            return FoldKind.STRATA, Populations(source, target, *labels), folds
    # derived ones
    labels = derive_clusters(source, target, rng=rng)
    mixtures = derive_mixtures(labels, rng=rng)
    folds = {f"cluster {code + 1}": find_members(labels, code) for code in np.unique(labels[0])}
    folds |= {f"mixture {code + 1}": find_members(mixtures, code) for code in np.unique(mixtures[0])}
    return FoldKind.DERIVED, Populations(source, target, *labels), folds


def find_members(labels: CellLabels, code: int) -> CellLabels:
    """Return which source and which target cells have a label."""
    return labels[0] == code, labels[1] == code


def has_enough_cells(members: CellLabels) -> bool:
    """Return whether a fold has enough cells before and after the change."""
    return bool(min(members[0].sum(), members[1].sum()) >= MIN_CELLS_PER_STRATUM)


def derive_clusters(source: Tensor, target: Tensor, *, n: int = 6, rng: int = 0) -> CellLabels:
    """Cluster the source on the features that change least, and assign the target's cells to these clusters.

    These are half of the features, by the Wasserstein distance between source and target in standard deviations.
    """
    # how much each feature changes
    before, after = (x[subsample(len(x), MAX_CELLS_TO_CLUSTER, rng)].cpu().numpy() for x in (source, target))
    spread = np.concatenate([before, after]).std(axis=0)
    distances = [wasserstein_distance(b, a) for b, a in zip(before.T, after.T, strict=True)]
    change = np.where(spread > 1e-6, distances / np.maximum(spread, 1e-6), np.inf)  # (n_features,)
    # cluster
    stable = np.argsort(change, kind="stable")[: max(3, len(change) // 2)]
    means = KMeans(min(n, len(before)), n_init=3, random_state=rng).fit(before[:, stable])
    # assign all cells
    in_source, in_target = (means.predict(np.ascontiguousarray(x.cpu().numpy()[:, stable])) for x in (source, target))
    return in_source, in_target


def derive_mixtures(labels: CellLabels, *, n: int = 4, rng: int = 0) -> CellLabels:
    """Divide the cells of every cluster among ``n`` mixtures in unequal shares, the same before and after the change.

    A mixture differs from the other cells as one sample differs from others of its kind: in composition.
    """
    generator = np.random.default_rng(rng)
    mixtures = np.empty(len(labels[0]), dtype=int), np.empty(len(labels[1]), dtype=int)
    for cluster in np.unique(np.concatenate(labels)):
        shares = generator.dirichlet(np.ones(n))
        for mixture, label in zip(mixtures, labels, strict=True):
            own = label == cluster
            mixture[own] = generator.choice(n, int(own.sum()), p=shares)
    return mixtures


def measure_novelty(cells: Tensor, reference: Tensor, *, n_neighbors: int = 10, rng: int = 0) -> float:
    """Return the mean distance of cells to the nearest of the reference cells. Both are subsampled.

    It depends on how dense the reference is: compare only with references of equal size.
    """
    cells = cells[subsample(len(cells), MAX_CELLS_TO_COMPARE, rng)]
    reference = reference[subsample(len(reference), MAX_CELLS_TO_COMPARE, rng + 1)]
    distances, _ = find_nearest(cells, reference, n_neighbors)
    return float(distances.mean())


def find_resembling(cells: Tensor, reference: Tensor, *, n_neighbors: int = 15, rng: int = 0) -> np.ndarray:
    """Return, for a subsample of cells, the row numbers of the reference cells nearest to each: ``(n, n_neighbors)``."""
    cells = cells[subsample(len(cells), MAX_CELLS_TO_COMPARE, rng)]
    _, rows = find_nearest(cells, reference, n_neighbors)
    return rows.cpu().numpy()


def weigh_folds(novelties: Sequence[float], query_novelty: float, shares: np.ndarray) -> np.ndarray:
    """Weigh folds by how much they are as novel as the query, and by the share of the query that resembles each.

    All are ``(n_folds,)``, and the weights sum to 1.
    """
    apart = np.log(np.maximum(novelties, 1e-9) / max(query_novelty, 1e-9)) / NOVELTY_WIDTH
    alike = np.exp(-(apart**2 - (apart**2).min()) / 2) + 1e-3
    weights = alike * (shares + MIN_RESEMBLANCE)
    return weights / weights.sum()
