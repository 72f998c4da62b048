"""A trained space and a learnt edit as one file that holds numbers and JSON, and nothing that runs."""

import json
from collections.abc import Mapping
from importlib.metadata import version
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData

from .. import _slots
from .._check import name_of, some
from ._atomic import replacing

SCHEMA = 1
"""Of the files that are written. Every schema up to this one is read."""

PACKAGES = ("neuronedit", "torch", "anndata", "numpy")


def save_model(adata: AnnData, path: str | PathLike[str], *, edit: str | None = None, key: str | None = None) -> None:
    """Save a trained space, and an edit that was learnt in it, as one ``.safetensors`` file.

    It holds weights, percentiles and whatever else the edit is made of as arrays, and all else as JSON: features, layer,
    transformation, settings, versions, shape and SHA-256 of the training data. No cells are in it, except that edits which
    look for the nearest source cells keep those, at most 10,000. There is no pickle in it, so it is safe to read files of
    others.

    Parameters
    ----------
    adata
        After :func:`neuronedit.tl.train`, and usually :func:`neuronedit.tl.edit`.
    path
        Usually ends in ``.safetensors``. An existing file is replaced once the new one is whole.
    edit
        ``key_added`` of the edit. `None`: ``"edited"`` if there is one, else the space alone.
    key
        Where the space is in ``uns``. `None`: the edit's, or ``"neuronedit"``.

    Returns
    -------
    `None`.

    Raises
    ------
    KeyError, ValueError
        When there is no such space or edit, or the edit is a function that cannot be written.

    Examples
    --------
    >>> import neuronedit as ne
    >>> adata = ne.datasets.simulate_batches(n_cells=200)
    >>> ne.tl.train(adata, widths=(32, 8), max_epochs=2)
    >>> ne.tl.edit(adata, "group", source="control_1", target="control_2", edit="percentile")
    >>> ne.io.save_model(adata, "batch.safetensors")
    >>> ne.io.load_model("batch.safetensors").n_vars
    35
    """
    from safetensors.numpy import save_file

    edit = _slots.EDITED if edit is None and _slots.EDITED in adata.uns else edit
    record = None if edit is None else _record(adata, edit, "edit", "features", "ne.tl.edit")
    if record is not None and "learnt" not in record:
        raise ValueError(
            f"uns[{edit!r}] holds no edit that can be saved: it was made by ne.tl.correct, by a function that returns no row of"
            " ne.edits.MAPS, or with model=. Save an edit that ne.tl.edit learnt, for one batch say, or with edit=None the space alone."
        )
    keys = [key or _slots.MODEL] if record is None else list(json.loads(str(record["config"]))["key"])
    kept: dict[str, Any] = {name: _record(adata, name, "trained space", "weights", "ne.tl.train") for name in keys}
    if edit is not None and record is not None:
        kept |= {edit: {name: record[name] for name in ("config", "features", "learnt", _slots.VERSION)}}
    layer = json.loads(str((kept[keys[0]] if record is None else record)["config"]))["layer"]
    cofactor = _slots.cofactor(layer)
    arrays: dict[str, np.ndarray] = {}
    metadata = {
        "schema": SCHEMA,
        "versions": {package: version(package) for package in PACKAGES},
        "var_names": [str(name) for name in kept[keys[0]]["var_names"]],
        "cofactor": {cofactor: adata.var[cofactor].astype(float).to_list()} if cofactor in adata.var else {},
        "scale": f"arcsinh values of {name_of(layer)}"
        if cofactor in adata.var
        else f"{name_of(layer)}, as it was given",
        "uns": _taken_apart(kept, "", arrays),
    }
    with replacing(Path(path)) as temporary:
        save_file(arrays, temporary, {"neuronedit": json.dumps(metadata)})


def load_model(path: str | PathLike[str]) -> AnnData:
    """Read what :func:`neuronedit.io.save_model` wrote.

    Parameters
    ----------
    path
        Of the file.

    Returns
    -------
    An AnnData without cells, with the features and the trained space and edit in ``uns``: what ``model=`` takes in
    :func:`neuronedit.tl.edit` and :func:`neuronedit.tl.embed`.

    Raises
    ------
    FileNotFoundError
        When there is no file.
    ValueError
        When it is damaged, cut short, not a model, or of a later schema than this version reads.

    Examples
    --------
    >>> import neuronedit as ne
    >>> adata = ne.datasets.simulate_batches(n_cells=200)
    >>> ne.tl.train(adata, widths=(32, 8), max_epochs=2)
    >>> ne.io.save_model(adata, "space.safetensors")
    >>> list(ne.io.load_model("space.safetensors").uns)
    ['neuronedit']
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not a file.")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = json.loads((file.metadata() or {})["neuronedit"])
            schema = int(metadata["schema"])
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no dict)
        uns = _put_together(metadata["uns"], arrays) if schema <= SCHEMA else {}
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is not a model of neuronedit, or it is damaged: {error}.") from None
    if schema > SCHEMA:
        raise ValueError(f"{path} has schema {schema}; this version of neuronedit reads up to {SCHEMA}: update it.")
    names = metadata["var_names"]
    adata = AnnData(np.empty((0, len(names)), dtype=np.float32), var=pd.DataFrame(index=names))
    for column, values in metadata["cofactor"].items():
        adata.var[column] = values
    adata.uns.update(uns)
    return adata


def _record(adata: AnnData, key: str, what: str, holds: str, maker: str) -> Mapping[str, Any]:
    record = adata.uns.get(key)
    if not isinstance(record, Mapping) or holds not in record or _slots.VERSION not in record:
        raise KeyError(f"uns[{key!r}] holds no {what}; call {maker} first. uns has {some(adata.uns)}.")
    return record


def _taken_apart(value: Any, path: str, arrays: dict[str, np.ndarray]) -> Any:
    """Return what JSON can hold of a record; arrays of numbers are put into ``arrays``, by their path."""
    if isinstance(value, Mapping):
        return {"dict": {str(k): _taken_apart(part, f"{path}/{k}", arrays) for k, part in value.items()}}
    if isinstance(value, pd.DataFrame):
        columns = {str(name): _taken_apart(value[name].to_numpy(), f"{path}/{name}", arrays) for name in value}
        return {"frame": columns, "index": [str(name) for name in value.index]}
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
        arrays[path] = np.asarray(value, order="C")
        return {"array": path}
    if isinstance(value, np.ndarray):
        return {"words": [str(word) for word in value.ravel()]}
    return value.item() if isinstance(value, np.generic) else value


def _put_together(value: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    """Return the record that `_taken_apart` was given."""
    if not isinstance(value, dict):
        return value
    if "dict" in value:
        return {name: _put_together(part, arrays) for name, part in value["dict"].items()}
    if "frame" in value:
        columns = {name: _put_together(part, arrays) for name, part in value["frame"].items()}
        return pd.DataFrame(columns, index=value["index"])
    return arrays[value["array"]] if "array" in value else np.array(value["words"], dtype=str)
