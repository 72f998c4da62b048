"""What people call the metrics of `neuronedit.metrics`, on the axes of figures, and where their scores end: one row a metric."""

from math import inf
from typing import NamedTuple


class MetricRow(NamedTuple):
    """The title of a metric, what stands on its axis, and the least and the largest score."""

    title: str
    axis: str
    least: float = -inf
    largest: float = inf


DISTANCE_AXIS = "share of the gap closed"
CORRELATION, SHARE, RATIO = (-1.0, 1.0), (0.0, 1.0), (0.0, inf)
METRIC_TABLE = {
    # the score of a distance is the share of a gap that it closes, which has no ends
    "energy_distance": MetricRow("energy distance", DISTANCE_AXIS),
    "mean_wasserstein": MetricRow("Wasserstein distance, mean of features", DISTANCE_AXIS),
    "sliced_wasserstein": MetricRow("sliced Wasserstein distance", DISTANCE_AXIS),
    "mmd": MetricRow("maximum mean discrepancy", DISTANCE_AXIS),
    "median_difference": MetricRow("difference of medians", DISTANCE_AXIS),
    "frechet": MetricRow("Fréchet distance", DISTANCE_AXIS),
    "squared_error": MetricRow("squared error of means", DISTANCE_AXIS),
    "mean_correlation": MetricRow("predicted and true means", "correlation", *CORRELATION),
    "variance_correlation": MetricRow("predicted and true variances", "correlation", *CORRELATION),
    "covariance_correlation": MetricRow("predicted and true covariances", "correlation", *CORRELATION),
    "r2": MetricRow("predicted and true means", "R²", largest=1.0),
    "variance_ratio": MetricRow("total variance", "predicted / true", *RATIO),
    "change_correlation": MetricRow("applied and observed change", "correlation", *CORRELATION),
    "variance_kept": MetricRow("change of variance", "applied / observed", *RATIO),
    "unharmed": MetricRow("features not harmed", "share of features", *SHARE),
    "delta_correlation": MetricRow("predicted and true change", "correlation", *CORRELATION),
    "de_direction": MetricRow("direction of true changes", "share of features", *SHARE),
    "de_overlap": MetricRow("largest changes in common", "share of features", *SHARE),
    "de_recall": MetricRow("true changes that are found", "share of features", *SHARE),
    "de_precision": MetricRow("found changes that are true", "share of features", *SHARE),
    "de_fold_change": MetricRow("size of true changes", "rank correlation", *CORRELATION),
}


def describe_metric(metric: object) -> MetricRow:
    """Return the row of a metric; a metric of the caller's own keeps its name, and its score has no ends."""
    return METRIC_TABLE.get(str(metric), MetricRow(str(metric).replace("_", " "), "score"))
