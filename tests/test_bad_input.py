"""Bad input gets one clear error before any work, and adata is left exactly as it was."""

from functools import cache, partial

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import neuronedit as ne

POPULATIONS = {
    "groupby": "group",
    "source": "control_1",
    "target": "control_2",
    "query": "sample_1",
    "edit": "percentile",
}


def edit(**changes):
    return lambda adata: ne.tl.edit(adata, **POPULATIONS | changes)


def train(**arguments):
    return lambda adata: ne.tl.train(adata, **{"widths": (8, 3), "max_epochs": 1} | arguments)


def nan_label(adata):
    adata.obs["group"] = adata.obs["group"].where(np.arange(adata.n_obs) > 2)


def two_layers(adata):
    adata.layers["other"] = adata.X.copy()
    ne.tl.train(adata, space="identity", layer="other", key_added="other")


def unlabelled(adata):
    adata.obs["donor"] = adata.obs["cell_type"].where(np.cumsum(adata.obs["group"] == "control_1") > 3)


def set_x(value, as_type=lambda X: X):
    def change(adata):
        X = np.array(adata.X)
        X[3, 4] = value
        adata.X = as_type(X)

    return change


def duplicate(adata):
    adata.var_names = ["CD3", "CD3", *adata.var_names[2:]]


def rename(adata):
    adata.var_names = ["CD1000", *adata.var_names[1:]]


def one_cell(group):
    def change(adata):
        labels = adata.obs["group"].astype(str)
        labels[(labels == group) & (labels.groupby(labels).cumcount() > 0)] = "sample_2"
        adata.obs["group"] = labels.astype("category")

    return change


def unused_category(adata):
    adata.obs["group"] = adata.obs["group"].cat.add_categories("never")


def words(adata):
    adata.X = adata.X.astype(str).astype(object)


def relabel(adata):
    adata.obs["group"] = adata.obs["group"].cat.rename_categories({"control_2": "sample_2", "sample_2": "control_2"})


def nothing(adata):
    pass


