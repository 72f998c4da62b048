"""Shift and stretch every feature."""

from dataclasses import dataclass

import torch
from torch import Tensor

from .._docs import shared_docs
from .._maps import ShapeRepr


@dataclass(frozen=True, eq=False, repr=False)
class Stretch(ShapeRepr):
    """The map ``x -> (x - center) * factor + goal``, each ``(n_features,)``."""

    center: Tensor
    factor: Tensor
    goal: Tensor

    def __call__(self, x: Tensor, /) -> Tensor:
        return (x - self.center) * self.factor + self.goal


@shared_docs
def affine(source: Tensor, target: Tensor, /) -> Stretch:
    """Give every feature the target's mean and standard deviation.

    Examples
    --------
    >>> import torch, neuronedit as ne
    >>> source = torch.tensor([[0.0], [2.0]])
    >>> ne.edits.affine(source, 3 * source)(torch.tensor([[5.0]])).tolist()
    [[15.0]]

    Parameters
    ----------
    %(populations)s

    Returns
    -------
    The map ``x -> (x - mean(source)) / sd(source) * sd(target) + mean(target)``. Constant features are only shifted.
    """
    spread = source.std(0, correction=0)
    factor = torch.where(spread > 0, target.std(0, correction=0) / spread, 1.0)
    return Stretch(source.mean(0), factor, target.mean(0))
