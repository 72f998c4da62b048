"""Apply a fitted edit to cells, a block at a time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from anndata import AnnData
from torch import Tensor

from .. import _slots
from .._data.output import Output, copy_cofactor
from .._data.reader import CHUNK, MAX_NEURONS_KEPT, CellReader, chunks
from .._data.record import find_own_layers
from .._data.space import TrainedSpace
from .._progress import track
from .._types import EditedCells
from .fit import FittedEdit
from .outcomes import EDIT_FAILED, SPACE_FAILED, check_edited, check_values
from .report import EditSummary


@dataclass(frozen=True)
class EditedLayers:
    """Edited cells: a layer for each strength, their neurons, and how far they lie from the source."""

    layers: Sequence[np.ndarray]
    neurons: np.ndarray | None  # None: too many to keep
    support: np.ndarray
    distance: np.ndarray

    @classmethod
    def of(cls, layers: Sequence[np.ndarray], n_kept: int) -> Self:
        """Return room for all cells and ``n_kept`` neurons of each, next to layers that hold them as they are before any edit."""
        n_cells = len(layers[0])
        support, distance = (np.full(n_cells, np.nan, dtype=np.float32) for _ in range(2))
        neurons = np.empty((n_cells, n_kept), dtype=np.float32) if n_kept else None
        return cls(layers, neurons, support, distance)

    def write(self, adata: AnnData, key: str, names: Sequence[str], read_from: str | None) -> None:
        """Write all into ``adata``, and remove the layers of an edit of ours that this one takes the place of."""
        for name in find_own_layers(adata, key):
            del adata.layers[name]
        for name, layer in zip(names, self.layers, strict=True):
            adata.layers[name] = layer
            copy_cofactor(adata, read_from, name)
        adata.obsm.pop(_slots.neurons_edited(key), None)  # of an edit that this one takes the place of
        if self.neurons is not None:
            adata.obsm[_slots.neurons_edited(key)] = self.neurons
        adata.obs[_slots.support(key)] = self.support
        adata.obs[_slots.distance(key)] = self.distance


@dataclass(frozen=True)
class EditsByCell:
    """Which edit each cell takes: ``edits`` by name, and the number of each cell's, -1 where it stays, ``(n_obs,)``."""

    edits: Mapping[str, FittedEdit]
    numbers: np.ndarray
    n_neurons: int  # of a cell in the first space

    @property
    def n_kept(self) -> int:
        """How many neurons of each cell are kept: all, or none where all cells have too many."""
        return count_kept(len(self.numbers), self.n_neurons)

    @classmethod
    def of(cls, edits: Mapping[str, FittedEdit], rows: Mapping[str, np.ndarray], space: TrainedSpace) -> Self:
        """Return them where each edit is that of the rows of its name."""
        numbers = np.full(space.cells.shape[0], -1, dtype=np.min_scalar_type(-1 - len(edits)))
        for number, name in enumerate(edits):
            numbers[rows[name]] = number
        return cls(edits, numbers, space.n_neurons)

    def apply(
        self, space: Any, cells: CellReader, edited: EditedLayers, device: torch.device, output: Output
    ) -> dict[str, EditSummary]:
        """Write all cells into ``edited``, and return what each edit did; of one without cells nothing."""
        with torch.no_grad():
            summaries = {
                name: apply_edit(fitted, cells, rows, edited, device, output)
                for number, (name, fitted) in enumerate(self.edits.items())
                if len(rows := np.flatnonzero(self.numbers == number))
            }
            encode_others(space, cells, self.numbers >= 0, edited, device)
        return summaries


def count_kept(n_cells: int, n_neurons: int) -> int:
    """Return how many neurons of each cell are kept: none where those of all cells take more than 128 MiB."""
    return n_neurons if n_cells * n_neurons <= MAX_NEURONS_KEPT else 0


@dataclass(frozen=True)
class EditedReader:
    """Cells as they are once each took its edit: read, and edited then."""

    cells: CellReader
    by_cell: EditsByCell
    output: Output

    def read(self, indices: Sequence[np.ndarray], device: torch.device) -> list[Tensor]:
        """Return the cells of each index, edited, ``(n_cells, n_features)`` each."""
        parts = self.cells.read(indices, device)
        for index, part in zip(indices, parts, strict=True):
            for number, fitted in enumerate(self.by_cell.edits.values()):
                rows = torch.from_numpy(np.flatnonzero(self.by_cell.numbers[index] == number)).to(device)
                maps = fitted.scaled(self.output.strength)
                for own in rows.split(CHUNK):
                    moved = torch.stack([cell_map(part[own]) for cell_map in maps]).mean(0)
                    part[own] = moved.clamp(*self.output.bounds)
        return parts


def apply_edit(
    fitted: FittedEdit,
    cells: CellReader,
    rows: np.ndarray,
    edited: EditedLayers,
    device: torch.device,
    output: Output,
    *,
    into: np.ndarray | None = None,
) -> EditSummary:
    """Write the edited cells of ``rows`` into the same rows of ``edited``, or those of ``into``; sum up the last strength."""
    into = rows if into is None else into
    by_strength = [fitted.scaled(strength) for strength in output.strengths]
    low, high = output.bounds
    sums, n_clipped = np.zeros((3, cells.shape[1])), 0  # of the cells before, of their squares, of the cells after
    width = max(cells.shape[1], fitted.n_neurons)
    parts = list(zip(chunks(rows, width), chunks(into, width), strict=True))
    for part, part_into in track(parts, "editing", "block"):
        before = cells[part]
        for strength, layer, (first, *others) in zip(output.strengths, edited.layers, by_strength, strict=True):
            x, neurons, neurons_edited = first.apply(before.to(device))
            if others:  # several spaces: average
                x = torch.stack([x, *(cell_map(before.to(device)) for cell_map in others)]).mean(0)
            check_edited(EditedCells(x, neurons, neurons_edited), before, fitted.features, strength)
            after = x.clamp(low, high).cpu()
            cells.put(layer, part_into, after.numpy())
        n_clipped += int(((x < low) | (x > high)).sum())
        if edited.neurons is not None:
            edited.neurons[part_into] = neurons_edited.cpu().numpy()
        edited.support[part_into] = fitted.support(neurons).cpu().numpy()
        distance = fitted.distance(neurons)
        check_values(distance, "distances from the source", EDIT_FAILED)
        edited.distance[part_into] = distance.cpu().numpy()
        sums += torch.stack([x.double().sum(0) for x in (before, before.square(), after)]).numpy()
    mean, squares, mean_after = sums / len(rows)
    sd = np.sqrt(np.maximum(squares - mean**2, 0))
    share_outside = 1 - float((edited.distance[into] <= 1).mean())
    return EditSummary(len(rows), n_clipped, mean, sd, mean_after, share_outside)


def encode_others(
    space: Any, cells: CellReader, is_edited: np.ndarray, edited: EditedLayers, device: torch.device
) -> None:
    """Write the neurons of the cells that were not edited, given the mask of those that were."""
    if edited.neurons is None:
        return
    with torch.no_grad():
        for part in chunks(np.flatnonzero(~is_edited), max(cells.shape[1], edited.neurons.shape[1])):
            neurons = space.encode(cells.send(part, device))
            check_values(neurons, "neurons", SPACE_FAILED)
            edited.neurons[part] = neurons.cpu().numpy()
