"""Shift and stretch every feature."""

import torch
from torch import Tensor

from .._types import Map


def affine(source: Tensor, target: Tensor, /) -> Map:
    """Give every feature the target's mean and standard deviation.

    Parameters
    ----------
    source, target
        ``(n_cells, n_features)``

    Returns
    -------
    The map ``x -> (x - mean(source)) / sd(source) * sd(target) + mean(target)``; a feature that is constant in the source
    is shifted alone.

    Examples
    --------
    >>> import torch, neuronedit as ne
    >>> source = torch.tensor([[0.0], [2.0]])
    >>> ne.edits.affine(source, 3 * source)(torch.tensor([[5.0]])).tolist()
    [[15.0]]
    """
    spread = source.std(0, correction=0)
    stretch = torch.where(spread > 0, target.std(0, correction=0) / spread, 1.0)
    center, goal = source.mean(0), target.mean(0)
    return lambda x: (x - center) * stretch + goal
