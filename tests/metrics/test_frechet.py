"""The Fréchet distance against scipy's formula and a closed form."""

import sys

import numpy as np
import pytest
from scipy import linalg

from neuronedit.metrics import frechet


def cells(n, d, seed, location=0.0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + location


def as_is(x):
    return x


@pytest.mark.parametrize(("n", "m", "d"), [(400, 300, 6), (50, 30, 6), (40, 200, 1)])
def test_oracle_root_of_the_product(n, m, d):
    x, y = cells(n, d, 1), cells(m, d, 2, location=0.7)
    s, t = (np.atleast_2d(np.cov(z.T)) for z in (x, y))
    root = np.atleast_2d(linalg.sqrtm(s @ t)).real
    expected = ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(s + t - 2 * root)
    assert frechet(x, y, features=as_is) == pytest.approx(expected, rel=1e-6)
    assert frechet(x, y) == pytest.approx(expected, rel=1e-6)  # axes of both together: a rotation


def test_two_gaussians():
    """Independent features: the squared difference of the means and of the standard deviations."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40_000, 3)) * [1, 2, 3] + [0, 0, 1]
    y = rng.normal(size=(40_000, 3)) * [2, 2, 1] + [3, 0, 1]
    assert frechet(x, y, features=as_is) == pytest.approx(9 + 1 + 4, rel=0.02)


def test_fewer_cells_than_features():
    x, y = cells(12, 80, 1), cells(15, 80, 2)
    s, t = np.cov(x.T), np.cov(y.T)
    values, vectors = np.linalg.eigh(s)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    cross = np.sqrt(np.linalg.eigvalsh(root @ t @ root).clip(0)).sum()
    expected = ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(s + t) - 2 * cross
    assert frechet(x, y, features=as_is) == pytest.approx(expected, rel=1e-6)
    assert frechet(x, y) == pytest.approx(expected, rel=1e-6)  # 27 cells vary along fewer than 50 axes
    assert frechet(x, x) == pytest.approx(0, abs=1e-6)


def test_components_leave_out_what_hardly_varies():
    x, y = cells(500, 5, 1), cells(500, 5, 1)
    noise = np.random.default_rng(2).normal(scale=1e-3, size=(500, 70))
    assert frechet(np.c_[x, noise], np.c_[y + 1, noise], n_components=5) == pytest.approx(5, rel=1e-3)
    assert frechet(x, y + 1, features=lambda z: z[:, :2]) == pytest.approx(2, rel=1e-9)


def test_bad_input(monkeypatch):
    x = cells(10, 12, 0)
    with pytest.raises(ValueError, match="features='vgg' is not known; choose 'inception' or give a function"):
        frechet(x, x, features="vgg")
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    monkeypatch.setitem(sys.modules, "torch_fidelity.feature_extractor_inceptionv3", None)
    with pytest.raises(ImportError, match=r"pip install 'neuronedit\[fid\]'"):
        frechet(x, x, features="inception", image_shape=(4, 3))
