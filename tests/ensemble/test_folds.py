"""Which cells are in which fold, and what each fold counts."""

import numpy as np
import pytest
import torch

from neuronedit.edits import Populations
from neuronedit.ensemble import match_populations
from neuronedit.ensemble._folds import (
    FoldCells,
    find_resembling,
    label_strata,
    make_folds,
    measure_novelty,
    weigh_folds,
)


def cells(n=400, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(n, 6)).astype(np.float32))


def matched_folds(planted, rng=0):
    matching = match_populations(planted.source, planted.target)
    populations = Populations(planted.source, planted.target, matching.source_labels, matching.target_labels)
    return matching, make_folds(populations, None, matching, rng)


def test_strata_are_folds_under_their_names():
    source, target = np.array(list("bba")), np.array(list("abc"))
    populations = Populations(torch.zeros(3, 1), torch.zeros(3, 1), np.array([1, 1, 0]), np.array([0, 1, 2]))
    folds = make_folds(populations, (source, target), None, 0)
    assert [fold.name for fold in folds] == ["a", "b", "c"] and not any(fold.is_half for fold in folds)
    for fold in folds:
        np.testing.assert_array_equal(fold.source, source == fold.name)
        np.testing.assert_array_equal(fold.target, target == fold.name)


def test_a_stratum_may_be_called_half():
    labels = np.repeat(["half", "half 1", "population 1"], 30)
    populations = label_strata(cells(90), cells(90), (labels, labels))
    assert not any(fold.is_half for fold in make_folds(populations, (labels, labels), None, 0))


def test_strata_are_used_if_two_have_enough_cells():
    labels = np.repeat(["x", "y", "z"], [200, 190, 10])
    populations = label_strata(cells(), cells(seed=1), (labels, labels))
    np.testing.assert_array_equal(populations.source_strata, np.repeat([0, 1, 2], [200, 190, 10]))
    few = np.where(np.arange(400) < 19, "few", "others")
    assert label_strata(cells(), cells(), (few, few)) is None and label_strata(cells(), cells(), None) is None
    other = np.repeat(["v", "w"], 200)  # both are large, and neither is in source and target
    assert label_strata(cells(), cells(), (labels, other)) is None


def test_matched_populations_and_two_halves_are_folds(plant):
    planted = plant(of_target=0.2, apart=4)
    matching, folds = matched_folds(planted)
    populations, halves = folds[:-2], folds[-2:]
    assert [fold.name for fold in halves] == ["half 1", "half 2"] and all(fold.is_half for fold in halves)
    assert all(fold.name.startswith("population ") and not fold.is_half for fold in populations)
    for side, labels in (("source", matching.source_labels), ("target", matching.target_labels)):
        # populations of the first labeling, and halves, hold every cell once
        for parts in (populations, halves):
            np.testing.assert_array_equal(np.sum([getattr(fold, side) for fold in parts], axis=0), 1)
        sizes = [getattr(fold, side).sum() for fold in halves]
        assert abs(sizes[0] - sizes[1]) <= 1
        for fold in populations:
            np.testing.assert_array_equal(getattr(fold, side), labels[:, 0] == int(fold.name.split()[1]) - 1)


def test_halves_are_drawn_anew_with_another_seed(plant):
    planted = plant()
    first, again, other = (matched_folds(planted, rng)[1][-1].source for rng in (0, 0, 1))
    assert np.array_equal(first, again) and 0.4 < (first == other).mean() < 0.6


def test_one_population_is_no_fold(plant):
    assert matched_folds(plant(n=100))[1] == []


@pytest.mark.parametrize(("n_source", "n_target", "enough"), [(20, 20, True), (19, 20, False), (20, 19, False)])
def test_a_fold_needs_20_cells_and_20_others_before_and_after(n_source, n_target, enough):
    source, target = np.arange(60) < n_source, np.arange(50) < n_target
    assert FoldCells("a", source, target).has_enough() is enough
    assert FoldCells("all others", ~source, ~target).has_enough() is enough


def test_a_fold_of_some_of_the_cells():
    fold = FoldCells("a", np.arange(6) < 3, np.arange(4) < 1, is_half=True).subset(np.array([0, 4]), np.array([1]))
    assert fold.source.tolist() == [True, False] and fold.target.tolist() == [False] and fold.is_half


def test_novelty_grows_with_distance():
    source = cells()
    novelties = [measure_novelty(source + shift, source) for shift in (0.0, 2.0, 20.0)]
    assert novelties[0] < novelties[1] < novelties[2]


def test_a_cell_resembles_those_that_lie_nearest():
    reference = torch.cat([cells(300), cells(300, seed=1) + 50])
    nearest = find_resembling(cells(40, seed=2) + 50, reference)
    assert nearest.shape == (40, 15) and nearest.min() >= 300
    assert all(len(set(own)) == 15 for own in nearest)


def test_folds_as_novel_as_the_query_and_like_it_count_most():
    alike = np.full(3, 1 / 3)
    weights = weigh_folds(np.array([1.0, 2.0, 10.0]), 2.1, alike)
    assert weights.argmax() == 1 and weights.sum() == pytest.approx(1) and (weights > 0).all()
    equal = np.array([2.0, 2.0])
    np.testing.assert_allclose(weigh_folds(equal, 500.0, alike[:2]), 0.5)  # all alike, however far the query is
    resembled = weigh_folds(equal, 2.0, np.array([1.0, 0.0]))
    np.testing.assert_allclose(resembled[0] / resembled[1], 6)


def test_halves_count_by_how_familiar_the_query_is():
    novelties, shares = np.array([2.0, 2.5, 1.0, 1.0]), np.array([0.7, 0.3, 0.5, 0.5])
    is_half = np.array([False, False, True, True])
    by_query = [weigh_folds(novelties, query, shares, is_half) for query in (0.5, 1.0, 1.2, 1.5, 3.0)]
    for weights in by_query:
        assert weights.sum() == pytest.approx(1) and weights[2] == weights[3]
    of_halves = [weights[2:].sum() for weights in by_query]
    assert of_halves[0] == of_halves[1] == pytest.approx(0.7)  # a query that is less novel is no more familiar
    assert of_halves == sorted(of_halves, reverse=True) and 0.2 < of_halves[2] < 0.5 and of_halves[-1] < 1e-6
    # among each other, the other folds count as without halves
    for query, weights in zip((0.5, 3.0), (by_query[0], by_query[-1]), strict=True):
        others = weigh_folds(novelties[:2], query, shares[:2])
        np.testing.assert_allclose(weights[:2] / weights[:2].sum(), others)


def test_halves_alone_count_alike():
    np.testing.assert_allclose(weigh_folds(np.ones(2), 9.0, np.ones(2), np.ones(2, dtype=bool)), 0.5)
