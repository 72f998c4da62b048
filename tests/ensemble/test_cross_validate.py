"""Cross-validation on planted strata: a change that generalizes is applied, any other is not."""

import numpy as np
import pytest
import torch

from neuronedit.ensemble import CANDIDATES, FoldKind, cross_validate
from neuronedit.metrics import energy_distance, gap_closed
from neuronedit.spaces import Identity

FEW = {
    name: CANDIDATES[name]
    for name in ("identity", "mean_shift", "quantile", "shift_by_strata", "mean_shift_offset_0.5")
}


def strata(changes, n=150, d=4, seed=0, apart=6.0):
    """Source and target cells of several strata at places of their own, each with its change."""
    generator = np.random.default_rng(seed)
    source, target, labels = [], [], []
    for i, change in enumerate(changes):
        place = apart * np.random.default_rng(i).normal(size=d)
        source.append(place + generator.normal(size=(n, d)))
        target.append(place + np.asarray(change) + generator.normal(size=(n, d)))
        labels += [f"kind {i}"] * n
    source, target = (torch.from_numpy(np.concatenate(x).astype(np.float32)) for x in (source, target))
    return source, target, np.array(labels)


def fit_and_apply(source, target, query, labels=None, **options):
    with torch.no_grad():
        ensemble = cross_validate(Identity(n_features=source.shape[1]), source, target, query, labels, **options)
        return ensemble, ensemble.fit(ensemble.populations)(query)


VECTOR = np.array([2.0, -1.0, 0.0, 3.0])


@pytest.mark.parametrize("given", [True, False])
def test_a_change_that_generalizes_is_applied(given):
    source, target, labels = strata([VECTOR] * 5)
    query = strata([VECTOR], seed=9)[0] + 3
    ensemble, moved = fit_and_apply(source, target, query, (labels, labels) if given else None, candidates=FEW)
    assert ensemble.fold_kind == (FoldKind.STRATA if given else FoldKind.DERIVED)
    assert ensemble.strength == 1 and ensemble.expected > 0.8
    torch.testing.assert_close(
        moved.mean(0) - query.mean(0), torch.tensor(VECTOR, dtype=torch.float32), rtol=0, atol=0.5
    )


def test_what_differs_from_stratum_to_stratum_is_left_alone():
    generator = np.random.default_rng(3)
    source, target, labels = strata([4 * generator.normal(size=4) for _ in range(8)], apart=30)
    query = torch.from_numpy(generator.normal(200, 1, size=(100, 4)).astype(np.float32))
    ensemble, moved = fit_and_apply(source, target, query, (labels, labels), candidates=FEW)
    assert (moved - query).abs().mean() < 0.5 and ensemble.expected < 0.2


def test_an_offset_that_batches_share_is_used():
    """Strata are samples that lie off by an amount of their own, which the change takes away."""
    generator = np.random.default_rng(0)
    source, target, labels = [], [], []
    for donor in range(6):
        own, cells = 3 * generator.normal(size=4), generator.normal(size=(150, 4))
        source.append(cells + own)
        target.append(generator.normal(size=(150, 4)) + VECTOR)
        labels += [f"donor {donor}"] * 150
    source, target = (torch.from_numpy(np.concatenate(x).astype(np.float32)) for x in (source, target))
    labels = np.array(labels)
    query = torch.from_numpy((generator.normal(size=(150, 4)) + 3).astype(np.float32))
    ensemble, moved = fit_and_apply(source, target, query, (labels, labels), candidates=FEW)
    weights = dict(zip(ensemble.candidates, ensemble.weights, strict=True))
    assert weights["mean_shift_offset_0.5"] == max(weights.values())
    truth = generator.normal(size=(150, 4)) + VECTOR
    assert gap_closed(energy_distance, query.numpy(), truth, moved.numpy()) > 0.3


def test_too_few_cells_for_folds_get_equal_weights():
    source, target, _ = strata([VECTOR], n=15)
    ensemble, moved = fit_and_apply(source, target, source[:5])
    assert ensemble.fold_kind == FoldKind.NONE and ensemble.folds == [] and np.isnan(ensemble.expected)
    assert ensemble.weights.sum() == pytest.approx(1) and torch.isfinite(moved).all()
    assert ensemble.held_out_error().shape == ensemble.wrong_direction.shape == (4,)
    assert np.isnan(ensemble.held_out_error()).all() and not ensemble.wrong_direction.any()


def test_the_held_out_error_of_a_feature_is_the_root_mean_square_over_folds():
    source, target, labels = strata([VECTOR] * 4)
    ensemble, _ = fit_and_apply(source, target, source[:50], (labels, labels), candidates=FEW)
    assert ensemble.errors.shape == (4, 4) and ensemble.wrong_direction.shape == (4,)
    expected = [np.sqrt(np.average(errors**2, weights=ensemble.fold_weights)) for errors in ensemble.errors.T]
    np.testing.assert_allclose(ensemble.held_out_error(), expected)


def test_strata_of_one_side_or_few_cells_are_no_folds():
    source, target, labels = strata([VECTOR] * 4)
    after = np.where(labels == "kind 3", "kind 2", labels)
    ensemble, _ = fit_and_apply(source, target, source[:50], (labels, after), candidates=FEW)
    assert ensemble.folds == ["kind 0", "kind 1", "kind 2"]


def test_it_goes_no_further_than_the_share_of_the_query_that_resembles_a_fold():
    """The query is of a kind that is in the source but not in the target: nothing tells how it moves."""
    source, target, labels = strata([VECTOR] * 4, apart=30)
    known = labels != "kind 3"
    after = torch.from_numpy(known)
    query = source[~after]
    ensemble, moved = fit_and_apply(source, target[after], query, (labels, labels[known]), candidates=FEW)
    assert ensemble.coverage < 0.05 and ensemble.strength < 0.05 and (moved - query).abs().mean() < 0.2


def test_it_is_deterministic_and_touches_no_global_state():
    source, target, labels = strata([VECTOR] * 4)
    state = torch.get_rng_state()
    first, second = (fit_and_apply(source, target, source[:50], (labels, labels), candidates=FEW)[1] for _ in range(2))
    assert torch.equal(first, second) and torch.equal(state, torch.get_rng_state())


def test_every_candidate_runs_on_constant_features():
    source, target, labels = strata([VECTOR] * 3, n=60)
    source[:, 0] = target[:, 0] = 1
    ensemble, moved = fit_and_apply(source, target, source[:50], (labels, labels))
    assert np.isfinite(ensemble.scores).all() and torch.isfinite(moved).all()


def test_repr_is_a_line_and_names_only_candidates_with_weight():
    source, target, labels = strata([[2.0, 0, 0, 0]] * 3)
    ensemble, _ = fit_and_apply(source, target, source[:100] + 1, (labels, labels))
    text = repr(ensemble)
    assert text.startswith("Ensemble(strata: ") and "expected=" in text and "3 folds" in text
    assert "\n" not in text and len(text) < 200 and " 0.00" not in text
