"""The weights, the scores and the expectation, on predictions whose worth is known."""

import numpy as np
import pytest
import torch

from neuronedit._energy import energy
from neuronedit.ensemble import _stacking
from neuronedit.ensemble._folds import Fold
from neuronedit.ensemble._stacking import expect, find_slopes, fit_weights, gap_scales, score_candidates, stack
from neuronedit.metrics import energy_distance

EQUAL = np.full(3, 1 / 3)


def population(seed, n=150, d=3, location=0.0):
    return torch.from_numpy((location + np.random.default_rng(seed).normal(size=(n, d))).astype(np.float32))


def fold(i, change, shifts, weight=0.25, *, is_half=False, n=150):
    """A fold whose cells move by ``change``; the candidates predict ``shifts``."""
    query, truth = population(2 * i, n), population(2 * i + 1, n) + change
    predicted = torch.stack([query + shift for shift in shifts])
    return Fold(str(i), weight, query, truth, predicted, float(energy(query, truth)), is_half)


def weights_of(folds, prior=EQUAL, shrinkage=0.03):
    return fit_weights(folds, prior, shrinkage).softmax(0).numpy()


def divergence(weights, prior=EQUAL):
    """Kullback-Leibler divergence of the weights from the prior."""
    return float((weights * np.log(np.maximum(weights, 1e-12) / prior)).sum())


def test_energy_is_the_metric():
    x, y = population(0), population(1, n=90, location=1)
    assert float(energy(x, y)) == pytest.approx(energy_distance(x.numpy(), y.numpy()), abs=1e-5)


@pytest.mark.parametrize(("n", "n_truth", "d"), [(60, 90, 3), (20, 20, 200), (2, 5, 1), (1, 5, 2)])
def test_what_is_descended_has_the_gradient_of_the_energy_distance(n, n_truth, d):
    x, truth = population(0, n, d).requires_grad_(), population(1, n_truth, d, location=1)
    within = torch.pdist(x).mean() if n > 1 else 0.0
    [wanted] = torch.autograd.grad(2 * torch.cdist(x, truth).mean() - within, x)
    torch.testing.assert_close(find_slopes(x.detach(), truth), wanted, rtol=1e-4, atol=1e-6)


def test_cells_that_are_all_one_point_have_no_gradient():
    """As where a fold has no signal at all: its weights stay as they were, and finite."""
    point = torch.full((40, 3), 2.0)
    assert torch.equal(find_slopes(point, point), torch.zeros(40, 3))
    silent = Fold("0", 0.5, point, point, point.expand(3, 40, 3), 0.0)
    alone, beside = weights_of([silent, silent]), weights_of([silent, fold(0, 3.0, [0.0, 3.0, -3.0], 0.5)])
    np.testing.assert_allclose(alone, EQUAL, atol=1e-6)
    assert np.isfinite(beside).all() and beside.argmax() == 1


# scores


def test_scores_are_shares_of_the_gap():
    folds = [fold(i, 3.0, [0.0, 3.0, -3.0]) for i in range(4)]
    scores = score_candidates(folds)
    assert scores.shape == (3, 4)
    np.testing.assert_allclose(scores[0], 0, atol=1e-6)
    assert (scores[1] > 0.95).all() and (scores[2] == -1).all()


def test_a_low_gap_counts_as_half_the_mean_gap():
    folds = [fold(0, 3.0, [0.0]), fold(1, 3.0, [0.0]), fold(2, 0.0, [0.0]), fold(3, 0.5, [0.0])]
    gaps = np.array([one.gap for one in folds])
    half = np.maximum(gaps, 0).mean() / 2
    assert gaps[3] < half < gaps[0]
    np.testing.assert_allclose(gap_scales(folds), [gaps[0], gaps[1], half, half])
    assert (gap_scales([fold(0, 0.0, [0.0])]) > 0).all()


# weights


def test_weights_move_to_the_candidate_that_is_better_in_many_folds():
    for n_folds, prior in ((4, EQUAL), (8, EQUAL), (8, np.array([0.6, 0.1, 0.3]))):
        weights = weights_of([fold(i, 3.0, [0.0, 3.0, -3.0], 1 / n_folds) for i in range(n_folds)], prior)
        assert weights.sum() == pytest.approx(1) and (weights >= 0).all()
        assert weights[1] > 0.9


def test_two_that_err_to_either_side_are_mixed():
    weights = weights_of([fold(i, 3.0, [0.0, 1.0, 5.0]) for i in range(4)])
    assert float(weights @ [0.0, 1.0, 5.0]) == pytest.approx(3, abs=0.3)


