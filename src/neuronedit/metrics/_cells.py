"""Cells as they are scored."""

from typing import Any

import numpy as np


def to_float64(*populations: Any) -> list[np.ndarray]:
    """Return populations in float64, ``(n_cells, n_features)``: sums of squares of float32 lose what is compared."""
    return [np.asarray(cells, dtype=np.float64) for cells in populations]
