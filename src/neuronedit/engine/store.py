"""An edited layer that is too large for memory: written block by block into a new zarr store, and resumed where it stopped."""

import hashlib
import logging
import shutil
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import torch
import zarr
from anndata import AnnData
from anndata.io import read_elem, write_elem

from .. import _slots
from .._data.output import PROGRESS, Output, open_store
from .._data.reader import MAX_NEURONS_KEPT, CellReader
from .._data.record import Record
from .._data.space import TrainedSpace
from .apply import EditedLayers, apply_edit, computing, encode_others
from .fit import FittedEdit
from .report import EditSummary

logger = logging.getLogger(__name__)

MAX_CELLS_PER_BLOCK = 32_768  # in memory at a time


@dataclass(frozen=True)
class EditStore:
    """A zarr store with room for all cells, and how far it has got: an AnnData from the start, its unwritten rows NaN."""

    group: zarr.Group
    key: str
    layers: list[str]

    @staticmethod
    def open(
        adata: AnnData, space: TrainedSpace, fitted: FittedEdit, is_query: np.ndarray, output: Output, record: Record
    ) -> "EditStore":
        """Return a new store, or one of the same edit that was not finished."""
        path, job = output.write_to, _digest_job(adata, space, is_query, record)
        assert path is not None
        if Path(path).exists():
            group, job_there = open_store(path)
            if job_there != job:
                raise ValueError(f"{path} holds another edit, or one of other cells; choose another write_to.")
            return EditStore(group, output.key, output.layers)

        # all but the cells, under another name: a store that is not whole is begun anew
        unfinished = Path(f"{path}.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        obs, var = adata.obs.copy(), adata.var.copy()
        for slot in (_slots.support, _slots.distance):
            obs[slot(output.key)] = np.full(adata.n_obs, np.nan, dtype=np.float32)
        for layer in output.layers if _slots.cofactor(space.layer) in var else ():
            var[_slots.cofactor(layer)] = var[_slots.cofactor(space.layer)]
        uns = {key: adata.uns[key] for key in space.keys if key in adata.uns}
        AnnData(var=var, uns=uns).write_zarr(unfinished)
        (unfinished / ".zmetadata").unlink(missing_ok=True)  # a copy of what is about to change

        # room for the cells
        group = zarr.open_group(unfinished, mode="r+", use_consolidated=False)
        n_rows = min(_rows_per_block(fitted), adata.n_obs)
        write_elem(group, "obs", obs, dataset_kwargs={"chunks": (n_rows,)})  # whole, its names would fill the memory
        arrays = [("layers", layer, adata.n_vars, space.cells.dtype) for layer in output.layers]
        arrays.append(("obsm", _slots.neurons_edited(output.key), fitted.n_neurons, np.dtype(np.float32)))
        for where, name, width, dtype in arrays:
            layout: dict[str, Any] = {"shape": (adata.n_obs, width), "chunks": (n_rows, width), "dtype": dtype}
            array = group.require_group(where).create_array(name, **layout, fill_value=np.nan)
            array.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
        group.attrs[PROGRESS] = {"job": job, "done": 0, "of": adata.n_obs, "so_far": None}
        unfinished.rename(path)
        return EditStore(open_store(path)[0], output.key, output.layers)

    def write(self, space: TrainedSpace, is_query: np.ndarray, fitted: FittedEdit, output: Output) -> EditSummary:
        """Write all cells, a block at a time, edited where they are in the query, and return what was done to them."""
        # resume
        progress: dict[str, Any] = dict(self.group.attrs[PROGRESS])
        summary, so_far = None, progress["so_far"]
        if so_far is not None:
            values: dict[str, Any] = {name: np.array(x) if isinstance(x, list) else x for name, x in so_far.items()}
            summary = EditSummary(**values)
        if progress["done"]:
            logger.info("%s of %s cells are written already.", f"{progress['done']:,}", f"{len(is_query):,}")

        # write
        neurons = self._array("obsm", _slots.neurons_edited(self.key))
        support, distance = (self._array("obs", slot(self.key)) for slot in (_slots.support, _slots.distance))
        without_fits = replace(fitted, fits=())
        job = partial(_edit_block, space.cells.order, without_fits, space.space, output, space.device)
        blocks = space.cells.map_blocks(job, _rows_per_block(fitted), is_query, start=progress["done"])
        for (first, last), (edited, own_summary) in blocks:
            if own_summary is not None:
                summary = own_summary if summary is None else summary.merge(own_summary)
            for name, layer in zip(self.layers, edited.layers, strict=True):
                self._array("layers", name)[first:last] = layer
            neurons[first:last] = edited.neurons
            support[first:last], distance[first:last] = edited.support, edited.distance
            self.group.attrs[PROGRESS] = progress | {"done": last, "so_far": _summary_to_json(summary)}
        assert summary is not None
        return summary

    def finish(self, record: Record) -> None:
        """Write the record of the edit, once all cells are there, and read it back."""
        uns = self.group.require_group("uns")
        write_elem(uns, self.key, record.to_uns())
        read_elem(uns[self.key])

    def _array(self, where: str, name: str) -> Any:
        return self.group[f"{where}/{name}"]


def _rows_per_block(fitted: FittedEdit) -> int:
    """Return how many cells are written at a time: fewer where their neurons would fill the memory."""
    return min(MAX_CELLS_PER_BLOCK, max(1, MAX_NEURONS_KEPT // fitted.n_neurons))


def _edit_block(
    order: np.ndarray | None,
    fitted: FittedEdit,
    space: Any,
    output: Output,
    device: torch.device,
    block: Any,
    is_query: np.ndarray,
) -> tuple[EditedLayers, EditSummary | None]:
    """Edit a block of cells where they are in the query: all that is needed is given, so it may run anywhere."""
    cells = CellReader(block, order)
    with computing():
        edited = EditedLayers.of([cells.dense_copy() for _ in output.layers], fitted.n_neurons)
        rows, summary = np.flatnonzero(is_query), None
        if len(rows):
            summary = apply_edit(fitted, cells, rows, edited, device, output)
        encode_others(space, cells, is_query, edited, device)
    return edited, summary


def _digest_job(adata: AnnData, space: TrainedSpace, is_query: np.ndarray, record: Record) -> str:
    """Return what tells one edit of some cells from another: what was asked for, what was fitted, and the cells."""
    words = [str(record.to_uns()["config"]), *space.ids, *adata.var_names, space.cells.digest()]
    fitted = record.content.get("fitted", {}).get("digest") or record.config.get("digest")
    words.append(str(fitted or uuid4()))  # nothing tells one function of the caller's own from another
    sha = hashlib.sha256("\n".join(words).encode())
    sha.update(is_query.tobytes())
    return sha.hexdigest()


def _summary_to_json(summary: EditSummary | None) -> dict[str, Any] | None:
    if summary is None:
        return None
    return {name: x.tolist() if isinstance(x, np.ndarray) else x for name, x in asdict(summary).items()}
