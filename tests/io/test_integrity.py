"""What is not what was written is refused in one sentence; what was only copied, cut or stored is taken."""

import json
from functools import partial

import anndata
import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.numpy import load_file, save_file

import neuronedit as ne
from neuronedit._data.integrity import parse_json
from neuronedit._data.record import digest, digest_fitted, digest_record
from neuronedit._data.space import space_id
from neuronedit.io import _model

POPULATIONS = {"source": "control_1", "target": "control_2", "query": "sample_1"}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """An AnnData with an edit and a correction, and the file of the edit."""
    adata = ne.datasets.simulate_batches(n_cells=80)
    ne.tl.train(adata, widths=(12, 4), max_epochs=1)
    ne.tl.edit(adata, "group", **POPULATIONS, edit="percentile")
    ne.tl.correct(adata, "batch", control_key="role", edit="shift", progress_bar=False)
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    ne.io.save_model(adata, path, edit="edited")
    return adata, path


@pytest.fixture
def adata(model):
    return model[0].copy()


@pytest.fixture
def new():
    return ne.datasets.simulate_batches(n_cells=30, rng=1)


def read(path):
    """Return the JSON of a file, without its digest, and its arrays."""
    size = int.from_bytes(path.read_bytes()[:8], "little")
    metadata = json.loads(json.loads(path.read_bytes()[8 : 8 + size])["__metadata__"]["neuronedit"])
    del metadata["digest"]
    return metadata, load_file(path)


def write(path, metadata, arrays, *, signed=True):
    text = metadata if isinstance(metadata, str) else json.dumps(metadata)
    save_file(arrays, path, {"neuronedit": _model.sign(text, arrays) if signed else text})
    return path


def test_every_flipped_byte_is_found(model, tmp_path):
    data, path = model[1].read_bytes(), tmp_path / "flipped.safetensors"
    generator = np.random.default_rng(0)
    for place in generator.choice(len(data), 300, replace=False):
        flipped = bytearray(data)
        flipped[place] ^= int(generator.integers(1, 256))
        path.write_bytes(flipped)
        with pytest.raises(ne.io.IntegrityError, match="is not a model of neuronedit, or it is damaged: "):
            ne.io.load_model(path)


HUGE = {
    "widths": {"parameters": {"n_features": 35, "widths": [40_000, 40_000]}},
    "many layers": {"parameters": {"n_features": 35, "widths": [1] * 100_000}},
    "features": {"parameters": {"n_features": 10**10, "widths": [12, 4]}},
    "seed": {"parameters": {"n_features": 35, "widths": [12, 4], "rng": 10**30}},
    "no parameters": {},
}


@pytest.mark.parametrize("name", HUGE)
def test_sizes_come_from_the_arrays_that_are_there(model, tmp_path, new, name, monkeypatch):
    """With digests that fit: whoever made the file has signed it."""
    metadata, arrays = read(model[1])
    space = metadata["uns"]["dict"]["neuronedit"]["dict"]
    space["config"] = json.dumps(json.loads(space["config"]) | {"parameters": {}} | HUGE[name])
    stored = _model._put_together(metadata["uns"], dict(arrays))["neuronedit"]
    space["id"] = space_id(stored)
    path = write(tmp_path / "huge.safetensors", metadata, arrays)
    largest = []
    for name in ("empty", "zeros", "ones"):
        real = getattr(torch, name)
        monkeypatch.setattr(torch, name, lambda *a, real=real, **k: largest.append(real(*a, **k)) or largest[-1])
    with pytest.raises(ne.io.IntegrityError, match=r"uns\['neuronedit'\] was changed after the training: "):
        ne.tl.embed(new, path)
    assert sum(x.numel() for x in largest if x.device.type != "meta") < 1e6


