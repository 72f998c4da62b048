"""Energy distance of tensors: what folds are scored by, what stacking descends, and how alike populations are."""

import torch
from torch import Tensor


def energy(x: Tensor, y: Tensor) -> Tensor:
    """Energy distance, unbiased; gradients flow through it. ``x`` and ``y`` are ``(n_cells, n_features)``."""
    return 2 * torch.cdist(x, y).mean() - torch.pdist(x).mean() - torch.pdist(y).mean()
