"""The paper's RegAE: an autoencoder whose source and target are made alike in the narrowest layer."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from .._device import fast_matmul
from .._networks import FILTERS, check_image_shape, dense, image_coder
from ._adversarial import TrainedMap, batches, scaled

WIDTHS = (500, 250, 50)
"""Of the dense layers, as published."""


def mmd_autoencoder(
    source: Tensor,
    target: Tensor,
    /,
    *,
    image_shape: Sequence[int] | None = None,
    widths: Sequence[int] | None = None,
    penalty: float = 1.0,
    n_steps: int = 10_000,
    batch_size: int = 100,
    lr: float = 1e-3,
    seed: int = 0,
) -> TrainedMap:
    """Train an autoencoder with a penalty on the maximum mean discrepancy between source and target in its narrowest layer.

    The transformation is trained in, and the decoder learns to undo it: the cells come out as they went in. This is why
    neuron editing freezes the autoencoder before it edits.

    Parameters
    ----------
    source, target
        ``(n_cells, n_features)``
    image_shape
        ``(rows, columns)`` or ``(rows, columns, channels)`` of images, one a row: the layers are convolutions, as those of
        `spaces.Conv`. `None`: dense layers.
    widths
        Of the encoder's layers; the decoder mirrors them. `None`: 500, 250, 50, of convolutions 64, 128, 256.
    penalty
        Weight of the discrepancy, beside the mean squared error.
    n_steps, batch_size, lr
        Steps, cells of source and of target a step, and learning rate of Adam.
    seed
        Of weights and order.

    Returns
    -------
    The autoencoder; ``history`` has the reconstruction error and the discrepancy.

    References
    ----------
    Dziugaite et al. 2015, Training generative neural networks via maximum mean discrepancy optimization,
    arXiv:1505.03906; Amodio et al. 2018, arXiv:1805.12198.

    Examples
    --------
    >>> import torch, neuronedit as ne
    >>> source = torch.randn(200, 3)
    >>> ne.baselines.mmd_autoencoder(source, source + 1, n_steps=3)(source).shape
    torch.Size([200, 3])
    """
    generator = torch.Generator().manual_seed(seed)
    s, t, center, scale = scaled(source, target)
    if image_shape is None:
        encoder = dense([s.shape[1], *(widths or WIDTHS)], generator=generator)
        decoder = dense([*reversed(widths or WIDTHS), s.shape[1]], generator=generator, last=True)
    else:
        shape = check_image_shape(image_shape, s.shape[1])
        encoder, decoder = image_coder(shape, widths or FILTERS, generator=generator)
    net = nn.Sequential(encoder, decoder).to(s.device)
    optimizer = torch.optim.Adam(net.parameters(), lr=lr)
    draws = [batches(cells, batch_size, generator) for cells in (s, t)]
    history: dict[str, list[float]] = {"step": [], "reconstruction_loss": [], "mmd": []}
    with fast_matmul(), torch.enable_grad():
        for step in range(n_steps):
            x, y = (next(draw) for draw in draws)
            z_x, z_y = encoder(x), encoder(y)
            error = mse_loss(decoder(z_x), x) + mse_loss(decoder(z_y), y)
            discrepancy = _mmd(z_x, z_y)
            optimizer.zero_grad()
            (error + penalty * discrepancy).backward()
            optimizer.step()
            if step % max(1, n_steps // 100) == 0:
                for name, number in zip(history, (step, error.item(), discrepancy.item()), strict=True):
                    history[name].append(number)
    return TrainedMap(net.requires_grad_(False), center, scale, history)


def _mmd(x: Tensor, y: Tensor) -> Tensor:
    """Squared discrepancy with a Gaussian kernel as wide as the cells are apart on average."""
    cells = torch.cat([x, y])
    lengths = cells.square().sum(1)
    squares = (lengths[:, None] + lengths - 2 * cells @ cells.T).clamp_min(0)
    kernel = torch.exp(-squares / squares.detach().mean().clamp_min(1e-12))
    n = len(x)
    return kernel[:n, :n].mean() + kernel[n:, n:].mean() - 2 * kernel[:n, n:].mean()
