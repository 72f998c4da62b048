"""Fitted once, applied later: to other cells, in another process, from a file; batch corrections, too."""

import json
import subprocess
import sys
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
import safetensors.numpy

import neuronedit as ne

POPULATIONS = {"source": "control_1", "target": "control_2", "query": "sample_1"}
EDITS = {
    "percentile": {"edit": "percentile"},
    "percentile on principal axes": {"edit": "percentile", "axes": "principal"},
    "a few neurons": {"edit": "percentile", "neurons": [0, 3]},
    "two spaces": {"edit": "percentile", "key": ["neuronedit", "other"]},
    "shift": {"edit": "shift"},
    "affine": {"edit": "affine", "strength": 0.5},
    "gaussian_ot": {"edit": "gaussian_ot"},
    "local": {"edit": "local"},
    "transport": {"edit": "transport"},
    "within strata": {"edit": "percentile", "strata": "cell_type"},
    "donors": {"edit": "percentile", "paired_by": "donor"},
    "auto": {"edit": "auto", "strata": "cell_type"},
    "paper": {"edit": "paper"},
}


@pytest.fixture
def new():
    """Cells that were not there when the edit was fitted."""
    return ne.datasets.simulate_batches(n_cells=120, rng=1)


@pytest.fixture
def old(trained):
    ne.tl.train(trained, widths=(24, 6), max_epochs=2, rng=1, key_added="other")
    trained.obs["donor"] = np.tile(["a", "b"], trained.n_obs // 2)
    return trained


@pytest.mark.parametrize("name", EDITS)
def test_every_edit_is_applied_as_it_was_fitted(old, name, tmp_path):
    """The cells it was fitted on come out to the same bits, from the AnnData and from a file."""
    ne.tl.edit(old, "group", **POPULATIONS, **EDITS[name])
    query = (old.obs["group"] == "sample_1").to_numpy()
    again = old[query].copy()
    again.layers.clear(), again.uns.clear(), again.obsm.clear()
    again.obs = again.obs.drop(columns=[name for name in again.obs if name.endswith(("_support", "_distance"))])
    ne.io.save_model(old, tmp_path / "model.safetensors")
    for model in (old, tmp_path / "model.safetensors", str(tmp_path / "model.safetensors")):
        ne.tl.apply(again, model, query=again.obs_names)
        assert np.array_equal(again.layers["edited"], old.layers["edited"][query])
        assert np.array_equal(again.obsm["X_neurons_edited"], old.obsm["X_neurons_edited"][query])
        for column in ("edited_support", "edited_distance"):
            assert np.array_equal(again.obs[column], old.obs[column][query])
    verdicts = [adata.uns["edited"]["verdict"] for adata in (old, again)]
    for text in old.uns["edited"]["alarms"]["text"]:
        verdicts = [verdict.replace(f"{text} ", "") for verdict in verdicts]
    assert verdicts[1].endswith(verdicts[0])
    assert verdicts[1].startswith("Fitted before, on other cells (")
    config = json.loads(again.uns["edited"]["config"])
    assert config["model"].endswith("model.safetensors") and config["fitted"]["source"] == "control_1"
    assert config["query"] == "all cells" and not {"fitted", "ensemble"} & set(again.uns["edited"])


def test_the_edit_of_genes_is_applied_as_it_was_fitted(tmp_path):
    """More than 60 features are compared in their components, which the file holds once."""
    generator = np.random.default_rng(0)
    kinds, groups = np.tile([0, 1], 300), np.repeat(["source", "target", "query"], 200)
    X = generator.normal(size=(600, 70)) + 4 * kinds[:, None] * (np.arange(70) < 20)
    X[groups == "target"] += np.where(kinds[groups == "target"], 2, 1)[:, None]
    genes = anndata.AnnData(X.astype(np.float32))
    genes.obs["group"], genes.obs["kind"] = groups, kinds.astype(str)
    ne.tl.edit(genes, "group", source="source", target="target", query="query", strata="kind")
    ne.io.save_model(genes, tmp_path / "model.safetensors")
    again = anndata.AnnData(genes.X[groups == "query"])
    ne.tl.apply(again, tmp_path / "model.safetensors", query=again.obs_names)
    assert np.array_equal(again.layers["edited"], genes.layers["edited"][groups == "query"])
    arrays = safetensors.numpy.load_file(tmp_path / "model.safetensors")
    assert sum(array.shape == (70, 50) for array in arrays.values()) == 1


def test_the_same_bits_in_a_second_process(old, new, tmp_path):
    ne.tl.edit(old, "group", **POPULATIONS, strata="cell_type")
    ne.io.save_model(old, tmp_path / "model.safetensors")
    ne.tl.apply(new, old, "group", query="sample_1")
    new.write_h5ad(tmp_path / "new.h5ad")
    code = """
import sys, anndata, torch, neuronedit as ne
torch.set_num_threads(1)
new = anndata.read_h5ad(sys.argv[1] + "/new.h5ad")
expected = new.layers.pop("edited")
ne.tl.apply(new, sys.argv[1] + "/model.safetensors", "group", query="sample_1", key_added="again")
assert (new.layers["again"] == expected).all() and (expected != new.X).any()
print("same")
"""
    run = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True)
    assert run.stdout == "same\n", run.stderr


