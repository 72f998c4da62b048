"""What a tool leaves in ``uns``: one way in, one way out."""

import hashlib
import json
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from importlib.metadata import version
from typing import Any, Self

import google_crc32c
import numpy as np
import pandas as pd
from anndata import AnnData

from .. import _slots
from .check import check_key, format_choices, to_json
from .integrity import parse_json, refusing


class Tool(StrEnum):
    """Which tool wrote a record."""

    EDIT = "ne.tl.edit"
    CORRECT = "ne.tl.correct"
    COMBINE = "ne.tl.combine"
    SYNERGY = "ne.tl.synergy"
    COMPARE = "ne.tl.compare"
    TRAIN = "ne.tl.train"
    MATCH = "ne.pp.match_populations"


# what each tool's record holds, for errors
CONTENT = {Tool.EDIT: "edit", Tool.CORRECT: "batch correction", Tool.COMBINE: "predicted combinations"}
CONTENT |= {Tool.SYNERGY: "synergy", Tool.COMPARE: "comparison"}
CONTENT |= {Tool.TRAIN: "trained space", Tool.MATCH: "matched populations"}

# What results are computed from, besides the config: parts of a record, and columns of its tables. They are saved in model
# files, and the record's digest is of them alone: a column or a note of the user's own changes nothing.
PARTS = ("features", "fitted", "batches")
TABLE_COLUMNS = [
    "batch",
    "feature",
    "observed_change",
    "observed_error",
    "mean_error",
    "held_out_error",
    "wrong_direction",
]
TABLE_COLUMNS += ["status"]


@dataclass(frozen=True)
class Record:
    """What a tool leaves in ``uns[key]``."""

    key: str
    tool: Tool
    config: dict[str, Any]  # what it was asked for; JSON can hold it
    content: dict[str, Any]  # tables (features as rows), arrays and sentences

    @classmethod
    def read(cls, adata: AnnData, key: str, *tools: Tool, fitted_here: bool = False) -> Self:
        """Return the record of one of these tools; ``fitted_here`` refuses an edit that was fitted on other cells."""
        stored = adata.uns.get(key)
        tools = tools or (Tool.EDIT,)
        with refusing_record(key):
            tool = find_tool(stored)
            if tool is None and isinstance(stored, Mapping) and _slots.VERSION in stored and "tool" in stored:
                raise ValueError(f"no tool is called {str(stored['tool'])!r}")
        if tool is None or tool not in tools:
            what = " or ".join(CONTENT[one] for one in tools)
            raise KeyError(f"uns[{key!r}] holds no {what}; call {tools[0]} first. uns has {format_choices(adata.uns)}.")
        with refusing_record(key, tool):
            if "digest" in stored and not is_digest(stored["digest"], partial(digest_record, stored)):
                raise ValueError("its digest differs")
            is_former = "tool" not in stored and tool is Tool.EDIT
            stored = _upgrade(dict(stored)) if is_former else stored
            config = parse_json(str(stored["config"]))
            if tool in (Tool.EDIT, Tool.CORRECT):
                _check_types(config, stored)
        if "tool" not in stored and not is_former:
            raise ValueError(f"uns[{key!r}] was written before the first release of neuronedit; call {tool} again.")
        marks = ("config", "tool", "digest", _slots.VERSION)
        content = {name: value for name, value in stored.items() if name not in marks}
        if fitted_here and "model" in config:
            where = f"on other cells ({config['model']})"
            raise ValueError(f"uns[{key!r}] was fitted {where}: its source and target are not here.")
        return cls(key, tool, config, content)

    @property
    def space_ids(self) -> dict[str, str]:
        """Return the id of each space that the edits of this record were fitted in; nothing where it is not known."""
        with refusing_record(self.key, self.tool):
            spaces = parse_json(str(self.content.get("fitted", {}).get("about", "{}"))).get("spaces", {})
            return {str(name): str(identity) for name, identity in spaces.items()}

    @property
    def layers(self) -> list[str]:
        """Return the names of the layers that were written."""
        with refusing_record(self.key, self.tool):
            return [str(name) for name in self.content["layers"]]

    @property
    def fitted_digest(self) -> str:
        """Return the digest of the fitted edits, which `check_fitted` has found right."""
        fitted = self.content["fitted"]
        return str(fitted["digest"]) if "digest" in fitted else digest_fitted(fitted)

    def write(self, adata: AnnData) -> None:
        """Write it into ``uns``, in a form that survives h5ad and zarr."""
        adata.uns[self.key] = self.to_uns()

    def to_uns(self) -> dict[str, Any]:
        """Return what is written."""
        marks = {"tool": str(self.tool), _slots.VERSION: version("neuronedit")}
        stored = {"config": json.dumps(self.config, default=to_json), **self.content, **marks}
        return stored | {"digest": digest_record(stored)}


