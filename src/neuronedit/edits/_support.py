"""How far an edit extrapolates: which cells lie where the source was seen."""

from collections.abc import Callable

import torch
from torch import Tensor

from ._neighbors import draw


def support(source: Tensor, /) -> Callable[[Tensor], Tensor]:
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
    low, high = source.amin(0), source.amax(0)
    return lambda z: ((z >= low) & (z <= high)).float().mean(1)


def distance(
    source: Tensor, /, *, n_neighbors: int = 10, max_cells: int = 2_000, seed: int = 0
) -> Callable[[Tensor], Tensor]:
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
    return lambda z: torch.cdist(z, cells).topk(k, largest=False).values.mean(1) / usual
