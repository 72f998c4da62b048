"""What samples contain that their controls do not: other cells, and other shares of the same cells."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .._cluster_names import name_cluster

if TYPE_CHECKING:
    from sklearn.cluster import KMeans

N_CLUSTERS = 10  # at most: more would follow smaller populations, whose shares are less certain
MAX_CELLS_PER_SAMPLE = 1_300  # shares of 10 clusters are then known to about 1 %
MAX_CELLS_IN_CLUSTERING = 2_000  # of the controls, and as many of the samples
TAIL = 0.005  # share of the controls' cells below the lower limit of a feature, and above its upper limit
MIN_CONTROL_SAMPLES = 3  # they show how much samples usually differ: each is compared with at least two others
N_DRAWS = 200  # of as many cells as a sample has, from each control sample
CHANCE = 0.05  # of these draws are further from the other controls than the limit
MAX_POPULATIONS_PER_SIDE = 2  # of which there are more, and of which there are fewer


@dataclass(frozen=True)
class Coverage:
    """What the samples of a batch contain that its controls do not.

    A ratio is the distance of a sample's composition from the controls', divided by the largest distance of a control sample
    from the others that is expected of as few cells. It is NaN with fewer than three control samples.
    """

    beyond: np.ndarray  # (n_features,), share of the samples' cells beyond the central 99 % of the controls
    ratio: dict[str, float]  # of each sample
    lacking: dict[str, str]  # where the ratio is above 1: the cells of which there are more, and fewer, in words


def measure_coverage(
    controls: np.ndarray, control_samples: np.ndarray, query: np.ndarray, query_samples: np.ndarray,
    names: Sequence[str], *, rng: int = 0,
) -> Coverage:  # fmt: skip
    """Compare samples with the controls of their batch, by total variation of the shares of 10 clusters of all these cells.

    Cells are uncorrected, ``(n_cells, n_features)``; ``names`` are those of the features. Every sample counts alike.
    """
    # subsample
    numpy_rng = np.random.default_rng(rng)
    cells_of_controls = _subsample_each(controls, control_samples, numpy_rng)
    cells_of_samples = _subsample_each(query, query_samples, numpy_rng)
    all_controls = np.concatenate(list(cells_of_controls.values()))
    all_samples = np.concatenate(list(cells_of_samples.values()))

    # cells beyond the controls
    low, high = np.quantile(all_controls, [TAIL, 1 - TAIL], axis=0)
    beyond = 1 - ((all_samples >= low) & (all_samples <= high)).mean(0)
    if len(cells_of_controls) < MIN_CONTROL_SAMPLES:
        return Coverage(beyond, dict.fromkeys(cells_of_samples, np.nan), {})

    # cluster equally many cells of both
    from sklearn.cluster import KMeans  # to import it takes half a second

    n = min(len(all_controls), len(all_samples), MAX_CELLS_IN_CLUSTERING)
    both = np.concatenate([cells[numpy_rng.permutation(len(cells))[:n]] for cells in (all_controls, all_samples)])
    clusters = KMeans(min(N_CLUSTERS, len(both)), n_init=3, random_state=rng).fit(both)
    control_shares = {name: _get_shares(clusters, cells) for name, cells in cells_of_controls.items()}
    sample_shares = {name: _get_shares(clusters, cells) for name, cells in cells_of_samples.items()}

    # compare compositions with how much those of the controls differ
    shares_of_controls = np.array(list(control_shares.values()))  # (n_control_samples, n_clusters)
    center = shares_of_controls.mean(0)
    sizes = {name: len(cells) for name, cells in cells_of_samples.items()}
    limits = {n: _get_limit(shares_of_controls, n, numpy_rng) for n in sorted(set(sizes.values()))}
    ratio = {
        name: float(_total_variation(shares, center)) / max(limits[sizes[name]], 1e-9)
        for name, shares in sample_shares.items()
    }

    # describe the samples that differ more
    spread = np.maximum(all_controls.std(0), 1e-6)
    differences = (clusters.cluster_centers_ - all_controls.mean(0)) / spread  # (n_clusters, n_features)
    cluster_names = [name_cluster(difference, names) for difference in differences]
    lacking = {
        name: _describe_differences(sample_shares[name], shares_of_controls, cluster_names)
        for name, value in ratio.items()
        if value > 1
    }
    return Coverage(beyond, ratio, lacking)


def _subsample_each(x: np.ndarray, samples: np.ndarray, numpy_rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Return some cells of each sample."""
    rows = {str(name): np.flatnonzero(samples == name) for name in np.unique(samples)}
    return {name: x[np.sort(numpy_rng.permutation(own)[:MAX_CELLS_PER_SAMPLE])] for name, own in rows.items()}


def _get_shares(clusters: "KMeans", cells: np.ndarray) -> np.ndarray:
    """Return the share of the cells in each cluster."""
    labels = clusters.predict(np.ascontiguousarray(cells))
    return np.bincount(labels, minlength=clusters.n_clusters) / len(cells)


def _total_variation(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the total variation between compositions: 0 where they are equal, 1 where they have no cluster in common."""
    return np.abs(one - other).sum(-1) / 2


def _get_limit(shares: np.ndarray, n_cells: int, numpy_rng: np.random.Generator) -> float:
    """Return how far ``n_cells`` cells of the control sample that differs most are from the other controls, in 95 % of draws.

    Shares are those of the control samples, ``(n_control_samples, n_clusters)``.
    """
    limits = []
    for i, own in enumerate(shares):
        draws = numpy_rng.multinomial(n_cells, own / own.sum(), size=N_DRAWS) / n_cells  # (n_draws, n_clusters)
        distances = _total_variation(draws, np.delete(shares, i, axis=0).mean(0))
        limits.append(np.quantile(distances, 1 - CHANCE))
    return float(max(limits))


def _describe_differences(shares: np.ndarray, control_shares: np.ndarray, cluster_names: Sequence[str]) -> str:
    """Name the clusters whose share is above, or below, that of every control sample, those with the largest excess."""
    mean = control_shares.mean(0)
    excess = {"more": shares - control_shares.max(0), "fewer": control_shares.min(0) - shares}
    phrases = []
    for word, amount in excess.items():
        largest = [j for j in np.argsort(-amount, kind="stable")[:MAX_POPULATIONS_PER_SIDE] if amount[j] > 0]
        named = [f"{cluster_names[j]} ({shares[j]:.0%}, controls {mean[j]:.0%})" for j in largest]
        if named:
            phrases.append(f"{word} {', '.join(named)}")
    return "; ".join(phrases)
