"""Edits within strata, and edits once the target's strata have the source's shares, against changes that are known exactly."""

import numpy as np
import pytest
import torch

from neuronedit.edits import Populations, _strata, by_pairing, by_strata, on_all, on_balanced, percentile, shift
from neuronedit.edits._percentile import Percentiles
from neuronedit.edits._strata import MAX_TIMES_DRAWN, MIN_CELLS_PER_STRATUM, PRIOR_CELLS, balance, limit_resembling
from neuronedit.spaces import Identity


def kinds(counts, change, seed=0):
    """Cells of several kinds far apart; each changes by its own amount."""
    generator = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(counts)), counts)
    cells = 20.0 * labels[:, None] + generator.normal(size=(len(labels), 2)) + np.asarray(change)[labels, None]
    return torch.from_numpy(cells.astype(np.float32)), labels


def changed_kinds(before, after, change):
    source, s = kinds(before, [0.0] * len(before))
    target, t = kinds(after, change, seed=1)
    return Populations(source, target, s, t)


def test_a_change_of_composition_is_no_change():
    populations = changed_kinds([300, 300], [300, 60], [0.0, 0.0])
    query = torch.zeros(5, 2)
    assert on_all(shift)(populations)(query).abs().max() > 5
    for fit in (by_strata(shift), on_balanced(shift), by_strata(percentile)):
        assert fit(populations)(query).abs().max() < 0.3


def test_each_stratum_moves_its_own_way():
    populations = changed_kinds([500, 500], [500, 500], [-3.0, 3.0])
    moved = by_strata(percentile)(populations)(torch.tensor([[0.0, 0.0], [20.0, 20.0]]))
    np.testing.assert_allclose(moved, [[-3, -3], [23, 23]], atol=0.6)


def test_small_strata_and_cells_without_one_take_the_change_of_all():
    populations = changed_kinds([400, 15], [400, 15], [2.0, 9.0])
    of_all = on_all(shift)(populations)(torch.zeros(1, 2))
    of_small = by_strata(shift)(populations)(torch.full((1, 2), 20.0)) - 20
    assert (of_small - of_all).abs().max() < 1.5
    without = populations._replace(source_strata=np.full(415, -1), target_strata=np.full(415, -1))
    torch.testing.assert_close(by_strata(shift)(without)(torch.zeros(1, 2)), of_all)


def count(labels, rows=slice(None)):
    """Return how many cells each stratum has."""
    return dict(zip(*np.unique(labels[rows], return_counts=True), strict=True))


def repeat(**counts):
    """Return the strata of so many cells each; the stratum ``none`` is -1."""
    return np.repeat([-1 if name == "none" else ord(name) for name in counts], list(counts.values()))


def exact(labels, places, changes=None):
    """Cells that all lie where their stratum does, in one feature, after its change."""
    values = [places[chr(label)] + (changes or {}).get(chr(label), 0.0) for label in labels]
    return torch.tensor(values, dtype=torch.float32)[:, None]


def test_balanced_strata_have_the_shares_of_the_source():
    source, target = repeat(a=100, b=300, c=600), repeat(a=750, b=150, c=100)
    rows = balance(source, target)
    assert len(rows) == len(target) and (np.diff(rows) >= 0).all()
    drawn = count(target, rows)
    for name, share in {"a": 0.1, "b": 0.3, "c": 0.6}.items():
        assert abs(drawn[ord(name)] - 1000 * share) <= 1
    # each cell of a stratum is drawn as often as any other of it, but for one
    for stratum in np.unique(target):
        times = np.bincount(rows, minlength=1000)[target == stratum]
        assert times.max() - times.min() <= 1


def test_the_same_shares_are_left_as_they_are():
    labels = np.random.default_rng(0).permutation(repeat(a=100, b=300, c=600))
    np.testing.assert_array_equal(balance(labels, labels), np.arange(1000))
    np.testing.assert_array_equal(balance(np.repeat(labels, 2), labels), np.arange(1000))


def test_a_stratum_that_only_the_target_has_is_left_out():
    drawn = count(repeat(a=50, b=50, x=900), balance(repeat(a=50, b=50), repeat(a=50, b=50, x=900)))
    assert set(drawn) == {ord("a"), ord("b")} and abs(drawn[ord("a")] - 500) <= 1
    few = repeat(a=500, b=500, x=3)  # however few its cells are
    assert ord("x") not in count(few, balance(repeat(a=50, b=50), few))
    other = repeat(x=60, y=40)  # nothing is left: all stay
    np.testing.assert_array_equal(balance(repeat(a=50), other), np.arange(100))


def test_a_cell_is_drawn_ten_times_at_most():
    source, target = repeat(a=900, b=100), repeat(a=20, b=1980)  # 90 times would be needed
    drawn = count(target, balance(source, target))
    weights = MAX_TIMES_DRAWN * 20, 0.1 / 0.99 * 1980
    assert drawn[ord("a")] == pytest.approx(2000 * weights[0] / sum(weights), abs=1)


