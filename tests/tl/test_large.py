"""Cells that are not in memory: backed, in dask arrays, and written block by block."""

import json
import subprocess
import sys

import anndata
import numpy as np
import pytest
from scipy import sparse

import neuronedit as ne
from neuronedit._data.reader import CellReader, chunks

POPULATIONS = {"source": "control_1", "target": "control_2", "query": "sample_1"}
PERCENTILE = POPULATIONS | {"edit": "percentile"}
TRANSPORT = ne.ensemble.Candidate("neurons", ne.edits.on_all(ne.edits.transport))
CANDIDATES = {"transport": TRANSPORT} | {
    name: ne.ensemble.CANDIDATES[name] for name in ("mean_shift", "neuron_editing")
}
AUTO = POPULATIONS | {"strata": "cell_type", "candidates": CANDIDATES}


def backed(adata, path):
    adata.write_h5ad(path / "cells.h5ad")
    return anndata.read_h5ad(path / "cells.h5ad", backed="r")


def backed_sparse(adata, path):
    adata.X = sparse.csr_matrix(adata.X)
    return backed(adata, path)


def dask(adata, path, kind=lambda block: block):
    array = pytest.importorskip("dask.array")
    adata = adata.copy()
    adata.X = array.from_array(adata.X, chunks=(70, adata.n_vars)).map_blocks(kind)
    return adata


def dask_sparse(adata, path):
    return dask(adata, path, sparse.csr_matrix)


def lazy(adata, path):
    pytest.importorskip("xarray")
    from anndata.experimental import read_lazy

    adata.write_zarr(path / "cells.zarr")
    return read_lazy(path / "cells.zarr")


AFAR = {"backed": backed, "backed sparse": backed_sparse, "dask": dask, "dask sparse": dask_sparse, "lazy": lazy}


@pytest.mark.parametrize("name", AFAR)
@pytest.mark.parametrize("how", [PERCENTILE, AUTO], ids=["percentile", "auto"])
def test_wherever_the_cells_are_the_edit_is_the_same(trained, tmp_path, name, how):
    expected = ne.tl.edit(trained, "group", **how, copy=True)
    del trained.layers["truth"]
    afar = AFAR[name](trained.copy(), tmp_path)
    ne.tl.edit(afar, "group", **how, write_to=tmp_path / "edited.zarr")
    stored = anndata.read_zarr(tmp_path / "edited.zarr")
    np.testing.assert_allclose(stored.layers["edited"], expected.layers["edited"], atol=1e-5)
    np.testing.assert_allclose(stored.obsm["X_neurons_edited"], expected.obsm["X_neurons_edited"], atol=1e-5)
    np.testing.assert_allclose(stored.obs["edited_distance"], expected.obs["edited_distance"], atol=1e-5)
    assert "edited" not in afar.layers and "edited" not in afar.uns
    ne.tl.edit(afar, "group", **how)
    np.testing.assert_allclose(afar.layers["edited"], expected.layers["edited"], atol=1e-5)


@pytest.mark.parametrize("name", AFAR)
def test_training_from_afar_is_as_good(cells, tmp_path, name):
    del cells.layers["truth"]
    here = ne.tl.train(cells, widths=(24, 6), max_epochs=20, copy=True)
    afar = AFAR[name](cells.copy(), tmp_path)
    ne.tl.train(afar, widths=(24, 6), max_epochs=20)
    losses = [adata.uns["neuronedit"]["history"]["train_loss"][-1] for adata in (here, afar)]
    assert losses[1] == pytest.approx(losses[0], rel=0.1)
    assert "X_neurons" in here.obsm and "X_neurons" not in afar.obsm
    again = AFAR[name](cells.copy(), tmp_path / "again") if name == "dask" else None
    if again is not None:
        ne.tl.train(again, widths=(24, 6), max_epochs=20)
        for name, weight in again.uns["neuronedit"]["weights"].items():
            assert np.array_equal(weight, afar.uns["neuronedit"]["weights"][name])


def test_every_row_is_visited_once_an_epoch_whatever_the_span():
    import torch

    from neuronedit.spaces._train import _shuffle_spans

    for n, span in ((1000, 1), (1000, 7), (10, 64), (4096, 1024)):
        order = _shuffle_spans(n, span, torch.Generator().manual_seed(0))
        assert sorted(order) == list(range(n))
        assert span == 1 or (np.diff(order) == 1).mean() > 0.5


