"""Bad calls of all public functions, made from their signatures: a seeded part of what ``make attack`` tries."""

import importlib
import inspect
import random
import sys
from pathlib import Path

import pytest

import neuronedit as ne

ATTACK = str(Path(__file__).parents[1] / "attack")
CALLS_PER_ROOM = 12


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


def test_every_public_function_is_tried(calls):
    names = {f"{room}.{name}" for room in ne.ROOMS for name in getattr(ne, room).__all__}
    functions = {name for name in names if callable(calls.find(name)) and name not in calls.SKIPPED}
    functions -= {
        name for name in functions if inspect.isclass(calls.find(name)) and issubclass(calls.find(name), Exception)
    }
    tried = {f"{room}.{name}" for room in ne.ROOMS for name in calls.list_callables(room)}
    without_arguments = {name for name in functions - tried if not calls.parameters_of(name)}
    assert functions - tried == without_arguments