def refusing_record(key: str, tool: Tool | None = None) -> AbstractContextManager[None]:
    """Turn whatever goes wrong while a record is read into an `IntegrityError` that names it."""
    return refusing(f"uns[{key!r}] was changed after it was fitted", f"Call {tool or Tool.EDIT} again.")


def find_tool(stored: Any) -> Tool | None:
    """Return which tool wrote what is in ``uns``; `None` if none of ours did."""
    if not isinstance(stored, Mapping) or _slots.VERSION not in stored:
        return None
    if "weights" in stored or "has_partner" in stored:
        return Tool.TRAIN if "weights" in stored else Tool.MATCH
    if "tool" in stored:
        return Tool(str(stored["tool"])) if str(stored["tool"]) in list(Tool) else None
    return _guess_tool(stored)


def find_own_layers(adata: AnnData, key: str) -> set[str]:
    """Return the layers of a record of ours: those that it names, as far as their names follow from its key."""
    record = adata.uns.get(key)
    named = {str(name) for name in record.get("layers", ())} if find_tool(record) else set()
    follows = {name for name in named if name == key or name.startswith(f"{key}_")}
    return follows & {name for name in adata.layers if name is not None}


def check_free(
    adata: AnnData,
    key: str,
    tool: Tool,
    *,
    layers: Collection[str] = (),
    obs: Collection[str] = (),
    obsm: Collection[str] = (),
    var: Collection[str] = (),
    spaces: Collection[str] = (),
) -> None:
    """Refuse a key that files cannot keep, and names in any slot that hold what this tool did not write."""
    for name in (key, *layers):
        check_key(name)
    if key in spaces:
        raise ValueError(f"key_added={key!r} is the key of the trained space; choose another.")
    made_by = find_tool(adata.uns.get(key))
    if made_by is not None and _EDITS.get(made_by, made_by) != _EDITS.get(tool, tool):
        hint = f"choose another key_added, or delete it first: del adata.uns[{key!r}]"
        raise ValueError(f"uns[{key!r}] was written by {made_by}; {hint}.")
    own = find_own_layers(adata, key)
    taken = [f"layers[{name!r}]" for name in layers if name in adata.layers and name not in own]
    taken += [f"uns[{key!r}]"] * (key in adata.uns and made_by is None)
    if made_by is None:  # else they follow from its key
        slots = {"obs": (obs, adata.obs), "obsm": (obsm, adata.obsm), "var": (var, adata.var)}
        taken += [f"{slot}[{name!r}]" for slot, (names, there) in slots.items() for name in names if name in there]
    if not taken:
        return
    hint = f"choose another key_added, or delete it first: del {', '.join(f'adata.{name}' for name in taken)}"
    if taken[0].startswith("layers") and key not in adata.uns and _slots.support(key) in adata.obs:
        text = f"{taken[0]} is of an edit whose record, uns[{key!r}], is gone: anndata.concat drops uns."
        raise ValueError(f"{text} {hint[0].upper()}{hint[1:]}.")
    raise ValueError(f"{taken[0]} exists and was not written by neuronedit; {hint}.")


_EDITS = {Tool.CORRECT: Tool.EDIT}  # both leave edited cells: one may take the place of the other


def digest(words: str, arrays: Mapping[str, Any], *, former: bool = False) -> str:
    """Return the SHA-256 of words and of the CRC-32C of arrays, with their names, types and shapes.

    The checksum takes a fifteenth of the time that a SHA-256 of the arrays takes, which is what ``former`` versions have written.
    """
    sha = hashlib.sha256(words.encode())
    for name in sorted(arrays):
        array = np.asarray(arrays[name], order="C")
        array = array if array.ndim else array.astype(float)  # files keep a single number without its type
        sha.update(f"{name} {array.dtype.str} {array.shape}".encode())
        sha.update(array.data if former else google_crc32c.value(array.tobytes()).to_bytes(4, "big"))
    return sha.hexdigest()


def is_digest(stored: Any, compute: Callable[..., str]) -> bool:
    """Return whether a digest is the one that is computed, as this version or a former one does."""
    return str(stored) == compute() or str(stored) == compute(former=True)


def digest_fitted(packed: Mapping[str, Any], **how: bool) -> str:
    """Return the digest of packed edits: their maps, arrays, spaces and scale."""
    arrays = {f"scale/{name}": array for name, array in packed["scale"].items()} | dict(packed["arrays"])
    return digest(f"{packed['map']} {packed['about']}", arrays, **how)


