"""Where two treatments together depart from what each alone lets expect: planted, absent, and not carried over at all."""

import json
import logging

import anndata
import numpy as np
import pandas as pd
import pytest

import neuronedit as ne
from neuronedit.tl._departures import beyond

BOTH = {"control": "basal", "effects": ["A", "B"], "measured": "A+B"}


def simulated(interaction, n=500, rng=0, space="identity"):
    adata = ne.datasets.simulate_combination(n_cells=n, interaction=interaction, rng=rng)
    ne.tl.train(adata, space=space)
    return adata


@pytest.mark.parametrize("interaction", [0.0, 1.0, -1.0])
def test_planted_interaction_is_found_and_nothing_else(interaction):
    right = 0
    for rng in range(4):
        adata = simulated(interaction, n=800, rng=rng)
        ne.tl.synergy(adata, "condition", **BOTH, n_resamples=20)
        table = adata.uns["synergy"]["features"]
        right += set(table.index[table["departs"]]) == ({"pERK", "p4EBP1"} if interaction else set())
    assert right >= 3
    assert (adata.uns["synergy"]["carries_over"]["says"] == "carries over").all()
    sign = np.sign(table.loc["pERK", "difference"])
    assert sign == -np.sign(interaction) or not interaction


def test_what_is_written():
    adata = simulated(1.0)
    before = adata.copy()
    ne.tl.synergy(adata, "condition", **BOTH)
    record = adata.uns["synergy"]
    table = record["features"]
    assert list(table.index) == list(adata.var_names) and set(adata.layers) == set(before.layers)
    means = adata.to_df().groupby(adata.obs["condition"], observed=True).mean()
    np.testing.assert_allclose(table["effect_a"], means.loc["A"] - means.loc["basal"], atol=1e-4)
    np.testing.assert_allclose(table["effect_b"], means.loc["B"] - means.loc["basal"], atol=1e-4)
    np.testing.assert_allclose(table["measured"], means.loc["A+B"], atol=1e-4)
    np.testing.assert_allclose(table["difference"], table["measured"] - table["predicted"], atol=1e-6)
    np.testing.assert_allclose(table["high"] - table["low"], 2 * 1.96 * table["se"], atol=1e-6)
    assert (table["q_value"] >= table["p_value"]).all() and table["p_value"].between(0, 1).all()
    both = ne.tl.combine(adata, "condition", control="basal", effects=["A", "B"], edit="percentile")
    halves = [both.X[both.obs["combined_from"] == given].mean(axis=0) for given in ("A", "B")]
    np.testing.assert_allclose(table["predicted"], np.mean(halves, axis=0), atol=1e-4)
    assert list(record["carries_over"].index) == ["B on A", "A on B"]
    assert json.loads(record["config"])["measured"] == "A+B"
    again = before.copy()
    ne.tl.synergy(again, "condition", **BOTH)
    assert again.uns["synergy"]["features"].equals(table)


def shifted(again=1.0, n=400, seed=0):
    """A shifts two features; in cells of B it shifts them by ``again`` times as much."""
    generator = np.random.default_rng(seed)
    obs = pd.DataFrame({"drug": np.repeat(["none", "A", "B", "AB"], n)})
    obs.index = obs.index.astype(str)
    X = generator.normal(size=(4 * n, 5))
    X[n : 2 * n, :2] += 2
    X[2 * n :, 2] += 3
    X[3 * n :, :2] += 2 * again
    adata = anndata.AnnData(X.astype(np.float32), obs=obs, var=pd.DataFrame(index=list("vwxyz")))
    ne.tl.train(adata, space="identity")
    return adata


@pytest.mark.parametrize(
    ("again", "says"), [(1.0, "carries over"), (0.1, "does not carry over"), (-1.0, "does not carry over")]
)
def test_an_effect_that_does_not_recur_is_said_to_before_any_feature(again, says, caplog):
    adata = shifted(again)
    with caplog.at_level(logging.WARNING):
        ne.tl.synergy(adata, "drug", control="none", effects=["A", "B"], measured="AB", n_resamples=20)
    carries, verdict = adata.uns["synergy"]["carries_over"], adata.uns["synergy"]["verdict"]
    assert carries.loc["A on B", "says"] == says and carries.loc["B on A", "says"] == "carries over"
    assert carries.loc["A on B", "recurs"] == pytest.approx(again, abs=0.1)
    assert (carries["low"] <= carries["recurs"]).all() and (carries["recurs"] <= carries["high"]).all()
    assert verdict.startswith("A does not carry over to cells of B") == (says != "carries over")
    assert ("no interactions of single features" in verdict) == (says != "carries over") == bool(caplog.text)


