"""Generators against discriminators: one makes cells anew, one adds to them, and two must undo each other."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, l1_loss

from .._check import Count, NotNegative, Positive, Seed
from .._types import CellTensor
from ._adversarial import Steps, TrainedMap, build_discriminator, build_generator, standardize, train_in_turn


def gan(
    source: CellTensor, target: CellTensor, /, *, image_shape: Sequence[Count] | None = None, n_steps: Count = 10_000,
    batch_size: Count = 100, lr: Positive = 1e-3, rng: Seed = 0,
) -> TrainedMap:  # fmt: skip
    """Train a generator that turns source cells into cells that a discriminator cannot distinguish from the target's.

    Nothing ties the output to the input: a cell unlike the source comes out as a cell of the target.

    Examples
    --------
    >>> import torch, neuronedit as ne
    >>> source = torch.randn(200, 3)
    >>> ne.baselines.gan(source, source + 1, n_steps=3)(source).shape
    torch.Size([200, 3])

    Parameters
    ----------
    %(populations)s
    %(networks)s
    %(training)s
    %(rng)s

    Returns
    -------
    The generator; ``history`` has both losses.

    References
    ----------
    Goodfellow et al. 2014, Generative adversarial nets, NeurIPS, with the non-saturating loss.
    """
    return _train_gan(source, target, image_shape, (n_steps, batch_size, lr), rng, residual=False)


def resnet_gan(
    source: CellTensor, target: CellTensor, /, *, image_shape: Sequence[Count] | None = None, n_steps: Count = 10_000,
    batch_size: Count = 100, lr: Positive = 1e-3, rng: Seed = 0,
) -> TrainedMap:  # fmt: skip
    """Train a generator that adds to source cells, so that a discriminator cannot distinguish them from the target's.

    Examples
    --------
    >>> import torch, neuronedit as ne
    >>> source = torch.randn(200, 3)
    >>> ne.baselines.resnet_gan(source, source + 1, n_steps=3)(source).shape
    torch.Size([200, 3])

    Parameters
    ----------
    %(populations)s
    %(networks)s
    %(training)s
    %(rng)s

    Returns
    -------
    The map ``x -> x + generator(x)``; ``history`` has both losses.

    References
    ----------
    Goodfellow et al. 2014, Generative adversarial nets, NeurIPS; residuals as in Szegedy et al. 2017, AAAI.
    """
    return _train_gan(source, target, image_shape, (n_steps, batch_size, lr), rng, residual=True)


def cyclegan(
    source: CellTensor, target: CellTensor, /, *, image_shape: Sequence[Count] | None = None, n_steps: Count = 10_000,
    batch_size: Count = 100, lr: Positive = 1e-3, cycle: NotNegative = 10.0, rng: Seed = 0,
) -> TrainedMap:  # fmt: skip
    """Train a generator in each direction, a discriminator for each population, and a penalty on what both together change.

    Examples
    --------
    >>> import torch, neuronedit as ne
    >>> source = torch.randn(200, 3)
    >>> ne.baselines.cyclegan(source, source + 1, n_steps=3)(source).shape
    torch.Size([200, 3])

    Parameters
    ----------
    %(populations)s
    %(networks)s
    %(training)s
    cycle
        Weight of the cycle loss, the mean absolute difference between a cell and what both generators in turn make of it.
        More keeps more of a cell.
    %(rng)s

    Returns
    -------
    The generator from source to target; ``history`` has both losses.

    References
    ----------
    Zhu et al. 2017, Unpaired image-to-image translation using cycle-consistent adversarial networks, arXiv:1703.10593.
    """
    # build
    torch_rng = torch.Generator().manual_seed(rng)
    source, target, center, scale = standardize(source, target)
    n_features = source.shape[1]
    to_target, to_source = (build_generator(n_features, image_shape, torch_rng).to(source.device) for _ in range(2))
    source_discriminator, target_discriminator = (
        build_discriminator(n_features, image_shape, torch_rng).to(source.device) for _ in range(2)
    )

    def generator_loss(s: Tensor, t: Tensor) -> Tensor:
        generated_t, generated_s = to_target(s), to_source(t)
        cycle_loss = l1_loss(to_source(generated_t), s) + l1_loss(to_target(generated_s), t)
        loss = label_loss(target_discriminator(generated_t), True)
        return loss + label_loss(source_discriminator(generated_s), True) + cycle * cycle_loss

    def discriminator_loss(s: Tensor, t: Tensor) -> Tensor:
        with torch.no_grad():
            generated_t, generated_s = to_target(s), to_source(t)
        loss = classification_loss(target_discriminator, t, generated_t)
        return loss + classification_loss(source_discriminator, s, generated_s)

    # train
    generators = nn.ModuleList([to_target, to_source]), generator_loss
    discriminators = nn.ModuleList([source_discriminator, target_discriminator]), discriminator_loss
    steps = (n_steps, batch_size, lr)
    history = train_in_turn(generators, discriminators, source, target, steps, torch_rng)
    return TrainedMap(to_target, center, scale, history)


class Residual(nn.Sequential):
    """Add what a network computes to its input."""

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x + net(x)``."""
        return x + super().forward(x)


def label_loss(logits: Tensor, is_real: bool) -> Tensor:
    """Cross-entropy of a discriminator's output: low where it labels all these cells as real, or all as generated."""
    return binary_cross_entropy_with_logits(logits, torch.full_like(logits, float(is_real)))


def classification_loss(discriminator: nn.Module, real: Tensor, generated: Tensor) -> Tensor:
    """Cross-entropy of both labels: low where the discriminator distinguishes real from generated cells."""
    return label_loss(discriminator(real), True) + label_loss(discriminator(generated), False)


def _train_gan(
    source: Tensor, target: Tensor, image_shape: Sequence[Count] | None, steps: Steps, rng: int, *, residual: bool
) -> TrainedMap:
    """Train one generator against one discriminator."""
    torch_rng = torch.Generator().manual_seed(rng)
    source, target, center, scale = standardize(source, target)
    generator = build_generator(source.shape[1], image_shape, torch_rng)
    generator = (Residual(generator) if residual else generator).to(source.device)
    discriminator = build_discriminator(source.shape[1], image_shape, torch_rng).to(source.device)

    def generator_loss(s: Tensor, t: Tensor) -> Tensor:
        return label_loss(discriminator(generator(s)), True)

    def discriminator_loss(s: Tensor, t: Tensor) -> Tensor:
        with torch.no_grad():
            generated = generator(s)
        return classification_loss(discriminator, t, generated)

    networks = (generator, generator_loss), (discriminator, discriminator_loss)
    history = train_in_turn(*networks, source, target, steps, torch_rng)
    return TrainedMap(generator, center, scale, history)
