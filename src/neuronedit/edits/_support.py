"""How far an edit extrapolates: which cells lie where there are source cells."""

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from .._check import Count, Positive, Seed, at_least
from .._maps import ShapeRepr
from .._subsample import subsample
from .._types import CellTensor, TwoCellTensor, Vector
from ._neighbors import find_nearest, take_smallest

USUAL_SHARE = 0.99  # of the source's own cells are at usual distances: one in a hundred lies apart by chance


@dataclass(frozen=True, eq=False, repr=False)
class Support(ShapeRepr):
    """Gives the share of each cell's neurons from ``low`` to ``high``, both ``(n_neurons,)``."""

    low: Vector
    high: Vector

    def __call__(self, z: Tensor, /) -> Tensor:
        return ((z >= self.low) & (z <= self.high)).float().mean(1)


@dataclass(frozen=True, eq=False, repr=False)
class Distance(ShapeRepr):
    """Gives the mean distance of each cell to the ``n_neighbors`` nearest ``cells``, divided by what is ``usual``."""

    cells: CellTensor
    n_neighbors: Count
    usual: Positive

    def __call__(self, z: Tensor, /) -> Tensor:
        return find_nearest(z, self.cells, self.n_neighbors, ordered=False)[0].mean(1) / self.usual


def support(source: CellTensor, /) -> Support:
    """Return the function that gives, for each cell, the share of its neurons that lie, one by one, in the source's range.

    Examples
    --------
    >>> import torch, neuronedit as ne
    >>> ne.edits.support(torch.tensor([[0.0, 0.0], [1.0, 1.0]]))(torch.tensor([[0.5, 0.5], [0.5, 2.0]])).tolist()
    [1.0, 0.5]

    Parameters
    ----------
    source
        Neurons of the source, ``(n_cells, n_neurons)``.

    Returns
    -------
    ``(n_cells, n_neurons) -> (n_cells,)``, from 0 (every neuron beyond the source's range) to 1 (none).
    """
    return Support(source.amin(0), source.amax(0))


def distance(
    source: TwoCellTensor, /, *, n_neighbors: Count = 10, max_cells: Annotated[int, at_least(2)] = 2_000, rng: Seed = 0
) -> Distance:
    """Return the function that gives, for each cell, how far it lies from the source cells that resemble it most.

    Examples
    --------
    >>> import torch, neuronedit as ne
    >>> source = torch.linspace(0, 1, 100)[:, None]
    >>> (ne.edits.distance(source)(torch.tensor([[0.5], [3.0]])) > 1).tolist()
    [False, True]

    Parameters
    ----------
    source
        Neurons of the source, ``(n_cells, n_neurons)``, at least two cells.
    n_neighbors
        Nearest source cells whose distances are averaged.
    max_cells
        Source cells among which these are looked for, drawn at random.
    %(rng)s

    Returns
    -------
    ``(n_cells, n_neurons) -> (n_cells,)``: the mean Euclidean distance to those neighbours, divided by what 99 % of the
    source's own cells stay below. Above 1 a cell lies outside the source.
    """
    cells = source[subsample(len(source), max_cells, rng)]
    if len(cells) < 2:
        raise ValueError("distance needs at least two source cells: what is usual is how far they lie apart.")
    k = min(n_neighbors, len(cells) - 1)
    centered = cells - cells.mean(0)  # far from 0 squares would lose what differs between cells
    to_others = torch.cdist(centered, centered).fill_diagonal_(torch.inf)  # (n_cells, n_cells)
    means = take_smallest(to_others, k, ordered=False)[0].mean(1)
    # nearer than numbers of this size are resolved is the same place
    resolution = 10 * torch.finfo(cells.dtype).eps * float(cells.abs().max()) * cells.shape[1] ** 0.5
    usual = max(float(torch.quantile(means, USUAL_SHARE)), resolution, 1e-12)
    return Distance(cells, k, usual)
