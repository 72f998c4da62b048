"""Compare the applied change with the one seen in the controls, or with the truth."""

from collections.abc import Callable
from typing import Any

import numpy as np

from .._check import CellArray, NotNegative
from ._agreement import correlation, variance_ratio
from ._cells import to_float64


def change_correlation(
    source: CellArray, target: CellArray, query: CellArray, predicted: CellArray, /,
    *, statistic: Callable[..., Any] = np.median,
) -> float:  # fmt: skip
    """Correlation over features between the change observed in the controls and the one applied to the query (Table 2).

    Examples
    --------
    >>> import numpy as np, neuronedit as ne
    >>> source, query = (np.random.default_rng(seed).normal(size=(500, 3)) for seed in (0, 1))
    >>> change = [1.0, 0.0, -1.0]
    >>> round(ne.metrics.change_correlation(source, source + change, query, query + change), 2)
    1.0

    Parameters
    ----------
    %(roles)s
    statistic
        ``np.median`` as in the paper, ``np.mean``, or another function of ``(cells, axis=0)``.

    Returns
    -------
    From -1 to 1; NaN where nothing changed. It depends neither on the size of the change nor on what happens within a feature.
    1 is not always right: query cells may truly change in another way.
    """
    source, target = to_float64(source, target)
    query, predicted = to_float64(query, predicted)
    observed = statistic(target, axis=0) - statistic(source, axis=0)
    applied = statistic(predicted, axis=0) - statistic(query, axis=0)
    return correlation(np.asarray(observed, dtype=np.float64), np.asarray(applied, dtype=np.float64))


def harmed(
    query: CellArray, predicted: CellArray, /, *, truth: CellArray | None = None,
    source: CellArray | None = None, target: CellArray | None = None, tolerance: NotNegative = 0.1,
) -> np.ndarray:  # fmt: skip
    """Say which features an edit made worse.

    With the truth: those whose median it moved away from the truth's. Without it: those whose median it moved further than
    the change seen in the controls, or in the opposite direction.

    Examples
    --------
    >>> import numpy as np, neuronedit as ne
    >>> query = np.random.default_rng(0).normal(size=(500, 2))
    >>> ne.metrics.harmed(query, query + [1.0, -1.0], truth=query + [1.0, 1.0]).tolist()
    [False, True]

    Parameters
    ----------
    query, predicted
        Cells before and after the edit, ``(n_cells, n_features)``.
    truth
        Cells measured after the change.
    source, target
        The controls; needed without the truth.
    tolerance
        In units of a feature's standard deviation in the query. Smaller movements do not count as harm.

    Returns
    -------
    ``(n_features,)``, True where there was harm. Only medians are compared.
    """
    query, predicted = to_float64(query, predicted)
    before, after = np.median(query, axis=0), np.median(predicted, axis=0)
    allowed = tolerance * np.std(query, axis=0)
    if truth is not None:
        [truth] = to_float64(truth)
        true = np.median(truth, axis=0)
        return ~(np.abs(after - true) <= np.abs(before - true) + allowed)
    if source is None or target is None:
        raise ValueError("harmed needs the truth, or source and target.")
    source, target = to_float64(source, target)
    change = np.median(target, axis=0) - np.median(source, axis=0)
    applied = after - before
    return ~((applied <= np.maximum(change, 0) + allowed) & (applied >= np.minimum(change, 0) - allowed))


def variance_kept(source: CellArray, target: CellArray, query: CellArray, predicted: CellArray, /) -> float:
    """Factor by which the edit changed the total variance of the query, over that of the change seen in the controls.

    Examples
    --------
    >>> import numpy as np, neuronedit as ne
    >>> source, query = (np.random.default_rng(seed).normal(size=(500, 3)) for seed in (0, 1))
    >>> round(ne.metrics.variance_kept(source, source + 1, query, query / 2), 2)
    0.25

    Parameters
    ----------
    %(roles)s

    Returns
    -------
    0 or more; 1 where both factors are the same; NaN where source, target or query do not vary. Well below 1 the edit pushed the cells together. No truth is needed.
    """
    seen = variance_ratio(target, source)
    return variance_ratio(predicted, query) / seen if seen > 0 else float("nan")


def unharmed(source: CellArray, target: CellArray, query: CellArray, predicted: CellArray, /) -> float:
    """Share of the features whose median the edit moved neither further than, nor opposite to, the change in the controls.

    Examples
    --------
    >>> import numpy as np, neuronedit as ne
    >>> source, query = (np.random.default_rng(seed).normal(size=(500, 2)) for seed in (0, 1))
    >>> ne.metrics.unharmed(source, source + 1, query, query + [1.0, -1.0])
    0.5

    Parameters
    ----------
    %(roles)s

    Returns
    -------
    From 0 to 1; 1 where `harmed` finds no feature. No truth is needed.
    """
    return float(1 - harmed(query, predicted, source=source, target=target).mean())
