"""Maximum mean discrepancy: the energy distance's relative with a kernel."""

import numpy as np
from scipy.spatial.distance import cdist, pdist

from .._docs import shared_docs
from ._subsample import subsample_both


@shared_docs
def mmd(x: np.ndarray, y: np.ndarray, /, *, max_cells: int = 5_000, rng: int = 0) -> float:
    r"""Squared maximum mean discrepancy with a Gaussian kernel, unbiased.

    :math:`E k(X, X') + E k(Y, Y') - 2 E k(X, Y)` with :math:`k(a, b) = \exp(-\|a - b\|^2 / 2\sigma^2)`, without the pairs of a
    cell with itself. :math:`\sigma` is the median distance between two cells of the pooled populations.

    Examples
    --------
    >>> import numpy as np, neuronedit as ne
    >>> x = np.random.default_rng(0).normal(size=(500, 2))
    >>> ne.metrics.mmd(x, x + 0.5) < ne.metrics.mmd(x, x + 1.0)
    True

    Parameters
    ----------
    x, y
        ``(n_cells, n_features)``, at least two cells each.
    %(max_cells)s
    %(rng)s

    Returns
    -------
    Without units, from about 0 to 2. It measures differences of any kind at the scale of :math:`\sigma`. Populations that are
    much further apart than they are wide all score alike.

    References
    ----------
    Gretton et al. 2012, A kernel two-sample test, JMLR 13:723-773.
    """
    x, y = subsample_both(x, y, max_cells, rng)
    squares = [pdist(x, "sqeuclidean"), pdist(y, "sqeuclidean"), cdist(x, y, "sqeuclidean").ravel()]
    scale = 2 * np.median(np.concatenate(squares)) or 1.0
    within_x, within_y, between = (np.exp(-values / scale).mean() for values in squares)
    return float(within_x + within_y - 2 * between)
