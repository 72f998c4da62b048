"""A map as JSON and arrays, and back: what is needed to write a learnt edit without pickle."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ._types import Space
from .edits import MAPS
from .spaces import SPACES, FittedSpace

NAMES = {kind: name for name, kind in MAPS.items()}


def pack(thing: Any, spaces: Mapping[str, Space]) -> tuple[str, dict[str, np.ndarray]]:
    """Return a map, or a list of them, as JSON and the arrays it names; equal arrays are kept once.

    ``spaces`` are kept elsewhere and only named. A function that is no row of ``ne.edits.MAPS`` is a TypeError.
    """
    arrays: dict[str, np.ndarray] = {}
    known: dict[bytes, str] = {}
    names = {id(space): name for name, space in spaces.items()}

    def tree(thing: Any) -> Any:
        if id(thing) in names:
            return {"space_in": names[id(thing)]}
        if type(thing) in NAMES:
            return {"map": NAMES[type(thing)], "parts": {name: tree(value) for name, value in vars(thing).items()}}
        if isinstance(thing, FittedSpace):
            name = next(name for name, kind in SPACES.items() if kind is type(thing))
            return {"space": name, "config": thing.config, "weights": {k: tree(v) for k, v in thing.weights().items()}}
        if isinstance(thing, Tensor):
            array = np.asarray(thing.detach().cpu().numpy(), order="C")
            digest = hashlib.sha256(f"{array.dtype}{array.shape}".encode() + array.tobytes()).digest()
            name = known.setdefault(digest, str(len(known)))
            arrays.setdefault(name, array)
            return {"array": name}
        if isinstance(thing, list | tuple):
            return [tree(part) for part in thing]
        if thing is None or isinstance(thing, bool | int | float | str):
            return thing
        raise TypeError(f"{thing!r} cannot be written: it is no row of ne.edits.MAPS.")

    return json.dumps(tree(thing)), arrays


def unpack(packed: str, arrays: Mapping[str, Any], spaces: Mapping[str, Space], device: torch.device) -> Any:
    """Return what `pack` was given, on a device."""

    def thing(tree: Any) -> Any:
        if isinstance(tree, list):
            return [thing(part) for part in tree]
        if not isinstance(tree, dict):
            return tree
        if "space_in" in tree:
            return spaces[tree["space_in"]]
        if "array" in tree:
            return torch.from_numpy(np.array(arrays[tree["array"]])).to(device)
        if "space" in tree:
            space = SPACES[tree["space"]](**tree["config"])
            space.load_state_dict({name: thing(weight) for name, weight in tree["weights"].items()})
            return space.requires_grad_(False).to(device)
        return MAPS[tree["map"]](**{name: thing(value) for name, value in tree["parts"].items()})

    return thing(json.loads(packed))
