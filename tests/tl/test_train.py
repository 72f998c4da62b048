"""What tl.train reads and writes."""

import json
import logging
import re

import anndata
import numpy as np
import pytest
import torch
from scipy import sparse

import neuronedit as ne

SMALL = {"widths": (16, 5), "max_epochs": 2}
POPULATIONS = {"source": "control_1", "target": "control_2", "query": "sample_1"}


def test_slots(cells):
    X = cells.X.copy()
    assert ne.tl.train(cells, **SMALL) is None
    assert cells.obsm["X_neurons"].shape == (600, 5)
    assert cells.obsm["X_neurons"].dtype == np.float32
    record = cells.uns["neuronedit"]
    assert record["space"] == "autoencoder"
    assert list(record["var_names"]) == list(cells.var_names)
    assert len(record["history"]["train_loss"]) == 2
    config = json.loads(record["config"])
    assert (
        config["parameters"]["widths"] == [16, 5] and config["layer"] is None and config["training"]["max_epochs"] == 2
    )
    assert set(json.loads(record["versions"])) >= {"neuronedit", "torch"}
    assert len(record["scale"]["quantiles"]) == 35 and record["scale"]["cofactor"].tolist() == [5.0] * 35
    assert len(record["id"]) == 64 and "embedded" not in record
    assert np.array_equal(cells.X, X)


GENES = np.random.default_rng(0).normal(size=(40, 61)).astype(np.float32)
DEFAULT_SPACES = {  # number of features, what else there is, and the space that is taken
    "a panel": (60, {}, "autoencoder"),
    "genes": (61, {}, "pca"),
    "a panel of which more was measured": (61, {"var": "used"}, "autoencoder"),
    "images": (60, {"image_shape": [6, 10]}, "autoencoder"),
    "larger images": (61, {"image_shape": [61, 1]}, "autoencoder"),
}


@pytest.mark.parametrize("case", DEFAULT_SPACES)
def test_genes_are_edited_in_principal_components(case):
    n_features, more, space = DEFAULT_SPACES[case]
    adata = anndata.AnnData(GENES[:, :n_features].copy())
    if "image_shape" in more:
        adata.uns["image_shape"] = more["image_shape"]
    if "var" in more:
        adata.var["used"] = np.arange(n_features) > 0
    how = {"max_epochs": 1} if space == "autoencoder" else {}
    ne.tl.train(adata, **how)
    assert adata.uns["neuronedit"]["space"] == space
    ne.tl.train(adata, space="autoencoder", **SMALL)
    assert adata.uns["neuronedit"]["space"] == "autoencoder"


OF_TRAINING = {
    "max_epochs": 3, "batch_size": 10, "lr": 0.1, "schedule": "constant", "validation_size": 0.1, "early_stopping": 2,
    "precision": "bfloat16", "cuda_graph": True,
}  # fmt: skip


@pytest.mark.parametrize("name", OF_TRAINING)
@pytest.mark.parametrize(
    ("space", "what"),
    [("auto", "'pca', the default with more than 60 features"), ("pca", "'pca'"), ("identity", "'identity'")],
)
def test_settings_of_training_are_refused_where_nothing_is_trained(name, space, what):
    adata = anndata.AnnData(GENES.copy())
    text = f"{name}={OF_TRAINING[name]!r} is for spaces that are trained, not for the space {what}. Choose space='autoencoder'"
    with pytest.raises(ValueError, match=re.escape(text)):
        ne.tl.train(adata, space=space, **{name: OF_TRAINING[name]})
    assert not adata.uns and not adata.obsm


def test_widths_are_not_of_the_space_of_genes():
    text = (
        "'widths' is not a parameter of the space 'pca', the default with more than 60 features; it has 'n_components'"
    )
    with pytest.raises(TypeError, match=re.escape(text)):
        ne.tl.train(anndata.AnnData(GENES.copy()), widths=(3, 2))
    adata = anndata.AnnData(GENES.copy())
    ne.tl.train(adata, n_components=4)
    assert adata.obsm["X_neurons"].shape == (40, 4)


@pytest.mark.parametrize(("edit", "space"), [("auto", "pca"), ("percentile", "pca"), ("paper", "autoencoder")])
def test_an_edit_of_genes_without_a_space_takes_its_own(edit, space):
    adata = anndata.AnnData(GENES.copy())
    adata.obs["group"] = np.repeat(["source", "target", "query", "query"], 10)
    ne.tl.edit(adata, "group", source="source", target="target", query="query", edit=edit)
    assert adata.uns["neuronedit"]["space"] == space


def test_another_key_leaves_the_first_model(trained):
    first = trained.obsm["X_neurons"].copy()
    ne.tl.train(trained, space="pca", n_components=3, key_added="linear")
    assert trained.obsm["X_neurons_linear"].shape == (600, 3)
    assert np.array_equal(trained.obsm["X_neurons"], first)
    assert {"neuronedit", "linear"} <= set(trained.uns)


def test_copy(cells):
    new = ne.tl.train(cells, **SMALL, copy=True)
    assert "X_neurons" in new.obsm and not cells.obsm and not cells.uns


