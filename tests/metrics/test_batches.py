"""Measures of batches: laws, what a constant scores, and the figures of the published scripts on the same cells."""

import sys
from itertools import combinations

import numpy as np
import pytest

from neuronedit import metrics

DONORS = {"d1": "healthy", "d2": "healthy", "d3": "healthy", "d4": "patient", "d5": "patient", "d6": "patient"}
BETWEEN_BATCHES = [(f"{donor}_1", f"{donor}_2") for donor in DONORS]
N = 120  # cells of a population in a sample


@pytest.fixture(scope="module")
def study():
    """Six people measured in two batches, and cells that were corrected in part; two populations, four markers."""
    rng = np.random.default_rng(0)
    before, after, labels = [], [], []
    for donor, group in DONORS.items():
        person = rng.normal(0, 0.2, size=(2, 4))
        for batch in (1, 2):
            for i, population in enumerate(("B", "T")):
                x = rng.normal(size=(N, 4)) * [1.0, 0.5, 1.0, 0.3] + person[i] + [3.0 * i, 1.0, 2.0, 0.0]
                x[: N // 2, 2] += 4.0  # two peaks
                x[:, 0] += 0.8 * (group == "patient")
                shift = (batch == 2) * np.array([0.5, 0.2, 0.0, -0.3])
                before.append(x + shift)
                corrected = x + 0.2 * shift + 0.05
                corrected[: N // 2, 2] -= 4.0 * (donor in ("d1", "d5"))  # peaks that are lost
                corrected[:, 0] -= 0.7 * (group == "patient") * (population == "T")  # and a difference between people
                after.append(corrected)
                labels += [(f"{donor}_{batch}", population, group, str(batch))] * N
    samples, populations, groups, batches = np.array(labels).T
    return np.concatenate(before), np.concatenate(after), samples, populations, groups, batches


def find_mean(differences):
    return float(np.mean(list(differences.values())))


def effects_of(cells, study, batch=None):
    _, _, samples, populations, groups, batches = study
    rows = np.ones(len(cells), dtype=bool) if batch is None else batches == batch
    return metrics.group_effects(cells[rows], samples[rows], populations[rows], groups[rows])


PUBLISHED = {
    "emd_mean_ct_horiz": 0.11939236111110435,
    "emd_mean_ct_vert": 0.5144444444444152,
    "average_batch_r2_ct": 0.004395148843791272,
    "ratio_consistent_peaks": 0.9090909090909091,
    "functional_marker_preservation_wilcoxon": 0.5,
    "functional_marker_preservation_cohens_d": 2.440706561813017,
}
"""What the scripts of Open Problems' task of cytometry batch integration (18 August 2026) returned for these cells."""


def score(study):
    before, after, samples, populations, _, batches = study
    vertical = [(f"{a}_{b}", f"{c}_{b}") for b in (1, 2) for a, c in combinations(DONORS, 2) if DONORS[a] == DONORS[c]]
    emd = {"statistic": "emd", "bin_width": 0.1}
    kept = metrics.preserved_function(
        [effects_of(before, study, batch) for batch in ("1", "2")],
        [effects_of(after, study, batch) for batch in ("1", "2")],
    )
    return {
        "emd_mean_ct_horiz": find_mean(metrics.sample_differences(after, samples, populations, BETWEEN_BATCHES, **emd)),
        "emd_mean_ct_vert": find_mean(metrics.sample_differences(after, samples, populations, vertical, **emd)),
        "average_batch_r2_ct": find_mean(
            metrics.sample_differences(after, samples, populations, BETWEEN_BATCHES, statistic="r2")
        ),
        "ratio_consistent_peaks": metrics.consistent_peaks(before, after, samples, populations, BETWEEN_BATCHES),
        "functional_marker_preservation_wilcoxon": kept.share_kept,
        "functional_marker_preservation_cohens_d": kept.effect_error,
    }


@pytest.mark.parametrize("name", PUBLISHED)
def test_it_is_what_the_published_scripts_return(study, name):
    assert score(study)[name] == pytest.approx(PUBLISHED[name], abs=1e-6)


# laws


@pytest.mark.parametrize("statistic", ["emd", "mad", "r2"])
def test_a_sample_does_not_differ_from_itself_and_cells_that_are_alike_win(study, statistic):
    before, after, samples, populations, _, _ = study
    how = {"statistic": statistic}
    cells, twice = np.concatenate([before[:N], before[:N]]), np.repeat(["a", "b"], N)
    same = metrics.sample_differences(cells, twice, np.full(2 * N, "T"), [("a", "b")], **how)
    np.testing.assert_allclose(same["a", "b", "T"], 0, atol=1e-12)
    scores = [
        find_mean(metrics.sample_differences(x, samples, populations, BETWEEN_BATCHES, **how)) for x in (before, after)
    ]
    assert scores[1] < scores[0] or statistic == "mad"
    constant = find_mean(metrics.sample_differences(0 * before, samples, populations, BETWEEN_BATCHES, **how))
    assert constant == (statistic == "r2")  # which exposes it


def test_the_statistics_are_numpy_s(study):
    before, _, samples, populations, _, _ = study
    x, y = (before[(samples == name) & (populations == "T")] for name in BETWEEN_BATCHES[0])
    key = (*BETWEEN_BATCHES[0], "T")
    found = {
        s: metrics.sample_differences(before, samples, populations, BETWEEN_BATCHES[:1], statistic=s)[key]
        for s in ("emd", "mad", "r2")
    }
    order = np.sort(x, axis=0), np.sort(y, axis=0)
    np.testing.assert_allclose(found["emd"], np.abs(order[0] - order[1]).mean(axis=0))
    mad = [np.median(np.abs(z - np.median(z, axis=0)), axis=0) for z in (x, y)]
    np.testing.assert_allclose(found["mad"], np.abs(mad[0] - mad[1]))
    indicator = np.repeat([0.0, 1.0], N)
    r = [np.corrcoef(indicator, np.concatenate([x[:, j], y[:, j]]))[0, 1] for j in range(4)]
    np.testing.assert_allclose(found["r2"], np.square(r))


def test_small_populations_are_left_out(study):
    before, _, samples, populations, _, _ = study
    rows = np.ones(len(before), dtype=bool)
    rows[30:N] = False  # of population B of d1_1
    found = metrics.sample_differences(before[rows], samples[rows], populations[rows], BETWEEN_BATCHES[:2])
    assert ("d1_1", "d1_2", "B") not in found and len(found) == 3


def test_peaks_that_merge_are_counted(study):
    before, _, samples, populations, _, _ = study
    keep = metrics.consistent_peaks(before, 3 * before - 1, samples, populations, BETWEEN_BATCHES)
    merged = before.copy()
    merged[:, 2] = np.random.default_rng(0).normal(size=len(before))
    assert keep == 1 > 0.8 > metrics.consistent_peaks(before, merged, samples, populations, BETWEEN_BATCHES)
    assert metrics.consistent_peaks(before, 0 * before, samples, populations, BETWEEN_BATCHES) == 0
    assert np.isnan(metrics.consistent_peaks(0 * before, before, samples, populations, BETWEEN_BATCHES))


def test_what_differs_between_people_is_kept_or_lost(study):
    before, after = study[:2]
    shown = [effects_of(before, study, batch) for batch in ("1", "2")]
    same = metrics.preserved_function(shown, [shown[0], shown[0]])
    assert same.share_kept == 1 and same.n_differences >= 2
    all_alike = metrics.preserved_function(shown, [effects_of(0 * before, study)])
    assert all_alike.share_kept == 0 and np.isnan(all_alike.effect_error)
    shuffled = np.random.default_rng(0).permutation(after)
    lost = metrics.preserved_function(shown, [effects_of(shuffled, study)])
    assert lost.share_kept < 0.6 and lost.effect_error > 1
    nothing = {"T": metrics.GroupEffect(np.ones(4), np.zeros(4))}
    assert np.isnan(metrics.preserved_function([nothing], [nothing]).share_kept)


# through other packages


def test_mixing_is_what_scib_metrics_returns(study):
    scib_metrics = pytest.importorskip("scib_metrics")
    before, after, _, populations, _, batches = study
    codes = [np.unique(labels, return_inverse=True)[1] for labels in (batches, populations)]
    for cells in (before, after):
        neighbors = scib_metrics.nearest_neighbors.pynndescent(cells.astype(np.float32), n_neighbors=90, random_state=0)
        assert metrics.ilisi(cells, batches) == pytest.approx(scib_metrics.ilisi_knn(neighbors, codes[0]), abs=1e-6)
        assert metrics.clisi(cells, populations) == pytest.approx(scib_metrics.clisi_knn(neighbors, codes[1]), abs=1e-6)
        neighbors = scib_metrics.nearest_neighbors.pynndescent(cells.astype(np.float32), n_neighbors=90, random_state=0)
        assert metrics.kbet(cells, batches) == pytest.approx(scib_metrics.kbet(neighbors, codes[0])[0], abs=1e-6)
        assert metrics.bras(cells, batches, populations) == pytest.approx(scib_metrics.bras(cells, codes[1], codes[0]))
    for function in (metrics.ilisi, metrics.kbet):
        assert function(before, batches) < function(after, batches)
    rng = np.random.default_rng(0)
    assert metrics.clisi(rng.permutation(after), populations) < 0.2 < 0.8 < metrics.clisi(after, populations)


def test_maps_of_equal_samples_are_equal(study):
    pytest.importorskip("flowsom")
    before, _, samples, populations, _, _ = study
    x, y = samples == "d1_1", samples == "d1_2"
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    assert metrics.flowsom_similarity(before[x], before[x], populations[x], populations[x], grid=4) == pytest.approx(
        100
    )
    near = metrics.flowsom_similarity(before[x], before[y], populations[x], populations[y], grid=4)
    swapped = np.where(populations[y] == "B", "T", "B")
    far = metrics.flowsom_similarity(before[x], before[y], populations[x], swapped, grid=4)
    assert far < 0 < 60 < near <= 100
    assert np.array_equal(state, np.random.get_state()[1])  # noqa: NPY002


X, NAMES = np.random.default_rng(0).normal(size=(6, 3)), np.array(["a", "a", "a", "b", "b", "b"])


def effects(n_features):
    return {"T": metrics.GroupEffect(np.ones(n_features), np.zeros(n_features))}


BAD = {
    "labels of other cells": (lambda: metrics.sample_differences(X, NAMES[:5], NAMES, [("a", "b")]), "samples"),
    "no such sample": (lambda: metrics.sample_differences(X, NAMES, NAMES, [("a", "c")]), "compared: c are no samples; there are a, b"),
    "nothing compared": (lambda: metrics.sample_differences(X, NAMES, NAMES, []), "compared must be tuples"),
    "no such statistic": (lambda: metrics.sample_differences(X, NAMES, NAMES, [("a", "b")], statistic="ks"), "statistic"),
    "NaN": (lambda: metrics.sample_differences(X * np.nan, NAMES, NAMES, [("a", "b")]), "NaN"),
    "other cells": (lambda: metrics.consistent_peaks(X, X[:5], NAMES, NAMES, [("a", "b")]), "before has the shape"),
    "one group": (lambda: metrics.group_effects(X, NAMES, NAMES, np.full(6, "g")), "groups must have two values; they have 1: g"),
    "no results": (lambda: metrics.preserved_function([], []), "needs one result"),
    "no effects": (lambda: metrics.preserved_function([{"T": 3}], [{}]), "before must be a list of dicts of strings to GroupEffect objects"),
    "other features": (lambda: metrics.preserved_function([effects(3)], [effects(2)]), r"shapes are \(2,\), \(3,\)"),
    "no rate": (lambda: metrics.preserved_function([{}], [{}], max_p_value=2.0), "max_p_value must be from 0 to 1"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case):
    call, message = BAD[case]
    with pytest.raises((TypeError, ValueError), match=message):
        call()


@pytest.mark.parametrize(("module", "call", "extra"), [
    ("scib_metrics", lambda: metrics.ilisi(X, NAMES, n_neighbors=3), "scib"),
    ("scib_metrics", lambda: metrics.clisi(X, NAMES, n_neighbors=3), "scib"),
    ("scib_metrics", lambda: metrics.kbet(X, NAMES, n_neighbors=3), "scib"),
    ("scib_metrics", lambda: metrics.bras(X, NAMES, NAMES), "scib"),
    ("flowsom", lambda: metrics.flowsom_similarity(X, X, NAMES, NAMES), "flowsom"),
])  # fmt: skip
def test_the_error_names_the_extra(monkeypatch, module, call, extra):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf"pip install 'neuronedit\[{extra}\]'"):
        call()
