"""Neuron editing: move every neuron as its percentiles moved from source to target."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from .._check import Count
from .._maps import ShapeRepr
from .._types import CellTensor, Map

# at a time: 4 MB of float32; on an accelerator 256 MB, and row numbers of 512 MB
MAX_VALUES_TO_SORT, MAX_VALUES_TO_SORT_ON_DEVICE = 2**20, 2**26
VALUES_AT_ONCE = 2**14  # whose percentiles are looked for together: they fit the processor's cache


@dataclass(frozen=True, eq=False, repr=False)
class Percentiles(ShapeRepr):
    """Moves neurons by the ``shifts`` at their percentiles, ``knots``, interpolated; each is ``(n_neurons, n_bins + 1)``."""

    knots: Tensor
    shifts: Tensor

    def __call__(self, z: Tensor, /) -> Tensor:
        return self.follow(z, self.find(z))

    def find(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return which percentile is right of each value, and its share against the one to the left: ``(n_neurons, n_cells)`` each."""
        values = z.T.contiguous()
        upper = count_reached(self.knots, values).clamp_(1, self.knots.shape[1] - 1)
        left, right = self.knots.gather(1, upper - 1), self.knots.gather(1, upper)
        width = (right - left).clamp_min(torch.finfo(left.dtype).tiny)
        return upper, ((values - left) / width).clamp_(0, 1)

    def finds_as(self, other: Map) -> bool:
        """Return whether another edit has the same percentiles of the source."""
        if not isinstance(other, Percentiles) or other.knots.shape != self.knots.shape:
            return False
        return self.knots is other.knots or torch.equal(self.knots, other.knots)

    def follow(self, z: Tensor, found: tuple[Tensor, Tensor]) -> Tensor:
        """Move each of ``z`` by the shifts of the percentiles that it lies between."""
        upper, weight = found
        return z + torch.lerp(self.shifts.gather(1, upper - 1), self.shifts.gather(1, upper), weight).T


def percentile(source: CellTensor, target: CellTensor, /, *, n_bins: Count = 100) -> Percentiles:
    r"""Move each neuron as its percentiles move from source to target.

    With :math:`p_j^S` and :math:`p_j^T` the percentiles of one neuron, a value between :math:`p_j^S` and
    :math:`p_{j+1}^S` is moved by the shift :math:`p^T - p^S`, interpolated linearly: equation 1 of the paper. Where that is
    undefined: beyond the source's range the end shift continues; where several percentiles are equal (a silent neuron, a
    pile of zeros), the value becomes the mean of the target's percentiles of the same ranks.

    Examples
    --------
    >>> import torch, neuronedit as ne
    >>> source = torch.randn(500, 3)
    >>> ne.edits.percentile(source, 2 * source + 1)(torch.zeros(1, 3)).round().tolist()
    [[1.0, 1.0, 1.0]]

    Parameters
    ----------
    %(populations)s
    n_bins
        Intervals between percentiles; 100 as published. More follow source and target, and their noise, more closely.

    Returns
    -------
    A map that never decreases in any neuron, and is exactly the identity when source and target are the same cells.

    References
    ----------
    Amodio et al. 2018, Out-of-sample extrapolation with neuron editing, arXiv:1805.12198, equation 1.
    """
    knots = exact_percentiles(source, n_bins)  # (n_neurons, n_bins + 1)
    shifts = exact_percentiles(target, n_bins) - knots
    return Percentiles(knots, average_ties(knots, shifts))


def count_reached(knots: Tensor, values: Tensor) -> Tensor:
    """Return how many percentiles of its neuron each value reaches; values are ``(n_neurons, n_cells)``, as are the counts.

    On the CPU all values take the same steps of a binary search: three times as fast as `torch.searchsorted`.
    """
    if values.device.type != "cpu":
        return torch.searchsorted(knots, values, right=True)
    n_neurons, n_knots = knots.shape
    width = 1 << n_knots.bit_length()  # a power of two above it
    table = np.full((n_neurons, width), np.nan, dtype=knots.numpy().dtype)  # what no value reaches
    table[:, :n_knots] = knots
    table = table.ravel()
    first = width * np.arange(n_neurons, dtype=np.int64)[:, None]  # where in the table each neuron begins
    reached = np.broadcast_to(first, values.shape).copy()
    parts = (
        np.split(x.ravel(), range(VALUES_AT_ONCE, x.size, VALUES_AT_ONCE)) for x in (values.detach().numpy(), reached)
    )
    for own_values, place in zip(*parts, strict=True):
        step = width // 2
        while step:
            place += (table[step - 1 :].take(place, mode="clip") <= own_values) * step
            step //= 2
    reached -= first
    return torch.from_numpy(reached)


def average_ties(knots: Tensor, shifts: Tensor) -> Tensor:
    """Return the shifts, those of equal percentiles replaced by their mean; both are ``(n_neurons, n_bins + 1)``."""
    device = knots.device
    if device.type == "cpu" and (knots[:, 1:] > knots[:, :-1]).all():  # elsewhere, to ask takes longer
        return shifts
    if device.type == "mps":  # it has no float64
        knots, shifts = knots.cpu(), shifts.cpu()
    first = torch.searchsorted(knots, knots)
    last = torch.searchsorted(knots, knots, right=True) - 1
    sums = pad(shifts.double().cumsum(1), (1, 0))  # (n_neurons, n_bins + 2), in float64 as they are subtracted
    means = (sums.gather(1, last + 1) - sums.gather(1, first)) / (last + 1 - first)
    return torch.where(first == last, shifts, means.to(shifts.dtype)).to(device)


def exact_percentiles(z: Tensor, n_bins: int) -> Tensor:
    """Exact percentiles 0, 100/n_bins, ..., 100 of every column: ``(n_columns, n_bins + 1)``, found on the device of ``z``."""
    z, ranks = z.detach(), find_ranks(len(z), n_bins)
    if z.device.type != "cpu":
        return sort_percentiles(z, *ranks)
    below, above, weight = (x.numpy() for x in ranks)
    parts = []
    for columns in z.split(max(1, MAX_VALUES_TO_SORT // len(z)), dim=1):
        ordered = np.array(columns.numpy().T, order="C")  # (n_columns, n_cells), a copy
        ordered.sort(axis=1)
        low, high = (ordered.take(rows, axis=1) for rows in (below, above))  # (n_columns, n_bins + 1)
        parts.append(low + weight * (high - low))
    return torch.from_numpy(np.maximum.accumulate(np.concatenate(parts), axis=1)).to(z)


def find_ranks(n_cells: int, n_bins: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return between which sorted cells each percentile lies, and how much the upper one counts, each ``(n_bins + 1,)``."""
    position = np.linspace(0, n_cells - 1, n_bins + 1)
    below = np.floor(position).astype(np.int64)
    above = np.minimum(below + 1, n_cells - 1)
    weight = (position - below).astype(np.float32)
    return torch.from_numpy(below), torch.from_numpy(above), torch.from_numpy(weight)


def sort_percentiles(z: Tensor, below: Tensor, above: Tensor, weight: Tensor) -> Tensor:
    """Return the same percentiles with torch's sort, many columns at a time, which is how an accelerator is fast."""
    below, above, weight = (x.to(z.device) for x in (below, above, weight))
    parts = []
    for columns in z.split(max(1, MAX_VALUES_TO_SORT_ON_DEVICE // len(z)), dim=1):
        ordered = columns.T.contiguous().sort(1).values  # (n_columns, n_cells)
        low, high = ordered[:, below], ordered[:, above]
        parts.append((low + weight * (high - low)).cummax(1).values)
    return torch.cat(parts)
