"""Bad input gets one clear error before any work, and adata is left exactly as it was."""

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import neuronedit as ne

PAIR = {"groupby": "group", "source": "control_1", "target": "control_2", "query": "sample_1", "edit": "percentile"}


def edit(**changes):
    return lambda adata: ne.tl.edit(adata, **PAIR | changes)


def train(**arguments):
    return lambda adata: ne.tl.train(adata, **{"widths": (8, 3), "max_epochs": 1} | arguments)


def nan_label(adata):
    adata.obs["group"] = adata.obs["group"].where(np.arange(adata.n_obs) > 2)


def two_layers(adata):
    adata.layers["other"] = adata.X.copy()
    ne.tl.train(adata, space="identity", layer="other", key_added="other")


def no_strata(adata):
    adata.obs["part"] = adata.obs["cell_type"].where(np.cumsum(adata.obs["group"] == "control_1") > 3)


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
    "axes without an edit": (nothing, edit(edit="auto", axes="principal"), "axes='principal' needs an edit of its own"),
    "missing strata": (nothing, edit(strata="donor"), "strata: 'donor' is not in adata.obs; it has 'group'"),
    "strata without names": (
        no_strata,
        edit(strata="part"),
        r"obs\['part'\] is missing \(NaN\) for 3 cells of the source",
    ),
    "strata on one side": (nothing, edit(strata="batch"), r"no value of obs\['batch'\] is in both source and target"),
    "no model named": (nothing, edit(key=[]), "key is empty; name at least one trained space"),
    "models of two layers": (
        two_layers,
        edit(key=["neuronedit", "other"]),
        "trained on different layers: None, 'other'",
    ),
    "one of two models missing": (nothing, edit(key=["neuronedit", "x"]), r"uns\['x'\] holds no trained space"),
    "resamples": (nothing, edit(n_resamples=-1), "n_resamples must be at least 0; it is -1"),
    "no trained model": (
        lambda adata: adata.uns.clear(),
        edit(),
        r"uns\['neuronedit'\] holds no trained space; call ne.tl.train",
    ),
    "untrained key": (nothing, edit(key="other"), r"uns\['other'\] holds no trained space"),
    "key of something else": (
        lambda adata: adata.uns.update(pca={"a": 1}),
        edit(key="pca"),
        r"uns\['pca'\] is not a trained space",
    ),
    "other features": (rename, edit(), "adata has other features than .* missing 'CD3', extra 'CD1000'"),
    "duplicated var_names": (duplicate, edit(), "var_names are not unique: 'CD3'"),
    "NaN": (set_x(np.nan), edit(), "X has NaN or infinite values, the first in cell 'c3', feature 'CD20'"),
    "infinite": (set_x(-np.inf), edit(), "X has NaN or infinite values"),
    "NaN in a sparse matrix": (
        set_x(np.nan, sparse.csr_matrix),
        edit(),
        "X has NaN or infinite values, the first in cell 'c3'",
    ),
    "words": (words, edit(), "X has dtype object"),
    "taken layer": (nothing, edit(key_added="truth"), r"layers\['truth'\] exists and was not written by neuronedit"),
    "taken record": (lambda adata: adata.uns.update(pca=1), edit(key_added="pca"), r"uns\['pca'\] exists"),
    "key of the model": (nothing, edit(key_added="neuronedit"), "is the key of the trained space"),
    "strength of NaN": (nothing, edit(strength=float("nan")), "strength must be a finite number"),
    "bounds the wrong way round": (nothing, edit(bounds=(5, 0)), "bounds must be the lowest and the highest value"),
    "unknown accelerator": (nothing, edit(accelerator="gpu"), "accelerator 'gpu' is not available"),
}

TRAIN = {
    "unknown layer": (nothing, train(layer="counts"), "'counts' is not in adata.layers; it has 'truth'"),
    "unknown space": (
        nothing,
        train(space="vae"),
        "space='vae' is not known; choose 'autoencoder', 'conv', 'pca', 'identity'",
    ),
    "unknown parameter": (
        nothing,
        train(depth=3),
        "'depth' is not a parameter of the space 'autoencoder'; it has 'widths'",
    ),
    "parameter of another space": (nothing, train(space="pca"), "'widths' is not a parameter of the space 'pca'"),
    "unknown schedule": (nothing, train(schedule="cosine"), "schedule='cosine' is not known"),
    "bad widths": (nothing, train(widths=()), "widths must hold at least one positive number"),
    "images without a shape": (nothing, train(space="conv"), "image_shape is missing; it must be .rows, columns."),
    "images of another shape": (
        lambda adata: adata.uns.update(image_shape=[6, 6]),
        train(space="conv"),
        r"image_shape \(6, 6\) has 36 values; the images have 35 features",
    ),
    "bad batch": (nothing, train(batch_size=0), "batch_size must be at least 1"),
    "unknown accelerator": (nothing, train(accelerator="tpu9"), "accelerator 'tpu9' is not available"),
    "NaN": (set_x(np.nan), train(), "X has NaN or infinite values, the first in cell 'c3', feature 'CD20'"),
    "duplicated var_names": (duplicate, train(), "var_names are not unique"),
    "words": (words, train(), "X has dtype object; it must hold real numbers"),
    "complex": (lambda adata: setattr(adata, "X", adata.X.astype(complex)), train(), "X has dtype complex128"),
    "no X": (lambda adata: setattr(adata, "X", None), train(), "adata.X is empty; name a layer: it has 'truth'"),
}


def snapshot(adata):
    """Everything that a failed call could have changed."""
    return adata.copy(), set(adata.uns), set(adata.obsm), set(adata.layers)


def check_unchanged(adata, before):
    copy, uns, obsm, layers = before
    assert (set(adata.uns), set(adata.obsm), set(adata.layers)) == (uns, obsm, layers)
    pd.testing.assert_frame_equal(adata.obs, copy.obs)
    pd.testing.assert_frame_equal(adata.var, copy.var)
    for matrix, old in ((adata.X, copy.X), *((adata.layers[name], copy.layers[name]) for name in layers)):
        assert type(matrix) is type(old)
        if matrix is not None and not sparse.issparse(matrix) and matrix.dtype != object:
            np.testing.assert_array_equal(matrix, old)


@pytest.mark.parametrize("name", [f"edit: {name}" for name in EDIT] + [f"train: {name}" for name in TRAIN])
def test_one_clear_error_and_adata_unchanged(trained, name):
    tool, case = name.split(": ", 1)
    change, call, message = {"edit": EDIT, "train": TRAIN}[tool][case]
    change(trained)
    before = snapshot(trained)
    with pytest.raises((KeyError, TypeError, ValueError), match=message):
        call(trained)
    check_unchanged(trained, before)


@pytest.mark.parametrize("call", [train(), edit()])
def test_not_an_anndata(call):
    with pytest.raises((TypeError, AttributeError), match="AnnData|uns"):
        call(pd.DataFrame({"a": [1.0, 2.0]}))


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