def test_nothing_to_carry_over():
    adata = shifted()
    adata.obs["drug"] = np.random.default_rng(0).permutation(adata.obs["drug"])
    ne.tl.synergy(adata, "drug", control="none", effects=["A", "B"], measured="AB", n_resamples=10)
    carries = adata.uns["synergy"]["carries_over"]
    assert (carries["says"] == "no effect in the control").all() and carries["recurs"].isna().all()
    assert "A changes no feature of the control by more than 0.1 sd." in adata.uns["synergy"]["verdict"]
    assert not adata.uns["synergy"]["features"]["departs"].any()


def test_the_margin_is_what_it_is_said_to_be():
    """Differences of 0.3 sd, precisely known: beyond a margin of 0.1, within one of 0.5."""
    found = {}
    for margin in (0.0, 0.1, 0.5):
        adata = shifted(n=2000)
        adata.X[6000:, 3] += 0.3
        ne.tl.synergy(
            adata,
            "drug",
            control="none",
            effects=["A", "B"],
            measured="AB",
            margin=margin,
            n_resamples=10,
            edit="shift",
        )
        found[margin] = adata.uns["synergy"]["features"]["departs"]["y"]
    assert found == {0.0: True, 0.1: True, 0.5: False}


def test_p_values_are_uniform_at_most_under_the_null():
    generator = np.random.default_rng(0)
    se = np.full(20_000, 0.5)
    for margin in (0.0, 0.4):
        p_value = beyond(margin + generator.normal(scale=0.5, size=20_000), se, np.full(20_000, margin))
        for level in (0.01, 0.05, 0.5):
            assert (p_value <= level).mean() <= level + 0.01
    assert beyond(np.array([0.0, 1.0]), np.zeros(2), np.full(2, 0.1)).tolist() == [1.0, 0.0]


SCORES = {
    "marker": "p4EBP1",
    "gate": {"CD38": (1.0, None), "p4EBP1": (None, 2.0)},
    "function": lambda cells: cells[:, ["CD38"]].X.mean() - cells[:, ["p4EBP1"]].X.mean(),
}


@pytest.mark.parametrize("name", SCORES)
def test_pairs_are_ranked_by_a_score(name):
    adata = simulated(0.0, n=200)
    adata.obs["drug"] = adata.obs["condition"].astype(str).replace({"A+B": "C"})
    ne.tl.synergy(adata, "drug", control="basal", effects=["A", "B", "C"], score=SCORES[name], n_resamples=10)
    pairs = adata.uns["synergy"]["pairs"]
    assert set(pairs.index) == {"A+B", "A+C", "B+C"} and pairs["predicted"].is_monotonic_decreasing
    assert (pairs["low"] <= pairs["predicted"]).all() and (pairs["predicted"] <= pairs["high"]).all()
    assert adata.uns["synergy"]["verdict"].startswith(f"Of 3 predicted pairs {pairs.index[0]} scores highest")
    both = ne.tl.combine(adata, "drug", control="basal", effects=["A", "B", "C"], edit="percentile")
    rows = both[both.obs["drug"] == "A+B"]
    of = {
        "marker": lambda x: x.to_df()["p4EBP1"].mean(),
        "gate": lambda x: ((x.to_df()["CD38"] >= 1.0) & (x.to_df()["p4EBP1"] <= 2.0)).mean(),
        "function": lambda x: x.to_df()["CD38"].mean() - x.to_df()["p4EBP1"].mean(),
    }[name]
    assert pairs.loc["A+B", "predicted"] == pytest.approx(of(rows), abs=1e-4)
    assert pairs.loc["A+B", "score_a"] == pytest.approx(of(adata[adata.obs["drug"] == "A"]), abs=1e-4)


