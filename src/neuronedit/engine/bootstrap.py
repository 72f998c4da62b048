"""Fit an edit again to resamples of its source and target: how much of it is their noise."""

import numpy as np
import torch

from .._data.reader import CellReader, chunks
from ..edits import Populations
from .fit import FittedEdit, scale_map


def bootstrap(
    fitted: FittedEdit, cells: CellReader, query: np.ndarray, device: torch.device, *, n: int, rng: int, strength: float
) -> tuple[np.ndarray, np.ndarray]:
    """Fit an edit again to ``n`` resamples of source and target, in its spaces by turns, and apply it to the query.

    Returns the standard deviation of each edited value, ``(n_query, n_features)`` with features where they stand in the
    matrix, and that of each edited mean, ``(n_features,)``.
    """
    generator = np.random.default_rng(rng)
    mean_so_far, squares = np.zeros((2, len(query), cells.shape[1]), dtype=np.float32)
    means = []
    for i in range(n):
        fit = fitted.fits[i % len(fitted.fits)]
        cell_map = scale_map(fit.refit(_resample(generator, fit.populations)), strength)
        total = np.zeros(cells.shape[1])
        for part in chunks(np.arange(len(query)), cells.shape[1]):
            rows = slice(part[0], part[-1] + 1)
            x = cell_map(cells[query[part]].to(device)).cpu().numpy()
            total += x.sum(axis=0, dtype=float)
            change = x - mean_so_far[rows]
            mean_so_far[rows] += change / (i + 1)
            squares[rows] += change * (x - mean_so_far[rows])
        means.append(total / len(query))
    sd = cells.to_matrix_order(np.sqrt(squares / (n - 1)))
    return sd, np.std(means, axis=0, ddof=1)


def _resample(generator: np.random.Generator, populations: Populations) -> Populations:
    """Draw as many cells of every stratum, and of every donor in it, again as it has."""
    sides = (
        (populations.source_strata, populations.source_pairing),
        (populations.target_strata, populations.target_pairing),
    )
    drawn = []
    for strata, pairing in sides:
        labels = strata
        if pairing is not None:
            labels = np.unique(np.stack([strata, pairing]), axis=1, return_inverse=True)[1]
        groups = [np.flatnonzero(labels == label) for label in np.unique(labels)]
        drawn.append(np.concatenate([generator.choice(rows, len(rows)) for rows in groups]))
    return populations.subset(*drawn)
