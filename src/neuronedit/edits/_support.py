"""How far an edit extrapolates: which cells lie where the source was seen."""

from dataclasses import dataclass

import torch
from torch import Tensor

from .._maps import ShapeRepr
from ._neighbors import draw


@dataclass(frozen=True, eq=False, repr=False)
class Support(ShapeRepr):
    """Gives the share of a cell's neurons from ``low`` to ``high``, each ``(n_neurons,)``."""

    low: Tensor
    high: Tensor

    def __call__(self, z: Tensor, /) -> Tensor:
        """Return a number for each cell, ``(n_cells,)``."""
        return ((z >= self.low) & (z <= self.high)).float().mean(1)


@dataclass(frozen=True, eq=False, repr=False)
class Distance(ShapeRepr):
    """Gives the mean distance of a cell to the ``n_neighbors`` nearest ``cells``, divided by what is ``usual``."""

    cells: Tensor
    n_neighbors: int
    usual: float

    def __call__(self, z: Tensor, /) -> Tensor:
        """Return a number for each cell, ``(n_cells,)``."""
        lengths, found = self.cells.square().sum(1), z.new_empty(len(z))
        buffer = z.new_empty(min(len(z), 512), len(lengths))
        for block, to in zip(z.split(512), found.split(512), strict=True):
            beside = torch.addmm(lengths, block, self.cells.T, alpha=-2, out=buffer[: len(block)])
            squares = beside.topk(self.n_neighbors, largest=False).values + block.square().sum(1, keepdim=True)
            to.copy_(squares.clamp_min(0).sqrt().mean(1))
        return found / self.usual


def support(source: Tensor, /) -> Support:
    """Return the function that gives, for each cell, the share of its neurons within the source's range.

    Parameters
    ----------
    source
        Neurons of the source, ``(n_cells, n_neurons)``.

    Returns
    -------
    ``(n_cells, n_neurons) -> (n_cells,)``, from 0 (every neuron beyond what the source showed) to 1 (none).
    It looks at one neuron at a time: a cell can lie within every range and still resemble no source cell. `distance` looks
    at all together.

    Examples
    --------
    >>> import torch, neuronedit as ne
    >>> inside = ne.edits.support(torch.tensor([[0.0, 0.0], [1.0, 1.0]]))
    >>> inside(torch.tensor([[0.5, 0.5], [0.5, 2.0]])).tolist()
    [1.0, 0.5]
    """
    return Support(source.amin(0), source.amax(0))


def distance(source: Tensor, /, *, n_neighbors: int = 10, max_cells: int = 2_000, seed: int = 0) -> Distance:
    """Return the function that gives, for each cell, how far it lies from the source cells that resemble it most.

    Parameters
    ----------
    source
        Neurons of the source, ``(n_cells, n_neurons)``.
    n_neighbors
        Nearest source cells whose distances are averaged.
    max_cells
        Source cells that are looked at, drawn at random.
    seed
        Of the drawing.

    Returns
    -------
    ``(n_cells, n_neurons) -> (n_cells,)``: the mean Euclidean distance to those neighbours, divided by what 99 % of the
    source's own cells stay below. Above 1 a cell lies outside the source.

    Examples
    --------
    >>> import torch, neuronedit as ne
    >>> source = torch.linspace(0, 1, 100)[:, None]
    >>> far = ne.edits.distance(source)(torch.tensor([[0.5], [3.0]]))
    >>> (far > 1).tolist()
    [False, True]
    """
    cells = source[draw(len(source), max_cells, seed)]
    k = min(n_neighbors, len(cells) - 1)
    own = torch.cdist(cells, cells).fill_diagonal_(torch.inf).topk(k, largest=False).values.mean(1)
    usual = torch.quantile(own, 0.99).clamp_min(1e-12)
    return Distance(cells, k, float(usual))