def test_weights_stay_at_the_prior_where_few_noisy_folds_tell_little():
    """Two folds, of which each prefers another candidate a little, as chance has it."""
    prior = np.array([0.7, 0.2, 0.1])
    noisy = [fold(0, 1.0, [0.9, 1.2, 0.8], 0.5, n=40), fold(1, 1.0, [1.1, 0.8, 1.2], 0.5, n=40)]
    for shrinkage, tolerance in ((0.3, 0.1), (1.0, 0.05)):
        np.testing.assert_allclose(weights_of(noisy, prior, shrinkage), prior, atol=tolerance)


def test_weights_stay_at_the_prior_where_the_shrinkage_is_large():
    prior = np.array([0.7, 0.2, 0.1])
    folds = [fold(i, 3.0, [0.0, 3.0, -3.0]) for i in range(4)]
    np.testing.assert_allclose(weights_of(folds, prior, 1e3), prior, atol=0.01)


def test_the_more_shrinkage_and_the_fewer_folds_the_nearer_to_the_prior():
    def learned(n_folds, shrinkage):
        return divergence(
            weights_of([fold(i, 3.0, [1.0, 2.0, 0.0], 1 / n_folds) for i in range(n_folds)], EQUAL, shrinkage)
        )

    by_shrinkage = [learned(4, shrinkage) for shrinkage in (0.03, 0.3, 1.0, 3.0, 30.0)]
    assert by_shrinkage == sorted(by_shrinkage, reverse=True) and by_shrinkage[0] > 10 * by_shrinkage[-1]
    by_folds = [learned(n_folds, 1.0) for n_folds in (1, 2, 4, 8)]
    assert by_folds == sorted(by_folds)


def test_folds_of_unequal_weight_are_worth_fewer():
    """A thousand folds of no weight beside one do not make its word count more."""
    shifts = [1.0, 2.0, 0.0]
    one = divergence(weights_of([fold(0, 3.0, shifts, 1.0)], shrinkage=1.0))
    beside = divergence(weights_of([fold(0, 3.0, shifts, 0.999), fold(1, 3.0, shifts, 0.001)], shrinkage=1.0))
    equal = divergence(weights_of([fold(0, 3.0, shifts, 0.5), fold(1, 3.0, shifts, 0.5)], shrinkage=1.0))
    assert beside == pytest.approx(one, rel=0.05) and equal > 1.1 * one


def test_without_folds_the_weights_are_the_prior():
    prior = np.array([0.7, 0.2, 0.1])
    np.testing.assert_allclose(weights_of([], prior), prior, atol=1e-6)
    zero = np.array([0.5, 0.5, 0.0])
    np.testing.assert_allclose(weights_of([], zero), zero, atol=1e-6)


def test_a_fold_of_little_weight_does_not_decide():
    folds = [fold(0, 3.0, [3.0, -3.0], 0.98), fold(1, -3.0, [3.0, -3.0], 0.02)]
    assert weights_of(folds, np.full(2, 0.5))[0] > 0.8


def test_hundreds_of_folds_count_together():
    folds = [fold(i % 5, 3.0, [0.0, 3.0, -3.0], 1 / 300, n=20) for i in range(300)]
    assert weights_of(folds)[1] > 0.9


def test_a_fold_without_a_change_of_its_own_cannot_decide(monkeypatch):
    """The first candidate is right in three folds, and moves cells a little where the truth hardly does."""
    folds = [fold(i, 3.0, [3.0, 2.2]) for i in range(3)]
    query = population(6)
    truth = query + 0.05
    folds.append(Fold("3", 0.25, query, truth, torch.stack([query + 0.4, query + 0.05]), float(energy(query, truth))))
    assert weights_of(folds, np.full(2, 0.5))[0] > 0.7
    monkeypatch.setattr(_stacking, "MIN_RELATIVE_GAP", 0.001)
    assert weights_of(folds, np.full(2, 0.5))[0] < 0.2


def test_weights_are_deterministic_and_touch_no_global_state():
    folds = [fold(i, 3.0, [0.0, 2.0, 3.0]) for i in range(4)]
    state = torch.get_rng_state()
    with torch.no_grad():
        first, second = (fit_weights(folds, EQUAL, 0.03) for _ in range(2))
        assert not torch.is_grad_enabled()
    assert torch.equal(first, second) and torch.equal(state, torch.get_rng_state()) and not first.requires_grad


# the stack


def test_the_stack_predicts_what_generalizes():
    folds = [fold(i, 3.0, [0.0, 3.0, -3.0]) for i in range(4)]
    stacked = stack(folds, EQUAL, 0.03)
    assert stacked.weights[1] > 0.9 and stacked.weights.sum() == pytest.approx(1)
    assert (stacked.scores > 0.9).all() and np.abs(stacked.errors).max() < 0.6 and not stacked.wrong_direction.any()


