"""The weights, the strength and the expectation, on predictions whose worth is known."""

import numpy as np
import pytest
import torch

from neuronedit.ensemble._stacking import Fold, combine, energy, fit, scores, spread
from neuronedit.metrics import energy_distance


def draw(seed, n=150, d=3, location=0.0):
    return torch.from_numpy((location + np.random.default_rng(seed).normal(size=(n, d))).astype(np.float32))


def part(i, change, shifts, weight):
    """A part whose cells move by ``change``; the candidates predict ``shifts``."""
    query, truth = draw(2 * i), draw(2 * i + 1) + change
    predicted = torch.stack([query + shift for shift in shifts])
    return Fold(str(i), weight, query, truth, predicted, float(energy(query, truth)))


def test_energy_is_the_metric():
    x, y = draw(0), draw(1, n=90, location=1)
    assert float(energy(x, y)) == pytest.approx(energy_distance(x.numpy(), y.numpy()), abs=1e-5)


def test_scores_are_shares_of_the_gap():
    parts = [part(i, 3.0, [0.0, 3.0, -3.0], 0.25) for i in range(4)]
    found = scores(parts)
    assert found.shape == (3, 4)
    np.testing.assert_allclose(found[0], 0, atol=1e-6)
    assert (found[1] > 0.95).all() and (found[2] == -1).all()


def test_the_right_candidate_gets_the_weight():
    parts = [part(i, 3.0, [0.0, 3.0, -3.0], 0.25) for i in range(4)]
    weights = fit(parts)
    assert weights.sum() == pytest.approx(1) and (weights >= 0).all()
    assert weights[1] > 0.9
    best = combine(parts)
    assert best.strength == 1 and (best.scores > 0.9).all() and np.abs(best.errors).max() < 0.6


def test_two_that_err_to_either_side_are_mixed():
    weights = fit([part(i, 3.0, [0.0, 1.0, 5.0], 0.25) for i in range(4)])
    assert float(weights @ torch.tensor([0.0, 1.0, 5.0])) == pytest.approx(3, abs=0.3)


def test_cells_are_left_alone_where_the_change_differs_from_part_to_part():
    changes = [3.0, -3.0, 3.0, -3.0]
    parts = [part(i, change, [0.0, -change], 0.25) for i, change in enumerate(changes)]
    best = combine(parts)
    assert best.strength == 0 or best.weights[0] > 0.99
    np.testing.assert_allclose(best.scores, 0, atol=0.05)


def test_a_part_of_little_weight_does_not_decide():
    parts = [part(0, 3.0, [3.0, -3.0], 0.98), part(1, -3.0, [3.0, -3.0], 0.02)]
    assert fit(parts)[0] > 0.8


def test_spread_of_equal_weights_is_the_standard_error():
    values = np.random.default_rng(0).normal(size=8)
    mean, error = spread(values, np.full(8, 1 / 8))
    assert mean == pytest.approx(values.mean()) and error == pytest.approx(values.std(ddof=1) / np.sqrt(8))


def test_it_is_deterministic_and_touches_no_global_state():
    parts = [part(i, 3.0, [0.0, 2.0, 3.0], 0.25) for i in range(4)]
    state = torch.get_rng_state()
    with torch.no_grad():
        first, second = fit(parts), fit(parts)
    assert torch.equal(first, second) and torch.equal(state, torch.get_rng_state()) and torch.is_grad_enabled()
