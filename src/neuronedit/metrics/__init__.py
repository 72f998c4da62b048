"""How close a prediction is to the truth. Arrays in, a float out.

`METRICS` are distances: 0 means that no difference was found, and `gap_closed` says how much of one a prediction closes. Of all but `squared_error` it does not
matter which population is which.
`AGREEMENTS` compare summaries: 1 means that they agree. `CHECKS` need no truth: they compare the change applied to the query
with the change seen in the controls, ``(source, target, query, predicted)``, and 1 means that these agree. `CHANGES` compare the
predicted change with the true one, ``(control, truth, predicted)``, and 1 is best. A new one is one function and one row.
"""

from collections.abc import Callable

from .._check import guard
from .._docs import share_docs
from ._agreement import covariance_correlation, mean_correlation, r2, variance_correlation, variance_ratio
from ._batches import (
    GroupEffect,
    PreservedFunction,
    consistent_peaks,
    group_effects,
    preserved_function,
    sample_differences,
)
from ._change import change_correlation, harmed, unharmed, variance_kept
from ._distances import e_test, energy_distance, mean_wasserstein, median_difference, mmd, sliced_wasserstein
from ._expression import DeAgreement, de_agreement, differential_expression
from ._frechet import frechet
from ._gap import gap_closed
from ._mixing import bras, clisi, flowsom_similarity, ilisi, kbet
from ._perturbation import delta_correlation, discrimination_score, squared_error

METRICS: dict[str, Callable[..., float]] = {
    "energy_distance": energy_distance,
    "mean_wasserstein": mean_wasserstein,
    "sliced_wasserstein": sliced_wasserstein,
    "mmd": mmd,
    "median_difference": median_difference,
    "frechet": frechet,
    "squared_error": squared_error,
}

AGREEMENTS: dict[str, Callable[..., float]] = {
    "mean_correlation": mean_correlation,
    "variance_correlation": variance_correlation,
    "covariance_correlation": covariance_correlation,
    "r2": r2,
    "variance_ratio": variance_ratio,
}

CHECKS: dict[str, Callable[..., float]] = {
    "change_correlation": change_correlation,
    "variance_kept": variance_kept,
    "unharmed": unharmed,
}

CHANGES: dict[str, Callable[..., float]] = {
    "delta_correlation": delta_correlation,
    "de_direction": DeAgreement("direction"),
    "de_overlap": DeAgreement("overlap"),
    "de_recall": DeAgreement("recall"),
    "de_precision": DeAgreement("precision"),
    "de_fold_change": DeAgreement("fold_change"),
}

__all__ = [
    "AGREEMENTS", "CHANGES", "CHECKS", "GroupEffect", "METRICS", "PreservedFunction", "bras", "change_correlation",
    "clisi", "consistent_peaks", "covariance_correlation", "de_agreement", "delta_correlation",
    "differential_expression", "discrimination_score", "e_test", "energy_distance", "flowsom_similarity",
    "frechet", "gap_closed", "group_effects", "harmed", "ilisi", "kbet", "mean_correlation", "mean_wasserstein",
    "median_difference", "mmd", "preserved_function", "r2", "sample_differences", "sliced_wasserstein",
    "squared_error", "unharmed", "variance_correlation", "variance_kept", "variance_ratio",
]  # fmt: skip

share_docs(globals())
guard(globals())
