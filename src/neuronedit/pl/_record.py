"""What an edit left in AnnData, read back: its populations, as masks, and the layer that it worked on."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from anndata import AnnData

from .._data.batches import read_batches
from .._data.check import find_used, format_choices, get_edited_cells, get_labels, select_cells, to_list
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
    batch: str | None = None

    @property
    def features(self) -> list[str]:
        """Return the names of the features that are edited."""
        return find_used(self.adata)

    @classmethod
    def read(cls, adata: AnnData, key: str, batch: Hashable = None) -> Self:
        """Return what :func:`neuronedit.tl.edit` recorded under this key, or :func:`neuronedit.tl.correct` for one batch."""
        record = Record.read(adata, key, Tool.EDIT, Tool.CORRECT, fitted_here=True)
        if record.tool is Tool.CORRECT:
            return cls._read_correction(adata, record, batch)
        if batch is not None:
            raise ValueError(f"uns[{key!r}] holds one edit and no batches; leave batch={batch!r} out.")
        config, query = record.config, get_edited_cells(adata, key)
        masks = {role: select_cells(adata, config["groupby"], config[role], role) for role in ("source", "target")}
        masks["query"] = masks["edited"] = query
        names = {"query": "query", "edited": "query, edited"}
        for role in ("source", "target", "query"):
            if config[role] is not None:
                names[role] = f"{role}: {describe_selection(config[role])}"
        return cls(adata, record, config["layer"], masks, names)

    @classmethod
    def _read_correction(cls, adata: AnnData, record: Record, batch: Hashable) -> Self:
        """Return the controls of a batch, those of the reference, and the samples of the batch."""
        config, labels = record.config, get_labels(adata, record.config["batch_key"])
        asked = {name: config[name] for name in ("control_key", "control", "reference", "held_out_controls")}
        bridge = {name: config["bridge"][str(name)] for name in labels.unique() if str(name) in config["bridge"]}
        found, _ = read_batches(adata, config["batch_key"], **asked, bridge=bridge, strata=None)
        corrections = {one.batch: one for one in found if one.is_fitted and len(one.design.query)}
        if str(batch) not in corrections:
            there = format_choices(corrections, near=batch)
            what = "has no one source and target" if batch is None else f"has no {batch!r} with a control and samples"
            raise ValueError(
                f"uns[{record.key!r}] was corrected batch by batch: it {what}. Name one with batch=, where a plot has that: {there}."
            )

        # its populations
        design, masks = corrections[str(batch)].design, {}
        for role in ("source", "target", "query"):
            masks[role] = np.zeros(adata.n_obs, dtype=bool)
            masks[role][getattr(design, role)] = True
        masks["edited"] = masks["query"]
        goal = "controls of all batches" if config["reference"] is None else f"control of {config['reference']}"
        names = {
            "source": f"control of {batch}",
            "target": goal if str(batch) not in config["bridge"] else "the other batches",
        }
        names |= {"query": f"samples of {batch}", "edited": f"samples of {batch}, corrected"}
        return cls(adata, record, config["layer"], masks, names, str(batch))

    def get_values(self, role: str, features: Sequence[str] | None = None) -> np.ndarray:
        """Return the cells of a role, ``(n_cells, n_features)``, all that are used by default; the edited ones from the layer of the edit."""
        layer = self.record.key if role == "edited" else self.layer
        return get_values(self.adata, layer, self.masks[role], self.features if features is None else features)

    def get_mean_errors(self, features: Sequence[str]) -> np.ndarray:
        """Return the standard error of each edited mean, NaN where the record does not have it."""
        table = self.record.content.get("features")
        if table is None or "mean_error" not in table:
            return np.full(len(features), np.nan)
        if self.batch is not None:
            table = table[table["batch"].astype(str) == self.batch].set_index("feature")
        return table["mean_error"].reindex(features).to_numpy(dtype=float)


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
