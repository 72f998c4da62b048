"""The paper's three properties as laws, numpy.interp as the oracle, and where the paper's formula is undefined."""

import numpy as np
import pytest
import torch

from neuronedit.edits import percentile
from neuronedit.edits._percentile import VALUES_AT_ONCE, count_reached


def column(values):
    return torch.as_tensor(np.asarray(values), dtype=torch.float32)[:, None]


def percentiles(z, n_bins=100):
    return np.percentile(z.numpy().astype(float), np.linspace(0, 100, n_bins + 1), axis=0)


@pytest.mark.parametrize("n_bins", [1, 7, 100, 1000])
@pytest.mark.parametrize("n", [3, 50, 2000])
def test_the_edited_source_has_the_target_s_percentiles(n, n_bins):
    generator = np.random.default_rng(0)
    source = torch.from_numpy(generator.normal(size=(n, 3)).astype(np.float32))
    target = torch.from_numpy(generator.gamma(2.0, size=(n + 11, 3)).astype(np.float32))
    edited = percentile(source, target, n_bins=n_bins)(torch.from_numpy(percentiles(source, n_bins).astype(np.float32)))
    np.testing.assert_allclose(edited.numpy(), percentiles(target, n_bins), atol=2e-5)


@pytest.mark.parametrize("n_knots", [2, 7, 8, 101, 128])
@pytest.mark.parametrize("n_cells", [0, 1, 50, VALUES_AT_ONCE])
def test_the_percentiles_that_values_reach_are_torch_s(n_knots, n_cells):
    """Values lie between percentiles, beyond them, and on them; many percentiles are equal."""
    generator = np.random.default_rng(0)
    knots = torch.from_numpy(np.sort(generator.integers(0, 20, size=(3, n_knots)), axis=1) / np.float32(4))
    values = torch.from_numpy(generator.integers(-9, 49, size=(3, n_cells)) / np.float32(8))
    values[:, :2] = torch.tensor([torch.inf, -torch.inf])[: values.shape[1]]
    assert torch.equal(count_reached(knots, values), torch.searchsorted(knots, values, right=True))


def test_it_has_a_gradient():
    """In one interval of percentiles a value moves by a linear function of it."""
    source = column(np.arange(101))
    z = column([0.5, 70.5]).requires_grad_()
    percentile(source, 3 * source)(z).sum().backward()
    torch.testing.assert_close(z.grad, torch.full_like(z, 3.0))


def test_within_the_range_it_is_the_paper_s_equation():
    generator = np.random.default_rng(1)
    source, target = column(generator.normal(size=500)), column(generator.exponential(size=700))
    query = np.linspace(source.min().item() + 1e-4, source.max().item() - 1e-4, 301)
    paper = np.interp(query, percentiles(source)[:, 0], percentiles(target)[:, 0])
    np.testing.assert_allclose(percentile(source, target)(column(query))[:, 0].numpy(), paper, atol=2e-5)


def test_of_equal_populations_it_is_exactly_the_identity():
    generator = np.random.default_rng(2)
    cells = torch.from_numpy(np.maximum(generator.normal(size=(400, 5)), 0).astype(np.float32))
    query = torch.from_numpy(generator.normal(scale=10, size=(200, 5)).astype(np.float32))
    assert torch.equal(percentile(cells, cells.clone())(query), query)


@pytest.mark.parametrize("zeros", [False, True])
def test_monotone_so_that_different_inputs_stay_different(zeros):
    generator = np.random.default_rng(3)
    source, target = generator.normal(size=300), generator.gamma(1.0, size=300)
    if zeros:
        source = np.maximum(source, 0)
    query = np.sort(generator.uniform(-6, 6, size=400))
    moved = percentile(column(source), column(target))(column(query))[:, 0].numpy()
    steps = np.diff(moved)
    assert (steps > -1e-5).all()
    assert len(np.unique(moved)) == len(query)


def test_beyond_the_range_the_end_shift_continues():
    move = percentile(column([0.0, 1.0, 2.0]), column([10.0, 13.0, 16.0]))
    assert move(column([-1e6, -5.0, 2.0, 1e6]))[:, 0].tolist() == [-1e6 + 10, 5.0, 16.0, 1e6 + 14]


def test_equal_percentiles_are_averaged_from_both_ends():
    pile = np.r_[np.zeros(60), np.linspace(1, 2, 41)]
    move = percentile(column(pile), column(np.linspace(0, 10, 101)))
    assert move(column([0.0])).item() == pytest.approx(2.95, abs=0.1)  # between ranks 0 and 59 % of the target
    silent = percentile(column(np.zeros(50)), column(np.linspace(-1, 5, 50)))
    assert silent(column([0.0])).item() == pytest.approx(2.0, abs=1e-6)


def test_more_bins_than_cells_and_columns_apart():
    source = torch.tensor([[0.0, 5.0], [1.0, 5.0], [2.0, 9.0]])
    target = source * torch.tensor([2.0, 1.0])
    torch.testing.assert_close(percentile(source, target, n_bins=1000)(source), target)


@pytest.mark.parametrize("n_bins", [0, -3])
def test_bad_n_bins(n_bins):
    with pytest.raises(ValueError, match="n_bins must be at least 1"):
        percentile(column([0, 1]), column([0, 1]), n_bins=n_bins)


def test_repr_is_a_line():
    cells = torch.zeros(20, 3)
    assert repr(percentile(cells, cells, n_bins=4)) == "Percentiles(knots=(3, 5), shifts=(3, 5))"


def test_a_pile_of_zeros_moves_to_the_mean_of_the_same_ranks():
    """Seven of ten are 0 before the change, four after it: these become the mean of the seven lowest values."""
    source = torch.tensor([0.0] * 70 + [5.0] * 30)[:, None]
    target = torch.tensor([0.0] * 40 + [2.0] * 30 + [6.0] * 30)[:, None]
    move = percentile(source, target, n_bins=99)  # a percentile for every cell
    moved = move(source)
    torch.testing.assert_close(moved[:70], torch.full((70, 1), 2 * 30 / 70))
    torch.testing.assert_close(moved.mean(), target.mean())
