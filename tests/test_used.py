"""Features with False in var["used"] stay in the data, and every tool does what it does without them."""

import anndata
import numpy as np
import pandas as pd
import pytest

import neuronedit as ne

SMALL = {"widths": (16, 4), "max_epochs": 2, "accelerator": "cpu", "progress_bar": False}
EXTRA = ["Time", "DNA1"]
GROUPS = {"source": "control_1", "target": "control_2", "query": "sample_1"}


@pytest.fixture(scope="module")
def plain():
    """Return cells whose features are all used."""
    adata = ne.datasets.simulate_batches(n_cells=150, rng=0)
    return anndata.AnnData(adata.X, obs=adata.obs, var=adata.var[["X_arcsinh_cofactor"]])


def with_extra(plain):
    """Return the same cells with a raw time first and a raw stain of DNA in the middle, NaN in one cell."""
    raw = np.random.default_rng(0).uniform(1e3, 1e6, size=(plain.n_obs, 2)).astype(np.float32)
    raw[3, 1] = np.nan
    at = plain.n_vars // 2
    x = np.concatenate([raw[:, :1], plain.X[:, :at], raw[:, 1:], plain.X[:, at:]], axis=1)
    names = [EXTRA[0], *plain.var_names[:at], EXTRA[1], *plain.var_names[at:]]
    var = pd.DataFrame({"used": [name not in EXTRA for name in names]}, index=names)
    var["X_arcsinh_cofactor"] = plain.var["X_arcsinh_cofactor"].reindex(names)
    return anndata.AnnData(x, obs=plain.obs.copy(), var=var)


def train_and(tool):
    """Return a function that trains, and calls the tool."""

    def run(adata):
        ne.tl.train(adata, **SMALL)
        return tool(adata)

    return run


def edit(adata, **how):
    ne.tl.edit(adata, "group", **GROUPS, **{"edit": "percentile"} | how)
    return adata.uns["edited"]["features"]


def correct(adata):
    # a sample of three controls in each batch, so that coverage is measured, too
    ne.tl.correct(adata, "batch", control_key="role", reference=None, edit="percentile")
    return adata.uns["corrected"]["features"]


def bootstrap(adata):
    edit(adata)
    ne.tl.bootstrap(adata, n_bootstrap=3)
    return adata.uns["edited"]["features"]


def combine_as_layers(adata):
    ne.tl.combine(adata, "group", control="control_1", effects=["control_2", "sample_1"], edit="shift", as_layers=True)
    return adata.uns["combined"]["combinations"]


def combine(adata):
    combined = ne.tl.combine(adata, "group", control="control_1", effects=["control_2", "sample_1"], edit="shift")
    adata.layers["edited"] = np.resize(combined.X, adata.shape)
    return combined.uns["combined"]["combinations"]


def synergy(adata):
    how = {"control": "control_1", "effects": ["control_2", "sample_1"], "measured": "sample_2"}
    ne.tl.synergy(adata, "group", **how, edit="shift", n_bootstrap=5)
    return adata.uns["synergy"]["features"]


def compare(adata):
    methods = ["mean_shift", "quantile"]
    table = ne.tl.compare(adata, "group", **GROUPS, methods=methods, key_added="compared", n_bootstrap=3)
    return table.drop(columns=["seconds"])


def rank_neurons(adata):
    edit(adata)
    return ne.tl.rank_neurons(adata)


def rank_combinations(adata):
    how = {"control": "control_1", "effects": ["control_2", "sample_1"]}
    names = adata.var_names[:3] if "used" not in adata.var else adata.var_names[1:4]
    return ne.tl.rank_combinations(adata, "group", **how, score=lambda x: float(x[:, names].X.mean()), edit="shift")


def match_populations(adata):
    ne.pp.match_populations(adata, "batch", n_populations=2)
    return adata.obs[["matched"]]


def auto(adata):
    return edit(adata, edit="auto", strata="cell_type")


TOOLS = {
    tool.__name__: train_and(tool)
    for tool in (edit, auto, correct, bootstrap, combine_as_layers, combine, synergy, compare, rank_neurons, rank_combinations)
} | {"match_populations": match_populations}  # fmt: skip


