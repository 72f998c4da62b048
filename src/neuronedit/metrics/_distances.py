"""Distances between populations: of all features together, of each feature, and along random directions."""

from typing import Annotated, NamedTuple

import numpy as np
from scipy.spatial.distance import cdist, pdist
from scipy.stats import wasserstein_distance

from .._check import CellArray, Count, Seed, TwoCellArray, at_least
from ._cells import to_float64


def energy_distance(
    x: TwoCellArray, y: TwoCellArray, /, *, max_cells: Annotated[int, at_least(2)] = 5_000, rng: Seed = 0
) -> float:
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


class ETest(NamedTuple):
    """An energy distance, and how often one as large is seen where the two populations are one."""

    distance: float
    p_value: float


def e_test(
    x: TwoCellArray,
    y: TwoCellArray,
    /,
    *,
    n_permutations: Count = 1_000,
    max_cells: Annotated[int, at_least(2)] = 2_000,
    rng: Seed = 0,
) -> ETest:
    """Test by permutation whether two populations differ: the E-test.

    Examples
    --------
    >>> import numpy as np, neuronedit as ne
    >>> x = np.random.default_rng(0).normal(size=(100, 2))
    >>> round(ne.metrics.e_test(x, x + 1.0, n_permutations=99).p_value, 2)
    0.01

    Parameters
    ----------
    x, y
        ``(n_cells, n_features)``, at least two cells each.
    n_permutations
        Number of permutations of the cells. The smallest p-value is 1 over this number plus 1.
    %(max_cells)s
    %(rng)s

    Returns
    -------
    Named numbers ``distance``, that of `energy_distance`, and ``p_value``, ``(1 + the number of permutations with a distance as large) / (1 + n_permutations)``.
    Small: the populations differ. With many cells any prediction differs from the truth; a large p-value with few cells is no proof that it is right. Cells are treated
    as independent.

    References
    ----------
    Székely & Rizzo 2013, doi:10.1016/j.jspi.2013.03.018; Peidli et al. 2024, scPerturb, Nature Methods, doi:10.1038/s41592-023-02144-y, whose
    E-distance takes squared Euclidean distances.
    """
    x, y = subsample_both(x, y, max_cells, rng)
    n, m = len(x), len(y)
    pooled = np.concatenate([x, y])
    distances = cdist(pooled, pooled)
    generator = np.random.default_rng(rng)
    is_x = np.zeros((n + m, n_permutations + 1))  # the first is as it was measured
    is_x[:n] = 1.0
    is_x[:, 1:] = generator.permuted(is_x[:, 1:], axis=0)
    to_x = distances @ is_x  # sums of distances to the cells of x
    within_x = np.einsum("ij,ij->j", is_x, to_x)
    between = to_x.sum(axis=0) - within_x
    within_y = distances.sum() - within_x - 2 * between
    values = 2 * between / (n * m) - within_x / (n * (n - 1)) - within_y / (m * (m - 1))
    n_as_large = int((values[1:] >= values[0] - 1e-12 * abs(values[0])).sum())
    return ETest(float(values[0]), (1 + n_as_large) / (1 + n_permutations))


def mmd(x: TwoCellArray, y: TwoCellArray, /, *, max_cells: Annotated[int, at_least(2)] = 5_000, rng: Seed = 0) -> float:
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


def median_difference(x: CellArray, y: CellArray, /) -> float:
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
    x, y = to_float64(x, y)
    return float(np.abs(np.median(x, axis=0) - np.median(y, axis=0)).mean())


def mean_wasserstein(x: CellArray, y: CellArray, /) -> float:
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
    x, y = to_float64(x, y)
    return float(np.mean([wasserstein_distance(x[:, j], y[:, j]) for j in range(x.shape[1])]))


def sliced_wasserstein(x: CellArray, y: CellArray, /, *, n_projections: Count = 100, rng: Seed = 0) -> float:
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
    x, y = to_float64(x, y)
    directions = np.random.default_rng(rng).normal(size=(x.shape[1], n_projections))
    directions /= np.linalg.norm(directions, axis=0)
    return mean_wasserstein(x @ directions, y @ directions)


def subsample_both(x: np.ndarray, y: np.ndarray, max_cells: int, rng: int) -> tuple[np.ndarray, np.ndarray]:
    """Return at most ``max_cells`` cells of each population, in float64."""
    numpy_rng = np.random.default_rng(rng)
    subsamples = []
    for cells in to_float64(x, y):
        if len(cells) > max_cells:
            cells = cells[numpy_rng.choice(len(cells), max_cells, replace=False)]
        subsamples.append(cells)
    return subsamples[0], subsamples[1]
