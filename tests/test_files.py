"""What is written into AnnData survives h5ad and zarr, whatever features and batches are called, or is refused at the start."""

from collections.abc import Mapping

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest

import neuronedit as ne

POPULATIONS = {"source": "control_1", "target": "control_2", "query": "sample_1"}
ODD_NAMES = {"CD16": "CD16/CD32", "CD8": "", "CD14": "_index"}
CANDIDATES = {name: ne.ensemble.CANDIDATES[name] for name in ("mean_shift", "neuron_editing")}
QUIET = {"progress_bar": False}

pytestmark = pytest.mark.filterwarnings("ignore:Writing zarr v2 data")


def assert_same(stored, written, where="uns"):
    """Check that what was read is what was written, down to the types of words and numbers."""
    if isinstance(written, Mapping):
        assert set(stored) == set(written), where
        for name, value in written.items():
            assert_same(stored[name], value, f"{where}/{name}")
    elif isinstance(written, pd.DataFrame):
        options = {"check_names": False, "check_categorical": False, "check_dtype": False, "check_index_type": False}
        pd.testing.assert_frame_equal(stored, written, check_column_type=False, **options)
    elif isinstance(written, str):
        assert str(stored) == written, where
    else:
        stored, written = np.asarray(stored), np.asarray(written)
        assert stored.shape == written.shape, where
        kinds = "US" if written.dtype.kind in "USO" else None
        if kinds is None:
            np.testing.assert_array_equal(stored, written, err_msg=where)
        else:
            assert [str(x) for x in stored.ravel()] == [str(x) for x in written.ravel()], where


def check_files(adata, tmp_path):
    """Write the AnnData, read it, and compare."""
    for suffix in ("h5ad", "zarr"):
        path = tmp_path / f"cells.{suffix}"
        getattr(adata, f"write_{suffix}")(path)
        stored = getattr(anndata, f"read_{suffix}")(path)
        assert list(stored.var_names) == list(adata.var_names)
        assert_same(dict(stored.uns), dict(adata.uns))
        for slots in ("layers", "obsm"):
            written = getattr(adata, slots)
            assert set(getattr(stored, slots)) - {None} == set(written) - {None}
            for name in set(written) - {None}:
                np.testing.assert_array_equal(getattr(stored, slots)[name], written[name])


def rename(adata, names=ODD_NAMES):
    adata.var_names = [names.get(name, name) for name in adata.var_names]
    return adata


@pytest.fixture
def cells():
    """Cells with odd names of features, batches, groups and cell types."""
    adata = rename(ne.datasets.simulate_batches(n_cells=80))
    adata.obs["batch"] = adata.obs["batch"].cat.rename_categories({"batch_1": "run 1/2", "batch_2": "_index"})
    adata.obs["cell_type"] = adata.obs["cell_type"].astype(str).replace({"B": "B/plasma", "NK": ""})
    return adata


def test_edits_and_corrections(cells, tmp_path):
    ne.tl.train(cells, widths=(16, 4), max_epochs=2, validation_size=0.2)
    ne.tl.edit(cells, "group", **POPULATIONS, strata="cell_type", candidates=CANDIDATES)
    ne.tl.edit(cells, "group", **POPULATIONS, edit="local", strength=[0.5, 1], key_added="local")
    ne.tl.bootstrap(cells, "local", n_bootstrap=2)
    ne.tl.apply(cells, cells.copy(), "group", query="sample_2", key="edited", key_added="applied")
    sample_key = {"sample_key": "group", "held_out_controls": {"cell_type": "B/plasma"}}
    ne.tl.correct(cells, "batch", control_key="role", edit="percentile", **sample_key, **QUIET)
    ne.tl.correct(cells, "batch", control_key="role", reference="_index", edit="shift", key_added="one way", **QUIET)
    ne.tl.apply(cells, cells.copy(), query=cells.obs_names, key="corrected", key_added="corrected again")
    how = {"methods": ["identity", "mean_shift"], "n_bootstrap": 0, "key_added": "compared"}
    ne.tl.compare(cells, "group", **POPULATIONS, **how, **QUIET)
    tables = {
        "edited": ["features"],
        "applied": ["features"],
        "corrected": ["features", "batches", "samples", "held_out"],
    }
    for key, names in tables.items():
        assert all(isinstance(cells.uns[key][name], pd.DataFrame) for name in names)
    check_files(cells, tmp_path)


