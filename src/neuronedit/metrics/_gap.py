"""How much of the way from the query to the truth a prediction has gone."""

from collections.abc import Callable

import numpy as np

MOST = 1_000
"""Cells of a half at most: more say little more about a mean over many halves."""


def gap_closed(
    metric: Callable[[np.ndarray, np.ndarray], float],
    /,
    query: np.ndarray,
    truth: np.ndarray,
    predicted: np.ndarray,
    *,
    n_splits: int = 50,
    rng: int = 0,
) -> float:
    """Share of the distance from query to truth that a prediction closes.

    Parameters
    ----------
    metric
        A row of `METRICS` or a function ``(x, y) -> distance``.
    query, truth, predicted
        Cells before the change, measured after it, and predicted, each ``(n_cells, n_features)``.
    n_splits
        Random splits of the truth into halves over which their distance is averaged. More make the value steadier.
    rng
        Seed of the splits.

    Returns
    -------
    0 = as far as the query left alone; 1 = as close as two halves of the truth are to each other; negative = harm. NaN where
    there is nothing to close: query and truth are as close as the halves. Both are compared with equally many cells, as
    few cells look further apart than many.

    Examples
    --------
    >>> import numpy as np, neuronedit as ne
    >>> query = np.random.default_rng(0).normal(size=(500, 2))
    >>> truth = query + 2.0
    >>> ne.metrics.gap_closed(ne.metrics.mean_wasserstein, query, truth, query)
    0.0
    """
    before = metric(query, truth)
    floor = noise_floor(metric, query, truth, n_splits=n_splits, rng=rng)
    return share_closed(before, floor, metric(predicted, truth))


def noise_floor(
    metric: Callable[[np.ndarray, np.ndarray], float],
    query: np.ndarray,
    truth: np.ndarray,
    /,
    *,
    n_splits: int = 50,
    rng: int = 0,
) -> float:
    """Distance to the truth that a perfect prediction of so many cells would have.

    It lies as far below the query's distance as two halves of the truth are closer to each other than a half of it is to
    equally many cells of the query, at most 1,000: with few cells most distances are too large, here all by the same.
    """
    generator = np.random.default_rng(rng)
    n = min(len(query), len(truth) // 2, MOST)
    gaps = []
    for _ in range(n_splits):
        half, other = np.split(generator.permutation(len(truth))[: 2 * n], 2)
        drawn = generator.permutation(len(query))[:n]
        gaps.append(metric(query[drawn], truth[half]) - metric(truth[other], truth[half]))
    return float(metric(query, truth) - np.mean(gaps))


def share_closed(before: float, floor: float, after: float) -> float:
    """Turn a distance into the share of the way from ``before`` down to ``floor``; NaN where there is no way to go."""
    return float((before - after) / (before - floor)) if before > floor else float("nan")