@pytest.mark.parametrize("stored", [np.asarray, sparse.csr_matrix])
def test_minibatches_from_afar_hold_every_row_once_mixed_and_little_is_read(stored, monkeypatch):
    import dask.array
    import torch

    from neuronedit.spaces import Training
    from neuronedit.spaces._train import _iterate_batches

    monkeypatch.setattr("neuronedit._data.reader.ROWS_PER_SPAN", 50)
    monkeypatch.setattr("neuronedit.spaces._train.MAX_VALUES_IN_MEMORY", 800)
    read, load = [], CellReader.load
    monkeypatch.setattr(CellReader, "load", lambda cells, rows: (read.append(len(rows)), load(cells, rows))[1])
    values = np.arange(1, 2001, dtype=np.float32).reshape(1000, 2)
    afar = CellReader(dask.array.from_array(values, chunks=(40, 2)).map_blocks(stored))
    generator = torch.Generator().manual_seed(0)
    batches = list(_iterate_batches(afar, np.arange(1000), Training(batch_size=30), generator))
    assert sorted(torch.cat(batches)[:, 1].tolist()) == values[:, 1].tolist()
    assert read == [390, 390, 220] and [len(batch) for batch in batches] == [30] * 33 + [10]
    spans = [torch.unique(batch[:, 0].div(2 * 50, rounding_mode="floor")) for batch in batches]
    assert all(len(own) >= 3 for own in spans)


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr("neuronedit.engine.store.MAX_CELLS_PER_BLOCK", 130)


def test_the_store_is_what_edit_writes(trained, tmp_path, small_blocks):
    expected = ne.tl.edit(trained, "group", **PERCENTILE, strength=[0.5, 1.0], bounds=(0, None), copy=True)
    order = trained.copy()
    path = tmp_path / "edited.zarr"
    ne.tl.edit(trained, "group", **PERCENTILE, strength=[0.5, 1.0], bounds=(0, None), write_to=path)
    stored = anndata.read_zarr(path)
    for layer in ("edited", "edited_0.5"):
        np.testing.assert_allclose(stored.layers[layer], expected.layers[layer], atol=1e-5)
    assert list(stored.obs_names) == list(order.obs_names) and list(stored.var_names) == list(order.var_names)
    np.testing.assert_allclose(stored.obs["edited_support"], expected.obs["edited_support"], atol=1e-5)
    mine, theirs = stored.uns["edited"], expected.uns["edited"]
    assert mine["verdict"] == theirs["verdict"] and mine["n_clipped"] == theirs["n_clipped"]
    for column in ("observed_change", "change", "mean"):
        np.testing.assert_allclose(mine["features"][column], theirs["features"][column], atol=1e-5)
    assert stored.var["edited_arcsinh_cofactor"].eq(5).all()
    new = ne.datasets.simulate_batches(n_cells=50, rng=1)
    ne.tl.apply(new, stored, query=new.obs_names)  # the store is a model, too


