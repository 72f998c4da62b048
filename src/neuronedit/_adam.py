"""Steps of Adam without the class `torch.optim.Adam`, which imports torch's compiler: seconds before the first step."""

import torch
from torch import Tensor
from torch.optim.adam import adam

BETAS, EPS = (0.9, 0.999), 1e-8  # as `torch.optim.Adam` has them


class Adam:
    """Steps of Adam for one tensor, in place, with the gradient that is in ``gradient`` at each step."""

    def __init__(self, values: Tensor, gradient: Tensor) -> None:
        self.values, self.gradient = values.detach(), gradient
        self.means, self.squares = torch.zeros_like(gradient), torch.zeros_like(gradient)
        self.n_steps = torch.zeros((), device=gradient.device)

    def step(self, rate: float | Tensor) -> None:
        """Take a step at a learning rate: a tensor where the step is recorded as a CUDA graph."""
        adam(
            [self.values], [self.gradient], [self.means], [self.squares], [], [self.n_steps],
            fused=True, capturable=isinstance(rate, Tensor), amsgrad=False,
            beta1=BETAS[0], beta2=BETAS[1], lr=rate, weight_decay=0.0, eps=EPS, maximize=False,
        )  # fmt: skip
