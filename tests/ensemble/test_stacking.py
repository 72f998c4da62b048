"""The weights, the strength and the expectation, on predictions whose worth is known."""

import numpy as np
import pytest
import torch

from neuronedit._energy import energy
from neuronedit.ensemble._folds import Fold
from neuronedit.ensemble._stacking import fit_weights, mean_and_error, score_candidates, stack
from neuronedit.metrics import energy_distance


def population(seed, n=150, d=3, location=0.0):
    return torch.from_numpy((location + np.random.default_rng(seed).normal(size=(n, d))).astype(np.float32))


def fold(i, change, shifts, weight):
    """A fold whose cells move by ``change``; the candidates predict ``shifts``."""
    query, truth = population(2 * i), population(2 * i + 1) + change
    predicted = torch.stack([query + shift for shift in shifts])
    return Fold(str(i), weight, query, truth, predicted, float(energy(query, truth)))


def test_energy_is_the_metric():
    x, y = population(0), population(1, n=90, location=1)
    assert float(energy(x, y)) == pytest.approx(energy_distance(x.numpy(), y.numpy()), abs=1e-5)


def test_scores_are_shares_of_the_gap():
    folds = [fold(i, 3.0, [0.0, 3.0, -3.0], 0.25) for i in range(4)]
    scores = score_candidates(folds)
    assert scores.shape == (3, 4)
    np.testing.assert_allclose(scores[0], 0, atol=1e-6)
    assert (scores[1] > 0.95).all() and (scores[2] == -1).all()


def test_the_right_candidate_gets_the_weight():
    folds = [fold(i, 3.0, [0.0, 3.0, -3.0], 0.25) for i in range(4)]
    weights = fit_weights(folds)
    assert weights.sum() == pytest.approx(1) and (weights >= 0).all()
    assert weights[1] > 0.9
    stacked = stack(folds)
    assert stacked.strength == 1 and (stacked.scores > 0.9).all() and np.abs(stacked.errors).max() < 0.6


def test_two_that_err_to_either_side_are_mixed():
    weights = fit_weights([fold(i, 3.0, [0.0, 1.0, 5.0], 0.25) for i in range(4)])
    assert float(weights @ torch.tensor([0.0, 1.0, 5.0])) == pytest.approx(3, abs=0.3)


def test_cells_are_left_alone_where_the_change_differs_from_fold_to_fold():
    changes = [3.0, -3.0, 3.0, -3.0]
    folds = [fold(i, change, [0.0, -change], 0.25) for i, change in enumerate(changes)]
    stacked = stack(folds)
    assert stacked.strength == 0 or stacked.weights[0] > 0.99
    np.testing.assert_allclose(stacked.scores, 0, atol=0.05)


def test_a_fold_of_little_weight_does_not_decide():
    folds = [fold(0, 3.0, [3.0, -3.0], 0.98), fold(1, -3.0, [3.0, -3.0], 0.02)]
    assert fit_weights(folds)[0] > 0.8


def test_the_error_of_equal_weights_is_the_standard_error():
    values = np.random.default_rng(0).normal(size=8)
    mean, error = mean_and_error(values, np.full(8, 1 / 8))
    assert mean == pytest.approx(values.mean()) and error == pytest.approx(values.std(ddof=1) / np.sqrt(8))


def test_it_is_deterministic_and_touches_no_global_state():
    folds = [fold(i, 3.0, [0.0, 2.0, 3.0], 0.25) for i in range(4)]
    state = torch.get_rng_state()
    with torch.no_grad():
        first, second = fit_weights(folds), fit_weights(folds)
    assert torch.equal(first, second) and torch.equal(state, torch.get_rng_state()) and torch.is_grad_enabled()
