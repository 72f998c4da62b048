"""Every example in a docstring runs and gives what it shows."""

import doctest
import importlib
import pkgutil

import pytest

import neuronedit as ne

MODULES = [
    f"{room}.{module.name}"
    for room in [*ne.ROOMS, "_report"]
    for module in pkgutil.iter_modules(importlib.import_module(f"neuronedit.{room}").__path__)
]


@pytest.mark.parametrize("module", MODULES)
def test_examples(module, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # some write files
    failed, _ = doctest.testmod(
        importlib.import_module(f"neuronedit.{module}"), optionflags=doctest.NORMALIZE_WHITESPACE
    )
    assert failed == 0
