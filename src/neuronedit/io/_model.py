"""A trained space and a fitted edit as one file that holds numbers and JSON, and nothing that runs."""

import json
import os
import re
from collections.abc import Mapping
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData

from .. import _slots
from .._check import FilePath
from .._data.check import check_same_features, describe_layer, open_adata
from .._data.integrity import IntegrityError, parse_json, refusing
from .._data.record import PARTS, Record, Tool, check_fitted, digest, is_digest, refusing_record
from .._data.space import PACKAGES, SavedSpace, check_space_ids
from ._atomic import replacing

SCHEMA = 3  # of the files that are written; every schema up to this one is read
FIRST_WITH_DIGEST = 3
MAX_LETTERS = 2**24  # of an array of words
METADATA = "neuronedit"  # name of the JSON in the metadata of a file
SIGNED = re.compile(r'\{"digest": "(\w+)", ')  # how JSON with a digest of all the rest begins


def save_model(adata: AnnData, path: FilePath, *, edit: str | None = None, key: str | None = None) -> None:
    """Save a trained space, and an edit or a batch correction that was fitted in it, as one ``.safetensors`` file.

    Weights, percentiles and whatever else the edit is made of are arrays, and all else is JSON: features, layer, scale,
    settings, versions, shape and SHA-256 of the training data. There is no pickle, so that a file of others cannot run code.
    A digest of all of it tells whether a file is what was written. No cells are in it, except that edits which look for the
    nearest source cells keep those, at most 10,000.

    Examples
    --------
    >>> import neuronedit as ne
    >>> adata = ne.datasets.simulate_batches(n_cells=200)
    >>> ne.tl.train(adata, widths=(32, 8), max_epochs=2)
    >>> ne.tl.edit(adata, "group", source="control_1", target="control_2", query="sample_1", edit="percentile")
    >>> ne.io.save_model(adata, "batch.safetensors")
    >>> ne.io.load_model("batch.safetensors").n_vars
    35

    Parameters
    ----------
    adata
        After :func:`neuronedit.tl.train`, and usually :func:`neuronedit.tl.edit` or :func:`neuronedit.tl.correct`.
    path
        Usually ends in ``.safetensors``. An existing file is replaced once the new one is whole and was read back; its mode
        is kept, and of a link what it leads to is replaced.
    edit
        ``key_added`` of the edit or correction. `None`: ``"edited"`` or ``"corrected"`` if there, else the space alone.
    key
        Where the space is in ``uns``, if it is saved alone. `None`: ``"neuronedit"``.

    Returns
    -------
    `None`.

    Raises
    ------
    KeyError, ValueError
        When there is no such space or edit; the edit is a function that cannot be written; its space was trained again since.
    IntegrityError
        When the space or the edit was changed since it was made.
    OSError
        When there is no such folder, or the file cannot be written. What was there before is left as it was.
    """
    from safetensors.numpy import save

    # read
    adata = open_adata(adata)
    if Path(path).is_dir() or not Path(path).parent.is_dir():
        raise FileNotFoundError(f"{path} is a folder, or in a folder that does not exist.")
    usual = [name for name in (_slots.EDITED, _slots.CORRECTED) if name in adata.uns]
    edit = usual[0] if edit is None and key is None and usual else edit
    record = None if edit is None else _read_whole_edit(adata, edit)
    keys = [_slots.MODEL if key is None else key] if record is None else list(record.config["key"])
    spaces = [SavedSpace.read(adata, name) for name in keys]
    check_same_features(adata, spaces[0].features, f"the space in uns[{keys[0]!r}]")
    kept: dict[str, Any] = {name: {k: v for k, v in adata.uns[name].items() if k != "embedded"} for name in keys}
    if record is not None:
        known = {name: space.id for name, space in zip(keys, spaces, strict=True)}
        check_space_ids(record.space_ids, adata, record.key, known=known)
        content: dict[str, Any] = {name: record.content[name] for name in PARTS if name in record.content}
        kept[record.key] = Record(record.key, record.tool, record.config, content).to_uns()

    # write
    layer = spaces[0].scale.layer if record is None else record.config["layer"]
    column, cofactor, scale = _slots.cofactor(layer), {}, f"{describe_layer(layer)}, as it was given"
    if column in adata.var:
        cofactor = {column: adata.var[column].loc[spaces[0].features].astype(float).to_list()}
        scale = f"arcsinh values of {describe_layer(layer)}"
    arrays: dict[str, np.ndarray] = {}
    metadata = {
        "schema": SCHEMA,
        "versions": {package: version(package) for package in PACKAGES},
        "var_names": spaces[0].features,
        "cofactor": cofactor,
        "scale": scale,
        "uns": _take_apart(kept, "", arrays),
    }
    data = save(arrays, {METADATA: sign(json.dumps(metadata), arrays)})
    with replacing(Path(path)) as temporary:
        temporary.write_bytes(data)
        if temporary.read_bytes() != data:
            raise OSError(f"{path} does not hold what was written into it; is the disk full or damaged?")


def sign(text: str, arrays: Mapping[str, np.ndarray]) -> str:
    """Return the JSON of a file with the digest of itself and of the arrays put in front."""
    return f'{{"digest": "{digest(text, arrays)}", {text[1:]}'


