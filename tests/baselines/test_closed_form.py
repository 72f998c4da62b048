"""A planted shift is recovered, and each method against an independent oracle."""

from inspect import signature

import anndata
import numpy as np
import ot as pot
import pandas as pd
import pytest
import scanpy as sc
import torch

from neuronedit import baselines
from neuronedit.baselines import BASELINES, _cca, _mnn
from neuronedit.baselines._cca import canonical_vectors
from neuronedit.baselines._combat import fit_combat
from neuronedit.baselines._mnn import mutual_neighbors
from neuronedit.edits._neighbors import find_nearest, take_smallest


def simulate(seed, n=300, d=5, location=0.0, scale=1.0):
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(9).normal(size=(d, d))
    return torch.from_numpy((location + scale * rng.normal(size=(n, d)) @ mixing).astype(np.float32))


VECTOR = torch.tensor([1.0, -2.0, 0.0, 0.5, 3.0])
TOLERANCE = {  # mean absolute error of the change, on a query that lies elsewhere; without any change it is 1.3
    "mean_shift": 1e-5, "limma": 1e-5, "quantile": 1e-4, "affine": 1e-4, "gaussian_ot": 1e-3, "pca_edit": 1e-3,
    "combat": 0.1,
}  # fmt: skip


@pytest.mark.parametrize("name", TOLERANCE)
def test_planted_shift(name):
    source, query = simulate(1, n=500), simulate(2, n=100, location=0.5)
    parameters = {"cosine": False} if name == "mnn" else {}
    change = BASELINES[name](source, source + VECTOR, **parameters)(query) - query
    assert (change - VECTOR).abs().mean() < TOLERANCE[name]


WITH_TYPES = {
    "auto_edit": 0.2,  # the energy distance, by which its weights are fitted, hardly changes with a tenth of a shift
    "ot": 0.1,
    "cca": 0.25,
    "mnn": 0.45,  # mutual neighbours are closer than corresponding cells, which makes the shift too short
}


@pytest.mark.parametrize("name", WITH_TYPES)
def test_planted_shift_of_populations_with_types(name):
    """Five types, further apart than the shift is long; other proportions of them in the query. Error relative to the shift."""
    centers = np.random.default_rng(0).normal(scale=6, size=(5, 8))
    vector = torch.tensor([1.0, -1.0, 0.5, 0, 0, 0, 0.5, -0.5])

    def population(counts, seed):
        noise = np.random.default_rng(seed).normal(scale=0.5, size=(sum(counts), 8))
        return torch.from_numpy((np.repeat(centers, counts, axis=0) + noise).astype(np.float32))

    source, query = population([80] * 5, 1), population([200, 80, 40, 40, 40], 2)
    parameters = {"n_steps": 200} if "n_steps" in signature(BASELINES[name]).parameters else {}
    change = BASELINES[name](source, population([80] * 5, 3) + vector, **parameters)(query) - query
    assert (change.mean(0) - vector).norm() < WITH_TYPES[name] * vector.norm()


def test_affine_gives_the_target_s_moments():
    source, target = simulate(1), simulate(2, location=2, scale=3)
    moved = baselines.affine(source, target)(source)
    torch.testing.assert_close(moved.mean(0), target.mean(0), rtol=0, atol=1e-4)
    torch.testing.assert_close(moved.std(0), target.std(0), rtol=1e-4, atol=0)


def test_gaussian_ot_equals_pot():
    source, target = simulate(1), simulate(2, location=2, scale=3)
    matrix, offset = pot.gaussian.empirical_bures_wasserstein_mapping(
        source.double().numpy(), target.double().numpy(), reg=0
    )
    query = simulate(3, n=50)
    expected = query.double().numpy() @ matrix + offset
    np.testing.assert_allclose(baselines.gaussian_ot(source, target, ridge=0)(query), expected, atol=1e-3)


