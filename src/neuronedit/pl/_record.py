"""What an edit left in AnnData, read back: its populations, as masks, and the layer that it worked on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from anndata import AnnData

from .._data.check import find_used, get_edited_cells, select_cells, to_list
from .._data.record import Record, Tool
from ._figure import get_values

MAX_LETTERS_OF_SELECTION = 40  # of a population's name in a legend, so that the plot is wider than its legend


@dataclass(frozen=True)
class EditedPopulations:
    """The cells of an edit: ``masks`` and ``names`` of source, target, query and edited (the query once more)."""

    adata: AnnData
    record: Record
    layer: str | None
    masks: dict[str, np.ndarray]
    names: dict[str, str]

    @property
    def features(self) -> list[str]:
        """Return the names of the features that are edited."""
        return find_used(self.adata)

    @classmethod
    def read(cls, adata: AnnData, key: str) -> Self:
        """Return what :func:`neuronedit.tl.edit` recorded under this key."""
        record = Record.read(adata, key, Tool.EDIT, Tool.CORRECT, fitted_here=True)
        if record.tool is Tool.CORRECT:
            raise ValueError(f"uns[{key!r}] was corrected batch by batch: it has no one source and target.")
        config, query = record.config, get_edited_cells(adata, key)
        masks = {role: select_cells(adata, config["groupby"], config[role], role) for role in ("source", "target")}
        masks["query"] = masks["edited"] = query
        names = {"query": "query", "edited": "query, edited"}
        for role in ("source", "target", "query"):
            if config[role] is not None:
                names[role] = f"{role}: {describe_selection(config[role])}"
        return cls(adata, record, config["layer"], masks, names)

    def get_values(self, role: str, features: Sequence[str] | None = None) -> np.ndarray:
        """Return the cells of a role, ``(n_cells, n_features)``, all that are used by default; the edited ones from the layer of the edit."""
        layer = self.record.key if role == "edited" else self.layer
        return get_values(self.adata, layer, self.masks[role], self.features if features is None else features)


def check_same_space(adata: AnnData, record: Record) -> None:
    """Refuse an edit whose space was trained again since it was fitted, as far as that is known."""
    for key, identity in record.space_ids.items():
        space = adata.uns.get(key)
        held = space.get("id") if isinstance(space, Mapping) else None
        if held is not None and str(held) != identity:
            raise ValueError(
                f"uns[{record.key!r}] was fitted in another space than uns[{key!r}] holds now: it was trained again."
                " Call ne.tl.edit again."
            )


def describe_selection(selection: Any) -> str:
    """Name a selection in a legend."""
    parts = selection.values() if isinstance(selection, Mapping) else [selection]
    name = ", ".join(" + ".join(map(str, to_list(part))) for part in parts)
    return name if len(name) <= MAX_LETTERS_OF_SELECTION else f"{name[: MAX_LETTERS_OF_SELECTION - 1]}…"
