"""Model files: whole or not at all, and one clear error for what is no model."""

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file, save_file

import neuronedit as ne

POPULATIONS = {"source": "control_1", "target": "control_2", "query": "sample_1"}


@pytest.fixture
def saved(trained, tmp_path):
    ne.tl.edit(trained, "group", **POPULATIONS, edit="percentile")
    ne.io.save_model(trained, tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def metadata_of(path):
    size = int.from_bytes(path.read_bytes()[:8], "little")
    return json.loads(json.loads(path.read_bytes()[8 : 8 + size])["__metadata__"]["neuronedit"])


def test_what_is_in_a_file(saved, trained):
    metadata = metadata_of(saved)
    assert metadata["schema"] == 3 and metadata["var_names"] == list(trained.var_names)
    assert metadata["scale"] == "arcsinh values of X" and metadata["cofactor"]["X_arcsinh_cofactor"] == [5.0] * 35
    assert set(metadata["versions"]) == {"neuronedit", "torch", "anndata", "numpy"}
    space = json.loads(metadata["uns"]["dict"]["neuronedit"]["dict"]["config"])
    assert space["data"]["shape"] == [600, 35] and len(space["data"]["sha256"]) == 64 and space["layer"] is None
    arrays = load_file(saved)
    assert any(array.shape == (6, 101) for array in arrays.values())  # the percentiles
    assert (
        sum(array.size for array in arrays.values()) < 20_000
    )  # and no cells but those that distances are measured to


def test_it_comes_back_as_it_was(saved, trained):
    model = ne.io.load_model(saved)
    assert model.shape == (0, 35) and list(model.uns) == ["neuronedit", "edited"]
    for name, weight in trained.uns["neuronedit"]["weights"].items():
        assert np.array_equal(model.uns["neuronedit"]["weights"][name], weight)
    assert str(model.uns["neuronedit"]["id"]) == trained.uns["neuronedit"]["id"]
    assert str(model.uns["edited"]["fitted"]["digest"]) == trained.uns["edited"]["fitted"]["digest"]
    pd.testing.assert_frame_equal(model.uns["edited"]["features"], trained.uns["edited"]["features"])
    ne.io.save_model(model, saved.with_name("again.safetensors"))
    assert saved.with_name("again.safetensors").read_bytes() == saved.read_bytes()


def test_the_hash_is_of_the_data(cells):
    hashes = []
    for change in (0.0, 0.0, 1.0):
        cells.X[-1, 0] += change
        ne.tl.train(cells, space="identity")
        hashes.append(json.loads(cells.uns["neuronedit"]["config"])["data"]["sha256"])
    assert hashes[0] == hashes[1] != hashes[2]


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def flip_header(path):
    data = bytearray(path.read_bytes())
    data[20] ^= 0xFF
    path.write_bytes(data)


def foreign(path):
    save_file({"x": np.zeros(3, dtype=np.float32)}, path)


def later(path):
    save_file({}, path, {"neuronedit": json.dumps({"schema": 4})})


def without_an_array(path):
    arrays, metadata = load_file(path), {"neuronedit": json.dumps(metadata_of(path))}
    arrays.pop(sorted(arrays)[0])
    save_file(arrays, path, metadata)


BROKEN = {
    "cut short": (cut, "is not a model of neuronedit, or it is damaged"),
    "damaged header": (flip_header, "is not a model of neuronedit, or it is damaged"),
    "an array is missing": (without_an_array, "is not a model of neuronedit, or it is damaged"),
    "empty": (lambda path: path.write_bytes(b""), "is not a model"),
    "text": (lambda path: path.write_text("a,b\n1,2\n" * 100), "is not a model"),
    "of others": (foreign, "is not a model of neuronedit"),
    "a later schema": (later, "has schema 4; this version of neuronedit reads up to 3"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_one_clear_error(saved, name):
    change, message = BROKEN[name]
    change(saved)
    with pytest.raises(ValueError, match=message) as caught:
        ne.io.load_model(saved)
    assert str(saved) in str(caught.value)


def test_a_flipped_byte_does_not_change_a_result_silently(saved, trained, tmp_path):
    """Wherever it is: the file is refused, the space or the edit is refused, or the result is the same."""
    cells = trained[:200].copy()
    cells.layers.clear(), cells.uns.clear(), cells.obsm.clear()
    cells.obs = cells.obs.drop(columns=["edited_support", "edited_distance"])
    cells.var = cells.var.drop(columns="edited_arcsinh_cofactor")
    expected = ne.tl.apply(cells, saved, query=cells.obs_names, copy=True)
    data, path = saved.read_bytes(), tmp_path / "flipped.safetensors"
    silent = []
    for place in np.linspace(0, len(data) - 1, 150).astype(int):
        flipped = bytearray(data)
        flipped[place] ^= 0x10
        path.write_bytes(flipped)
        try:
            result = ne.tl.apply(cells, path, query=cells.obs_names, copy=True)
        except (ValueError, KeyError, TypeError):
            continue
        if not np.array_equal(result.layers["edited"], expected.layers["edited"]):
            silent.append(place)
    assert not silent


def test_a_space_alone(trained, tmp_path):
    ne.io.save_model(trained, tmp_path / "space.safetensors")
    assert list(ne.io.load_model(tmp_path / "space.safetensors").uns) == ["neuronedit"]
    new = ne.datasets.simulate_batches(n_cells=50, rng=1)
    ne.tl.embed(new, tmp_path / "space.safetensors")
    ne.tl.edit(new, "group", **POPULATIONS, edit="shift")


def test_what_is_saved_where_nothing_is_named(trained, tmp_path):
    path = tmp_path / "model.safetensors"

    def saved(**arguments):
        ne.io.save_model(trained, path, **arguments)
        return list(ne.io.load_model(path).uns)

    ne.tl.edit(trained, "group", **POPULATIONS, edit="shift", key_added="other")
    assert saved() == ["neuronedit"]
    assert saved(edit="other") == ["neuronedit", "other"]
    ne.tl.correct(trained, "batch", control_key="role", edit="shift")
    assert saved() == ["neuronedit", "corrected"]
    ne.tl.edit(trained, "group", **POPULATIONS, edit="shift")
    assert saved() == ["neuronedit", "edited"]
    assert saved(key="neuronedit") == ["neuronedit"]
    assert set(ne.io.load_model(path).uns["neuronedit"]) == set(trained.uns["neuronedit"])


def test_a_correction_comes_back_as_it_was(trained, tmp_path):
    ne.tl.correct(trained, "batch", control_key="role", reference="batch_2", edit="percentile")
    ne.io.save_model(trained, tmp_path / "model.safetensors")
    model = ne.io.load_model(tmp_path / "model.safetensors")
    assert list(model.uns) == ["neuronedit", "corrected"]
    for table in ("features", "batches"):
        pd.testing.assert_frame_equal(
            model.uns["corrected"][table], trained.uns["corrected"][table], check_categorical=False, check_dtype=False
        )
    assert str(model.uns["corrected"]["fitted"]["digest"]) == trained.uns["corrected"]["fitted"]["digest"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"edit": "treated"},
            r"uns\['treated'\] holds no edit or batch correction; call ne.tl.edit first. uns has 'neur",
        ),
        ({"key": "other"}, r"uns\['other'\] holds no trained space; call ne.tl.train"),
        ({"edit": "neuronedit"}, r"uns\['neuronedit'\] holds no edit"),
    ],
)
def test_nothing_to_save(trained, tmp_path, arguments, message):
    with pytest.raises(KeyError, match=message):
        ne.io.save_model(trained, tmp_path / "model.safetensors", **arguments)
    assert not list(tmp_path.iterdir())