def test_an_interrupted_write_says_how_far_it_got_and_goes_on(trained, tmp_path, small_blocks, monkeypatch):
    import zarr

    from neuronedit.engine import apply

    expected = ne.tl.edit(trained, "group", **PERCENTILE, copy=True)
    path, encode_others, calls = tmp_path / "edited.zarr", apply.encode_others, []

    def stop_at_the_third(*arguments, **keywords):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return encode_others(*arguments, **keywords)

    monkeypatch.setattr(apply, "encode_others", stop_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        ne.tl.edit(trained, "group", **PERCENTILE, write_to=path)
    half = anndata.read_zarr(path)
    progress = zarr.open_group(path).attrs["neuronedit"]
    assert (progress["done"], progress["of"]) == (260, 600)
    assert np.array_equal(half.layers["edited"][:260], expected.layers["edited"][:260])
    assert np.isnan(half.layers["edited"][260:]).all() and "edited" not in half.uns
    ne.tl.edit(trained, "group", **PERCENTILE, write_to=path)
    assert len(calls) == 3 + 3  # the third block again, and those after it
    whole = anndata.read_zarr(path)
    np.testing.assert_allclose(whole.layers["edited"], expected.layers["edited"], atol=1e-5)
    np.testing.assert_allclose(
        whole.uns["edited"]["features"]["mean"], expected.uns["edited"]["features"]["mean"], atol=1e-5
    )
    ne.tl.edit(trained, "group", **PERCENTILE, write_to=path)  # there is nothing left to do


def test_a_store_that_was_interrupted_before_the_first_cell_is_begun_anew(trained, tmp_path, monkeypatch):
    from neuronedit.engine import store

    def fail(*arguments, **keywords):
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(store, "write_elem", fail)
        with pytest.raises(OSError, match="disk full"):
            ne.tl.edit(trained, "group", **PERCENTILE, write_to=tmp_path / "edited.zarr")
    ne.tl.edit(trained, "group", **PERCENTILE, write_to=tmp_path / "edited.zarr")


def test_a_store_of_something_else_is_not_written_over(trained, tmp_path):
    ne.tl.edit(trained, "group", **PERCENTILE, write_to=tmp_path / "edited.zarr")
    with pytest.raises(ValueError, match="holds another edit, or one of other cells"):
        ne.tl.edit(trained, "group", **POPULATIONS, edit="shift", write_to=tmp_path / "edited.zarr")
    trained.X[0] += 1
    with pytest.raises(ValueError, match="holds another edit, or one of other cells"):
        ne.tl.edit(trained, "group", **PERCENTILE, write_to=tmp_path / "edited.zarr")
    trained.write_zarr(tmp_path / "cells.zarr")
    (tmp_path / "file").write_text("x")
    for name in ("cells.zarr", "file"):
        with pytest.raises(ValueError, match="exists and is no store of ne.tl.edit"):
            ne.tl.edit(trained, "group", **PERCENTILE, write_to=tmp_path / name)
    with pytest.raises(ValueError, match="with write_to= the edited cells go into a new store: copy cannot be given"):
        ne.tl.edit(trained, "group", **PERCENTILE, write_to=tmp_path / "new.zarr", copy=True)
    assert not (tmp_path / "new.zarr").exists()


def test_what_is_in_a_file_is_not_copied_or_transformed(trained, tmp_path):
    afar = backed(trained, tmp_path)
    with pytest.raises(ValueError, match="backed mode, which cannot be copied"):
        ne.tl.edit(afar, "group", **PERCENTILE, copy=True)
    with pytest.raises(ValueError, match="is in a file"):
        ne.pp.inverse_arcsinh(afar)


def test_dask_stays_lazy_under_arcsinh(cells, tmp_path):
    afar = dask(cells, tmp_path)
    for adata in (cells, afar):
        ne.pp.inverse_arcsinh(adata)
        ne.pp.arcsinh(adata, 10)
    assert hasattr(afar.X, "dask")
    np.testing.assert_allclose(afar.X.compute(), cells.X, atol=1e-5)


MEMORY = """
import resource, sys, anndata, numpy as np, pandas as pd, torch, neuronedit as ne
import h5py
from neuronedit.engine import fit
fit.MAX_CELLS_TO_FIT = 20_000
torch.set_num_threads(1)
n, path = int(sys.argv[1]), sys.argv[2]
anndata.AnnData(obs=pd.DataFrame({"g": np.tile(["s", "t", "q", "q"], n // 4)}, index=np.arange(n).astype(str)),
                var=pd.DataFrame(index=[f"m{j}" for j in range(35)])).write_h5ad(path + "/cells.h5ad")
with h5py.File(path + "/cells.h5ad", "r+") as file:
    file.pop("X", None)
    X = file.create_dataset("X", (n, 35), dtype="float32", chunks=(4096, 35))
    X.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
    for i in range(0, n, 50_000):
        X[i : i + 50_000] = np.random.default_rng(i).normal(size=(min(50_000, n - i), 35))
adata = anndata.read_h5ad(path + "/cells.h5ad", backed="r")
ne.tl.train(adata, space="pca", n_components=5)
small = adata[:4000].to_memory()
ne.tl.edit(small, "g", source="s", target="t", query="q", edit="percentile")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
ne.tl.edit(adata, "g", source="s", target="t", query="q", edit="percentile", write_to=path + "/edited.zarr")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_memory_is_bounded_by_the_block_and_not_by_the_cells(tmp_path):
    """Six times the cells and about the same memory, but for their names: one layer of 1.2 million x 35 would be 168 MB."""
    added = []
    for n in (200_000, 1_200_000):
        path = tmp_path / str(n)
        path.mkdir()
        run = subprocess.run([sys.executable, "-c", MEMORY, str(n), str(path)], capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
        added.append(int(run.stdout.split()[-1]) / 1024)
    assert added[1] < added[0] + 150, added  # MB


def test_a_dask_cluster_gives_the_same(trained, tmp_path):
    distributed = pytest.importorskip("distributed")
    expected = ne.tl.edit(trained, "group", **PERCENTILE, copy=True)
    afar = dask(trained, tmp_path)
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster),
    ):
        ne.tl.edit(afar, "group", **PERCENTILE, write_to=tmp_path / "edited.zarr")
    stored = anndata.read_zarr(tmp_path / "edited.zarr")
    np.testing.assert_allclose(stored.layers["edited"], expected.layers["edited"], atol=1e-5)
    assert json.loads(stored.uns["edited"]["config"])["edit"] == "percentile"


def test_any_number_of_cells_is_cut_into_few_sizes():
    sizes = set()
    for n in (0, 1, 63, 16_383, 16_384, 16_385, 40_001):
        parts = chunks(np.arange(n))
        assert np.array_equal(np.concatenate([np.arange(0), *parts]), np.arange(n))
        sizes |= {len(part) for part in parts}
    assert sizes <= {2**power for power in range(15)}
