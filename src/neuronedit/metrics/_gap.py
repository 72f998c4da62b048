"""How much of the distance from the query to the truth a prediction closes."""

from collections.abc import Callable

import numpy as np

from .._check import CellArray, Count, Seed, TwoCellArray

Metric = Callable[[np.ndarray, np.ndarray], float]

MAX_CELLS_PER_HALF = 1_000  # more cells hardly change a mean over many halves


def gap_closed(
    metric: Metric,
    /,
    query: CellArray,
    truth: TwoCellArray,
    predicted: CellArray,
    *,
    n_splits: Count = 50,
    rng: Seed = 0,
) -> float:
    """Share of the distance from query to truth that a prediction closes.

    Examples
    --------
    >>> import numpy as np, neuronedit as ne
    >>> query = np.random.default_rng(0).normal(size=(500, 2))
    >>> truth = query + 2.0
    >>> ne.metrics.gap_closed(ne.metrics.mean_wasserstein, query, truth, query)
    0.0

    Parameters
    ----------
    metric
        A row of `METRICS` or a function ``(x, y) -> distance``.
    query, truth, predicted
        Cells before the change, measured after it, and predicted, each ``(n_cells, n_features)``.
    n_splits
        Random splits of the truth into halves over which their distance is averaged. More make the value steadier.
    %(rng)s

    Returns
    -------
    0: as far as the query left alone. 1: as close as two halves of the truth are to each other. Negative: harm. NaN: there is
    no gap, as query and truth are as close as the halves, or there are too few cells for halves of two. Both distances are of
    equally many cells, because with few cells distances are larger.
    """
    before = metric(query, truth)
    floor = noise_floor(metric, query, truth, n_splits=n_splits, rng=rng)
    return share_closed(before, floor, metric(predicted, truth))


def noise_floor(metric: Metric, query: np.ndarray, truth: np.ndarray, /, *, n_splits: int = 50, rng: int = 0) -> float:
    """Estimate the distance to the truth that a perfect prediction of so many cells would have.

    The gap is how much further a half of the truth is from cells of the query than from its other half, of equally many cells
    (at most 1,000). With few cells most distances are too large, but here both by the same. The floor is the query's distance
    less that gap.
    """
    numpy_rng = np.random.default_rng(rng)
    n = min(len(query), len(truth) // 2, MAX_CELLS_PER_HALF)
    if n < 2:  # halves of one cell have no distance
        return float("nan")
    gaps = []
    for _ in range(n_splits):
        half, other_half = np.split(numpy_rng.permutation(len(truth))[: 2 * n], 2)
        query_rows = numpy_rng.permutation(len(query))[:n]
        gaps.append(metric(query[query_rows], truth[half]) - metric(truth[other_half], truth[half]))
    return float(metric(query, truth) - np.mean(gaps))


def share_closed(before: float, floor: float, after: float) -> float:
    """Turn a distance into the share of the way from ``before`` down to ``floor``; NaN where there is none."""
    return float((before - after) / (before - floor)) if before > floor else float("nan")
