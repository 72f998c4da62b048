"""What samples contain that their controls do not, of populations whose composition is known."""

import numpy as np
import pytest

from neuronedit.metrics._coverage import measure_coverage

CENTERS = np.array([[6.0, 0.0, 0.0], [0.0, 6.0, 0.0], [0.0, 0.0, 6.0]])
NAMES = ["CD3", "CD19", "CD14"]
EQUAL = [1 / 3, 1 / 3, 1 / 3]


def simulate(seed, shares, n=900):
    rng = np.random.default_rng(seed)
    return CENTERS[rng.choice(3, p=shares, size=n)] + rng.normal(scale=0.5, size=(n, 3))


def simulate_controls(n_samples):
    return np.concatenate([simulate(i, EQUAL) for i in range(n_samples)]), np.repeat(np.arange(n_samples), 900)


def test_only_a_sample_of_another_composition_is_far_and_described():
    query = np.concatenate([simulate(10, EQUAL), simulate(11, [0.8, 0.1, 0.1])])
    found = measure_coverage(*simulate_controls(4), query, np.repeat(["same", "other"], 900), NAMES)
    assert found.ratio["other"] > 5 and found.ratio["same"] < 1
    assert "more CD3+" in found.lacking["other"] and "fewer" in found.lacking["other"]
    assert found.beyond.max() < 0.05


@pytest.mark.parametrize("n_controls", [3, 4, 8])
@pytest.mark.parametrize("n_cells", [30, 100, 300, 900])
def test_few_samples_of_the_same_kind_are_flagged_by_chance(n_cells, n_controls):
    query = np.concatenate([simulate(100 + i, EQUAL, n_cells) for i in range(30)])
    found = measure_coverage(*simulate_controls(n_controls), query, np.repeat(np.arange(30), n_cells), NAMES)
    assert np.mean([ratio > 1 for ratio in found.ratio.values()]) < 0.1


@pytest.mark.parametrize(
    ("n_cells", "shares"), [(30, [0.8, 0.1, 0.1]), (100, [0.6, 0.2, 0.2]), (900, [0.5, 0.25, 0.25])]
)
def test_samples_of_few_cells_are_flagged_where_they_differ_much(n_cells, shares):
    query = np.concatenate([simulate(100 + i, shares, n_cells) for i in range(10)])
    found = measure_coverage(*simulate_controls(4), query, np.repeat(np.arange(10), n_cells), NAMES)
    assert np.mean([ratio > 1 for ratio in found.ratio.values()]) > 0.9


def test_values_beyond_the_controls_are_counted_by_feature():
    query = simulate(10, EQUAL)
    query[:180, 1] += 50
    found = measure_coverage(*simulate_controls(3), query, np.full(900, "a"), NAMES)
    assert found.beyond[1] == pytest.approx(0.2, abs=0.02)
    assert max(found.beyond[[0, 2]]) < 0.03


def test_two_control_samples_do_not_show_how_much_samples_differ():
    found = measure_coverage(*simulate_controls(2), simulate(10, EQUAL), np.full(900, "a"), NAMES)
    assert np.isnan(found.ratio["a"]) and not found.lacking


def test_the_same_rng_gives_the_same_result():
    query, samples = simulate(10, [0.6, 0.2, 0.2], n=3000), np.full(3000, "a")
    first, second, other = (
        measure_coverage(*simulate_controls(3), query, samples, NAMES, rng=rng) for rng in (0, 0, 1)
    )
    assert first.ratio == second.ratio != other.ratio
