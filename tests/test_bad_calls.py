"""Right and bad calls of all public functions, made from their signatures: of the bad ones, a seeded part of what ``make attack`` tries."""

import importlib
import inspect
import random
import sys
from pathlib import Path

import anndata
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

import neuronedit as ne

ATTACK = str(Path(__file__).parents[1] / "attack")
CALLS_PER_ROOM = 12
NEED_FILES = ["datasets.celeba", "datasets.fetch"]  # or a network
OF_A_FLOAT32_MODULE = "spaces.train"  # the caller's own


@pytest.fixture(scope="module")
def calls():
    sys.path.insert(0, ATTACK)
    yield importlib.import_module("calls")
    sys.path.remove(ATTACK)


@pytest.mark.parametrize("room", ne.ROOMS)
def test_bad_calls_end_in_one_clear_error(calls, room, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    every = [
        (f"{room}.{name}", parameter, label)
        for name in calls.list_callables(room)
        for parameter, label in calls.list_bad(f"{room}.{name}")
    ]
    outcomes = {}
    for call in random.Random(0).sample(every, CALLS_PER_ROOM):
        outcomes[call] = calls.find_outcome(*call)
    assert {call: outcome for call, outcome in outcomes.items() if outcome not in ("right", "clear")} == {}


def to_double(value):
    """Return cells in double precision: what is computed in it may then be the caller's own memory."""
    if isinstance(value, torch.Tensor) and value.is_floating_point():
        return value.double()
    if isinstance(value, np.ndarray) and value.dtype == np.float32:
        return value.astype(np.float64)
    if isinstance(value, anndata.AnnData) and isinstance(value.X, np.ndarray):
        value.X = value.X.astype(np.float64)
    return value


def read_numbers(value):
    """Return a copy of the numbers of a tensor, an array or an AnnData."""
    if isinstance(value, anndata.AnnData):
        value = value.X
    if isinstance(value, torch.Tensor):
        return value.numpy().copy()
    return value.copy() if isinstance(value, np.ndarray) else None


@pytest.mark.parametrize("room", ne.ROOMS)
def test_right_calls_go_through_and_change_no_cells_that_they_are_given(calls, room, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    n_tried = 0
    for name in sorted({f"{room}.{function}" for function in calls.list_callables(room)} - set(NEED_FILES)):
        arguments = calls.good_arguments(name, "")
        if name != OF_A_FLOAT32_MODULE:
            arguments = {key: to_double(value) for key, value in arguments.items()}
        before = {key: read_numbers(value) for key, value in arguments.items()}
        try:
            calls.call(name, arguments)
        except ImportError:  # of an extra
            continue
        n_tried += 1
        plt.close("all")
        if room != "pp":  # transformations of X
            for key, value in arguments.items():
                np.testing.assert_array_equal(read_numbers(value), before[key], err_msg=f"{name}: {key}", strict=True)
    assert n_tried >= 2


def test_every_public_function_is_tried(calls):
    names = {f"{room}.{name}" for room in ne.ROOMS for name in getattr(ne, room).__all__}
    functions = {name for name in names if callable(calls.find(name)) and name not in calls.SKIPPED}
    functions -= {
        name for name in functions if inspect.isclass(calls.find(name)) and issubclass(calls.find(name), Exception)
    }
    tried = {f"{room}.{name}" for room in ne.ROOMS for name in calls.list_callables(room)}
    without_arguments = {name for name in functions - tried if not calls.parameters_of(name)}
    assert functions - tried == without_arguments