EDIT = {
    "missing column": (nothing, edit(groupby="batsch"), "'batsch' is not in adata.obs; it has 'group', 'batch'"),
    "missing column in a dict": (nothing, edit(source={"donor": "a"}), "'donor' is not in adata.obs"),
    "unknown category": (
        nothing,
        edit(source="Control"),
        r"source: 'Control' is not in obs\['group'\]; it has 'control_1'",
    ),
    "one unknown of two": (nothing, edit(query=["sample_1", "s"]), r"query: 's' is not in obs\['group'\]"),
    "unused category": (unused_category, edit(target="never"), r"target: 'never' is not in obs\['group'\]"),
    "NaN category": (nan_label, edit(), r"obs\['group'\] is missing \(NaN\) for 3 cells"),
    "empty list": (nothing, edit(source=[]), "source: no cell has"),
    "empty dict": (nothing, edit(source={}), "source is an empty dict"),
    "empty combination": (
        nothing,
        edit(source={"group": "control_1", "batch": "batch_2"}),
        "source: no cell has group='control_1' and batch='batch_2' at once",
    ),
    "one-cell source": (one_cell("control_1"), edit(), "source has 1 cell; percentiles need at least 2"),
    "one-cell target": (one_cell("control_2"), edit(), "target has 1 cell"),
    "value without groupby": (nothing, edit(groupby=None), "source='control_1' is a value of a column: give groupby"),
    "query overlaps target": (nothing, edit(query=["sample_1", "control_2"]), "150 cells are in both target and query"),
    "source overlaps target": (
        nothing,
        edit(target=["control_1", "control_2"]),
        "150 cells are in both source and target",
    ),
    "unknown edit": (
        nothing,
        edit(edit="percentiles"),
        "edit='percentiles' is not known; choose 'percentile', 'shift', 'affine'",
    ),
    "unknown axes": (nothing, edit(axes="pca"), "axes='pca' is not known; choose 'neurons', 'principal'"),
    "unknown parameter": (nothing, edit(bins=3), "'bins' is not a parameter of the edit 'percentile'; it has 'n_bins'"),
    "bad parameter": (nothing, edit(n_bins=0), "n_bins must be at least 1"),
    "parameter of another edit": (
        nothing,
        edit(edit="auto", n_bins=3),
        "'n_bins' is not a parameter of the edit 'auto'",
    ),
    "parameter of the ensemble": (
        nothing,
        edit(candidates=["shift"]),
        "'candidates' is not a parameter of the edit 'percentile'; it has 'n_bins', 'axes', 'neurons', 'residual', 'paired_",
    ),
    "axes without an edit": (
        nothing,
        edit(edit="auto", axes="principal"),
        "'axes' needs an edit of its own, such as edit='p",
    ),
    "pairing without an edit": (
        nothing,
        edit(edit="auto", paired_by="cell_type", residual=False),
        "'paired_by', 'residual' needs an edit of its own",
    ),
    "residual of the paper": (
        nothing,
        edit(edit="paper", residual=True),
        "'residual' is not a parameter of the edit 'paper', which returns the decoded cell",
    ),
    "parameter of nothing in the paper": (
        nothing,
        edit(edit="paper", n_neighbors=3),
        "'n_neighbors' is not a parameter",
    ),
    "seed of an edit": (nothing, edit(edit="transport", seed=3), "'seed' is not a parameter of the edit 'transport'"),
    "other way round": (nothing, edit(inverse=True), "'inverse' is not a parameter of the edit 'percentile'"),
    "modality": (nothing, edit(mod="prot"), "'mod' is not a parameter of the edit 'percentile'"),
    "model": (nothing, edit(model="model.safetensors"), "'model' is not a parameter of the edit 'percentile'"),
    "resamples": (nothing, edit(**{"n_resamples": 3}), "'n_resamples' is not a parameter of the edit 'percentile'"),
    "unknown neurons": (
        nothing,
        edit(neurons=[0, 6]),
        r"neurons must be numbers from 0 to 5, each once; they are \[0, 6\]",
    ),
    "no neurons": (nothing, edit(neurons=[]), "neurons must be numbers from 0 to 5"),
    "no query": (
        nothing,
        edit(query=None),
        r"query is required: the cells to edit. obs\['group'\] has besides source, target 'sample_1', 'sample_2'",
    ),
    "no query of dicts": (
        nothing,
        edit(groupby=None, source={"group": "control_1"}, target={"group": "control_2"}, query=None),
        "query is required: the cells to edit. Give a dict of obs column -> value",
    ),
    "missing strata": (nothing, edit(strata="donor"), "strata: 'donor' is not in adata.obs; it has 'group'"),
    "missing pairing": (nothing, edit(paired_by="donor"), "paired_by: 'donor' is not in adata.obs; it has 'group'"),
    "strata without names": (
        unlabelled,
        edit(strata="donor"),
        r"obs\['donor'\] is missing \(NaN\) for 3 cells of the source",
    ),
    "pairing without names": (
        unlabelled,
        edit(paired_by="donor"),
        r"obs\['donor'\] is missing \(NaN\) for 3 cells of the source",
    ),
    "strata on one side": (
        nothing,
        edit(strata="batch"),
        r"no value of obs\['batch'\] is in both source and target \(strata\): the source has 'batch_1', the target 'batch_2'",
    ),
    "pairing on one side": (
        nothing,
        edit(paired_by="batch"),
        r"no value of obs\['batch'\] is in both source and target \(paired_by\)",
    ),
    "no model named": (nothing, edit(key=[]), "key is empty; name at least one trained space"),
    "models of two layers": (
        two_layers,
        edit(key=["neuronedit", "other"]),
        r"trained on different layers: \[None, 'other'\]",
    ),
    "one of two models missing": (nothing, edit(key=["neuronedit", "x"]), r"uns\['x'\] holds no trained space"),
    "untrained key": (nothing, edit(key="other"), r"uns\['other'\] holds no trained space"),
    "key of something else": (
        lambda adata: adata.uns.update(pca={"a": 1}),
        edit(key="pca"),
        r"uns\['pca'\] is not a trained space",
    ),
    "infinite": (set_x(-np.inf), edit(), "X has NaN or infinite values"),
    "NaN in a sparse matrix": (
        set_x(np.nan, sparse.csr_matrix),
        edit(),
        "X has NaN or infinite values, the first in cell 'c3'",
    ),
    "taken layer": (nothing, edit(key_added="truth"), r"layers\['truth'\] exists and was not written by neuronedit"),
    "taken record": (lambda adata: adata.uns.update(pca=1), edit(key_added="pca"), r"uns\['pca'\] exists"),
    "key of the model": (nothing, edit(key_added="neuronedit"), "is the key of the trained space"),
    "the layer that is read": (
        lambda adata: adata.layers.update(a=adata.X),
        edit(layer="a", key_added="a"),
        "key_added='a' is the layer that is edited; choose another",
    ),
    "taken layer of a path": (
        lambda adata: adata.layers.update({"edited_0.5": adata.X}),
        edit(strength=[0.5, 1]),
        r"layers\['edited_0.5'\] exists and was not written by neuronedit",
    ),
    "strengths": (nothing, edit(strength=[1, 1]), "strength must be a finite number, or several different ones"),
    "no strength": (nothing, edit(strength=[]), "strength must be a finite number, or several different ones"),
    "store and copy": (nothing, edit(write_to="store.zarr", copy=True), "with write_to= .* copy cannot be given"),
    "strength of NaN": (nothing, edit(strength=float("nan")), "strength must be a finite number"),
    "bounds the wrong way round": (nothing, edit(bounds=(5, 0)), "bounds must be the lowest and the highest value"),
}

