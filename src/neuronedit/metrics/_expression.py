"""Do predicted and true cells differ from the control in the same features? Rank-sum tests, and how far their results agree."""

from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple

import numpy as np
from scipy.stats import false_discovery_control, mannwhitneyu, spearmanr

from .._check import Count, TwoCellArray, above
from ._cells import to_float64

FoldChange = Literal["difference", "log1p"]

SMALLEST_MEAN = 1e-9  # is added to means, so that a feature that is 0 in all cells has a fold change
COLUMNS_AT_ONCE = 256  # of a test: it ranks copies of the cells


class DifferentialExpression(NamedTuple):
    """How treated cells differ from control cells, feature by feature: three arrays ``(n_features,)``."""

    change: np.ndarray
    p_value: np.ndarray
    q_value: np.ndarray


def differential_expression(
    control: TwoCellArray, treated: TwoCellArray, /, *, fold_change: FoldChange = "difference"
) -> DifferentialExpression:
    """Test each feature for a difference between control and treated cells: Mann and Whitney's test, Benjamini and Hochberg's q.

    Examples
    --------
    >>> import numpy as np, neuronedit as ne
    >>> control = np.random.default_rng(0).normal(size=(500, 3))
    >>> result = ne.metrics.differential_expression(control, control + [1.0, 0.0, 0.0])
    >>> (result.q_value < 0.05).tolist()
    [True, False, False]

    Parameters
    ----------
    control, treated
        ``(n_cells, n_features)``, at least two cells each.
    fold_change
        What ``change`` is: ``"difference"`` of the means, treated less control, on any scale; or ``"log1p"``, for values
        that are ``log1p``: log2 of the ratio of ``expm1`` of the means, as cell-eval has it. The latter is huge where the control has nothing.

    Returns
    -------
    Named arrays ``change``, ``p_value`` (two-sided, normal approximation with ties and continuity) and ``q_value``, each ``(n_features,)``.
    Features that are the same in all cells have a p-value of 1. The test treats cells as independent, which those of one donor are not:
    use it to compare predictions, not to report genes.

    Raises
    ------
    ValueError
        Values below 0 with ``"log1p"``.

    References
    ----------
    Mann & Whitney 1947; Benjamini & Hochberg 1995, J R Stat Soc B 57:289-300.
    """
    control, treated = to_float64(control, treated)
    if fold_change == "log1p":
        if min(control.min(), treated.min()) < 0:
            raise ValueError('fold_change="log1p" needs values of 0 and more; for others take "difference".')
        means = [np.expm1(cells.mean(axis=0)) + SMALLEST_MEAN for cells in (treated, control)]
        change = np.log2(means[0] / means[1])
    else:
        change = treated.mean(axis=0) - control.mean(axis=0)
    p_values = [
        mannwhitneyu(treated[:, start : start + COLUMNS_AT_ONCE], control[:, start : start + COLUMNS_AT_ONCE], method="asymptotic").pvalue
        for start in range(0, control.shape[1], COLUMNS_AT_ONCE)
    ]  # fmt: skip
    p_value = np.nan_to_num(np.concatenate(p_values), nan=1.0)
    return DifferentialExpression(change, p_value, false_discovery_control(p_value))


def de_agreement(
    control: TwoCellArray,
    truth: TwoCellArray,
    predicted: TwoCellArray,
    /,
    *,
    k: Count | None = None,
    false_discovery_rate: Annotated[float, above(0)] = 0.05,
    fold_change: FoldChange = "difference",
) -> dict[str, float]:
    """Say how far the features in which the predicted cells differ from the control are those in which the true cells do.

    Examples
    --------
    >>> import numpy as np, neuronedit as ne
    >>> control = np.random.default_rng(0).normal(size=(500, 4))
    >>> truth, predicted = control + [1.0, -1.0, 0.0, 0.0], control + [1.0, 1.0, 0.0, 0.0]
    >>> found = ne.metrics.de_agreement(control, truth, predicted)
    >>> {name: found[name] for name in ("direction", "overlap", "recall", "precision")}
    {'direction': 0.5, 'overlap': 1.0, 'recall': 1.0, 'precision': 1.0}

    Parameters
    ----------
    control, truth, predicted
        Cells before the change, measured after it, and predicted, each ``(n_cells, n_features)``, at least two of each.
    k
        How many of the features with the largest change are compared in ``overlap``. `None`: as many as are significant in truth.
    false_discovery_rate
        Features with a q-value below it are significant.
    fold_change
        How changes are measured, as in `differential_expression`.

    Returns
    -------
    A dict of numbers; of all but the two counts higher is better, and 1 is best:

    ``direction``
        Share of the features that are significant in truth whose predicted change has the sign of the true one.
    ``overlap``
        Of the ``k`` significant features that change most in truth, the share that is among the ``k`` that change most in the prediction.
    ``recall``, ``precision``
        Share of the truly significant features that are significant in the prediction, and the reverse.
    ``fold_change``
        Spearman correlation of true and predicted changes over the truly significant features, from -1 to 1.
    ``n_true``, ``n_predicted``
        How many features are significant.

    NaN where nothing is significant that could be counted. The number of cells decides what is significant: predict as many cells as were measured.
    Predicted cells with too little noise make everything significant: recall is then 1 and precision low, so read both. Cells that are copies of the control have a
    ``recall`` and an ``overlap`` of 0.

    References
    ----------
    The Virtual Cell Challenge, cell-eval: ``de_direction_match``, ``overlap_at_k``, ``de_sig_genes_recall`` and ``de_spearman_lfc_sig``, with
    ``fold_change="log1p"``; they are 0 there where nothing is significant.
    """
    true, guess = (differential_expression(control, cells, fold_change=fold_change) for cells in (truth, predicted))
    is_true, is_guessed = true.q_value < false_discovery_rate, guess.q_value < false_discovery_rate
    n_true, n_guessed = int(is_true.sum()), int(is_guessed.sum())
    found = {"n_true": n_true, "n_predicted": n_guessed}
    nan = float("nan")
    hits = int((is_true & is_guessed).sum())
    n_top = min(k or n_true, n_true)
    tops = [
        set(_find_largest(one.change, significant)[:n_top])
        for one, significant in ((true, is_true), (guess, is_guessed))
    ]
    same_sign = np.sign(true.change[is_true]) == np.sign(guess.change[is_true])
    return {
        "direction": float(same_sign.mean()) if n_true else nan,
        "overlap": len(tops[0] & tops[1]) / n_top if n_top else nan,
        "recall": hits / n_true if n_true else nan,
        "precision": hits / n_guessed if n_guessed else nan,
        "fold_change": _correlate_ranks(true.change[is_true], guess.change[is_true]),
    } | found


@dataclass(frozen=True)
class DeAgreement:
    """One number of `de_agreement`, as a function of control, truth and prediction."""

    name: str

    def __call__(self, control: np.ndarray, truth: np.ndarray, predicted: np.ndarray, /) -> float:
        """Return the number."""
        return de_agreement(control, truth, predicted)[self.name]


def _find_largest(change: np.ndarray, significant: np.ndarray) -> list[int]:
    """Return the significant features, the largest change first."""
    order = np.argsort(-np.abs(change), kind="stable")
    return [int(feature) for feature in order if significant[feature]]


def _correlate_ranks(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman correlation, NaN where it is not defined."""
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(spearmanr(a, b).statistic)