def test_cells_without_a_stratum_keep_their_share():
    source, target = repeat(a=400, b=400, none=200), repeat(a=200, b=600, none=200)
    drawn = count(target, balance(source, target))
    for label, n in ((ord("a"), 400), (ord("b"), 400), (-1, 200)):
        assert abs(drawn[label] - n) <= 1
    nothing = np.full(30, -1)
    np.testing.assert_array_equal(balance(nothing, nothing), np.arange(30))


def test_small_strata_are_not_drawn_more_often_to_make_up_for_others():
    n = MIN_CELLS_PER_STRATUM - 1
    source, target = repeat(a=500, b=500), repeat(a=1000 - n, b=n)
    drawn = count(target, balance(source, target))
    weights = 0.5 * 1000, n  # each of its cells counts as one; those of the large stratum count half
    assert drawn[ord("b")] == pytest.approx(1000 * weights[1] / sum(weights), abs=1)


PLACES = {"a": 0.0, "b": 10.0, "c": 50.0}
CHANGES = {"a": 1.0, "b": -2.0, "c": 4.0}
SHARES = {"a": 0.25, "b": 0.25, "c": 0.5}


def exact_populations(**counts):
    """Strata that change as `CHANGES` says, in the source in the shares of `SHARES`."""
    source, target = repeat(a=100, b=100, c=200), repeat(**counts)
    return Populations(exact(source, PLACES), exact(target, PLACES, CHANGES), source, target)


@pytest.mark.parametrize("counts", [{"a": 100, "b": 100, "c": 200}, {"a": 240, "b": 80, "c": 80}], ids=str)
def test_a_balanced_shift_is_the_mean_of_the_shifts_in_the_shares_of_the_source(counts):
    moved = on_balanced(shift)(exact_populations(**counts))(torch.zeros(1, 1))
    assert moved.item() == pytest.approx(sum(SHARES[name] * CHANGES[name] for name in SHARES), abs=1e-4)


@pytest.mark.parametrize("counts", [{"a": 100, "b": 100, "c": 200}, {"a": 240, "b": 80, "c": 80}], ids=str)
def test_a_stratum_is_shrunk_to_the_balanced_edit_as_if_that_were_50_cells(counts):
    populations = exact_populations(**counts)
    of_all = sum(SHARES[name] * CHANGES[name] for name in SHARES)
    moved = by_strata(shift)(populations)
    for name, n_before in (("a", 100), ("b", 100), ("c", 200)):
        n, place = min(n_before, counts[name]), torch.tensor([[PLACES[name]]])
        expected = of_all + (CHANGES[name] - of_all) * n / (n + PRIOR_CELLS)
        assert (moved(place) - place).item() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("n", [MIN_CELLS_PER_STRATUM - 1, MIN_CELLS_PER_STRATUM])
def test_from_20_cells_on_a_stratum_counts(n):
    source = target = repeat(a=200, b=n)
    changes = {"a": 1.0, "b": 5.0}
    populations = Populations(exact(source, PLACES), exact(target, PLACES, changes), source, target)
    of_all = (200 * 1 + n * 5) / (200 + n)
    expected = of_all if n < MIN_CELLS_PER_STRATUM else of_all + (5 - of_all) * n / (n + PRIOR_CELLS)
    moved = by_strata(shift, n_neighbors=10)(populations)(torch.tensor([[10.0]]))
    assert moved.item() - 10 == pytest.approx(expected, abs=1e-4)


def test_a_stratum_of_the_target_alone_says_nothing():
    populations = exact_populations(a=100, b=100, c=200)
    strange = repeat(a=100, b=100, c=200, x=900)
    places, changes = PLACES | {"x": -1e4}, CHANGES
    more = populations._replace(target=exact(strange, places, changes), target_strata=strange)
    query = torch.tensor([[0.0], [10.0], [50.0]])
    for fit in (by_strata(shift), on_balanced(shift), by_strata(percentile), on_balanced(percentile)):
        torch.testing.assert_close(fit(more)(query), fit(populations)(query), rtol=0, atol=1e-3)


def backwards(source, target):
    """An edit whose percentiles are the target's, which labelings balance differently."""
    return percentile(target, source)


@pytest.mark.parametrize(
    "fit", [by_strata(shift, n_neighbors=5), on_balanced(shift), on_balanced(percentile), on_balanced(backwards)]
)
def test_several_labelings_average(fit):
    populations = changed_kinds([200, 100, 100], [100, 200, 100], [1.0, -1.0, 3.0])
    merged = [np.minimum(labels, 1) for labels in (populations.source_strata, populations.target_strata)]
    both = [
        np.stack(labels, axis=1)
        for labels in zip((populations.source_strata, populations.target_strata), merged, strict=True)
    ]
    first, second, together = (
        fit(populations._replace(source_strata=s, target_strata=t))(populations.source)
        for s, t in ((populations.source_strata, populations.target_strata), merged, both)
    )
    assert (first - second).abs().max() > 0.1
    torch.testing.assert_close(together, (first + second) / 2, rtol=0, atol=1e-4)
    single = populations._replace(source_strata=both[0][:, :1], target_strata=both[1][:, :1])
    torch.testing.assert_close(fit(single)(populations.source), first, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("n_features", "n_found"), [(2, 10_000), (800, 10_000), (2_000, 4_194), (30_000, 2_000)])