def test_it_survives_a_file(tmp_path):
    adata = simulated(1.0, n=200)
    ne.tl.synergy(adata, "condition", **BOTH, n_resamples=5)
    adata.write_h5ad(tmp_path / "cells.h5ad")
    again = anndata.read_h5ad(tmp_path / "cells.h5ad")
    for name in ("features", "carries_over"):
        pd.testing.assert_frame_equal(again.uns["synergy"][name], adata.uns["synergy"][name], check_names=False)


def test_order_of_rows_categories_and_features():
    adata = simulated(1.0, n=300)
    ne.tl.synergy(adata, "condition", **BOTH, n_resamples=10)
    other = adata[:, ::-1].copy()
    other.obs["condition"] = other.obs["condition"].cat.reorder_categories(["B", "A+B", "basal", "A"])
    ne.tl.synergy(other, "condition", **BOTH, n_resamples=10)
    pd.testing.assert_frame_equal(
        other.uns["synergy"]["features"].loc[adata.var_names], adata.uns["synergy"]["features"]
    )


def taken(adata):
    adata.uns["synergy"] = "mine"


BAD = {
    "neither": (None, {"measured": None}, "give either measured"),
    "both": (None, {"score": "CD38"}, "give either measured"),
    "measured": (
        None,
        {"measured": "AB"},
        r"measured: 'AB' is not in obs\['condition'\]; it has 'basal', 'A', 'B', 'A\+B'",
    ),
    "measured twice": (None, {"measured": "A"}, "measured='A' is among control and effects, too"),
    "three": (None, {"effects": ["A", "B", "A+B"], "measured": "x"}, "measured needs two effects; there are 3"),
    "auto": (None, {"edit": "auto"}, "edit='auto' shrinks effects"),
    "score": (None, {"measured": None, "score": "CD1000"}, "'CD1000' is not in adata.var_names"),
    "gate": (None, {"measured": None, "score": {"CD1000": (0, 1)}}, "'CD1000' is not in adata.var_names"),
    "resamples": (None, {"n_resamples": 1}, "n_resamples must be at least 2"),
    "margin": (None, {"margin": -0.1}, "margin must be at least 0"),
    "fdr": (None, {"fdr": 5}, "fdr between 0 and 1"),
    "effect": (None, {"effects": ["A", "das"]}, r"effects: 'das' is not in obs\['condition'\]"),
    "of others": (taken, {}, r"uns\['synergy'\] exists and was not written by neuronedit"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    change, arguments, message = BAD[name]
    adata = simulated(0.0, n=50)
    if change:
        change(adata)
    before = set(adata.uns)
    with pytest.raises((KeyError, ValueError), match=message):
        ne.tl.synergy(adata, **{"groupby": "condition"} | BOTH | arguments)
    assert set(adata.uns) == before


def test_sachs_inhibitors_do_not_carry_over(data_dir):
    adata = ne.datasets.sachs_icam2_inhibitors()
    ne.pp.arcsinh(adata, cofactor=5)
    ne.tl.train(adata, space="identity")
    for inhibitor in ("AKT-inhibitor", "G06976", "LY294002", "Psitectorigenin", "U0126"):
        effects = ["CD3CD28+ICAM2", f"CD3CD28+{inhibitor}"]
        how = {"control": "CD3CD28", "effects": effects, "measured": f"CD3CD28+ICAM2+{inhibitor}", "n_resamples": 20}
        ne.tl.synergy(adata, "condition", **how)
        verdict = adata.uns["synergy"]["verdict"]
        assert verdict.startswith(f"CD3CD28+{inhibitor} does not carry over to cells of CD3CD28+ICAM2: ")


def test_a_poor_space_calls_no_departure_that_is_its_own_error():
    """Two principal components cannot hold the effects, and the prediction is wrong by it: nothing is found, and nothing wrongly."""
    for rng in range(3):
        adata = simulated(0.0, n=800, rng=rng)
        ne.tl.train(adata, space="pca", n_components=2)
        ne.tl.synergy(adata, "condition", **BOTH, residual=False, n_resamples=10)
        assert not adata.uns["synergy"]["features"]["departs"].any()