TRAIN = {
    "unknown space": (
        nothing,
        train(space="vae"),
        "space='vae' is not known; choose 'auto', 'autoencoder', 'conv', 'pca', 'identity'",
    ),
    "unknown parameter": (
        nothing,
        train(depth=3),
        "'depth' is not a parameter of the space 'autoencoder'; it has 'widths'",
    ),
    "parameter of another space": (nothing, train(space="pca"), "'widths' is not a parameter of the space 'pca'"),
    "an array as a space": (nothing, train(space=np.array(["auto", "pca"])), "space=.* is not known; choose"),
    "unknown schedule": (nothing, train(schedule="cosine"), "schedule='cosine' is not known"),
    "bad widths": (nothing, train(widths=()), "widths must hold at least one positive number"),
    "images without a shape": (nothing, train(space="conv"), "image_shape is missing; it must be .rows, columns."),
    "images of another shape": (
        lambda adata: adata.uns.update(image_shape=[6, 6]),
        train(space="conv"),
        r"image_shape \(6, 6\) has 36 values; the images have 35 features",
    ),
    "bad batch": (nothing, train(batch_size=0), "batch_size must be at least 1"),
    "complex": (lambda adata: setattr(adata, "X", adata.X.astype(complex)), train(), "X has dtype complex128"),
    "no X": (lambda adata: setattr(adata, "X", None), train(), "adata.X is empty; name a layer: it has 'truth'"),
}


@cache
def model():
    """Other cells with a trained space and an edit."""
    adata = ne.datasets.simulate_batches(n_cells=150, rng=1)
    ne.tl.train(adata, space="pca", n_components=4)
    edit()(adata)
    return adata


def two_edits(adata):
    edit(key_added="one")(adata)
    edit(key_added="two")(adata)


def apply(adata, of=model, **changes):
    ne.tl.apply(adata, **{"model": of(), "groupby": "group", "query": "sample_1"} | changes)


def spaced_alone():
    adata = model().copy()
    del adata.uns["edited"]
    return adata


def two_in_model():
    adata = model().copy()
    two_edits(adata)
    return adata


def changed_model():
    adata = model().copy()
    adata.uns["edited"]["fitted"]["arrays"] = {k: x + 1 for k, x in adata.uns["edited"]["fitted"]["arrays"].items()}
    return adata


APPLY = {
    "no query": (
        nothing,
        partial(apply, query=None),
        r"query is required: .* obs\['group'\] has 'control_1', .* all cells",
    ),
    "no query, no column": (nothing, partial(apply, groupby=None, query=None), "query=adata.obs_names are all cells"),
    "unknown category": (
        nothing,
        partial(apply, query="s"),
        r"query: 's' is not in obs\['group'\]; it has 'control_1'",
    ),
    "unknown cells": (
        nothing,
        partial(apply, groupby=None, query=["c1", "d1"]),
        "query: 'd1' are not in adata.obs_names. Values of a column need groupby",
    ),
    "value without groupby": (nothing, partial(apply, groupby=None), "query='sample_1' is a value of a column: give"),
    "no cells": (nothing, partial(apply, query=[]), "query: no cell has"),
    "no names": (nothing, partial(apply, groupby=None, query=[]), "query names no cell"),
    "no file": (nothing, partial(apply, model="none.safetensors"), "none.safetensors is not a file"),
    "no edit": (nothing, partial(apply, of=spaced_alone), r"model \(AnnData\) holds no edit that can be applied"),
    "several edits": (
        nothing,
        partial(apply, of=two_in_model, key_added="x"),
        "holds several edits, 'edited', 'one', 'two': name one by key",
    ),
    "unknown edit": (nothing, partial(apply, of=two_in_model, key="x"), "holds 'edited', 'one', 'two', not 'x'"),
    "changed edit": (nothing, partial(apply, of=changed_model), "was changed after it was fitted: its digest differs"),
}

