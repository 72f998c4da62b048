import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from neuronedit.edits import local, percentile


def population(seed, n=200, d=3):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32))


def test_oracle():
    source, target, query = population(0), population(1) * 2 + 1, population(2, n=57)
    shifts = (percentile(source, target)(source) - source).numpy()
    nearest = cKDTree(source.numpy()).query(query.numpy(), k=5)[1]
    expected = query.numpy() + shifts[nearest].mean(axis=1)
    np.testing.assert_allclose(local(source, target, n_neighbors=5)(query), expected, atol=1e-5)


def test_all_neighbors_is_one_shift_for_every_cell():
    source, target, query = population(0), population(1) * 2 + 1, population(2)
    moved = local(source, target, n_neighbors=10_000)(query) - query
    torch.testing.assert_close(moved, moved[:1].expand_as(moved), rtol=0, atol=1e-5)


def test_planted_truth_two_clusters_move_apart():
    """The clusters overlap in the neuron that moves; only their neighbours tell which way a cell goes."""
    generator = np.random.default_rng(0)
    cluster = np.repeat([0.0, 10.0], 500)
    source = np.c_[
        cluster + generator.normal(size=1000), np.r_[generator.normal(0, 0.1, 500), generator.normal(8, 0.1, 500)]
    ]
    target = source + np.c_[np.zeros(1000), np.where(cluster == 0, -3.0, 3.0)]
    source, target = (torch.from_numpy(x.astype(np.float32)) for x in (source, target))
    query = torch.tensor([[0.0, 4.0], [10.0, 4.0]])
    moved = local(source, target)(query)[:, 1]
    assert moved[0] < 1.5 and moved[1] > 6.5


def test_bad_n_neighbors():
    with pytest.raises(ValueError, match="n_neighbors must be at least 1"):
        local(population(0), population(1), n_neighbors=0)
