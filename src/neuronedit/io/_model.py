"""A trained space and a fitted edit as one file that holds numbers and JSON, and nothing that runs."""

import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData

from .. import _slots
from .._check import FilePath
from .._data.check import check_same_features, describe_layer, open_adata
from .._data.record import Record, Tool, digest_fitted
from .._data.space import PACKAGES, SavedSpace, check_space_ids
from ._atomic import replacing

SCHEMA = 2  # of the files that are written; every schema up to this one is read


def save_model(adata: AnnData, path: FilePath, *, edit: str | None = None, key: str | None = None) -> None:
    """Save a trained space, and an edit or a batch correction that was fitted in it, as one ``.safetensors`` file.

    Weights, percentiles and whatever else the edit is made of are arrays, and all else is JSON: features, layer, scale,
    settings, versions, shape and SHA-256 of the training data. There is no pickle, so it is safe to read files of others.
    No cells are in it, except that edits which look for the nearest source cells keep those, at most 10,000.

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
        Usually ends in ``.safetensors``. An existing file is replaced once the new one is whole and was read back.
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
    """
    from safetensors.numpy import save_file

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
        check_space_ids(record.space_ids, adata, record.key)
        names = [name for name in ("features", "fitted", "batches") if name in record.content]
        content: dict[str, Any] = {name: record.content[name] for name in names}
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
    with replacing(Path(path)) as temporary:
        save_file(arrays, temporary, {"neuronedit": json.dumps(metadata)})

        # read back
        arrays_there: dict[str, np.ndarray] = {}
        tree_there = _take_apart(dict(load_model(temporary).uns), "", arrays_there)
        is_same = tree_there == metadata["uns"] and arrays_there.keys() == arrays.keys()
        if not is_same or any(x.tobytes() != arrays_there[name].tobytes() for name, x in arrays.items()):
            raise OSError("the file does not hold what was written into it; is the disk full or damaged?")


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
    FileNotFoundError, ValueError
        When there is no file; it is damaged, cut short, not a model, or of a later schema than this version reads.
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
    var = pd.DataFrame(metadata["cofactor"], index=metadata["var_names"])
    return AnnData(np.empty((0, len(var)), dtype=np.float32), var=var, uns=uns)


def _read_whole_edit(adata: AnnData, key: str) -> Record:
    """Return the record of an edit that can be saved, once it is known to be whole."""
    record = Record.read(adata, key, Tool.EDIT, Tool.CORRECT)
    if "fitted" not in record.content:
        makers = "by a function that returns no row of ne.edits.MAPS, or by ne.tl.apply"
        hint = "Save the model that was applied, or with key= the space alone."
        raise ValueError(f"uns[{key!r}] holds no edit that can be saved: it was made {makers}. {hint}")
    fitted = record.content["fitted"]
    if "digest" in fitted and str(fitted["digest"]) != digest_fitted(fitted):
        raise ValueError(f"uns[{key!r}] was changed after it was fitted: its digest differs. Call {record.tool} again.")
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
    if isinstance(value, pd.api.extensions.ExtensionArray):
        value = np.asarray(value)
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
        arrays[path] = np.asarray(value, order="C")
        return {"array": path}
    if isinstance(value, np.ndarray):
        return {"words": [str(word) for word in value.ravel()]}
    return value.item() if isinstance(value, np.generic) else value


def _put_together(value: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    """Return the record that `_take_apart` was given."""
    if not isinstance(value, dict):
        return value
    if "dict" in value:
        return {name: _put_together(part, arrays) for name, part in value["dict"].items()}
    if "frame" in value:
        columns = {name: _put_together(part, arrays) for name, part in value["frame"].items()}
        return pd.DataFrame(columns, index=value["index"])
    if "categories" in value:
        return pd.Categorical.from_codes(arrays[value["array"]], value["categories"])
    return arrays[value["array"]] if "array" in value else np.array(value["words"], dtype=str)
