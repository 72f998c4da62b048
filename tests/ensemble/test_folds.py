"""How strata are derived and weighed."""

import numpy as np
import pytest
import torch

from neuronedit.ensemble._folds import derive_clusters, derive_mixtures, make_folds, measure_novelty, weigh_folds


def two_kinds(n=400, seed=0):
    generator = np.random.default_rng(seed)
    kind = generator.integers(2, size=n)
    cells = generator.normal(size=(n, 6))
    cells[:, :3] += 8 * kind[:, None]  # three features tell the kinds apart
    return torch.from_numpy(cells.astype(np.float32)), kind


def test_clusters_follow_what_is_stable_not_what_changes():
    source, before = two_kinds()
    target, after = two_kinds(seed=1)
    target[:, 3:] += 20 * torch.rand(400, 1)  # the other three change, and differ between cells more than the kinds do
    clusters = derive_clusters(source, target, n=2)
    for labels, kind in zip(clusters, (before, after), strict=True):
        agreement = (labels == kind).mean()
        assert max(agreement, 1 - agreement) > 0.99


def test_mixtures_have_the_same_shares_before_and_after_and_differ_in_composition():
    labels = np.repeat([0, 1, 2], 2_000), np.repeat([0, 1, 2], 1_000)
    before, after = derive_mixtures(labels)
    shares = [
        np.array([[(mixture[label == k] == i).mean() for i in range(4)] for k in range(3)])
        for mixture, label in zip((before, after), labels, strict=True)
    ]
    np.testing.assert_allclose(*shares, atol=0.06)
    assert shares[0].std(axis=0).max() > 0.1


def test_novelty_grows_with_distance():
    source, _ = two_kinds()
    novelties = [measure_novelty(source + shift, source) for shift in (0.0, 2.0, 20.0)]
    assert novelties[0] < novelties[1] < novelties[2]


def test_folds_as_novel_as_the_query_and_like_it_count_most():
    alike = np.full(3, 1 / 3)
    weights = weigh_folds([1.0, 2.0, 10.0], 2.1, alike)
    assert weights.argmax() == 1 and weights.sum() == pytest.approx(1) and (weights > 0).all()
    np.testing.assert_allclose(weigh_folds([2.0, 2.0], 500.0, alike[:2]), 0.5)  # all alike, however far the query is
    resembled = weigh_folds([2.0, 2.0], 2.0, np.array([1.0, 0.0]))
    np.testing.assert_allclose(resembled[0] / resembled[1], 6)


def test_strata_with_too_few_cells_are_replaced_by_derived_folds():
    source, kind = two_kinds()
    labels = np.where(np.arange(400) < 10, "few", "others")
    given, populations, folds = make_folds(source, source, (kind, kind), 0)
    assert given == "strata" and list(folds) == ["0", "1"]
    np.testing.assert_array_equal(populations.source_strata, kind)
    derived, populations, folds = make_folds(source, source, (labels, labels), 0)
    assert derived == "derived" and {name.split()[0] for name in folds} == {"cluster", "mixture"}
    assert len(populations.source_strata) == 400
