"""How far an edit extrapolates: which cells lie where the source was seen."""

from collections.abc import Callable

from torch import Tensor


def support(source: Tensor, /) -> Callable[[Tensor], Tensor]:
    """Return the function that gives, for each cell, the share of its neurons within the source's range.

    Parameters
    ----------
    source
        Neurons of the source, ``(n_cells, n_neurons)``.

    Returns
    -------
    ``(n_cells, n_neurons) -> (n_cells,)``, from 0 (every neuron beyond what the source showed) to 1 (none).
    It looks at one neuron at a time: a cell can lie within every range and still resemble no source cell.

    Examples
    --------
    >>> import torch, neuronedit as ne
    >>> inside = ne.edits.support(torch.tensor([[0.0, 0.0], [1.0, 1.0]]))
    >>> inside(torch.tensor([[0.5, 0.5], [0.5, 2.0]])).tolist()
    [1.0, 0.5]
    """
    low, high = source.amin(0), source.amax(0)
    return lambda z: ((z >= low) & (z <= high)).float().mean(1)
