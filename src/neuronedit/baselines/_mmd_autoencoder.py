"""The paper's RegAE: an autoencoder whose source and target are made alike in the narrowest layer."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from .._check import Count, NotNegative, Positive, Seed
from .._networks import FILTERS, check_image_shape, check_trained, check_widths, dense, image_coder
from .._types import CellTensor
from ._adversarial import TrainedMap, iterate_batches, standardize

ENCODER_WIDTHS = (500, 250, 50)  # as published; the decoder mirrors them


def mmd_autoencoder(
    source: CellTensor, target: CellTensor, /, *, image_shape: Sequence[Count] | None = None,
    widths: Sequence[Count] | None = None, penalty: NotNegative = 1.0, n_steps: Count = 10_000, batch_size: Count = 100,
    lr: Positive = 1e-3, rng: Seed = 0,
) -> TrainedMap:  # fmt: skip
    """Train an autoencoder with a penalty on the maximum mean discrepancy between source and target in its narrowest layer.

    The change is made during training, and the decoder learns to undo it: the cells come out as they went in. This is why
    neuron editing freezes the autoencoder before it edits.

    Examples
    --------
    >>> import torch, neuronedit as ne
    >>> source = torch.randn(200, 3)
    >>> ne.baselines.mmd_autoencoder(source, source + 1, n_steps=3)(source).shape
    torch.Size([200, 3])

    Parameters
    ----------
    %(populations)s
    %(networks)s
    widths
        Neurons of the encoder's layers; the decoder mirrors them. `None`: 500, 250, 50, or filters 64, 128, 256 for images.
    penalty
        Weight of the discrepancy, beside the mean squared error.
    n_steps, batch_size, lr
        Steps, cells of source and of target in each, and learning rate of Adam.
    %(rng)s

    Returns
    -------
    The autoencoder; ``history`` has the reconstruction error and the discrepancy.

    References
    ----------
    Dziugaite et al. 2015, Training generative neural networks via maximum mean discrepancy optimization, arXiv:1505.03906;
    Amodio et al. 2018, arXiv:1805.12198.
    """
    if widths is not None:
        check_widths(widths)
    # build
    torch_rng = torch.Generator().manual_seed(rng)
    source, target, center, scale = standardize(source, target)
    n_features = source.shape[1]
    if image_shape is None:
        widths = ENCODER_WIDTHS if widths is None else widths
        encoder = dense([n_features, *widths], rng=torch_rng)
        decoder = dense([*reversed(widths), n_features], rng=torch_rng, linear_output=True)
    else:
        shape = check_image_shape(image_shape, n_features)
        encoder, decoder = image_coder(shape, widths or FILTERS, rng=torch_rng)
    net = nn.Sequential(encoder, decoder).to(source.device)

    # train
    optimizer = torch.optim.Adam(net.parameters(), lr=lr)
    source_batches, target_batches = (iterate_batches(cells, batch_size, torch_rng) for cells in (source, target))
    history: dict[str, list[float]] = {"step": [], "reconstruction_loss": [], "mmd": []}
    with torch.enable_grad():
        for step in range(n_steps):
            s, t = next(source_batches), next(target_batches)
            z_s, z_t = encoder(s), encoder(t)  # (batch_size, n_neurons)
            error = mse_loss(decoder(z_s), s) + mse_loss(decoder(z_t), t)
            discrepancy = squared_mmd(z_s, z_t)
            optimizer.zero_grad()
            (error + penalty * discrepancy).backward()
            optimizer.step()
            if step % max(1, n_steps // 100) == 0:
                history["step"].append(step)
                history["reconstruction_loss"].append(error.item())
                history["mmd"].append(discrepancy.item())
    check_trained(net, lr)
    return TrainedMap(net.requires_grad_(False), center, scale, history)


def squared_mmd(x: Tensor, y: Tensor) -> Tensor:
    """Squared discrepancy with a Gaussian kernel, whose squared width is the mean squared distance between the cells."""
    cells = torch.cat([x, y])
    lengths = cells.square().sum(1)
    squares = (lengths[:, None] + lengths - 2 * cells @ cells.T).clamp_min(0)  # (n_cells, n_cells)
    kernel = torch.exp(-squares / squares.detach().mean().clamp_min(1e-12))
    n = len(x)
    return kernel[:n, :n].mean() + kernel[n:, n:].mean() - 2 * kernel[:n, n:].mean()
