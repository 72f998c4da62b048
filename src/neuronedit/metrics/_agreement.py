"""Agreement of summaries: means, variances, covariances. 1 where they agree."""

import numpy as np

from .._check import CellArray, TwoCellArray
from ._cells import to_float64


def mean_correlation(x: CellArray, y: CellArray, /) -> float:
    """Pearson correlation over features between the two populations' means (Table 3 of the paper).

    Examples
    --------
    >>> import numpy as np, neuronedit as ne
    >>> x = np.random.default_rng(0).normal([1.0, 2.0, 3.0], size=(500, 3))
    >>> round(ne.metrics.mean_correlation(x, 10 * x), 2)
    1.0

    Parameters
    ----------
    %(two_populations)s

    Returns
    -------
    From -1 to 1; NaN where the means of a population do not differ between features. It is high where the same features are
    bright in both populations, so leaving the cells alone often scores above 0.9. Prefer `change_correlation`.
    """
    x, y = to_float64(x, y)
    return correlation(np.mean(x, axis=0), np.mean(y, axis=0))


def variance_correlation(x: CellArray, y: CellArray, /) -> float:
    """Pearson correlation over features between the two populations' variances (Table 3 of the paper).

    Examples
    --------
    >>> import numpy as np, neuronedit as ne
    >>> x = np.random.default_rng(0).normal(0, [1.0, 2.0, 3.0], size=(500, 3))
    >>> round(ne.metrics.variance_correlation(x, x + 5), 2)
    1.0

    Parameters
    ----------
    %(two_populations)s

    Returns
    -------
    From -1 to 1; NaN where the variances of a population do not differ between features. A loss of variance that all features
    have in common does not lower it; for that there is `variance_ratio`.
    """
    x, y = to_float64(x, y)
    return correlation(np.var(x, axis=0), np.var(y, axis=0))


def covariance_correlation(x: TwoCellArray, y: TwoCellArray, /) -> float:
    """Pearson correlation over pairs of features between the two populations' covariances, variances included.

    Examples
    --------
    >>> import numpy as np, neuronedit as ne
    >>> x = np.random.default_rng(0).normal(size=(500, 2)) @ [[1.0, 0.9], [0.0, 0.4]]
    >>> round(ne.metrics.covariance_correlation(x, x + 5), 2)
    1.0

    Parameters
    ----------
    %(two_populations)s

    Returns
    -------
    From -1 to 1. The features with the largest variances dominate it.
    """
    x, y = to_float64(x, y)
    upper = np.triu_indices(np.shape(x)[1])
    covariances = [np.atleast_2d(np.cov(cells, rowvar=False)) for cells in (x, y)]  # each (n_features, n_features)
    return correlation(covariances[0][upper], covariances[1][upper])


def r2(x: CellArray, y: CellArray, /) -> float:
    """Share of the variance between the second population's feature means that the first population's means explain.

    Examples
    --------
    >>> import numpy as np, neuronedit as ne
    >>> x = np.random.default_rng(0).normal([1.0, 2.0, 3.0], size=(500, 3))
    >>> ne.metrics.r2(x, x)
    1.0

    Parameters
    ----------
    %(predicted_and_true)s

    Returns
    -------
    The coefficient of determination: 1 for equal means, 0 where the prediction is the same mean for all features, negative
    for worse; NaN where the true means do not differ. It is not the squared correlation, often called R2, which a shifted
    or stretched prediction does not lower.
    """
    x, y = to_float64(x, y)
    predicted, true = np.mean(x, axis=0), np.mean(y, axis=0)
    total = float(np.square(true - true.mean()).sum())
    return float(1 - np.square(true - predicted).sum() / total) if total > 0 else float("nan")


def variance_ratio(x: CellArray, y: CellArray, /) -> float:
    """Total variance of the first population over that of the second.

    Examples
    --------
    >>> import numpy as np, neuronedit as ne
    >>> x = np.random.default_rng(0).normal(size=(500, 3))
    >>> round(ne.metrics.variance_ratio(x / 2, x), 2)
    0.25

    Parameters
    ----------
    %(predicted_and_true)s

    Returns
    -------
    0 or more; NaN where the second population does not vary. Well below 1 the prediction lost diversity (mode collapse),
    well above 1 it spreads the cells too far. It does not say in which features.
    """
    x, y = to_float64(x, y)
    total = float(np.var(y, axis=0).sum())
    return float(np.var(x, axis=0).sum() / total) if total > 0 else float("nan")


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson correlation, NaN where one side is constant."""
    a, b = a - a.mean(), b - b.mean()
    norm = np.linalg.norm(a) * np.linalg.norm(b)
    return float(a @ b / norm) if norm > 0 else float("nan")
