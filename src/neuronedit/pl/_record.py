"""What an edit left in AnnData, read back: its populations, as masks, and the layer that it worked on."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from anndata import AnnData

from .._check import config_of, edited_of, listed, matrix_of, select


@dataclass(frozen=True)
class Edited:
    """The cells of an edit: ``masks`` and ``names`` of source, target, query and edited (the query once more)."""

    layer: str | None
    groupby: str | None
    masks: dict[str, np.ndarray]
    names: dict[str, str]


def edited(adata: AnnData, key: str) -> Edited:
    """Return what :func:`neuronedit.tl.edit` recorded under this key."""
    config = config_of(adata, key, here=True)
    if "source" not in config:
        raise ValueError(f"uns[{key!r}] was corrected batch by batch: it has no one source and target.")
    query = edited_of(adata, key)
    for layer in (config["layer"], key):
        matrix_of(adata, layer)
    masks = {role: select(adata, config["groupby"], config[role], role) for role in ("source", "target")}
    masks["query"] = masks["edited"] = query
    names = {
        role: f"{role}: {describe(config[role])}" for role in ("source", "target", "query") if config[role] is not None
    }
    return Edited(config["layer"], config["groupby"], masks, {"query": "query", "edited": "query, edited"} | names)


def describe(selection: Any) -> str:
    """Name a selection in a legend, in at most 40 letters."""
    parts = selection.values() if isinstance(selection, Mapping) else [selection]
    name = ", ".join(" + ".join(map(str, listed(part))) for part in parts)
    return name if len(name) <= 40 else f"{name[:39]}…"
