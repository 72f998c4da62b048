import numpy as np
import pytest
import torch

from neuronedit.edits import Populations, by_pairing, by_strata, on_all, percentile, shift


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
    moved = by_strata(shift)(populations)(query)
    assert moved.abs().max() < 2.5  # a sixth of it is the prior of a small stratum


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
