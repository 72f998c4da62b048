"""Learnt once, applied later: on other cells, in another process, from a file."""

import json
import logging
import subprocess
import sys
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest

import neuronedit as ne

PAIR = {"source": "control_1", "target": "control_2", "query": "sample_1"}
EDITS = {
    "percentile": {"edit": "percentile"},
    "percentile on principal axes": {"edit": "percentile", "axes": "principal"},
    "some neurons": {"edit": "percentile", "neurons": [0, 3]},
    "two models": {"edit": "percentile", "key": ["neuronedit", "other"]},
    "shift": {"edit": "shift"},
    "affine": {"edit": "affine", "strength": 0.5},
    "gaussian_ot": {"edit": "gaussian_ot"},
    "local": {"edit": "local"},
    "transport": {"edit": "transport"},
    "within strata": {"edit": "percentile", "strata": "cell_type"},
    "several pairs": {"edit": "percentile", "pairs": "donor"},
    "auto": {"edit": "auto", "strata": "cell_type"},
    "paper": {"edit": "paper"},
}


@pytest.fixture
def new():
    """Cells that were not there when the edit was learnt."""
    return ne.datasets.simulate_batches(n_cells=120, rng=1)


@pytest.fixture
def old(trained):
    ne.tl.train(trained, widths=(24, 6), max_epochs=2, rng=1, key_added="other")
    trained.obs["donor"] = np.tile(["a", "b"], trained.n_obs // 2)
    return trained


@pytest.mark.parametrize("name", EDITS)
def test_every_edit_is_applied_later_as_it_was_learnt(old, name, tmp_path):
    """The cells it was learnt on are carried to the same bits, from the AnnData and from a file."""
    ne.tl.edit(old, "group", **PAIR, **EDITS[name])
    query = (old.obs["group"] == "sample_1").to_numpy()
    again = old[query].copy()
    again.layers.clear(), again.uns.clear(), again.obsm.clear()
    ne.io.save_model(old, tmp_path / "model.safetensors")
    for model in (old, tmp_path / "model.safetensors", str(tmp_path / "model.safetensors")):
        ne.tl.edit(again, model=model)
        assert np.array_equal(again.layers["edited"], old.layers["edited"][query])
        assert np.array_equal(again.obsm["X_neurons_edited"], old.obsm["X_neurons_edited"][query])
        for column in ("edited_support", "edited_distance"):
            assert np.array_equal(again.obs[column], old.obs[column][query])
    assert again.uns["edited"]["verdict"].endswith(old.uns["edited"]["verdict"])
    assert again.uns["edited"]["verdict"].startswith("Learnt before, on other cells (")
    config = json.loads(again.uns["edited"]["config"])
    assert config["model"].endswith("model.safetensors") and config["learnt"]["source"] == "control_1"


def test_the_same_bits_in_a_second_process(old, new, tmp_path):
    ne.tl.edit(old, "group", **PAIR, strata="cell_type")
    ne.io.save_model(old, tmp_path / "model.safetensors")
    ne.tl.edit(new, "group", query="sample_1", model=old)
    new.write_h5ad(tmp_path / "new.h5ad")
    code = """
import sys, anndata, torch, neuronedit as ne
torch.set_num_threads(1)
new = anndata.read_h5ad(sys.argv[1] + "/new.h5ad")
expected = new.layers.pop("edited")
ne.tl.edit(new, "group", query="sample_1", model=sys.argv[1] + "/model.safetensors", key_added="again")
assert (new.layers["again"] == expected).all() and (expected != new.X).any()
print("same")
"""
    run = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True)
    assert run.stdout == "same\n", run.stderr


def test_an_annotated_file_is_a_model_too(old, new, tmp_path):
    ne.tl.edit(old, "group", **PAIR, strata="cell_type")
    expected = ne.tl.edit(new, "group", query="sample_1", model=old, copy=True)
    old.write_h5ad(tmp_path / "old.h5ad")
    ne.tl.edit(new, "group", query="sample_1", model=anndata.read_h5ad(tmp_path / "old.h5ad"))
    assert np.array_equal(new.layers["edited"], expected.layers["edited"])


def test_planted_batch_effect_is_removed_from_new_cells():
    old, new = (ne.datasets.simulate_batches(n_cells=1000, rng=rng) for rng in (0, 0))
    new = new[new.obs["group"] == "sample_1"].copy()
    old = old[old.obs["group"] != "sample_1"].copy()
    ne.tl.train(old, space="pca")
    ne.tl.edit(old, "group", source="control_1", target="control_2", edit="percentile")
    ne.tl.edit(new, model=old)
    closed = ne.metrics.gap_closed(ne.metrics.energy_distance, new.X, new.layers["truth"], new.layers["edited"])
    assert closed > 0.7


@pytest.mark.parametrize("tool", ["edit", "embed"])
def test_features_are_matched_by_name(old, new, tool):
    ne.tl.edit(old, "group", **PAIR, edit="percentile")
    order = np.random.default_rng(0).permutation(new.n_vars)
    other = new[:, order].copy()
    for adata in (new, other):
        ne.tl.edit(adata, model=old) if tool == "edit" else ne.tl.embed(adata, model=old)
    if tool == "edit":
        assert np.array_equal(other[:, new.var_names].layers["edited"], new.layers["edited"])
        pd.testing.assert_frame_equal(other.uns["edited"]["features"].loc[new.var_names], new.uns["edited"]["features"])
        assert list(other.uns["edited"]["features"].index) == list(other.var_names)
    else:
        assert np.array_equal(other.obsm["X_neurons"], new.obsm["X_neurons"])
        ne.tl.edit(other, "group", **PAIR, edit="percentile", n_resamples=2)
        ne.tl.edit(new, "group", **PAIR, edit="percentile", n_resamples=2)
        for layer in ("edited", "edited_sd"):
            assert np.array_equal(other[:, new.var_names].layers[layer], new.layers[layer])


