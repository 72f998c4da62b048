"""Each loader against the given .h5ad; skipped where the data is not at hand."""

import io
import os
import pickle
import re
import sys

import anndata
import numpy as np
import pandas as pd
import pytest
import requests
from scipy import sparse

import neuronedit as ne
from neuronedit.datasets import _cmu, _norman
from neuronedit.datasets._fetch import origin

LOADERS = ["cytonorm_volunteers", "bodenmiller_4stim", "imubac_krieg"]
LOADERS += ["sachs_icam2_inhibitors", "kang_counts", "norman_doubles", "cmu_faces"]


@pytest.mark.parametrize(
    ("error", "reason"),
    [(requests.ConnectionError("retries"), "ConnectionError"), (PermissionError(13, "no right"), "no right")],
)
def test_without_a_network_it_is_said_where_to_put_the_file(error, reason, monkeypatch, tmp_path):
    def refuse(*_, **__):
        raise error

    monkeypatch.setattr(requests, "get", refuse)
    monkeypatch.setenv("NEURONEDIT_DATA_DIR", str(tmp_path))
    folder = re.escape(str(tmp_path / "origin" / "imubac_krieg"))
    with pytest.raises(
        OSError, match=rf"could not be downloaded from https://\S+fcs \({reason}\).* put it into {folder}"
    ):
        ne.datasets.imubac_krieg()


@pytest.mark.parametrize("name", LOADERS)
def test_loader_gives_the_cells_of_the_reference(data_dir, name):
    adata, expected = getattr(ne.datasets, name)(), anndata.read_h5ad(f"{data_dir}/{name}.h5ad")
    assert type(adata.X) is type(expected.X) and adata.X.dtype == expected.X.dtype
    values, reference = (sparse.csr_matrix(X).toarray() for X in (adata.X, expected.X))
    assert np.array_equal(values, reference)
    for frame, reference in ((adata.obs, expected.obs), (adata.var, expected.var)):
        pd.testing.assert_frame_equal(frame, reference)
    assert all(isinstance(dtype, pd.CategoricalDtype) for dtype in adata.obs.dtypes)
    assert "https://github.com/" in adata.uns["source"]["repository"]
    assert np.array_equal(adata.uns.get("image_shape"), expected.uns.get("image_shape"))
    assert adata.uns["transform"].startswith("X holds")


@pytest.mark.parametrize("name", LOADERS)
def test_every_file_has_a_checksum(name):
    source = origin(name)
    assert len(source["commit"]) == 40
    assert all(len(sha256) == 64 for sha256 in source["files"].values())


def test_a_changed_file_is_refused(monkeypatch, tmp_path):
    """With a wrong file in the cache pooch downloads again; here the download is a file that is wrong, too."""
    import pooch

    folder = tmp_path / "origin" / "cytonorm_volunteers"
    folder.mkdir(parents=True)
    for file in origin("cytonorm_volunteers")["files"]:
        (folder / file).write_bytes(b"not what it was")
    monkeypatch.setenv("NEURONEDIT_DATA_DIR", str(tmp_path))

    def download(url, output_file, pooch):
        with open(output_file, "wb") as file:
            file.write(b"still not")

    monkeypatch.setattr(pooch.core, "choose_downloader", lambda *args, **kwargs: download)
    with pytest.raises(ValueError, match="hash"):
        ne.datasets.cytonorm_volunteers()


@pytest.mark.parametrize("name", ["sachs_icam2_inhibitors", "kang_counts"])
def test_without_rdata_the_extra_is_named(data_dir, monkeypatch, name):
    monkeypatch.setitem(sys.modules, "rdata", None)
    with pytest.raises(ImportError, match=r"pip install 'neuronedit\[rdata\]'"):
        getattr(ne.datasets, name)()


CONDITIONS = ["A", "A+B", "A+C", "B", "D", "control"]
"""C alone was measured in the other study only, and D is in no combination."""


