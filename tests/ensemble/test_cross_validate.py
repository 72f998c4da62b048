"""Cross-validation on planted strata: a change that generalizes is applied, and composition is not taken for a change."""

import numpy as np
import pytest
import torch

from neuronedit.edits import percentile
from neuronedit.ensemble import CANDIDATES, FoldKind, cross_validate
from neuronedit.ensemble._candidates import expect_weights
from neuronedit.ensemble._cross_validate import INTERVAL_FLOOR, INTERVAL_Z, MIN_WEIGHT, UNTESTED_STRENGTH, shrink
from neuronedit.ensemble._matching import combine_differences
from neuronedit.metrics import energy_distance, gap_closed
from neuronedit.spaces import Identity

FEW = {
    name: CANDIDATES[name] for name in ("identity", "mean_shift", "quantile", "shift_by_strata", "mean_shift_offset")
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
    error = (moved.mean(0) - query.mean(0)).numpy() - VECTOR
    assert np.abs(error).max() < (0.5 if given else 0.6)


def test_what_differs_from_stratum_to_stratum_is_not_expected_to_generalize():
    generator = np.random.default_rng(3)
    source, target, labels = strata([4 * generator.normal(size=4) for _ in range(8)], apart=30)
    query = torch.from_numpy(generator.normal(200, 1, size=(100, 4)).astype(np.float32))
    for cells in (query, source[:100]):
        ensemble, _ = fit_and_apply(source, target, cells, (labels, labels), candidates=FEW)
        assert ensemble.expected < 0.2 and ensemble.expected_low < 0


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
    assert weights["mean_shift_offset"] == max(weights.values())
    truth = generator.normal(size=(150, 4)) + VECTOR
    assert gap_closed(energy_distance, query.numpy(), truth, moved.numpy()) > 0.3


def test_with_too_few_cells_for_folds_the_weights_are_those_that_are_expected():
    source, target, _ = strata([VECTOR], n=15)
    ensemble, moved = fit_and_apply(source, target, source[:5])
    assert ensemble.fold_kind == FoldKind.NONE and ensemble.folds == [] and np.isnan(ensemble.expected)
    np.testing.assert_allclose(ensemble.prior, expect_weights(CANDIDATES, differs=0.0, n_cells=0))
    np.testing.assert_allclose(ensemble.weights, ensemble.prior)
    assert ensemble.strength == 1 and ensemble.matching is None and np.isnan(ensemble.expected_low)
    torch.testing.assert_close(moved - source[:5], (target.mean(0) - source.mean(0)).expand(5, -1), rtol=0, atol=0.6)
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


def test_cells_that_resemble_no_fold_go_a_quarter_of_the_way():
    """Of the query's kind there are too few cells in source and target to hold them out."""
    source, target, labels = strata([VECTOR] * 4, apart=30)
    n_known = 3 * 150 + 15
    labels = labels[:n_known]
    source, target, query = source[:n_known], target[:n_known], source[n_known:]
    ensemble, moved = fit_and_apply(source, target, query, (labels, labels), candidates=FEW)
    assert ensemble.folds == ["kind 0", "kind 1", "kind 2"]
    assert ensemble.coverage < 0.05 and ensemble.strength == pytest.approx(UNTESTED_STRENGTH, abs=0.05)
    np.testing.assert_allclose((moved - query).mean(0), UNTESTED_STRENGTH * VECTOR, atol=0.2)
    # half of them resemble one
    both = torch.cat([query, source[: len(query)]])
    ensemble, _ = fit_and_apply(source, target, both, (labels, labels), candidates=FEW)
    assert ensemble.coverage == pytest.approx(0.5, abs=0.1)
    assert ensemble.strength == pytest.approx(ensemble.coverage + (1 - ensemble.coverage) * UNTESTED_STRENGTH)


def test_the_interval_is_about_the_expectation_and_as_wide_as_folds_differ():
    source, target, labels = strata([VECTOR] * 4)
    alike, _ = fit_and_apply(source, target, source, (labels, labels), candidates=FEW)
    changes = [VECTOR, -VECTOR, VECTOR, 2 * VECTOR]
    source, target, labels = strata(changes)
    different, _ = fit_and_apply(source, target, source, (labels, labels), candidates=FEW)
    for ensemble in (alike, different):
        width = INTERVAL_Z * np.hypot(ensemble.expected_se, INTERVAL_FLOOR)
        assert ensemble.expected - ensemble.expected_low == pytest.approx(width)
        assert ensemble.expected_high == pytest.approx(min(ensemble.expected + width, 1))  # more cannot be closed
    assert different.expected_high < 1 == alike.expected_high
    assert alike.expected - alike.expected_low < 0.2 < different.expected - different.expected_low
    assert different.expected < 0.5 < alike.expected


def test_less_is_expected_the_further_the_query_is_beyond_all_folds():
    source, target, labels = strata([VECTOR] * 4)
    near, far, further = (
        fit_and_apply(source, target, source[:100] + shift, (labels, labels), candidates=FEW)[0]
        for shift in (0, 60, 600)
    )
    assert near.familiarity == 1 and 1 > far.familiarity > further.familiarity > 0
    assert near.expected > 0.8 and further.expected < far.expected < 0.5
    assert further.expected <= further.familiarity


# more of the same cells


def test_weights_are_drawn_to_the_prior_the_more_the_query_is_more_of_the_same_cells():
    drawn = [shrink(0.3, same_cells) for same_cells in (0.0, 0.2, 0.5, 0.7, 1.0)]
    assert drawn[0] == 0.3 and np.all(np.diff(drawn[:4]) > 0) and drawn[3] == drawn[4] < 5


@pytest.mark.parametrize("of_same_cells", [True, False])
def test_folds_of_other_kinds_say_little_of_the_same_cells(of_same_cells, monkeypatch):
    """Each kind moves otherwise, so that none tells how the others move."""
    source, target, _ = strata([VECTOR, -VECTOR, 2 * VECTOR, 0 * VECTOR, VECTOR, -2 * VECTOR], n=200)
    query = source + 0.1 if of_same_cells else strata([0 * VECTOR] * 2, n=200, seed=10)[0][200:]  # kind 1
    ensemble, _ = fit_and_apply(source, target, query)
    monkeypatch.setattr("neuronedit.ensemble._cross_validate.count_same_cells", lambda *_: 0.0)
    as_others, _ = fit_and_apply(source, target, query)
    apart, apart_as_others = (np.abs(one.weights - one.prior).sum() for one in (ensemble, as_others))
    if of_same_cells:
        assert ensemble.query_variation < 0.1 and apart < 0.7 * apart_as_others
    else:
        assert ensemble.query_variation > 0.7 and apart > 0.9 * apart_as_others


def test_strata_that_are_named_are_folds_like_the_query():
    """Without halves nothing is known of more of the same cells, so the weights are those of the strata."""
    source, target, labels = strata([VECTOR] * 5)
    prior = expect_weights(CANDIDATES, differs=None, n_cells=len(source))
    ensemble, _ = fit_and_apply(source, target, source, (labels, labels))
    np.testing.assert_allclose(ensemble.prior, prior)
    assert np.abs(ensemble.weights - prior).sum() > 0.1


# composition


@pytest.mark.parametrize("change", ["alike", "own"])
@pytest.mark.parametrize("side", ["of_source", "of_target"])
@pytest.mark.parametrize("given", [True, False])
def test_composition_is_not_taken_for_a_change(plant, change, side, given):
    """With strata, the edit of the same cells moves by a fifth of the change at most; without, by three tenths; percentiles far more."""
    query = plant(change, n=200, seed=1, seed_of_cells=9).source
    moved, by_percentile = [], []
    for variation in (0.0, 0.4):
        planted = plant(change, n=600, seed=1, seed_of_cells=2, **{side: variation})
        strata = planted.strata if given else None
        moved.append(fit_and_apply(planted.source, planted.target, query, strata)[1])
        by_percentile.append(percentile(planted.source, planted.target)(query))
    difference, of_percentiles = (
        float((after - before).abs().mean()) / planted.size for before, after in (moved, by_percentile)
    )
    assert difference < (0.2 if given else 0.3) and of_percentiles > max(0.5, 2.5 * difference)


@pytest.mark.parametrize("given", [True, False])
def test_the_truth_is_predicted_whatever_the_composition(plant, given):
    """Each cell of the source has a truth of its own: itself, and the shift of its kind."""
    for variation in (0.0, 0.4):
        planted = plant("own", n=600, of_target=variation)
        truth = planted.source.numpy() + planted.shifts[planted.source_kinds]
        strata = planted.strata if given else None
        _, moved = fit_and_apply(planted.source, planted.target, planted.source, strata)
        assert gap_closed(energy_distance, planted.source.numpy(), truth, moved.numpy()) > 0.85


def test_what_is_expected_follows_the_composition_that_is_said(plant):
    planted = plant(n=500, of_target=0.4)
    ensembles = {
        composition: fit_and_apply(planted.source, planted.target, planted.source, composition=composition)[0]
        for composition in ("same", "different", "auto")
    }
    of_target = {"same": 0.0, "different": 1.0, "auto": ensembles["auto"].matching.differs}
    for composition, ensemble in ensembles.items():
        differs = combine_differences(of_target[composition], ensemble.query_variation)
        prior = expect_weights(CANDIDATES, differs=differs, n_cells=500)
        np.testing.assert_allclose(ensemble.prior, prior)
        assert ensemble.fold_kind == FoldKind.DERIVED
        np.testing.assert_array_equal(ensemble.matching.source_labels, ensembles["auto"].matching.source_labels)
    within = [name.endswith("_by_strata") for name in CANDIDATES]
    shares = [ensembles[composition].weights[within].sum() for composition in ("same", "different")]
    assert shares[0] < 0.35 < 0.6 < shares[1]


@pytest.mark.parametrize(("seed", "composition"), [(0, "auto"), (1, "auto"), (2, "auto"), (0, "same")])
def test_a_query_of_one_kind_moves_as_its_kind_does(seed, composition, monkeypatch):
    """Half of the kinds do not move, and the others far. Source and target are composed alike, and the query is one of the first."""
    source, target, _ = strata([5 * VECTOR, 0 * VECTOR] * 3, n=200, seed=seed)
    query = strata([0 * VECTOR] * 2, n=200, seed=seed + 10)[0][200:]  # kind 1
    ensemble, moved = fit_and_apply(source, target, query, composition=composition)
    monkeypatch.setattr("neuronedit.ensemble._cross_validate.compare_query", lambda *_: 0.0)  # as all cells together
    of_all, moved_as_all = fit_and_apply(source, target, query, composition=composition)
    assert ensemble.matching.differs < 0.3 and ensemble.query_variation == pytest.approx(5 / 6, abs=0.05)
    within = [name.endswith("_by_strata") for name in CANDIDATES]
    assert ensemble.prior[within].sum() > 0.75 and of_all.prior[within].sum() < 0.35
    far = float((moved_as_all - query).abs().mean())
    assert far > 1 and float((moved - query).abs().mean()) < 0.75 * far


def test_composition_is_one_of_three():
    cells = torch.zeros(30, 2)
    with pytest.raises(ValueError, match="composition must be one of 'auto', 'same', 'different'; it is 'equal'"):
        cross_validate(Identity(n_features=2), cells, cells, cells, composition="equal")


def test_strata_say_more_than_composition():
    source, target, labels = strata([VECTOR] * 3, n=60)
    maps = [
        fit_and_apply(source, target, source, (labels, labels), candidates=FEW, composition=composition)
        for composition in ("same", "auto")
    ]
    assert torch.equal(maps[0][1], maps[1][1]) and maps[0][0].matching is None


# what must not matter


@pytest.mark.parametrize("names", ["uvwxyz", "zyxwvu", ["half 1", "Z", "population 1", "half", "y", "2"]], ids=str)
def test_what_strata_are_called_does_not_matter(plant, names):
    planted = plant("own", n=400, of_target=0.4)
    query, renamed = planted.source[:100], np.array(list(names))
    ensemble, moved = fit_and_apply(planted.source, planted.target, query, planted.strata)
    strata = renamed[planted.source_kinds], renamed[planted.target_kinds]
    other, moved_by_other = fit_and_apply(planted.source, planted.target, query, strata)
    torch.testing.assert_close(moved_by_other, moved, rtol=0, atol=1e-4)
    assert other.expected == pytest.approx(ensemble.expected, abs=1e-4) and sorted(other.folds) == sorted(
        set(strata[0])
    )


@pytest.mark.parametrize("given", [True, False])
@pytest.mark.parametrize("variation", [0.0, 0.4])
def test_the_order_of_cells_hardly_matters(plant, given, variation):
    """By a tenth of the change at most: which cells are drawn to balance strata, and to measure distances, depends on it."""
    planted, generator = plant("own", n=500, of_target=variation), np.random.default_rng(0)
    s, t = (generator.permutation(len(x)) for x in (planted.source, planted.target))
    in_order, permuted = planted.strata, (planted.strata[0][s], planted.strata[1][t])
    query = planted.source[:100]
    _, moved = fit_and_apply(planted.source, planted.target, query, in_order if given else None)
    _, other = fit_and_apply(planted.source[s], planted.target[t], query, permuted if given else None)
    assert float((other - moved).abs().mean()) < 0.1 * planted.size


def test_weights_sum_to_1_and_small_ones_are_dropped(plant):
    planted = plant(n=300)
    ensemble, _ = fit_and_apply(planted.source, planted.target, planted.source[:50])
    assert ensemble.weights.sum() == pytest.approx(1) and ensemble.prior.sum() == pytest.approx(1)
    assert (ensemble.weights[ensemble.weights > 0] >= MIN_WEIGHT).all()
    assert ensemble.fold_weights.sum() == pytest.approx(1) and len(ensemble.fold_weights) == len(ensemble.folds)


def test_it_is_deterministic_and_touches_no_global_state():
    source, target, labels = strata([VECTOR] * 4)
    state = torch.get_rng_state()
    first, second = (fit_and_apply(source, target, source[:50], (labels, labels), candidates=FEW)[1] for _ in range(2))
    assert torch.equal(first, second) and torch.equal(state, torch.get_rng_state())


def test_every_candidate_runs_on_constant_features():
    source, target, labels = strata([VECTOR] * 3, n=60)
    source[:, 0] = target[:, 0] = 1
    for given in ((labels, labels), None):
        ensemble, moved = fit_and_apply(source, target, source[:50], given, composition="different")
        assert np.isfinite(ensemble.scores).all() and torch.isfinite(moved).all()


def test_repr_is_a_line_and_names_only_candidates_with_weight():
    source, target, labels = strata([[2.0, 0, 0, 0]] * 3)
    ensemble, _ = fit_and_apply(source, target, source[:100] + 1, (labels, labels))
    text = repr(ensemble)
    assert text.startswith("Ensemble(strata: ") and "expected=" in text and "3 folds" in text
    assert "\n" not in text and len(text) < 200 and " 0.00" not in text


@pytest.mark.parametrize("labels", [None, np.repeat([0, 1], 150)])
def test_cells_of_double_precision_have_the_same_weights(labels):
    source = torch.randn(300, 4, generator=torch.Generator().manual_seed(0))
    cells, strata = (source, source * 1.5 + 1, source[:100] + 0.5), None if labels is None else (labels, labels)
    single, double = (
        cross_validate(Identity(n_features=4), *(x.to(dtype) for x in cells), strata)
        for dtype in (torch.float32, torch.float64)
    )
    np.testing.assert_allclose(double.weights, single.weights, atol=0.01)
    edited = double.fit(double.populations)(cells[2].double())
    assert edited.dtype == torch.float64 and edited.isfinite().all()
