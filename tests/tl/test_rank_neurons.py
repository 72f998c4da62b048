"""Which neurons differ between source and target, and what each drives in the decoder."""

import anndata
import numpy as np
import pandas as pd
import pytest

import neuronedit as ne
from neuronedit._data.space import SavedSpace

POPULATIONS = {"source": "control_1", "target": "control_2", "query": "sample_1", "edit": "percentile"}
SHIFT = 3.0
"""How far feature f2 of the planted target lies above the source."""


def planted(space, **changes):
    """Return 300 cells of 5 features; in the target f2 has moved, f4 has spread, and f0 is silent everywhere."""
    x = np.random.default_rng(0).normal(size=(300, 5)) * [0, 1, 2, 3, 4]
    x[100:200] = x[:100]
    x[100:200, 2] += SHIFT
    x[100:200, 4] *= 1.1
    x[:, 0] = 0.1
    obs = pd.DataFrame({"g": np.repeat(["s", "t", "q"], 100)}, index=map(str, range(300)))
    adata = anndata.AnnData(x.astype(np.float32), obs=obs, var=pd.DataFrame(index=[f"f{i}" for i in range(5)]))
    ne.tl.train(adata, space=space)
    ne.tl.edit(adata, "g", **{"source": "s", "target": "t", "query": "q", "edit": "percentile"} | changes)
    return adata


def neurons(ranked):
    """Return one row for each neuron, by its number."""
    return ranked.drop_duplicates("neuron").set_index("neuron").sort_index()


@pytest.fixture
def edited(trained):
    ne.tl.edit(trained, "group", **POPULATIONS)
    return trained


def test_the_planted_neuron_comes_first():
    adata = planted("identity")
    found = neurons(ne.tl.rank_neurons(adata))
    sd = adata.X[:100].std(axis=0)
    assert found["rank"].tolist() == [3, 4, 1, 5, 2]
    assert found["distance"][2] == pytest.approx(SHIFT / sd[2], rel=1e-5)
    assert found["shift"][2] == pytest.approx(SHIFT / sd[2], rel=1e-5)
    assert found["applied"][2] == pytest.approx(SHIFT / sd[2], rel=1e-5)
    np.testing.assert_allclose(found["distance"][[0, 1, 3]], 0, atol=1e-6)
    np.testing.assert_allclose(found["applied"][[0, 1, 3]], 0, atol=1e-6)
    assert found["distance"][4] > 3 * abs(found["shift"][4])  # it spread, and moved less


def test_the_distance_is_that_between_the_percentiles():
    adata = planted("identity")
    before, after = (np.percentile(adata.X[rows, 4], np.arange(101)) for rows in (slice(100), slice(100, 200)))
    expected = np.abs(after - before).mean() / adata.X[:100, 4].std()
    assert neurons(ne.tl.rank_neurons(adata))["distance"][4] == pytest.approx(expected, rel=1e-5)


def test_a_feature_drives_itself_alone():
    adata = planted("identity")
    ranked = ne.tl.rank_neurons(adata, n_features=1)
    assert ranked["feature"].tolist() == [f"f{j}" for j in ranked["neuron"]]
    sd = adata.X[:100].std(axis=0) * [0, 1, 1, 1, 1]
    np.testing.assert_allclose(ranked["effect"], sd[ranked["neuron"]], atol=1e-5)
    assert (ne.tl.rank_neurons(adata, n_features=2)["effect"].iloc[1::2] == 0).all()


@pytest.mark.parametrize("max_cells", [1, 7, 1000])
def test_in_a_linear_decoder_the_effect_is_the_component(max_cells):
    adata = planted("pca")
    ranked = ne.tl.rank_neurons(adata, max_cells=max_cells)
    space = SavedSpace.read(adata, "neuronedit").space
    sd = adata.obsm["X_neurons"][:100].std(axis=0)
    effects = ranked.pivot(index="feature", columns="neuron", values="effect").loc[adata.var_names]
    sd[sd < 1e-5] = 0
    np.testing.assert_allclose(effects, space.components.numpy() * sd, atol=1e-5)


def test_a_neuron_that_wakes_up_is_measured_by_the_target():
    adata = planted("identity")
    adata.X[100:200, 0] = adata.X[100:200, 1]
    adata.X[:100, 0] = 0
    ne.tl.edit(adata, "g", source="s", target="t", query="q", edit="percentile")
    woken = neurons(ne.tl.rank_neurons(adata)).loc[0]
    target = np.percentile(adata.X[100:200, 0], np.arange(101))
    assert woken["distance"] == pytest.approx(np.abs(target).mean() / adata.X[100:200, 0].std(), rel=1e-5)


def test_an_edit_of_one_neuron_moves_no_other():
    found = neurons(ne.tl.rank_neurons(planted("identity", neurons=[4])))
    assert found["applied"].gt(0).tolist() == [False] * 4 + [True]


