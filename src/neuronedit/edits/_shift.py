"""Latent arithmetic: one vector, the difference of the means."""

from dataclasses import dataclass

from torch import Tensor

from .._docs import shared_docs
from .._maps import ShapeRepr


@dataclass(frozen=True, eq=False, repr=False)
class Shift(ShapeRepr):
    """The map ``z -> z + vector``; ``vector`` is ``(n_neurons,)``."""

    vector: Tensor

    def __call__(self, z: Tensor, /) -> Tensor:
        return z + self.vector


@shared_docs
def shift(source: Tensor, target: Tensor, /) -> Shift:
    """Move every cell by the difference between the target's and the source's mean neurons: the paper's Constant Shift.

    Examples
    --------
    >>> import torch, neuronedit as ne
    >>> ne.edits.shift(torch.zeros(4, 2), torch.ones(4, 2))(torch.full((1, 2), 5.0))
    tensor([[6., 6.]])

    Parameters
    ----------
    %(populations)s

    Returns
    -------
    The map ``z -> z + mean(target) - mean(source)``.
    """
    return Shift(target.mean(0) - source.mean(0))
