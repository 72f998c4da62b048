import numpy as np
import torch

from neuronedit.edits import Populations, by_strata, on_all, percentile, shift


def kinds(counts, change, seed=0):
    """Cells of several kinds far apart; each changes by its own amount."""
    generator = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(counts)), counts)
    cells = 20.0 * labels[:, None] + generator.normal(size=(len(labels), 2)) + np.asarray(change)[labels, None]
    return torch.from_numpy(cells.astype(np.float32)), labels


def pair_of(before, after, change):
    source, s = kinds(before, [0.0] * len(before))
    target, t = kinds(after, change, seed=1)
    return Populations(source, target, s, t)


def test_a_change_of_composition_is_no_change():
    pair = pair_of([300, 300], [300, 60], [0.0, 0.0])
    query = torch.zeros(5, 2)
    assert on_all(shift)(pair)(query).abs().max() > 5
    assert by_strata(shift)(pair)(query).abs().max() < 2.5  # a sixth of it is the prior of a small stratum


def test_each_stratum_moves_its_own_way():
    pair = pair_of([500, 500], [500, 500], [-3.0, 3.0])
    moved = by_strata(percentile)(pair)(torch.tensor([[0.0, 0.0], [20.0, 20.0]]))
    np.testing.assert_allclose(moved, [[-3, -3], [23, 23]], atol=0.6)


def test_small_strata_and_cells_without_one_take_the_change_of_all():
    pair = pair_of([400, 15], [400, 15], [2.0, 9.0])
    whole = on_all(shift)(pair)(torch.zeros(1, 2))
    far = by_strata(shift)(pair)(torch.full((1, 2), 20.0)) - 20
    assert (far - whole).abs().max() < 1.5
    none = pair._replace(source_strata=np.full(415, -1), target_strata=np.full(415, -1))
    torch.testing.assert_close(by_strata(shift)(none)(torch.zeros(1, 2)), whole)


def test_only_takes_masks_and_row_numbers():
    pair = pair_of([5, 5], [5, 5], [0.0, 0.0])
    rows, mask = np.array([0, 9]), np.arange(10) < 3
    part = pair.only(rows, mask)
    assert part.source_strata.tolist() == [0, 1] and len(part.target) == 3
    assert torch.equal(part.source, pair.source[[0, 9]])