@pytest.mark.parametrize("kind", ["pca", "conv"])
def test_other_spaces_are_no_larger_than_their_weights(kind):
    from neuronedit.spaces._restore import restore

    configs = {"pca": {"n_features": 200_000, "n_components": 200_000}}
    configs["conv"] = {"n_features": 10**10, "image_shape": [10**5, 10**5, 1], "widths": [10**6]}
    weights = {"mean": np.zeros(3, dtype=np.float32), "components": np.zeros((3, 2), dtype=np.float32)}
    with pytest.raises((RuntimeError, ValueError)):
        restore(ne.spaces.SPACES[kind], configs[kind], weights)


def test_a_class_of_the_callers_own_may_do_in_its_constructor_what_it_likes(cells):
    class Doubled(ne.spaces.Identity):
        """A constructor that computes with numbers, which torch's meta device has none of."""

        def __init__(self, *, factors):
            super().__init__()
            self.config = {"factors": factors}
            self.register_buffer("factor", torch.tensor(factors).prod())
            assert self.factor.item() == 2

        @classmethod
        def fit(cls, cells, training):
            return cls(factors=[2.0, 1.0, 1.0])

    ne.tl.train(cells, space=Doubled)
    ne.tl.edit(cells, "group", **POPULATIONS, edit="shift")


@pytest.mark.parametrize("schema", ["0", "-1", "1e400", "1.5", "true", "null", '"2"', "[2]", "NaN"])
def test_schemas_that_are_none(model, tmp_path, schema):
    metadata, arrays = read(model[1])
    text = json.dumps(metadata | {"schema": "SCHEMA"}).replace('"SCHEMA"', schema)
    with pytest.raises(ne.io.IntegrityError, match="its schema is "):
        ne.io.load_model(write(tmp_path / "model.safetensors", text, arrays, signed=False))


def test_a_file_of_schema_2_needs_no_digest_and_one_of_3_does(model, tmp_path, new):
    metadata, arrays = read(model[1])
    path = write(tmp_path / "model.safetensors", metadata | {"schema": 2}, arrays, signed=False)
    ne.tl.apply(new, path, "group", query="sample_1")
    with pytest.raises(ne.io.IntegrityError, match="its digest is missing"):
        ne.io.load_model(write(path, metadata, arrays, signed=False))
    metadata["schema"] = 2
    arrays["/neuronedit/weights/center"][0] += 1  # what it holds has digests of its own
    with pytest.raises(ne.io.IntegrityError, match="its id is not that of its weights"):
        ne.tl.apply(new, write(path, metadata, arrays, signed=False), "group", query="sample_1", key_added="again")


BOMBS = {
    "nested lists": "[" * 100_000 + "]" * 100_000,
    "nested records": '{"schema": 3, "uns": ' + '{"dict":{"a":' * 300 + "1" + "}}" * 300 + "}",
    "empty lists": "[" + "[]," * 1_100_000 + "[]]",
    "a list": "[]",
    "a long number": '{"schema": ' + "9" * 10_000 + "}",
    "half": '{"schema"',
}


@pytest.mark.parametrize("name", BOMBS)
def test_json_is_bounded(tmp_path, name):
    with pytest.raises(ne.io.IntegrityError):
        ne.io.load_model(write(tmp_path / "model.safetensors", BOMBS[name], {}))


def test_nesting_that_is_written_is_read():
    text = '{"a":' * 90 + "1" + "}" * 90
    assert json.dumps(parse_json(text)).replace(" ", "") == text


@pytest.mark.parametrize("change", [
    lambda uns: uns.update(big={"frame": {f"c{i}": {"array": "/x"} for i in range(100)}, "index": list("abc")}),
    lambda uns: uns.update(big={"frame": {f"c{i}": 1.0 for i in range(100)}, "index": list("abc")}),
], ids=["an array named often", "a table of few numbers"])  # fmt: skip
def test_little_does_not_become_much(model, tmp_path, change):
    metadata, arrays = read(model[1])
    change(metadata["uns"]["dict"])
    path = write(tmp_path / "model.safetensors", metadata, arrays | {"/x": np.zeros(3)})
    with pytest.raises(ne.io.IntegrityError):
        ne.io.load_model(path)


