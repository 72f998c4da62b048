"""What comes out is looked at: NaN and infinity are errors before anything is written, and no good score."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np
import pytest
import torch
import zarr
from scipy import sparse

import neuronedit as ne
from neuronedit import _device
from neuronedit.engine import outcomes
from neuronedit.engine.report import EditSummary, check_outside, feature_table

POPULATIONS = {"groupby": "group", "source": "control_1", "target": "control_2", "query": "sample_1"}


def snapshot(adata):
    return {
        "obs": list(adata.obs),
        "uns": sorted(adata.uns),
        "layers": sorted(name for name in adata.layers if name is not None),
        "obsm": sorted(adata.obsm),
    }


def refused(adata, call, match, error=ValueError):
    before = snapshot(adata)
    with pytest.raises(error, match=match):
        call(adata)
    assert snapshot(adata) == before


# training


@pytest.mark.parametrize("lr", [1e5, 1e10, 1e38])
def test_a_rate_that_diverges(cells, lr):
    refused(cells, lambda adata: ne.tl.train(adata, widths=(8, 3), max_epochs=2, lr=lr), "training diverged.*lower lr")


@pytest.mark.parametrize("share", [np.nan, np.inf, -1.0])
def test_a_schedule_that_is_no_share(cells, share):
    def train(adata):
        ne.tl.train(adata, widths=(8, 3), max_epochs=2, schedule=lambda done: share)

    refused(cells, train, "it must return a share of lr")


def test_a_loss_that_rises_and_stays_finite():
    cells, net = torch.randn(400, 3), torch.nn.Linear(3, 3)

    def loss(x):
        return (net(x) - x).square().mean()

    with pytest.raises(ValueError, match="training diverged"):
        ne.spaces._train.train(net, loss, cells, ne.spaces.Training(max_epochs=2, lr=1e6))


def test_networks_of_baselines_that_diverge():
    source = torch.randn(200, 3)
    for name in ("gan", "mmd_autoencoder"):
        with pytest.raises(ValueError, match="training diverged"):
            ne.baselines.BASELINES[name](source, source + 1, n_steps=60, lr=1e30)


def test_moments_name_the_features():
    with pytest.raises(ValueError, match="feature number 1"):
        ne.spaces.PCA.of(torch.tensor([[0.0, 1.0], [1.0, torch.nan], [2.0, 0.0]]))


# values


@pytest.mark.parametrize(
    ("value", "dtype"), [(1e39, np.float64), (1e20, np.float32), (-1e20, np.float64), (9e18, np.int64)]
)
@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix])
def test_values_that_float32_cannot_square(cells, value, dtype, form):
    X = np.array(cells.X).astype(dtype)
    X[7, 4] = value
    cells.X = form(X)
    text = f"too large for float32 in {cells.var_names[4]!r}.*{cells.obs_names[7]!r}"
    refused(cells, lambda adata: ne.tl.train(adata, space="identity"), text)


def test_nan_is_named_before_large_values(cells):
    X = np.array(cells.X)
    X[3, 1], X[7, 4] = 1e30, np.nan
    cells.X = X
    refused(cells, lambda adata: ne.tl.train(adata, space="pca"), f"NaN or infinite.*{cells.obs_names[7]!r}")


def test_values_that_vanish_in_float32(cells):
    cells.X = np.asarray(cells.X, dtype=np.float64) * 1e-30
    refused(cells, lambda adata: ne.tl.train(adata, space="identity"), "multiply all features")


@pytest.mark.parametrize("factor", [1e15, 1e-6])
@pytest.mark.parametrize("edit", ["auto", "gaussian_ot"])
def test_an_edit_follows_the_scale(cells, factor, edit):
    edited = []
    for by in (1.0, factor):
        adata = cells.copy()
        adata.X = np.asarray(cells.X) * np.float32(by)
        ne.tl.train(adata, space="identity")
        ne.tl.edit(adata, **POPULATIONS, edit=edit)
        edited.append(np.asarray(adata.layers["edited"], dtype=float) / by)
    np.testing.assert_allclose(edited[1].mean(0), edited[0].mean(0), atol=0.02)


def test_cells_far_from_zero(cells):
    """Distances are of differences: where all values are large, squares of the values themselves would drown them."""
    x = torch.from_numpy(np.asarray(cells.X))
    offset = torch.full((x.shape[1],), 1e4)
    near = ne.edits.local(x[:200], x[200:400])(x[400:])
    far = ne.edits.local(x[:200] + offset, x[200:400] + offset)(x[400:] + offset) - offset
    assert (near - far).abs().mean() < 0.01
    distances = [ne.edits.distance(x[:200] + by)(x[400:] + by) for by in (0.0, 1e4)]
    torch.testing.assert_close(distances[1], distances[0], rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("what", ["all constant", "one cell many times"])
def test_cells_that_do_not_differ(cells, what):
    X = np.asarray(cells.X)
    cells.X = np.full_like(X, 7) if what == "all constant" else np.repeat(X[:1], len(X), axis=0)
    ne.tl.train(cells, space="identity")
    ne.tl.edit(cells, **POPULATIONS)
    np.testing.assert_allclose(cells.layers["edited"], cells.X, atol=1e-3)
    assert cells.obs["edited_distance"].max() <= 1


def test_distance_of_one_cell():
    with pytest.raises(ValueError, match="source must hold at least 2 cells"):
        ne.edits.distance(torch.zeros(1, 2))


# edits


@pytest.mark.parametrize("strength", [1e39, -1e39, [1.0, 1e39]])
def test_a_strength_that_is_too_far(trained, strength, tmp_path):
    given = {**POPULATIONS, "edit": "percentile", "strength": strength}
    refused(trained, lambda adata: ne.tl.edit(adata, **given), r"lower the strength \(")
    refused(trained, lambda adata: ne.tl.edit(adata, **given, write_to=tmp_path / "a.zarr"), r"lower the strength \(")


def test_a_strength_that_is_too_far_in_other_tools(trained):
    refused(
        trained,
        lambda adata: ne.tl.correct(
            adata, "batch", control_key="role", reference="batch_2", edit="percentile", strength=1e39
        ),
        "lower the strength",
    )
    effects = {"effects": ["control_2", "sample_1"], "edit": "percentile", "strength": 1e39}
    refused(trained, lambda adata: ne.tl.combine(adata, "group", control="control_1", **effects), "lower the strength")
    ne.tl.edit(trained, **POPULATIONS, edit="percentile")
    again = {"query": "sample_2", "key": "edited", "key_added": "again", "strength": 1e39}
    refused(trained, lambda adata: ne.tl.apply(adata, adata, "group", **again), "lower the strength")


FUNCTIONS = {
    "NaN": (lambda z: z * torch.nan, ValueError, "NaN or infinite values after the map of 'own'"),
    "NaN in one cell": (
        lambda z: torch.where(torch.arange(len(z))[:, None] == 0, torch.nan, z),
        ValueError,
        "1 of .* cells",
    ),
    "one row": (lambda z: z.mean(0), ValueError, r"the map of 'own' returned the shape \(35,\)"),
    "one column": (lambda z: z.mean(1, keepdim=True), ValueError, "the map of 'own' returned the shape"),
    "fewer cells": (lambda z: z[1:], ValueError, "the map of 'own' returned the shape"),
    "nothing": (lambda z: None, TypeError, "the map of 'own' returned NoneType"),
    "an array": (lambda z: z.numpy(), TypeError, "the map of 'own' returned ndarray"),
}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("strata", [None, "cell_type"])
def test_functions_of_the_caller_s_own(cells, name, strata):
    def own(source, target):
        return function

    function, error, text = FUNCTIONS[name]
    ne.tl.train(cells, space="identity")
    refused(cells, lambda adata: ne.tl.edit(adata, **POPULATIONS, edit=own, strata=strata), text, error)


def test_a_function_that_returns_no_map(cells):
    ne.tl.train(cells, space="identity")
    call = {**POPULATIONS, "edit": lambda source, target: source}
    refused(cells, lambda adata: ne.tl.edit(adata, **call), "it must return a function of neurons", TypeError)


def test_infinity_is_not_hidden_by_bounds(cells):
    ne.tl.train(cells, space="identity")
    call = {**POPULATIONS, "edit": lambda source, target: lambda z: z + torch.inf, "bounds": (0, 10)}
    refused(cells, lambda adata: ne.tl.edit(adata, **call), "NaN or infinite")


def test_a_block_of_a_store_that_is_not_finite(cells, tmp_path, monkeypatch):
    """NaN in a cell that is not among those on which an edit is tried before."""
    monkeypatch.setattr(outcomes, "N_TRIED", 1)
    ne.tl.train(cells, space="identity")
    query = np.asarray(cells.X)[cells.obs["group"] == "sample_1"]
    last = float(query[:, 3].max())

    def own(source, target):
        return lambda z: torch.where(z[:, 3:4] == last, torch.nan, z)

    path = tmp_path / "edited.zarr"
    call = {**POPULATIONS, "edit": own, "write_to": path}
    refused(cells, lambda adata: ne.tl.edit(adata, **call), "1 of .* cells have NaN")
    assert zarr.open_group(path)["obs/edited_support"][:].dtype == np.float32  # it was begun
    assert np.isnan(zarr.open_group(path)["layers/edited"][:]).all()


def test_candidates_of_the_caller_s_own(cells):
    own = ne.ensemble.Candidate("neurons", lambda populations: lambda z: z * torch.nan)
    candidates = {"mine": own, "mean_shift": ne.ensemble.CANDIDATES["mean_shift"]}
    ne.tl.train(cells, space="identity")
    call = {**POPULATIONS, "candidates": candidates, "strata": "cell_type"}
    refused(cells, lambda adata: ne.tl.edit(adata, **call), "the map of 'mine'")


class Faulty(ne.spaces.FittedSpace):
    """A space that does one thing wrong."""

    @classmethod
    def fit(cls, cells, training, *, fault):
        return cls(fault=fault)

    def encode(self, x, /):
        faults = {"NaN": x * torch.nan, "one number": x.mean(1), "whole numbers": x.long()}
        return faults.get(self.config["fault"], x)

    def decode(self, z, /):
        faults = {"one row": z.mean(0), "infinity": z + torch.inf, "another width": z[:, :1]}
        return faults.get(self.config["fault"], z)


@pytest.mark.parametrize(
    ("fault", "error", "text"),
    [
        ("NaN", ValueError, "encode of the space .* returned NaN or infinite values for 600 of 600 cells"),
        ("one number", ValueError, r"encode of the space .* returned the shape \(600,\)"),
        ("whole numbers", TypeError, "encode of the space .* returned a tensor of torch.int64"),
        ("one row", ValueError, r"decode of the space .* returned the shape \(35,\)"),
        ("infinity", ValueError, "decode of the space .* returned NaN or infinite"),
        ("another width", ValueError, r"decode of the space .* returned the shape \(600, 1\)"),
    ],
)
def test_spaces_of_the_caller_s_own(cells, fault, error, text):
    refused(cells, lambda adata: ne.tl.train(adata, space=Faulty, fault=fault), text, error)


@pytest.mark.parametrize(("weight", "value"), [("scale", 0.0), ("encoder.0.weight", np.nan)])
def test_a_space_that_was_changed(trained, weight, value):
    from neuronedit._data.space import space_id

    stored = trained.uns["neuronedit"]
    stored["weights"][weight] = np.full_like(stored["weights"][weight], value)
    stored["id"] = space_id(stored)
    refused(
        trained,
        lambda adata: ne.tl.edit(adata, **POPULATIONS, edit="percentile"),
        "train the space again|ne.tl.train again",
    )


# NaN is not inside


def test_nan_is_outside(trained):
    ne.tl.edit(trained, **POPULATIONS, edit="percentile")
    summary = EditSummary(10, 0, np.zeros(2), np.ones(2), np.array([0.0, np.nan]), np.nan)

    class Fitted:
        observed_change, held_out_error, observed_error = np.ones(2), np.zeros(2), 0.0
        wrong_direction, ensemble = np.zeros(2, dtype=bool), None

    assert feature_table(["a", "b"], Fitted, summary)["beyond_observed"].tolist() == [False, True]
    assert len(check_outside(Fitted, summary)) == 1


def test_coverage_counts_nan_as_beyond():
    cells = np.random.default_rng(0).normal(size=(200, 2))
    query = cells.copy()
    query[:100, 1] = np.nan
    found = ne.metrics._coverage.measure_coverage(cells, np.full(200, "a"), query, np.full(200, "b"), ["x", "y"])
    assert found.beyond[1] > 0.5 > found.beyond[0]


# metrics

ALL_METRICS = {**ne.metrics.METRICS, **ne.metrics.AGREEMENTS, **ne.metrics.CHECKS}


@pytest.mark.parametrize("name", ALL_METRICS)
@pytest.mark.parametrize("value", [np.nan, np.inf, 1e200])
def test_metrics_of_what_is_no_number(name, value):
    x = np.random.default_rng(0).normal(size=(50, 3))
    predicted = x.copy()
    predicted[4, 2] = value
    cells = (x, x + 1, x, predicted) if name in ne.metrics.CHECKS else (predicted, x)
    with pytest.raises(ValueError, match="cell number 4, feature number 2"):
        ALL_METRICS[name](*cells)


@pytest.mark.parametrize("name", ALL_METRICS)
def test_metrics_of_no_cells(name):
    x = np.random.default_rng(0).normal(size=(50, 3))
    cells = (x, x + 1, x, x[:0]) if name in ne.metrics.CHECKS else (x[:0], x)
    with pytest.raises(ValueError, match="must hold at least . cells?"):
        ALL_METRICS[name](*cells)


def test_metrics_that_are_not_defined_are_nan():
    x, same = np.random.default_rng(0).normal(size=(50, 3)), np.ones((50, 3))
    assert np.isnan(ne.metrics.variance_ratio(x, same))
    assert np.isnan(ne.metrics.variance_kept(same, x, x, x)) and np.isnan(ne.metrics.variance_kept(x, same, x, x))
    assert np.isnan(ne.metrics.r2(x, same))
    assert np.isnan(ne.metrics.gap_closed(ne.metrics.energy_distance, x, x[:3] + 1, x))


def test_harm_of_large_values():
    """In float32 the sum of their squares is near its end, and what is tolerated must not be infinite."""
    x = np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32) * np.float32(1e17)
    assert ne.metrics.unharmed(x, x, x, x + np.float32(1e18)) == 0


# threads


@pytest.fixture
def fast_cpu(monkeypatch):
    monkeypatch.setattr(_device, "_cpu_has_fast_float32", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    if torch.get_float32_matmul_precision() != "highest":
        pytest.skip("torch's precision was chosen")


@pytest.mark.usefixtures("fast_cpu")
def test_fast_products_last_as_long_as_the_last_user():
    first, second = _device.fast_matmul(), _device.fast_matmul()
    first.__enter__()
    second.__enter__()
    assert torch.get_float32_matmul_precision() == "medium"
    first.__exit__(None, None, None)
    assert torch.get_float32_matmul_precision() == "medium"
    second.__exit__(None, None, None)
    assert torch.get_float32_matmul_precision() == "highest"


@pytest.mark.usefixtures("fast_cpu")
def test_fast_products_in_many_threads():
    start, seen = Barrier(8), []

    def work(i):
        start.wait()
        for _ in range(200):
            with _device.fast_matmul():
                seen.append(torch.get_float32_matmul_precision())

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert set(seen) == {"medium"} and torch.get_float32_matmul_precision() == "highest"


def train_space(epochs):
    cells = torch.randn(600, 10, generator=torch.Generator().manual_seed(0))
    space = ne.spaces.Autoencoder.fit(cells, ne.spaces.Training(max_epochs=epochs), widths=(32, 4))
    return space.encode(cells).numpy()


def train_tool(epochs):
    adata = ne.datasets.simulate_batches(n_cells=150)
    ne.tl.train(adata, widths=(64, 8), max_epochs=epochs)
    ne.tl.edit(adata, "group", source="control_1", target="control_2", query="sample_1", edit="percentile")
    return np.hstack([adata.obsm["X_neurons"], adata.layers["edited"]])


@pytest.mark.parametrize("train", [train_space, train_tool])
def test_two_trainings_at_once_have_the_bits_of_one(train):
    epochs = (2, 9)  # the first ends while the second is at work
    alone = [train(n) for n in epochs]
    for _ in range(3):
        with ThreadPoolExecutor(2) as pool:
            together = list(pool.map(train, epochs))
        assert all(np.array_equal(one, other) for one, other in zip(alone, together, strict=True))
