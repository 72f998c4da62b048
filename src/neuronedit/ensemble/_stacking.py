"""Stacking: find the weights with which candidates, together, predict best the folds that were left out."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .._energy import energy
from ._folds import Fold

STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)  # a handful of folds cannot tell finer steps apart
TOLERATED_MOVE = 0.1  # standard deviations that a mean may end further from the truth: the error of a mean of 100 cells
MIN_SCORE = -1.0  # below this a score counts no further: one fold must not decide alone
MIN_RELATIVE_GAP = 0.1  # of the mean gap: lower ones count as this, as a fold that hardly changes must not count most


@dataclass(frozen=True)
class Stack:
    """How candidates are combined, and how well that predicts each fold, made without it."""

    weights: np.ndarray  # of the candidates; their sum is 1
    strength: float  # how far the ensemble goes, from 0 to 1
    scores: np.ndarray  # (n_folds,): share of the gap that it closes
    errors: np.ndarray  # (n_folds, n_features): mean of the truth less that of the prediction
    wrong_direction: np.ndarray  # (n_folds, n_features): whether it moved the mean away from the truth's


def stack(folds: Sequence[Fold], max_strength: float = 1.0) -> Stack:
    """Fit the weights on all folds; score them, and choose the strength, by fits that leave the fold out.

    The strength, at most ``max_strength``, is the one with the best mean score, and 0 where that is not above its standard
    error: where nothing generalizes from fold to fold, cells are left alone.
    """
    fold_weights = np.array([fold.weight for fold in folds])

    # predict each fold with the weights of the others
    held_out = []
    for i, fold in enumerate(folds):
        weights = fit_weights([*folds[:i], *folds[i + 1 :]])
        held_out.append(torch.einsum("k,knd->nd", weights, fold.predicted))  # (n_cells, n_features)

    # choose the strength
    strengths = sorted({min(strength, max_strength) for strength in STRENGTHS})
    scores = {strength: score_predictions(folds, scale_moves(folds, held_out, strength)) for strength in strengths}
    strength = max(strengths, key=lambda strength: float(fold_weights @ scores[strength]))
    mean, error = mean_and_error(scores[strength], fold_weights)
    strength = strength if mean > error else 0.0

    # compare means, (n_folds, n_features)
    predicted = mean_cells(scale_moves(folds, held_out, strength))
    queries = mean_cells([fold.query for fold in folds])
    truths = mean_cells([fold.truth for fold in folds])
    tolerated = TOLERATED_MOVE * torch.stack([fold.query.std(0) for fold in folds]).numpy()
    errors = truths - predicted
    wrong_direction = np.abs(errors) > np.abs(truths - queries) + tolerated
    return Stack(fit_weights(folds).numpy(), strength, scores[strength], errors, wrong_direction)


def fit_weights(folds: Sequence[Fold], *, n_steps: int = 60, lr: float = 0.3, n_cells: int = 200) -> Tensor:
    """Find the convex combination of candidates that leaves the least energy distance in the folds: ``(n_candidates,)``.

    Adam descends from equal weights. So few steps stop short of trusting one candidate where several do as well.
    """
    # what each fold counts
    predictions = [fold.predicted[:, :n_cells] for fold in folds]  # (n_candidates, n_cells, n_features)
    truths = [fold.truth[:n_cells] for fold in folds]
    fold_counts = [fold.weight / scale for fold, scale in zip(folds, gap_scales(folds), strict=True)]

    # descend
    logits = torch.zeros(len(predictions[0]), requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=lr)
    with torch.enable_grad():
        for _ in range(n_steps):
            weights = logits.softmax(0)
            loss = torch.zeros(())
            for predicted, truth, count in zip(predictions, truths, fold_counts, strict=True):
                blended = torch.einsum("k,knd->nd", weights, predicted)
                loss = loss + count * energy(blended, truth)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return logits.detach().softmax(0)


def gap_scales(folds: Sequence[Fold]) -> np.ndarray:
    """Return what the energy distance left in each fold is divided by: its gap, and at least a tenth of the mean gap."""
    gaps = np.array([max(fold.gap, 0.0) for fold in folds])
    return np.maximum(gaps, max(MIN_RELATIVE_GAP * gaps.mean(), 1e-9))


def score_predictions(folds: Sequence[Fold], predictions: Sequence[Tensor]) -> np.ndarray:
    """Share of the gap that a prediction of each fold closes, not below `MIN_SCORE`: ``(n_folds,)``."""
    gaps = np.array([fold.gap for fold in folds])
    left = np.array([float(energy(cells, fold.truth)) for cells, fold in zip(predictions, folds, strict=True)])
    return np.maximum((gaps - left) / gap_scales(folds), MIN_SCORE)


def score_candidates(folds: Sequence[Fold]) -> np.ndarray:
    """Share of the gap that each candidate closes in each fold, not below `MIN_SCORE`: ``(n_candidates, n_folds)``."""
    n_candidates = len(folds[0].predicted)
    return np.array([score_predictions(folds, [fold.predicted[k] for fold in folds]) for k in range(n_candidates)])


def scale_moves(folds: Sequence[Fold], predictions: Sequence[Tensor], strength: float) -> list[Tensor]:
    """Return predictions that go a part of the way, from 0 (the query) to 1 (all of it)."""
    return [fold.query + strength * (cells - fold.query) for fold, cells in zip(folds, predictions, strict=True)]


def mean_cells(populations: Sequence[Tensor]) -> np.ndarray:
    """Return the mean cell of each population: ``(n_populations, n_features)``."""
    return torch.stack([cells.mean(0) for cells in populations]).numpy()


def mean_and_error(values: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    """Weighted mean and its standard error; the weights sum to 1."""
    mean = float(weights @ values)
    n = 1 / float(weights @ weights)  # as many equal weights would be worth as much
    return mean, float(np.sqrt(weights @ (values - mean) ** 2 / max(n - 1, 0.5)))
