"""What tl.combine predicts, and which cells it was predicted from."""

import json
import logging
import re

import anndata
import numpy as np
import pandas as pd
import pytest

import neuronedit as ne

BOTH = {"control": "basal", "effects": ["A", "B"], "edit": "percentile"}


@pytest.fixture(scope="module")
def _treated():
    adata = ne.datasets.simulate_combination(n_cells=150)
    ne.tl.train(adata, space="pca", n_components=10)
    return adata


@pytest.fixture
def treated(_treated):
    return _treated.copy()


def planted(n=200, interaction=0.0):
    """Three treatments, each a shift of its own marker; the third one's depends on where a cell stands."""
    generator = np.random.default_rng(0)
    obs = pd.DataFrame({"drug": np.repeat(["none", "a", "b", "c"], n), "donor": "x"})
    obs.index = obs.index.astype(str)
    X = generator.normal(size=(4 * n, 4))
    X[n : 2 * n, 0] += 2
    X[2 * n : 3 * n, 1] -= 3
    X[3 * n :, 2] += 1
    return anndata.AnnData(X.astype(np.float32), obs=obs)


def test_planted_shifts_add_up_for_all_combinations():
    adata = planted()
    ne.tl.train(adata, space="identity")
    both = ne.tl.combine(adata, "drug", control="none", effects=["a", "b", "c"], edit="shift")
    assert both.shape == (6 * 200, 4)
    means = both.to_df().groupby(both.obs["drug"], observed=True).mean()
    expected = {"a+b": [2, -3, 0, 0], "a+c": [2, 0, 1, 0], "b+c": [0, -3, 1, 0]}
    np.testing.assert_allclose(means, pd.DataFrame(expected).T.loc[means.index], atol=0.25)
    combinations = both.uns["combined"]["combinations"]
    assert list(combinations.index) == list(expected) and (combinations["agreement"] > 0.9).all()


def test_provenance(treated):
    before = treated.copy()
    both = ne.tl.combine(treated, "condition", **BOTH)
    assert list(both.obs["condition"].unique()) == ["A+B"] and both.obs_names.is_unique
    for given, effect in (("A", "B"), ("B", "A")):
        part = both[both.obs["combined_from"] == given]
        assert (part.obs["combined_effect"] == effect).all() and part.n_obs == 150
        own = treated[part.obs["combined_cell"].to_numpy()]
        assert (own.obs["condition"] == given).all()
        assert list(own.obs["cell_type"]) == list(part.obs["cell_type"])
        populations = {"source": "basal", "target": effect, "query": given, "edit": "percentile"}
        ne.tl.edit(treated, "condition", **populations, key_added="alone")
        assert np.array_equal(treated[own.obs_names].layers["alone"], part.X)
        np.testing.assert_array_equal(treated.obs["alone_distance"][own.obs_names], part.obs["combined_distance"])
    assert "neuronedit" in both.uns and both.obsm["X_neurons_combined"].shape == (300, 10)
    config = json.loads(both.uns["combined"]["config"])
    assert config["control"] == "basal" and config["effects"] == ["A", "B"] and config["edit"] == "percentile"
    orders = both.uns["combined"]["orders"]
    assert list(orders.index) == ["B on A", "A on B"] and orders["verdict"].str.contains("lie outside the source").all()
    assert set(before.layers) == set(treated.layers) - {"alone"} and "combined" not in treated.uns


def test_as_layers(treated):
    both = ne.tl.combine(treated, "condition", **BOTH)
    assert ne.tl.combine(treated, "condition", **BOTH, as_layers=True) is None
    for given, effect in (("A", "B"), ("B", "A")):
        rows = (treated.obs["condition"] == given).to_numpy()
        layer = treated.layers[f"combined_{effect}"]
        assert np.array_equal(layer[rows], both[both.obs["combined_from"] == given].X)
        assert np.array_equal(layer[~rows], treated.X[~rows])
    assert treated.uns["combined"]["combinations"].equals(both.uns["combined"]["combinations"])
    assert treated.var["combined_A_arcsinh_cofactor"].eq(5).all()
    ne.tl.combine(treated, "condition", **BOTH, as_layers=True)  # ours may be written over


@pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
def test_it_survives_a_file(treated, tmp_path, suffix):
    both = ne.tl.combine(treated, "condition", **BOTH)
    getattr(both, f"write_{suffix}")(tmp_path / f"both.{suffix}")
    read = getattr(anndata, f"read_{suffix}")(tmp_path / f"both.{suffix}")
    assert np.array_equal(read.X, both.X)
    pd.testing.assert_frame_equal(read.uns["combined"]["orders"], both.uns["combined"]["orders"], check_names=False)