BOOTSTRAP = {
    "no edit": (nothing, ne.tl.bootstrap, r"uns\['edited'\] holds no edit; call ne.tl.edit first"),
    "one sample": (edit(), partial(ne.tl.bootstrap, n_bootstrap=1), "n_bootstrap must be at least 2; it is 1"),
    "other cells": (apply, ne.tl.bootstrap, "was fitted on other cells .*: its source and target are not here"),
    "trained again": (
        lambda adata: (edit()(adata), train(rng=1)(adata)),
        ne.tl.bootstrap,
        "was fitted in another space than .* holds now: it was trained again",
    ),
    "parameter of another edit": (
        edit(),
        partial(ne.tl.bootstrap, n_neighbors=3),
        "'n_neighbors' is not a parameter of the edit 'percentile'",
    ),
    "an edit of one's own": (
        edit(edit=lambda source, target: lambda z: z),
        ne.tl.bootstrap,
        "was made by a function of your own, '<lambda>': give it as edit=",
    ),
    "labels changed": (
        lambda adata: (edit()(adata), relabel(adata)),
        ne.tl.bootstrap,
        "the change from source to target is not the one in",
    ),
}

EMBED = {
    "no space": (nothing, lambda adata: ne.tl.embed(adata, model(), key="x"), r"uns\['x'\] holds no trained space"),
    "no file": (nothing, lambda adata: ne.tl.embed(adata, "none.safetensors"), "none.safetensors is not a file"),
    "taken": (
        lambda adata: adata.uns.update(pca=1),
        lambda adata: ne.tl.embed(adata, model(), key_added="pca"),
        r"uns\['pca'\] exists and was not written by neuronedit",
    ),
}

CASES = {"edit": EDIT, "train": TRAIN, "apply": APPLY, "bootstrap": BOOTSTRAP, "embed": EMBED}

TREATMENTS = {"groupby": "group", "control": "control_1", "effects": ["control_2", "sample_1"]}
BATCHES = {"batch_key": "batch", "control_key": "role", "reference": "batch_2", "edit": "shift"}
TOOLS = {
    "train": partial(ne.tl.train, space="identity"),
    "edit": partial(ne.tl.edit, **POPULATIONS),
    "apply": apply,
    "bootstrap": ne.tl.bootstrap,
    "correct": partial(ne.tl.correct, **BATCHES),
    "combine": partial(ne.tl.combine, **TREATMENTS, edit="shift"),
    "synergy": partial(ne.tl.synergy, **TREATMENTS, measured="sample_2"),
    "rank_combinations": partial(ne.tl.rank_combinations, **TREATMENTS, score="CD4"),
    "rank_neurons": ne.tl.rank_neurons,
    "compare": partial(ne.tl.compare, **POPULATIONS | {"edit": None}, methods=["identity"]),
    "embed": lambda adata, **changes: ne.tl.embed(adata, model(), **changes),
}
TOOLS["compare"].keywords.pop("edit")


def change_weights(adata):
    if "neuronedit" in adata.uns:
        adata.uns["neuronedit"]["weights"]["center"] = adata.uns["neuronedit"]["weights"]["center"] + 1


def scale_up(adata):
    adata.X = adata.X * 10


USE_OTHERS, AFTER_EDIT = {"apply", "embed"}, {"bootstrap", "rank_neurons"}
WITH_SPACE = set(TOOLS) - {"train", "compare"}
WITH_LAYER = set(TOOLS) - AFTER_EDIT
FAULTS = {  # change, arguments, message, tools
    "duplicated var_names": (duplicate, {}, "var_names are not unique: 'CD3'", set(TOOLS)),
    "NaN": (set_x(np.nan), {}, "X has NaN or infinite values, the first in cell 'c3', feature 'CD20'", set(TOOLS)),
    "words": (words, {}, "X has dtype object; it must hold real numbers", set(TOOLS)),
    "accelerator": (nothing, {"accelerator": "tpu9"}, "accelerator 'tpu9' is not available", set(TOOLS)),
    "layer": (nothing, {"layer": "counts"}, "'counts' is not in adata.layers; it has 'truth'", WITH_LAYER),
    "key": (
        nothing,
        {"key_added": "a/b"},
        "key_added='a/b' cannot be kept in h5ad and zarr files: files take a slash for a folder",
        WITH_LAYER - {"rank_combinations"},
    ),
    "column": (
        nothing,
        {"groupby": "grp"},
        "'grp' is not in adata.obs; it has 'group'",
        {"edit", "apply", "combine", "synergy", "rank_combinations", "compare"},
    ),
    "features": (rename, {}, "adata has other features than .* missing 'CD3', extra 'CD1000'", WITH_SPACE),
    "scale": (
        scale_up,
        {},
        r"X is on another scale than the cells that .*: its values spread (9\.9|10) times as far",
        WITH_SPACE,
    ),
    "no space": (
        lambda adata: adata.uns.pop("neuronedit"),
        {},
        r"uns\['neuronedit'\] holds no trained space; call ne.tl.train",
        WITH_SPACE - USE_OTHERS,
    ),
    "changed space": (
        change_weights,
        {},
        r"uns\['neuronedit'\] was changed after the training: its id is not that of its weights",
        WITH_SPACE - USE_OTHERS,
    ),
}
UNSAVABLE = ["", ".", "..", "__x", "_index", "a/b", "a\nb", ".zattrs"]


