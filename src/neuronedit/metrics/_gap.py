"""How much of the way from the query to the truth a prediction has gone."""

from collections.abc import Callable

import numpy as np


def gap_closed(
    metric: Callable[[np.ndarray, np.ndarray], float],
    /,
    query: np.ndarray,
    truth: np.ndarray,
    predicted: np.ndarray,
    *,
    rng: int = 0,
) -> float:
    """Share of the distance from query to truth that a prediction closes.

    Parameters
    ----------
    metric
        A row of `METRICS` or a function ``(x, y) -> distance``.
    query, truth, predicted
        Cells before the change, measured after it, and predicted, each ``(n_cells, n_features)``.
    rng
        Seed of the split of the truth into halves.

    Returns
    -------
    0 = as far as the query left alone; 1 = as close as two halves of the truth are to each other; negative = harm.

    Examples
    --------
    >>> import numpy as np, neuronedit as ne
    >>> query = np.random.default_rng(0).normal(size=(500, 2))
    >>> truth = query + 2.0
    >>> ne.metrics.gap_closed(ne.metrics.mean_wasserstein, query, truth, query)
    0.0
    """
    order = np.random.default_rng(rng).permutation(len(truth))
    floor = metric(truth[order[::2]], truth[order[1::2]])
    before = metric(query, truth)
    return float((before - metric(predicted, truth)) / (before - floor))
