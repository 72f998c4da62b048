"""An edited layer that is too large for memory: written block by block into a new zarr store, and taken up again where it stopped."""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
import zarr
from anndata import AnnData
from anndata.io import write_elem

from .. import _slots
from .._adata import MOST_KEPT, Rows, fingerprint
from .._device import fast_matmul
from ._carry import Lesson, Outputs, Trained, carry_over, encode_others
from ._verdict import Carried

logger = logging.getLogger(__name__)

BLOCK = 32_768
"""Cells that are held in memory at a time."""

PROGRESS = "neuronedit"
"""Name of the attribute that says how far a store has got."""


@dataclass(frozen=True)
class Store:
    """A zarr store with room for all cells, and how far it has got: an AnnData from the start, its unwritten rows NaN."""

    group: zarr.Group
    key_added: str
    layers: Sequence[str]

    @classmethod
    def of(
        cls,
        adata: AnnData,
        on: Trained,
        lesson: Lesson,
        path: str | PathLike[str],
        key_added: str,
        layers: Sequence[str],
        record: Mapping[str, Any],
    ) -> Self:
        """Return a new store, or one of the same edit that was not finished."""
        job = _digest(on, record)
        if Path(path).exists():
            group, known = opened(path)
            if known != job:
                raise ValueError(f"{path} holds another edit, or one of other cells; choose another write_to.")
            return cls(group, key_added, layers)
        obs, var = adata.obs.copy(), adata.var.copy()
        for slot in (_slots.support, _slots.distance):
            obs[slot(key_added)] = np.full(adata.n_obs, np.nan, dtype=np.float32)
        for layer in layers if _slots.cofactor(on.layer) in var else ():
            var[_slots.cofactor(layer)] = var[_slots.cofactor(on.layer)]
        uns = {key: adata.uns[key] for key in on.keys if key in adata.uns}
        AnnData(var=var, uns=uns).write_zarr(path)
        (Path(path) / ".zmetadata").unlink(missing_ok=True)  # a copy of what is about to change
        group = zarr.open_group(path, mode="r+", use_consolidated=False)
        n_rows = min(_block(lesson), adata.n_obs)
        write_elem(group, "obs", obs, dataset_kwargs={"chunks": (n_rows,)})  # whole, its names would fill the memory
        room = [("layers", layer, adata.n_vars, on.rows.dtype) for layer in layers]
        room.append(("obsm", _slots.neurons_edited(key_added), len(lesson.inside.low), np.dtype(np.float32)))
        for where, name, width, dtype in room:
            array = group.require_group(where).create_array(
                name,
                shape=(adata.n_obs, width),
                chunks=(n_rows, width),
                dtype=dtype,
                fill_value=np.nan,
            )
            array.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
        group.attrs[PROGRESS] = {"job": job, "done": 0, "of": adata.n_obs, "so_far": None}
        return cls(group, key_added, layers)

    def write(
        self,
        on: Trained,
        query: np.ndarray,
        lesson: Lesson,
        *,
        strengths: Sequence[float],
        limits: tuple[float, float],
    ) -> Carried:
        """Write all cells, a block at a time, edited where they are in the query, and return what was done to them."""
        progress: dict[str, Any] = dict(self.group.attrs[PROGRESS])
        n, known = len(query), progress["so_far"]
        so_far: Carried | None = None
        if known is not None:
            done: dict[str, Any] = {name: np.array(v) if isinstance(v, list) else v for name, v in known.items()}
            so_far = Carried(**done)
        if progress["done"]:
            logger.info("%s of %s cells are written already.", f"{progress['done']:,}", f"{n:,}")
        neurons = self._array("obsm", _slots.neurons_edited(self.key_added))
        support, distance = (self._array("obs", name(self.key_added)) for name in (_slots.support, _slots.distance))
        n_layers, light = len(self.layers), replace(lesson, learnt=())
        how: dict[str, Any] = {"n_layers": n_layers, "strengths": strengths, "limits": limits, "device": on.device}
        job = partial(_edited, order=on.rows.order, lesson=light, space=on.spaces[0], **how)
        for (first, last), (outputs, carried) in on.rows.each(job, _block(lesson), query, start=progress["done"]):
            if carried is not None:
                so_far = carried if so_far is None else so_far.and_then(carried)
            for layer, edited in zip(self.layers, outputs.edited, strict=True):
                self._array("layers", layer)[first:last] = edited
            neurons[first:last] = outputs.neurons
            support[first:last], distance[first:last] = outputs.support, outputs.distance
            known = None if so_far is None else asdict(so_far)
            told = known and {name: v.tolist() if isinstance(v, np.ndarray) else v for name, v in known.items()}
            self.group.attrs[PROGRESS] = progress | {"done": last, "so_far": told}
        assert so_far is not None
        return so_far

    def finish(self, record: dict[str, Any]) -> None:
        """Write the record of the edit, once all cells are there."""
        write_elem(self.group.require_group("uns"), self.key_added, record)

    def _array(self, where: str, name: str) -> Any:
        return self.group[f"{where}/{name}"]


def _block(lesson: Lesson) -> int:
    """Return how many cells are written at a time: fewer than `BLOCK` where their neurons would fill the memory."""
    return min(BLOCK, max(1, MOST_KEPT // len(lesson.inside.low)))


def _edited(
    block: Any,
    query: np.ndarray,
    *,
    order: np.ndarray | None,
    lesson: Lesson,
    space: Any,
    n_layers: int,
    strengths: Sequence[float],
    limits: tuple[float, float],
    device: torch.device,
) -> tuple[Outputs, Carried | None]:
    """Edit a block of cells where they are in the query: all that is needed is given, so it may run anywhere."""
    rows = Rows(block, order)
    with fast_matmul(), torch.no_grad():
        outputs = Outputs.of([rows.dense_copy() for _ in range(n_layers)], len(lesson.inside.low))
        own, carried = np.flatnonzero(query), None
        if len(own):
            carried = carry_over(lesson, rows, own, outputs, device, strengths=strengths, limits=limits)
        encode_others(space, rows, query, outputs, device)
    return outputs, carried


def opened(path: str | PathLike[str]) -> tuple[zarr.Group, str]:
    """Return a store that exists, and the edit that is in it."""
    try:
        group = zarr.open_group(path, mode="r+", use_consolidated=False)
        return group, str(group.attrs[PROGRESS]["job"])
    except (KeyError, OSError, TypeError, ValueError):
        raise ValueError(f"{path} exists and is no store of ne.tl.edit; choose another write_to.") from None


def _digest(on: Trained, record: Mapping[str, Any]) -> str:
    """Return what tells one edit of some cells from another: what was asked for, what was learnt, and the cells."""
    digest = hashlib.sha256((record["config"] + fingerprint(on.rows)).encode())
    learnt = record.get("learnt", {"map": "", "arrays": {}})
    digest.update(learnt["map"].encode())
    for array in learnt["arrays"].values():
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
