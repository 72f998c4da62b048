"""Learn a change in every stratum, and let a cell move as the source cells that resemble it move within theirs."""

from collections.abc import Callable
from typing import NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from .._types import Map, Method
from ._neighbors import Nearest, draw

FEWEST = 20
"""Cells of a stratum, before and after the change, from which a change of its own is learnt."""

PRIOR = 50
"""Cells that the change of all strata weighs against a stratum's own."""

MOST = 10_000
"""Source cells among which a cell looks for those that resemble it."""


class Populations(NamedTuple):
    """An observed change: cells or neurons before and after it, ``(n_cells, n)``, and of each cell the stratum (-1: none).

    Where the change was observed several times, in several donors say, ``source_pairs`` and ``target_pairs`` say in which.
    """

    source: Tensor
    target: Tensor
    source_strata: np.ndarray
    target_strata: np.ndarray
    source_pairing: np.ndarray | None = None
    target_pairing: np.ndarray | None = None

    def only(self, source: np.ndarray, target: np.ndarray) -> Self:
        """Return some of the cells, given as masks or row numbers."""
        s, t = (np.arange(len(x))[rows] for x, rows in ((self.source, source), (self.target, target)))
        return self._replace(
            source=self.source[torch.from_numpy(s)],
            target=self.target[torch.from_numpy(t)],
            source_strata=self.source_strata[s],
            target_strata=self.target_strata[t],
            source_pairing=None if self.source_pairing is None else self.source_pairing[s],
            target_pairing=None if self.target_pairing is None else self.target_pairing[t],
        )


def on_all(method: Method, /) -> Callable[[Populations], Map]:
    """Learn an edit on all cells of a pair alike.

    Parameters
    ----------
    method
        An edit.

    Returns
    -------
    The function that learns it on a pair.

    Examples
    --------
    >>> import numpy as np, torch, neuronedit as ne
    >>> pair = ne.edits.Pair(torch.zeros(4, 2), torch.ones(4, 2), np.zeros(4), np.zeros(4))
    >>> ne.edits.on_all(ne.edits.shift)(pair)(torch.zeros(1, 2)).tolist()
    [[1.0, 1.0]]
    """
    return lambda pair: method(pair.source, pair.target)


def by_strata(method: Method, /, *, n_neighbors: int = 30) -> Callable[[Populations], Map]:
    """Learn an edit in every stratum of a pair; a cell moves as the source cells nearest to it do.

    Each source cell moves by the edit of its own stratum, so a difference in how many cells of a stratum source and target
    hold is not taken for a change. A small stratum is drawn to the edit learnt on all cells, as if 50 cells showed that;
    with fewer than 20 cells before or after the change it takes that alone.

    Parameters
    ----------
    method
        An edit.
    n_neighbors
        How many source cells' moves are averaged, of at most 10,000. More is smoother across strata.

    Returns
    -------
    The function that learns it on a pair.

    Examples
    --------
    >>> import numpy as np, torch, neuronedit as ne
    >>> source, labels = torch.tensor([[0.0], [10.0]]).repeat(50, 1), np.tile([0, 1], 50)
    >>> target = source + torch.tensor([[-3.0], [3.0]]).repeat(50, 1)
    >>> pair = ne.edits.Pair(source, target, labels, labels)
    >>> ne.edits.by_strata(ne.edits.shift)(pair)(torch.tensor([[0.0], [10.0]])).tolist()
    [[-1.5], [11.5]]
    """

    def learn(pair: Populations) -> Map:
        cells, labels = pair.source, pair.source_strata
        moves = method(cells, pair.target)(cells) - cells
        for stratum in np.unique(labels[labels >= 0]):
            s, t = (torch.from_numpy(np.flatnonzero(these == stratum)) for these in (labels, pair.target_strata))
            if (n := min(len(s), len(t))) >= FEWEST:
                own = method(cells[s], pair.target[t])(cells[s]) - cells[s]
                moves[s] += (own - moves[s]) * (n / (n + PRIOR))
        few = draw(len(cells), MOST)
        return Nearest(cells[few], moves[few], n_neighbors)

    return learn