def test_an_edit_that_was_applied_is_saved_with_its_own_model(trained, tmp_path):
    ne.tl.edit(trained, "group", **POPULATIONS, edit="shift")
    ne.tl.apply(trained, trained, query=trained.obs_names, key="edited", key_added="applied")
    with pytest.raises(ValueError, match="or by ne.tl.apply. Save the model that was applied"):
        ne.io.save_model(trained, tmp_path / "model.safetensors", edit="applied")


def test_writing_is_atomic(saved, trained, monkeypatch):
    before = saved.read_bytes()

    def fail(*arguments):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        ne.io.save_model(trained, saved)
    assert saved.read_bytes() == before and [path.name for path in saved.parent.iterdir()] == [saved.name]


@pytest.mark.parametrize("written", [b"", b"half"])
def test_a_file_that_does_not_read_back_replaces_none(saved, trained, monkeypatch, written):
    before = saved.read_bytes()
    real = Path.write_bytes
    monkeypatch.setattr(Path, "write_bytes", lambda path, data: real(path, written or data[:-1] + b"x"))
    with pytest.raises(OSError, match="does not hold what was written into it"):
        ne.io.save_model(trained, saved)
    assert saved.read_bytes() == before and [path.name for path in saved.parent.iterdir()] == [saved.name]
