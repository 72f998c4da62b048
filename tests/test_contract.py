"""What every row of every table must keep. A new row is covered here without another line."""

import inspect
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from neuronedit._types import within
from neuronedit.baselines import BASELINES
from neuronedit.edits import AXES, EDITS, MAPS
from neuronedit.engine.serialize import pack, unpack
from neuronedit.metrics import AGREEMENTS, METRICS
from neuronedit.spaces import SCHEDULES, SPACES, Training

EVERY_EDIT = [(edit, axes) for edit in EDITS for axes in AXES]


def population(n=300, d=4, seed=0, location=0.0, scale=1.0):
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(9).normal(size=(d, d))
    return torch.from_numpy((location + scale * rng.normal(size=(n, d)) @ mixing).astype(np.float32))


@pytest.fixture(params=EVERY_EDIT, ids="-".join)
def method(request):
    edit, axes = request.param
    return AXES[axes](EDITS[edit])


def test_edit_keeps_shape_type_and_input(method):
    source, target, query = population(seed=1), population(seed=2, location=1), population(n=17, seed=3, location=-1)
    before = [cells.clone() for cells in (source, target, query)]
    moved = method(source, target)(query)
    assert moved.shape == query.shape
    assert moved.dtype == torch.float32
    assert torch.isfinite(moved).all()
    for cells, copy in zip((source, target, query), before, strict=True):
        assert torch.equal(cells, copy)


def test_edit_of_equal_populations_is_the_identity(method):
    cells, query = population(seed=1), population(seed=2, location=3)
    torch.testing.assert_close(method(cells, cells.clone())(query), query, rtol=0, atol=1e-5)


def test_edit_maps_the_source_to_the_target(method):
    source, target = population(n=2000, seed=1), population(n=2000, seed=2, location=2)
    moved = method(source, target)(source)
    torch.testing.assert_close(moved.mean(0), target.mean(0), rtol=0, atol=0.1)


def test_edit_treats_each_cell_alone(method):
    move = method(population(seed=1), population(seed=2, location=1, scale=2))
    query = population(n=40, seed=3)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(move(query)[order], move(query[order]), rtol=0, atol=1e-5)
    torch.testing.assert_close(move(query)[:1], move(query[:1]), rtol=0, atol=1e-5)


def test_edit_is_deterministic(method):
    source, target, query = population(seed=1), population(seed=2, location=1), population(seed=3)
    assert torch.equal(method(source, target)(query), method(source, target)(query))


def test_edit_survives_silent_neurons_and_tiny_populations(method):
    source, target = population(n=2, seed=1), population(n=3, seed=2)
    source[:, 0], target[:, 1] = 0, 5
    assert torch.isfinite(method(source, target)(population(seed=3))).all()


def test_edit_can_be_saved(method):
    """What an edit returns is a row of MAPS: as JSON and arrays, and back, it is the same map."""
    source, target, query = population(seed=1), population(seed=2, location=1), population(seed=3)
    move = method(source, target)
    unpacked = unpack(*pack(move, {}), {}, torch.device("cpu"))
    assert type(unpacked) in MAPS.values() and torch.equal(unpacked(query), move(query))


def short(name):
    """A baseline that trains for a few steps, where it trains; a test of it is skipped where its package is missing."""
    parameters = {"n_steps": 5} if "n_steps" in inspect.signature(BASELINES[name]).parameters else {}

    def fit(source, target):
        try:
            return BASELINES[name](source, target, **parameters)
        except ImportError as error:
            pytest.skip(str(error))

    return fit


@pytest.mark.parametrize("name", BASELINES)
def test_baseline_keeps_the_contract(name):
    source, target, query = population(seed=1), population(seed=2, location=1), population(n=41, seed=3, location=-1)
    before = [cells.clone() for cells in (source, target, query)]
    state = torch.get_rng_state()
    move = short(name)(source, target)
    moved = move(query)
    assert moved.shape == query.shape and moved.dtype == torch.float32
    assert torch.isfinite(moved).all() and not moved.requires_grad
    assert torch.equal(short(name)(source, target)(query), moved)
    torch.testing.assert_close(move(query[:7]), moved[:7], rtol=0, atol=1e-4)
    for cells, copy in zip((source, target, query), before, strict=True):
        assert torch.equal(cells, copy)
    assert torch.equal(state, torch.get_rng_state()) and torch.is_grad_enabled()


@pytest.mark.parametrize("name", BASELINES)
def test_baseline_trains_where_gradients_are_off_and_features_are_constant(name):
    source, target = population(seed=1), population(seed=2, location=1)
    source[:, 0] = target[:, 0] = 3
    with torch.no_grad():
        assert torch.isfinite(short(name)(source, target)(source)).all()


@pytest.mark.parametrize("axes", AXES)
def test_shift_is_the_same_along_any_axes(axes):
    source, target, query = population(seed=1), population(seed=2, location=1), population(seed=3)
    torch.testing.assert_close(
        AXES[axes](EDITS["shift"])(source, target)(query), EDITS["shift"](source, target)(query), rtol=0, atol=1e-5
    )


def fitted(name, cells, **training):
    offered = {"widths": (12, 3), "image_shape": (1, cells.shape[1])}
    parameters = {key: value for key, value in offered.items() if key in inspect.signature(SPACES[name].fit).parameters}
    return SPACES[name].fit(cells, Training(max_epochs=2, **training), **parameters)


