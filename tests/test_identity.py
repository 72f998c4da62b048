"""Spaces, edits and cells that do not belong together: one error, or one warning, that says which."""

import json
import logging
import re

import anndata
import numpy as np
import pandas as pd
import pytest

import neuronedit as ne
from neuronedit.engine import apply as engine_apply
from neuronedit.engine import store

POPULATIONS = {"source": "control_1", "target": "control_2", "query": "sample_1"}
PERCENTILE = POPULATIONS | {"edit": "percentile"}
SMALL = {"widths": (24, 6), "max_epochs": 1}


@pytest.fixture
def edited(trained):
    ne.tl.edit(trained, "group", **PERCENTILE)
    return trained


@pytest.fixture
def new():
    """Other cells, without a space."""
    return ne.datasets.simulate_batches(n_cells=120, rng=1)


def bare(adata):
    """Return the cells without anything that a tool wrote."""
    return anndata.AnnData(adata.X.copy(), obs=adata.obs[["group", "batch", "role"]], var=adata.var.copy())


def apply(adata, model, **arguments):
    ne.tl.apply(adata, model, query=adata.obs_names, **arguments)


# a space that was trained again, or changed

USES_OF_AN_EDIT = {
    "save_model": lambda adata, path: ne.io.save_model(adata, path),
    "apply": lambda adata, path: apply(bare(adata), adata),
    "bootstrap": lambda adata, path: ne.tl.bootstrap(adata, n_bootstrap=2),
    "rank_neurons": lambda adata, path: ne.tl.rank_neurons(adata),
    "pl.neurons": lambda adata, path: ne.pl.neurons(adata),
}


@pytest.mark.parametrize("use", USES_OF_AN_EDIT)
def test_an_edit_whose_space_was_trained_again_is_refused(edited, tmp_path, use):
    ne.tl.train(edited, **SMALL, rng=7)
    message = r"uns\['edited'\] was fitted in another space than uns\['neuronedit'\] holds now: it was trained again"
    with pytest.raises(ValueError, match=message):
        USES_OF_AN_EDIT[use](edited, tmp_path / "model.safetensors")
    assert not list(tmp_path.iterdir()) and "edited_sd" not in edited.layers
    ne.tl.edit(edited, "group", **PERCENTILE)
    USES_OF_AN_EDIT[use](edited, tmp_path / "model.safetensors")


@pytest.mark.parametrize("use", ["save_model", "apply"])
def test_so_is_a_correction_and_an_edit_in_several_spaces(trained, tmp_path, use):
    ne.tl.train(trained, **SMALL, rng=1, key_added="other")
    ne.tl.edit(trained, "group", **PERCENTILE, key=["neuronedit", "other"])
    edited = trained.copy()
    ne.tl.correct(trained, "batch", control_key="role", edit="shift")
    del trained.uns["edited"]
    for adata, key, space in ((edited, "edited", "other"), (trained, "corrected", "neuronedit")):
        ne.tl.train(adata, **SMALL, rng=7, key_added=space)
        message = rf"uns\['{key}'\] was fitted in another space than uns\['{space}'\] holds now"
        with pytest.raises(ValueError, match=message):
            USES_OF_AN_EDIT[use](adata, tmp_path / "model.safetensors")


def test_the_same_training_gives_the_same_space(edited, tmp_path):
    before = edited.uns["neuronedit"]["id"]
    ne.tl.train(edited, widths=(24, 6), max_epochs=2)
    assert edited.uns["neuronedit"]["id"] == before
    ne.io.save_model(edited, tmp_path / "model.safetensors")


def change_weight(stored):
    stored["weights"]["encoder.0.weight"][0, 0] += 1e-3


def change_order(stored):
    stored["var_names"] = stored["var_names"][::-1].copy()


def change_names(stored):
    stored["var_names"] = np.array(["CD1000", *stored["var_names"][1:]])


def change_settings(stored):
    stored["config"] = stored["config"].replace('"layer": null', '"layer": "truth"')


def change_scale(stored):
    stored["scale"]["quantiles"] = stored["scale"]["quantiles"] * 2


def change_cofactor(stored):
    stored["scale"]["cofactor"] = stored["scale"]["cofactor"] * 2


SPACE_CHANGES = [change_weight, change_order, change_names, change_settings, change_scale, change_cofactor]
USES_OF_A_SPACE = {
    "edit": lambda adata, path: ne.tl.edit(adata, "group", **PERCENTILE),
    "embed": lambda adata, path: ne.tl.embed(bare(adata), adata),
    "correct": lambda adata, path: ne.tl.correct(adata, "batch", control_key="role", edit="shift"),
    "save_model": lambda adata, path: ne.io.save_model(adata, path, key="neuronedit"),
    "apply": lambda adata, path: apply(bare(adata), adata),
    "rank_neurons": lambda adata, path: ne.tl.rank_neurons(adata),
}


