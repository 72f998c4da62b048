"""Model files: a byte flipped anywhere, and files made to deceive. Each must be refused in one sentence, or change nothing.

A file that was made on purpose may carry digests that fit what it holds ("signed"): then it is refused, or gives finite cells.
"""

import contextlib
import functools
import json
import resource
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from common import Try

EDITS = {"percentile": {}, "local": {}, "auto": {"strata": "cell_type"}}
POPULATIONS = {"source": "control_1", "target": "control_2", "query": "sample_1"}
ROOM = 2**29  # bytes beyond what the process has: the files hold less than a megabyte
ODD: list[Any] = [None, -1, 0, 10**12, 1e400, float("nan"), "x", True, [], {}, [[]], {"a": 1}]


@functools.cache
def example(edit: str) -> tuple[bytes, Any, Any]:
    """Return the bytes of a model file, cells, and these cells edited with it."""
    import neuronedit as ne

    adata = ne.datasets.simulate_batches(n_cells=80)
    ne.tl.train(adata, widths=(16, 4), max_epochs=2)
    ne.tl.edit(adata, "group", **POPULATIONS, edit=edit, **EDITS[edit])
    cells = ne.datasets.simulate_batches(n_cells=40, rng=1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        ne.io.save_model(adata, path)
        return path.read_bytes(), cells, ne.tl.apply(cells, path, query=cells.obs_names, copy=True)


def tries(seed: int, long: bool) -> Iterator[Try]:
    """Yield flips over the whole file, and the crafted files."""
    rng = np.random.default_rng(seed)
    for edit in EDITS if long else ["percentile"]:
        for place in rng.permutation(np.linspace(0, 1, 1_500 if long else 150, endpoint=False)):
            yield Try(
                "byte flips in a model file", f"{edit} {place:.4f}", flip, (edit, place, int(rng.integers(1, 256)))
            )
    for name in HOSTILE:
        for signed in (True, False):
            yield Try("crafted model files", f"{name}{', signed' * signed}", hostile, (name, signed))
    places = list(walk(parse(example("percentile")[0])[0]))
    chosen = [(place, ODD[i]) for place in places for i in rng.permutation(len(ODD))[: 3 if long else 1]]
    for place, value in chosen:
        for signed in (True, False) if long else (True,):
            yield Try(
                "crafted model files", f"{place} = {value!r:.20}{', signed' * signed}", replaced, (place, value, signed)
            )


def flip(edit: str, place: float, mask: int) -> str | None:
    """Change one byte, anywhere in the file."""
    data = bytearray(example(edit)[0])
    data[int(place * len(data))] ^= mask
    return use(bytes(data), edit)


def hostile(name: str, signed: bool) -> str | None:
    """Change a file as somebody would who wants to harm."""
    metadata, arrays, _ = parse(example("percentile")[0])
    done = HOSTILE[name](metadata, arrays)
    return use(done if isinstance(done, bytes) else build(metadata, arrays, signed), "percentile", signed)


def replaced(place: tuple[Any, ...], value: Any, signed: bool) -> str | None:
    """Put an odd value somewhere into the JSON."""
    metadata, arrays, _ = parse(example("percentile")[0])
    put(metadata, place, value)
    return use(build(metadata, arrays, signed), "percentile", signed)


def use(data: bytes, edit: str, signed: bool = False) -> str:
    """Edit cells with a file, with little memory; say whether they are what they should be."""
    import neuronedit as ne

    _, cells, expected = example(edit)
    with tempfile.TemporaryDirectory() as folder, little_memory():
        path = Path(folder) / "model.safetensors"
        path.write_bytes(data)
        edited = ne.tl.apply(cells, path, query=cells.obs_names, copy=True)
    is_same = np.array_equal(edited.layers["edited"], expected.layers["edited"])
    same_table = edited.uns["edited"]["features"].equals(expected.uns["edited"]["features"])
    if is_same and (same_table or signed):
        return "right"
    return "right" if signed and np.isfinite(edited.layers["edited"]).all() else "silent"


@contextlib.contextmanager
def little_memory() -> Iterator[None]:
    """Allow this process half a gigabyte more than it has."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + ROOM, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def parse(data: bytes) -> tuple[dict[str, Any], dict[str, np.ndarray], dict[str, str]]:
    """Return the JSON of a model, with the JSON in it read as well, its arrays, and the metadata as they are."""
    from safetensors.numpy import load

    size = int.from_bytes(data[:8], "little")
    words = json.loads(data[8 : 8 + size])["__metadata__"]
    metadata = json.loads(words["neuronedit"], object_hook=_read_inner)
    metadata.pop("digest", None)
    return metadata, load(data), words


def _read_inner(tree: dict[str, Any]) -> dict[str, Any]:
    inner = {k: v for k, v in tree.items() if isinstance(v, str) and v[:1] in ("{", "[")}
    return tree | {name: {"json": json.loads(text)} for name, text in inner.items()}


def _write_inner(tree: Any) -> Any:
    if isinstance(tree, dict) and set(tree) == {"json"}:
        return json.dumps(tree["json"])
    if isinstance(tree, dict):
        return {name: _write_inner(part) for name, part in tree.items()}
    return [_write_inner(part) for part in tree] if isinstance(tree, list) else tree


def build(metadata: Any, arrays: dict[str, np.ndarray], signed: bool) -> bytes:
    """Return the bytes of a file; ``signed``: with digests that fit what is in it, as far as they can be made."""
    from safetensors.numpy import save

    import neuronedit.io._model as writer

    metadata = _write_inner(metadata)
    if signed:
        with contextlib.suppress(Exception):  # of a file that cannot be read there are no digests inside
            _sign_records(metadata, arrays)
    text = json.dumps(metadata)
    if signed and hasattr(writer, "sign"):
        text = writer.sign(text, arrays)
    return save({name: np.asarray(array, order="C") for name, array in arrays.items()}, {"neuronedit": text})


def _sign_records(metadata: Any, arrays: dict[str, np.ndarray]) -> None:
    """Write the ids of spaces and the digests of edits anew."""
    from neuronedit._data import record, space
    from neuronedit.io import _model as writer

    uns = writer._put_together(metadata["uns"], dict(arrays))
    trees = metadata["uns"]["dict"]
    trees["neuronedit"]["dict"]["id"] = uns["neuronedit"]["id"] = space.space_id(uns["neuronedit"])
    fitted = uns["edited"]["fitted"]
    about = json.loads(fitted["about"])
    about["spaces"] = {"neuronedit": uns["neuronedit"]["id"]}
    fitted["about"] = trees["edited"]["dict"]["fitted"]["dict"]["about"] = json.dumps(about)
    fitted["digest"] = trees["edited"]["dict"]["fitted"]["dict"]["digest"] = record.digest_fitted(fitted)
    if hasattr(record, "digest_record"):
        trees["edited"]["dict"]["digest"] = record.digest_record(uns["edited"])


def walk(tree: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield every place in a tree, of lists the first and the last."""
    if place:
        yield place
    if isinstance(tree, dict):
        for name, part in tree.items():
            yield from walk(part, (*place, name))
    elif isinstance(tree, list):
        for i in sorted({0, len(tree) - 1} & set(range(len(tree)))):
            yield from walk(tree[i], (*place, i))


def put(tree: Any, place: tuple[Any, ...], value: Any) -> None:
    """Put a value at a place of a tree."""
    for name in place[:-1]:
        tree = tree[name]
    tree[place[-1]] = value


def space_of(metadata: Any) -> Any:
    """Return the record of the space."""
    return metadata["uns"]["dict"]["neuronedit"]["dict"]


def fitted_of(metadata: Any) -> Any:
    """Return the fitted edit."""
    return metadata["uns"]["dict"]["edited"]["dict"]["fitted"]["dict"]


def with_parameters(**values: Any) -> Callable[..., None]:
    """Return what changes the parameters of the space."""
    return lambda metadata, arrays: space_of(metadata)["config"]["json"]["parameters"].update(values)


def as_space(name: str, **values: Any) -> Callable[..., None]:
    """Return what claims that the space is another one."""

    def change(metadata: Any, arrays: Any) -> None:
        space_of(metadata)["space"] = name
        space_of(metadata)["config"]["json"]["parameters"] = values

    return change


def with_json(text: str) -> Callable[..., bytes]:
    """Return what writes a text where the JSON should be."""

    def change(metadata: Any, arrays: dict[str, np.ndarray]) -> bytes:
        from safetensors.numpy import save

        return save(arrays, parse(example("percentile")[0])[2] | {"neuronedit": text})

    return change


def with_schema(value: str) -> Callable[..., bytes]:
    """Return what writes a schema, as text, and no digest."""

    def change(metadata: Any, arrays: dict[str, np.ndarray]) -> bytes:
        from safetensors.numpy import save

        text = json.dumps(_write_inner(metadata | {"schema": "SCHEMA"})).replace('"SCHEMA"', value)
        return save(arrays, {"neuronedit": text})

    return change


def with_arrays(change: Callable[[np.ndarray], np.ndarray], which: str) -> Callable[..., None]:
    """Return what changes the arrays whose name has a word in it."""

    def change_all(metadata: Any, arrays: dict[str, np.ndarray]) -> None:
        for name in [name for name in arrays if which in name]:
            arrays[name] = change(arrays[name])

    return change_all


def as_type(code: str, n_bytes: int) -> Callable[..., bytes]:
    """Return what writes one tensor under another type of safetensors."""

    def change(metadata: Any, arrays: dict[str, np.ndarray]) -> bytes:
        data = example("percentile")[0]
        size = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + size])
        entry = header["/neuronedit/weights/center"]
        first, last = entry["data_offsets"]
        entry.update({"dtype": code, "shape": [(last - first) // n_bytes]})
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        return len(text).to_bytes(8, "little") + text + data[8 + size :]

    return change


def nest_map(levels: int) -> Callable[..., None]:
    """Return what packs the edit into itself many times."""

    def change(metadata: Any, arrays: Any) -> None:
        tree: Any = {"map": "identity", "parts": {}}
        for _ in range(levels):
            tree = {"map": "scaled", "parts": {"edit": tree, "strength": 0.5}}
        space = {"space_in": "neuronedit"}
        in_space = {"map": "in_space", "parts": {"space": space, "edit": tree, "residual": True}}
        fitted_of(metadata)["map"]["json"][0][0][0] = in_space

    return change


def repeat_array(metadata: Any, arrays: dict[str, np.ndarray]) -> None:
    """Name one large array very often."""
    arrays["/big"] = np.zeros(2**17)
    columns = {f"c{i}": {"array": "/big"} for i in range(5_000)}
    metadata["uns"]["dict"]["big"] = {"frame": columns, "index": [str(i) for i in range(2**17)]}


def broadcast(metadata: Any, arrays: Any) -> None:
    """Make a table of few numbers and many rows."""
    columns = {f"c{i}": 1.0 for i in range(20_000)}
    metadata["uns"]["dict"]["big"] = {"frame": columns, "index": [str(i) for i in range(20_000)]}


def long_word(metadata: Any, arrays: Any) -> None:
    """Make an array of words of which one is long."""
    metadata["uns"]["dict"]["big"] = {"words": ["x" * 100_000] + [""] * 100_000}


def huge_map_space(metadata: Any, arrays: Any) -> None:
    """Pack a huge space into the edit."""
    space = {"space": "autoencoder", "config": {"n_features": 35, "widths": [40_000, 40_000]}, "weights": {}}
    fitted_of(metadata)["map"]["json"][0][0][0]["parts"]["space"] = space


def many_references(metadata: Any, arrays: dict[str, np.ndarray]) -> None:
    """Name one array of the edit very often."""
    arrays["/edited/fitted/arrays/big"] = np.zeros((2**15, 35), dtype=np.float32)
    fitted_of(metadata)["arrays"]["dict"]["big"] = {"array": "/edited/fitted/arrays/big"}
    shift = {"map": "shift", "parts": {"vector": {"array": "big"}}}
    fitted_of(metadata)["map"]["json"][0][0].append([shift] * 2_000)


def broadcast_map(metadata: Any, arrays: dict[str, np.ndarray]) -> None:
    """Shift a cell into many cells."""
    arrays["/edited/fitted/arrays/big"] = np.zeros((2**16, 1, 1), dtype=np.float32)
    fitted_of(metadata)["arrays"]["dict"]["big"] = {"array": "/edited/fitted/arrays/big"}
    edit = {"map": "shift", "parts": {"vector": {"array": "big"}}}
    fitted_of(metadata)["map"]["json"][0][0][0]["parts"]["edit"] = edit


def drop_features(metadata: Any, arrays: Any) -> None:
    """Name fewer features than there are."""
    metadata["var_names"].pop()
    space_of(metadata)["var_names"]["words"].pop()


def same_features(metadata: Any, arrays: Any) -> None:
    """Name one feature twice."""
    metadata["var_names"][1] = metadata["var_names"][0]
    space_of(metadata)["var_names"]["words"][1] = space_of(metadata)["var_names"]["words"][0]


HOSTILE: dict[str, Callable[..., Any]] = {
    "huge widths": with_parameters(widths=[40_000, 40_000]),
    "very many widths": with_parameters(widths=[1] * 200_000),
    "no widths": with_parameters(widths=[]),
    "widths of words": with_parameters(widths=["a", "b"]),
    "widths below zero": with_parameters(widths=[-16, -4]),
    "widths of fractions": with_parameters(widths=[16.5, 4.5]),
    "widths is a number": with_parameters(widths=16),
    "huge n_features": with_parameters(n_features=10**10),
    "larger n_features": with_parameters(n_features=10**20),
    "n_features below zero": with_parameters(n_features=-35),
    "n_features is a fraction": with_parameters(n_features=35.5),
    "n_features is a word": with_parameters(n_features="35"),
    "another parameter": with_parameters(x=1),
    "a seed": with_parameters(rng=10**30),
    "pca of 200,000 features": as_space("pca", n_features=200_000, n_components=200_000),
    "pca without components": as_space("pca", n_features=35, n_components=0),
    "conv of a huge image": as_space("conv", n_features=10**10, image_shape=[10**5, 10**5], widths=[64]),
    "conv of many filters": as_space("conv", n_features=35, image_shape=[5, 7], widths=[10**6, 10**6]),
    "identity with weights": as_space("identity"),
    "a space that does not exist": as_space("no such space"),
    "a class of python": as_space("subprocess.Popen", args="true"),
    "a space inside the edit": huge_map_space,
    "nested map, 40": nest_map(40),
    "nested map, 300": nest_map(300),
    "nested JSON": with_json("[" * 100_000 + "]" * 100_000),
    "nested dicts": with_json('{"dict":' * 50_000 + "1" + "}" * 50_000),
    "nested record": with_json(
        '{"schema": 2, "var_names": [], "cofactor": {}, "uns": ' + '{"dict":{"a":' * 900 + "1" + "}}" * 900 + "}"
    ),
    "many empty lists": with_json("[" + "[]," * 3_000_000 + "[]]"),
    "a long number": with_json('{"schema": ' + "9" * 10_000 + "}"),
    "JSON is a list": with_json("[]"),
    "JSON is a number": with_json("3"),
    "no JSON": with_json("{"),
    **{
        f"schema {value}": with_schema(value)
        for value in ("0", "-1", "1e400", "1.5", "true", "null", '"2"', "[2]", "1e9", "NaN")
    },
    **{
        f"type {code}": as_type(code, n)
        for code, n in {
            "F8_E4M3": 1,
            "F8_E5M2": 1,
            "BF16": 2,
            "F16": 2,
            "I8": 1,
            "BOOL": 1,
            "U16": 2,
            "I32": 4,
            "F64": 8,
            "XX": 4,
        }.items()
    },
    "a large array, very often": repeat_array,
    "a table of few numbers": broadcast,
    "one long word": long_word,
    "an array of the edit, very often": many_references,
    "a shift of other shape": broadcast_map,
    "fewer features": drop_features,
    "a feature twice": same_features,
    **{
        f"{what} {which}": with_arrays(change, which)
        for which in (
            "weights/encoder.0",
            "weights/center",
            "weights/scale",
            "fitted/arrays",
            "scale/quantiles",
            "features/",
        )
        for what, change in {
            "NaN in": lambda x: np.full_like(x, np.nan) if x.dtype.kind == "f" else x,
            "infinite": lambda x: np.full_like(x, np.inf) if x.dtype.kind == "f" else x,
            "transposed": lambda x: np.ascontiguousarray(x.T) if x.ndim > 1 else x[None],
            "cut": lambda x: x[:-1] if x.ndim else x[None][:0],
            "empty": lambda x: x.reshape(-1)[:0],
            "float64": lambda x: x.astype(np.float64),
            "whole numbers": lambda x: np.ones(x.shape, dtype=np.int64),
            "zero": np.zeros_like,
        }.items()
    },
}