def test_an_annotated_file_is_a_model_too(old, new, tmp_path):
    ne.tl.edit(old, "group", **POPULATIONS, strata="cell_type")
    expected = ne.tl.apply(new, old, "group", query="sample_1", copy=True)
    old.write_h5ad(tmp_path / "old.h5ad")
    ne.tl.apply(new, anndata.read_h5ad(tmp_path / "old.h5ad"), "group", query="sample_1")
    assert np.array_equal(new.layers["edited"], expected.layers["edited"])


def test_planted_batch_effect_is_removed_from_new_cells():
    old, new = (ne.datasets.simulate_batches(n_cells=1000, rng=rng) for rng in (0, 0))
    new = new[new.obs["group"] == "sample_1"].copy()
    old = old[old.obs["group"] != "sample_1"].copy()
    ne.tl.train(old, space="pca")
    ne.tl.edit(old, "group", source="control_1", target="control_2", query="control_1", edit="percentile")
    ne.tl.apply(new, old, query=new.obs_names)
    closed = ne.metrics.gap_closed(ne.metrics.energy_distance, new.X, new.layers["truth"], new.layers["edited"])
    assert closed > 0.7


@pytest.mark.parametrize("tool", ["apply", "embed"])
def test_features_are_matched_by_name(old, new, tool):
    ne.tl.edit(old, "group", **POPULATIONS, edit="percentile")
    order = np.random.default_rng(0).permutation(new.n_vars)
    other = new[:, order].copy()
    for adata in (new, other):
        ne.tl.apply(adata, old, query=adata.obs_names) if tool == "apply" else ne.tl.embed(adata, old)
    if tool == "apply":
        assert np.array_equal(other[:, new.var_names].layers["edited"], new.layers["edited"])
        pd.testing.assert_frame_equal(other.uns["edited"]["features"].loc[new.var_names], new.uns["edited"]["features"])
        assert list(other.uns["edited"]["features"].index) == list(other.var_names)
    else:
        assert np.array_equal(other.obsm["X_neurons"], new.obsm["X_neurons"])
        for adata in (new, other):
            ne.tl.edit(adata, "group", **POPULATIONS, edit="percentile")
            ne.tl.bootstrap(adata, n_bootstrap=2)
        for layer in ("edited", "edited_sd"):
            assert np.array_equal(other[:, new.var_names].layers[layer], new.layers[layer])


def test_neurons_that_embed_does_not_write_are_a_warning(old, new, tmp_path, monkeypatch, caplog):
    new.write_h5ad(tmp_path / "new.h5ad")
    ne.tl.embed(anndata.read_h5ad(tmp_path / "new.h5ad", backed="r"), old)
    assert "obsm['X_neurons'] is not written: cells are in a file." in caplog.text
    monkeypatch.setattr("neuronedit.tl._embed.MAX_NEURONS", 10)
    ne.tl.embed(new, old)
    assert "GiB, and 1 at most is kept. Embed a part of the cells." in caplog.text and "X_neurons" not in new.obsm


def test_embed_encodes_and_copies_the_space(old, new):
    back = old.copy()
    del back.obsm["X_neurons"]
    ne.tl.embed(back, old)
    np.testing.assert_array_equal(back.obsm["X_neurons"], old.obsm["X_neurons"])
    ne.tl.embed(new, old)
    assert new.obsm["X_neurons"].shape == (new.n_obs, 6)
    new.uns["neuronedit"]["weights"]["encoder.0.weight"][:] = 0
    assert (old.uns["neuronedit"]["weights"]["encoder.0.weight"] != 0).any()  # the new one has its own


def test_a_query_of_a_column_of_a_dict_or_of_names(old, new):
    ne.tl.edit(old, "group", **POPULATIONS, edit="percentile")
    is_query = (new.obs["group"] == "sample_1").to_numpy()
    layers = []
    for groupby, query in (
        ("group", "sample_1"),
        ("group", ["sample_1"]),
        (None, {"batch": "batch_1", "role": "sample"}),
        (None, new.obs_names[is_query]),
    ):
        ne.tl.apply(new, old, groupby, query=query)
        layers.append(new.layers["edited"])
        assert np.array_equal(new.obs["edited_support"].notna(), is_query)
    assert all(np.array_equal(layer, layers[0]) for layer in layers)
    assert np.array_equal(layers[0][~is_query], new.X[~is_query])
    ne.tl.apply(new, old, query=new.obs_names)
    assert new.obs["edited_support"].notna().all()


