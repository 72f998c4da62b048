"""Match populations of source and target without labels: what differs in number is told from what changed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from .._check import NOT_EMPTY, Count, Seed
from .._energy import energy
from .._subsample import subsample
from .._types import CellTensor
from ..spaces import PCA
from ..spaces._base import moments
from ..spaces._choice import MAX_MARKERS

N_POPULATIONS = (6, 10, 14)  # one number alone is fragile: labelings with each of these are averaged
MIN_CELLS_TO_MATCH = 200  # of source and of target, below which populations would be noise
MIN_CELLS_PER_POPULATION = 30  # of the source, on average
MAX_CELLS_TO_MATCH = 4_000  # of either side, to fit the mixtures to
CELLS_LABELLED_AT_ONCE = 16_384  # that are scaled and labelled together
MAX_CELLS_FOR_GAP = 1_500  # between which all distances are measured
MANY_FEATURES = 1_000  # components of more are found from fewer cells of either side: time grows with the cube
N_CELLS_OF_MANY_FEATURES = 500
N_COMPONENTS = 10  # principal components that are taken of genes, most of which are noise; `benchmarks/matching.py` compares others
N_POPULATIONS_TO_COMPARE = 10  # whose changes of each feature are compared, before components are taken
MAX_SPREAD_OF_CHANGES = 0.5  # over populations, in deviations of a feature: with more it is in no component

# the mixture; set on `benchmarks/composition.py`, seeds 0 to 2
N_STEPS, N_HOT_STEPS = 60, 30  # of expectation and maximization; the first are annealed
MAX_CELLS_WHILE_HOT = 1_000  # about: of the first steps only the way matters
COLDEST, WIDEST = 0.15, 4.0  # at the first step: likelihoods count so little, and variances are so many times larger
MIN_VARIANCE = 0.05  # of a population, of 1 in all cells
TYPICAL_CELLS = 30  # of each population, which the mean variance counts as: see `benchmarks/matching.py`
COMMON_CELLS, MIN_COMMON_CELLS = 1_000, 100  # the common shift counts as so many cells: where populations agree, or not
MIN_CELLS_FOR_COMMON = 20  # a population with fewer does not say what is common
MAX_STRETCH = 4.0  # by which the target's variances may differ

# A difference in composition counts in full from about twice as much on: by how many cells it moves, and by what it explains.
VARIATION_WIDTH, EXPLAINED_WIDTH = 0.06, 0.15
QUERY_WIDTH = 0.5  # so does that of the query, by its total variation from the source: see `benchmarks/prior.py`

Scaling = Callable[[Tensor], np.ndarray]  # (n_cells, n_features) -> (n_cells, n_features or components)


@dataclass(frozen=True)
class Mixture:
    """Normal distributions with independent features: ``weights`` ``(k,)``, ``centers`` and ``variances`` ``(k, n_features)``."""

    weights: np.ndarray
    centers: np.ndarray
    variances: np.ndarray

    def assign(self, x: np.ndarray) -> np.ndarray:
        """Return how probable each population is for each cell, ``(n_cells, k)``."""
        return self.assign_powers(_take_powers(x))

    def assign_powers(self, powers: np.ndarray, *, heat: float = 1.0) -> np.ndarray:
        """Return the same for cells of these powers; likelihoods are raised to the power ``heat``."""
        precisions = 1 / self.variances
        slopes = np.hstack([precisions, -2 * self.centers * precisions])  # (k, 2 n_features)
        constants = (self.centers**2 * precisions + np.log(self.variances)).sum(1)
        shares = _multiply(-heat / 2 * slopes, powers.T)  # (k, n_cells): sums over populations are fast
        shares += (np.log(self.weights + 1e-12) - heat / 2 * constants)[:, None]
        shares -= shares.max(0)
        np.exp(shares, out=shares)
        shares /= shares.sum(0)
        return shares.T


@dataclass(frozen=True, eq=False)
class Matching:
    """Populations that mean the same in source and target, in several labelings.

    Examples
    --------
    >>> import torch, neuronedit as ne
    >>> source = torch.randn(300, 3)
    >>> ne.ensemble.match_populations(source, source + 2).source_labels.shape[0]
    300

    Attributes
    ----------
    source_labels, target_labels
        Number of each cell's population in each labeling, ``(n_cells, n_labelings)``.
    source_certainty, target_certainty
        How probable the population is that a cell was given, from 0 to 1, in each labeling, ``(n_cells, n_labelings)``.
    total_variation
        How far compositions differ, from 0 to 1: half the sum of the differences of all shares, the mean over labelings.
    chance_variation
        The same between the source and a resample of its own cells that is moved like the target: the value by noise alone.
    explained
        Share of the energy distance from source to target that the difference in composition makes alone, above noise.
    """

    source_labels: np.ndarray
    target_labels: np.ndarray
    source_certainty: np.ndarray
    target_certainty: np.ndarray
    total_variation: float = 0.0
    chance_variation: float = 0.0
    explained: float = 0.0

    @property
    def differs(self) -> float:
        """Return how far a difference in composition has to be allowed for, from 0 (not) to 1."""
        excess = self.total_variation - self.chance_variation
        widths = np.array([excess / VARIATION_WIDTH, self.explained / EXPLAINED_WIDTH])
        return float(np.prod(1 - np.exp(-(np.maximum(widths, 0) ** 2))))

    @classmethod
    def of_all_alike(cls, n_source: int, n_target: int) -> "Matching":
        """Return one population of all cells."""
        labels, certainty = np.zeros((n_source + n_target, 1), dtype=int), np.ones((n_source + n_target, 1))
        return cls(labels[:n_source], labels[n_source:], certainty[:n_source], certainty[n_source:])


def match_populations(
    source: CellTensor,
    target: CellTensor,
    *,
    n_populations: Annotated[tuple[Count, ...], NOT_EMPTY] = N_POPULATIONS,
    source_alone: bool = False,
    rng: Seed = 0,
) -> Matching:
    """Find populations that mean the same in source and target, without labels, and how far compositions differ.

    Clusters of the source are the components of a mixture that is fitted to the target. Their weights are free: that is
    composition. Their shifts are drawn towards a common shift, the more, the more alike populations move: that is the change.

    Examples
    --------
    >>> import torch, neuronedit as ne
    >>> kinds = torch.tensor([[0.0, 0.0], [9.0, 0.0], [0.0, 9.0]])
    >>> source = kinds.repeat_interleave(torch.tensor([200, 200, 200]), 0) + torch.randn(600, 2)
    >>> target = kinds.repeat_interleave(torch.tensor([400, 100, 100]), 0) + torch.randn(600, 2) + 1
    >>> matching = ne.ensemble.match_populations(source, target, n_populations=(3,))
    >>> round(matching.total_variation, 1), matching.differs > 0.5
    (0.3, True)

    Parameters
    ----------
    source, target
        Cells before and after a change, ``(n_cells, n_features)``.
    n_populations
        Clusters of the source in each labeling; fewer where they would have fewer than 30 cells on average.
    source_alone
        Cluster the source in its own scale, so that its labels are the same whatever the target is. By default in the scale
        of source and target.
    %(rng)s

    Returns
    -------
    The labelings. With fewer than 200 cells before or after the change all cells are one population.

    References
    ----------
    Dempster et al. 1977 (expectation and maximization); Ueda and Nakano 1998, doi:10.1016/S0893-6080(97)00133-0 (annealing).
    """
    if min(len(source), len(target)) < MIN_CELLS_TO_MATCH:
        return Matching.of_all_alike(len(source), len(target))
    # standardize, and subsample
    scaled = _standardize(source, target)
    if source.shape[1] > MAX_MARKERS:
        scaled = _standardize(source, target, unlike=_find_unlike(source, target, scaled, rng))
    clustered = _standardize(source, source) if source_alone else scaled
    few_before, few_after, few = (
        scale(x[subsample(len(x), MAX_CELLS_TO_MATCH, rng)])
        for scale, x in ((scaled, source), (scaled, target), (clustered, source))
    )
    rows = subsample(len(few_before), MAX_CELLS_FOR_GAP, rng)
    sample = torch.from_numpy(few_before[rows])
    distances = torch.cdist(sample, sample).double().numpy()  # (n, n)
    gap = float(energy(sample, torch.from_numpy(few_after[subsample(len(few_after), MAX_CELLS_FOR_GAP, rng)])))

    # match so many populations, with and without a difference in composition
    mixtures, differences = [], []
    for n in n_populations:
        clusters = _fit(few, _limit_populations(n, len(few_before)), rng)
        own = clusters.assign(few)  # (n_cells, k)
        mixture = _rescale(clusters, few_before, own) if source_alone else clusters
        moved = _register(few_after, mixture, few_before)
        # without: the source's own cells, drawn anew and moved as the target is
        drawn = np.random.default_rng(rng).integers(len(few_before), size=len(few_after))
        alike = few_before[drawn] + own[drawn] @ (moved.centers - mixture.centers)
        by_chance = _register(alike, mixture, few_before)
        for other in (moved.assign(few_after), by_chance.assign(alike)):
            differences.append(_compare_compositions(own, other, rows, distances))
        mixtures.append((clusters, moved))

    # labels, and the means over labelings
    (variation, effect), (chance_variation, chance_effect) = np.mean([differences[::2], differences[1::2]], axis=1)
    of_source, of_target = zip(*mixtures, strict=True)
    source_labels, source_certainty = _label(of_source, clustered, source)
    target_labels, target_certainty = _label(of_target, scaled, target)
    return Matching(
        source_labels, target_labels, source_certainty, target_certainty,
        total_variation=float(variation),
        chance_variation=float(chance_variation),
        explained=float((effect - chance_effect) / max(gap, 1e-9)) if gap > 0 else 0.0,
    )  # fmt: skip


def compare_query(labels: np.ndarray, resembling: np.ndarray) -> float:
    """Return the total variation between the compositions of query and source, from 0 to 1: the mean over labelings.

    ``labels`` are the populations of source cells, ``(n_cells, n_labelings)``, and ``resembling`` the row numbers of those
    nearest to each of the query's cells, ``(n, n_neighbors)``.
    """
    variations = []
    for own in labels.T:
        shares = [np.bincount(x, minlength=own.max() + 1) / len(x) for x in (own, own[resembling.ravel()])]
        variations.append(np.abs(shares[0] - shares[1]).sum() / 2)
    return float(np.mean(variations))


def combine_differences(differs: float, query_variation: float, width: float = QUERY_WIDTH) -> float:
    """Return how far a difference in composition has to be allowed for, be it the target's or the query's: from 0 to 1.

    A query of other composition shows it as well as a target: if populations move differently, the change of all cells
    together is not its own.
    """
    alike = np.exp(-((query_variation / width) ** 2))
    return float(1 - (1 - differs) * alike)


def _label(mixtures: Sequence[Mixture], scale: Scaling, x: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Return the most probable population of each cell, and how probable it is, ``(n_cells, n_mixtures)`` each, block by block."""
    labels, certainty = [], []
    for block in x.split(CELLS_LABELLED_AT_ONCE):
        scaled = scale(block)
        shares = [mixture.assign(scaled) for mixture in mixtures]
        labels.append(np.stack([own.argmax(1) for own in shares], axis=1))
        certainty.append(np.stack([own.max(1) for own in shares], axis=1))
    return np.concatenate(labels), np.concatenate(certainty)