def load_model(path: FilePath) -> AnnData:
    """Read what :func:`neuronedit.io.save_model` wrote.

    Examples
    --------
    >>> import neuronedit as ne
    >>> adata = ne.datasets.simulate_batches(n_cells=200)
    >>> ne.tl.train(adata, widths=(32, 8), max_epochs=2)
    >>> ne.io.save_model(adata, "space.safetensors")
    >>> list(ne.io.load_model("space.safetensors").uns)
    ['neuronedit']

    Parameters
    ----------
    path
        Of the file.

    Returns
    -------
    AnnData with features but no cells; its ``uns`` has what :func:`neuronedit.tl.apply` and :func:`neuronedit.tl.embed` take.

    Raises
    ------
    FileNotFoundError, PermissionError
        When there is no file, or it may not be read.
    IntegrityError
        When it is not what was written: it is damaged, cut short, changed, or not a model.
    ValueError
        When it is of a later schema than this version reads.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not a file.")
    if not os.access(path, os.R_OK):
        raise PermissionError(f"{path} may not be read.")
    with refusing(f"{path} is not a model of neuronedit, or it is damaged"):
        arrays, text = _read_arrays(path)
        metadata, signed = parse_json(text), SIGNED.match(text)
        if signed and not is_digest(signed[1], partial(digest, f"{{{text[signed.end() :]}", arrays)):
            raise ValueError("its digest is not that of what is in it")
        schema = metadata["schema"]
        if not isinstance(schema, int) or isinstance(schema, bool) or schema < 1:
            raise ValueError(f"its schema is {schema!r}")
        if FIRST_WITH_DIGEST <= schema <= SCHEMA and not signed:
            raise ValueError("its digest is missing")
        if schema <= SCHEMA:
            return _build_model(metadata, arrays)
    raise ValueError(f"{path} has schema {schema}; this version of neuronedit reads up to {SCHEMA}: update it.")


def _read_arrays(path: Path) -> tuple[dict[str, np.ndarray], str]:
    """Return the arrays of a file and its JSON."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            text = (file.metadata() or {})[METADATA]
            return {name: file.get_tensor(name) for name in file.keys()}, text  # noqa: SIM118 (it is no dict)
    except (SafetensorError, OSError) as error:
        raise ValueError(str(error)) from None


def _build_model(metadata: dict[str, Any], arrays: dict[str, np.ndarray]) -> AnnData:
    """Return the features and the records of a file, where each array is used once."""
    uns = _put_together(metadata["uns"], arrays)
    if arrays:
        raise ValueError(f"nothing names its array {next(iter(arrays))!r}")
    features, cofactor = metadata["var_names"], metadata["cofactor"]
    columns = [features, *cofactor.values()]
    if any(not isinstance(column, list) or len(column) != len(features) for column in columns):
        raise ValueError("its cofactors are not one number for each feature")
    if not all(isinstance(name, str) for name in features) or len(set(features)) < len(features):
        raise ValueError("its features have no names of their own")
    var = pd.DataFrame({name: np.asarray(values, dtype=float) for name, values in cofactor.items()}, index=features)
    return AnnData(np.empty((0, len(var)), dtype=np.float32), var=var, uns=uns)


def _read_whole_edit(adata: AnnData, key: str) -> Record:
    """Return the record of an edit that can be saved, once it is known to be whole."""
    record = Record.read(adata, key, Tool.EDIT, Tool.CORRECT)
    if "fitted" not in record.content:
        makers = "by a function that returns no row of ne.edits.MAPS, or by ne.tl.apply"
        hint = "Save the model that was applied, or with key= the space alone."
        raise ValueError(f"uns[{key!r}] holds no edit that can be saved: it was made {makers}. {hint}")
    with refusing_record(key, record.tool):
        check_fitted(record.content["fitted"])
    return record


def _take_apart(value: Any, path: str, arrays: dict[str, np.ndarray]) -> Any:
    """Return what JSON can hold of a record; arrays of numbers are put into ``arrays``, by their path."""
    if isinstance(value, Mapping):
        return {"dict": {str(k): _take_apart(part, f"{path}/{k}", arrays) for k, part in value.items()}}
    if isinstance(value, pd.DataFrame):
        columns = {str(name): _take_apart(value[name].array, f"{path}/{name}", arrays) for name in value}
        return {"frame": columns, "index": [str(name) for name in value.index]}
    if isinstance(value, pd.Categorical):
        arrays[path] = np.asarray(value.codes)
        return {"array": path, "categories": [str(name) for name in value.categories]}
    if isinstance(value, pd.api.extensions.ExtensionArray | list | tuple):
        value = np.asarray(value)
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
        arrays[path] = np.asarray(value, order="C")
        return {"array": path}
    if isinstance(value, np.ndarray):
        return {"words": [str(word) for word in value.ravel()]}
    value = value.item() if isinstance(value, np.generic) else value
    if not isinstance(value, bool | int | float | str | None):
        what = f"uns{path} holds {type(value).__name__}, which no tool writes"
        raise IntegrityError(f"{what}. Call ne.tl.train or ne.tl.edit again.")
    return value


def _put_together(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    """Return the record that `_take_apart` was given; each array is taken out of ``arrays``, as it may be named once."""
    if not isinstance(value, dict):
        return value
    if "dict" in value:
        return {name: _put_together(part, arrays) for name, part in value["dict"].items()}
    if "frame" in value:
        columns = {name: _put_together(part, arrays) for name, part in value["frame"].items()}
        if any(len(column) != len(value["index"]) for column in columns.values()):
            raise ValueError("a table has columns of different lengths")
        return pd.DataFrame(columns, index=value["index"])
    if "categories" in value:
        return pd.Categorical.from_codes(arrays.pop(value["array"]), value["categories"])
    if "array" in value:
        return arrays.pop(value["array"])
    words = [str(word) for word in value["words"]]
    n_letters = max(map(len, words), default=0) * len(words)  # numpy keeps all words as long as the longest
    return np.array(words, dtype=str if n_letters < MAX_LETTERS else object)
