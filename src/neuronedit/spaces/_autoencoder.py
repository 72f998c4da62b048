"""The paper's space: the narrowest layer of an autoencoder trained on all cells."""

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from .._blocks import CellSource
from .._networks import dense, through
from ._base import FittedSpace, set_scale
from ._dense_backward import dense_backward
from ._train import Training, train


class Autoencoder(FittedSpace):
    """Dense layers down to a narrow one and back, LeakyReLU 0.2, trained to reproduce the cells (mean squared error).

    The input is centred per feature and divided by one scale for all, so that features keep their relative size.
    """

    center: Tensor
    scale: Tensor

    def __init__(self, *, n_features: int, widths: Sequence[int], seed: int = 0) -> None:
        super().__init__(n_features=n_features, widths=[int(width) for width in widths])
        generator = torch.Generator().manual_seed(seed)
        self.encoder = dense([n_features, *widths], generator=generator)
        self.decoder = dense([*reversed(widths), n_features], generator=generator, last=True)
        self.register_buffer("center", torch.zeros(n_features))
        self.register_buffer("scale", torch.ones(()))

    @classmethod
    def fit(cls, cells: CellSource, training: Training, *, widths: Sequence[int] = (500, 250, 50)) -> Self:
        """Train on cells and return the space, frozen.

        Parameters
        ----------
        cells
            ``(n_cells, n_features)``
        training
            How long, how fast and where; see `Training`.
        widths
            Neurons of the encoder's layers; the decoder mirrors them. The last one is where cells are edited. Wider
            reproduces the cells more closely and trains longer.
        """
        if not widths or min(widths) < 1:
            raise ValueError(f"widths must hold at least one positive number; they are {tuple(widths)}.")
        space = cls(n_features=cells.shape[1], widths=widths, seed=training.seed)
        set_scale(space, cells)
        space.to(training.device)

        def scaled(x: Tensor) -> Tensor:
            return (x - space.center) / space.scale

        def loss(x: Tensor) -> Tensor:
            return mse_loss(space.decoder(space.encoder(scaled(x))), scaled(x))

        backward = dense_backward([*space.encoder, *space.decoder], min(training.batch_size, cells.shape[0]))
        space.history = train(space, loss, cells, training, backward=lambda x: backward(scaled(x)))
        return space

    def encode(self, x: Tensor, /) -> Tensor:
        """Return the activations of the narrowest layer, after its LeakyReLU."""
        return through(self.encoder, (x - self.center) / self.scale)

    def decode(self, z: Tensor, /) -> Tensor:
        """Return the cells that these activations stand for."""
        return through(self.decoder, z) * self.scale + self.center
