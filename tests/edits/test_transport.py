import numpy as np
import ot as pot
import pytest
import torch
from scipy.optimize import linear_sum_assignment

from neuronedit.edits import transport
from neuronedit.edits._transport import assign


def population(seed, n=80, d=3):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32))


def test_one_neighbor_is_pot_s_exact_plan():
    source, target = population(0), 2 * population(1) + 1
    uniform = np.full(80, 1 / 80)
    plan = pot.emd(uniform, uniform, pot.dist(source.double().numpy(), target.double().numpy()))
    moved = transport(source, target, n_neighbors=1)(source)
    # 80 cells are fewer than max_cells: all are matched, in their order
    np.testing.assert_allclose(moved, 80 * plan @ target.double().numpy(), atol=1e-4)


@pytest.mark.parametrize("n", [1, 2, 60])
@pytest.mark.parametrize("far", [0.0, 1e3, 1e6])
@pytest.mark.parametrize("n_kinds", [1, 3, 60])
def test_assignments_cost_as_little_as_scipy_s(n, far, n_kinds):
    """One cell may lie far away, and cells may be equal: costs with ties."""
    source, target = (population(seed, n=n).double().numpy() for seed in (0, 1))
    source, target = source[np.arange(n) % n_kinds], target[np.arange(n) % n_kinds] + 2
    source[0] += far
    cost = ((source[:, None] - target[None]) ** 2).sum(2)  # (n, n)
    columns = assign(cost.copy())
    assert sorted(columns) == list(range(n))
    least = cost[linear_sum_assignment(cost)].sum()
    np.testing.assert_allclose(cost[np.arange(n), columns].sum(), least, rtol=1e-9)


def test_the_mean_moves_as_all_cells_do_although_few_are_paired():
    source, target = population(0, n=900), population(1, n=700) + 2
    moved = transport(source, target, max_cells=50, n_neighbors=50)(source)
    torch.testing.assert_close(moved.mean(0) - source.mean(0), target.mean(0) - source.mean(0), rtol=0, atol=1e-4)


def test_each_kind_moves_its_own_way():
    kind = torch.arange(400) % 2
    source = population(0, n=400) + 20.0 * kind[:, None]
    target = source + torch.where(kind == 0, -3.0, 3.0)[:, None]
    moved = transport(source, target)(torch.tensor([[0.0] * 3, [20.0] * 3]))
    torch.testing.assert_close(moved, torch.tensor([[-3.0] * 3, [23.0] * 3]), rtol=0, atol=0.7)


def test_bad_parameter():
    with pytest.raises(ValueError, match="n_neighbors must be at least 1"):
        transport(population(0), population(1), n_neighbors=0)
