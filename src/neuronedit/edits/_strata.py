"""Fit an edit within every stratum, and let a cell move as the source cells that resemble it move within theirs."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from .._blocks import encode_in_blocks
from .._check import Count, LabelsOf
from .._maps import Average
from .._subsample import subsample
from .._types import CellTensor, Map, Method, Space
from ._neighbors import Nearest
from ._percentile import Percentiles

# a mean of 20 cells has a standard error of 0.22 standard deviations, one of 50 cells of 0.14
MIN_CELLS_PER_STRATUM = 20  # fewer, before or after the change, are not fitted alone
PRIOR_CELLS = 50  # the edit of all cells counts as so many against a stratum's n
# of the source, among which neighbours are looked for: the time to edit a cell grows with it, and with the features
MAX_CELLS_TO_RESEMBLE = 10_000  # as in `local`
MIN_CELLS_TO_RESEMBLE = 2_000  # however many features there are
MAX_VALUES_TO_RESEMBLE = 2**23  # cells times features: 4,000 cells of 2,000 genes
MAX_TIMES_DRAWN = 10  # a target cell is drawn at most so often to make up for others of its stratum


class Populations(NamedTuple):
    """Cells, or their neurons, before and after an observed change, and what is known of each.

    Examples
    --------
    >>> import numpy as np, torch, neuronedit as ne
    >>> source, strata = torch.zeros(4, 2), np.array([0, 0, 1, 1])
    >>> populations = ne.edits.Populations(source, source + 1, strata, strata)
    >>> ne.edits.on_all(ne.edits.shift)(populations)(torch.zeros(1, 2)).tolist()
    [[1.0, 1.0]]

    Attributes
    ----------
    source, target
        Cells before and after the change, ``(n_cells, n_features)``.
    source_strata, target_strata
        Numbers of strata, -1 for none, ``(n_cells,)``, or several labelings, ``(n_cells, n_labelings)``.
    source_pairing, target_pairing
        In which donor, say, a cell was observed, ``(n_cells,)``. None: it is not known.
    compared_in
        Space in which `by_strata` looks for the nearest cells. None: they are compared as they are.
    """

    source: CellTensor
    target: CellTensor
    source_strata: Annotated[np.ndarray, LabelsOf("source")]
    target_strata: Annotated[np.ndarray, LabelsOf("target")]
    source_pairing: Annotated[np.ndarray, LabelsOf("source")] | None = None
    target_pairing: Annotated[np.ndarray, LabelsOf("target")] | None = None
    compared_in: Space | None = None

    def subset(self, source: np.ndarray, target: np.ndarray) -> Self:
        """Return these source and target cells alone, given as masks or row numbers."""
        return self._replace(
            source=self.source[torch.from_numpy(source)],
            target=self.target[torch.from_numpy(target)],
            source_strata=self.source_strata[source],
            target_strata=self.target_strata[target],
            source_pairing=None if self.source_pairing is None else self.source_pairing[source],
            target_pairing=None if self.target_pairing is None else self.target_pairing[target],
        )


def on_all(method: Method, /) -> Callable[[Populations], Map]:
    """Fit an edit to all cells alike, whatever their strata.

    Examples
    --------
    >>> import numpy as np, torch, neuronedit as ne
    >>> populations = ne.edits.Populations(torch.zeros(4, 2), torch.ones(4, 2), np.zeros(4), np.zeros(4))
    >>> ne.edits.on_all(ne.edits.shift)(populations)(torch.zeros(1, 2)).tolist()
    [[1.0, 1.0]]

    Parameters
    ----------
    method
        An edit.

    Returns
    -------
    The function that fits it to `Populations`.
    """
    return lambda populations: method(populations.source, populations.target)


def on_balanced(method: Method, /) -> Callable[[Populations], Map]:
    """Fit an edit to all cells, once the target's strata are drawn in the shares that they have in the source.

    Examples
    --------
    >>> import numpy as np, torch, neuronedit as ne
    >>> source, target = torch.tensor([0.0, 10.0]).repeat(50)[:, None], torch.tensor([1.0, 1.0, 1.0, 11.0]).repeat(25)[:, None]
    >>> populations = ne.edits.Populations(source, target, np.tile([0, 1], 50), np.tile([0, 0, 0, 1], 25))
    >>> ne.edits.on_balanced(ne.edits.shift)(populations)(torch.zeros(1, 1)).tolist()
    [[1.0]]

    Parameters
    ----------
    method
        An edit.

    Returns
    -------
    The function that fits it to `Populations`: with several labelings, the mean of the edits that each of them gives.
    """

    def fit(populations: Populations) -> Map:
        source, target, source_strata, target_strata, *_ = populations
        labelings = list(zip(as_labelings(source_strata), as_labelings(target_strata), strict=True))
        maps = [method(source, target[torch.from_numpy(balance(*labels))]) for labels in labelings]
        return _average(maps)

    return fit


def _average(maps: list[Map]) -> Map:
    """Return the mean of edits, which is one edit where all have the same percentiles of the source: their shifts are averaged."""
    alike = [edit for edit in maps if isinstance(edit, Percentiles) and edit.finds_as(maps[0])]
    if len(alike) == len(maps):
        return replace(alike[0], shifts=torch.stack([edit.shifts for edit in alike]).mean(0))
    return Average(maps, [1 / len(maps)] * len(maps))


# How the source cells of strata move, (n_cells, n_features): by what moves them, the number of the labeling, and the stratum.
MovedWithin = dict[tuple["ByStrata", int, int], Tensor]


@dataclass(frozen=True, eq=False)
class ByStrata:
    """Fits an edit within every stratum; what `by_strata` returns."""

    method: Method
    n_neighbors: int

    def __call__(self, populations: Populations, /) -> Nearest:
        return self.fit(populations)

    def fit(self, populations: Populations, known: MovedWithin | None = None) -> Nearest:
        """Fit it; the moves of strata that are ``known`` are taken, and others are added.

        These strata must have had the same cells.
        """
        source, target, source_strata, target_strata, *_, compared_in = populations
        labelings = zip(as_labelings(source_strata), as_labelings(target_strata), strict=True)
        rows = subsample(len(source), limit_resembling(source.shape[1]))
        moves = [self._move(source, target, *labels, rows, known, i) for i, labels in enumerate(labelings)]
        places = source[rows] if compared_in is None else encode_in_blocks(compared_in, source[rows])
        return Nearest(places, torch.stack(moves).mean(0), self.n_neighbors, compared_in)

    def _move(
        self,
        source: Tensor,
        target: Tensor,
        source_strata: np.ndarray,
        target_strata: np.ndarray,
        rows: np.ndarray,
        known: MovedWithin | None,
        labeling: int,
    ) -> Tensor:
        """Return how the source cells in these rows move by their strata's edits: ``(len(rows), n_features)``."""
        # by the edit of all cells, the target's strata in the source's shares
        cells, strata = source[rows], source_strata[rows]
        balanced = target[torch.from_numpy(balance(source_strata, target_strata))]
        moves = self.method(source, balanced)(cells) - cells
        # and by its own stratum's edit: the more cells that has, the more it counts
        for stratum in np.unique(strata[strata >= 0]):
            s, t, own = (
                torch.from_numpy(np.flatnonzero(labels == stratum)) for labels in (source_strata, target_strata, strata)
            )
            n = min(len(s), len(t))
            if n < MIN_CELLS_PER_STRATUM:
                continue
            if known is None:
                moved = self._move_within(source[s], target[t], cells[own])
            else:
                key = (self, labeling, int(stratum))  # the caller's own method may have no hash
                if key not in known:
                    known[key] = self._move_within(source[s], target[t], source[s])
                moved = known[key][torch.from_numpy(np.searchsorted(s.numpy(), rows[own.numpy()]))]
            moves[own] += (moved - moves[own]) * (n / (n + PRIOR_CELLS))
        return moves

    def _move_within(self, source: Tensor, target: Tensor, cells: Tensor) -> Tensor:
        """Return how cells of a stratum move by its own edit, ``(n_cells, n_features)``."""
        return self.method(source, target)(cells) - cells