def test_same_seed_same_bits_another_seed_other_bits(cells):
    runs = [ne.tl.train(cells, **SMALL, rng=rng, copy=True).obsm["X_neurons"] for rng in (0, 0, 1)]
    assert np.array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0], runs[2])
    generators = [np.random.default_rng(5) for _ in range(2)]
    runs = [ne.tl.train(cells, **SMALL, rng=generator, copy=True).obsm["X_neurons"] for generator in generators]
    assert np.array_equal(runs[0], runs[1])


KINDS = {
    "csr_matrix": sparse.csr_matrix,
    "csc_matrix": sparse.csc_matrix,
    "csr_array": sparse.csr_array,
    "csc_array": sparse.csc_array,
    "fortran": np.asfortranarray,
    "float64": lambda X: X.astype(np.float64),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_matrix_gives_the_same_result(cells, kind):
    expected = ne.tl.train(cells, **SMALL, copy=True).obsm["X_neurons"]
    cells.X = KINDS[kind](cells.X)
    ne.tl.train(cells, **SMALL)
    np.testing.assert_allclose(cells.obsm["X_neurons"], expected, atol=1e-5)


@pytest.mark.parametrize("dtype", [np.int8, np.int64, np.uint16, bool, np.float16])
def test_other_types(cells, dtype):
    cells.X = np.round(cells.X).astype(dtype)
    ne.tl.train(cells, **SMALL)
    assert cells.X.dtype == dtype
    assert np.isfinite(cells.obsm["X_neurons"]).all()


def test_layer(cells):
    cells.layers["doubled"] = 2 * cells.X
    cells.X[:] = np.nan
    ne.tl.train(cells, layer="doubled", **SMALL)
    assert json.loads(cells.uns["neuronedit"]["config"])["layer"] == "doubled"


def test_a_view_becomes_an_actual_anndata_and_its_parent_stays(cells):
    view = cells[cells.obs["role"] == "control"]
    with pytest.warns(anndata.ImplicitModificationWarning):
        ne.tl.train(view, **SMALL)
    assert view.obsm["X_neurons"].shape == (300, 5)
    assert not cells.obsm and not cells.uns


def test_a_space_of_the_user_s_own_is_found_again(cells):
    class Halves(ne.spaces.Identity):
        def encode(self, x, /):
            return x / 2

        def decode(self, z, /):
            return z * 2

    rows = dict(ne.spaces.SPACES)
    ne.tl.train(cells, space=Halves)
    np.testing.assert_allclose(cells.obsm["X_neurons"], cells.X / 2)
    ne.tl.edit(cells, "group", **POPULATIONS, edit="shift")
    expected = ne.tl.train(cells, space="identity", copy=True)
    ne.tl.edit(expected, "group", **POPULATIONS, edit="shift")
    np.testing.assert_allclose(cells.layers["edited"], expected.layers["edited"], atol=1e-5)
    assert rows == ne.spaces.SPACES
    other_process = cells.copy()  # where nobody has defined it
    other_process.uns["neuronedit"]["space"] = "elsewhere.Halves"
    del other_process.uns["neuronedit"]["id"]
    with pytest.raises(ValueError, match="trained in the space 'elsewhere.Halves', which is not in ne.spaces.SPACES"):
        ne.tl.edit(other_process, "group", **POPULATIONS)
    with pytest.raises(TypeError, match="is no class derived from ne.spaces.FittedSpace; there are 'autoencoder'"):
        ne.tl.train(cells, space=dict)


def test_a_schedule_of_the_user_s_own(cells):
    ne.tl.train(cells, **SMALL, schedule=lambda done: 1 - done / 2)
    assert json.loads(cells.uns["neuronedit"]["config"])["training"]["schedule"] == "<lambda>"


def test_passing_a_built_in_class_adds_no_row(cells):
    rows = dict(ne.spaces.SPACES)
    ne.tl.train(cells, space=ne.spaces.PCA, n_components=2)
    assert rows == ne.spaces.SPACES
    assert cells.uns["neuronedit"]["space"] == "pca"


def test_raw_values_are_pointed_out(cells, caplog):
    with caplog.at_level(logging.WARNING):
        ne.tl.train(cells, **SMALL)
        assert not caplog.records
        cells.X = 5 * np.sinh(3 * cells.X)
        ne.tl.train(cells, **SMALL)
    assert "raw counts or intensities" in caplog.text


def test_devices():
    from neuronedit._device import find_device

    assert find_device("cpu") == torch.device("cpu")
    assert find_device("auto").type in ("cpu", "cuda", "mps")
    for unknown in ("gpu9", "xpu" if not torch.accelerator.is_available() else "nonsense"):
        with pytest.raises(ValueError, match="is not available; this machine has auto, cpu"):
            find_device(unknown)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_agrees_with_the_cpu(cells):
    on_cpu = ne.tl.train(cells, **SMALL, accelerator="cpu", copy=True)
    on_gpu = ne.tl.train(cells, **SMALL, accelerator="cuda", copy=True)
    np.testing.assert_allclose(on_gpu.obsm["X_neurons"], on_cpu.obsm["X_neurons"], atol=1e-3)
    for adata, accelerator in ((on_cpu, "cpu"), (on_gpu, "cuda")):
        ne.tl.edit(adata, "group", **POPULATIONS, accelerator=accelerator)
    np.testing.assert_allclose(on_gpu.layers["edited"], on_cpu.layers["edited"], atol=1e-2)
