"""Earth mover's distance of each feature on its own."""

import numpy as np
from scipy.stats import wasserstein_distance


def mean_wasserstein(x: np.ndarray, y: np.ndarray, /) -> float:
    """Average over features of the earth mover's (1-Wasserstein) distance between two populations.

    Parameters
    ----------
    x, y
        ``(n_cells, n_features)``

    Returns
    -------
    In the units of the features, 0 or more. Exact. Two finite samples of one population score above 0. It sees each
    feature alone: populations whose features depend on each other differently can score 0.

    Examples
    --------
    >>> import numpy as np, neuronedit as ne
    >>> ne.metrics.mean_wasserstein(np.zeros((4, 2)), np.ones((4, 2)))
    1.0
    """
    x, y = np.asarray(x), np.asarray(y)
    return float(np.mean([wasserstein_distance(x[:, j], y[:, j]) for j in range(x.shape[1])]))