def test_each_fold_is_scored_with_weights_of_the_others():
    """One fold moves the other way: weights that had seen it would do less harm there than those of the others."""
    changes = [3.0, 3.0, 3.0, 3.0, -3.0]
    folds = [fold(i, change, [3.0, -3.0], 0.2) for i, change in enumerate(changes)]
    stacked = stack(folds, np.full(2, 0.5), 0.03)
    assert (stacked.scores[:4] > 0.5).all() and stacked.scores[4] == -1
    without = weights_of(folds[:4], np.full(2, 0.5))
    moved = (stacked.weights @ [3.0, -3.0], without @ [3.0, -3.0])
    np.testing.assert_allclose(-3 - stacked.errors[4], moved[1], atol=0.4)  # the mean of the truth less the error
    assert moved[1] > moved[0] and stacked.wrong_direction[4].all() and not stacked.wrong_direction[:4].any()


def test_halves_are_scored_and_do_not_influence_the_weights():
    folds = [fold(i, 3.0, [0.0, 3.0, -3.0], 0.1) for i in range(4)]
    halves = [fold(i, -3.0, [0.0, 3.0, -3.0], 0.3, is_half=True) for i in (4, 5)]
    stacked, alone = stack([*folds, *halves], EQUAL, 0.3), stack(folds, EQUAL, 0.3)
    np.testing.assert_array_equal(stacked.weights, alone.weights)
    np.testing.assert_allclose(stacked.scores[:4], alone.scores, atol=1e-6)
    assert (stacked.scores[4:] == -1).all() and stacked.errors.shape == (6, 3)


def test_cells_go_as_far_as_the_strength_says():
    folds = [fold(i, 3.0, [0.0, 3.0, -3.0]) for i in range(4)]
    whole, half, none = (stack(folds, EQUAL, 0.03, strength) for strength in (1.0, 0.5, 0.0))
    np.testing.assert_array_equal(half.weights, whole.weights)
    changes = np.array([(one.truth.mean(0) - one.query.mean(0)).numpy() for one in folds])
    np.testing.assert_allclose(none.errors, changes, atol=1e-5)
    np.testing.assert_allclose(none.scores, 0, atol=1e-6)
    np.testing.assert_allclose(half.errors, (whole.errors + none.errors) / 2, atol=1e-4)
    assert (none.scores < half.scores).all() and (half.scores < whole.scores).all()


def test_a_mean_within_its_error_is_not_in_the_wrong_direction():
    """Cells that do not change, and an edit that moves them by less than two standard errors of 30 cells: 0.36 each."""
    folds = [fold(i, 0.0, [0.3, 0.3], n=30) for i in range(4)]
    assert not stack(folds, np.full(2, 0.5), 1.0).wrong_direction.any()
    folds = [fold(i, 0.0, [1.5, 1.5], n=30) for i in range(4)]
    assert stack(folds, np.full(2, 0.5), 1.0).wrong_direction.all()


# what to expect


def test_the_expectation_of_equal_folds_is_the_mean_and_its_standard_error():
    folds = [fold(0, 3.0, [0.0], 1 / 8)] * 8
    scores = np.random.default_rng(0).uniform(0.2, 0.9, size=8)
    mean, error = expect(folds, scores)
    assert mean == pytest.approx(scores.mean()) and error == pytest.approx(scores.std(ddof=1) / np.sqrt(8))


def test_folds_count_by_their_weight():
    folds = [fold(0, 3.0, [0.0], weight) for weight in (0.6, 0.3, 0.1)]
    assert expect(folds, np.array([0.9, 0.5, 0.0]))[0] == pytest.approx(0.69)
    assert expect(folds, np.full(3, 0.4)) == pytest.approx((0.4, 0.0), abs=1e-6)


def test_what_cannot_be_closed_is_not_expected_to_be():
    """A fold with a low gap is scored as if it were larger: as its score cannot reach 1, it is not asked to."""
    folds = [fold(0, 3.0, [0.0]), fold(1, 3.0, [0.0]), fold(2, 3.0, [0.0]), fold(3, 0.5, [0.0])]
    perfect = np.array([one.gap for one in folds]) / gap_scales(folds)
    assert perfect[3] < 0.5 and (perfect[:3] == 1).all()
    assert expect(folds, perfect)[0] == pytest.approx(1)
    assert expect(folds, perfect / 2)[0] == pytest.approx(0.5)
    unchanged = [fold(i, 0.0, [0.0]) for i in range(4)]  # nothing changes anywhere
    assert np.isfinite(expect(unchanged, np.zeros(4))).all()


def test_the_expectation_is_between_minus_1_and_1():
    folds = [fold(0, 3.0, [0.0]), fold(1, 0.5, [0.0]), fold(2, 0.5, [0.0]), fold(3, 0.5, [0.0])]
    assert expect(folds, np.full(4, -1.0))[0] == -1
    assert expect(folds, np.full(4, 1.0))[0] <= 1
