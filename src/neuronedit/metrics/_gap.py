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
    n_splits: int = 10,
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
    0 = as far as the query left alone; 1 = as close as two halves of the truth are to each other; negative = harm.

    Examples
    --------
    >>> import numpy as np, neuronedit as ne
    >>> query = np.random.default_rng(0).normal(size=(500, 2))
    >>> truth = query + 2.0
    >>> ne.metrics.gap_closed(ne.metrics.mean_wasserstein, query, truth, query)
    0.0
    """
    generator = np.random.default_rng(rng)
    orders = (generator.permutation(len(truth)) for _ in range(n_splits))
    floor = np.mean([metric(truth[order[::2]], truth[order[1::2]]) for order in orders])
    before = metric(query, truth)
    return float((before - metric(predicted, truth)) / (before - floor))