def _compare_compositions(
    shares: np.ndarray, others: np.ndarray, rows: np.ndarray, distances: np.ndarray
) -> tuple[float, float]:
    """Return the total variation between two compositions, and the energy distance that it makes alone.

    ``shares`` and ``others`` say how probable each population is for each cell, ``(n_cells, k)``; ``distances`` are those
    between the ``rows`` of the first cells, which are weighted as the others' composition is.
    """
    own, other = shares.mean(0), others.mean(0)  # (k,)
    weights = shares[rows] @ (other / np.maximum(own, 1e-3))
    difference = weights / weights.sum() - 1 / len(rows)
    return float(np.abs(own - other).sum() / 2), float(-(difference @ distances @ difference))


def _standardize(source: Tensor, target: Tensor, *, unlike: Tensor | None = None) -> Scaling:
    """Return what divides features by their deviation within source and target; of many it takes the principal components.

    The features that are ``unlike``, ``(n_features,)``, are in no component.
    """
    (center, source_variance), (target_mean, target_variance) = moments(source), moments(target)
    n = len(source) + len(target)
    variance = (source_variance * len(source) + target_variance * len(target)) / (n - 1)
    center, target_mean, spread = (x.to(source) for x in (center, target_mean, variance.sqrt() + 1e-6))
    if source.shape[1] <= MAX_MARKERS:
        return lambda x: ((x - center) / spread).cpu().numpy()  # large numbers lose precision in float32
    if unlike is not None:
        spread = spread.masked_fill(unlike.to(spread.device), torch.inf)
    few = [_take_few(x) - mean for x, mean in ((source, center), (target, target_mean))]
    components = PCA.of(torch.cat(few) / spread, n_components=N_COMPONENTS)
    return lambda x: components.encode((x - center) / spread).cpu().numpy()


