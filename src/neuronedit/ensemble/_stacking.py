"""Weigh candidates by what they predict for the parts of the pair that were left out."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..edits._pairing import energy

STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""How far the combination may go, from leaving cells alone to all the way."""

TOLERANCE = 0.1
"""Movements of a mean below this share of a feature's standard deviation are not held against a combination."""

WORST = -1.0
"""Below this a score counts no further: one stratum must not decide alone."""


@dataclass(frozen=True)
class Fold:
    """A part of the pair that was left out, and what each candidate predicts for it from the rest.

    Attributes
    ----------
    name
        Of the part.
    weight
        What it counts; the weights of all parts sum to 1.
    query, truth
        Its cells before and after the change.
    predicted
        ``(n_candidates, n_cells, n_features)``
    before
        Energy distance from query to truth.
    """

    name: str
    weight: float
    query: Tensor
    truth: Tensor
    predicted: Tensor
    before: float

    def mixed(self, weights: Tensor) -> Tensor:
        """Return the weighted mean of the predictions."""
        return torch.einsum("k,knd->nd", weights, self.predicted)


def scales(parts: Sequence[Fold]) -> np.ndarray:
    """Return what the distance of each part is divided by: its own before the change, not below a tenth of the mean."""
    before = np.array([max(part.before, 0.0) for part in parts])
    return np.maximum(before, max(0.1 * before.mean(), 1e-9))


def scores(parts: Sequence[Fold]) -> np.ndarray:
    """Share of the gap that each candidate closes in each part, not below `WORST`: ``(n_candidates, n_parts)``."""
    found = [
        [(part.before - float(energy(cells, part.truth))) / scale for cells in part.predicted]
        for part, scale in zip(parts, scales(parts), strict=True)
    ]
    return np.maximum(np.array(found).T, WORST)


def fit(parts: Sequence[Fold], *, n_steps: int = 60, lr: float = 0.3, n_cells: int = 200) -> Tensor:
    """Find the convex combination of candidates that leaves the least energy distance in the parts: ``(n_candidates,)``.

    Descends from equal weights, which stops short of trusting one candidate where several do as well.
    """
    logits = torch.zeros(len(parts[0].predicted), requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=lr)
    counted = [
        (p.predicted[:, :n_cells], p.truth[:n_cells], p.weight / s) for p, s in zip(parts, scales(parts), strict=True)
    ]
    with torch.enable_grad():
        for _ in range(n_steps):
            weights, loss = logits.softmax(0), torch.zeros(())
            for cells, truth, weight in counted:
                mixed = torch.einsum("k,knd->nd", weights, cells)
                loss = loss + weight * energy(mixed, truth)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return logits.detach().softmax(0)


@dataclass(frozen=True)
class Combination:
    """How candidates are combined, and what to expect of it.

    Attributes
    ----------
    weights
        Of the candidates; their sum is 1.
    strength
        How far the combination goes, from 0 to 1.
    scores
        Share of the gap that it closes in each part, predicted without that part.
    errors
        ``(n_parts, n_features)``: mean of the truth less that of the prediction, made without that part.
    wrong
        ``(n_parts, n_features)``: whether it moved the mean away from the truth's.
    """

    weights: np.ndarray
    strength: float
    scores: np.ndarray
    errors: np.ndarray
    wrong: np.ndarray


def combine(parts: Sequence[Fold], most: float = 1.0) -> Combination:
    """Fit the weights on all parts; judge them, and choose the strength, by fits that did not see the part.

    The strength is the one with the best mean score, and 0 where that is not clearly above 0 (by its standard error):
    where nothing carries over from part to part, cells are left alone. It is never more than ``most``.
    """
    unseen = [part.mixed(fit([*parts[:i], *parts[i + 1 :]])) for i, part in enumerate(parts)]
    weights, before = np.array([(part.weight, part.before) for part in parts]).T
    scale, tried = scales(parts), {}
    for strength in sorted({min(strength, most) for strength in STRENGTHS}):
        mixed = [part.query + strength * (cells - part.query) for part, cells in zip(parts, unseen, strict=True)]
        left = np.array([float(energy(cells, part.truth)) for cells, part in zip(mixed, parts, strict=True)])
        tried[strength] = np.maximum((before - left) / scale, WORST), mixed
    strength = max(tried, key=lambda strength: float(weights @ tried[strength][0]))
    mean, error = spread(tried[strength][0], weights)
    strength = strength if mean > error else 0.0
    values, mixed = tried[strength]
    truths, queries, predicted = (
        torch.stack([cells.mean(0) for cells in these]).numpy()
        for these in ([part.truth for part in parts], [part.query for part in parts], mixed)
    )
    allowed = TOLERANCE * torch.stack([part.query.std(0) for part in parts]).numpy()
    wrong = np.abs(truths - predicted) > np.abs(truths - queries) + allowed
    return Combination(fit(parts).numpy(), strength, values, truths - predicted, wrong)


def spread(values: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    """Weighted mean and its standard error."""
    mean = float(weights @ values)
    n = 1 / float(weights @ weights)
    return mean, float(np.sqrt(weights @ (values - mean) ** 2 / max(n - 1, 0.5)))
