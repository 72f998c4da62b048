"""What an edit left in AnnData, read back: its populations, as masks, and the layer that it worked on."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from anndata import AnnData

from .. import _slots
from .._check import listed, matrix_of, select, some


@dataclass(frozen=True)
class Edited:
    """The cells of an edit: ``masks`` and ``names`` of source, target, query and edited (the query once more)."""

    layer: str | None
    groupby: str | None
    masks: dict[str, np.ndarray]
    names: dict[str, str]


def edited(adata: AnnData, key: str) -> Edited:
    """Return what :func:`neuronedit.tl.edit` recorded under this key."""
    config = config_of(adata, key)
    if "model" in config:
        raise ValueError(
            f"uns[{key!r}] was learnt on other cells ({config['model']}): its source and target are not here."
        )
    if "source" not in config:
        raise ValueError(f"uns[{key!r}] was corrected batch by batch: it has no one source and target.")
    if _slots.support(key) not in adata.obs:
        raise KeyError(f"{_slots.support(key)!r} is not in adata.obs; it has {some(adata.obs)}.")
    for layer in (config["layer"], key):
        matrix_of(adata, layer)
    masks = {role: select(adata, config["groupby"], config[role], role) for role in ("source", "target")}
    masks["query"] = masks["edited"] = adata.obs[_slots.support(key)].notna().to_numpy()
    if not masks["query"].any():
        raise ValueError("none of these cells was edited.")
    names = {
        role: f"{role}: {describe(config[role])}" for role in ("source", "target", "query") if config[role] is not None
    }
    return Edited(config["layer"], config["groupby"], masks, {"query": "query", "edited": "query, edited"} | names)


def config_of(adata: AnnData, key: str) -> dict[str, Any]:
    """Return the arguments of the edit that is recorded under this key."""
    record = adata.uns.get(key)
    config = json.loads(record["config"]) if isinstance(record, Mapping) and "config" in record else {}
    if "edit" not in config:
        raise KeyError(f"uns[{key!r}] holds no edit; call ne.tl.edit first.")
    return config


def describe(selection: Any) -> str:
    """Name a selection in a legend, in at most 40 letters."""
    parts = selection.values() if isinstance(selection, Mapping) else [selection]
    name = ", ".join(" + ".join(map(str, listed(part))) for part in parts)
    return name if len(name) <= 40 else f"{name[:39]}…"