def test_the_table(edited):
    before = edited.copy()
    ranked = ne.tl.rank_neurons(edited, n_features=3)
    assert list(ranked.columns) == ["rank", "neuron", "distance", "shift", "applied", "feature", "effect"]
    assert ranked.shape == (18, 7) and ranked.notna().all(axis=None)
    assert ranked["rank"].tolist() == np.repeat(np.arange(1, 7), 3).tolist()
    assert sorted(ranked["neuron"].unique()) == list(range(6))
    assert ranked["distance"].is_monotonic_decreasing
    assert (ranked["shift"].abs() <= ranked["distance"] * 1.05).all()  # percentiles are not all cells
    for _, own in ranked.groupby("rank"):
        assert own["feature"].is_unique and own["effect"].abs().is_monotonic_decreasing
    pd.testing.assert_frame_equal(ne.tl.rank_neurons(edited, n_features=3), ranked)
    assert np.array_equal(edited.X, before.X) and str(edited) == str(before)


def test_no_more_features_than_there_are(edited):
    ranked = ne.tl.rank_neurons(edited, n_features=1000)
    assert len(ranked) == 6 * edited.n_vars and set(ranked["feature"]) == set(edited.var_names)


def test_the_order_of_features_and_of_cells_does_not_matter(edited):
    expected = neurons(ne.tl.rank_neurons(edited))
    shuffled = edited[np.random.default_rng(0).permutation(600), ::-1].copy()
    found = neurons(ne.tl.rank_neurons(shuffled))
    pd.testing.assert_frame_equal(found, expected, atol=1e-4)


def test_the_layer_that_was_edited_is_read(edited):
    ne.tl.edit(edited, "group", **POPULATIONS, layer="edited", key_added="twice")
    first, second = (neurons(ne.tl.rank_neurons(edited, key=key)) for key in ("edited", "twice"))
    pd.testing.assert_series_equal(first["distance"], second["distance"])
    edited.layers["shifted"] = edited.X + 1
    ne.tl.edit(edited, "group", **POPULATIONS, layer="shifted", key_added="third")
    third = neurons(ne.tl.rank_neurons(edited, key="third"))
    assert not np.allclose(first["distance"], third["distance"], rtol=0.01)


def test_it_survives_a_file(edited, tmp_path):
    expected = ne.tl.rank_neurons(edited)
    edited.write_h5ad(tmp_path / "cells.h5ad")
    pd.testing.assert_frame_equal(ne.tl.rank_neurons(anndata.read_h5ad(tmp_path / "cells.h5ad")), expected)


def retrained(adata):
    ne.tl.train(adata, widths=(24, 6), max_epochs=2, rng=7)


def applied_elsewhere(adata):
    ne.tl.apply(adata, adata.copy(), "group", query="sample_1")


def relabelled(adata):
    adata.obs["group"] = adata.obs["group"].cat.rename_categories({"control_1": "c1"})


def drop(slot, name):
    return lambda adata: getattr(adata, slot).__delitem__(name)


BAD = {
    "no edit": (drop("uns", "edited"), {}, KeyError, r"uns\['edited'\] holds no edit; call ne.tl.edit first"),
    "a space": (lambda adata: None, {"key": "neuronedit"}, KeyError, r"uns\['neuronedit'\] holds no edit"),
    "other cells": (applied_elsewhere, {}, ValueError, "was fitted on other cells"),
    "labels": (relabelled, {}, ValueError, "source: 'control_1' is not in obs"),
    "column": (drop("obs", "group"), {}, KeyError, "'group' is not in adata.obs"),
    "support": (drop("obs", "edited_support"), {}, KeyError, "'edited_support' is not in adata.obs"),
    "neurons": (
        drop("obsm", "X_neurons_edited"),
        {},
        KeyError,
        "'X_neurons_edited' is not in adata.obsm.*more than 128 MiB are left out",
    ),
    "model": (drop("uns", "neuronedit"), {}, KeyError, r"uns\['neuronedit'\] holds no trained space"),
    "another model": (retrained, {}, ValueError, "was fitted in another space than .* holds now: it was trained again"),
    "n_features": (lambda adata: None, {"n_features": 0}, ValueError, "n_features must be at least 1; it is 0"),
    "max_cells": (lambda adata: None, {"max_cells": 0}, ValueError, "max_cells must be at least 1; it is 0"),
    "accelerator": (lambda adata: None, {"accelerator": "abacus"}, ValueError, "accelerator 'abacus'"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(edited, name):
    change, arguments, error, message = BAD[name]
    change(edited)
    with pytest.raises(error, match=message):
        ne.tl.rank_neurons(edited, **arguments)


def test_no_edited_cell_is_left(edited):
    with pytest.raises(ValueError, match="none of these cells was edited"):
        ne.tl.rank_neurons(edited[edited.obs["group"] != "sample_1"].copy())
