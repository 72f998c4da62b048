"""Two generators that must undo each other, against two discriminators."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import l1_loss

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
def cyclegan(
    source: Tensor,
    target: Tensor,
    /,
    *,
    image_shape: Sequence[int] | None = None,
    n_steps: int = 10_000,
    batch_size: int = 100,
    lr: float = 1e-3,
    cycle: float = 10.0,
    rng: int = 0,
) -> TrainedMap:
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
        Weight of the cycle loss: the mean absolute difference between a cell and what both generators in turn make of it. A
        larger weight keeps more of a cell.
    %(rng)s

    Returns
    -------
    The generator from source to target; ``history`` has both losses.

    References
    ----------
    Zhu et al. 2017, Unpaired image-to-image translation using cycle-consistent adversarial networks, ICCV,
    arXiv:1703.10593.
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
    generators = nn.ModuleList([to_target, to_source])
    discriminators = nn.ModuleList([source_discriminator, target_discriminator])
    steps = Steps(n_steps, batch_size, lr)
    history = train_in_turn(
        generators, generator_loss, discriminators, discriminator_loss, source, target, steps, torch_rng
    )
    return TrainedMap(to_target, center, scale, history)
