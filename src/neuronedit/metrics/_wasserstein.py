"""Earth mover's distances in one dimension: of each feature, and along random directions."""

import numpy as np
from scipy.stats import wasserstein_distance

from .._docs import shared_docs


@shared_docs
def mean_wasserstein(x: np.ndarray, y: np.ndarray, /) -> float:
    """Average over features of the earth mover's (1-Wasserstein) distance between two populations.

    Examples
    --------
    >>> import numpy as np, neuronedit as ne
    >>> ne.metrics.mean_wasserstein(np.zeros((4, 2)), np.ones((4, 2)))
    1.0

    Parameters
    ----------
    %(two_populations)s

    Returns
    -------
    In the units of the features, 0 or more. Exact. Two finite samples of one population score above 0. Each feature is
    compared alone: populations whose features depend on each other differently can score 0.
    """
    x, y = np.asarray(x), np.asarray(y)
    return float(np.mean([wasserstein_distance(x[:, j], y[:, j]) for j in range(x.shape[1])]))


@shared_docs
def sliced_wasserstein(x: np.ndarray, y: np.ndarray, /, *, n_projections: int = 100, rng: int = 0) -> float:
    """Average over random directions of the earth mover's distance between the populations' projections.

    Examples
    --------
    >>> import numpy as np, neuronedit as ne
    >>> x = np.random.default_rng(0).normal(size=(500, 2))
    >>> ne.metrics.sliced_wasserstein(x, x)
    0.0

    Parameters
    ----------
    %(two_populations)s
    n_projections
        Directions, uniform on the sphere. More make the value steadier.
    %(rng)s

    Returns
    -------
    In the units of the features, 0 or more, and above 0 for two finite samples of one population. Unlike `mean_wasserstein`
    it measures how features depend on each other. In many dimensions a difference in one feature is diluted.

    References
    ----------
    Bonneel et al. 2015, Sliced and Radon Wasserstein barycenters of measures, doi:10.1007/s10851-014-0506-3.
    """
    x, y = np.asarray(x), np.asarray(y)
    directions = np.random.default_rng(rng).normal(size=(x.shape[1], n_projections))
    directions /= np.linalg.norm(directions, axis=0)
    return mean_wasserstein(x @ directions, y @ directions)
