"""Learnt once, applied later: what an edit leaves in ``uns``, and how it is read for other cells."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np
import torch
from anndata import AnnData

from .. import _slots
from .._adata import check_same_features, features_of, recall, rows_of
from .._check import name_of, some
from .._pack import pack, unpack
from ..io import load_model
from ._carry import Lesson, Trained, scaled

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Known:
    """An edit that was learnt before: its record, and the AnnData that holds it."""

    model: AnnData
    record: Mapping[str, Any]
    config: dict[str, Any]
    name: str

    @property
    def keys(self) -> list[str]:
        """Return where its spaces are kept."""
        return list(self.config["key"])

    @property
    def layer(self) -> str | None:
        """Return the layer that it was learnt on."""
        return self.config["layer"]


def record_of(lesson: Lesson, strength: float, spaces: Mapping[str, Any]) -> dict[str, Any]:
    """Return what AnnData can write of a lesson: what was chosen, and what it takes to carry other cells."""
    record: dict[str, Any] = {}
    if not lesson.learnt:  # it was read from elsewhere, and is there
        return record
    if lesson.selected is not None:
        record["selection"] = _selection(lesson.selected)
    try:
        carriers = [scaled(carrier, strength) for carrier in lesson.carriers]
        tree, arrays = pack([carriers, lesson.inside, lesson.away], spaces)
    except TypeError:  # the caller's own function: it cannot be written, and save_model says so
        return record
    return record | {"learnt": {"map": tree, "arrays": arrays, "said": lesson.said}}


def read_model(model: AnnData | str | PathLike[str]) -> tuple[AnnData, str]:
    """Return the AnnData that holds a model, and its name for errors."""
    return (model, "AnnData") if isinstance(model, AnnData) else (load_model(model), str(model))


def model_of(model: AnnData | str | PathLike[str], key: str) -> Known:
    """Return the edit that an AnnData or a file holds: the one of this key, or the only one."""
    adata, name = read_model(model)
    edits = [k for k, record in adata.uns.items() if isinstance(record, Mapping) and "learnt" in record]
    chosen = key if key in edits else edits[0] if len(edits) == 1 else None
    if chosen is None:
        many = (
            f"holds several edits, {some(edits)}: name one by key_added"
            if edits
            else "holds no edit that can be applied"
        )
        raise ValueError(f"model ({name}) {many}; ne.tl.edit writes one, ne.io.save_model saves it.")
    record = adata.uns[chosen]
    return Known(adata, record, json.loads(str(record["config"])), name)


def lesson_of(known: Known, adata: AnnData, layer: str | None, device: torch.device) -> tuple[Lesson, Trained]:
    """Return the lesson and the spaces it needs, once it is known that these cells are like those it was learnt on."""
    names = features_of(known.model, known.keys[0])
    check_same_features(adata, names, f"the model ({known.name})")
    check_cofactor(known.model, known.layer, adata, layer)
    spaces = {key: recall(known.model, key)[0].to(device) for key in known.keys}
    learnt, features = known.record["learnt"], known.record["features"].loc[names]
    said = f"Learnt before, on other cells ({known.name}). {learnt['said']}".strip()
    carriers, inside, away = unpack(str(learnt["map"]), learnt["arrays"], spaces, device)
    change, missed, wrong = (
        features[name].to_numpy() for name in ("control_change", "mean_error", "wrong_on_held_out")
    )
    return Lesson(carriers, inside, away, change, missed, wrong, said), Trained(
        known.keys, list(spaces.values()), names, layer, rows_of(adata, layer, names), device
    )


def check_cofactor(model: AnnData, trained_on: str | None, adata: AnnData, layer: str | None) -> None:
    """Refuse cells on another scale than the layer that was trained on, as far as that is known."""
    theirs, ours = _slots.cofactor(trained_on), _slots.cofactor(layer)
    if theirs not in model.var:
        return
    if ours not in adata.var:
        logger.warning(
            "The model was trained on arcsinh values; nothing says that %s is on that scale.", name_of(layer)
        )
    elif not np.allclose(model.var[theirs], adata.var[ours].loc[model.var_names], equal_nan=True):
        given, wanted = (sorted(set(x.dropna())) for x in (adata.var[ours], model.var[theirs]))
        raise ValueError(
            f"{name_of(layer)} has arcsinh cofactors {some(given)}; the model was trained with {some(wanted)}."
        )


def _selection(selected: Any) -> dict[str, Any]:
    """Turn what was chosen into what AnnData can write."""
    names = ("candidates", "weights", "strength", "parts", "part_weights", "scores", "combined")
    record = {name: getattr(selected, name) for name in (*names, "how", "expected", "expected_se", "tested")}
    return {name: np.array(value, dtype=str) if isinstance(value, list) else value for name, value in record.items()}
