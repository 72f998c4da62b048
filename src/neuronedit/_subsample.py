"""Cells at random: where a few thousand show as much as all of them do."""

import numpy as np


def subsample(n_cells: int, n: int, rng: int = 0) -> np.ndarray:
    """Return the row numbers of ``n`` of the cells, drawn without replacement and in ascending order, or of all of them."""
    if n >= n_cells:
        return np.arange(n_cells)
    return np.sort(np.random.default_rng(rng).permutation(n_cells)[:n])
