"""A map as JSON and arrays, and back: what is needed to write a fitted edit without pickle."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .._data.integrity import parse_json
from .._types import Space
from ..edits import FORMER_NAMES, MAPS
from ..spaces import SPACES, FittedSpace
from ..spaces._restore import restore

MAX_DIMENSIONS = 2  # of an array in a map: more would make many cells of one


def pack(thing: Any, spaces: Mapping[str, Space]) -> tuple[str, dict[str, np.ndarray]]:
    """Return a map, or a list of them, as JSON and the arrays it names, each once; ``spaces`` are only named."""
    arrays: dict[str, np.ndarray] = {}
    names_by_digest: dict[bytes, str] = {}
    space_names = {id(space): name for name, space in spaces.items()}
    map_names = {kind: name for name, kind in MAPS.items()}

    def to_tree(thing: Any) -> Any:
        if id(thing) in space_names:
            return {"space_in": space_names[id(thing)]}
        if type(thing) in map_names:
            parts = {field.name: to_tree(getattr(thing, field.name)) for field in fields(thing)}
            return {"map": map_names[type(thing)], "parts": parts}
        if isinstance(thing, FittedSpace):
            name = next((name for name, kind in SPACES.items() if kind is type(thing)), None)
            if name is None:
                raise TypeError(f"{thing!r} cannot be written: its class is no row of ne.spaces.SPACES.")
            weights = {name: to_tree(weight) for name, weight in thing.weights().items()}
            return {"space": name, "config": thing.config, "weights": weights}
        if isinstance(thing, Tensor):
            array = np.asarray(thing.detach().cpu().numpy(), order="C")
            digest = hashlib.sha256(f"{array.dtype}{array.shape}".encode() + array.tobytes()).digest()
            name = names_by_digest.setdefault(digest, str(len(names_by_digest)))
            arrays.setdefault(name, array)
            return {"array": name}
        if isinstance(thing, list | tuple):
            return [to_tree(part) for part in thing]
        if thing is None or isinstance(thing, bool | int | float | str):
            return thing
        raise TypeError(f"{thing!r} cannot be written: it is no row of ne.edits.MAPS.")

    return json.dumps(to_tree(thing)), arrays


def unpack(packed: str, arrays: Mapping[str, Any], spaces: Mapping[str, Space], device: torch.device) -> Any:
    """Return what `pack` was given, on a device; each array is there once, however often it is named."""
    tensors: dict[str, Tensor] = {}

    def to_tensor(name: str) -> Tensor:
        if name not in tensors:
            tensor = torch.tensor(np.asarray(arrays[name]))
            if tensor.isnan().any():
                raise ValueError(f"the array {name!r} of its map holds NaN")
            tensors[name] = tensor.to(device)
        return tensors[name]

    def from_tree(tree: Any) -> Any:
        if isinstance(tree, list):
            return [from_tree(part) for part in tree]
        if not isinstance(tree, dict):
            return tree
        if "space_in" in tree:
            return spaces[tree["space_in"]]
        if "array" in tree:
            return to_tensor(tree["array"])
        if "space" in tree:
            weights = {name: to_tensor(weight["array"]) for name, weight in tree["weights"].items()}
            return restore(SPACES[tree["space"]], tree["config"], weights).to(device)
        name, parts = str(tree["map"]), {name: from_tree(value) for name, value in tree["parts"].items()}
        if any(isinstance(part, Tensor) and part.ndim > MAX_DIMENSIONS for part in parts.values()):
            raise ValueError(f"the map {name!r} holds arrays of more than {MAX_DIMENSIONS} dimensions")
        return MAPS[FORMER_NAMES.get(name, name)](**parts)

    return from_tree(parse_json(packed, dict | list))