def test_strength_bounds_and_a_store(old, new, tmp_path):
    ne.tl.edit(old, "group", **POPULATIONS, edit="shift", strength=0.5)
    whole = ne.tl.edit(old, "group", **POPULATIONS, edit="shift", copy=True)
    how = {"query": new.obs_names, "strength": [0.5, 2.0], "bounds": (0, None)}
    ne.tl.apply(new, old, **how)
    assert list(new.uns["edited"]["layers"]) == ["edited_0.5", "edited"] and new.layers["edited"].min() >= 0
    expected = ne.tl.apply(new, whole, query=new.obs_names, bounds=(0, None), copy=True)
    np.testing.assert_allclose(new.layers["edited"], expected.layers["edited"], atol=1e-5)  # twice a half
    ne.tl.apply(new, old, **how, write_to=tmp_path / "edited.zarr")
    stored = anndata.read_zarr(tmp_path / "edited.zarr")
    np.testing.assert_allclose(stored.layers["edited_0.5"], new.layers["edited_0.5"], atol=1e-5)


CORRECTION = {"batch_key": "batch", "control_key": "role", "reference": "batch_2"}


@pytest.fixture
def corrected(old):
    ne.tl.correct(old, **CORRECTION, edit="percentile")
    return old


def test_a_correction_is_applied_to_other_cells_of_its_batches(corrected, tmp_path):
    """One file for all batches: the cells it was fitted on come out to the same bits."""
    ne.io.save_model(corrected, tmp_path / "model.safetensors")
    bare = corrected.copy()
    bare.layers.clear(), bare.uns.clear(), bare.obsm.clear()
    bare.obs = bare.obs.drop(columns=[name for name in bare.obs if name.endswith(("_support", "_distance"))])
    for model in (corrected, tmp_path / "model.safetensors"):
        ne.tl.apply(bare, model, query=bare.obs_names, key_added="corrected")
        for slot in ("corrected_support", "corrected_distance"):
            assert np.array_equal(bare.obs[slot], corrected.obs[slot], equal_nan=True)
        assert np.array_equal(bare.layers["corrected"], corrected.layers["corrected"])
    features = bare.uns["corrected"]["features"]
    assert list(features["batch"].unique()) == ["batch_1"] and list(features["feature"]) == list(bare.var_names)
    assert "batch_2: the reference, which stays as it is." in bare.uns["corrected"]["verdict"]
    is_second = (bare.obs["batch"] == "batch_2").to_numpy()
    assert np.array_equal(bare.layers["corrected"][is_second], bare.X[is_second])


def test_a_correction_of_some_batches_under_another_column(corrected, new):
    new.obs["run"] = new.obs["batch"].astype(str)
    ne.tl.apply(new, corrected, "run", query="batch_1", key="corrected", key_added="corrected")
    is_first = (new.obs["run"] == "batch_1").to_numpy()
    assert np.array_equal(new.obs["corrected_distance"].notna(), is_first)
    assert np.array_equal(new.layers["corrected"][~is_first], new.X[~is_first])
    assert (new.layers["corrected"] != new.X)[is_first].any()


def test_what_a_correction_refuses(corrected, new):
    new.obs["run"] = np.where(new.obs["batch"] == "batch_1", "batch_3", "batch_2")
    message = r"query has cells of the batches 'batch_3' of obs\['run'\], which the correction does not know"
    with pytest.raises(ValueError, match=message):
        ne.tl.apply(new, corrected, "run", query=["batch_2", "batch_3"])
    with pytest.raises(ValueError, match="several strengths are for edits"):
        ne.tl.apply(new, corrected, query=new.obs_names, strength=[0.5, 1])
    assert not {"edited", "corrected"} & set(new.layers)
    third = corrected.obs["cell_type"] == "B"
    corrected.obs["batch"] = (
        corrected.obs["batch"].astype(str).mask(third & (corrected.obs["role"] != "control"), "batch_3")
    )
    corrected.obs["batch"] = corrected.obs["batch"].mask(third & (corrected.obs["role"] == "control"), "batch_1")
    ne.tl.correct(corrected, **CORRECTION, edit="percentile")
    assert corrected.uns["corrected"]["batches"].loc["batch_3", "status"] == "left alone"
    with pytest.raises(
        ValueError, match="'batch_3' of obs.*does not know or has left alone; it has 'batch_1', 'batch_2'"
    ):
        ne.tl.apply(new, corrected, "run", query="batch_3")


