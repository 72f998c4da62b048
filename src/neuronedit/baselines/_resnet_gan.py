"""A generator that adds to its input, against a discriminator."""

from collections.abc import Sequence

from torch import Tensor, nn

from ._adversarial import TrainedMap, one_way


def resnet_gan(
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
    """Train a generator that adds to source cells what makes a discriminator take them for the target's.

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
    The map ``x -> x + generator(x)``; ``history`` has both losses.

    References
    ----------
    Goodfellow et al. 2014, Generative adversarial nets, NeurIPS; residuals as in Szegedy et al. 2017, AAAI.

    Examples
    --------
    >>> import torch, neuronedit as ne
    >>> source = torch.randn(200, 3)
    >>> ne.baselines.resnet_gan(source, source + 1, n_steps=3)(source).shape
    torch.Size([200, 3])
    """
    return one_way(source, target, Residual, image_shape, n_steps=n_steps, batch_size=batch_size, lr=lr, seed=seed)


class Residual(nn.Module):
    """Add what a network computes to its input."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x + net(x)``."""
        return x + self.net(x)
