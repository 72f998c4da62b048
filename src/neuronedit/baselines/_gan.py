"""A generator against a discriminator: one that makes cells anew, and one that adds to them."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .._docs import shared_docs
from ._adversarial import (
    Steps,
    TrainedMap,
    build_discriminator,
    build_generator,
    classification_loss,
    label_loss,
    standardize,
    train_in_turn,
)


@shared_docs
def gan(
    source: Tensor,
    target: Tensor,
    /,
    *,
    image_shape: Sequence[int] | None = None,
    n_steps: int = 10_000,
    batch_size: int = 100,
    lr: float = 1e-3,
    rng: int = 0,
) -> TrainedMap:
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
    return _train_gan(source, target, image_shape, Steps(n_steps, batch_size, lr), rng, residual=False)


@shared_docs
def resnet_gan(
    source: Tensor,
    target: Tensor,
    /,
    *,
    image_shape: Sequence[int] | None = None,
    n_steps: int = 10_000,
    batch_size: int = 100,
    lr: float = 1e-3,
    rng: int = 0,
) -> TrainedMap:
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
    return _train_gan(source, target, image_shape, Steps(n_steps, batch_size, lr), rng, residual=True)


class Residual(nn.Module):
    """Add what a network computes to its input."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x + net(x)``."""
        return x + self.net(x)


def _train_gan(
    source: Tensor, target: Tensor, image_shape: Sequence[int] | None, steps: Steps, rng: int, *, residual: bool
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

    history = train_in_turn(
        generator, generator_loss, discriminator, discriminator_loss, source, target, steps, torch_rng
    )
    return TrainedMap(generator, center, scale, history)
