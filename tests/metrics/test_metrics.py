import numpy as np
import ot
import pytest
from scipy.stats import energy_distance as one_dimensional

from neuronedit.metrics import METRICS, energy_distance, gap_closed, mean_wasserstein


def draw(seed, n=300, d=3, location=0.0):
    return np.random.default_rng(seed).normal(location, size=(n, d))


def test_energy_distance_is_scipy_s_squared_but_for_the_bias():
    x, y = draw(0, d=1, location=2), draw(1, n=250, d=1)
    biased = one_dimensional(x[:, 0], y[:, 0]) ** 2
    n, m = len(x), len(y)
    within_x, within_y = (np.abs(a - a.T).sum() for a in (x, y))
    correction = within_x / n**2 - within_x / (n * (n - 1)) + within_y / m**2 - within_y / (m * (m - 1))
    assert energy_distance(x, y) == pytest.approx(biased + correction)


def test_energy_distance_of_one_population_is_zero_on_average():
    values = [energy_distance(draw(2 * i, n=60), draw(2 * i + 1, n=60)) for i in range(200)]
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(200)
    assert min(values) < 0 < max(values)


def test_energy_distance_subsamples_with_its_seed():
    x, y = draw(0, n=3000, location=1), draw(1, n=3000)
    few = [energy_distance(x, y, max_cells=500, rng=rng) for rng in (0, 0, 1)]
    assert few[0] == few[1] != few[2]
    assert few[0] == pytest.approx(energy_distance(x, y), rel=0.2)


def test_mean_wasserstein_is_pot_s():
    x, y = draw(0), draw(1, n=200, location=1)
    expected = np.mean([ot.wasserstein_1d(x[:, j], y[:, j], p=1) for j in range(3)])
    assert mean_wasserstein(x, y) == pytest.approx(expected)


@pytest.mark.parametrize("name", METRICS)
def test_gap_closed(name):
    metric = METRICS[name]
    query, truth = draw(0, n=600), draw(1, n=600, location=2)
    assert gap_closed(metric, query, truth, query) == 0
    assert gap_closed(metric, query, truth, draw(2, n=600, location=2)) == pytest.approx(1, abs=0.05)
    assert 0.2 < gap_closed(metric, query, truth, query + 1) < 0.9
    assert gap_closed(metric, query, truth, query - 1) < 0