def test_what_was_read_is_used_as_what_was_written(cells, tmp_path):
    """Trained, edited and corrected before the file; saved, applied and bootstrapped after it."""
    ne.tl.train(cells, widths=(16, 4), max_epochs=1)
    ne.tl.edit(cells, "group", **POPULATIONS, edit="percentile")
    ne.tl.correct(cells, "batch", control_key="role", edit="percentile", **QUIET)
    cells.write_zarr(tmp_path / "cells.zarr")
    stored = anndata.read_zarr(tmp_path / "cells.zarr")
    for key in ("edited", "corrected"):
        ne.io.save_model(stored, tmp_path / "model.safetensors", edit=key)
        new = anndata.AnnData(cells.X.copy(), obs=cells.obs[["group", "batch"]], var=cells.var.copy())
        query = {"query": "sample_1", "groupby": "group"} if key == "edited" else {"query": new.obs_names}
        ne.tl.apply(new, tmp_path / "model.safetensors", **query, key_added=key)
        assert np.array_equal(new.layers[key], cells.layers[key])
    assert ne.tl.rank_neurons(stored).equals(ne.tl.rank_neurons(cells))
    for adata in (stored, cells):
        ne.tl.bootstrap(adata, n_bootstrap=2)
    assert np.array_equal(stored.layers["edited_sd"], cells.layers["edited_sd"])


@pytest.mark.parametrize("space", ["pca", "identity", "conv"])
def test_other_spaces(cells, tmp_path, space):
    cells.uns["image_shape"] = (5, 7)
    ne.tl.train(cells, space=space, **({"widths": (2, 2), "max_epochs": 1} if space == "conv" else {}))
    ne.tl.edit(cells, "group", **POPULATIONS, edit="transport")
    cells.uns["image_shape"] = np.array([5, 7])
    check_files(cells, tmp_path)


def test_combinations(tmp_path):
    adata = rename(ne.datasets.simulate_combination(n_cells=80))
    adata.obs["condition"] = adata.obs["condition"].cat.rename_categories(
        {"A": "A/B", "B": "_index", "A+B": "both/two"}
    )
    how = {"control": "basal", "effects": ["A/B", "_index"], "edit": "percentile"}
    ne.tl.train(adata, space="identity")
    predicted = ne.tl.combine(adata, "condition", **how, **QUIET)
    assert list(predicted.uns["combined"]["combinations"].index) == ["A/B+_index"]
    check_files(predicted, tmp_path)
    ne.tl.synergy(adata, "condition", **how, measured="both/two", n_bootstrap=3, **QUIET)
    adata.obs["condition"] = adata.obs["condition"].cat.rename_categories({"A/B": "A", "_index": "B"})
    ne.tl.combine(adata, "condition", **how | {"effects": ["A", "B"]}, as_layers=True, **QUIET)
    assert {"combined_A", "combined_B"} <= set(adata.layers)
    check_files(adata, tmp_path)


def many_features(n):
    """Few cells with many features, edited and corrected."""
    generator = np.random.default_rng(0)
    groups = np.repeat(["control_1", "control_2", "sample_1", "sample_2"], 5)
    obs = pd.DataFrame(
        {"group": groups, "batch": [name[-1] for name in groups], "role": [name[:-2] for name in groups]}
    )
    obs.index = [f"c{i}" for i in obs.index]
    names = [f"gene/{j}" for j in range(n - 2)] + ["", "_index"]
    X = generator.normal(size=(20, n)).astype(np.float32)
    adata = anndata.AnnData(X, obs=obs, var=pd.DataFrame(index=names))
    ne.tl.train(adata, space="pca", n_components=5)
    ne.tl.edit(adata, "group", **POPULATIONS, edit="percentile")
    ne.tl.bootstrap(adata, n_bootstrap=2)
    ne.tl.correct(adata, "batch", control_key="role", reference="2", edit="shift", **QUIET)
    ne.tl.synergy(
        adata, "group", control="control_1", effects=["control_2", "sample_1"], measured="sample_2", n_bootstrap=2
    )
    return adata


def list_sizes(path):
    """Return the bytes of each array in uns of an h5ad file."""
    sizes = {}

    def add(name, thing):
        if isinstance(thing, h5py.Dataset):
            is_word = h5py.check_string_dtype(thing.dtype) and thing.shape
            sizes[name] = sum(len(word) for word in thing[:]) if is_word else thing.size * thing.dtype.itemsize

    with h5py.File(path) as file:
        file["uns"].visititems(add)
    return sizes


def test_many_features(tmp_path):
    adata = many_features(20_000)
    check_files(adata, tmp_path)
    for key in ("edited", "corrected", "synergy"):
        assert len(adata.uns[key]["features"]) == 20_000


