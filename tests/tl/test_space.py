"""A space that was not trained before is trained on the way, by the tools that need one."""

import logging
from functools import partial

import numpy as np
import pytest

import neuronedit as ne

GROUPS = {"source": "control_1", "target": "control_2", "query": "sample_1", "edit": "percentile"}
CONTROLS = {"control_key": "role", "reference": "batch_2", "edit": "percentile"}
DRUGS = {"control": "control_1", "effects": ["control_2", "sample_1"], "edit": "percentile", "as_layers": True}

TOOLS = {
    "edit": lambda adata, **more: ne.tl.edit(adata, "group", **GROUPS | more),
    "correct": lambda adata, **more: ne.tl.correct(adata, "batch", **CONTROLS | more),
    "combine": lambda adata, **more: ne.tl.combine(adata, "group", **DRUGS | more),
}

REFUSED = {  # what is refused before the training
    "a column of neurons": {"neurons": [0]},
    "another key": {"key": "other"},
    "no such layer": {"layer": "other"},
    "no such edit": {"edit": "other"},
    "the key of the space": {"key_added": "neuronedit"},
    "a strength that is no number": {"strength": np.nan},
}


SHORT = partial(ne.tl.train, widths=(16, 4), max_epochs=2)


@pytest.fixture
def untrained(monkeypatch):
    monkeypatch.setattr(ne.tl._space, "train", SHORT)
    return ne.datasets.simulate_batches(n_cells=60)


@pytest.mark.parametrize("tool", TOOLS)
def test_same_as_training_first(untrained, tool, caplog):
    before = untrained.copy()
    SHORT(before)
    TOOLS[tool](before)
    with caplog.at_level(logging.INFO, "neuronedit"):
        TOOLS[tool](untrained)
    assert "holds no trained space: one is trained" in caplog.text
    assert untrained.uns["neuronedit"]["id"] == before.uns["neuronedit"]["id"]
    assert set(untrained.obsm) == set(before.obsm)
    for layer in filter(None, before.layers):
        assert np.array_equal(untrained.layers[layer], before.layers[layer])


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize("case", REFUSED)
def test_refuses_before_training(untrained, tool, case, monkeypatch):
    monkeypatch.setattr(ne.tl._space, "train", lambda *args, **more: pytest.fail("trained"))
    with pytest.raises((KeyError, TypeError, ValueError)):
        TOOLS[tool](untrained, **REFUSED[case])


def test_an_error_after_training_leaves_nothing(untrained):
    with pytest.raises(ValueError, match="NaN|finite"):
        ne.tl.edit(untrained, "group", **GROUPS | {"edit": lambda source, target: lambda x: x * np.nan})
    assert not untrained.uns
    assert not untrained.obsm
    assert list(filter(None, untrained.layers)) == ["truth"]


@pytest.mark.parametrize("tool", ["edit", "correct"])
def test_a_copy_has_the_space(untrained, tool):
    copied = TOOLS[tool](untrained, copy=True)
    assert "neuronedit" in copied.uns
    assert not untrained.uns


def test_interrupted_training_ends_the_call(untrained, monkeypatch):
    def train(adata, *, key_added, **more):
        adata.uns[key_added] = {"history": {"interrupted": True}}

    monkeypatch.setattr(ne.tl._space, "train", train)
    with pytest.raises(KeyboardInterrupt):
        TOOLS["edit"](untrained)
    assert not untrained.uns


def test_neurons_without_their_space_are_an_error(untrained):
    SHORT(untrained)
    del untrained.uns["neuronedit"]
    with pytest.raises(KeyError, match="holds no trained space"):
        TOOLS["edit"](untrained)


def test_a_store_needs_a_trained_space(untrained, tmp_path):
    with pytest.raises(KeyError, match=r"ne\.tl\.train"):
        TOOLS["edit"](untrained, write_to=tmp_path / "edited.zarr")
