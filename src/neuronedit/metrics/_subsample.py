"""Distances between all pairs of cells fit in memory for some thousands of them."""

import numpy as np


def subsample(x: np.ndarray, y: np.ndarray, max_cells: int, rng: int) -> tuple[np.ndarray, np.ndarray]:
    """Return at most ``max_cells`` cells of each population, in float64."""
    generator = np.random.default_rng(rng)
    few = [
        cells if len(cells) <= max_cells else cells[generator.choice(len(cells), max_cells, replace=False)]
        for cells in (np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64))
    ]
    return few[0], few[1]