@pytest.mark.parametrize("change", SPACE_CHANGES)
def test_a_space_that_was_changed_is_refused(edited, tmp_path, change):
    change(edited.uns["neuronedit"])
    message = (
        r"uns\['neuronedit'\] was changed after the training: its id is not that of its weights, features and settings"
    )
    for use in USES_OF_A_SPACE.values():
        with pytest.raises(ValueError, match=message):
            use(edited, tmp_path / "model.safetensors")
    assert "corrected" not in edited.uns and not list(tmp_path.iterdir())


# an edit that was changed


def change_array(fitted):
    next(iter(fitted["arrays"].values()))[0, 0] += 1e-3


def change_map(fitted):
    fitted["map"] = fitted["map"].replace('"residual": true', '"residual": false')


def change_names_of_edits(fitted):
    fitted["about"] = fitted["about"].replace('"edit"', '"batch_1"')


FITTED_CHANGES = [change_array, change_map, change_names_of_edits, change_scale, change_cofactor]


@pytest.mark.parametrize("change", FITTED_CHANGES)
def test_an_edit_that_was_changed_is_refused(edited, tmp_path, change):
    fitted = edited.uns["edited"]["fitted"]
    change({"scale": fitted["scale"]} if "scale" in change.__name__ or "cofactor" in change.__name__ else fitted)
    message = r"uns\['edited'\].* was changed after it was fitted: its digest differs"
    for use in ("save_model", "apply"):
        with pytest.raises(ValueError, match=message):
            USES_OF_AN_EDIT[use](edited, tmp_path / "model.safetensors")
    assert not list(tmp_path.iterdir())


# features


def test_features_in_another_order_give_the_same_result(trained):
    order = np.random.default_rng(0).permutation(trained.n_vars)
    other = trained[:, order].copy()
    for adata in (trained, other):
        ne.tl.edit(adata, "group", **PERCENTILE)
        ne.tl.bootstrap(adata, n_bootstrap=2)
        ne.tl.correct(adata, "batch", control_key="role", edit="percentile")
    aligned = other[:, trained.var_names]
    for layer in ("edited", "edited_sd", "corrected"):
        assert np.array_equal(aligned.layers[layer], trained.layers[layer])
    for slot in ("X_neurons_edited", "X_neurons_corrected"):
        assert np.array_equal(other.obsm[slot], trained.obsm[slot])
    assert ne.tl.rank_neurons(other).equals(ne.tl.rank_neurons(trained))
    features = other.uns["edited"]["features"]
    assert list(features.index) == list(other.var_names)
    pd.testing.assert_frame_equal(features.loc[trained.var_names], trained.uns["edited"]["features"])
    ne.tl.apply(other, trained, "group", query="sample_1", key="edited", key_added="applied")
    ne.tl.apply(trained, other, "group", query="sample_1", key="edited", key_added="applied")
    assert np.array_equal(other[:, trained.var_names].layers["applied"], trained.layers["applied"])
    assert np.array_equal(trained.layers["applied"], trained.layers["edited"])


@pytest.mark.parametrize("use", ["edit", "embed", "correct", "apply"])
def test_a_subset_of_features_is_refused(edited, use):
    few = edited[:, :30].copy()
    calls = {"embed": lambda: ne.tl.embed(bare(few), edited), "apply": lambda: apply(bare(few), edited)}
    calls |= {name: lambda: USES_OF_A_SPACE[use](few, None) for name in ("edit", "correct")}
    message = r"adata has other features than the (space in uns\['neuronedit'\]|model \(AnnData\)) was trained on: missing 'CD28', "
    with pytest.raises(ValueError, match=message):
        calls[use]()


# the scale of the cells


def twice(adata):
    adata.X = np.arcsinh(adata.X / 5).astype(np.float32)


def counts(adata):
    adata.X = (5 * np.sinh(adata.X)).astype(np.float32)


def forget(adata):
    del adata.var["X_arcsinh_cofactor"]


def logarithm(adata):
    adata.X = np.log1p(adata.X)


SCALES = {"twice": twice, "counts": counts, "logarithm": logarithm}


