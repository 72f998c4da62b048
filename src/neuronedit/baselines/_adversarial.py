"""The alternating step of every adversarial method, and what it returns."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from .._device import fast_matmul
from .._networks import FILTERS, check_image_shape, dense, image_coder

WIDTHS = (500, 250, 50, 250, 500)
"""Hidden layers of generators and discriminators, as published."""

BETAS = (0.5, 0.999)
"""Of Adam, the first as is usual for adversarial training (Radford et al. 2015, arXiv:1511.06434); the paper does not say."""


@dataclass(frozen=True)
class TrainedMap:
    """A map that a network computes, on cells centred per feature and divided by one scale."""

    net: nn.Module
    center: Tensor
    scale: Tensor
    history: dict[str, list[float]] = field(default_factory=dict)

    def __call__(self, x: Tensor) -> Tensor:
        """Carry cells, ``(n_cells, n_features)``."""
        with torch.no_grad():
            return self.net((x - self.center) / self.scale) * self.scale + self.center


def scaled(source: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return source and target, centred per feature and divided by one scale, and that centre and scale."""
    cells = torch.cat([source, target])
    center = cells.mean(0)
    scale = (cells - center).square().mean().sqrt()
    scale = torch.where(scale > 0, scale, 1.0)
    return (source - center) / scale, (target - center) / scale, center, scale


def maker(n_features: int, image_shape: Sequence[int] | None, generator: torch.Generator) -> nn.Module:
    """Return a network from cells to cells: dense layers of the published widths, or, for images, the published convolutions."""
    if image_shape is None:
        return dense([n_features, *WIDTHS, n_features], generator=generator, last=True)
    return nn.Sequential(*image_coder(check_image_shape(image_shape, n_features), FILTERS, generator=generator))


def judge(n_features: int, image_shape: Sequence[int] | None, generator: torch.Generator) -> nn.Module:
    """Return a network from cells to one number: the same layers, of convolutions those down to the internal one."""
    if image_shape is None:
        return dense([n_features, *WIDTHS, 1], generator=generator, last=True)
    encoder, _ = image_coder(check_image_shape(image_shape, n_features), FILTERS, generator=generator)
    n_neurons = encoder(torch.zeros(1, n_features)).shape[1]
    return nn.Sequential(encoder, dense([n_neurons, 1], generator=generator, last=True))


def batches(cells: Tensor, batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield minibatches for ever, in a new order each time round."""
    while True:
        yield from cells[torch.randperm(len(cells), generator=generator).to(cells.device)].split(batch_size)


def alternate(
    makers: nn.Module,
    judges: nn.Module,
    maker_loss: Callable[[Tensor, Tensor], Tensor],
    judge_loss: Callable[[Tensor, Tensor], Tensor],
    source: Tensor,
    target: Tensor,
    *,
    n_steps: int,
    batch_size: int,
    lr: float,
    generator: torch.Generator,
) -> dict[str, list[float]]:
    """Train judges and makers in turn, a minibatch of source and of target at a time; return both losses at each 1 %.

    The learning rate falls to zero over the second half, as Zhu et al. 2017 (arXiv:1703.10593) let it.
    """
    both = [
        (module, loss, torch.optim.Adam(module.parameters(), lr=lr, betas=BETAS, fused=True))
        for module, loss in ((judges, judge_loss), (makers, maker_loss))
    ]
    draws = [batches(cells, batch_size, generator) for cells in (source, target)]
    history: dict[str, list[float]] = {"step": [], "discriminator_loss": [], "generator_loss": []}
    with fast_matmul(), torch.enable_grad():
        for step in range(n_steps):
            s, t = (next(draw) for draw in draws)
            values = []
            for module, loss, optimizer in both:
                value = loss(s, t)
                gradients = torch.autograd.grad(value, list(module.parameters()))
                for parameter, gradient in zip(module.parameters(), gradients, strict=True):
                    parameter.grad = gradient
                optimizer.param_groups[0]["lr"] = lr * min(1.0, 2 * (1 - step / n_steps))
                optimizer.step()
                values.append(value.detach())
            if step % max(1, n_steps // 100) == 0:
                for name, number in zip(history, (step, *(value.item() for value in values)), strict=True):
                    history[name].append(number)
    makers.requires_grad_(False)
    return history


def one_way(
    source: Tensor,
    target: Tensor,
    build: Callable[[nn.Module], nn.Module],
    image_shape: Sequence[int] | None,
    *,
    n_steps: int,
    batch_size: int,
    lr: float,
    seed: int,
) -> TrainedMap:
    """Train the generator that ``build`` makes of a network against one discriminator."""
    generator = torch.Generator().manual_seed(seed)
    s, t, center, scale = scaled(source, target)
    makes = build(maker(s.shape[1], image_shape, generator)).to(s.device)
    judges = judge(s.shape[1], image_shape, generator).to(s.device)

    def judge_loss(s: Tensor, t: Tensor) -> Tensor:
        with torch.no_grad():
            made = makes(s)
        return told_apart(judges, t, made)

    def maker_loss(s: Tensor, t: Tensor) -> Tensor:
        return taken_for(judges(makes(s)), True)

    history = alternate(
        makes, judges, maker_loss, judge_loss, s, t, n_steps=n_steps, batch_size=batch_size, lr=lr, generator=generator
    )
    return TrainedMap(makes, center, scale, history)


def told_apart(judge: nn.Module, true: Tensor, made: Tensor) -> Tensor:
    """Loss of a discriminator: low where it tells true cells from made ones."""
    return taken_for(judge(true), True) + taken_for(judge(made), False)


def taken_for(logits: Tensor, real: bool) -> Tensor:
    """Loss that is low where the discriminator takes all these cells for real, or all for made."""
    return binary_cross_entropy_with_logits(logits, torch.full_like(logits, float(real)))
