"""Energy distance of tensors: what folds are scored by, and how alike populations are."""

import torch
from torch import Tensor


def energy(x: Tensor, y: Tensor) -> Tensor:
    """Energy distance, unbiased. ``x`` is ``(..., n_cells, n_features)``, ``y`` ``(n_cells, n_features)``; returned is ``(...)``."""
    center = y.mean(0)  # far from 0 squares would lose what differs between cells
    x, y = x - center, y - center
    return 2 * torch.cdist(x, y).mean((-2, -1)) - _mean_within(x) - _mean_within(y)


def _mean_within(x: Tensor) -> Tensor:
    """Return the mean distance between two different cells. Matrix products measure each pair twice in half of `pdist`'s time."""
    distances, n = torch.cdist(x, x), x.shape[-2]
    distances.diagonal(dim1=-2, dim2=-1).zero_()  # rounding leaves a cell apart from itself
    return distances.sum((-2, -1)) / (n * (n - 1))
