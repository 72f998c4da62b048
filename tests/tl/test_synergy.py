"""Where two treatments together depart from the prediction: planted, absent, and where an effect does not generalize."""

import json
import logging

import anndata
import numpy as np
import pandas as pd
import pytest

import neuronedit as ne
from neuronedit.tl._interaction import p_value_beyond

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
        ne.tl.synergy(adata, "condition", **BOTH, n_bootstrap=20)
        table = adata.uns["synergy"]["features"]
        right += set(table.index[table["departs"]]) == ({"pERK", "p4EBP1"} if interaction else set())
    assert right >= 3
    assert (adata.uns["synergy"]["generalizes"]["verdict"] == "generalizes").all()
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
    assert list(record["generalizes"].index) == ["B on A", "A on B"]
    assert json.loads(record["config"])["measured"] == "A+B"
    repeated = before.copy()
    ne.tl.synergy(repeated, "condition", **BOTH)
    assert repeated.uns["synergy"]["features"].equals(table)


def shifted(recurs=1.0, n=400, rng=0):
    """A shifts two features; in cells of B it shifts them by ``recurs`` times as much."""
    generator = np.random.default_rng(rng)
    obs = pd.DataFrame({"drug": np.repeat(["none", "A", "B", "AB"], n)})
    obs.index = obs.index.astype(str)
    X = generator.normal(size=(4 * n, 5))
    X[n : 2 * n, :2] += 2
    X[2 * n :, 2] += 3
    X[3 * n :, :2] += 2 * recurs
    adata = anndata.AnnData(X.astype(np.float32), obs=obs, var=pd.DataFrame(index=list("vwxyz")))
    ne.tl.train(adata, space="identity")
    return adata


@pytest.mark.parametrize(
    ("recurs", "verdict"), [(1.0, "generalizes"), (0.1, "does not generalize"), (-1.0, "does not generalize")]
)
def test_an_effect_that_does_not_generalize_is_named_before_any_feature(recurs, verdict, caplog):
    adata = shifted(recurs)
    with caplog.at_level(logging.WARNING):
        ne.tl.synergy(adata, "drug", control="none", effects=["A", "B"], measured="AB", n_bootstrap=20)
    table, words = adata.uns["synergy"]["generalizes"], adata.uns["synergy"]["verdict"]
    assert table.loc["A on B", "verdict"] == verdict and table.loc["B on A", "verdict"] == "generalizes"
    assert table.loc["A on B", "recurs"] == pytest.approx(recurs, abs=0.1)
    assert (table["low"] <= table["recurs"]).all() and (table["recurs"] <= table["high"]).all()
    fails = verdict != "generalizes"
    assert words.startswith("A does not generalize to cells of B") == fails
    assert ("no evidence for interactions of single features" in words) == fails == bool(caplog.text)


def test_there_is_no_effect():
    adata = shifted()
    adata.obs["drug"] = np.random.default_rng(0).permutation(adata.obs["drug"])
    ne.tl.synergy(adata, "drug", control="none", effects=["A", "B"], measured="AB", n_bootstrap=10)
    table = adata.uns["synergy"]["generalizes"]
    assert (table["verdict"] == "no effect").all() and table["recurs"].isna().all()
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
            n_bootstrap=10,
            edit="shift",
        )
        found[margin] = adata.uns["synergy"]["features"]["departs"]["y"]
    assert found == {0.0: True, 0.1: True, 0.5: False}


def test_p_values_are_uniform_at_most_under_the_null():
    generator = np.random.default_rng(0)
    se = np.full(20_000, 0.5)
    for margin in (0.0, 0.4):
        p_value = p_value_beyond(margin + generator.normal(scale=0.5, size=20_000), se, np.full(20_000, margin))
        for level in (0.01, 0.05, 0.5):
            assert (p_value <= level).mean() <= level + 0.01
    assert p_value_beyond(np.array([0.0, 1.0]), np.zeros(2), np.full(2, 0.1)).tolist() == [1.0, 0.0]


