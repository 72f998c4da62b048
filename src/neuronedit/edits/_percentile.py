"""Neuron editing: move every neuron as its percentiles moved from source to target."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .._maps import ShapeRepr


@dataclass(frozen=True, eq=False, repr=False)
class Percentiles(ShapeRepr):
    """How far each neuron moves at its percentiles: ``knots``, the source's, and ``shifts``, each ``(n_neurons, n_bins + 1)``."""

    knots: Tensor
    shifts: Tensor

    def __call__(self, z: Tensor, /) -> Tensor:
        """Move neurons by the shift interpolated between the percentiles beside them."""
        values, last = z.T.contiguous(), self.knots.shape[1] - 1
        upper = torch.searchsorted(self.knots, values, right=True).clamp_(1, last)
        left, right = self.knots.gather(1, upper - 1), self.knots.gather(1, upper)
        weight = ((values - left) / (right - left).clamp_min(torch.finfo(left.dtype).tiny)).clamp_(0, 1)
        return z + torch.lerp(self.shifts.gather(1, upper - 1), self.shifts.gather(1, upper), weight).T


def percentile(source: Tensor, target: Tensor, /, *, n_bins: int = 100) -> Percentiles:
    r"""Learn how each neuron's percentiles move, and move other cells the same way.

    With :math:`p_j^S` and :math:`p_j^T` the percentiles of one neuron, a value :math:`a` between :math:`p_j^S` and
    :math:`p_{j+1}^S` is moved by the shift :math:`p^T - p^S`, interpolated linearly between the two. Inside the source's
    range this is equation 1 of the paper. Where the paper's formula is undefined: beyond the range the end shift continues;
    where several percentiles are equal (a silent neuron, a pile of zeros), the value lies in the middle of the target's
    percentiles of the same ranks.

    Parameters
    ----------
    source, target
        Neurons, ``(n_cells, n_neurons)``.
    n_bins
        Number of intervals between percentiles; 100 as published. More follow the source and target more closely and
        carry more of their sampling noise.

    Returns
    -------
    A map that never decreases in any neuron, is exactly the identity when source and target are the same cells, and
    carries the source's percentiles onto the target's.

    References
    ----------
    Amodio et al. 2018, Out-of-sample extrapolation with neuron editing, arXiv:1805.12198, equation 1.

    Examples
    --------
    >>> import torch, neuronedit as ne
    >>> source = torch.randn(500, 3)
    >>> move = ne.edits.percentile(source, 2 * source + 1)
    >>> move(torch.zeros(1, 3)).round().tolist()
    [[1.0, 1.0, 1.0]]
    """
    if n_bins < 1:
        raise ValueError(f"n_bins must be at least 1; it is {n_bins}.")
    knots = _percentiles(source, n_bins)
    shifts = _percentiles(target, n_bins) - knots
    first, last = torch.searchsorted(knots, knots), torch.searchsorted(knots, knots, right=True) - 1
    shifts = (shifts.gather(1, first) + shifts.gather(1, last)) / 2
    return Percentiles(knots, shifts)


def _percentiles(z: Tensor, n_bins: int) -> Tensor:
    """Exact percentiles 0, 100/n_bins, ..., 100 of every column: ``(n_columns, n_bins + 1)``, on the device of ``z``."""
    position = np.linspace(0, len(z) - 1, n_bins + 1)
    below = np.floor(position).astype(np.intp)
    above = np.minimum(below + 1, len(z) - 1)
    weight = (position - below).astype(np.float32)
    ordered = (np.sort(column) for column in z.detach().cpu().numpy().T)  # one at a time: a copy of one column
    values = np.stack([column[below] + weight * (column[above] - column[below]) for column in ordered])
    return torch.from_numpy(np.maximum.accumulate(values, axis=1)).to(z)
