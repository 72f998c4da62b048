"""Difference of the medians, marker by marker."""

import numpy as np

from .._docs import shared_docs


@shared_docs
def median_difference(x: np.ndarray, y: np.ndarray, /) -> float:
    """Mean over features of the absolute difference between the two populations' medians.

    Examples
    --------
    >>> import numpy as np, neuronedit as ne
    >>> ne.metrics.median_difference(np.zeros((4, 2)), np.ones((4, 2)))
    1.0

    Parameters
    ----------
    %(two_populations)s

    Returns
    -------
    In the units of the features, 0 or more. It measures location alone, not spread, shape or dependence. A change in fewer
    than half of the cells may not move the median at all.
    """
    return float(np.abs(np.median(x, axis=0) - np.median(y, axis=0)).mean())
