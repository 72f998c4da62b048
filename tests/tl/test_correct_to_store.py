"""A batch correction that is written into a store: the same as in memory, wherever the cells are, and resumed."""

import anndata
import numpy as np
import pandas as pd
import pytest

import neuronedit as ne
from neuronedit.engine import store

HOW = {"control_key": "role", "sample_key": "person", "held_out_controls": {"person": "control 2"}}
BRIDGE = {"b3": {"person": "donor"}, "b5": "b2"}
pytestmark = pytest.mark.filterwarnings("ignore:zarr v3 will become")  # anndata 0.13: format 2 will go


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    monkeypatch.setattr("neuronedit.engine.store.MAX_CELLS_PER_BLOCK", 130)


@pytest.fixture
def cells():
    """Five batches in one order of cells, mixed; b3 has a donor who is in b4, too, and b5 nothing."""
    rng = np.random.default_rng(0)
    people = ["control 1", "control 2", "patient", "donor"]
    has = {"b1": people[:3], "b2": people[:3], "b3": people[2:], "b4": people, "b5": people[2:3]}
    obs = pd.DataFrame([(batch, person) for batch in has for person in has[batch]], columns=["batch", "person"])
    obs = obs.loc[np.repeat(obs.index, 60)].sample(frac=1, random_state=0).reset_index(drop=True)
    obs["role"] = np.where(obs["person"].str.startswith("control"), "control", "sample")
    obs.index = [f"c{i}" for i in range(len(obs))]
    shift = rng.normal(size=(5, 4))[obs["batch"].str[1].astype(int) - 1]
    X = rng.normal(size=(len(obs), 4)) + 2 * obs["person"].map(people.index).to_numpy()[:, None] + shift
    adata = anndata.AnnData(X.astype("f4"), obs=obs)
    ne.tl.train(adata, space="pca")
    return adata


def check_same(stored, corrected, key="corrected"):
    np.testing.assert_allclose(stored.layers[key], corrected.layers[key], atol=1e-5)
    np.testing.assert_allclose(stored.obsm[f"X_neurons_{key}"], corrected.obsm[f"X_neurons_{key}"], atol=1e-5)
    np.testing.assert_allclose(stored.obs[f"{key}_distance"], corrected.obs[f"{key}_distance"], atol=1e-5)
    for table in ("batches", "samples", "features", "held_out"):
        if table in corrected.uns[key]:
            tables = (pd.DataFrame(adata.uns[key][table]) for adata in (corrected, stored))
            ours, theirs = (table.drop(columns="verdict", errors="ignore") for table in tables)  # it rounds
            pd.testing.assert_frame_equal(
                ours, theirs, check_dtype=False, check_categorical=False, rtol=1e-3, atol=1e-4
            )
    assert stored.uns[key]["verdict"] == corrected.uns[key]["verdict"]


@pytest.mark.parametrize("edit", ["shift", "percentile"])
@pytest.mark.parametrize("reference", [None, "b1"])
def test_a_store_holds_what_memory_would(cells, tmp_path, edit, reference):
    how = HOW | {"edit": edit, "reference": reference, "bridge": BRIDGE}
    before = cells.X.copy()
    corrected = ne.tl.correct(cells, "batch", **how, copy=True)
    ne.tl.correct(cells, "batch", **how, write_to=tmp_path / "corrected.zarr")
    assert np.array_equal(cells.X, before) and "corrected" not in cells.layers and "corrected" not in cells.uns
    stored = anndata.read_zarr(tmp_path / "corrected.zarr")
    check_same(stored, corrected)
    assert stored.uns["corrected"]["batches"].loc["b3", "status"] == "bridged"
    # and it can be applied to other cells of the same batches, into a store as well
    new = cells[::3].copy()
    ne.tl.apply(new, corrected, query=new.obs_names, key_added="corrected", copy=False)
    ne.tl.apply(cells[::3].copy(), stored, query=new.obs_names, key_added="corrected", write_to=tmp_path / "new.zarr")
    again = anndata.read_zarr(tmp_path / "new.zarr")
    np.testing.assert_allclose(again.layers["corrected"], new.layers["corrected"], atol=1e-5)
    np.testing.assert_allclose(again.layers["corrected"], corrected.layers["corrected"][::3], atol=1e-5)


