"""Subsample two populations: the distances between all of their cells fit in memory for some thousands."""

import numpy as np


def subsample_both(x: np.ndarray, y: np.ndarray, max_cells: int, rng: int) -> tuple[np.ndarray, np.ndarray]:
    """Return at most ``max_cells`` cells of each population, in float64."""
    numpy_rng = np.random.default_rng(rng)
    subsamples = []
    for cells in (x, y):
        cells = np.asarray(cells, dtype=np.float64)
        if len(cells) > max_cells:
            cells = cells[numpy_rng.choice(len(cells), max_cells, replace=False)]
        subsamples.append(cells)
    return subsamples[0], subsamples[1]