def test_effects_that_do_not_add_up_disagree(caplog):
    """Drug b lifts only what drug a has not: b on a and a on b land in different places."""
    adata = planted(400)
    b = (adata.obs["drug"] == "b").to_numpy()
    adata.X[:, 1] = np.random.default_rng(1).normal(size=adata.n_obs)
    adata.X[b, 0] = np.where(adata.X[b, 0] > 0, 6, -6) + adata.X[b, 0]
    ne.tl.train(adata, space="identity")
    with caplog.at_level(logging.WARNING):
        both = ne.tl.combine(adata, "drug", control="none", effects=["a", "b"], edit="percentile")
    record = both.uns["combined"]
    assert record["combinations"]["agreement"].iloc[0] < 0.5
    assert "do not add up" in record["alarms"].set_index("alarm").loc["orders disagree", "text"]
    assert record["verdict"] in caplog.text


def find_disagreement(adata, column, control, effects, **how):
    """Return the alarm of two orders that disagree, none if there is none, and the record."""
    both = ne.tl.combine(adata, column, control=control, effects=effects, edit="percentile", **how)
    alarms = both.uns["combined"]["alarms"].set_index("alarm")["text"]
    return alarms.get("orders disagree", ""), both.uns["combined"]


@pytest.mark.parametrize("max_epochs", [2, 20])
def test_additive_effects_are_not_said_not_to_add_up(max_epochs):
    """500 cells. Trained too briefly the orders disagree, and the alarm says why; of eight trained spaces none alarms."""
    alarms = []
    for rng in range(5 if max_epochs == 2 else 8):
        adata = ne.datasets.simulate_combination(n_cells=500, rng=rng)
        ne.tl.train(adata, max_epochs=max_epochs, rng=rng)
        text, record = find_disagreement(adata, "condition", "basal", ["A", "B"])
        assert (record["orders"]["reproduced"] < 0.5).all() == (max_epochs == 2)
        assert "do not add up" not in text and record["combinations"]["agreement"].iloc[0] <= 1
        alarms.append(text)
    if max_epochs == 2:
        assert all(
            re.search(r"reproduces only \d+% of the effect of B and \d+% of the effect of A", one) for one in alarms
        )
    else:
        assert not any(alarms)


@pytest.mark.parametrize("rng", range(5))
def test_large_effects_that_do_not_add_up_are_found_in_500_cells(rng):
    adata, generator = planted(500), np.random.default_rng(rng)
    adata.X[:, 0] += generator.normal(scale=0.1, size=adata.n_obs)
    adata.X[:, 1] = generator.normal(size=adata.n_obs)
    b = (adata.obs["drug"] == "b").to_numpy()
    adata.X[b, 0] += np.where(adata.X[b, 0] > 0, 6, -6)
    ne.tl.train(adata, max_epochs=20, rng=rng)
    text, record = find_disagreement(adata, "drug", "none", ["a", "b"])
    assert "do not add up" in text and (record["orders"]["reproduced"] > 0.5).all()


def test_treatments_without_effect_disagree_by_no_more_than_chance():
    for rng in range(5):
        x = np.random.default_rng(rng).normal(size=(600, 3)).astype(np.float32)
        adata = anndata.AnnData(x, obs=pd.DataFrame({"drug": ["none", "a", "b"] * 200}, index=map(str, range(600))))
        ne.tl.train(adata, space="identity")
        assert find_disagreement(adata, "drug", "none", ["a", "b"])[0] == ""


def test_half_of_an_effect_is_no_evidence_against_a_sum():
    adata = ne.datasets.simulate_combination(n_cells=500)
    ne.tl.train(adata, space="identity")
    text, record = find_disagreement(adata, "condition", "basal", ["A", "B"], strength=0.1)
    assert "reproduces only" in text and "do not add up" not in text
    assert (record["orders"]["reproduced"] < 0.3).all()