@pytest.fixture
def combinations(monkeypatch, tmp_path):
    """A file laid out like that of norman_doubles: two cells a condition in the study, and as many in another one."""
    dataset = np.repeat(["norman19", "mcfaline23"], 2 * len(CONDITIONS))
    elsewhere = ["A", "A+B", "A+C", "B", "C", "control"]
    obs = pd.DataFrame({"condition": CONDITIONS * 2 + elsewhere * 2, "dataset": dataset})
    obs.index = [f"barcode-{i}" for i in range(len(obs))]
    var = pd.DataFrame({"means": [0.1, 0.2, 0.3]}, index=pd.Index(["gene_1", "gene_2", "gene_3"], name="gene_symbol"))
    X = sparse.random(len(obs), len(var), density=0.5, format="csr", random_state=0)  # float64, as there
    adata = anndata.AnnData(X, obs=obs.astype("category"), var=var)
    adata.write_h5ad(tmp_path / "devel.h5ad")
    monkeypatch.setattr(_norman, "fetch", lambda dataset: iter([tmp_path / "devel.h5ad"]))
    return adata


def test_combinations_are_those_whose_genes_were_also_activated_alone(combinations):
    adata = ne.datasets.norman_doubles()
    assert adata.uns["doubles"].tolist() == ["A+B"]
    assert adata.obs["condition"].tolist() == ["A", "A+B", "B", "control"] * 2
    assert adata.obs["condition"].cat.categories.tolist() == ["A", "A+B", "B", "control"]
    # the study's own cells, in the order of the file
    assert adata.obs_names.tolist() == [f"barcode-{i}" for i in (0, 1, 3, 5, 6, 7, 9, 11)]
    assert isinstance(adata.X, sparse.csr_matrix) and adata.X.dtype == np.float32
    assert np.array_equal(adata.X.toarray(), combinations[adata.obs_names].X.toarray().astype(np.float32))
    assert adata.var.shape == (3, 0) and adata.var.index.name == "gene_symbol"


def test_combinations_are_written_and_read_back(combinations, tmp_path):
    adata = ne.datasets.norman_doubles()
    adata.write_h5ad(tmp_path / "again.h5ad")
    back = anndata.read_h5ad(tmp_path / "again.h5ad")
    assert back.uns["doubles"].tolist() == ["A+B"] and back.uns["source"] == adata.uns["source"]
    pd.testing.assert_frame_equal(back.obs, adata.obs)


def test_every_combination_has_its_genes_and_the_control(data_dir):
    adata = ne.datasets.norman_doubles()
    assert np.array_equal(adata.uns["doubles"], anndata.read_h5ad(f"{data_dir}/norman_doubles.h5ad").uns["doubles"])
    n_cells = adata.obs["condition"].value_counts()
    assert (n_cells == 100).all()
    assert set(n_cells.index) == {"control", *adata.uns["doubles"], *"+".join(adata.uns["doubles"]).split("+")}
    assert adata.X.data.min() > 0 and adata.X.data.max() < np.log1p(1e4)  # logarithms of normalized counts


def labels(thing):
    """An .npy file that holds the pickle of ``thing`` and says that it is an array of objects."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": (1,)})
    pickle.dump(thing, file, protocol=2)
    file.seek(0)
    return file


class Runs:
    """Its pickle calls a function when it is loaded."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


def test_labels_are_read_from_a_pickled_array():
    assert _cmu.read_strings(labels(np.array(["an_a", "an_b"], dtype=object))) == ["an_a", "an_b"]


@pytest.mark.parametrize("wrap", [lambda thing: thing, lambda thing: np.array([thing, "an_a"], dtype=object)])
@pytest.mark.parametrize("function", [os.mkdir, eval, pickle.loads, np.load])
def test_a_pickle_that_runs_code_is_refused(tmp_path, wrap, function):
    arguments = {os.mkdir: str(tmp_path / "ran"), eval: f"__import__('os').mkdir({str(tmp_path / 'ran')!r})"}
    with pytest.raises(pickle.UnpicklingError, match="does not need it"):
        _cmu.read_strings(labels(wrap(Runs(function, arguments.get(function, b"")))))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("thing", [np.array([1, "a"], dtype=object), np.arange(3), ["a"], np.dtype("O"), None])
def test_labels_that_are_no_strings_are_refused(thing):
    with pytest.raises(pickle.UnpicklingError, match=r"no array of strings|does not need"):
        _cmu.read_strings(labels(thing))
