"""What a population is called: the features in which it differs most."""

from collections.abc import Sequence

import numpy as np

MAX_FEATURES_PER_NAME = 4
MIN_DIFFERENCE_TO_NAME = 0.5  # standard deviations; the first feature of a name may differ less


def name_cluster(difference: np.ndarray, names: Sequence[str]) -> str:
    """Name a cluster by the features in which it differs most from other cells: the first, and others that differ clearly."""
    first, *others = np.argsort(-np.abs(difference), kind="stable")[:MAX_FEATURES_PER_NAME]
    clear = [first, *(j for j in others if abs(difference[j]) > MIN_DIFFERENCE_TO_NAME)]
    return " ".join(f"{names[j]}{'+' if difference[j] > 0 else '-'}" for j in clear)
