"""Energy distance: measures differences in location, spread and dependence between features."""

import numpy as np
from scipy.spatial.distance import cdist, pdist

from .._docs import shared_docs
from ._subsample import subsample_both


@shared_docs
def energy_distance(x: np.ndarray, y: np.ndarray, /, *, max_cells: int = 5_000, rng: int = 0) -> float:
    r"""Energy distance between two populations, unbiased.

    :math:`2 E\|X - Y\| - E\|X - X'\| - E\|Y - Y'\|` with Euclidean distances and without the distance of a cell to itself.
    Two samples of one population therefore score 0 on average, and slightly below 0 half of the time.

    Examples
    --------
    >>> import numpy as np, neuronedit as ne
    >>> x = np.random.default_rng(0).normal(size=(500, 2))
    >>> round(ne.metrics.energy_distance(x, x + [3.0, 0.0]), 1)
    3.2

    Parameters
    ----------
    x, y
        ``(n_cells, n_features)``, at least two cells each.
    %(max_cells)s
    %(rng)s

    Returns
    -------
    In the units of the features, from about 0 upwards. It is dominated by the features with the largest differences.

    References
    ----------
    Székely & Rizzo 2013, Energy statistics, J Stat Plan Inference, doi:10.1016/j.jspi.2013.03.018.
    """
    x, y = subsample_both(x, y, max_cells, rng)
    return float(2 * cdist(x, y).mean() - pdist(x).mean() - pdist(y).mean())
