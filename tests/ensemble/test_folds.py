"""How strata are derived and weighed."""

import numpy as np
import pytest
import torch

from neuronedit.ensemble._cross_validate import _weights
from neuronedit.ensemble._folds import clusters, mixtures, novelty


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
    ours = clusters(source, target, n=2)
    for labels, kind in zip(ours, (before, after), strict=True):
        agreement = (labels == kind).mean()
        assert max(agreement, 1 - agreement) > 0.99


def test_mixtures_have_the_same_shares_before_and_after_and_differ_in_composition():
    labels = np.repeat([0, 1, 2], 2_000), np.repeat([0, 1, 2], 1_000)
    before, after = mixtures(labels)
    shares = [
        np.array([[(parts[these == k] == i).mean() for i in range(4)] for k in range(3)])
        for parts, these in zip((before, after), labels, strict=True)
    ]
    np.testing.assert_allclose(*shares, atol=0.06)
    assert shares[0].std(axis=0).max() > 0.1


def test_novelty_grows_with_distance():
    source, _ = two_kinds()
    far = [novelty(source + away, source) for away in (0.0, 2.0, 20.0)]
    assert far[0] < far[1] < far[2]


def test_parts_as_novel_as_the_query_and_like_it_count_most():
    alike = np.full(3, 1 / 3)
    weights = _weights([1.0, 2.0, 10.0], 2.1, alike)
    assert weights.argmax() == 1 and weights.sum() == pytest.approx(1) and (weights > 0).all()
    np.testing.assert_allclose(_weights([2.0, 2.0], 500.0, alike[:2]), 0.5)  # all alike, however far the query is
    resembled = _weights([2.0, 2.0], 2.0, np.array([1.0, 0.0]))
    np.testing.assert_allclose(resembled[0] / resembled[1], 6)
