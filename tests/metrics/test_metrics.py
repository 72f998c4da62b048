import numpy as np
import ot
import pytest
from scipy.stats import energy_distance as one_dimensional

from neuronedit import metrics
from neuronedit.metrics import METRICS, energy_distance, gap_closed, mean_wasserstein


def simulate(seed, n=300, d=3, location=0.0):
    return np.random.default_rng(seed).normal(location, size=(n, d))


def test_energy_distance_is_scipy_s_squared_but_for_the_bias():
    x, y = simulate(0, d=1, location=2), simulate(1, n=250, d=1)
    biased = one_dimensional(x[:, 0], y[:, 0]) ** 2
    n, m = len(x), len(y)
    within_x, within_y = (np.abs(a - a.T).sum() for a in (x, y))
    correction = within_x / n**2 - within_x / (n * (n - 1)) + within_y / m**2 - within_y / (m * (m - 1))
    assert energy_distance(x, y) == pytest.approx(biased + correction)


def test_energy_distance_of_one_population_is_zero_on_average():
    values = [energy_distance(simulate(2 * i, n=60), simulate(2 * i + 1, n=60)) for i in range(200)]
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(200)
    assert min(values) < 0 < max(values)


def test_energy_distance_subsamples_with_its_seed():
    x, y = simulate(0, n=3000, location=1), simulate(1, n=3000)
    few = [energy_distance(x, y, max_cells=500, rng=rng) for rng in (0, 0, 1)]
    assert few[0] == few[1] != few[2]
    assert few[0] == pytest.approx(energy_distance(x, y), rel=0.2)


def test_mean_wasserstein_is_pot_s():
    x, y = simulate(0), simulate(1, n=200, location=1)
    expected = np.mean([ot.wasserstein_1d(x[:, j], y[:, j], p=1) for j in range(3)])
    assert mean_wasserstein(x, y) == pytest.approx(expected)


@pytest.mark.parametrize("name", METRICS)
def test_gap_closed(name):
    metric = METRICS[name]
    query, truth = simulate(0, n=600), simulate(1, n=600, location=2)
    assert gap_closed(metric, query, truth, query) == 0
    assert gap_closed(metric, query, truth, simulate(2, n=600, location=2)) == pytest.approx(1, abs=0.05)
    assert 0.2 < gap_closed(metric, query, truth, query + 1) < 0.9
    assert gap_closed(metric, query, truth, query - 1) < 0


def test_gap_closed_with_few_cells_is_about_one_for_a_perfect_prediction():
    """Wasserstein distances of 60 cells are too large by nearly half of this gap, and of halves of them by more."""
    closed = [
        gap_closed(
            mean_wasserstein,
            simulate(i, n=60),
            simulate(i + 100, n=60, location=0.5),
            simulate(i + 200, n=60, location=0.5),
        )
        for i in range(60)
    ]
    assert np.median(closed) == pytest.approx(1, abs=0.3)


def test_gap_closed_is_nan_where_there_is_no_gap():
    cells = simulate(0)
    assert np.isnan(gap_closed(mean_wasserstein, cells, cells, cells + 1))


def test_mmd_is_the_sum_over_pairs():
    x, y = simulate(0, n=40, location=1), simulate(1, n=31)
    pooled = np.concatenate([x, y])
    distances = np.linalg.norm(pooled[:, None] - pooled, axis=2)
    scale = np.median(distances[np.triu_indices(71, k=1)])
    kernel = np.exp(-(distances**2) / (2 * scale**2))
    np.fill_diagonal(kernel, 0)
    expected = kernel[:40, :40].sum() / (40 * 39) + kernel[40:, 40:].sum() / (31 * 30) - 2 * kernel[:40, 40:].mean()
    assert metrics.mmd(x, y) == pytest.approx(expected, abs=1e-12)


def test_mmd_of_one_population_is_zero_on_average():
    values = [metrics.mmd(simulate(2 * i, n=60), simulate(2 * i + 1, n=60)) for i in range(200)]
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(200)


def test_sliced_wasserstein_is_pot_s():
    x, y = simulate(0), simulate(1, n=200, location=1)
    directions = np.random.default_rng(7).normal(size=(3, 50))
    directions /= np.linalg.norm(directions, axis=0)
    expected = ot.sliced_wasserstein_distance(x, y, projections=directions, p=1)
    assert metrics.sliced_wasserstein(x, y, n_projections=50, rng=7) == pytest.approx(expected, abs=1e-9)


def test_only_multivariate_metrics_measure_dependence():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1000, 1)) * [1, 1] + 0.1 * rng.normal(size=(1000, 2))
    y = np.stack([rng.permutation(column) for column in x.T], axis=1)  # the same marginals, independent
    assert metrics.mean_wasserstein(x, y) == pytest.approx(0)
    assert metrics.median_difference(x, y) == pytest.approx(0)
    for name in ("energy_distance", "mmd", "sliced_wasserstein"):
        assert METRICS[name](x, y) > 3 * abs(METRICS[name](x[::2], x[1::2]))


def test_agreements_against_numpy():
    x, y = simulate(0) * [1, 2, 3] + [1, 5, 2], simulate(1) * [1, 1, 4] + [2, 5, 1]
    assert metrics.mean_correlation(x, y) == pytest.approx(np.corrcoef(x.mean(0), y.mean(0))[0, 1])
    assert metrics.variance_correlation(x, y) == pytest.approx(np.corrcoef(x.var(0), y.var(0))[0, 1])
    pairs = np.triu_indices(3)
    expected = np.corrcoef(np.cov(x.T)[pairs], np.cov(y.T)[pairs])[0, 1]
    assert metrics.covariance_correlation(x, y) == pytest.approx(expected)
    assert metrics.variance_ratio(x, y) == pytest.approx(x.var(0).sum() / y.var(0).sum())
    true = y.mean(0)
    assert metrics.r2(np.broadcast_to(true.mean(), (5, 3)), y) == pytest.approx(0)
    assert metrics.r2(x, y) == pytest.approx(1 - ((x.mean(0) - true) ** 2).sum() / ((true - true.mean()) ** 2).sum())


def test_correlation_of_nothing_is_nan():
    assert np.isnan(metrics.mean_correlation(np.ones((5, 3)), simulate(0)))
    assert np.isnan(metrics.change_correlation(simulate(0), simulate(0), simulate(1), simulate(1)))


@pytest.mark.parametrize("statistic", [np.median, np.mean])
def test_change_correlation_has_a_sign_and_no_size(statistic):
    source, query, change = simulate(0), simulate(1, location=4), np.array([1.0, 0.0, -2.0])
    for factor, expected in ((1, 1), (0.2, 1), (-1, -1)):
        value = metrics.change_correlation(source, source + change, query, query + factor * change, statistic=statistic)
        assert value == pytest.approx(expected)


def test_harmed_against_the_truth_and_against_the_controls():
    query = simulate(0, d=5)
    applied = np.array([1.0, -1.0, 0.02, 3.0, 0.0])
    truth = query + [1.0, 1.0, 0.0, 1.0, 0.0]
    assert metrics.harmed(query, query + applied, truth=truth).tolist() == [False, True, False, True, False]
    source = simulate(1, d=5)
    target = source + [1.0, 1.0, 0.0, 1.0, 0.0]
    harm = metrics.harmed(query, query + applied, source=source, target=target)
    assert harm.tolist() == [False, True, False, True, False]
    with pytest.raises(ValueError, match="harmed needs the truth, or source and target"):
        metrics.harmed(query, query)