def _take_few(x: Tensor) -> Tensor:
    """Return a subsample of cells, of which the components are found."""
    n = MAX_CELLS_TO_MATCH if x.shape[1] <= MANY_FEATURES else N_CELLS_OF_MANY_FEATURES
    return x[torch.from_numpy(subsample(len(x), n))]


def _find_unlike(source: Tensor, target: Tensor, scaled: Scaling, rng: int) -> Tensor:
    """Return which features populations change differently, ``(n_features,)``: components of these would tell states, not types.

    If too few others would be left, no feature is.
    """
    # match once
    before, after = (_take_few(x) for x in (source, target))
    few_before, few_after = scaled(before), scaled(after)
    k = _limit_populations(N_POPULATIONS_TO_COMPARE, len(few_before))
    mixture = _fit(few_before, k, rng)
    moved = _register(few_after, mixture, few_before)
    labels = [one.assign(x).argmax(1) for one, x in ((mixture, few_before), (moved, few_after))]

    # how each population changes
    n, means, noise = [], [], []
    for x, own in zip((before, after), labels, strict=True):
        own_means, own_variances = _moments(_take_powers(x.float().cpu().numpy()), np.eye(k, dtype=np.float32)[own])
        n.append(np.bincount(own, minlength=k))  # (k,)
        means.append(own_means)  # (k, n_features)
        noise.append(own_variances / np.maximum(n[-1], 1)[:, None])
    shifts, smaller = means[1] - means[0], np.minimum(*n)
    weights = np.where(smaller > MIN_CELLS_FOR_COMMON, smaller, 0)
    weights = weights / max(weights.sum(), 1)

    # how differently they do, beyond noise
    between = weights @ (shifts - weights @ shifts) ** 2 - weights @ sum(noise)
    pooled = torch.cat([before - before.mean(0), after - after.mean(0)]).var(0).cpu().numpy()
    unlike = between > MAX_SPREAD_OF_CHANGES**2 * pooled
    return torch.from_numpy(unlike & (np.sum(~unlike) >= N_COMPONENTS))


