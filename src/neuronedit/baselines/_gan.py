"""A generator against a discriminator."""

from collections.abc import Sequence

from torch import Tensor

from ._adversarial import TrainedMap, one_way


def gan(
    source: Tensor,
    target: Tensor,
    /,
    *,
    image_shape: Sequence[int] | None = None,
    n_steps: int = 10_000,
    batch_size: int = 100,
    lr: float = 1e-3,
    seed: int = 0,
) -> TrainedMap:
    """Train a generator that turns source cells into cells that a discriminator takes for the target's.

    Nothing ties the output to the input: a cell that is different comes out as a cell of the target.

    Parameters
    ----------
    source, target
        ``(n_cells, n_features)``
    image_shape
        ``(rows, columns)`` or ``(rows, columns, channels)`` of images, one a row: networks are convolutional, the generator as
        `spaces.Conv` and the discriminator as its encoder. `None`: dense layers.
    n_steps
        Steps of the discriminator, and as many of the generator.
    batch_size, lr
        Cells a step, and learning rate of Adam, which falls to zero over the second half.
    seed
        Of weights and order.

    Returns
    -------
    The generator; ``history`` has both losses.

    References
    ----------
    Goodfellow et al. 2014, Generative adversarial nets, NeurIPS, with the non-saturating loss.

    Examples
    --------
    >>> import torch, neuronedit as ne
    >>> source = torch.randn(200, 3)
    >>> ne.baselines.gan(source, source + 1, n_steps=3)(source).shape
    torch.Size([200, 3])
    """
    return one_way(
        source, target, lambda net: net, image_shape, n_steps=n_steps, batch_size=batch_size, lr=lr, seed=seed
    )
