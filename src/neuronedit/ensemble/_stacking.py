"""Stacking: find the weights with which candidates, together, predict best the folds that were left out."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from .._adam import Adam
from .._energy import energy
from ._folds import Fold

TOLERATED_MOVE = 0.1  # standard deviations that a mean may end further from the truth
TOLERATED_STANDARD_ERRORS = 2.0  # or so many of the two means that are compared, if that is more
MIN_SCORE = -1.0  # below this a score counts no further: one fold must not decide alone
MIN_RELATIVE_GAP = 0.5  # of the mean gap: lower ones count as this, as a fold without a change of its own cannot decide
MIN_COUNT_TO_DESCEND = 0.005  # a fold that counts less is not descended
N_DESCENTS, N_DESCENTS_AGAIN, RATE = 40, 15, 0.3  # of Adam: from the prior on, and from the weights of all folds on
LEAST_DISTANCE = 1e-4  # of the mean: nearer cells, which rounding decides, pull each other no more than those
MAX_CELLS_PER_CANDIDATE = 300  # of each fold, to score candidates
# of each fold, about, between which distances are measured: what others would add is noise to the weights, not to the score
N_CELLS_TO_DESCEND = 150


@dataclass(frozen=True)
class Stack:
    """How candidates are combined, and how well that predicts each fold, made without it."""

    weights: np.ndarray  # of the candidates; their sum is 1
    scores: np.ndarray  # (n_folds,): share of the gap that the ensemble closes
    errors: np.ndarray  # (n_folds, n_features): mean of the truth less that of the prediction
    wrong_direction: np.ndarray  # (n_folds, n_features): whether it moved the mean away from the truth's


def stack(folds: Sequence[Fold], prior: np.ndarray, shrinkage: float, strength: float = 1.0) -> Stack:
    """Fit the weights on all folds but halves, and score them by fits that leave each fold out.

    ``shrinkage`` draws the weights to the ``prior``, ``(n_candidates,)``, the more, the fewer folds there are. ``strength``
    is how far the ensemble goes.
    """
    fitted = [fold for fold in folds if not fold.is_half]
    logits = fit_weights(fitted, prior, shrinkage)
    # predict each fold with the weights of the others
    predictions = []
    for fold in folds:
        own = logits
        if not fold.is_half:
            others = [other for other in fitted if other is not fold]
            own = fit_weights(others, prior, shrinkage, start=logits, n_steps=N_DESCENTS_AGAIN)
        own = own.softmax(0)
        blended = torch.einsum("k,knd->nd", own, fold.predicted)  # (n_cells, n_features)
        predictions.append(fold.query + strength * (blended - fold.query))
    # compare means, (n_folds, n_features)
    predicted, queries, truths = (
        torch.stack([cells.mean(0) for cells in side]).numpy()
        for side in (predictions, [fold.query for fold in folds], [fold.truth for fold in folds])
    )
    errors = truths - predicted
    wrong_direction = np.abs(errors) > np.abs(truths - queries) + tolerated_errors(folds)
    weights = logits.softmax(0).numpy().astype(float)
    return Stack(weights / weights.sum(), score_predictions(folds, predictions), errors, wrong_direction)


def fit_weights(
    folds: Sequence[Fold],
    prior: np.ndarray,
    shrinkage: float,
    *,
    start: Tensor | None = None,
    n_steps: int = N_DESCENTS,
) -> Tensor:
    """Find the logits of the convex combination that leaves the least energy distance in the folds, and is near the prior.

    What is minimized is the weighted mean share of the gaps that is left, plus the Kullback-Leibler divergence from the
    prior times the shrinkage, divided by how many equal folds the folds are worth. Adam descends from the prior.
    """
    expected = torch.from_numpy(np.maximum(prior, 1e-9)).float().log()
    if not folds:
        return expected
    # what each fold counts
    counts = np.array([fold.weight for fold in folds])  # their sum is below 1 where halves of all cells count, too
    n_folds = counts.sum() ** 2 / max(float(counts @ counts), 1e-12)
    least = min(MIN_COUNT_TO_DESCEND, counts.max() / 2)  # of hundreds of folds, each one counts little
    used = []
    for fold, scale, count in zip(folds, gap_scales(folds), counts, strict=True):
        if count >= least:
            predicted = fold.predicted[:, every(fold.query, N_CELLS_TO_DESCEND)]
            truth = fold.truth[every(fold.truth, N_CELLS_TO_DESCEND)]
            center = truth.mean(0)  # far from 0 squares would lose what differs between cells
            used.append(((predicted - center).flatten(1), truth - center, float(count / scale)))

    # descend
    logits = (expected if start is None else start).clone()
    gradient = torch.zeros_like(logits)
    adam = Adam(logits, gradient)
    for _ in range(n_steps):
        logarithms = logits.log_softmax(0)
        weights = logarithms.exp()
        slopes = shrinkage / max(n_folds, 1.0) * (logarithms - expected)  # of the loss, by weight, (n_candidates,)
        for predicted, truth, share in used:
            blended = (weights @ predicted).view(-1, truth.shape[1])  # (n_cells, n_features)
            slopes += share * (predicted @ find_slopes(blended, truth).flatten())
        torch.mul(weights, slopes - weights @ slopes, out=gradient)
        adam.step(RATE)
    return logits


def find_slopes(cells: Tensor, truth: Tensor) -> Tensor:
    """Return the gradient of the energy distance between cells and the truth, by the cells: ``(n_cells, n_features)``."""
    n, n_truth = len(cells), len(truth)
    of_pairs = truth.new_full((n_truth + n,), -2 / (n * max(n - 1, 1)))
    of_pairs[:n_truth] = 2 / (n * n_truth)
    others = torch.cat([truth, cells])
    distances = torch.cdist(cells, others)  # (n_cells, n_truth + n_cells)
    least = LEAST_DISTANCE * distances.mean()
    if least == 0:  # all cells are one point
        return torch.zeros_like(cells)
    distances.clamp_min_(least)
    distances[:, n_truth:].fill_diagonal_(torch.inf)  # no cell pulls itself
    pulls = of_pairs / distances
    return pulls.sum(1, keepdim=True) * cells - pulls @ others


def every(cells: Tensor, n: int) -> slice:
    """Return which cells to take so that about ``n`` are left, from all over the order that they are in."""
    return slice(None, None, max(1, round(len(cells) / n)))


def gap_scales(folds: Sequence[Fold]) -> np.ndarray:
    """Return what the energy distance left in each fold is divided by: its gap, and at least half the mean gap."""
    gaps = np.array([max(fold.gap, 0.0) for fold in folds])
    return np.maximum(gaps, max(MIN_RELATIVE_GAP * gaps.mean(), 1e-9))


def tolerated_errors(folds: Sequence[Fold]) -> np.ndarray:
    """Return how far a mean may end further from the truth than it began without being held against an edit."""
    spread = torch.stack([fold.query.std(0) for fold in folds]).numpy()  # (n_folds, n_features)
    n = np.array([[min(len(fold.query), len(fold.truth))] for fold in folds])
    return spread * np.maximum(TOLERATED_MOVE, TOLERATED_STANDARD_ERRORS * np.sqrt(2 / n))


def score_predictions(folds: Sequence[Fold], predictions: Sequence[Tensor]) -> np.ndarray:
    """Share of the gap that a prediction of each fold closes, not below `MIN_SCORE`: ``(n_folds,)``.

    Of several predictions of each, ``(n_candidates, n_cells, n_features)``, it is ``(n_candidates, n_folds)``.
    """
    gaps = np.array([fold.gap for fold in folds])
    left = np.stack([energy(cells, fold.truth).numpy() for cells, fold in zip(predictions, folds, strict=True)])
    return np.maximum((gaps - left.T) / gap_scales(folds), MIN_SCORE)


def score_candidates(folds: Sequence[Fold]) -> np.ndarray:
    """Share of the gap that each candidate closes in each fold, not below `MIN_SCORE`: ``(n_candidates, n_folds)``."""
    few = [replace(fold, truth=fold.truth[every(fold.truth, MAX_CELLS_PER_CANDIDATE)]) for fold in folds]
    return score_predictions(few, [fold.predicted[:, every(fold.query, MAX_CELLS_PER_CANDIDATE)] for fold in folds])


def expect(folds: Sequence[Fold], scores: np.ndarray) -> tuple[float, float]:
    """Return the share of the gap that is closed in all folds together, and its standard error.

    Both are of what can be closed: a fold whose gap is below half the mean gap cannot reach a score of 1.
    """
    weights = np.array([fold.weight for fold in folds])  # of sum 1
    gaps = np.array([max(fold.gap, 0.0) for fold in folds])
    most = max(float(weights @ (gaps / gap_scales(folds))), 1e-9)
    mean = float(weights @ scores)
    n = 1 / float(weights @ weights)  # as many equal weights would be worth as much
    error = float(np.sqrt(weights @ (scores - mean) ** 2 / max(n - 1, 0.5)))
    return float(np.clip(mean / most, MIN_SCORE, 1)), error / most