def test_alarms_of_all_orders_come_first(caplog):
    """Cells of a lie far from the control: what b does to them is not known."""
    adata = planted(400)
    adata.X[(adata.obs["drug"] == "a").to_numpy()] += 20
    ne.tl.train(adata, space="identity")
    with caplog.at_level(logging.WARNING):
        both = ne.tl.combine(adata, "drug", control="none", effects=["a", "b"], edit="percentile")
    alarms = both.uns["combined"]["alarms"]
    outside = alarms["text"][alarms["alarm"] == "outside"].tolist()
    assert outside[0].startswith("b on a: 100% of 400 query cells lie outside the source")
    assert both.uns["combined"]["verdict"].startswith(alarms["text"].iloc[0]) and outside[0] in caplog.text


def test_simulated_combination_is_predicted_better_than_doing_nothing():
    adata = ne.datasets.simulate_combination(n_cells=800)
    ne.tl.train(adata, widths=(64, 16), max_epochs=100)
    both = ne.tl.combine(adata, "condition", **BOTH)
    truth = adata.X[adata.obs["condition"] == "A+B"]
    for given in ("A", "B"):
        query = adata.X[adata.obs["condition"] == given]
        predicted = both.X[both.obs["combined_from"] == given]
        assert ne.metrics.gap_closed(ne.metrics.energy_distance, query, truth, predicted) > 0.7


def test_order_of_rows_and_categories_does_not_matter(treated):
    other = treated.copy()
    other.obs["condition"] = other.obs["condition"].cat.reorder_categories(["B", "A+B", "basal", "A"])
    other.obs["condition"] = other.obs["condition"].cat.add_categories(["never"])
    one, two = (ne.tl.combine(adata, "condition", **BOTH) for adata in (treated, other))
    assert np.array_equal(one.X, two.X) and one.uns["combined"]["combinations"].equals(
        two.uns["combined"]["combinations"]
    )
    shuffled = treated[np.random.default_rng(0).permutation(treated.n_obs)].copy()
    three = ne.tl.combine(shuffled, "condition", **BOTH)[one.obs_names]
    np.testing.assert_allclose(three.X, one.X, atol=1e-4)  # sums in another order


def nan_label(adata):
    adata.obs["condition"] = adata.obs["condition"].where(np.arange(adata.n_obs) > 2)


def slash(adata):
    adata.obs["condition"] = adata.obs["condition"].cat.rename_categories({"A": "A/2"})


def taken(adata):
    adata.layers["combined_A"] = adata.X.copy()


BAD = {
    "column": (None, {"groupby": "drug"}, "'drug' is not in adata.obs; it has 'condition', 'cell_type'"),
    "NaN": (nan_label, {}, r"obs\['condition'\] is missing \(NaN\) for 3 cells"),
    "control": (None, {"control": "none"}, r"control: 'none' is not in obs\['condition'\]; it has 'basal', 'A', 'B'"),
    "effect": (None, {"effects": ["A", "das"]}, r"effects: 'das' is not in obs\['condition'\]"),
    "one effect": (None, {"effects": ["A"]}, "effects must be two or more values"),
    "a word": (None, {"effects": "AB"}, "effects must be a list of values"),
    "twice": (None, {"effects": ["A", "A"]}, "'A' is named twice among control and effects"),
    "control as effect": (None, {"effects": ["A", "basal"]}, "'basal' is named twice"),
    "strata": (None, {"strata": "donor"}, "strata: 'donor' is not in adata.obs"),
    "paired_by": (None, {"paired_by": "donor"}, "paired_by: 'donor' is not in adata.obs"),
    "edit": (None, {"edit": "percentiles"}, "edit='percentiles' is not known"),
    "parameter": (None, {"bins": 3}, "'bins' is not a parameter of the edit 'percentile'; it has 'n_bins'"),
    "key_added": (None, {"key_added": "a/b"}, "key_added='a/b' cannot be kept in h5ad and zarr files"),
    "name of a layer": (slash, {"effects": ["A/2", "B"], "as_layers": True}, "key_added='combined_A/2' cannot be kept"),
    "strength": (None, {"strength": np.inf}, "strength must be a finite number"),
    "space": (lambda adata: adata.uns.clear(), {}, r"uns\['neuronedit'\] holds no trained space"),
    "layer of others": (taken, {"as_layers": True}, r"layers\['combined_A'\] exists and was not written by neuronedit"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(treated, name):
    change, arguments, message = BAD[name]
    if change:
        change(treated)
    before = treated.copy()
    with pytest.raises((KeyError, TypeError, ValueError), match=message):
        ne.tl.combine(treated, **{"groupby": "condition"} | BOTH | arguments)
    assert set(treated.layers) == set(before.layers) and set(treated.uns) == set(before.uns)
