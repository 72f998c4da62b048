"""Sparse matrices whose row or column numbers do not exist are refused: computing with them would end the process."""

import anndata
import h5py
import numpy as np
import pytest
from scipy import sparse

import neuronedit as ne

GROUPS = {"groupby": "group", "source": "control_1", "target": "control_2", "query": "sample_1"}


def break_columns(matrix, number=10**6):
    matrix.indices[len(matrix.indices) // 2] = number
    return matrix


def break_rows(matrix):
    matrix.indptr[3] = matrix.indptr[5] + 1
    return matrix


def backed(cells, tmp_path, name, number):
    cells.X = sparse.csr_matrix(cells.X)
    cells.write_h5ad(tmp_path / "cells.h5ad")
    with h5py.File(tmp_path / "cells.h5ad", "r+") as file:
        file[f"X/{name}"][7] = number
    return anndata.read_h5ad(tmp_path / "cells.h5ad", backed="r")


@pytest.mark.parametrize("kind", [sparse.csr_matrix, sparse.csc_matrix, sparse.csr_array])
@pytest.mark.parametrize("spoil", [break_columns, lambda x: break_columns(x, -5), break_rows])
@pytest.mark.parametrize(
    "call",
    [
        lambda a: ne.tl.train(a, space="pca"),
        lambda a: ne.tl.compare(a, **GROUPS, methods=["identity"], n_bootstrap=0),
        lambda a: ne.pp.inverse_arcsinh(a),
        lambda a: ne.pl.biaxial(a, "IFNg", "CCR6", groupby="group", layers=[None]),
    ],
    ids=["train", "compare", "arcsinh", "biaxial"],
)
def test_in_memory(cells, kind, spoil, call):
    cells.X = kind(cells.X)
    spoil(cells.X)
    with pytest.raises(ValueError, match="X is a malformed sparse matrix: (it names|its row pointers)"):
        call(cells)


@pytest.mark.parametrize(("name", "number"), [("indices", 10**6), ("indices", -3), ("indptr", 10**6), ("indptr", 0)])
def test_in_a_file(cells, tmp_path, name, number):
    adata = backed(cells, tmp_path, name, number)
    for call in (
        lambda a: ne.tl.train(a, space="pca"),
        lambda a: ne.pl.biaxial(a, "IFNg", "CCR6", groupby="group", layers=[None]),
    ):
        with pytest.raises(ValueError, match="malformed sparse matrix"):
            call(adata)


def test_in_dask(cells):
    array = pytest.importorskip("dask.array")
    good, bad = sparse.csr_matrix(cells.X[:300]), break_columns(sparse.csr_matrix(cells.X[300:]))
    blocks = [array.from_array(block, chunks=(300, 35), asarray=False) for block in (good, bad)]
    cells.X = array.concatenate(blocks)
    with pytest.raises(ValueError, match="malformed sparse matrix"):
        ne.tl.train(cells, space="pca")


def test_right_ones_pass(cells):
    cells.X = sparse.csr_matrix(cells.X)
    cells.X.data = np.append(cells.X.data, [1, 2])  # room that no row uses
    cells.X.indices = np.append(cells.X.indices, np.array([10**6, 5], dtype=cells.X.indices.dtype))
    ne.tl.train(cells, space="pca", n_components=3)