@pytest.mark.parametrize("name", TOOLS)
def test_every_tool_does_what_it_does_without_them(plain, name):
    """Tables and layers have the same bits, and what is not used is in the layers as it was measured."""
    alone, beside = plain.copy(), with_extra(plain)
    raw = beside[:, EXTRA].X.copy()
    tables = [TOOLS[name](adata) for adata in (alone, beside)]
    pd.testing.assert_frame_equal(*tables)
    assert set(alone.layers) == set(beside.layers)
    for layer in filter(None, alone.layers):  # anndata 0.13 lists X among them
        used = beside[:, plain.var_names].layers[layer]
        if name != "combine":
            np.testing.assert_array_equal(used, alone.layers[layer])
            kept = beside[:, EXTRA].layers[layer]
            np.testing.assert_array_equal(kept, np.zeros_like(raw) if layer.endswith("_sd") else raw)
    np.testing.assert_array_equal(beside[:, EXTRA].X, raw)
    if "X_neurons" in alone.obsm:
        np.testing.assert_array_equal(beside.obsm["X_neurons"], alone.obsm["X_neurons"])


def test_files_models_stores_and_plots(plain, tmp_path):
    adata = with_extra(plain)
    ne.tl.train(adata, **SMALL)
    edit(adata)
    ne.io.save_model(adata, tmp_path / "model.safetensors")
    # a model is applied to cells with and without what is not used
    for other in (with_extra(plain), plain.copy()):
        ne.tl.apply(other, tmp_path / "model.safetensors", "group", query="sample_1")
        x = other[:, plain.var_names].layers["edited"]
        np.testing.assert_array_equal(x, adata[:, plain.var_names].layers["edited"])
    # a store, and a file
    other = with_extra(plain)
    ne.tl.apply(other, tmp_path / "model.safetensors", "group", query="sample_1", write_to=tmp_path / "store.zarr")
    np.testing.assert_array_equal(anndata.read_zarr(tmp_path / "store.zarr").layers["edited"], adata.layers["edited"])
    adata.write_h5ad(tmp_path / "cells.h5ad")
    again = anndata.read_h5ad(tmp_path / "cells.h5ad")
    edit(again, key_added="again")
    np.testing.assert_array_equal(again.layers["again"], adata.layers["edited"])
    # plots of all features show those that are used
    figure = ne.pl.marker_shift(adata, return_fig=True)
    assert len(figure.axes[0].collections[0].get_offsets()) == plain.n_vars
    ne.pl.densities(adata, return_fig=True)
    ne.pl.shift(adata, return_fig=True)


def test_what_is_not_used_is_not_transformed(plain):
    adata = with_extra(plain)
    adata.var = adata.var.drop(columns="X_arcsinh_cofactor")
    adata.X[3, adata.var_names.get_loc("DNA1")] = 5.0
    raw = adata[:, EXTRA].X.copy()
    ne.pp.arcsinh(adata, 5)
    np.testing.assert_array_equal(adata[:, EXTRA].X, raw)
    assert adata.var["X_arcsinh_cofactor"].isna().to_numpy().nonzero()[0].tolist() == [
        0,
        adata.var_names.get_loc("DNA1"),
    ]


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (["yes"] * 37, r"var\['used'\] .* must be True or False for each; it is (object|str)"),
        (pd.array([True] * 36 + [None], dtype="boolean"), r"var\['used'\] .* must be True or False"),
        ([False] * 37, r"var\['used'\] is False for every feature"),
        ([True] * 37, "NaN"),
    ],
)
def test_a_column_that_says_something_else_is_refused(plain, column, message):
    adata = with_extra(plain)
    adata.var["used"] = column
    before = adata.copy()
    with pytest.raises(ValueError, match=message):
        ne.tl.train(adata, **SMALL)
    assert list(adata.uns) == list(before.uns) and list(adata.obsm) == list(before.obsm)


def test_other_features_than_those_of_the_training_are_refused(plain):
    adata = with_extra(plain)
    ne.tl.train(adata, **SMALL)
    adata.var.loc["Time", "used"] = True
    with pytest.raises(ValueError, match="extra 'Time'. Features with False in var\\['used'\\] may stay"):
        edit(adata)
    adata.var.loc["Time", "used"] = False
    adata.var.loc["CD3", "used"] = False
    with pytest.raises(ValueError, match="missing 'CD3'"):
        edit(adata)