def digest_record(stored: Mapping[str, Any], **how: bool) -> str:
    """Return the digest of what results are computed from in a record: the same before and after h5ad and zarr files.

    Of fitted edits it has only their digest, so that it costs little; whoever uses their arrays compares that as well. It ends
    with that digest, as fitted edits may be left out of a record later, to save room.
    """
    of_fitted = str(stored.get("digest", "")).partition(":")[2]
    if "fitted" in stored:
        of_fitted = str(stored["fitted"].get("digest", ""))
    words = [str(stored["tool"]), str(stored["config"]), of_fitted]
    tables = {name: stored[name] for name in PARTS if isinstance(stored.get(name), pd.DataFrame)}
    arrays = {}
    for name, table in tables.items():
        rows = [str(row) for row in table.index]
        if {"batch", "feature"} <= set(table):
            rows = [f"{batch}/{feature}" for batch, feature in zip(table["batch"], table["feature"], strict=True)]
        order = sorted(range(len(rows)), key=rows.__getitem__)
        words += [name, *(rows[i] for i in order)]
        for column in [column for column in TABLE_COLUMNS if column in table]:
            values = table[column].to_numpy()[order]
            if values.dtype.kind in "fiub":
                values = values.astype(np.float64)
                arrays[f"{name}/{column}"] = np.where(np.isnan(values), np.nan, values)  # one NaN of many
            else:
                words += [column, *map(str, values)]
    return f"{digest(json.dumps(words), arrays, **how)}:{of_fitted}"


def check_fitted(fitted: Mapping[str, Any]) -> None:
    """Refuse packed edits that are not those that were packed."""
    if "digest" in fitted and not is_digest(fitted["digest"], partial(digest_fitted, fitted)):
        raise ValueError("its digest differs")


def deep_copy(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of a record in ``uns``; `copy.deepcopy` crashes on words read from zarr, at least in numpy 2.0."""
    parts = {name: deep_copy(value) if isinstance(value, Mapping) else value for name, value in record.items()}
    return {name: value.copy() if hasattr(value, "copy") else value for name, value in parts.items()}


def _guess_tool(stored: Mapping[str, Any]) -> Tool | None:
    """Return which tool wrote a record that does not say so, as those before the first release did not."""
    for name, tool in (("batches", Tool.CORRECT), ("orders", Tool.COMBINE), ("carries_over", Tool.SYNERGY)):
        if name in stored:
            return tool
    return Tool.EDIT if "edit" in parse_json(str(stored["config"])) and "features" in stored else None


def _check_types(config: Mapping[str, Any], stored: Mapping[str, Any]) -> None:
    """Refuse what no edit or correction writes, where nothing else would notice before any work."""
    keys = config.get("key")
    is_whole = isinstance(keys, list) and keys and all(isinstance(key, str) for key in keys)
    if not is_whole and ("key" in config or "fitted" in stored):
        raise ValueError("its config names no spaces")
    for name, kinds in (("layer", str | None), ("edit", str), ("batch_key", str), ("edit_params", dict)):
        if name in config and not isinstance(config[name], kinds):
            raise ValueError(f"{name} in its config is {config[name]!r}")
    for name in PARTS:
        kind = Mapping if name == "fitted" else pd.DataFrame
        if name in stored and not isinstance(stored[name], kind):
            raise ValueError(f"its {name!r} is a {type(stored[name]).__name__}")


# names in records that were written before the first release, and what they are called now: columns, parts of an ensemble
FORMER_TABLE_COLUMNS = {"control_change": "observed_change", "beyond_controls": "beyond_observed"}
FORMER_TABLE_COLUMNS |= {"wrong_on_held_out": "wrong_direction"}
FORMER_ENSEMBLE = {"how": "fold_kind", "parts": "folds", "part_weights": "fold_weights"}
FORMER_ENSEMBLE |= {"combined": "ensemble_scores", "tested": "coverage"}


def _upgrade(stored: dict[str, Any]) -> dict[str, Any]:
    """Return the record of an edit that was written before the first release under today's names."""
    config = parse_json(str(stored["config"]))
    usual = {"axes": "neurons", "neurons": None, "residual": True, "pairs": None}
    changed = {name: config.pop(name) for name in usual if config.get(name, usual[name]) != usual[name]}
    if "pairs" in changed:
        changed["paired_by"] = changed.pop("pairs")
    config["edit_params"] = config.get("edit_params", {}) | changed
    features = stored["features"].rename(columns=FORMER_TABLE_COLUMNS)
    upgraded = stored | {"config": json.dumps(config), "features": features}
    if "held_out_error" not in features:
        features["held_out_error"] = features["mean_error"]
    if "selection" in stored:
        ensemble = {FORMER_ENSEMBLE.get(name, name): value for name, value in upgraded.pop("selection").items()}
        kind = str(ensemble["fold_kind"])
        upgraded["ensemble"] = ensemble | {"fold_kind": "none" if kind == "fixed" else kind}
    if "learnt" in stored:
        before = upgraded.pop("learnt")
        about = json.dumps({"names": ["edit"], "summaries": [str(before["said"])], "spaces": {}})
        upgraded["fitted"] = {"map": f"[{before['map']}]", "arrays": before["arrays"], "about": about, "scale": {}}
    return upgraded