def by_strata(method: Method, /, *, n_neighbors: Count = 30) -> ByStrata:
    """Fit an edit within every stratum; a cell moves as the source cells nearest to it do.

    A difference in the composition of source and target is then not mistaken for a change. Small strata are shrunk
    towards the edit that is fitted to all cells once the target's strata have the source's shares: it counts as 50 cells of
    each stratum, and alone where one has fewer than 20 before or after the change.

    Examples
    --------
    >>> import numpy as np, torch, neuronedit as ne
    >>> source, labels = torch.tensor([[0.0], [10.0]]).repeat(50, 1), np.tile([0, 1], 50)
    >>> target = source + torch.tensor([[-3.0], [3.0]]).repeat(50, 1)
    >>> populations = ne.edits.Populations(source, target, labels, labels)
    >>> ne.edits.by_strata(ne.edits.shift)(populations)(torch.tensor([[0.0], [10.0]])).tolist()
    [[-1.5], [11.5]]

    Parameters
    ----------
    method
        An edit.
    %(n_neighbors)s

    Returns
    -------
    The function that fits it to `Populations`: with several labelings, source cells move by the mean over them. It looks for
    neighbours among at most 10,000 source cells, drawn at random. With more than about 800 features there are fewer, such as
    4,000 with 2,000 genes.
    """
    return ByStrata(method, n_neighbors)


def limit_resembling(n_features: int) -> int:
    """Return among how many source cells neighbours are looked for."""
    return max(MIN_CELLS_TO_RESEMBLE, min(MAX_CELLS_TO_RESEMBLE, MAX_VALUES_TO_RESEMBLE // n_features))


def as_labelings(strata: np.ndarray) -> list[np.ndarray]:
    """Return each labeling of cells, ``(n_cells,)``; one where strata are given as such."""
    return [strata] if strata.ndim == 1 else list(strata.T)


def balance(source_strata: np.ndarray, target_strata: np.ndarray) -> np.ndarray:
    """Return row numbers of the target, drawn so that its strata have the shares that they have in the source.

    Strata that only the target has are left out; those with fewer than 20 cells in it, and cells without one, keep their share.
    """
    weights = np.ones(len(target_strata))
    for stratum in np.unique(target_strata[target_strata >= 0]):
        own = target_strata == stratum
        share, wanted = own.mean(), (source_strata == stratum).mean()
        if own.sum() >= MIN_CELLS_PER_STRATUM or wanted == 0:
            weights[own] = min(wanted / share, MAX_TIMES_DRAWN)
    if not weights.any():
        return np.arange(len(target_strata))
    steps = (np.arange(len(weights)) + 0.5) / len(weights)  # systematic sampling: no chance
    return np.searchsorted(np.cumsum(weights) / weights.sum(), steps)