@pytest.mark.parametrize("name", SPACES)
def test_space_is_ready_and_frozen(name):
    cells = population(seed=1)
    space = fitted(name, cells)
    z = space.encode(cells)
    assert z.ndim == 2 and len(z) == len(cells)
    assert space.decode(z).shape == cells.shape
    assert not any(parameter.requires_grad for parameter in space.parameters())
    assert space.encode(cells[:1]).shape == (1, z.shape[1])


@pytest.mark.parametrize("name", SPACES)
def test_space_comes_back_from_config_and_weights_to_the_same_bits(name):
    cells = population(seed=1)
    space = fitted(name, cells)
    loaded = SPACES[name](**json.loads(json.dumps(space.config)))
    loaded.load_state_dict(space.weights())
    assert torch.equal(space.decode(space.encode(cells)), loaded.decode(loaded.encode(cells)))


@pytest.mark.parametrize("name", SPACES)
def test_same_seed_gives_the_same_bits_and_touches_nothing_global(name):
    cells = population(seed=1)
    state, threads, precision = torch.get_rng_state(), torch.get_num_threads(), torch.get_float32_matmul_precision()
    numpy_state = np.random.get_state()[1].copy()  # noqa: NPY002
    first, second = fitted(name, cells, rng=3), fitted(name, cells, rng=3)
    for key, weight in first.weights().items():
        assert torch.equal(weight, second.weights()[key])
    assert torch.equal(state, torch.get_rng_state())
    assert np.array_equal(numpy_state, np.random.get_state()[1])  # noqa: NPY002
    assert threads == torch.get_num_threads()
    assert precision == torch.get_float32_matmul_precision()
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("name", SPACES)
def test_residual_keeps_what_the_space_loses(name):
    cells = population(seed=1)
    do_nothing = within(fitted(name, cells), lambda source, target: lambda z: z, residual=True)
    assert torch.equal(do_nothing(cells, cells)(cells), cells)


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedule_is_a_share_of_the_peak(name):
    rates = [SCHEDULES[name](done) for done in np.linspace(0, 1, 201)]
    assert max(rates) == pytest.approx(1.0, abs=1e-3)
    assert min(rates) > 0


ONE_SIDED = {"squared_error"}  # the noise of the second population alone is taken off


@pytest.mark.parametrize("name", METRICS)
def test_metric_is_a_symmetric_distance(name):
    metric = METRICS[name]
    near, same, far = (population(n=400, seed=s, location=m).numpy() for s, m in ((1, 0), (2, 0), (3, 4)))
    assert metric(near, far) == pytest.approx(metric(far, near), rel=1e-2 if name in ONE_SIDED else 1e-6)
    assert metric(near, same) < 0.1 * metric(near, far)
    assert isinstance(metric(near, far), float)
    assert metric(near, far) < metric(near, population(n=400, seed=3, location=8).numpy())


@pytest.mark.parametrize("name", METRICS)
def test_metric_is_deterministic_and_leaves_its_input(name):
    x, y = population(seed=1).numpy(), population(seed=2, location=1).numpy()
    copies = x.copy(), y.copy()
    assert METRICS[name](x, y) == METRICS[name](x, y)
    assert np.array_equal(x, copies[0]) and np.array_equal(y, copies[1])


@pytest.mark.parametrize("name", AGREEMENTS)
def test_agreement_is_one_for_equal_populations(name):
    x = population(seed=1, location=np.array([1.0, 2.0, 4.0, 8.0])).numpy() * [1, 2, 3, 4]
    assert AGREEMENTS[name](x, x) == pytest.approx(1)
    assert AGREEMENTS[name](x, x[np.random.default_rng(0).permutation(len(x))]) == pytest.approx(1)
    assert abs(AGREEMENTS[name](x[:, ::-1], x) - 1) > 0.01 or abs(AGREEMENTS[name](x / 2, x) - 1) > 0.5
    assert isinstance(AGREEMENTS[name](x, x), float)


def test_a_row_in_the_table_is_covered_here_and_known_to_tl_edit(tmp_path):
    (tmp_path / "scratch.py").write_text(
        "import neuronedit as ne\n"
        "def median_shift(source, target, /):\n"
        "    return lambda z: z + target.median(0).values - source.median(0).values\n"
        "ne.edits.EDITS['median_shift'] = median_shift\n"
    )
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    listed = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "scratch", "--collect-only", "-q", __file__],
        capture_output=True, text=True, env=environment, cwd=Path(__file__).parents[1],
    )  # fmt: skip
    assert "test_edit_is_deterministic[median_shift-principal]" in listed.stdout, listed.stdout + listed.stderr
    used = subprocess.run(
        [
            sys.executable, "-c",
            "import scratch, neuronedit as ne\n"
            "adata = ne.datasets.simulate_batches(n_cells=120)\n"
            "ne.tl.train(adata, space='identity')\n"
            "ne.tl.edit(adata, 'group', source='control_1', target='control_2', query='sample_1', edit='median_shift')\n"
            "print(adata.uns['edited']['config'])",
        ],
        capture_output=True, text=True, env=environment,
    )  # fmt: skip
    assert json.loads(used.stdout)["edit"] == "median_shift", used.stderr
