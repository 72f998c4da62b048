"""Records in uns that somebody changed: each is refused in one sentence, or changes nothing that is computed from it."""

import copy
import functools
import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from common import Try
from models import POPULATIONS

GONE = "(deleted)"
CHANGES: dict[str, Callable[[Any], Any]] = {
    "deleted": lambda value: GONE,
    "a number": lambda value: 3,
    "none": lambda value: None,
    "a word": lambda value: "x",
    "a list": lambda value: [value] if not isinstance(value, np.ndarray) else list(value.ravel()),
    "a dict": lambda value: {"a": 1},
    "an array": lambda value: np.arange(3.0),
}
OF_ARRAYS: dict[str, Callable[[np.ndarray], Any]] = {
    "changed a little": lambda x: x + np.asarray(0.01, x.dtype) if x.dtype.kind == "f" else x[::-1] if x.ndim else ~x,
    "turned round": lambda x: x[::-1] if x.ndim else x,
    "cut": lambda x: x[:-1] if x.ndim else np.asarray([]),
    "NaN": lambda x: np.full(x.shape, np.nan),
    "doubled": lambda x: np.concatenate([x, x]) if x.ndim else x * 2,
    "of words": lambda x: x.astype(str).astype(object),
}
OF_WORDS: dict[str, Callable[[str], Any]] = {
    "cut": lambda text: text[: len(text) // 2],
    "doubled": lambda text: text * 2,
    "brackets": lambda text: "[" * 10_000,
    "of bytes": lambda text: text.encode(),
}
OF_TABLES: dict[str, Callable[[pd.DataFrame], Any]] = {
    "changed a little": lambda table: table.assign(**{c: table[c] + 0.01 for c in table if table[c].dtype.kind == "f"}),
    "turned round by columns": lambda table: pd.DataFrame(table.to_numpy()[::-1], table.index, table.columns),
    "without a column": lambda table: table.iloc[:, 1:],
    "without a row": lambda table: table.iloc[1:],
    "rows twice": lambda table: pd.concat([table, table]),
    "of words": lambda table: table.astype(str),
}


@functools.cache
def example() -> tuple[Any, Any, dict[str, Any]]:
    """Return cells with records, other cells, and what each call returns with records as they were written."""
    import neuronedit as ne

    adata = ne.datasets.simulate_batches(n_cells=80)
    ne.tl.train(adata, widths=(16, 4), max_epochs=2)
    ne.tl.edit(adata, "group", **POPULATIONS, edit="percentile")
    ne.tl.correct(adata, "batch", control_key="role", edit="shift", progress_bar=False)
    cells = ne.datasets.simulate_batches(n_cells=40, rng=1)
    return adata, cells, {name: call(adata.copy(), cells.copy()) for name, call in CALLS.items()}


def call_edit(adata: Any, cells: Any) -> list[Any]:
    """Fit another edit in the space."""
    import neuronedit as ne

    ne.tl.edit(adata, "group", **POPULATIONS, edit="shift", key_added="new")
    return [adata.layers["new"], adata.uns["new"]["features"]]


def call_apply(adata: Any, cells: Any) -> list[Any]:
    """Apply the edit to other cells."""
    import neuronedit as ne

    ne.tl.apply(cells, adata, "group", query="sample_1", key="edited")
    return [cells.layers["edited"], cells.uns["edited"]["features"], cells.uns["edited"]["verdict"]]


def call_apply_correction(adata: Any, cells: Any) -> list[Any]:
    """Apply the correction to other cells."""
    import neuronedit as ne

    ne.tl.apply(cells, adata, query=cells.obs_names, key="corrected", key_added="corrected")
    return [cells.layers["corrected"], cells.uns["corrected"]["features"], cells.uns["corrected"]["verdict"]]


def call_embed(adata: Any, cells: Any) -> list[Any]:
    """Bring other cells into the space."""
    import neuronedit as ne

    ne.tl.embed(cells, adata)
    return [cells.obsm["X_neurons"]]


def call_bootstrap(adata: Any, cells: Any) -> list[Any]:
    """Fit the edit again."""
    import neuronedit as ne

    ne.tl.bootstrap(adata, n_bootstrap=2)
    return [adata.layers["edited_sd"], adata.uns["edited"]["features"]]


def call_save(adata: Any, cells: Any) -> list[Any]:
    """Save the edit, and apply it from the file."""
    import neuronedit as ne

    with tempfile.TemporaryDirectory() as folder:
        ne.io.save_model(adata, Path(folder) / "model.safetensors", edit="edited")
        ne.tl.apply(cells, Path(folder) / "model.safetensors", "group", query="sample_1")
    return [cells.layers["edited"], cells.uns["edited"]["features"]]


CALLS = {
    "edit": call_edit,
    "apply": call_apply,
    "correction": call_apply_correction,
    "embed": call_embed,
    "bootstrap": call_bootstrap,
    "save": call_save,
}
USE = {
    "neuronedit": ("edit", "apply", "embed", "save"),
    "edited": ("apply", "bootstrap", "save"),
    "corrected": ("correction",),
}


def tries(seed: int, long: bool) -> Iterator[Try]:
    """Yield every part of every record with a change; a few calls of each, or all of them."""
    rng = np.random.default_rng(seed)
    adata, _, _ = example()
    changes = [
        (path, how) for key in USE for path, value in walk(read(adata.uns[key]), (key,)) for how in changes_of(value)
    ]
    picked = range(len(changes)) if long else np.sort(rng.permutation(len(changes))[:220])
    for i in picked:
        path, how = changes[i]
        calls = USE[path[0]]
        for name in calls if long else [calls[int(rng.integers(len(calls)))]]:
            yield Try(
                "records in uns that were changed",
                f"{name}: {'/'.join(map(str, path))} {how}",
                tamper,
                (name, path, how),
            )


def tamper(name: str, path: tuple[Any, ...], how: str) -> str | None:
    """Change one part of a record, and call a function that uses it."""
    adata, cells, expected = example()
    adata, cells = adata.copy(), cells.copy()
    uns = {key: read(copy.deepcopy(adata.uns[key])) for key in USE}
    change(uns, path, how)
    for key in USE:
        adata.uns[key] = write(uns[key])
    result = CALLS[name](adata, cells)
    return "right" if all(map(is_same, result, expected[name])) else "silent"


def is_same(x: Any, y: Any) -> bool:
    """Compare arrays, tables or words."""
    if isinstance(x, pd.DataFrame):
        return bool(x.equals(y))
    return x == y if isinstance(x, str) else np.array_equal(x, y, equal_nan=True)


def read(record: Any) -> Any:
    """Return a record with the JSON in it read."""
    if isinstance(record, dict):
        return {name: read(part) for name, part in record.items()}
    if isinstance(record, str) and record[:1] in ("{", "["):
        return {"json": json.loads(record)}
    return record


def write(record: Any) -> Any:
    """Return what `read` was given."""
    if isinstance(record, dict) and set(record) == {"json"}:
        inner = record["json"]
        return json.dumps(inner, default=lambda x: x.tolist() if hasattr(x, "tolist") else str(x))
    return {name: write(part) for name, part in record.items()} if isinstance(record, dict) else record


def walk(tree: Any, path: tuple[Any, ...]) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Yield each part of a record with its path."""
    yield path, tree
    if isinstance(tree, dict):
        for name, part in tree.items():
            yield from walk(part, (*path, name))
    elif isinstance(tree, list) and tree:
        yield from walk(tree[0], (*path, 0))


def changes_of(value: Any) -> list[str]:
    """Name the changes that make sense for a part."""
    for kind, more in ((np.ndarray, OF_ARRAYS), (str, OF_WORDS), (pd.DataFrame, OF_TABLES)):
        if isinstance(value, kind):
            return [*CHANGES, *more]
    return [*CHANGES]


def change(uns: Any, path: tuple[Any, ...], how: str) -> None:
    """Change the part of the records at a path."""
    for name in path[:-1]:
        uns = uns[name]
    value = uns[path[-1]]
    more = OF_ARRAYS if isinstance(value, np.ndarray) else OF_WORDS if isinstance(value, str) else OF_TABLES
    changed = {**CHANGES, **more}[how](value)
    if isinstance(changed, str) and changed == GONE and len(path) > 1:
        del uns[path[-1]]
    else:
        uns[path[-1]] = changed
