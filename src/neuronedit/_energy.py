"""Energy distance of tensors: what folds are scored by, what stacking descends, and how alike populations are."""

import torch
from torch import Tensor


def energy(x: Tensor, y: Tensor) -> Tensor:
    """Energy distance, unbiased; gradients flow through it. ``x`` and ``y`` are ``(n_cells, n_features)``."""
    center = y.detach().mean(0)  # far from 0 squares would lose what differs between cells
    x, y = x - center, y - center
    return 2 * torch.cdist(x, y).mean() - torch.pdist(x).mean() - torch.pdist(y).mean()
