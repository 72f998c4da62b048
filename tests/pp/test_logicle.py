"""The logicle scale, against another implementation's definition, and pp.arcsinh where features say whether they are used."""

import sys

import anndata
import numpy as np
import pandas as pd
import pytest

import neuronedit as ne

pytest.importorskip("flowutils")
PARAMETERS = [{}, {"T": 1e4, "M": 5, "W": 1, "A": 0.5}, {"T": 262_144, "M": 4.5, "W": 0, "A": 0}]


@pytest.fixture
def adata():
    x = np.random.default_rng(0).normal(500, 5_000, (200, 3))
    return anndata.AnnData(x, var=pd.DataFrame(index=["CD3", "CD4", "CD8"]))


def biexponential(y, T=262_144, M=4.5, W=0.5, A=0.0):
    """Return the linear values of the logicle scale from its definition (Moore and Parks 2012, equations 1 to 6)."""
    from scipy.optimize import brentq

    w, x2 = W / (M + A), A / (M + A)
    x1, b = x2 + W / (M + A), (M + A) * np.log(10)
    d = b if w == 0 else brentq(lambda d: 2 * (np.log(d) - np.log(b)) + w * (d + b), 1e-12, b)
    ca, fa = np.exp((x2 + 2 * w) * (b + d)), np.exp(b * x1)
    fa -= ca * np.exp(-d * x1)
    a = T / (np.exp(b) - fa - ca * np.exp(-d))
    above = np.maximum(y, 2 * x1 - y)  # symmetric around 0, which is at x1
    return np.sign(y - x1) * (a * np.exp(b * above) - a * ca * np.exp(-d * above) - a * fa)


@pytest.mark.parametrize("parameters", PARAMETERS)
def test_against_the_definition(adata, parameters):
    raw = adata.X.copy()
    ne.pp.logicle(adata, **parameters)
    np.testing.assert_allclose(biexponential(adata.X, **parameters), raw, rtol=1e-6, atol=1e-4)
    assert (np.diff(adata.X[np.argsort(raw[:, 0]), 0]) > 0).all()
    top = anndata.AnnData(np.array([[parameters.get("T", 262_144)]], dtype=float))
    np.testing.assert_allclose(ne.pp.logicle(top, **parameters, copy=True).X, 1)


@pytest.mark.parametrize("parameters", PARAMETERS)
@pytest.mark.parametrize(("dtype", "tolerance"), [("f8", 1e-10), ("f4", 1e-4)])
def test_there_and_back(adata, parameters, dtype, tolerance):
    adata.X = adata.X.astype(dtype)
    raw = adata.X.copy()
    ne.pp.logicle(adata, **parameters, key_added="display")
    ne.pp.inverse_logicle(adata, layer="display", key_added="linear")
    assert adata.layers["display"].dtype == dtype and np.array_equal(adata.X, raw)
    np.testing.assert_allclose(adata.layers["linear"], raw, rtol=tolerance, atol=1e3 * tolerance)
    ne.pp.inverse_logicle(adata, layer="display")
    assert not [name for name in adata.var if name.startswith("display")]


def test_parameters_by_feature_and_used_features(adata):
    raw = adata.X.copy()
    both = ne.pp.logicle(adata, T={"CD3": 1e5, "CD8": 2e5}, W=0.7, copy=True)
    assert np.array_equal(both.X[:, 1], raw[:, 1]) and both.var["X_logicle_T"].isna().tolist() == [False, True, False]
    assert both.var["X_logicle_W"].dropna().tolist() == [0.7, 0.7]
    adata.var["used"] = [True, False, True]
    by_used = ne.pp.logicle(adata, copy=True)
    assert np.array_equal(by_used.X[:, 1], raw[:, 1]) and (by_used.X[:, 0] < 2).all()
    ne.pp.arcsinh(adata, 150)
    assert np.array_equal(adata.X[:, 1], raw[:, 1]) and adata.var["X_arcsinh_cofactor"].isna().tolist() == [
        False,
        True,
        False,
    ]
    ne.pp.inverse_arcsinh(adata)
    ne.pp.arcsinh(adata, {"CD4": 5})  # named, so it counts
    assert np.array_equal(adata.X[:, 1], np.arcsinh(raw[:, 1] / 5))


def test_an_edit_keeps_the_scale(trained):
    """The layer of an edit is on the scale of what was edited."""
    adata = anndata.AnnData(np.sinh(trained.X) * 5, obs=trained.obs, var=trained.var[[]])
    ne.pp.logicle(adata, T=1e4)
    ne.tl.train(adata, space="identity")
    ne.tl.edit(adata, "group", source="control_1", target="control_2", query="sample_1", edit="shift")
    for name in "TMWA":
        assert adata.var[f"edited_logicle_{name}"].equals(
            adata.var[f"X_logicle_{name}"].rename(f"edited_logicle_{name}")
        )
    ne.pp.inverse_logicle(adata, layer="edited")


def test_dask_stays_lazy(adata):
    dask = pytest.importorskip("dask.array")
    wanted = ne.pp.logicle(adata, copy=True).X
    adata.X = dask.from_array(adata.X, chunks=(50, 3))
    ne.pp.logicle(adata)
    np.testing.assert_array_equal(adata.X.compute(), wanted)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"W": 3}, ValueError, "T=262144, M=4.5, W=3, A=0 of 'CD3' make no logicle scale: .*W from 0 to M / 2"),
        ({"A": -1}, ValueError, "make no logicle scale"),
        ({"T": 0}, ValueError, "T must be positive; it is 0"),
        ({"T": {"CD99": 5}}, KeyError, "'CD99' is not in adata.var_names"),
        ({"layer": "none"}, KeyError, "'none' is not in adata.layers"),
        ({"W": "wide"}, TypeError, "W must be a number"),
    ],
)
def test_refused(adata, arguments, error, message):
    before = adata.copy()
    with pytest.raises(error, match=message):
        ne.pp.logicle(adata, **arguments)
    assert np.array_equal(adata.X, before.X) and list(adata.var) == list(before.var)


def test_scales_are_not_put_on_each_other(adata, monkeypatch):
    with pytest.raises(KeyError, match="it is not recorded how X was transformed: 'X_logicle_T'"):
        ne.pp.inverse_logicle(adata)
    ne.pp.logicle(adata)
    for again in (ne.pp.logicle, ne.pp.arcsinh):
        with pytest.raises(ValueError, match="transformed already"):
            again(adata)
    from scipy import sparse

    with pytest.raises(TypeError, match="X is sparse, and 0 does not stay 0"):
        ne.pp.logicle(anndata.AnnData(sparse.csr_matrix(np.eye(3))))
    monkeypatch.setitem(sys.modules, "flowutils", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"needs flowutils: pip install 'neuronedit\[fcs\]'"):
        ne.pp.inverse_logicle(adata)
