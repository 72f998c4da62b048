"""Latent arithmetic: one vector, the difference of the means."""

from dataclasses import dataclass

from torch import Tensor

from .._maps import ShapeRepr


@dataclass(frozen=True, eq=False, repr=False)
class Shift(ShapeRepr):
    """The map ``z -> z + vector``; ``vector`` is ``(n_neurons,)``."""

    vector: Tensor

    def __call__(self, z: Tensor, /) -> Tensor:
        """Move neurons."""
        return z + self.vector


def shift(source: Tensor, target: Tensor, /) -> Shift:
    """Move every cell by the difference between the target's and the source's mean neurons.

    The paper's Constant Shift. It cannot follow a change that differs between cells.

    Parameters
    ----------
    source, target
        Neurons, ``(n_cells, n_neurons)``.

    Returns
    -------
    The map ``z -> z + mean(target) - mean(source)``.

    Examples
    --------
    >>> import torch, neuronedit as ne
    >>> ne.edits.shift(torch.zeros(4, 2), torch.ones(4, 2))(torch.full((1, 2), 5.0))
    tensor([[6., 6.]])
    """
    return Shift(target.mean(0) - source.mean(0))
