"""The arcsinh transformation, there and back; what was forgotten of it is asked for, or warned of."""

import logging

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import neuronedit as ne

NAMES = ["FSC", "CD3", "CD4"]


def raw(matrix=lambda X: X):
    X = np.random.default_rng(0).poisson(20, size=(40, 3)).astype(np.float64)
    return anndata.AnnData(matrix(X), var=pd.DataFrame(index=NAMES)), X


KINDS = {
    "dense": lambda X: X,
    "float32": lambda X: X.astype(np.float32),
    "integer": lambda X: X.astype(np.int32),
    "csr": sparse.csr_matrix,
    "csc": sparse.csc_matrix,
}


def dense(matrix):
    return matrix.toarray() if sparse.issparse(matrix) else matrix


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cofactor", [5, {"CD3": 5, "CD4": 150.0}, pd.Series({"CD4": 150})])
def test_there_and_back(kind, cofactor):
    adata, X = raw(KINDS[kind])
    ne.pp.arcsinh(adata, cofactor)
    given = dict(cofactor) if not np.isscalar(cofactor) else dict.fromkeys(NAMES, cofactor)
    for j, name in enumerate(NAMES):
        expected = np.arcsinh(X[:, j] / given[name]) if name in given else X[:, j]
        np.testing.assert_allclose(dense(adata.X)[:, j], expected, rtol=1e-5)
        assert adata.var["X_arcsinh_cofactor"].get(name) == given.get(name) or np.isnan(
            adata.var["X_arcsinh_cofactor"][name]
        )
    assert sparse.issparse(adata.X) == (kind in ("csr", "csc"))
    ne.pp.inverse_arcsinh(adata)
    np.testing.assert_allclose(dense(adata.X), X, rtol=1e-5)
    assert "X_arcsinh_cofactor" not in adata.var


def test_to_and_from_layers():
    adata, X = raw()
    adata.layers["counts"] = X.copy()
    ne.pp.arcsinh(adata, layer="counts", key_added="asinh")
    np.testing.assert_array_equal(adata.X, X)
    np.testing.assert_array_equal(adata.layers["counts"], X)
    np.testing.assert_allclose(adata.layers["asinh"], np.arcsinh(X / 5))
    ne.pp.inverse_arcsinh(adata, layer="asinh", key_added="back")
    np.testing.assert_allclose(adata.layers["back"], X)
    assert "asinh_arcsinh_cofactor" in adata.var


