"""Folds of the source and target cells: the strata that are given, or some that are derived."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from scipy.stats import wasserstein_distance
from sklearn.cluster import KMeans
from torch import Tensor

from .._subsample import subsample
from ..edits import Populations
from ..edits._neighbors import find_nearest
from ..edits._strata import MIN_CELLS_PER_STRATUM

MAX_CELLS_TO_CLUSTER = 5_000  # of source and of target: the centers of six clusters need no more
MAX_CELLS_TO_COMPARE = 1_000  # all references are cut to it, as distances depend on how dense cells lie
NOVELTY_WIDTH = 0.35  # in logarithms: a fold 1.4 times as novel as the query counts 0.6 of one that is as novel
MIN_RESEMBLANCE = 0.2  # added to every share: a fold that the query does not resemble is still evidence

CellLabels = tuple[np.ndarray, np.ndarray]  # of every source and target cell: its cluster, or whether it is in a fold


class FoldKind(StrEnum):
    """What the folds are: the strata given; derived clusters and mixtures of them; none, as there are too few cells."""

    STRATA = "strata"
    DERIVED = "derived"
    NONE = "none"


@dataclass(frozen=True)
class Fold:
    """Cells that were left out, and what each candidate predicts for them from the others."""

    name: str
    weight: float  # the weights of all folds sum to 1
    query: Tensor  # its cells before the change, (n_cells, n_features)
    truth: Tensor  # and after it
    predicted: Tensor  # (n_candidates, n_cells, n_features)
    gap: float  # energy distance from query to truth


def make_folds(
    source: Tensor, target: Tensor, strata: CellLabels | None, rng: int
) -> tuple[FoldKind, Populations, dict[str, CellLabels]]:
    """Return what the folds are, the populations with their strata, and for each fold which cells are in it.

    They are the strata that are given, if two have enough cells. Else clusters are strata and folds, and mixtures are folds.
    """
    # the strata that are given
    if strata is not None:
        names, codes = np.unique(np.concatenate(strata), return_inverse=True)
        s, t = codes[: len(source)], codes[len(source) :]
        given = {str(name): (s == code, t == code) for code, name in enumerate(names)}
        if sum(map(has_enough_cells, given.values())) >= 2:
            return FoldKind.STRATA, Populations(source, target, s, t), given
    # derived ones
    clusters = derive_clusters(source, target, rng=rng)
    mixtures = derive_mixtures(clusters, rng=rng)
    folds: dict[str, CellLabels] = {}
    for kind, (s, t) in (("cluster", clusters), ("mixture", mixtures)):
        folds |= {f"{kind} {code + 1}": (s == code, t == code) for code in np.unique(s)}
    return FoldKind.DERIVED, Populations(source, target, *clusters), folds


def has_enough_cells(members: CellLabels) -> bool:
    """Return whether a fold has enough cells before and after the change."""
    return bool(min(members[0].sum(), members[1].sum()) >= MIN_CELLS_PER_STRATUM)


def derive_clusters(source: Tensor, target: Tensor, *, n: int = 6, rng: int = 0) -> CellLabels:
    """Cluster the source on the half of the features that change least, and assign the target's cells to these clusters."""
    # how much each feature changes, in standard deviations
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
    """Divide every cluster among ``n`` mixtures in unequal shares, the same before and after: as samples differ in composition."""
    generator = np.random.default_rng(rng)
    mixtures = np.empty(len(labels[0]), dtype=int), np.empty(len(labels[1]), dtype=int)
    for cluster in np.unique(np.concatenate(labels)):
        shares = generator.dirichlet(np.ones(n))
        for mixture, label in zip(mixtures, labels, strict=True):
            own = label == cluster
            mixture[own] = generator.choice(n, int(own.sum()), p=shares)
    return mixtures


def measure_novelty(cells: Tensor, reference: Tensor, *, n_neighbors: int = 10, rng: int = 0) -> float:
    """Return the mean distance of cells to the nearest of the reference cells, both subsampled."""
    cells = cells[subsample(len(cells), MAX_CELLS_TO_COMPARE, rng)]
    reference = reference[subsample(len(reference), MAX_CELLS_TO_COMPARE, rng + 1)]
    return float(find_nearest(cells, reference, n_neighbors)[0].mean())


def find_resembling(cells: Tensor, reference: Tensor, *, n_neighbors: int = 15, rng: int = 0) -> np.ndarray:
    """Return, for a subsample of cells, the row numbers of the reference cells nearest to each: ``(n, n_neighbors)``."""
    cells = cells[subsample(len(cells), MAX_CELLS_TO_COMPARE, rng)]
    return find_nearest(cells, reference, n_neighbors)[1].cpu().numpy()


def weigh_folds(novelties: Sequence[float], query_novelty: float, shares: np.ndarray) -> np.ndarray:
    """Weigh folds by how nearly they are as novel as the query, and by the share of it that resembles each: ``(n_folds,)``."""
    apart = np.log(np.maximum(novelties, 1e-9) / max(query_novelty, 1e-9)) / NOVELTY_WIDTH
    alike = np.exp(-(apart**2 - (apart**2).min()) / 2) + 1e-3
    weights = alike * (shares + MIN_RESEMBLANCE)
    return weights / weights.sum()
