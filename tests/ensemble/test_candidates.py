"""What each candidate is expected to weigh."""

import numpy as np
import pytest
import torch

from neuronedit._types import InSpace
from neuronedit.edits import Populations, _strata, by_strata, on_all, shift
from neuronedit.ensemble import CANDIDATES, Candidate, Prior
from neuronedit.ensemble._candidates import (
    average_candidates,
    encode_in_spaces,
    expect_weights,
    fit_candidates,
    predict_each,
)
from neuronedit.spaces import PCA, Identity
from neuronedit.spaces._choice import MAX_MARKERS


def expected(**given):
    return dict(zip(CANDIDATES, expect_weights(CANDIDATES, **given), strict=True))


@pytest.mark.parametrize("differs", [None, 0.0, 0.3, 1.0])
@pytest.mark.parametrize("n_cells", [0, 30, 1_000])
def test_what_is_expected_sums_to_1(differs, n_cells):
    for candidates in (CANDIDATES, {"a": Candidate("features", on_all(shift)), "b": CANDIDATES["quantile"]}):
        weights = expect_weights(candidates, differs=differs, n_cells=n_cells)
        assert weights.shape == (len(candidates),) and weights.sum() == pytest.approx(1) and (weights >= 0).all()


def test_edits_within_strata_are_expected_as_far_as_compositions_differ():
    within = [name for name in CANDIDATES if name.endswith("_by_strata")]
    share = [
        sum(expected(differs=differs, n_cells=10_000)[name] for name in within) for differs in (0.0, 0.25, 0.5, 1.0)
    ]
    assert share == sorted(share) and share[0] < 0.2 and share[-1] > 0.6
    np.testing.assert_allclose(np.diff(share), np.diff([0.0, 0.25, 0.5, 1.0]) * (share[-1] - share[0]))


@pytest.mark.parametrize("differs", [None, 0.0, 1.0])
def test_few_cells_are_expected_to_be_shifted(differs):
    few = expected(differs=differs, n_cells=10)
    assert max(few, key=few.get) == "mean_shift"
    assert few["mean_shift"] > 0.4
    none = expected(differs=differs, n_cells=0)  # nothing can be left out
    assert {name for name, weight in none.items() if weight > 0} == {
        name for name, candidate in CANDIDATES.items() if candidate.prior.few_cells > 0
    }
    weights = [expected(differs=differs, n_cells=n)["mean_shift"] for n in (0, 10, 100, 1_000, 100_000)]
    assert weights == sorted(weights, reverse=True) and weights[-1] < 0.05


def test_only_ratios_of_what_is_expected_matter():
    alike, scaled = (
        {
            name: Candidate("features", on_all(shift), prior=Prior(f * a, f * b, f * c, f * d))
            for name, a, b, c, d in PRIORS
        }
        for f in (1.0, 7.0)
    )
    for differs, n_cells in ((0.0, 500), (0.4, 20), (1.0, 0), (None, 500)):
        first, second = (expect_weights(x, differs=differs, n_cells=n_cells) for x in (alike, scaled))
        np.testing.assert_allclose(first, second)


PRIORS = [("a", 0.5, 0.1, 0.0, 0.3), ("b", 0.2, 0.6, 1.0, 0.6), ("c", 0.1, 0.1, 0.5, 0.1)]


def test_without_an_expectation_for_few_cells_the_usual_one_holds():
    candidates = {name: Candidate("features", on_all(shift), prior=Prior(a, b)) for name, a, b, *_ in PRIORS}
    np.testing.assert_allclose(expect_weights(candidates, differs=0.0, n_cells=0), np.array([5, 2, 1]) / 8)
    for differs in (1.0, None):  # nothing else is said of populations that were matched
        np.testing.assert_allclose(expect_weights(candidates, differs=differs, n_cells=0), np.array([1, 6, 1]) / 8)


def test_edits_of_all_cells_are_expected_less_where_compositions_differ():
    """They take the difference for a change; with strata the folds themselves show it."""
    of_all = [name for name in CANDIDATES if not name.endswith(("_by_strata", "_balanced"))]
    matched, named = (
        sum(expected(differs=differs, n_cells=10_000)[name] for name in of_all) for differs in (1.0, None)
    )
    assert matched < 0.08 < 0.15 < named
    candidates = {name: Candidate("features", on_all(shift), prior=Prior(a, b, c, d)) for name, a, b, c, d in PRIORS}
    np.testing.assert_allclose(
        expect_weights(candidates, differs=1.0, n_cells=10**9), np.array([3, 6, 1]) / 10, atol=1e-6
    )
    np.testing.assert_allclose(
        expect_weights(candidates, differs=None, n_cells=10**9), np.array([1, 6, 1]) / 8, atol=1e-6
    )


def test_an_offset_moves_cells_before_the_edit():
    generator = torch.Generator().manual_seed(0)
    source, query = torch.randn(100, 3, generator=generator), torch.randn(40, 3, generator=generator) + 8
    labels = np.zeros(100, dtype=int)
    spaces = {"features": Identity(n_features=3), "neurons": Identity(n_features=3)}
    encoded = encode_in_spaces(spaces, Populations(source, source + 2, labels, labels))
    offset = source.mean(0) - query.mean(0)
    names = ["mean_shift", "mean_shift_offset"]
    candidates = {name: CANDIDATES[name] for name in names}
    edited = predict_each(candidates, fit_candidates(candidates, encoded), spaces, offset, query)
    torch.testing.assert_close(edited["mean_shift"], query + 2, rtol=0, atol=1e-4)
    torch.testing.assert_close(edited["mean_shift_offset"], query + offset / 2 + 2, rtol=0, atol=1e-4)