def test_ot_moves_the_source_as_pot_does():
    source, target = simulate(1, n=60), simulate(2, n=50, location=2)
    transport = pot.da.SinkhornTransport(reg_e=0.01, norm="max").fit(
        Xs=source.double().numpy(), Xt=target.double().numpy()
    )
    expected = transport.transform(Xs=source.double().numpy())
    np.testing.assert_allclose(baselines.ot(source, target)(source), expected, atol=1e-3)


def test_ot_without_pot_names_the_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ot.da", None)
    with pytest.raises(ImportError, match=r"pip install 'neuronedit\[ot\]'"):
        baselines.ot(simulate(1), simulate(2))


def test_combat_equals_scanpy():
    source, target = simulate(1, n=120, d=30), simulate(2, n=90, d=30, location=1, scale=2)
    obs = pd.DataFrame({"batch": ["s"] * 120 + ["t"] * 90}, index=map(str, range(210)))
    adata = anndata.AnnData(torch.cat([source, target]).double().numpy(), obs=obs)
    expected = sc.pp.combat(adata, key="batch", inplace=False)
    fitted = fit_combat([source.double(), target.double()])
    ours = torch.cat([fitted.remove(source.double(), 0), fitted.remove(target.double(), 1)]).numpy()
    np.testing.assert_allclose(ours, expected, atol=2e-3)


def test_combat_shrinks_locations_towards_what_features_have_in_common():
    batches = [simulate(1, n=20, d=30).double(), simulate(2, d=30, location=1).double()]
    fitted = fit_combat(batches)
    raw = ((batches[0] - fitted.pooled_mean) / fitted.pooled_sd).mean(0)
    assert 0.1 * raw.std() < fitted.location[0].std() < 0.95 * raw.std()
    assert fitted.location[0].mean().item() == pytest.approx(raw.mean().item(), abs=0.1 * raw.std().item())


def test_limma_is_the_mean_shift_for_two_batches():
    source, target, query = simulate(1), simulate(2, n=70, location=2), simulate(3)
    torch.testing.assert_close(
        baselines.limma(source, target)(query), BASELINES["mean_shift"](source, target)(query), rtol=0, atol=1e-5
    )


def test_mutual_neighbors_against_all_pairs():
    x, y = simulate(1, n=40), simulate(2, n=30, location=0.3)
    distance = np.linalg.norm(x.numpy()[:, None] - y.numpy(), axis=2)
    near_x = np.argsort(np.argsort(distance, axis=1), axis=1) < 4
    near_y = np.argsort(np.argsort(distance, axis=0), axis=0) < 4
    expected = set(zip(*np.nonzero(near_x & near_y), strict=True))
    found = mutual_neighbors(x, y, n_neighbors=4)
    assert {(int(i), int(j)) for i, j in zip(*found, strict=True)} == expected
    assert len(found[0]) == len(expected)


