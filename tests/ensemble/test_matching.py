"""Populations that are matched without labels, on planted kinds of cells: how many of each there are, and how they move, is known."""

import numpy as np
import pytest
import torch

from neuronedit.ensemble import Matching, match_populations
from neuronedit.ensemble._matching import combine_differences, compare_query

CHANGES = ["none", "alike", "own"]
VARIATIONS = [0.0, 0.2, 0.4]


def share_of_the_same_kind(matching, planted):
    """Share of the target's cells whose kind is the most frequent one of their population in the source, by labeling.

    A population without cells in the source has no kind.
    """
    shares = []
    for source_labels, target_labels in zip(matching.source_labels.T, matching.target_labels.T, strict=True):
        kinds = {label: np.bincount(planted.source_kinds[source_labels == label]).argmax() for label in source_labels}
        shares.append(np.mean([kinds.get(label, -1) for label in target_labels] == planted.target_kinds))
    return np.array(shares)


def rotate_into(n_features, cells, noise=0.3):
    """Return cells that vary in so many features as they did in a few, and by noise besides."""
    generator = np.random.default_rng(0)
    axes = np.linalg.qr(generator.normal(size=(n_features, cells.shape[1])))[0].T
    rotated = cells.numpy() @ axes + noise * generator.normal(size=(len(cells), n_features))
    return torch.from_numpy(rotated.astype(np.float32))


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("variation", VARIATIONS)
@pytest.mark.parametrize("seed", [0, 1])
def test_kinds_are_told_from_what_changes(plant, change, variation, seed):
    """The total variation is found to 0.05, to 0.1 where kinds move by shifts of their own; and so are the kinds."""
    planted = plant(change, of_target=variation, n_features=10, apart=4, seed=seed)
    matching = match_populations(planted.source, planted.target)
    assert abs(matching.total_variation - variation) < (0.1 if change == "own" else 0.05)
    assert matching.chance_variation < 0.06
    shares = share_of_the_same_kind(matching, planted)
    assert shares.min() > 0.8 and shares.mean() > 0.9 and np.median(shares) > 0.99


@pytest.mark.parametrize("change", CHANGES)
def test_a_difference_in_composition_counts_once_it_is_beyond_chance(plant, change):
    differs = [
        match_populations(planted.source, planted.target).differs
        for planted in (plant(change, of_target=variation, n_features=10, apart=4) for variation in VARIATIONS)
    ]
    assert differs[0] < 0.05 and differs[2] > 0.9 and differs == sorted(differs)


def test_the_composition_of_a_query_is_compared_with_the_source_by_the_cells_that_it_resembles():
    """Two labelings, of halves and of quarters of 100 cells; a query of the first quarter, and one of all."""
    labels = np.stack([np.repeat([0, 1], 50), np.repeat([0, 1, 2, 3], 25)], axis=1)
    first = np.random.default_rng(0).integers(25, size=(40, 15))
    assert compare_query(labels, first) == pytest.approx((1 / 2 + 3 / 4) / 2)
    assert compare_query(labels, np.arange(100).reshape(20, 5)) == 0


def test_differences_of_target_and_query_add_up_to_1_at_most():
    assert combine_differences(0, 0) == 0
    assert combine_differences(1, 0) == combine_differences(1, 1) == 1
    assert combine_differences(0.4, 0) == pytest.approx(0.4)
    by_query = [combine_differences(0.4, variation) for variation in (0, 0.1, 0.3, 0.5, 0.9)]
    assert by_query == sorted(by_query) and by_query[1] < 0.43 and 0.95 < by_query[-1] < 1


def test_a_difference_that_explains_little_of_the_gap_counts_little(plant):
    """Kinds that lie near each other, and all move far: composition hardly matters then."""
    near = plant("alike", of_target=0.4, n_features=10, apart=0.5)
    far = plant("alike", of_target=0.4, n_features=10, apart=4)
    nearly, fully = (match_populations(planted.source, planted.target) for planted in (near, far))
    assert nearly.explained < 0.05 and nearly.differs < 0.1 < 0.9 < fully.differs


@pytest.mark.parametrize("change", CHANGES)
def test_many_features_are_matched_in_their_principal_components(plant, change):
    planted = plant(change, of_target=0.4, apart=4)
    source, target = (rotate_into(100, cells) for cells in (planted.source, planted.target))
    matching = match_populations(source, target)
    assert matching.total_variation == pytest.approx(0.4, abs=0.05) and matching.differs > 0.8
    assert np.median(share_of_the_same_kind(matching, planted)) > 0.99


@pytest.mark.parametrize("change", ["alike", "own"])
def test_few_cells_of_many_noisy_features_are_matched(plant, change):
    """As of one donor in an experiment with droplets: noise fills most directions, and a population has some forty cells."""
    shares = []
    for seed in (0, 1):
        planted = plant(change, of_target=0.3, n=250, seed=seed)
        source, target = (rotate_into(300, cells, noise=0.8) for cells in (planted.source, planted.target))
        matching = match_populations(source, target)
        assert abs(matching.total_variation - 0.3) < 0.1
        shares.append(share_of_the_same_kind(matching, planted).mean())
    assert np.mean(shares) > 0.94


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("change", ["alike", "own"])
def test_degrees_of_a_response_are_not_taken_for_another_composition(plant, change, seed):
    """Sixty of 260 features respond, more in some kinds than in others, and more in some cells of a kind than in others."""
    planted, generator = plant(change, seed=seed), np.random.default_rng(seed)
    strengths, degrees = 3 * generator.random((6, 60)), generator.uniform(0, 2, size=(900, 1))
    before, noise = generator.normal(size=(2, 900, 60))
    responses = (before, noise + degrees * strengths[planted.target_kinds])
    source, target = (
        torch.cat([rotate_into(200, cells, noise=0.8), torch.from_numpy(own.astype(np.float32))], dim=1)
        for cells, own in zip((planted.source, planted.target), responses, strict=True)
    )
    matching = match_populations(source, target)
    assert matching.total_variation < 0.1 and share_of_the_same_kind(matching, planted).mean() > 0.9