def test_embed_is_the_space_s_own_encoding(old, new):
    old.uns["neuronedit"]["weights"]["encoder.0.weight"][:] += 0.1
    ne.tl.embed(new, model=old)
    back = old.copy()
    ne.tl.embed(back, model=old)
    assert new.obsm["X_neurons"].shape == (new.n_obs, 6)
    assert not np.allclose(back.obsm["X_neurons"], old.obsm["X_neurons"])  # those are of the weights before
    new.uns["neuronedit"]["weights"]["encoder.0.weight"][:] = 0
    assert (old.uns["neuronedit"]["weights"]["encoder.0.weight"] != 0).any()  # the new one has its own


def rename(adata):
    adata.var_names = ["CD1000", *adata.var_names[1:]]


def other_scale(adata):
    adata.var["X_arcsinh_cofactor"] = 150.0


def not_finite(adata):
    adata.X[0, 0] = np.nan


BAD = {
    "other features": (rename, {}, "missing 'CD3', extra 'CD1000'"),
    "another cofactor": (other_scale, {}, r"X has arcsinh cofactors 150.0; the model was trained with 5.0"),
    "NaN": (not_finite, {}, "X has NaN or infinite values"),
    "source": (None, {"source": "control_1"}, "the edit is learnt already; 'source' cannot be given"),
    "edit": (None, {"edit": "shift", "n_bins": 10}, "'edit', 'n_bins' cannot be given"),
    "inverse": (None, {"inverse": True}, "'inverse' cannot be given"),
    "query": (None, {"query": "sample_9", "groupby": "group"}, r"query: 'sample_9' is not in obs\['group'\]"),
    "no file": (None, {"model": "nowhere.safetensors"}, "nowhere.safetensors is not a file"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(old, new, name):
    change, arguments, message = BAD[name]
    ne.tl.edit(old, "group", **PAIR, edit="percentile")
    if change:
        change(new)
    before = new.copy()
    with pytest.raises((ValueError, KeyError, FileNotFoundError), match=message):
        ne.tl.edit(new, **{"model": old} | arguments)
    assert set(new.layers) == set(before.layers) and set(new.uns) == set(before.uns) and new.obs.equals(before.obs)


def test_a_model_without_an_edit_and_one_with_several(old, new):
    with pytest.raises(ValueError, match="holds no edit that can be applied"):
        ne.tl.edit(new, model=old)
    for name in ("one", "two"):
        ne.tl.edit(old, "group", **PAIR, edit="shift", key_added=name)
    with pytest.raises(ValueError, match="several edits, 'one', 'two': name one by key_added"):
        ne.tl.edit(new, model=old)
    ne.tl.edit(new, model=old, key_added="two")


def test_a_function_of_the_user_s_own_is_not_kept_and_says_so(old, new, tmp_path):
    ne.tl.edit(old, "group", **PAIR, edit=lambda source, target, /: lambda z: z + 1)
    with pytest.raises(ValueError, match="holds no edit that can be applied"):
        ne.tl.edit(new, model=old)
    with pytest.raises(ValueError, match="no row of ne.edits.MAPS"):
        ne.io.save_model(old, tmp_path / "model.safetensors")
    ne.tl.edit(old, "group", **PAIR, edit=lambda source, target, /: ne.edits.Shift(target.mean(0) - source.mean(0)))
    ne.io.save_model(old, tmp_path / "model.safetensors")
    ne.tl.edit(new, model=tmp_path / "model.safetensors")


def test_unknown_scale_is_pointed_out(old, new, caplog):
    ne.tl.edit(old, "group", **PAIR, edit="shift")
    del new.var["X_arcsinh_cofactor"]
    with caplog.at_level(logging.WARNING):
        ne.tl.edit(new, model=old)
    assert "nothing says that X is on that scale" in caplog.text


def test_plots_that_need_the_pair_say_that_it_is_elsewhere(old, new):
    ne.tl.edit(old, "group", **PAIR, edit="shift")
    ne.tl.edit(new, model=old)
    ne.pl.support(new)
    with pytest.raises(ValueError, match="learnt on other cells"):
        ne.pl.shift(new)


FROZEN = Path(__file__).parents[1] / "io" / "model_schema_1.safetensors"


def test_files_of_schema_1_load_forever():
    """A file that was written once, and what came out of it then."""
    expected = json.loads(FROZEN.with_suffix(".json").read_text())
    cells = anndata.AnnData(
        np.array(expected["cells"], dtype=np.float32), var=pd.DataFrame(index=expected["var_names"])
    )
    ne.tl.edit(cells, model=FROZEN)
    np.testing.assert_allclose(cells.layers["edited"], expected["edited"], atol=1e-4)
    ne.tl.embed(cells, model=FROZEN)
    np.testing.assert_allclose(cells.obsm["X_neurons"], expected["neurons"], atol=1e-4)