def test_mnn_finds_no_mutual_neighbors_of_a_population_without_counterpart():
    """Worked example: type A shifts by 1 along the first axis; type B is in the source alone and must move as A does."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(0, 0.3, size=(300, 2)), rng.normal([0, 20], 0.3, size=(300, 2))
    source = torch.from_numpy(np.concatenate([a, b]).astype(np.float32))
    target = torch.from_numpy((a + [1, 0]).astype(np.float32))
    source_rows, _ = mutual_neighbors(source, target, n_neighbors=20)
    assert (source_rows < 300).all()
    change = baselines.mnn(source, target, cosine=False)(source[300:]) - source[300:]
    assert change[:, 1].abs().max() < 1 and 0 < change[:, 0].mean() < 2


@pytest.fixture(scope="module")
def types():
    """Source, target and query of eight types of cells, 4,000 cells each, and a shift."""
    rng = np.random.default_rng(0)
    centers = rng.normal(scale=4, size=(8, 12))
    cells = [centers[rng.integers(8, size=4000)] + rng.normal(size=(4000, 12)) for _ in range(3)]
    source, target, query = (torch.from_numpy(x.astype(np.float32)) for x in cells)
    return source, target + torch.linspace(-1, 1, 12), query[:500]


@pytest.mark.parametrize(("name", "tolerance"), [("mnn", 0.2), ("cca", 0.3)])
def test_a_subsample_gives_nearly_what_all_cells_do(types, name, tolerance, monkeypatch):
    source, target, query = types
    baseline = BASELINES[name]
    monkeypatch.setattr(_mnn, "MAX_PLACES", 10**6)
    monkeypatch.setattr(_cca, "MAX_PLACES", 10**6)
    exact = baseline(source, target, max_cells=4000)(query) - query
    assert torch.equal(baseline(source, target)(query) - query, exact)  # 4,000 are not too many
    monkeypatch.undo()
    few = baseline(source, target, max_cells=2000)(query) - query
    assert (few - exact).norm() < tolerance * exact.norm()
    assert (few - exact).mean(0).norm() < 0.15 * exact.mean(0).norm()
    assert torch.equal(baseline(source, target, max_cells=2000)(query) - query, few)


def test_mnn_of_cells_in_one_place():
    """The width of the kernel would be 0."""
    source = torch.tensor([[0.0, 1.0], [3.0, 0.0]]).repeat(50, 1)
    moved = baselines.mnn(source, source + 1, cosine=False)(torch.tensor([[0.0, 1.0], [3.0, 2.0]]))
    assert moved.isfinite().all()


def test_nearest_cells_against_all_pairs():
    x, y = simulate(1, n=700), simulate(2, n=900)
    for offset in (0.0, 1000.0):
        distances, rows = find_nearest(x + offset, y + offset, 5)
        expected = torch.cdist(x.double(), y.double()).topk(5, largest=False)
        torch.testing.assert_close(distances.double(), expected.values, rtol=0, atol=1e-2 if offset else 1e-3)
        assert (rows == expected.indices).float().mean() > 0.99


@pytest.mark.parametrize(("n_rows", "n_columns", "k"), [(1, 1, 1), (70, 40, 40), (100, 3000, 30)])
def test_the_smallest_of_each_row_are_torch_s(n_rows, n_columns, k):
    values = torch.randperm(n_rows * n_columns, generator=torch.Generator().manual_seed(0)).float().view(n_rows, -1)
    expected = values.topk(k, largest=False)
    smallest, columns = take_smallest(values, k, ordered=True)
    assert torch.equal(smallest, expected.values) and torch.equal(columns, expected.indices)
    smallest, columns = take_smallest(values, k, ordered=False)
    assert torch.equal(smallest, values.gather(1, columns))
    assert torch.equal(columns.sort(1).values, expected.indices.sort(1).values)


def test_mnn_with_a_wide_kernel_is_one_vector():
    source, target = simulate(1), simulate(2, location=1)
    change = baselines.mnn(source, target, bandwidth=1e4)(simulate(3, n=20)) - simulate(3, n=20)
    torch.testing.assert_close(change, change[:1].expand_as(change), rtol=0, atol=1e-3)


def test_canonical_vectors_are_the_singular_vectors_of_the_product():
    s, t = simulate(1, n=40).double(), simulate(2, n=30).double()
    left, right, project = canonical_vectors(s, t, 3)
    u, values, vt = np.linalg.svd((s @ t.T).numpy(), full_matrices=False)
    np.testing.assert_allclose(np.abs(left), np.abs(u[:, :3]), atol=1e-8)
    np.testing.assert_allclose(np.abs(right), np.abs(vt[:3].T), atol=1e-8)
    np.testing.assert_allclose(
        (left * right.new_tensor(values[:3])) @ right.T, u[:, :3] * values[:3] @ vt[:3], atol=1e-8
    )
    np.testing.assert_allclose(s @ project, left, atol=1e-8)