def check_scale_error(error, before, after, name):
    """Check the layer, the factor (of the spreads of all features together, or of the widest) and the feature it names."""
    pattern = (
        rf"{name} is on another scale than the cells that .* was trained on: its values spread (\S+) times as far,"
        r" most differently those of '(\w+)'. Were they transformed twice, or not at all\?"
    )
    factor, feature = re.fullmatch(pattern, str(error.value)).groups()
    spreads = [np.diff(np.quantile(x, (0.01, 0.99), axis=0), axis=0)[0] for x in (before.X, after.X)]
    expected = [spreads[1].sum() / spreads[0].sum(), spreads[1].max() / spreads[0].max()]
    assert min(abs(float(factor) / each - 1) for each in expected) < 0.3
    assert feature in before.var_names


@pytest.mark.parametrize("change", SCALES)
@pytest.mark.parametrize("known", [True, False], ids=["cofactor in var", "cofactor lost"])
@pytest.mark.parametrize("use", ["edit", "correct", "embed", "apply"])
def test_cells_on_another_scale_are_refused(edited, new, change, known, use):
    """Of a space that was embedded before the cells were changed, too."""
    ne.tl.embed(new, edited)
    before = new.copy()
    SCALES[change](new)
    if not known:
        forget(new)
    layers = set(new.layers)
    calls = USES_OF_A_SPACE | {
        "embed": lambda adata, _: ne.tl.embed(adata, edited),
        "apply": lambda adata, _: apply(adata, edited),
    }
    with pytest.raises(ValueError, match="is on another scale") as error:
        calls[use](new, None)
    check_scale_error(error, before, new, "X")
    assert set(new.layers) == layers and "edited" not in new.uns


def test_a_layer_on_another_scale_is_named(edited, new):
    new.layers["counts"] = 5 * np.sinh(new.X)
    ne.tl.embed(new, edited)
    for call in (
        lambda: ne.tl.edit(new, "group", **PERCENTILE, layer="counts"),
        lambda: ne.tl.embed(new, edited, layer="counts"),
        lambda: apply(new, edited, layer="counts"),
    ):
        with pytest.raises(
            ValueError, match=r"layers\['counts'\] is on another scale than the cells that .* was trained on"
        ):
            call()


def test_values_that_changed_after_the_training_are_refused(edited):
    twice(edited)
    for call in (lambda: ne.tl.edit(edited, "group", **PERCENTILE), lambda: ne.tl.bootstrap(edited, n_bootstrap=2)):
        with pytest.raises(ValueError, match="X is on another scale than the cells"):
            call()


@pytest.mark.parametrize("part", ["cell_type", "group"])
def test_other_populations_on_the_same_scale_are_taken(edited, part, caplog):
    new = ne.datasets.simulate_batches(n_cells=300, rng=2, batch_effect=2.0)
    for value in new.obs[part].unique():
        apply(new[new.obs[part] == value].copy(), edited)
    assert "scale" not in caplog.text


def test_a_file_and_its_cells_in_memory_have_one_scale(edited, tmp_path, new):
    big = anndata.concat([new] * 6, index_unique="-", merge="same")
    twice(big)
    big.write_h5ad(tmp_path / "cells.h5ad")
    backed = anndata.read_h5ad(tmp_path / "cells.h5ad", backed="r")
    with pytest.raises(ValueError, match="X is on another scale than the cells"):
        apply(backed, edited)


def stack(first, second, **how):
    return anndata.concat([first, second], index_unique="-", **how)


def test_a_cofactor_that_concat_lost_is_pointed_out(edited, new, caplog):
    stacked = stack(new, ne.datasets.simulate_batches(n_cells=50, rng=3))
    assert not len(stacked.var.columns)
    for call in (lambda: ne.tl.embed(stacked, edited), lambda: apply(stacked, edited)):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            call()
        text = "the model (AnnData) was trained on arcsinh values; whether X is on that scale is not recorded."
        assert [record.getMessage() for record in caplog.records].count(text) == 1
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        apply(stack(new, ne.datasets.simulate_batches(n_cells=50, rng=3), merge="same"), edited)
    assert "not recorded" not in caplog.text


