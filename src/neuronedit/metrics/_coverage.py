"""What samples hold that their controls do not: other cells, and other shares of the same cells."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.cluster import KMeans

N_CLUSTERS, MOST, TAIL = 10, 1_300, 0.005
"""Clusters that shares are counted in, cells of a sample that are looked at, and share of the controls beyond either limit."""

FEWEST = 3
"""Control samples from which it is known how much samples usually differ."""

CLEAR = 0.5
"""Standard deviations by which a cluster must differ in a feature that it is named by."""

LISTED = 2
"""Populations that are named."""


@dataclass(frozen=True)
class Coverage:
    """What the samples of a batch hold that its controls do not.

    Attributes
    ----------
    beyond
        ``(n_features,)``: share of the samples' cells beyond the central 99 % of the controls.
    ratio
        For each sample how far its composition is from the controls', as a share of how far a control sample is from the others
        at most: above 1 it is further. NaN with fewer than three control samples.
    lacking
        For each sample with a ratio above 1, in words: the cells of which it has more than any control sample, and fewer.
    """

    beyond: np.ndarray
    ratio: dict[str, float]
    lacking: dict[str, str]


def coverage(
    control: np.ndarray,
    controls: np.ndarray,
    query: np.ndarray,
    samples: np.ndarray,
    names: Sequence[str],
    *,
    seed: int = 0,
) -> Coverage:
    """Compare samples with the controls of their batch.

    Parameters
    ----------
    control, query
        Cells of the controls and of the samples, ``(n_cells, n_features)``, as measured, before any correction.
    controls, samples
        The sample of each of these cells. Every sample counts alike, whatever its size.
    names
        Of the features.
    seed
        Of what is drawn.

    Returns
    -------
    A `Coverage`. Compositions are shares of 10 clusters of all these cells, compared by total variation.
    """
    generator = np.random.default_rng(seed)
    of_controls, of_samples = (_few(x, labels, generator) for x, labels in ((control, controls), (query, samples)))
    before, after = (np.concatenate(list(cells.values())) for cells in (of_controls, of_samples))
    low, high = np.quantile(before, [TAIL, 1 - TAIL], axis=0)
    beyond = ((after < low) | (after > high)).mean(0)
    if len(of_controls) < FEWEST:
        return Coverage(beyond, dict.fromkeys(of_samples, np.nan), {})
    n = min(len(before), len(after), 2_000)
    both = np.concatenate([x[generator.permutation(len(x))[:n]] for x in (before, after)])
    means = KMeans(min(N_CLUSTERS, len(both)), n_init=3, random_state=seed).fit(both)
    usual, shown = ({k: _shares(means, cells) for k, cells in of.items()} for of in (of_controls, of_samples))
    center = np.mean(list(usual.values()), axis=0)
    apart = max(_apart(own, np.mean([x for k, x in usual.items() if k != name], axis=0)) for name, own in usual.items())
    ratio = {name: _apart(own, center) / max(apart, 1e-9) for name, own in shown.items()}
    spread = np.maximum(before.std(0), 1e-6)
    called = [_called(cluster, names) for cluster in (means.cluster_centers_ - before.mean(0)) / spread]
    lacking = {name: _lacking(shown[name], usual, called) for name, value in ratio.items() if value > 1}
    return Coverage(beyond, ratio, lacking)


def _few(x: np.ndarray, labels: np.ndarray, generator: np.random.Generator) -> dict[str, np.ndarray]:
    """Return at most so many cells of each sample."""
    rows = {str(name): np.flatnonzero(labels == name) for name in np.unique(labels)}
    return {name: x[np.sort(generator.permutation(own)[:MOST])] for name, own in rows.items()}


def _shares(means: KMeans, cells: np.ndarray) -> np.ndarray:
    """Return the share of the cells in each cluster."""
    return np.bincount(means.predict(np.ascontiguousarray(cells)), minlength=means.n_clusters) / len(cells)


def _apart(one: np.ndarray, other: np.ndarray) -> float:
    """Return the total variation between two compositions."""
    return float(np.abs(one - other).sum() / 2)


def _called(center: np.ndarray, names: Sequence[str], n: int = 4) -> str:
    """Name a cluster by the features in which it differs most from the controls, and clearly."""
    first, *others = np.argsort(-np.abs(center), kind="stable")[:n]
    said = [first, *(j for j in others if abs(center[j]) > CLEAR)]
    return " ".join(f"{names[j]}{'+' if center[j] > 0 else '-'}" for j in said)


def _lacking(own: np.ndarray, usual: Mapping[str, np.ndarray], called: Sequence[str]) -> str:
    """Name the populations whose share is above, or below, that of every control sample, those with the largest excess."""
    shares = np.array(list(usual.values()))
    mean, said = shares.mean(0), []
    for word, excess in (("more", own - shares.max(0)), ("fewer", shares.min(0) - own)):
        most = [j for j in np.argsort(-excess, kind="stable")[:LISTED] if excess[j] > 0]
        what = ", ".join(f"{called[j]} ({own[j]:.0%}, controls {mean[j]:.0%})" for j in most)
        said += [f"{word} {what}"] * bool(most)
    return "; ".join(said)
