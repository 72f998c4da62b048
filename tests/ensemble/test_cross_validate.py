"""The choice on planted pairs: what carries over is found, what does not is left alone."""

import numpy as np
import pytest
import torch

from neuronedit.ensemble import CANDIDATES, select
from neuronedit.metrics import energy_distance, gap_closed
from neuronedit.spaces import Identity

FEW = {
    name: CANDIDATES[name]
    for name in ("identity", "mean_shift", "quantile", "shift_by_strata", "mean_shift_offset_0.5")
}


def strata(changes, n=150, d=4, seed=0, apart=6.0):
    """A pair of several strata at places of their own, each with its change."""
    generator = np.random.default_rng(seed)
    source, target, labels = [], [], []
    for i, change in enumerate(changes):
        place = apart * np.random.default_rng(i).normal(size=d)
        source.append(place + generator.normal(size=(n, d)))
        target.append(place + np.asarray(change) + generator.normal(size=(n, d)))
        labels += [f"kind {i}"] * n
    source, target = (torch.from_numpy(np.concatenate(x).astype(np.float32)) for x in (source, target))
    return source, target, np.array(labels)


def chosen(source, target, query, labels=None, **options):
    with torch.no_grad():
        found = select(Identity(n_features=source.shape[1]), source, target, query, labels, **options)
        return found, found.learn(found.pair)(query)


VECTOR = np.array([2.0, -1.0, 0.0, 3.0])


@pytest.mark.parametrize("given", [True, False])
def test_a_change_that_carries_over_is_carried_over(given):
    source, target, labels = strata([VECTOR] * 5)
    query = strata([VECTOR], seed=9)[0] + 3
    found, moved = chosen(source, target, query, (labels, labels) if given else None, candidates=FEW)
    assert found.how == ("strata" if given else "derived")
    assert found.strength == 1 and found.expected > 0.8
    torch.testing.assert_close(
        moved.mean(0) - query.mean(0), torch.tensor(VECTOR, dtype=torch.float32), rtol=0, atol=0.5
    )


def test_what_differs_from_stratum_to_stratum_is_left_alone():
    generator = np.random.default_rng(3)
    source, target, labels = strata([4 * generator.normal(size=4) for _ in range(8)], apart=30)
    query = torch.from_numpy(generator.normal(200, 1, size=(100, 4)).astype(np.float32))
    found, moved = chosen(source, target, query, (labels, labels), candidates=FEW)
    assert (moved - query).abs().mean() < 0.5 and found.expected < 0.2


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
    found, moved = chosen(source, target, query, (labels, labels), candidates=FEW)
    weights = dict(zip(found.candidates, found.weights, strict=True))
    assert weights["mean_shift_offset_0.5"] == max(weights.values())
    truth = generator.normal(size=(150, 4)) + VECTOR
    assert gap_closed(energy_distance, query.numpy(), truth, moved.numpy()) > 0.3


def test_tiny_pairs_get_a_fixed_combination():
    source, target, _ = strata([VECTOR], n=15)
    found, moved = chosen(source, target, source[:5])
    assert found.how == "fixed" and found.parts == [] and np.isnan(found.expected)
    assert found.weights.sum() == pytest.approx(1) and torch.isfinite(moved).all()


def test_strata_of_one_side_or_few_cells_are_not_held_out():
    source, target, labels = strata([VECTOR] * 4)
    after = np.where(labels == "kind 3", "kind 2", labels)
    found, _ = chosen(source, target, source[:50], (labels, after), candidates=FEW)
    assert found.parts == ["kind 0", "kind 1", "kind 2"]


def test_it_goes_no_further_than_what_was_held_out_resembles_the_query():
    """The query is of a kind that is in the source but not in the target: nothing tells how it moves."""
    source, target, labels = strata([VECTOR] * 4, apart=30)
    known = labels != "kind 3"
    after = torch.from_numpy(known)
    query = source[~after]
    found, moved = chosen(source, target[after], query, (labels, labels[known]), candidates=FEW)
    assert found.tested < 0.05 and found.strength < 0.05 and (moved - query).abs().mean() < 0.2


def test_the_query_s_truth_is_not_seen_and_the_seed_decides():
    source, target, labels = strata([VECTOR] * 4)
    state = torch.get_rng_state()
    first, second = (chosen(source, target, source[:50], (labels, labels), candidates=FEW)[1] for _ in range(2))
    assert torch.equal(first, second) and torch.equal(state, torch.get_rng_state())


def test_every_candidate_runs_on_constant_features():
    source, target, labels = strata([VECTOR] * 3, n=60)
    source[:, 0] = target[:, 0] = 1
    found, moved = chosen(source, target, source[:50], (labels, labels))
    assert np.isfinite(found.scores).all() and torch.isfinite(moved).all()


def test_what_was_chosen_is_said_in_a_line():
    source, target, labels = strata([[2.0, 0, 0, 0]] * 3)
    found, _ = chosen(source, target, source[:100] + 1, (labels, labels))
    said = repr(found)
    assert said.startswith("Selected(strata: ") and "expected=" in said
    assert "\n" not in said and len(said) < 200