def test_it_survives_a_file(tmp_path):
    adata = simulated(1.0, n=200)
    ne.tl.synergy(adata, "condition", **BOTH, n_bootstrap=5)
    adata.write_h5ad(tmp_path / "cells.h5ad")
    read = anndata.read_h5ad(tmp_path / "cells.h5ad")
    for name in ("features", "generalizes"):
        pd.testing.assert_frame_equal(read.uns["synergy"][name], adata.uns["synergy"][name], check_names=False)


def test_order_of_rows_categories_and_features():
    adata = simulated(1.0, n=300)
    ne.tl.synergy(adata, "condition", **BOTH, n_bootstrap=10)
    other = adata[:, ::-1].copy()
    other.obs["condition"] = other.obs["condition"].cat.reorder_categories(["B", "A+B", "basal", "A"])
    ne.tl.synergy(other, "condition", **BOTH, n_bootstrap=10)
    pd.testing.assert_frame_equal(
        other.uns["synergy"]["features"].loc[adata.var_names], adata.uns["synergy"]["features"]
    )


def taken(adata):
    adata.uns["synergy"] = "mine"


BAD = {
    "nothing measured": (None, {"measured": None}, r"measured: None is not in obs\['condition'\]"),
    "a score": (None, {"score": "CD38"}, "'score' is not a parameter of the edit 'percentile'; it has 'n_bins'"),
    "measured": (
        None,
        {"measured": "AB"},
        r"measured: 'AB' is not in obs\['condition'\]; it has 'basal', 'A', 'B', 'A\+B'",
    ),
    "measured twice": (None, {"measured": "A"}, "measured='A' is also the control or one of the effects"),
    "three": (None, {"effects": ["A", "B", "A+B"], "measured": "x"}, "effects must be two values; they are"),
    "auto": (None, {"edit": "auto"}, "edit='auto' shrinks effects"),
    "bootstrap": (None, {"n_bootstrap": 1}, "n_bootstrap must be at least 2"),
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
    with pytest.raises((KeyError, TypeError, ValueError), match=message):
        ne.tl.synergy(adata, **{"groupby": "condition"} | BOTH | arguments)
    assert set(adata.uns) == before


def test_what_was_measured_is_required():
    adata = simulated(0.0, n=50)
    with pytest.raises(TypeError, match="measured"):
        ne.tl.synergy(adata, "condition", control="basal", effects=["A", "B"])


def test_sachs_inhibitors_do_not_generalize(data_dir):
    adata = ne.datasets.sachs_icam2_inhibitors()
    ne.pp.arcsinh(adata, cofactor=5)
    ne.tl.train(adata, space="identity")
    for inhibitor in ("AKT-inhibitor", "G06976", "LY294002", "Psitectorigenin", "U0126"):
        effects = ["CD3CD28+ICAM2", f"CD3CD28+{inhibitor}"]
        how = {"control": "CD3CD28", "effects": effects, "measured": f"CD3CD28+ICAM2+{inhibitor}", "n_bootstrap": 20}
        ne.tl.synergy(adata, "condition", **how)
        verdict = adata.uns["synergy"]["verdict"]
        assert verdict.startswith(f"CD3CD28+{inhibitor} does not generalize to cells of CD3CD28+ICAM2: ")


def test_a_poor_space_calls_no_departure_that_is_its_own_error():
    """Two principal components cannot hold the effects, and the prediction is wrong by it: nothing is found, and nothing wrongly."""
    for rng in range(3):
        adata = simulated(0.0, n=800, rng=rng)
        ne.tl.train(adata, space="pca", n_components=2)
        ne.tl.synergy(adata, "condition", **BOTH, residual=False, n_bootstrap=10)
        assert not adata.uns["synergy"]["features"]["departs"].any()