def test_neighbours_are_looked_for_among_fewer_cells_where_there_are_many_features(n_features, n_found):
    assert limit_resembling(n_features) == n_found


def test_neighbours_are_looked_for_among_no_more_cells_than_the_limit(monkeypatch):
    monkeypatch.setattr(_strata, "MIN_CELLS_TO_RESEMBLE", 100)
    monkeypatch.setattr(_strata, "MAX_VALUES_TO_RESEMBLE", 1_000)
    cells, strata = torch.randn(300, 5), np.arange(300) % 2
    assert len(by_strata(shift)(Populations(cells, cells, strata, strata)).cells) == 200


def test_neighbours_are_those_in_the_space_that_cells_are_compared_in():
    """Two kinds differ in one feature of 100: the noise of the others hides it, unless cells are compared in that one."""

    class First(Identity):
        def encode(self, x):
            return x[:, :1]

    populations = changed_kinds([200, 200], [200, 200], [-3.0, 3.0])
    noise = torch.randn(400, 99, generator=torch.Generator().manual_seed(0)) * 50
    wide = populations._replace(
        source=torch.cat([populations.source[:, :1], noise], 1), target=torch.cat([populations.target[:, :1], noise], 1)
    )
    query = torch.cat([populations.source[:, :1], -noise], 1)
    shrunk = 3 * 200 / (200 + PRIOR_CELLS)  # towards no change, the mean of both
    expected = torch.tensor([-shrunk, shrunk]).repeat_interleave(200)
    errors = []
    for compared_in in (None, First()):
        moved = by_strata(shift)(wide._replace(compared_in=compared_in))(query) - query
        errors.append(float((moved[:, 0] - expected).abs().mean()))
    assert errors[0] > 1 and errors[1] < 0.2


def test_what_strata_are_called_does_not_matter():
    populations = changed_kinds([200, 150, 100], [100, 200, 90], [1.0, -1.0, 3.0])
    numbers = np.array([7, 3, 5])
    s, t = (numbers[labels] for labels in (populations.source_strata, populations.target_strata))
    others = populations._replace(source_strata=s, target_strata=t)
    for fit in (by_strata(shift), by_strata(percentile), on_balanced(shift)):
        assert torch.equal(fit(others)(populations.source), fit(populations)(populations.source))


def test_percentiles_of_several_labelings_are_one_edit():
    populations = changed_kinds([200, 100, 100], [100, 200, 100], [1.0, -1.0, 3.0])
    s, t = (np.stack([x, np.minimum(x, 1)], 1) for x in (populations.source_strata, populations.target_strata))
    several = populations._replace(source_strata=s, target_strata=t)
    assert isinstance(on_balanced(percentile)(several), Percentiles)
    assert not isinstance(on_balanced(backwards)(several), Percentiles)


def test_subset_keeps_every_labeling():
    labels = np.arange(12).reshape(6, 2)
    cells = torch.arange(6.0)[:, None]
    few = Populations(cells, cells, labels, labels).subset(np.array([4, 1]), np.arange(6) > 3)
    assert few.source_strata.tolist() == [[8, 9], [2, 3]] and few.target_strata.tolist() == [[8, 9], [10, 11]]


def test_subset_takes_masks_and_row_numbers():
    populations = changed_kinds([5, 5], [5, 5], [0.0, 0.0])
    rows, mask = np.array([0, 9]), np.arange(10) < 3
    few = populations.subset(rows, mask)
    assert few.source_strata.tolist() == [0, 1] and len(few.target) == 3
    assert torch.equal(few.source, populations.source[[0, 9]])


def test_by_pairing_follows_the_donors_that_resemble_the_query():
    populations = changed_kinds([300, 300], [300, 300], [2.0, 5.0])
    donors = populations.source_strata, populations.target_strata
    paired = populations._replace(source_pairing=donors[0], target_pairing=donors[1])
    for place, change in ((0.0, 2.0), (20.0, 5.0)):
        query = place + torch.from_numpy(np.random.default_rng(4).normal(size=(200, 2)).astype(np.float32))
        moved = by_pairing(on_all(shift), query)(paired)(query)
        np.testing.assert_allclose((moved - query).mean(0), change, atol=0.3)


def test_by_pairing_without_enough_cells_of_any_donor_fits_all_cells():
    populations = changed_kinds([15, 15], [15, 15], [2.0, 5.0])
    paired = populations._replace(source_pairing=populations.source_strata, target_pairing=populations.target_strata)
    query = torch.zeros(3, 2)
    assert torch.equal(by_pairing(on_all(shift), query)(paired)(query), on_all(shift)(populations)(query))


def test_by_pairing_needs_to_know_what_belongs_together():
    populations = changed_kinds([30], [30], [1.0])
    with pytest.raises(ValueError, match="source_pairing and target_pairing are None"):
        by_pairing(on_all(shift), torch.zeros(3, 2))(populations)