def test_tables_have_features_as_rows_and_take_little_room(tmp_path):
    """There are as many arrays in a file whatever the number of features, and a table takes few numbers for each."""
    sizes = []
    for n in (1_000, 3_000):
        adata = many_features(n)
        adata.write_h5ad(tmp_path / "cells.h5ad")
        sizes.append(list_sizes(tmp_path / "cells.h5ad"))
    assert sizes[0].keys() == sizes[1].keys()
    for key, most in {"edited": 70, "corrected": 85, "synergy": 105}.items():
        of_key = [sum(size for name, size in of_file.items() if name.startswith(f"{key}/")) for of_file in sizes]
        assert (of_key[1] - of_key[0]) / 2_000 < most, key  # bytes for each feature
    of_space = [sum(size for name, size in of_file.items() if name.startswith("neuronedit/")) for of_file in sizes]
    assert (of_space[1] - of_space[0]) / 2_000 < 4 * (5 + 1) + 4 * 5 + 12  # components, mean, quantiles, name


# keys that files cannot keep

BAD_KEYS = ["a/b", "", "..", "__x", "_index", "a\0b", "zarr.json"]


def never(*arguments, **keywords):
    raise AssertionError("work was done")


class NeverTrained(ne.spaces.Identity):
    fit = classmethod(never)


EFFECTS = {"control": "control_1", "effects": ["control_2", "sample_1"], "edit": never}
WITH_KEY = {
    "train": lambda adata, key: ne.tl.train(adata, space=NeverTrained, key_added=key),
    "edit": lambda adata, key: ne.tl.edit(adata, "group", **POPULATIONS, edit=never, key_added=key),
    "apply": lambda adata, key: ne.tl.apply(adata, adata, query=adata.obs_names, key="edited", key_added=key),
    "correct": lambda adata, key: ne.tl.correct(adata, "batch", control_key="role", edit=never, key_added=key),
    "combine": lambda adata, key: ne.tl.combine(adata, "group", **EFFECTS, key_added=key),
    "combine as layers": lambda adata, key: ne.tl.combine(adata, "group", **EFFECTS, key_added=key, as_layers=True),
    "synergy": lambda adata, key: ne.tl.synergy(adata, "group", **EFFECTS, measured="sample_2", key_added=key),
    "compare": lambda adata, key: ne.tl.compare(adata, "group", **POPULATIONS, methods=[never], key_added=key),
    "embed": lambda adata, key: ne.tl.embed(adata, adata, key_added=key),
    "arcsinh": lambda adata, key: ne.pp.arcsinh(adata, layer="raw", key_added=key),
    "inverse_arcsinh": lambda adata, key: ne.pp.inverse_arcsinh(adata, key_added=key),
}


@pytest.fixture(scope="module")
def _edited():
    adata = ne.datasets.simulate_batches(n_cells=20)
    adata.layers["raw"] = 5 * np.sinh(adata.X)
    ne.tl.train(adata, space="identity")
    ne.tl.edit(adata, "group", **POPULATIONS, edit="shift")
    return adata


def check_refused(adata, call, message):
    """Check the error, and that nothing was written."""
    before = adata.copy()
    with pytest.raises(ValueError, match=message):
        call()
    for slots in ("layers", "obsm", "uns", "obs", "var"):
        assert list(getattr(adata, slots)) == list(getattr(before, slots))
    assert np.array_equal(adata.X, before.X)


@pytest.mark.parametrize("key", BAD_KEYS, ids=repr)
@pytest.mark.parametrize("tool", WITH_KEY)
def test_a_key_that_files_cannot_keep_is_refused_before_any_work(_edited, tool, key):
    adata = _edited.copy()
    message = r"key_added=.* cannot be kept in h5ad and zarr files: .*\. Choose another name\."
    check_refused(adata, lambda: WITH_KEY[tool](adata, key), message)


def test_so_are_names_that_are_made_of_others(_edited):
    adata = _edited.copy()
    adata.obs["group"] = adata.obs["group"].cat.rename_categories({"control_2": "A/B"})
    effects = EFFECTS | {"effects": ["A/B", "sample_1"]}
    message = r"'combined_A/B' cannot be kept in h5ad and zarr files: files take a slash for a folder"
    check_refused(adata, lambda: ne.tl.combine(adata, "group", **effects, as_layers=True), message)
    message = r"'compared_quick/dirty' cannot be kept in h5ad and zarr files: files take a slash for a folder"
    how = {"methods": {"quick/dirty": never}, "key_added": "compared"}
    populations = POPULATIONS | {"target": "A/B"}
    check_refused(adata, lambda: ne.tl.compare(adata, "group", **populations, **how), message)


def test_other_keys_are_kept(_edited, tmp_path):
    adata = _edited.copy()
    for key in ("edited 2", "CD4+ → 37 °C", "a.b", ".a", "x_index", "0"):
        ne.tl.edit(adata, "group", **POPULATIONS, edit="shift", key_added=key)
    check_files(adata, tmp_path)