def test_what_it_did_survives_subsetting_and_saving(tmp_path):
    adata, X = raw()
    ne.pp.arcsinh(adata, {"CD3": 5, "CD4": 150})
    adata[:, ["CD4", "FSC"]].copy().write_h5ad(tmp_path / "a.h5ad")
    read = anndata.read_h5ad(tmp_path / "a.h5ad")
    ne.pp.inverse_arcsinh(read)
    np.testing.assert_allclose(read.X, X[:, [2, 0]], rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_copy_and_view(kind):
    adata, X = raw(KINDS[kind])
    new = ne.pp.arcsinh(adata, copy=True)
    np.testing.assert_array_equal(dense(adata.X), X)
    np.testing.assert_allclose(dense(new.X), np.arcsinh(X / 5), rtol=1e-5)
    for arguments in ({"key_added": "asinh"}, {}):
        ne.pp.arcsinh(view := adata[:10], **arguments)
        np.testing.assert_allclose(
            dense(view.layers["asinh"] if arguments else view.X), np.arcsinh(X[:10] / 5), rtol=1e-5
        )
        ne.pp.inverse_arcsinh(part := view[:5], layer=arguments.get("key_added"))
        np.testing.assert_allclose(dense(part.layers["asinh"] if arguments else part.X), X[:5], rtol=1e-5)
        np.testing.assert_array_equal(dense(adata.X), X)  # X of a view is its parent's: it must not be written through


CASES = {
    "zero": (lambda adata: ne.pp.arcsinh(adata, 0), "cofactor must be positive; it is 0"),
    "negative": (lambda adata: ne.pp.arcsinh(adata, {"CD3": -5}), "it is -5 for 'CD3'"),
    "NaN cofactor": (lambda adata: ne.pp.arcsinh(adata, np.nan), "cofactor must be a finite number; it is nan"),
    "a word": (
        lambda adata: ne.pp.arcsinh(adata, {"CD3": "5"}),
        "cofactor must be a number or a dict of strings to numbers; it is .*'5'",
    ),
    "unknown marker": (
        lambda adata: ne.pp.arcsinh(adata, {"CD99": 5}),
        "'CD99' is not in adata.var_names; it has 'FSC'",
    ),
    "unknown layer": (lambda adata: ne.pp.arcsinh(adata, layer="a"), "'a' is not in adata.layers"),
    "taken layer": (lambda adata: ne.pp.arcsinh(adata, key_added="taken"), r"layers\['taken'\] exists"),
    "name of a layer": (lambda adata: ne.pp.arcsinh(adata, key_added="a/b"), "key_added='a/b' cannot be kept in h5ad"),
    "cofactor to undo": (lambda adata: ne.pp.inverse_arcsinh(adata, cofactor=0), "cofactor must be positive; it is 0"),
    "marker to undo": (
        lambda adata: ne.pp.inverse_arcsinh(adata, cofactor={"CD99": 5}),
        "'CD99' is not in adata.var_names",
    ),
    "not transformed": (
        lambda adata: ne.pp.inverse_arcsinh(adata),
        "it is not recorded how X was transformed: 'X_arcsinh_cofactor' is not in adata.var",
    ),
    "layer not transformed": (
        lambda adata: ne.pp.inverse_arcsinh(adata, layer="taken"),
        r"it is not recorded how layers\['taken'\] was transformed",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_bad_input(name):
    adata, X = raw()
    adata.layers["taken"] = X.copy()
    call, message = CASES[name]
    with pytest.raises((KeyError, TypeError, ValueError), match=message):
        call(adata)
    np.testing.assert_array_equal(adata.X, X)
    assert adata.var.shape == (3, 0) and set(adata.layers) - {None} == {"taken"}


def test_twice_and_nan():
    adata, X = raw()
    ne.pp.arcsinh(adata)
    with pytest.raises(ValueError, match="X is arcsinh-transformed already"):
        ne.pp.arcsinh(adata)
    adata, X = raw()
    adata.X[0, 0] = np.nan
    with pytest.raises(ValueError, match="X has NaN"):
        ne.pp.arcsinh(adata)


WARNING = "was it transformed before? anndata.concat drops the cofactors in var"


@pytest.mark.parametrize("kind", ["dense", "csr"])
def test_a_second_transformation_after_concat_is_warned_of(kind, caplog):
    adata, _ = raw(KINDS[kind])
    ne.pp.arcsinh(adata)
    assert WARNING not in caplog.text
    both = anndata.concat([adata, adata], index_unique="-")  # drops var, and what it says of the cofactors
    with caplog.at_level(logging.WARNING, logger="neuronedit"):
        ne.pp.arcsinh(both)
    assert caplog.text.count(WARNING) == 1 and "The largest value of X is" in caplog.text
    kept = anndata.concat([adata, adata], index_unique="-", merge="same")
    with pytest.raises(ValueError, match="X is arcsinh-transformed already; undo it with ne.pp.inverse_arcsinh first"):
        ne.pp.arcsinh(kept)


RAW = {
    "few whole counts": (lambda X: np.minimum(X, 3), 5),
    "whole counts as integers": (lambda X: np.minimum(X, 3).astype(np.int16), 5),
    "intensities": (lambda X: X * 10 + 0.5, 5),
    "intensities of flow cytometry": (lambda X: X * 200 + 0.5, 150),
}


@pytest.mark.parametrize("name", RAW)
def test_raw_values_are_not_warned_of(name, caplog):
    change, cofactor = RAW[name]
    adata, _ = raw(change)
    with caplog.at_level(logging.WARNING, logger="neuronedit"):
        ne.pp.arcsinh(adata, cofactor)
    assert not caplog.text


@pytest.mark.parametrize("cofactor", [5, {"CD3": 5, "CD4": 150.0}])
def test_a_cofactor_that_var_has_lost_is_given(cofactor):
    adata, X = raw()
    ne.pp.arcsinh(adata, cofactor)
    both = anndata.concat([adata, adata], index_unique="-")
    ne.pp.inverse_arcsinh(both, cofactor=cofactor)
    np.testing.assert_allclose(both.X, np.concatenate([X, X]), rtol=1e-6)
    ne.pp.inverse_arcsinh(adata, cofactor=cofactor)  # the same as var says
    np.testing.assert_allclose(adata.X, X, rtol=1e-6)
    assert "X_arcsinh_cofactor" not in adata.var


@pytest.mark.parametrize("function", [ne.pp.arcsinh, ne.pp.inverse_arcsinh])
def test_a_mudata_is_refused_and_its_modalities_named(function):
    mudata = pytest.importorskip("mudata")
    adata, X = raw()
    mdata = mudata.MuData({"prot": adata, "rna": raw()[0]})
    message = (
        r"adata must be an AnnData; it is a MuData; pass one of its modalities, mdata.mod\['prot'\]: .*'prot', 'rna'"
    )
    with pytest.raises(TypeError, match=message):
        function(mdata)
    np.testing.assert_array_equal(adata.X, X)