def test_cells_in_a_file_are_corrected_as_in_memory(cells, tmp_path):
    corrected = ne.tl.correct(cells, "batch", **HOW, edit="percentile", copy=True)
    cells.write_h5ad(tmp_path / "cells.h5ad")
    afar = anndata.read_h5ad(tmp_path / "cells.h5ad", backed="r")
    ne.tl.correct(afar, "batch", **HOW, edit="percentile", write_to=tmp_path / "corrected.zarr")
    check_same(anndata.read_zarr(tmp_path / "corrected.zarr"), corrected)


def test_a_stain_that_failed_is_imputed_from_a_file_too(tmp_path):
    rng = np.random.default_rng(0)
    obs = pd.DataFrame({"batch": np.repeat(["b1", "b2", "b3"], 400), "role": np.tile(["control", "sample"], 600)})
    obs.index = obs.index.astype(str)
    X = rng.normal(3, 1, size=(1200, 8))
    X[(obs["batch"] == "b2") & (obs["role"] == "control"), 2] = 0  # nothing was stained
    cells = anndata.AnnData(X.astype("f4"), obs=obs)
    ne.tl.train(cells, space="identity")
    how = {"control_key": "role", "edit": "shift"}
    corrected = ne.tl.correct(cells, "batch", **how, copy=True)
    assert "stain fail" in corrected.uns["corrected"]["verdict"]
    rows = ((obs["batch"] == "b2") & (obs["role"] == "sample")).to_numpy()
    assert abs(corrected.layers["corrected"][rows, 2].mean() - 3) < 0.3  # not moved by 3
    cells.write_h5ad(tmp_path / "cells.h5ad")
    afar = anndata.read_h5ad(tmp_path / "cells.h5ad", backed="r")
    ne.tl.correct(afar, "batch", **how, write_to=tmp_path / "corrected.zarr")
    check_same(anndata.read_zarr(tmp_path / "corrected.zarr"), corrected)


def test_an_interrupted_correction_goes_on(cells, tmp_path, monkeypatch):
    how, path = HOW | {"edit": "percentile", "reference": "b1"}, tmp_path / "corrected.zarr"
    corrected = ne.tl.correct(cells, "batch", **how, copy=True)
    write, written = store.EditStore._write_block, []

    def stop(self, number, *arguments):
        written.append(number)
        if len(written) == 3:
            raise KeyboardInterrupt
        return write(self, number, *arguments)

    monkeypatch.setattr(store.EditStore, "_write_block", stop)
    with pytest.raises(KeyboardInterrupt):
        ne.tl.correct(cells, "batch", **how, write_to=path)
    assert np.isnan(anndata.read_zarr(path).layers["corrected"][260:]).all()
    ne.tl.correct(cells, "batch", **how, write_to=path)
    assert written[:4] == [0, 1, 2, 2] and len(set(written)) == len(written) - 1
    check_same(anndata.read_zarr(path), corrected)
    for other in ({"edit": "shift"}, {"reference": "b2"}, {"strength": 0.5}):
        with pytest.raises(ValueError, match="holds another edit"):
            ne.tl.correct(cells, "batch", **how | other, write_to=path)


def test_a_dask_cluster_corrects_the_same(cells, tmp_path):
    array, distributed = pytest.importorskip("dask.array"), pytest.importorskip("distributed")
    corrected = ne.tl.correct(cells, "batch", **HOW, edit="percentile", copy=True)
    cells.X = array.from_array(cells.X, chunks=(70, 4))
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster),
    ):
        ne.tl.correct(cells, "batch", **HOW, edit="percentile", write_to=tmp_path / "corrected.zarr")
    check_same(anndata.read_zarr(tmp_path / "corrected.zarr"), corrected)


def test_what_a_store_cannot_be_is_refused_before_any_work(cells, tmp_path):
    with pytest.raises(ValueError, match="copy cannot be given"):
        ne.tl.correct(cells, "batch", **HOW, write_to=tmp_path / "a.zarr", copy=True)
    del cells.uns["neuronedit"]
    with pytest.raises(KeyError, match="neuronedit"):
        ne.tl.correct(cells, "batch", **HOW, write_to=tmp_path / "a.zarr")
    assert not (tmp_path / "a.zarr").exists()