def snapshot(adata):
    """Everything that a failed call could have changed."""
    return adata.copy(), set(adata.uns), set(adata.obsm), set(adata.layers)


def check_unchanged(adata, before):
    copy, uns, obsm, layers = before
    assert (set(adata.uns), set(adata.obsm), set(adata.layers)) == (uns, obsm, layers)
    assert list(adata.uns.get("edited", ())) == list(copy.uns.get("edited", ()))
    pd.testing.assert_frame_equal(adata.obs, copy.obs)
    pd.testing.assert_frame_equal(adata.var, copy.var)
    for matrix, old in ((adata.X, copy.X), *((adata.layers[name], copy.layers[name]) for name in layers)):
        assert type(matrix) is type(old)
        if matrix is not None and not sparse.issparse(matrix) and matrix.dtype != object:
            np.testing.assert_array_equal(matrix, old)


@pytest.mark.parametrize("name", [f"{tool}: {case}" for tool, cases in CASES.items() for case in cases])
def test_one_clear_error_and_adata_unchanged(trained, name):
    tool, case = name.split(": ", 1)
    change, call, message = CASES[tool][case]
    change(trained)
    before = snapshot(trained)
    with pytest.raises((KeyError, OSError, TypeError, ValueError), match=message):
        call(trained)
    check_unchanged(trained, before)


@pytest.mark.parametrize("name", [f"{tool}: {fault}" for fault, row in FAULTS.items() for tool in sorted(row[3])])
def test_what_every_tool_refuses(trained, name):
    tool, fault = name.split(": ", 1)
    change, arguments, message, _ = FAULTS[fault]
    if tool in AFTER_EDIT:
        edit()(trained)
    change(trained)
    before = snapshot(trained)
    with pytest.raises((KeyError, TypeError, ValueError), match=message):
        TOOLS[tool](trained, **arguments)
    check_unchanged(trained, before)


@pytest.mark.parametrize("tool", TOOLS)
def test_not_an_anndata(tool, cells):
    with pytest.raises(TypeError, match=r"adata must be an AnnData; it is a DataFrame\."):
        TOOLS[tool](pd.DataFrame({"a": [1.0, 2.0]}))
    mudata = pytest.importorskip("mudata")
    message = r"it is a MuData; pass one of its modalities, mdata.mod\['prot'\]: it has 'prot'"
    with pytest.raises(TypeError, match=message):
        TOOLS[tool](mudata.MuData({"prot": cells}))


@pytest.mark.parametrize("key", UNSAVABLE)
def test_names_that_files_cannot_keep(trained, key):
    before = snapshot(trained)
    with pytest.raises(ValueError, match="cannot be kept in h5ad and zarr files: .* Choose another name"):
        edit(key_added=key)(trained)
    check_unchanged(trained, before)


@pytest.mark.parametrize("key", [3, None, ["a"], b"a"])
def test_names_are_strings(trained, key):
    before = snapshot(trained)
    with pytest.raises(TypeError, match="key_added must be a string; it is "):
        edit(key_added=key)(trained)
    check_unchanged(trained, before)


def test_every_tool_is_in_the_table():
    assert set(TOOLS) == set(ne.tl.__all__)


@pytest.mark.parametrize("shape", [(0, 4), (5, 0)])
def test_no_cells_or_no_features(shape):
    adata = anndata.AnnData(np.zeros(shape, dtype=np.float32))
    with pytest.raises(ValueError, match="no cells or no features"):
        ne.tl.train(adata)


def test_negative_values_are_no_error(cells):
    """Mass cytometry counts can be slightly negative, after randomization."""
    cells.X -= 1
    train()(cells)
    edit()(cells)
    assert np.isfinite(cells.layers["edited"]).all()
