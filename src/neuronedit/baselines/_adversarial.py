"""What adversarial methods share: networks, losses, the alternating steps, and the map that is returned."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from .._networks import FILTERS, check_image_shape, check_trained, dense, image_coder

HIDDEN_WIDTHS = (500, 250, 50, 250, 500)  # of generators and discriminators, as published
ADAM_BETAS = (0.5, 0.999)  # usual (Radford et al. 2015, arXiv:1511.06434); the paper does not give them
Loss = Callable[[Tensor, Tensor], Tensor]  # of minibatches of source and target, each (batch_size, n_features)
Steps = tuple[int, int, float]  # n_steps, batch_size, lr


@dataclass(frozen=True)
class TrainedMap:
    """A map that a network computes, on cells centred per feature and divided by one scale."""

    net: nn.Module
    center: Tensor
    scale: Tensor
    history: dict[str, list[float]] = field(default_factory=dict)

    def __call__(self, x: Tensor) -> Tensor:
        """Map cells, ``(n_cells, n_features)``."""
        with torch.no_grad():
            return self.net(((x - self.center) / self.scale).float()) * self.scale + self.center


def standardize(source: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return source and target, centred per feature and divided by one scale, in float32, and that centre and scale."""
    cells = torch.cat([source, target])
    center = cells.mean(0)
    scale = (cells - center).square().mean().sqrt()
    scale = torch.where(scale > 0, scale, 1.0)
    return ((source - center) / scale).float(), ((target - center) / scale).float(), center, scale


def build_generator(n_features: int, image_shape: Sequence[int] | None, rng: torch.Generator) -> nn.Module:
    """Return a network from cells to cells: dense layers of the published widths, or for images the published convolutions."""
    if image_shape is None:
        return dense([n_features, *HIDDEN_WIDTHS, n_features], rng=rng, linear_output=True)
    return nn.Sequential(*image_coder(check_image_shape(image_shape, n_features), FILTERS, rng=rng))


def build_discriminator(n_features: int, image_shape: Sequence[int] | None, rng: torch.Generator) -> nn.Module:
    """Return a network from cells to one number: the same dense layers, or for images the encoder's convolutions."""
    if image_shape is None:
        return dense([n_features, *HIDDEN_WIDTHS, 1], rng=rng, linear_output=True)
    encoder, _ = image_coder(check_image_shape(image_shape, n_features), FILTERS, rng=rng)
    n_neurons = encoder(torch.zeros(1, n_features)).shape[1]
    return nn.Sequential(encoder, dense([n_neurons, 1], rng=rng, linear_output=True))


def iterate_batches(cells: Tensor, batch_size: int, rng: torch.Generator) -> Iterator[Tensor]:
    """Yield minibatches without end, every epoch in a new order."""
    while True:
        yield from cells[torch.randperm(len(cells), generator=rng).to(cells.device)].split(batch_size)


def train_in_turn(
    generators: tuple[nn.Module, Loss], discriminators: tuple[nn.Module, Loss],
    source: Tensor, target: Tensor, steps: Steps, rng: torch.Generator,
) -> dict[str, list[float]]:  # fmt: skip
    """Train discriminators and generators, each given with its loss, in turn; return both losses at every hundredth step.

    The learning rate falls to zero over the second half, as in Zhu et al. 2017 (arXiv:1703.10593).
    """
    (generator, generator_loss), (discriminator, discriminator_loss) = generators, discriminators
    n_steps, batch_size, lr = steps
    source_batches, target_batches = (iterate_batches(cells, batch_size, rng) for cells in (source, target))
    discriminator_adam, generator_adam = (
        torch.optim.Adam(network.parameters(), lr=lr, betas=ADAM_BETAS, fused=True)
        for network in (discriminator, generator)
    )
    history: dict[str, list[float]] = {"step": [], "discriminator_loss": [], "generator_loss": []}
    with torch.enable_grad():
        for step in range(n_steps):
            s, t = next(source_batches), next(target_batches)
            rate = lr * min(1.0, 2 * (1 - step / n_steps))
            loss_d = _take_step(discriminator, discriminator_loss(s, t), discriminator_adam, rate)
            loss_g = _take_step(generator, generator_loss(s, t), generator_adam, rate)
            if step % max(1, n_steps // 100) == 0:
                history["step"].append(step)
                history["discriminator_loss"].append(loss_d.item())
                history["generator_loss"].append(loss_g.item())
    check_trained(generator, lr)
    generator.requires_grad_(False)
    return history


def _take_step(network: nn.Module, loss: Tensor, optimizer: torch.optim.Optimizer, rate: float) -> Tensor:
    """Change the weights of this network alone, and return the loss before that."""
    parameters = list(network.parameters())
    for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
        parameter.grad = gradient
    optimizer.param_groups[0]["lr"] = rate
    optimizer.step()
    return loss.detach()
