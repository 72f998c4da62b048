"""Each loader against the given .h5ad; skipped where the data is not at hand."""

import io
import os
import pickle
import sys

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import neuronedit as ne
from neuronedit.datasets import _cmu
from neuronedit.datasets._fetch import origin

LOADERS = ["cytonorm_volunteers", "bodenmiller_4stim", "imubac_krieg"]
LOADERS += ["sachs_icam2_inhibitors", "kang_counts", "cmu_faces"]


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