def test_another_cofactor_is_an_error(edited, new):
    ne.tl.embed(new, edited)
    new.var["X_arcsinh_cofactor"] = 150.0
    message = (
        r"X has arcsinh cofactors 150.0; the (model \(AnnData\)|space in uns\['neuronedit'\]) was trained with 5.0"
    )
    for call in (
        lambda: ne.tl.embed(new, edited),
        lambda: apply(new, edited),
        lambda: ne.tl.edit(new, "group", **PERCENTILE),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_another_cofactor_of_one_feature_is_an_error(edited, new):
    new.var.loc["CD8", "X_arcsinh_cofactor"] = 150.0
    with pytest.raises(
        ValueError, match=r"X has arcsinh cofactors 5.0, 150.0; the model \(AnnData\) was trained with 5.0"
    ):
        apply(new, edited)


# cells that were added


def months():
    """Two AnnData of different cells, each with its own space and its own edit."""
    both = [ne.datasets.simulate_batches(n_cells=100, rng=rng) for rng in (0, 1)]
    for month in both:
        ne.tl.train(month, space="pca", n_components=4)
        ne.tl.edit(month, "group", **PERCENTILE)
    return both


ADDED = "was trained on 400 cells, and adata has 800: cells were added since"


def test_cells_that_were_added_with_the_uns_of_the_first_are_pointed_out(caplog):
    stacked = stack(*months(), merge="same", uns_merge="first")
    with caplog.at_level(logging.WARNING):
        ne.tl.edit(stacked, "group", **PERCENTILE)
    assert f"the space in uns['neuronedit'] {ADDED}" in caplog.text


def test_a_subset_of_cells_and_a_space_that_was_brought_to_cells_are_not(caplog):
    first, second = months()
    with caplog.at_level(logging.WARNING):
        part = first[first.obs["group"] != "sample_2"].copy()
        ne.tl.edit(part, "group", **PERCENTILE)
        stacked = stack(first, second, merge="same")
        stacked.obsm.clear()
        ne.tl.embed(stacked, first)
        for name in ("edited", "truth"):
            stacked.layers.pop(name, None)
        stacked.obs = stacked.obs[["group"]]
        ne.tl.edit(stacked, "group", **PERCENTILE)
    assert "cells were added" not in caplog.text


def test_edited_cells_stacked_without_their_record_say_where_it_went():
    stacked = stack(*months(), merge="same")
    with pytest.raises(
        ValueError, match=r"obsm\['X_neurons'\] exists .* delete it first: del adata.obsm\['X_neurons'\]"
    ):
        ne.tl.train(stacked, space="identity")
    del stacked.obsm["X_neurons"]
    ne.tl.train(stacked, space="identity")
    message = r"layers\['edited'\] is of an edit whose record, uns\['edited'\], is gone: anndata.concat drops uns"
    with pytest.raises(ValueError, match=message):
        ne.tl.edit(stacked, "group", **PERCENTILE)
    ne.tl.edit(stacked, "group", **PERCENTILE, key_added="again")
    del stacked.layers["edited"], stacked.obs["edited_support"], stacked.obs["edited_distance"]
    del stacked.obsm["X_neurons_edited"]
    ne.tl.edit(stacked, "group", **PERCENTILE)


# a store that is resumed


@pytest.fixture
def interrupted(edited, new, tmp_path, monkeypatch):
    """A model file, and a store that stopped after the first block."""
    ne.io.save_model(edited, tmp_path / "model.safetensors")
    monkeypatch.setattr(store, "MAX_CELLS_PER_BLOCK", 130)
    encode_others, calls = engine_apply.encode_others, []

    def stop_at_the_second(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return encode_others(*arguments)

    monkeypatch.setattr(engine_apply, "encode_others", stop_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        ne.tl.apply(new, tmp_path / "model.safetensors", "group", query="sample_1", write_to=tmp_path / "store.zarr")
    return tmp_path


def same(edited, new, path):
    return new, "sample_1"


def another_training(edited, new, path):
    ne.tl.train(edited, **SMALL, rng=7)
    ne.tl.edit(edited, "group", **PERCENTILE)
    ne.io.save_model(edited, path)
    return new, "sample_1"


def another_fit(edited, new, path):
    """The same space and the same words, but fitted on other cells."""
    other = edited[np.arange(edited.n_obs) % 2 == 0].copy()
    ne.tl.edit(other, "group", **PERCENTILE)
    ne.io.save_model(other, path)
    return new, "sample_1"


def other_query(edited, new, path):
    return new, "sample_2"


def other_order(edited, new, path):
    return new[:, ::-1].copy(), "sample_1"


def other_cells(edited, new, path):
    new.X[0, 0] += 0.5  # a cell that is written already
    return new, "sample_1"


@pytest.mark.parametrize("change", [another_training, another_fit, other_query, other_order, other_cells])
def test_a_store_is_resumed_with_the_same_model_cells_and_features_alone(edited, new, interrupted, change):
    path, model = interrupted / "store.zarr", interrupted / "model.safetensors"
    changed, query = change(edited, new.copy(), model)
    with pytest.raises(
        ValueError, match="store.zarr holds another edit, or one of other cells[;:] .*hoose another write_to"
    ):
        ne.tl.apply(changed, model, "group", query=query, write_to=path)


def test_the_same_call_resumes_it(edited, new, interrupted):
    path, model = interrupted / "store.zarr", interrupted / "model.safetensors"
    ne.tl.apply(new, model, "group", query="sample_1", write_to=path)
    ne.tl.apply(new, model, "group", query="sample_1")
    np.testing.assert_allclose(anndata.read_zarr(path).layers["edited"], new.layers["edited"], atol=1e-5)


def test_cells_that_were_not_written_yet_may_have_changed(edited, new, interrupted):
    """Nothing is mixed then: the store holds the edit of the cells as they are now."""
    path, model = interrupted / "store.zarr", interrupted / "model.safetensors"
    new.X[-1, 0] += 0.5
    ne.tl.apply(new, model, "group", query="sample_1", write_to=path)
    ne.tl.apply(new, model, "group", query="sample_1")
    np.testing.assert_allclose(anndata.read_zarr(path).layers["edited"], new.layers["edited"], atol=1e-5)


# records of before the first release


FORMER = {
    "observed_change": "control_change",
    "beyond_observed": "beyond_controls",
    "wrong_direction": "wrong_on_held_out",
    "fold_kind": "how",
    "folds": "parts",
    "fold_weights": "part_weights",
    "ensemble_scores": "combined",
    "coverage": "tested",
}


def make_former(adata, key="edited"):
    """Write a record, and its space, as they were written before the first release."""
    space, record = adata.uns["neuronedit"], adata.uns[key]
    for name in ("id", "scale"):
        del space[name]
    config = json.loads(record["config"])
    params = {"axes": "neurons", "neurons": None, "residual": True, "pairs": None} | config["edit_params"]
    params["pairs"] = params.pop("paired_by", None)
    config |= params | {"edit_params": {}, "inverse": False, "n_resamples": 0}
    record["config"] = json.dumps(config)
    record["features"] = record["features"].drop(columns="held_out_error").rename(columns=FORMER)
    fitted = record.pop("fitted")
    summary = json.loads(fitted["about"])["summaries"][0]
    record["learnt"] = {"map": fitted["map"][1:-1], "arrays": fitted["arrays"], "said": summary}
    if "ensemble" in record:
        ensemble = {FORMER.get(name, name): value for name, value in record.pop("ensemble").items()}
        record["selection"] = ensemble | {"how": ensemble["how"].replace("none", "fixed")}
    del record["tool"], record["digest"]


@pytest.mark.parametrize(
    "how",
    [
        {"edit": "percentile"},
        {"edit": "shift", "paired_by": "donor", "neurons": [0, 2], "residual": False, "strength": 0.5},
        {"edit": "auto", "strata": "cell_type"},
    ],
    ids=["percentile", "shift", "auto"],
)
def test_a_record_under_former_names_is_read(trained, tmp_path, how):
    trained.obs["donor"] = np.tile(["a", "b"], 300)
    ne.tl.edit(trained, "group", **POPULATIONS, **how)
    expected = trained.copy()
    make_former(trained)
    trained.write_h5ad(tmp_path / "former.h5ad")
    former = anndata.read_h5ad(tmp_path / "former.h5ad")
    assert "learnt" in former.uns["edited"] and "control_change" in former.uns["edited"]["features"]

    assert ne.tl.rank_neurons(former).equals(ne.tl.rank_neurons(expected))
    cells = bare(former)
    ne.io.save_model(former, tmp_path / "former.safetensors")
    for model in (former, tmp_path / "former.safetensors"):
        ne.tl.apply(cells, model, "group", query="sample_1")
        assert np.array_equal(cells.layers["edited"], expected.layers["edited"])
    for plot in (ne.pl.neurons, ne.pl.support, ne.pl.shift, ne.pl.marker_shift):
        plot(former)
    if how["edit"] == "auto":
        ne.pl.cross_validation(former)
    ne.tl.bootstrap(former, n_bootstrap=2)
    ne.tl.bootstrap(expected, n_bootstrap=2)
    assert np.array_equal(former.layers["edited_sd"], expected.layers["edited_sd"])
    config = json.loads(former.uns["edited"]["config"])
    assert config["edit_params"] == json.loads(expected.uns["edited"]["config"])["edit_params"]


def test_records_of_other_tools_under_former_names_are_refused(trained):
    ne.tl.correct(trained, "batch", control_key="role", edit="shift")
    del trained.uns["corrected"]["tool"], trained.uns["corrected"]["digest"]
    with pytest.raises(
        ValueError, match=r"uns\['corrected'\] was written before the first release.*; call ne.tl.correct again"
    ):
        ne.pl.coverage(trained)