def sign(uns, key="edited"):
    """Write the digests of a record anew."""
    uns[key]["fitted"]["digest"] = digest_fitted(uns[key]["fitted"])
    uns[key]["digest"] = digest_record(uns[key])


def edit_map(record, change):
    tree = json.loads(record["fitted"]["map"])
    change(tree)
    record["fitted"]["map"] = json.dumps(tree)


MAPS = {
    "a word for a number": lambda tree: tree[0][0][0]["parts"].update(edit={"map": "scaled", "parts": {"edit": 1, "strength": "x"}}),
    "arrays of other shapes": lambda tree: tree[0][0][0]["parts"]["edit"]["parts"].update(knots={"array": "2"}),
    "a row that does not exist": lambda tree: tree[0][0][0].update(map="os.system"),
    "no support": lambda tree: tree[0].pop(),
    "two maps": lambda tree: tree[0][0].append(tree[0][0][0]),
    "a space that is not there": lambda tree: tree[0][0][0]["parts"].update(space={"space_in": "other"}),
}  # fmt: skip


@pytest.mark.parametrize("name", MAPS)
def test_an_edit_that_fits_no_cells_is_refused_before_any_work(adata, new, name):
    """Though its digests are right."""
    edit_map(adata.uns["edited"], MAPS[name])
    sign(adata.uns)
    before = set(new.layers)
    with pytest.raises(ne.io.IntegrityError, match=r"uns\['edited'\] of AnnData was changed after it was fitted: "):
        ne.tl.apply(new, adata, "group", query="sample_1", key="edited")
    assert set(new.layers) == before


