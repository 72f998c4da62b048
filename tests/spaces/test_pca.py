import numpy as np
import pytest
import torch

from neuronedit.spaces import PCA, Training, _pca


def simulate(n=300, d=8):
    rng = np.random.default_rng(0)
    return (rng.normal(size=(n, d)) * np.geomspace(5, 0.1, d)) @ rng.normal(size=(d, d)) + 7


@pytest.mark.parametrize("n_components", [1, 3, 8, 50])
def test_oracle_singular_value_decomposition(n_components):
    x = simulate()
    space = PCA.fit(torch.from_numpy(x.astype(np.float32)), Training(), n_components=n_components)
    k = min(n_components, 8)
    _, _, vt = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)
    np.testing.assert_allclose(np.abs(space.components.numpy()), np.abs(vt[:k].T), atol=1e-4)
    assert space.components.shape == (8, k)
    loadings = space.components.numpy()
    assert (loadings[np.abs(loadings).argmax(axis=0), range(k)] > 0).all()


def test_all_components_lose_nothing():
    x = torch.from_numpy(simulate().astype(np.float32))
    space = PCA.of(x)
    torch.testing.assert_close(space.decode(space.encode(x)), x, rtol=1e-4, atol=1e-3)


def test_bad_n_components():
    with pytest.raises(ValueError, match="n_components must be at least 1"):
        PCA.fit(torch.ones(3, 2), Training(), n_components=0)


@pytest.mark.parametrize(("n_cells", "n_features"), [(1_200, 1_100), (1_100, 1_200)])
def test_components_of_many_features_are_those_of_the_exact_decomposition(n_cells, n_features):
    """Subspace iteration finds the leading components, with a gap below them or without, and the same bits each time."""
    generator = np.random.default_rng(0)
    scores = generator.normal(size=(n_cells, 12)) * np.linspace(6, 2, 12)
    x = scores @ np.linalg.qr(generator.normal(size=(n_features, 12)))[0].T + 0.05 * generator.normal(
        size=(n_cells, n_features)
    )
    cells = torch.from_numpy((x + 5).astype(np.float32))
    space, again = (PCA.of(cells, n_components=20) for _ in range(2))
    exact = np.linalg.svd(x - x.mean(0), full_matrices=False)[2][:20].T
    assert torch.equal(space.components, again.components)
    found = space.components.double().numpy()
    assert np.allclose(found.T @ found, np.eye(20), atol=1e-5)
    assert np.allclose(np.abs(np.sum(found[:, :12] * exact[:, :12], axis=0)), 1, atol=1e-3)  # one by one
    kept = [((x - x.mean(0)) @ components).var(axis=0).sum() for components in (found, exact)]
    assert 0.999 * kept[1] < kept[0] <= kept[1] * (1 + 1e-6)  # the last eight are noise


class Source:
    """Cells that are read by their rows, as those of a file; it counts them."""

    def __init__(self, x):
        self.x, self.shape, self.n_read = x, x.shape, 0

    def __getitem__(self, rows):
        self.n_read += len(self.x[rows])
        return self.x[rows]


def test_components_of_very_many_cells_are_found_from_some_of_them_and_the_mean_from_all(monkeypatch):
    x = torch.from_numpy(simulate(6_000).astype(np.float32))
    exact = PCA.of(x, n_components=4)
    monkeypatch.setattr(_pca, "MAX_VALUES_TO_FIND", 2_000 * x.shape[1])
    cells = Source(x)
    found = PCA.of(cells, n_components=4)
    assert cells.n_read <= 6_000 + 2_000 + 1  # one pass over all cells, those that were drawn, and one for the device
    assert torch.equal(found.mean, exact.mean)
    assert not torch.equal(found.components, exact.components)
    assert ((found.components * exact.components).sum(0) > 0.99).all()
    assert torch.equal(found.components, PCA.of(x, n_components=4).components)  # the same bits each time
    assert PCA.of(x).components.shape == (8, 8)  # all components are those of all cells


@pytest.mark.parametrize("row", [0, 1_500, 2_999])
def test_a_bad_value_among_very_many_cells_is_refused_though_it_is_not_drawn(row, monkeypatch):
    monkeypatch.setattr(_pca, "MAX_VALUES_TO_FIND", 0)
    x = torch.from_numpy(simulate(3_000).astype(np.float32))
    x[row, 2] = torch.nan
    with pytest.raises(ValueError, match=r"features number \[2\]"):
        PCA.of(Source(x), n_components=2)
