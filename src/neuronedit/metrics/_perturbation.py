"""Is a predicted change the true one? Of means: its correlation, its squared error, and whether it is nearer to its own truth than to others'."""

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from scipy.spatial.distance import cdist
from scipy.stats import rankdata

from .._check import VECTOR, CellArray, TwoCellArray
from ._agreement import correlation
from ._cells import to_float64

Origin = Annotated[np.ndarray, VECTOR]
DistanceName = Literal["l1", "l2", "cosine"]

SCIPY_NAMES = {"l1": "cityblock", "l2": "euclidean", "cosine": "cosine"}


def delta_correlation(
    control: CellArray, truth: CellArray, predicted: CellArray, /, *, origin: Origin | None = None
) -> float:
    r"""Pearson correlation over features between the predicted and the true change of the mean.

    :math:`\mathrm{cor}(\bar p - o, \bar t - o)` with the means :math:`\bar p` of the prediction, :math:`\bar t` of the truth and
    :math:`o` of the origin.

    Examples
    --------
    >>> import numpy as np, neuronedit as ne
    >>> control = np.random.default_rng(0).normal(size=(500, 3))
    >>> change = np.array([1.0, 0.0, -1.0])
    >>> round(ne.metrics.delta_correlation(control, control + change, control + 0.5 * change), 2)
    1.0

    Parameters
    ----------
    control, truth, predicted
        Cells before the change, measured after it, and predicted, each ``(n_cells, n_features)``.
    origin
        Where changes begin, ``(n_features,)``. `None`: the mean of the control, as in ``pearson_delta`` of cell-eval. The mean over the
        means of all perturbations asks for what is special about this one, as Systema does.

    Returns
    -------
    From -1 to 1, higher is better; NaN where a change is the same in all features, as that of cells left alone is 0. It does not depend on
    the size of the change. If all perturbations of a study have a change in common, a prediction of this common change alone scores high
    from the control, and about 0 from the mean of all perturbations. Noise of few true cells lowers it: compare it with that of two halves
    of the truth.

    References
    ----------
    Viñas Torné et al. 2025, Systema, Nature Biotechnology, doi:10.1038/s41587-025-02777-8; the Virtual Cell Challenge, cell-eval.
    """
    control, truth, predicted = to_float64(control, truth, predicted)
    start = control.mean(axis=0) if origin is None else to_float64(origin)[0]
    return correlation(predicted.mean(axis=0) - start, truth.mean(axis=0) - start)


def squared_error(x: CellArray, y: TwoCellArray, /, *, subtract_noise: bool = True) -> float:
    r"""Squared error of the predicted mean, averaged over features, less what the noise of the truth adds to it.

    :math:`\frac1m \sum_j (\bar x_j - \bar y_j)^2 - s_j^2 / n` with the variance :math:`s_j^2` of the ``n`` true cells. As a change is
    measured from the same control in both, this is also the squared error of the change.

    Examples
    --------
    >>> import numpy as np, neuronedit as ne
    >>> y = np.random.default_rng(0).normal(size=(500, 3))
    >>> round(ne.metrics.squared_error(y + 1.0, y), 2)
    1.0

    Parameters
    ----------
    x, y
        Predicted cells, and at least two true cells, ``(n_cells, n_features)``.
    subtract_noise
        `False` leaves the noise in: this is ``mse`` of cell-eval. It then depends on the number of true cells.

    Returns
    -------
    In squared units of the features, lower is better. A prediction that equals the true mean of the population scores 0 on average, so it
    may be below 0. Only means are compared: cells that are all equal to the mean score as well as real ones. The
    features with the largest values dominate it, and leaving the cells alone scores well where most features do not change.
    """
    x, y = to_float64(x, y)
    error = np.square(x.mean(axis=0) - y.mean(axis=0))
    noise = y.var(axis=0, ddof=1) / len(y) if subtract_noise else 0.0
    return float(np.mean(error - noise))


def discrimination_score(
    truths: CellArray,
    predicted: CellArray,
    /,
    *,
    origin: Origin | None = None,
    distance: DistanceName = "l1",
    targets: Sequence[int] | None = None,
) -> np.ndarray:
    """Say for each perturbation whether its prediction is nearer to its own truth than to the truths of the others.

    ``1 - rank / n``, where the rank is the number of perturbations whose truth is nearer to the prediction than its own truth is. Truths
    that are equally near count half.

    Examples
    --------
    >>> import numpy as np, neuronedit as ne
    >>> truths = np.random.default_rng(0).normal(size=(4, 50))
    >>> ne.metrics.discrimination_score(truths, truths + 0.1).tolist()
    [1.0, 1.0, 1.0, 1.0]

    Parameters
    ----------
    truths, predicted
        Means of the true and of the predicted cells of each perturbation, in the same order, ``(n_perturbations, n_features)``.
    origin
        Mean of the control, ``(n_features,)``, from which the changes are taken. `None`: 0. Only ``"cosine"`` depends on it.
    distance
        ``"l1"`` (sum of absolute differences), ``"l2"`` (Euclidean) or ``"cosine"`` (1 less the cosine of the angle between the changes).
    targets
        Column of the feature that each perturbation acts on itself, ``(n_perturbations,)``, -1 for none. It is left out, because it is
        high or low by design.

    Returns
    -------
    ``(n_perturbations,)``, higher is better: 1 where no other truth is nearer, ``1 / n`` where all are. Take its mean. A prediction that is the
    same for all perturbations has the mean ``(n + 1) / (2 n)``, about a half. It says nothing about the size of the error:
    a prediction may be far from its truth, and still nearer to it than to the others.

    Raises
    ------
    ValueError
        Truths and predictions of different shapes, or a target that is no column.

    References
    ----------
    The Virtual Cell Challenge, cell-eval (``discrimination_score``), which breaks ties by the order of the perturbations.
    """
    truths, predicted = to_float64(truths, predicted)
    n, n_features = truths.shape
    if truths.shape != predicted.shape:
        raise ValueError(
            f"truths have the shape {truths.shape}, predicted {predicted.shape}; give the same perturbations."
        )
    start = 0.0 if origin is None else to_float64(origin)[0]
    excluded = [-1] * n if targets is None else list(targets)
    if len(excluded) != n or min(excluded) < -1 or max(excluded) >= n_features:
        raise ValueError(
            f"targets must be {n} columns from 0 to {n_features - 1}, or -1 for none; they are {excluded}."
        )
    scores = np.empty(n)
    for i in range(n):
        kept = np.arange(n_features) != excluded[i]
        changes = (truths - start)[:, kept], (predicted - start)[i : i + 1, kept]
        far = cdist(*changes, SCIPY_NAMES[distance])[:, 0]
        far = np.nan_to_num(far, nan=1.0)  # the cosine to no change at all
        scores[i] = 1 - (rankdata(far)[i] - 1) / n
    return scores
