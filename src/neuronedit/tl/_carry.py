"""What the tools share: learn an edit from cells of an AnnData, and carry others by it, a chunk at a time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from anndata import AnnData
from torch import Tensor

from .. import _slots
from .._adata import MOST_KEPT, Rows, chunks, features_of, n_neurons_of, recall, rows_of
from .._blocks import encode_in_blocks
from .._check import some
from .._maps import Scaled
from ..edits import Distance, Support, distance, support
from ..edits._neighbors import draw
from ._learn import Carrier, Cells, Learnt, Way
from ._verdict import Carried, said_of

MOST_SEEN = 20_000
"""Query cells that are looked at to see how they differ from the source."""

MOST_LEARNT, MOST_VALUES = 200_000, 2**27
"""Cells, and values, of source and of target that an edit is learnt from: of 200,000 cells every percentile's rank is off by at
most 0.003 (Dvoretzky-Kiefer-Wolfowitz, 95 %)."""

Labels = tuple[np.ndarray, np.ndarray]
"""Of the source's and of the target's cells."""


@dataclass(frozen=True)
class Lesson:
    """What was learnt from a pair: all that is needed to carry cells, and what is known of how far to trust it.

    Attributes
    ----------
    carriers
        One map for each model; their results are averaged.
    inside, away
        How far a cell's neurons lie within the source, and from it.
    control_change
        Mean of the target less that of the source, ``(n_features,)``.
    missed, wrong
        What was missed of the mean of each feature in held-out parts (NaN: unknown), and whether it moved the wrong way.
    said
        What it was learnt on and what to expect, in words.
    learnt
        What it takes to learn it again on a resample; empty for a lesson that was read from elsewhere.
    """

    carriers: Sequence[Carrier]
    inside: Support
    away: Distance
    control_change: np.ndarray
    missed: np.ndarray
    wrong: np.ndarray
    said: str = ""
    learnt: Sequence[Learnt] = ()

    @property
    def selected(self) -> Any:
        """Return what ``edit="auto"`` chose, if it did."""
        return self.learnt[0].selected if self.learnt else None


@dataclass(frozen=True)
class Trained:
    """The spaces that were trained, and the cells that are edited in them, features in the order of training."""

    keys: list[str]
    spaces: list[Any]
    names: list[str]
    layer: str | None
    rows: Rows
    device: torch.device

    def read(self, *indices: np.ndarray) -> list[Tensor]:
        """Return the cells of each index, all read in one go through the matrix, at most 128 MiB at a time."""
        together, width = np.concatenate(indices), self.rows.shape[1]
        order, n = np.argsort(together, kind="stable"), max(1, 2**25 // width)
        cells = torch.empty(len(together), width, device=self.device)
        for part in (order[i : i + n] for i in range(0, len(order), n)):
            cells[part] = self.rows[together[part]].to(self.device)
        return list(cells.split([len(index) for index in indices]))

    @property
    def n_neurons(self) -> int:
        """Return how many neurons a cell has, in the first space."""
        return n_neurons_of(self.spaces[0], self.rows, self.device)


def trained(adata: AnnData, key: str | Sequence[str], layer: str | None, device: torch.device) -> Trained:
    """Return the spaces in ``uns``, for their layer or another one."""
    keys = [key] if isinstance(key, str) else list(key)
    if not keys:
        raise ValueError("key is empty; name at least one trained space.")
    spaces, layers = zip(*(recall(adata, name) for name in keys), strict=True)
    if len(set(layers)) > 1:
        raise ValueError(f"the spaces in uns {some(keys)} were trained on different layers: {some(layers)}.")
    names = features_of(adata, keys[0])
    if any(features_of(adata, name) != names for name in keys):
        raise ValueError(f"the spaces in uns {some(keys)} were trained on features in different orders.")
    layer = layers[0] if layer is None else layer
    rows = rows_of(adata, layer, names)
    return Trained(keys, [space.to(device) for space in spaces], names, layer, rows, device)


def learn(
    trained: Trained,
    way: Way,
    index: Mapping[str, np.ndarray],
    *,
    strata: Labels | None = None,
    pairs: Labels | None = None,
    strata_name: str | None = None,
    targets: Rows | None = None,
) -> Lesson:
    """Learn what changes from the cells in ``index["source"]`` to those in ``"target"``, for those in ``"query"``.

    ``targets`` are the cells of which the target is read, if others.
    """
    most = max(2, min(MOST_LEARNT, MOST_VALUES // max(trained.rows.shape[1], trained.n_neurons)))
    kept = [draw(len(index[role]), n).numpy() for role, n in (("source", most), ("target", most), ("query", MOST_SEEN))]
    of = [index[role][rows] for role, rows in zip(("source", "target", "query"), kept, strict=True)]
    if targets is None:
        source, target, query = trained.read(*of)
    else:
        source, query = trained.read(of[0], of[2])
        [target] = replace(trained, rows=targets).read(of[1])
    strata, pairs = (None if labels is None else (labels[0][kept[0]], labels[1][kept[1]]) for labels in (strata, pairs))
    cells = Cells(source, target, query, strata, pairs)
    learnt = [way(space, cells) for space in trained.spaces]
    z = encode_in_blocks(trained.spaces[0], source)
    selected, n_features = learnt[0].selected, trained.rows.shape[1]
    missed, wrong = np.full(n_features, np.nan), np.zeros(n_features, dtype=bool)
    if selected is not None and selected.parts:
        missed, wrong = np.sqrt(selected.part_weights @ selected.errors**2), selected.wrong
    means = [x.cpu().double().mean(0).numpy() for x in (source, target)]
    carriers = [one.carrier for one in learnt]
    said = said_of(selected, strata_name)
    return Lesson(carriers, support(z), distance(z), means[1] - means[0], missed, wrong, said, learnt)


@dataclass(frozen=True)
class Outputs:
    """Where edited cells are written: a layer for each strength, their neurons, and how far they lie from the source.

    Neurons that are too many for memory have no place.
    """

    edited: Sequence[np.ndarray]
    neurons: np.ndarray | None
    support: np.ndarray
    distance: np.ndarray

    @classmethod
    def of(cls, edited: Sequence[np.ndarray], n_neurons: int) -> Self:
        """Return room for all cells, next to layers that hold them as they are before any edit."""
        n_cells = len(edited[0])
        unknown = (np.full(n_cells, np.nan, dtype=np.float32) for _ in range(2))
        neurons = np.empty((n_cells, n_neurons), dtype=np.float32) if n_cells * n_neurons <= MOST_KEPT else None
        return cls(edited, neurons, *unknown)

    def write(self, adata: AnnData, key_added: str, layers: Sequence[str], read_from: str | None) -> None:
        """Write all into ``adata``, and take away the layers of an edit of ours that this one takes the place of."""
        before = adata.uns.get(key_added, {}).get("layers", [])
        for name in {str(name) for name in before} & {name for name in adata.layers if name is not None}:
            del adata.layers[name]
        for name, edited in zip(layers, self.edited, strict=True):
            adata.layers[name] = edited
            if _slots.cofactor(read_from) in adata.var:
                adata.var[_slots.cofactor(name)] = adata.var[_slots.cofactor(read_from)]
        adata.obsm.pop(_slots.neurons_edited(key_added), None)  # of an edit that this one takes the place of
        if self.neurons is not None:
            adata.obsm[_slots.neurons_edited(key_added)] = self.neurons
        adata.obs[_slots.support(key_added)] = self.support
        adata.obs[_slots.distance(key_added)] = self.distance


def carry_over(
    lesson: Lesson,
    rows: Rows,
    index: np.ndarray,
    outputs: Outputs,
    device: torch.device,
    *,
    strengths: Sequence[float] = (1.0,),
    limits: tuple[float, float] = (-np.inf, np.inf),
    place: np.ndarray | None = None,
) -> Carried:
    """Write the edited cells of ``index`` into the outputs, in their own rows or in those of ``place``.

    Of several strengths the last is the one that is told about.
    """
    place = index if place is None else place
    by_strength = [[scaled(carrier, strength) for carrier in lesson.carriers] for strength in strengths]
    sums, n_clipped = np.zeros((3, rows.shape[1])), 0
    width = max(rows.shape[1], len(lesson.inside.low))
    for part, to in zip(chunks(index, width), chunks(place, width), strict=True):
        before = rows[part]
        for edited, (first, *more) in zip(outputs.edited, by_strength, strict=True):
            x, z, z_edited = first.apply(before.to(device))
            x = torch.stack([x, *(one(before.to(device)) for one in more)]).mean(0) if more else x
            after = x.clamp(*limits).cpu()
            edited[to] = rows.in_place(after.numpy())
        n_clipped += int(((x < limits[0]) | (x > limits[1])).sum())
        if outputs.neurons is not None:
            outputs.neurons[to] = z_edited.cpu().numpy()
        outputs.support[to], outputs.distance[to] = (f(z).cpu().numpy() for f in (lesson.inside, lesson.away))
        sums += torch.stack([cells.double().sum(0) for cells in (before, before.square(), after)]).numpy()
    mean, squares, mean_after = sums / len(index)
    sd = np.sqrt(np.maximum(squares - mean**2, 0))
    outside = float((outputs.distance[place] > 1).mean())
    return Carried(len(index), n_clipped, mean, sd, mean_after, outside)


def encode_others(space: Any, rows: Rows, edited: np.ndarray, outputs: Outputs, device: torch.device) -> None:
    """Write the neurons of the cells that were not edited, given the mask of those that were."""
    if outputs.neurons is None:
        return
    with torch.no_grad():
        for part in chunks(np.flatnonzero(~edited), max(rows.shape[1], outputs.neurons.shape[1])):
            outputs.neurons[part] = space.encode(rows[part].to(device)).cpu().numpy()


def scaled(carrier: Any, strength: float) -> Any:
    """Return a carrier that goes only a part of the way, or further."""
    return carrier if strength == 1 else replace(carrier, edit=Scaled(carrier.edit, strength))


def resampled(
    learnt: Sequence[Learnt],
    rows: Rows,
    query: np.ndarray,
    device: torch.device,
    *,
    n: int,
    rng: int,
    strength: float = 1.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the standard deviation of each edited value, and of each edited mean, over resamples of the pair.

    Several models take turns.
    """
    generator = np.random.default_rng(rng)
    sums, means = np.zeros((2, len(query) if n else 0, rows.shape[1]), dtype=np.float32), []
    for i in range(n):
        one = learnt[i % len(learnt)]
        pair = one.pair
        drawn = (
            _redraw(generator, *labels)
            for labels in ((pair.source_strata, pair.source_pairing), (pair.target_strata, pair.target_pairing))
        )
        move = scaled(one.again(pair.only(*drawn)), strength)
        mean = np.zeros(rows.shape[1])
        for part in chunks(np.arange(len(query)), rows.shape[1]):
            x = move(rows[query[part]].to(device)).cpu().numpy()
            mean += x.sum(axis=0, dtype=float)
            so_far, squares = sums[:, part[0] : part[-1] + 1]
            change = x - so_far
            so_far += change / (i + 1)
            squares += change * (x - so_far)
        means.append(mean / len(query))
    se = np.std(means, axis=0, ddof=1) if n > 1 else np.full(rows.shape[1], np.nan)
    return rows.in_place(np.sqrt(sums[1] / max(n - 1, 1))), se


def _redraw(generator: np.random.Generator, strata: np.ndarray, pairs: np.ndarray | None) -> np.ndarray:
    """Draw as many cells of every stratum of every pair again as it has."""
    labels = strata if pairs is None else np.unique(np.stack([strata, pairs]), axis=1, return_inverse=True)[1]
    own = (np.flatnonzero(labels == label) for label in np.unique(labels))
    return np.concatenate([generator.choice(cells, len(cells)) for cells in own])
