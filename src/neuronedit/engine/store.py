"""An edited layer that is too large for memory: written block by block into a new zarr store, and resumed where it stopped.

A store is set up in a folder beside its place, and moved there once it is whole. A block counts as written once the digests of its
cells before the edit and of its files are in the store's attribute. Whoever resumes it reads both again: files that are not what
was written are written again, other cells are refused.
"""

import hashlib
import json
import logging
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pandas as pd
import torch
import zarr
from anndata import AnnData
from anndata.io import read_elem, write_elem

from .. import _slots
from .._data.output import Output
from .._data.reader import MAX_NEURONS_KEPT, CellReader
from .._data.record import Record, digest
from .._data.space import TrainedSpace
from .._data.store_files import Progress, StoreFiles, digest_cells, drop_consolidated
from .._data.work_folder import WorkFolder, explain_os_errors
from .apply import EditedLayers, EditsByCell
from .fit import FittedEdit
from .report import EditSummary

logger = logging.getLogger(__name__)

MAX_CELLS_PER_BLOCK = 32_768  # in memory at a time
MAX_ROUNDS = 3  # in which blocks that were not kept as they were written are written again
NAMES_AT_ONCE = 1_000_000  # that are hashed together

# of the chunks of cells, by zarr format: with a checksum, so that nobody reads a damaged one without an error
COMPRESSORS: dict[int, Any] = {
    2: {"id": "zstd", "level": 0, "checksum": True},
    3: [{"name": "zstd", "configuration": {"level": 0, "checksum": True}}],
}