@pytest.mark.filterwarnings("error")
def test_features_that_all_change_differently_are_all_used(plant):
    """Each kind moves further than the one before, in all features."""
    planted = plant("none", apart=6)
    source, target = (rotate_into(100, cells) for cells in (planted.source, planted.target))
    target = target + 4 * torch.from_numpy(planted.target_kinds[:, None].astype(np.float32))
    matching = match_populations(source, target)
    assert all(len(np.unique(labels)) > 1 for labels in matching.source_labels.T)
    assert np.isfinite(matching.total_variation) and (matching.target_certainty > 0).all()


@pytest.mark.parametrize("sizes", [(199, 900), (900, 199), (2, 2)])
def test_few_cells_are_one_population(plant, sizes):
    planted = plant(of_target=0.4)
    source, target = planted.source[: sizes[0]], planted.target[: sizes[1]]
    matching = match_populations(source, target)
    for labels, certainty, n in zip(
        (matching.source_labels, matching.target_labels),
        (matching.source_certainty, matching.target_certainty),
        sizes,
        strict=True,
    ):
        assert labels.shape == certainty.shape == (n, 1) and not labels.any() and (certainty == 1).all()
    assert matching.total_variation == matching.differs == matching.explained == 0


def test_each_labeling_has_its_number_of_populations(plant):
    planted = plant(n=300)
    matching = match_populations(planted.source, planted.target, n_populations=(2, 5, 40))
    assert matching.source_labels.shape == matching.target_labels.shape == (300, 3)
    assert [len(np.unique(labels)) for labels in matching.source_labels.T[:2]] == [2, 5]
    assert len(np.unique(matching.source_labels[:, 2])) <= 10  # of 30 cells each
    for labels in (matching.source_labels, matching.target_labels):
        assert labels.dtype.kind == "i" and (labels >= 0).all()
    for certainty in (matching.source_certainty, matching.target_certainty):
        assert (certainty > 0).all() and (certainty <= 1 + 1e-6).all()


def test_units_of_a_feature_do_not_matter(plant):
    planted = plant("own", of_target=0.2)
    units = torch.tensor([1.0, 100, 0.01, 1, 1, 7, 1, 1])
    plain, scaled = (match_populations(planted.source * u, planted.target * u) for u in (torch.ones(8), units))
    assert (plain.source_labels == scaled.source_labels).mean() > 0.98
    assert scaled.total_variation == pytest.approx(plain.total_variation, abs=0.02)


@pytest.mark.filterwarnings("ignore:Number of distinct clusters")
def test_constant_features_and_equal_cells_are_survived(plant):
    planted = plant()
    source, target = planted.source.clone(), planted.target.clone()
    source[:, 0] = target[:, 0] = 1
    assert np.isfinite(match_populations(source, target).differs)
    same = match_populations(torch.ones(300, 3), torch.ones(300, 3))
    assert same.differs == 0 and np.isfinite(same.total_variation)


def test_a_matching_is_deterministic_and_touches_no_global_state(plant):
    planted = plant("own", of_target=0.2)
    state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    first, second = (match_populations(planted.source, planted.target) for _ in range(2))
    np.testing.assert_array_equal(first.target_labels, second.target_labels)
    assert first.total_variation == second.total_variation and first.differs == second.differs
    assert torch.equal(state, torch.get_rng_state())
    assert np.array_equal(numpy_state, np.random.get_state()[1])  # noqa: NPY002


def test_differs_is_between_0_and_1_and_needs_both_cells_that_move_and_what_they_explain():
    labels = np.zeros((3, 1), dtype=int), np.zeros((3, 1), dtype=int)
    certainty = np.ones((3, 1)), np.ones((3, 1))
    by_excess = [Matching(*labels, *certainty, x, 0.05, 1.0).differs for x in (0.0, 0.05, 0.1, 0.2, 1.0)]
    by_effect = [Matching(*labels, *certainty, 0.5, 0.05, x).differs for x in (-0.2, 0.0, 0.1, 0.3, 2.0)]
    for values in (by_excess, by_effect):
        assert values[:2] == [0, 0] and values == sorted(values) and values[-1] == pytest.approx(1)


@pytest.mark.parametrize("n_features", [4, 80])
def test_cells_of_double_precision_are_matched_alike(n_features):
    generator = torch.Generator().manual_seed(0)
    source = torch.randn(400, n_features, generator=generator) + 6 * (torch.arange(400) % 3 == 0)[:, None]
    single, double = (match_populations(x, x[:300] + 1) for x in (source, source.double()))
    assert (single.source_labels == double.source_labels).mean() > 0.95
    assert double.total_variation == pytest.approx(single.total_variation, abs=0.01)