CHANGES = {
    "config": lambda record: record.update(config=record["config"].replace('"layer": null', '"layer": "truth"')),
    "features": None,
    "a column": lambda record: record.update(features=record["features"].drop(columns="mean_error")),
    "a table": lambda record: record.update(features=np.zeros(3)),
    "fitted": lambda record: record["fitted"]["arrays"].update({"0": np.zeros(3)}),
    "no scale": lambda record: record["fitted"].pop("scale"),
    "tool": lambda record: record.update(tool="x"),
    "no config": lambda record: record.pop("config"),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_a_record_that_was_changed_is_refused(adata, new, name):
    if name == "features":
        table = adata.uns["edited"]["features"]
        adata.uns["edited"]["features"] = table.assign(observed_change=table["observed_change"] + 1)
    else:
        CHANGES[name](adata.uns["edited"])
    for call in (
        lambda: ne.tl.apply(new, adata, "group", query="sample_1", key="edited"),
        lambda: ne.io.save_model(adata, "never.safetensors", edit="edited"),
    ):
        with pytest.raises(ne.io.IntegrityError, match=r"uns\['edited'\].* was changed after it was fitted: "):
            call()


@pytest.mark.parametrize("part", ["config", "weights", "var_names", "scale", "space"])
@pytest.mark.parametrize("value", [None, 3, "x", np.arange(3.0)], ids=str)
def test_a_space_that_was_changed_is_refused(adata, part, value):
    adata.uns["neuronedit"][part] = value
    with pytest.raises(ne.io.IntegrityError, match=r"uns\['neuronedit'\] was changed after the training: "):
        ne.tl.edit(adata, "group", **POPULATIONS, edit="shift", key_added="new")
    assert "new" not in adata.layers


# honest use


def through_h5ad(adata, tmp_path):
    adata.write_h5ad(tmp_path / "cells.h5ad")
    return anndata.read_h5ad(tmp_path / "cells.h5ad")


def through_zarr(adata, tmp_path):
    adata.write_zarr(tmp_path / "cells.zarr")
    return anndata.read_zarr(tmp_path / "cells.zarr")


def through_all(adata, tmp_path):
    for _ in range(2):
        adata = through_zarr(through_h5ad(adata, tmp_path), tmp_path)
    return adata


def with_notes(adata, tmp_path):
    """The user's own columns, order and notes."""
    record = adata.uns["edited"]
    record["note"], record["features"]["gene"] = "mine", "x"
    record["features"] = record["features"].sort_values("change")
    return adata


HONEST = {
    "copy": lambda adata, tmp_path: adata.copy(),
    "some cells": lambda adata, tmp_path: adata[::2].copy(),
    "a view": lambda adata, tmp_path: adata[::2],
    "features turned round": lambda adata, tmp_path: adata[:, ::-1].copy(),
    "concat": lambda adata, tmp_path: anndata.concat([adata[::2], adata[1::2]], merge="same", uns_merge="same"),
    "concat, the first": lambda adata, tmp_path: anndata.concat([adata[::2], adata[1::2]], merge="same", uns_merge="first"),
    "h5ad": through_h5ad,
    "zarr": through_zarr,
    "files, again and again": through_all,
    "notes of the user's own": with_notes,
    "categories of words": lambda adata, tmp_path: adata.strings_to_categoricals() or adata,
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:Writing zarr v2 data")
@pytest.mark.parametrize("name", HONEST)
def test_honest_use_is_never_refused(adata, new, tmp_path, name):
    expected = new.copy()
    ne.tl.apply(expected, adata, "group", query="sample_1", key="edited")
    used = HONEST[name](adata, tmp_path)
    for key, query in (("edited", new.obs["group"].eq("sample_1")), ("corrected", new.obs["group"].notna())):
        ne.io.save_model(used, tmp_path / "model.safetensors", edit=key)
        for held in (used, tmp_path / "model.safetensors"):
            ne.tl.apply(new, held, query=new.obs_names[query], key=key, key_added=key)
    pd.testing.assert_frame_equal(new.uns["edited"]["features"], expected.uns["edited"]["features"])
    assert np.array_equal(new.layers["edited"], expected.layers["edited"])


def test_fitted_edits_may_be_left_out_and_not_exchanged(adata, new):
    other = adata.copy()
    ne.tl.edit(other, "group", **POPULATIONS, edit="shift")
    other.uns["edited"]["fitted"] = adata.uns["edited"]["fitted"]
    with pytest.raises(ne.io.IntegrityError, match="its digest differs"):
        ne.tl.apply(new, other, "group", query="sample_1", key="edited")
    del adata.uns["edited"]["fitted"]
    ne.pl.shift(adata)
    with pytest.raises(ValueError, match="holds no edit that can be saved"):
        ne.io.save_model(adata, "never.safetensors", edit="edited")


def test_a_record_that_a_tool_wrote_again_has_its_own_digest(adata, new):
    before = adata.uns["edited"]["digest"]
    ne.tl.bootstrap(adata, n_bootstrap=2)
    assert adata.uns["edited"]["digest"] != before
    ne.tl.apply(new, adata, "group", query="sample_1", key="edited")


def test_what_former_versions_signed_is_read(adata, tmp_path, monkeypatch):
    """Their digests are of the bytes of arrays, not of their checksums."""
    former = partial(digest, former=True)
    for module in ("neuronedit._data.record", "neuronedit._data.space", "neuronedit.io._model"):
        monkeypatch.setattr(f"{module}.digest", former)
    cells = adata.copy()
    ne.tl.train(cells, space="pca", n_components=5)
    ne.tl.edit(cells, "group", source="control_1", target="control_2", query="sample_1", edit="percentile")
    ne.io.save_model(cells, tmp_path / "former.safetensors")
    monkeypatch.undo()
    model = ne.io.load_model(tmp_path / "former.safetensors")
    again = ne.tl.apply(cells, model, query=cells.obs_names, key_added="again", copy=True)
    is_query = cells.obs["group"] == "sample_1"
    np.testing.assert_allclose(again.layers["again"][is_query], cells.layers["edited"][is_query], atol=1e-5)
    weights = cells.uns["neuronedit"]["weights"]
    name = next(iter(weights))
    cells.uns["neuronedit"] = cells.uns["neuronedit"] | {"weights": weights | {name: weights[name] + 1}}
    with pytest.raises(ne.io.IntegrityError, match="its id is not that"):
        ne.io.save_model(cells, tmp_path / "changed.safetensors")
