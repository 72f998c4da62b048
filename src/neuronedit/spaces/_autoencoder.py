"""The paper's space: the narrowest layer of an autoencoder trained on all cells."""

from collections.abc import Sequence
from typing import Annotated, Self

from torch import Generator, Tensor

from .._blocks import CellSource
from .._check import CELLS, Count, Seed
from .._device import fast_matmul
from .._networks import apply_dense, dense
from ._base import ScaledSpace
from ._dense_backward import dense_backward
from ._train import Training, train


class Autoencoder(ScaledSpace):
    """Dense layers down to a narrow one and back, LeakyReLU 0.2, trained to reproduce the cells (mean squared error).

    The input is centred per feature and divided by one scale for all, so that features keep their relative size.
    """

    def __init__(self, *, n_features: Count, widths: Sequence[Count], rng: Seed = 0) -> None:
        super().__init__(n_features=n_features, widths=widths)
        torch_rng = Generator().manual_seed(rng)
        self.encoder = dense([n_features, *widths], rng=torch_rng)
        self.decoder = dense([*reversed(widths), n_features], rng=torch_rng, linear_output=True)

    @classmethod
    def fit(
        cls, cells: Annotated[CellSource, CELLS], training: Training, *, widths: Sequence[Count] = (500, 250, 50)
    ) -> Self:
        """Train on cells and return the space, frozen.

        Examples
        --------
        >>> import torch, neuronedit as ne
        >>> cells = torch.randn(200, 5)
        >>> space = ne.spaces.Autoencoder.fit(cells, ne.spaces.Training(max_epochs=1), widths=(8, 3))
        >>> space.encode(cells).shape
        torch.Size([200, 3])

        Parameters
        ----------
        %(cells_to_fit)s
        %(training_settings)s
        widths
            Neurons of the encoder's layers; the decoder mirrors them. The last one is where cells are edited. Wider
            reproduces the cells more closely and trains longer.
        """
        space = cls(n_features=cells.shape[1], widths=widths, rng=training.rng)
        space.set_scale(cells)
        space.to(training.device)
        from_scaled = dense_backward([*space.encoder, *space.decoder], min(training.batch_size, cells.shape[0]))
        space.history = train(
            space, space.reconstruction_loss, cells, training, backward=lambda x: from_scaled(space.standardize(x))
        )
        return space

    @fast_matmul()
    def encode(self, x: Tensor, /) -> Tensor:
        """Return the activations of the narrowest layer, after its LeakyReLU."""
        return apply_dense(self.encoder, self.standardize(x))

    @fast_matmul()
    def decode(self, z: Tensor, /) -> Tensor:
        """Return the cells that these activations stand for."""
        return apply_dense(self.decoder, z.to(self.center.dtype)) * self.scale + self.center
