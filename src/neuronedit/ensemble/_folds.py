"""Folds of the source and target cells: the strata that are given, or populations that were matched without labels."""

from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from torch import Tensor

from .._subsample import subsample
from ..edits import Populations
from ..edits._neighbors import find_nearest
from ..edits._strata import MIN_CELLS_PER_STRATUM
from ._matching import Matching

MAX_CELLS_FOR_NOVELTY = 1_000  # all references are cut to it, as distances depend on how dense cells lie
NOVELTY_WIDTH = 0.35  # in logarithms: a fold 1.4 times as novel as the query counts 0.6 of one that is as novel
FAMILIAR_WIDTH = 0.15  # likewise: a query 1.2 times as novel as half of the source is to the other half: half familiar
MAX_FAMILIAR = 0.7  # another sample is never only more of the same cells
MIN_RESEMBLANCE = 0.2  # added to every share: a fold that the query does not resemble is still evidence

CellLabels = tuple[np.ndarray, np.ndarray]  # of every source and target cell: its stratum


class FoldKind(StrEnum):
    """What the folds of an ensemble are.

    Examples
    --------
    >>> import torch, neuronedit as ne
    >>> few = torch.randn(10, 3)
    >>> ne.ensemble.cross_validate(ne.spaces.Identity(n_features=3), few, few + 1, few).fold_kind == ne.ensemble.FoldKind.NONE
    True

    Attributes
    ----------
    STRATA
        The strata that were given.
    DERIVED
        Populations that were matched without labels.
    NONE
        There are no folds, as there are too few cells.
    """

    STRATA = "strata"
    DERIVED = "derived"
    NONE = "none"


@dataclass(frozen=True)
class FoldCells:
    """Which of the source and of the target cells are in a fold, as masks."""

    name: str
    source: np.ndarray
    target: np.ndarray
    is_half: bool = False

    def subset(self, source: np.ndarray, target: np.ndarray) -> "FoldCells":
        """Return it for these source and target cells alone, given as row numbers."""
        return replace(self, source=self.source[source], target=self.target[target])

    def has_enough(self) -> bool:
        """Return whether there are enough cells in it, and enough others, before and after the change."""
        counts = [(side.sum(), (~side).sum()) for side in (self.source, self.target)]
        return bool(np.min(counts) >= MIN_CELLS_PER_STRATUM)


@dataclass(frozen=True)
class Fold:
    """Cells that were left out, and what each candidate predicts for them from the others."""

    name: str
    weight: float  # the weights of all folds sum to 1
    query: Tensor  # its cells before the change, (n_cells, n_features)
    truth: Tensor  # and after it
    predicted: Tensor  # (n_candidates, n_cells, n_features)
    gap: float  # energy distance from query to truth
    is_half: bool = False  # of all cells: it says how well an ensemble does, and nothing of which edits generalize


def label_strata(source: Tensor, target: Tensor, strata: CellLabels | None) -> Populations | None:
    """Return the populations with the numbers of the strata that are given, if two have enough cells; else nothing."""
    if strata is None:
        return None
    codes = np.unique(np.concatenate(strata), return_inverse=True)[1]
    s, t = codes[: len(source)], codes[len(source) :]
    counts = [np.minimum((s == code).sum(), (t == code).sum()) for code in np.unique(codes)]
    if sum(count >= MIN_CELLS_PER_STRATUM for count in counts) < 2:
        return None
    return Populations(source, target, s, t)


def make_folds(
    populations: Populations, strata: CellLabels | None, matching: Matching | None, rng: int
) -> list[FoldCells]:
    """Return for each fold which cells are in it: a stratum; or a population that was matched, and halves of all cells."""
    # strata
    if matching is None and strata is not None:
        names = np.unique(np.concatenate(strata))
        return [FoldCells(str(name), strata[0] == name, strata[1] == name) for name in names]
    # populations of the first labeling
    s, t = (labels[:, 0] for labels in (populations.source_strata, populations.target_strata))
    codes = np.unique(s)
    if len(codes) < 2:  # too few cells to find populations are too few to be halved
        return []
    folds = [FoldCells(f"population {code + 1}", s == code, t == code) for code in codes]
    # halves
    generator = np.random.default_rng(rng)
    halves = [generator.permutation(len(labels)) % 2 for labels in (s, t)]
    return folds + [FoldCells(f"half {i + 1}", halves[0] == i, halves[1] == i, is_half=True) for i in range(2)]


def measure_novelty(cells: Tensor, reference: Tensor, *, n_neighbors: int = 10, rng: int = 0) -> float:
    """Return the mean distance of cells to the nearest of the reference cells, both subsampled."""
    cells = cells[subsample(len(cells), MAX_CELLS_FOR_NOVELTY, rng)]
    reference = reference[subsample(len(reference), MAX_CELLS_FOR_NOVELTY, rng + 1)]
    return float(find_nearest(cells, reference, n_neighbors, ordered=False)[0].mean())


def find_resembling(cells: Tensor, reference: Tensor, *, n_neighbors: int = 15, rng: int = 0) -> np.ndarray:
    """Return, for a subsample of cells, the row numbers of the reference cells nearest to each: ``(n, n_neighbors)``."""
    cells = cells[subsample(len(cells), MAX_CELLS_FOR_NOVELTY, rng)]
    return find_nearest(cells, reference, n_neighbors)[1].cpu().numpy()


def weigh_folds(
    novelties: np.ndarray, query_novelty: float, shares: np.ndarray, is_half: np.ndarray | None = None
) -> np.ndarray:
    """Weigh folds by how nearly they are as novel as the query, and by the share of it that resembles each: ``(n_folds,)``.

    Halves of all cells ask how an edit does on more of the same cells, other folds how it does on other kinds: together,
    halves count by how far the query is no more novel than they are.
    """
    novelties = np.maximum(novelties, 1e-9)
    is_half = np.zeros(len(novelties), dtype=bool) if is_half is None else is_half
    apart = np.log(novelties / max(query_novelty, 1e-9))
    weights = np.zeros(len(novelties))
    if not is_half.all():
        squares = (apart[~is_half] / NOVELTY_WIDTH) ** 2
        alike = np.exp(-(squares - squares.min()) / 2) + 1e-3
        weights[~is_half] = alike * (shares[~is_half] + MIN_RESEMBLANCE)
        weights /= weights.sum()
    if is_half.any():
        beyond = max(0.0, float(-apart[is_half].mean()))  # how much more novel the query is, in logarithms
        familiar = MAX_FAMILIAR * float(np.exp(-((beyond / FAMILIAR_WIDTH) ** 2) / 2)) if not is_half.all() else 1.0
        weights = np.where(is_half, familiar / is_half.sum(), (1 - familiar) * weights)
    return weights