def test_candidates_that_differ_in_the_offset_alone_share_an_edit():
    fitted = []

    def fit(populations):
        fitted.append(len(populations.source))
        return shift(populations.source, populations.target)

    candidates = {"plain": Candidate("features", fit), "offset": Candidate("features", fit, offset=0.5)}
    cells, labels = torch.zeros(5, 2), np.zeros(5, dtype=int)
    spaces = {"features": Identity(n_features=2)}
    fit_candidates(candidates, encode_in_spaces(spaces, Populations(cells, cells, labels, labels)))
    assert fitted == [5]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", CANDIDATES)
def test_cells_are_left_as_they_are(name, dtype):
    source = torch.randn(150, 3, generator=torch.Generator().manual_seed(0)).to(dtype)
    labels = np.arange(150) % 3
    populations = Populations(source.clone(), source * 1.5, labels, labels)
    CANDIDATES[name].fit(populations)(source)
    assert torch.equal(populations.source, source) and torch.equal(populations.target, source * 1.5)


@pytest.mark.parametrize("n_resembling", [90, 40])
def test_folds_that_leave_whole_strata_out_share_the_moves_of_the_others(n_resembling, monkeypatch):
    """With fewer cells to resemble than there are, a fold takes the moves of other cells than the fold before."""
    monkeypatch.setattr(_strata, "limit_resembling", lambda n_features: n_resembling)
    fitted = []

    class Count:
        __hash__ = None  # as of a dataclass that can be changed

        def __call__(self, source, target):
            fitted.append(len(source))
            return shift(source, target)

    generator = torch.Generator().manual_seed(0)
    source, target = torch.randn(90, 2, generator=generator), torch.randn(90, 2, generator=generator) + 3
    labels = np.repeat([0, 1, 2], [25, 30, 35])
    populations = Populations(source, target, labels, labels)
    candidates, known = {"by_strata": Candidate("features", by_strata(Count()))}, {}
    for stratum in range(3):
        others = {"features": populations.subset(labels != stratum, labels != stratum)}
        shared = fit_candidates(candidates, others, known)["by_strata"]
        alone = fit_candidates({"alone": CANDIDATES["shift_by_strata"]}, others)["alone"]
        assert torch.equal(shared.moves, alone.moves) and torch.equal(shared.cells, alone.cells)
    assert sorted(fitted) == [25, 30, 35, 55, 60, 65]  # each stratum once, and all cells of each fold


@pytest.mark.parametrize(
    ("n_features", "n_components", "in_components"),
    [(MAX_MARKERS, 4, False), (MAX_MARKERS + 1, 4, True), (MAX_MARKERS + 1, None, False)],
)
def test_cells_of_many_features_are_compared_in_components_if_neurons_are_these(
    n_features, n_components, in_components
):
    cells = torch.randn(90, n_features, generator=torch.Generator().manual_seed(0))
    features = Identity(n_features=n_features)
    neurons = features if n_components is None else PCA.of(cells, n_components=n_components)
    spaces = {"features": features, "neurons": neurons}
    labels = np.repeat([0, 1, 2], 30)
    encoded = encode_in_spaces(spaces, Populations(cells, cells + 1, labels, labels))
    assert encoded["features"].compared_in is (neurons if in_components else None)
    assert encoded["neurons"].compared_in is None
    edit = fit_candidates({"shift": CANDIDATES["shift_by_strata"]}, encoded)["shift"]
    assert edit.cells.shape[1] == (4 if in_components else n_features) and edit.moves.shape[1] == n_features


def test_the_average_is_the_weighted_mean_of_what_each_candidate_makes():
    """Each by itself is the oracle: encoded, edited, decoded, its neighbours looked for alone."""
    generator = torch.Generator().manual_seed(0)
    source, target, query = (torch.randn(90, 4, generator=generator) + shift for shift in (0, 1, 3))
    labels = np.repeat([0, 1, 2], 30)
    spaces = {"features": Identity(n_features=4), "neurons": PCA.of(source, n_components=2)}
    encoded = encode_in_spaces(spaces, Populations(source, target, labels, labels))
    offset = source.mean(0) - query.mean(0)
    edits = fit_candidates(CANDIDATES, encoded)
    alone = {}
    for name, candidate in CANDIDATES.items():
        alone[name] = InSpace(spaces[candidate.space], edits[name])(query + candidate.offset * offset)
        own = predict_each({name: candidate}, edits, spaces, offset, query)[name]
        torch.testing.assert_close(own, alone[name], rtol=0, atol=1e-5)
    each = predict_each(CANDIDATES, edits, spaces, offset, query)
    assert list(each) == list(CANDIDATES)
    torch.testing.assert_close(torch.stack(list(each.values())), torch.stack(list(alone.values())), rtol=0, atol=1e-5)
    shares = dict(zip(CANDIDATES, np.random.default_rng(0).dirichlet(np.ones(len(CANDIDATES))), strict=True))
    average = average_candidates(CANDIDATES, edits, shares, spaces, offset)
    mean = sum(shares[name] * x for name, x in alone.items())
    torch.testing.assert_close(average(query), mean, rtol=0, atol=1e-5)


def test_each_offset_belongs_to_a_candidate_without_one():
    for name, candidate in CANDIDATES.items():
        assert name.endswith("_offset") == (candidate.offset > 0)
        if candidate.offset:
            plain = CANDIDATES[name.removesuffix("_offset")]
            assert (plain.space, plain.fit) == (candidate.space, candidate.fit)
            assert candidate.prior.alike < plain.prior.alike