def rename(adata):
    adata.var_names = ["CD1000", *adata.var_names[1:]]


def another_cofactor(adata):
    adata.var["X_arcsinh_cofactor"] = 150.0


def not_finite(adata):
    adata.X[0, 0] = np.nan


BAD = {
    "other features": (rename, {}, "missing 'CD3', extra 'CD1000'"),
    "another cofactor": (another_cofactor, {}, r"X has arcsinh cofactors 150.0; the model .* was trained with 5.0"),
    "NaN": (not_finite, {}, "X has NaN or infinite values"),
    "no query": (None, {"query": None}, "query is required: the cells to edit.*query=adata.obs_names are all cells"),
    "query": (None, {"query": "sample_9", "groupby": "group"}, r"query: 'sample_9' is not in obs\['group'\]"),
    "no groupby": (None, {"query": "sample_1"}, "query='sample_1' is a value of a column: give groupby"),
    "no such cell": (None, {"query": ["sample_1"]}, "query: 'sample_1' are not in adata.obs_names"),
    "no file": (None, {"model": "nowhere.safetensors"}, "nowhere.safetensors is not a file"),
    "no such edit": (None, {"key": "other_edit"}, "model .AnnData. holds 'edited', not 'other_edit'"),
    "layer": (None, {"layer": "raw"}, "'raw' is not in adata.layers"),
    "bounds": (None, {"bounds": (1, 0)}, "bounds must be the lowest and the highest value"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(old, new, name):
    change, arguments, message = BAD[name]
    ne.tl.edit(old, "group", **POPULATIONS, edit="percentile")
    if change:
        change(new)
    before = new.copy()
    with pytest.raises((ValueError, KeyError, FileNotFoundError), match=message):
        ne.tl.apply(new, **{"model": old, "query": new.obs_names} | arguments)
    assert set(new.layers) == set(before.layers) and set(new.uns) == set(before.uns) and new.obs.equals(before.obs)


def test_a_model_without_an_edit_and_one_with_several(old, new):
    with pytest.raises(ValueError, match="holds no edit that can be applied"):
        ne.tl.apply(new, old, query=new.obs_names)
    for name in ("one", "two"):
        ne.tl.edit(old, "group", **POPULATIONS, edit="shift", key_added=name)
    with pytest.raises(ValueError, match="several edits, 'one', 'two': name one by key"):
        ne.tl.apply(new, old, query=new.obs_names)
    ne.tl.apply(new, old, query=new.obs_names, key_added="two")
    ne.tl.apply(new, old, query=new.obs_names, key="two")
    assert np.array_equal(new.layers["edited"], new.layers["two"])


def test_a_function_of_the_user_s_own_is_not_kept_and_says_so(old, new, tmp_path):
    ne.tl.edit(old, "group", **POPULATIONS, edit=lambda source, target, /: lambda z: z + 1)
    with pytest.raises(ValueError, match="holds no edit that can be applied"):
        ne.tl.apply(new, old, query=new.obs_names)
    with pytest.raises(ValueError, match="no row of ne.edits.MAPS"):
        ne.io.save_model(old, tmp_path / "model.safetensors")
    shift = lambda source, target, /: ne.edits.Shift(target.mean(0) - source.mean(0))  # noqa: E731
    ne.tl.edit(old, "group", **POPULATIONS, edit=shift)
    ne.io.save_model(old, tmp_path / "model.safetensors")
    ne.tl.apply(new, tmp_path / "model.safetensors", query=new.obs_names)


def test_plots_that_need_source_and_target_say_that_they_are_elsewhere(old, new):
    ne.tl.edit(old, "group", **POPULATIONS, edit="shift")
    ne.tl.apply(new, old, query=new.obs_names)
    ne.pl.support(new)
    with pytest.raises(ValueError, match="fitted on other cells"):
        ne.pl.shift(new)


FROZEN = Path(__file__).parents[1] / "io" / "model_schema_1.safetensors"


def test_files_of_schema_1_load_forever():
    """A file that was written once, and what came out of it then."""
    expected = json.loads(FROZEN.with_suffix(".json").read_text())
    cells = anndata.AnnData(
        np.array(expected["cells"], dtype=np.float32), var=pd.DataFrame(index=expected["var_names"])
    )
    ne.tl.apply(cells, FROZEN, query=cells.obs_names)
    np.testing.assert_allclose(cells.layers["edited"], expected["edited"], atol=1e-4)
    ne.tl.embed(cells, FROZEN)
    np.testing.assert_allclose(cells.obsm["X_neurons"], expected["neurons"], atol=1e-4)