class EditStore:
    """A zarr store with room for all cells, and how far it has got: an AnnData from the start, its unwritten rows NaN."""

    def __init__(self, path: Path, output: Output, folder: WorkFolder, names: Sequence[str]) -> None:
        self.path, self.output, self.folder, self.names = path, output, folder, names
        self.progress, self.files = Progress.read(path), StoreFiles(path)
        self.record = f"uns/{output.key}"

    @staticmethod
    @contextmanager
    def open(
        adata: AnnData, space: TrainedSpace, by_cell: EditsByCell, output: Output, record: Record
    ) -> "Iterator[EditStore]":
        """Give a new store, or one of the same work that was begun; nobody else writes it meanwhile."""
        path = output.store
        assert path is not None
        folder = WorkFolder(path)
        with folder.use():
            job = _describe_job(adata, space, by_cell, output, record)
            if not path.exists():
                with explain_os_errors(path):
                    _set_up(folder, adata, space, by_cell, output, job)
            store = EditStore(path, output, folder, _name_arrays(output, by_cell))
            store.check_job(job)
            yield store

    @cached_property
    def arrays(self) -> dict[str, Any]:
        """Return the arrays that are written block by block."""
        group = zarr.open_group(self.path, mode="r+", use_consolidated=False)
        return {name: group[name] for name in self.names}

    def check_job(self, job: dict[str, str]) -> None:
        """Refuse other work, and files that have changed since the store was set up."""
        there = self.progress.job
        if differences := [part for part in sorted(job | there) if job.get(part) != there.get(part)]:
            text = f"{self.path} holds another edit, or one of other cells; these differ: {', '.join(differences)}"
            raise ValueError(f"{text}. Choose another write_to, or delete it.")
        self.files.remove_partial()
        self.check_frame()

    def check_frame(self) -> None:
        """Refuse files that have changed since the store was set up."""
        there, now = self.progress.frame, self.files.digest_frame(self.names, self.record)
        if changed := [part for part in sorted(there | now) if there.get(part) != now.get(part)]:
            text = f"{self.path} was changed since it was set up, in {', '.join(changed)}"
            raise ValueError(f"{text}; what is in it cannot be trusted. Delete it, or choose another write_to.")

    def write(self, space: TrainedSpace, by_cell: EditsByCell) -> dict[str, EditSummary]:
        """Write all cells, a block at a time, and return what each edit did to its cells."""
        # what is written already
        if self.progress.blocks:
            logger.info("%s of %s cells are written already.", f"{self.progress.done:,}", f"{self.progress.of:,}")
            self._check_cells(space)

        # what is not: again until all is there
        sent = {
            name: replace(fitted, fits=(), ensemble=None) for name, fitted in by_cell.edits.items()
        }  # what workers need
        job = partial(_edit_block, space.cells.order, sent, by_cell.n_kept, space.space, self.output, space.device)
        for _ in range(MAX_ROUNDS):
            if not (numbers := self._find_unwritten()):
                return _read_summaries(self.progress.so_far)
            blocks = space.cells.map_blocks(job, self.progress.n_rows, by_cell.numbers, only=numbers)
            with ThreadPoolExecutor(1) as pool:  # a block is verified while the next one is edited
                verified = pool.submit(lambda: None)
                for number, (rows, (edited, summaries, before)) in zip(numbers, blocks, strict=True):
                    with explain_os_errors(self.path):
                        self._write_block(number, slice(*rows), edited)
                        verified.result()
                    verified = pool.submit(self._verify_block, number, before, summaries)
                with explain_os_errors(self.path):
                    verified.result()
        raise OSError(f"{self.path} does not keep what is written into it; choose a write_to on another disk.")

    def read_distances(self) -> np.ndarray:
        """Return how far each cell lies from the source of its edit, NaN where it took none: ``(n_obs,)``."""
        distances: np.ndarray = self.arrays[f"obs/{_slots.distance(self.output.key)}"][:]
        return distances

    def finish(self, record: Record) -> None:
        """Write the record of the edit, once all cells are there, and read it back."""
        self.check_frame()
        if self.progress.record == self.files.digest(self.files.names(self.record)):
            return
        with explain_os_errors(self.path):
            setup, key, place = self.folder.setup, self.output.key, self.path / self.record
            there = zarr.open_group(self.path, mode="r", use_consolidated=False)
            group = zarr.open_group(setup, mode="w", zarr_format=there.metadata.zarr_format)
            write_elem(group, key, record.to_uns())
            read_elem(group[key])
            if place.exists():  # of a run that was killed here, or damaged
                os.replace(place, setup / f"{key}.before")
            os.replace(setup / key, place)
            self.files.sync()
            self._save(replace(self.progress, record=self.files.digest(self.files.names(self.record))))

    def _check_cells(self, space: TrainedSpace) -> None:
        """Refuse cells that are not those that were edited before."""
        written = self.progress.blocks
        blocks = space.cells.map_blocks(_digest_block, self.progress.n_rows, only=range(len(written)))
        for ((first, last), now), (before, _) in zip(blocks, written, strict=True):
            self.folder.show_life()
            if now != before:
                text = f"{self.path} holds another edit, or one of other cells: of cells {first:,} to {last - 1:,}"
                raise ValueError(f"{text} some have changed since. Choose another write_to, or delete it.")

    def _find_unwritten(self) -> list[int]:
        """Return the numbers of the blocks that were never written, or whose files are not what was written."""
        written = self.progress.blocks
        damaged = [i for i, (_, after) in enumerate(written) if self.files.digest(self._name_files(i)) != after]
        if damaged:
            text = "%d blocks of %s were changed or damaged; they are written again."
            logger.warning(text, len(damaged), self.path)
        return [*damaged, *range(len(written), -(-self.progress.of // self.progress.n_rows))]

    def _write_block(self, number: int, rows: slice, edited: EditedLayers) -> None:
        """Write a block, in place of what a run that was killed has left."""
        self.files.remove(self._name_files(number))
        neurons = [] if edited.neurons is None else [edited.neurons]
        values = [*edited.layers, *neurons, edited.support, edited.distance]
        for array, block in zip(self.arrays.values(), values, strict=True):
            array[rows] = block

    def _verify_block(self, number: int, before: str, summaries: dict[str, EditSummary]) -> None:
        """Read back what was written, and write down that it is there."""
        after, so_far = self.files.digest(self._name_files(number)), self.progress.so_far
        if summaries and number == len(self.progress.blocks):
            there = _read_summaries(so_far)
            merged = {name: there[name].merge(own) if name in there else own for name, own in summaries.items()}
            so_far = so_far | {
                edit: {name: x.tolist() if isinstance(x, np.ndarray) else x for name, x in asdict(own).items()}
                for edit, own in merged.items()
            }
        self._save(self.progress.with_block(number, [before, after], so_far))
        self.folder.show_life()

    def _name_files(self, number: int) -> list[str]:
        """Return the names of the files of a block: a chunk of each array."""
        arrays = self.arrays.items()
        return [f"{name}/{array.metadata.encode_chunk_key((number, 0)[: array.ndim])}" for name, array in arrays]

    def _save(self, progress: Progress) -> None:
        progress.write(self.path, self.folder.progress)
        self.progress = progress


def _set_up(
    folder: WorkFolder, adata: AnnData, space: TrainedSpace, by_cell: EditsByCell, output: Output, job: dict[str, str]
) -> None:
    """Write a store with all but the edited cells, and move it to its place."""
    # what is known
    var = adata.var.copy()
    for layer in output.layers:
        for column, name in zip(_slots.scale(space.layer), _slots.scale(layer), strict=True):
            if column in var:
                var[name] = var[column]
    uns = {key: adata.uns[key] for key in (*space.keys, _slots.FCS) if key in adata.uns}
    AnnData(var=var, uns=uns).write_zarr(folder.setup)
    drop_consolidated(folder.setup)
    group = zarr.open_group(folder.setup, mode="r+", use_consolidated=False)
    n_rows = min(_rows_per_block(by_cell), adata.n_obs)
    write_elem(group, "obs", adata.obs, dataset_kwargs={"chunks": (n_rows,)})  # whole, its names would fill the memory
    new = [slot(output.key) for slot in (_slots.support, _slots.distance)]
    group["obs"].attrs["column-order"] = [*adata.obs.columns.drop(new, errors="ignore"), *new]

    # room for the cells
    kinds: list[tuple[Any, tuple[int, ...]]] = [(space.cells.dtype, (adata.n_vars,))] * len(output.layers)
    widths = [(by_cell.n_kept,)] if by_cell.n_kept else []
    kinds += [(np.dtype(np.float32), width) for width in (*widths, (), ())]
    names = _name_arrays(output, by_cell)
    for name, (dtype, width) in zip(names, kinds, strict=True):
        where, _, own_name = name.rpartition("/")
        layout: dict[str, Any] = {"shape": (adata.n_obs, *width), "chunks": (n_rows, *width), "dtype": dtype}
        layout["compressors"] = COMPRESSORS[group.metadata.zarr_format]
        array = group.require_group(where).create_array(own_name, **layout, fill_value=np.nan, overwrite=True)
        array.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
    frame = StoreFiles(folder.setup).digest_frame(names, f"uns/{output.key}")
    Progress(job, adata.n_obs, n_rows, frame, []).write(folder.setup, folder.progress)
    folder.setup.rename(folder.store)


def _name_arrays(output: Output, by_cell: EditsByCell) -> list[str]:
    """Return the names of the arrays that are written block by block, those of the edited cells first."""
    slots = _slots.support(output.key), _slots.distance(output.key)
    layers = [f"layers/{layer}" for layer in output.layers]
    neurons = [f"obsm/{_slots.neurons_edited(output.key)}"] if by_cell.n_kept else []
    return [*layers, *neurons, *(f"obs/{slot}" for slot in slots)]


def _rows_per_block(by_cell: EditsByCell) -> int:
    """Return how many cells are written at a time: fewer where their neurons would fill the memory."""
    return min(MAX_CELLS_PER_BLOCK, max(1, MAX_NEURONS_KEPT // by_cell.n_neurons))


def _edit_block(
    order: np.ndarray | None,
    edits: dict[str, FittedEdit],
    n_kept: int,
    space: Any,
    output: Output,
    device: torch.device,
    block: Any,
    numbers: np.ndarray,
) -> tuple[EditedLayers, dict[str, EditSummary], str]:
    """Edit a block of cells, and return what they were, too: it may run anywhere."""
    cells, by_cell = CellReader(block, order), EditsByCell(edits, numbers, n_kept)
    edited = EditedLayers.of([cells.dense_copy() for _ in output.layers], n_kept)
    before = digest_cells(edited.layers[0])
    return edited, by_cell.apply(space, cells, edited, device, output), before


def _digest_block(block: Any) -> str:
    """Return the digest of a block of cells as `_edit_block` reads it."""
    return digest_cells(CellReader(block).dense_copy())


def _describe_job(
    adata: AnnData, space: TrainedSpace, by_cell: EditsByCell, output: Output, record: Record
) -> dict[str, str]:
    """Return the digest of each part of the work but the cells: what was asked for, what was fitted, and to what it is applied."""
    asked = record.to_uns()
    # nothing tells one function of the caller's own from another
    maps = record.content.get("fitted", {}).get("digest") or record.config.get("digest") or str(uuid4())
    kinds = ("observed_change", "observed_error", "held_out_error", "wrong_direction")
    known = {f"{name}/{kind}": getattr(fitted, kind) for name, fitted in by_cell.edits.items() for kind in kinds}
    words = [[name, fitted.summary, *(alarm.text for alarm in fitted.alarms)] for name, fitted in by_cell.edits.items()]
    where = [output.key, output.strengths, output.bounds, output.order, space.layer, str(space.cells.dtype)]
    parts = {
        "what was asked for": json.dumps([asked["config"], where, _rows_per_block(by_cell)]),
        "the fitted edit": digest(json.dumps([maps, words]), known),
        "the trained space": json.dumps(space.ids),
        "the query": digest_cells(by_cell.numbers),
        "the names of the features": json.dumps(list(map(str, adata.var_names))),
        "var": _digest_table(adata.var),
        "the names of the cells": _digest_names(adata.obs_names),
        "obs": _digest_table(adata.obs),
        "the version of neuronedit": str(asked[_slots.VERSION]),
    }
    return {name: hashlib.sha256(text.encode()).hexdigest()[:32] for name, text in parts.items()}


def _digest_names(names: "pd.Index[Any]") -> str:
    sha = hashlib.sha256(str(len(names)).encode())
    for start in range(0, len(names), NAMES_AT_ONCE):
        part = names[start : start + NAMES_AT_ONCE].tolist()
        sha.update("\0".join(map(str, part)).encode() + b"\0")
    return sha.hexdigest()


def _digest_table(table: pd.DataFrame) -> str:
    """Return the digest of the columns of a table, whatever holds them."""
    sha = hashlib.sha256(json.dumps(list(map(str, table.columns))).encode())
    for start in range(0, len(table), NAMES_AT_ONCE):
        for j in range(table.shape[1]):
            column = table.iloc[start : start + NAMES_AT_ONCE, j]
            sha.update(pd.util.hash_pandas_object(column, index=False).to_numpy())
    return sha.hexdigest()


def _read_summaries(stored: dict[str, Any]) -> dict[str, EditSummary]:
    """Return what each edit did to the cells of the blocks that are written."""
    summaries = {}
    for edit, own in stored.items():
        values: dict[str, Any] = {name: np.array(x) if isinstance(x, list) else x for name, x in own.items()}
        summaries[edit] = EditSummary(**values)
    return summaries
