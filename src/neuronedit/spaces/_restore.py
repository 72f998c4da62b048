"""A space made again of what was saved of it, no larger than the weights that are there."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ._base import FittedSpace


def restore(kind: type[FittedSpace], config: Mapping[str, Any], weights: Mapping[str, Any]) -> FittedSpace:
    """Return the space, frozen.

    A class of this package is built without memory first (on torch's meta device): its settings may name any size, and what
    they name is compared with the weights. A class of the caller's own may do what it likes, as it is not from a file.
    """
    tensors = {k: x if isinstance(x, Tensor) else torch.tensor(np.asarray(x)) for k, x in weights.items()}
    if not kind.__module__.startswith(f"{__package__}."):
        space = kind(**config)
        space.load_state_dict(tensors)
        return space.requires_grad_(False)

    # sizes
    n_layers = max((len(value) for value in config.values() if isinstance(value, list)), default=0)
    if n_layers > len(tensors):
        raise ValueError(f"its settings name {n_layers} layers, and there are {len(tensors)} weights")
    with torch.device("meta"):
        space = kind(**config)

    # weights
    wanted = space.state_dict()
    for name, tensor in tensors.items():
        if tensor.ndim == 0:  # files keep a single number without its type
            tensor = tensors[name] = tensor.float()
        if name in wanted and tensor.dtype != wanted[name].dtype:
            raise ValueError(f"the weights {name!r} are {tensor.dtype}, not {wanted[name].dtype}")
        if tensor.numel() and not torch.stack(tensor.aminmax()).isfinite().all():  # NaN is passed on
            raise ValueError(f"the weights {name!r} are not finite")
    space.load_state_dict(tensors, assign=True)  # compares names and shapes
    return space.requires_grad_(False)