def _limit_populations(n: int, n_cells: int) -> int:
    """Return so many populations, or as many as have enough of so many cells on average."""
    return min(n, max(2, n_cells // MIN_CELLS_PER_POPULATION))


def _fit(x: np.ndarray, k: int, rng: int, *, n_steps: int = 5) -> Mixture:
    """Fit a mixture to the source, from its clusters on."""
    from sklearn.cluster import KMeans  # to import it takes a second, in every worker of a cluster

    shares = np.eye(k, dtype=x.dtype)[KMeans(k, n_init=2, random_state=rng).fit(x).labels_]
    powers = _take_powers(x)
    for _ in range(n_steps + 1):
        n = shares.sum(0)
        centers, variances = _moments(powers, shares)
        mixture = Mixture((n + 1) / (n.sum() + k), centers, _shrink_variances(variances, n))
        shares = mixture.assign_powers(powers)
    return mixture


def _rescale(mixture: Mixture, x: np.ndarray, shares: np.ndarray) -> Mixture:
    """Return the mixture of the same populations in another scale, in which the source's cells are ``x``."""
    centers, variances = _moments(_take_powers(x), shares)
    return replace(mixture, centers=centers, variances=_shrink_variances(variances, shares.sum(0)))


def _shrink_variances(variances: np.ndarray, n: np.ndarray) -> np.ndarray:
    """Return variances of populations of ``n`` cells, ``(k, n_features)``, drawn to their mean, and none too small."""
    mean = n @ variances / n.sum()
    return (n[:, None] * variances + TYPICAL_CELLS * mean) / (n[:, None] + TYPICAL_CELLS) + MIN_VARIANCE


def _register(x: np.ndarray, mixture: Mixture, source: np.ndarray) -> Mixture:
    """Return the mixture with the weights and the shifts, shrunk to a common one, that fit the target's cells."""
    k, n_features = mixture.centers.shape
    own, own_weights = len(source) * mixture.weights, mixture.weights  # (k,)
    stretch, unsure = np.ones(n_features, dtype=x.dtype), np.zeros(n_features, dtype=x.dtype)
    common_cells = np.full(n_features, COMMON_CELLS, dtype=x.dtype)
    moved, powers = mixture, _take_powers(x)
    few_powers = powers[:: max(1, len(x) // MAX_CELLS_WHILE_HOT)]
    for step in range(N_STEPS):
        # expectation
        cold = min(1.0, step / N_HOT_STEPS)
        width = 1 + (WIDEST - 1) * (1 - cold)
        fitted = replace(moved, variances=(mixture.variances * stretch + unsure) * width)
        used = powers if cold == 1 else few_powers
        shares = fitted.assign_powers(used, heat=COLDEST + (1 - COLDEST) * cold)  # (n_cells, k)
        n = shares.sum(0) * (len(x) / len(used))
        # maximization: weights, drawn half to the source's, and shifts, drawn to what is common
        weights = (n + 1 + len(x) * own_weights) / (2 * n.sum() + k)
        means, variances = _moments(used, shares)
        shifts = means - mixture.centers
        enough = np.minimum(n, own) > MIN_CELLS_FOR_COMMON
        common = _median(shifts[enough]) if enough.sum() > 2 else np.average(shifts, axis=0, weights=n)
        if enough.sum() > 3 and step >= N_HOT_STEPS // 3:
            # how differently populations move, feature by feature
            unsure = (1.4826 * _median(np.abs(shifts[enough] - common))) ** 2
            noise = _median(mixture.variances[enough] / np.minimum(n, own)[enough, None])
            unsure = np.maximum(unsure - noise, 1e-3)
            typical = _median(mixture.variances[enough])
            common_cells = np.clip(typical / unsure, MIN_COMMON_CELLS, COMMON_CELLS)
            ratio = _median(variances[enough] / mixture.variances[enough])
            stretch = np.clip(ratio, 1 / MAX_STRETCH, MAX_STRETCH)
        shift = (n[:, None] * shifts + common_cells * common) / (n[:, None] + common_cells)
        moved = Mixture(weights, mixture.centers + shift, mixture.variances)
    return replace(moved, variances=mixture.variances * stretch + unsure)


def _take_powers(x: np.ndarray) -> np.ndarray:
    """Return the squares of cells and the cells, ``(n_cells, 2 n_features)``: all that a mixture needs of them."""
    return np.hstack([x**2, x])


def _moments(powers: np.ndarray, shares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean and the variance of each population, each ``(k, n_features)``."""
    n = np.maximum(shares.sum(0), 1e-9)[:, None]
    squares, means = np.hsplit(_multiply(shares.T, powers) / n, 2)
    return means, np.maximum(squares - means**2, 0)


def _multiply(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the product of two matrices, in a third of the time that numpy takes where one is narrow."""
    return (torch.from_numpy(a) @ torch.from_numpy(b)).numpy()


def _median(x: np.ndarray) -> np.ndarray:
    """Return the median of each column: of a few rows, `numpy.median` takes ten times as long."""
    ordered, n = np.sort(x, axis=0), len(x)
    return (ordered[(n - 1) // 2] + ordered[n // 2]) / 2
