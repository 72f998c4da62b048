"""The paper's space for images: the internal layer of a convolutional autoencoder."""

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Self

import torch
from torch import Tensor

from .._blocks import CellSource
from .._check import CELLS, Count, Seed
from .._device import fast_matmul
from .._networks import FILTERS, check_image_shape, image_coder
from ._base import ScaledSpace
from ._train import Training, train

IMAGES_PER_BLOCK = 256  # encoded or decoded together: the layers of one of 64 x 64 pixels take about a megabyte


class Conv(ScaledSpace):
    """Convolutions of size four and stride two down to the internal layer and back, LeakyReLU 0.2.

    Images are rows of X, flattened as by ``image.ravel()``: rows, columns, channels. Neurons are all activations of the
    internal layer: 256 for every 8 x 8 pixels, so each belongs to a place in the image. Sides that are no multiple of 8
    are padded with their last row or column, which is cut off again. Input is scaled as in `Autoencoder`.
    """

    training_defaults: ClassVar[dict[str, Any]] = {"batch_size": 16, "n_steps": 1_000, "lr": 1e-3}

    def __init__(
        self, *, n_features: Count, image_shape: Sequence[Count], widths: Sequence[Count] = FILTERS, rng: Seed = 0
    ) -> None:
        shape = check_image_shape(image_shape, n_features)
        super().__init__(n_features=n_features, image_shape=shape, widths=widths)
        torch_rng = torch.Generator().manual_seed(rng)
        self.encoder, self.decoder = image_coder(shape, widths, rng=torch_rng)

    @classmethod
    def fit(
        cls, cells: Annotated[CellSource, CELLS], training: Training, *, image_shape: Sequence[Count] | None = None,
        widths: Sequence[Count] = FILTERS,
    ) -> Self:  # fmt: skip
        """Train on images and return the space, frozen.

        Examples
        --------
        >>> import torch, neuronedit as ne
        >>> images = torch.rand(20, 16 * 16)
        >>> training = ne.spaces.Training(max_epochs=1, **ne.spaces.Conv.training_defaults)
        >>> ne.spaces.Conv.fit(images, training, image_shape=(16, 16), widths=(4, 8)).encode(images).shape
        torch.Size([20, 128])

        Parameters
        ----------
        %(cells_to_fit)s
        %(training_settings)s
        image_shape
            ``(rows, columns)`` or ``(rows, columns, channels)``, whose product is the number of features.
        widths
            Filters of the encoder's layers; the decoder mirrors them. Each layer halves rows and columns.
        """
        shape = check_image_shape(image_shape, cells.shape[1])
        space = cls(n_features=cells.shape[1], image_shape=shape, widths=widths, rng=training.rng)
        space.set_scale(cells)
        space.to(training.device)
        space.history = train(space, space.reconstruction_loss, cells, training)
        return space

    @fast_matmul()
    def encode(self, x: Tensor, /) -> Tensor:
        """Return the activations of the internal layer, after its LeakyReLU, ``(n_images, n_neurons)``."""
        return torch.cat([self.encoder(self.standardize(block)) for block in x.split(IMAGES_PER_BLOCK)])

    @fast_matmul()
    def decode(self, z: Tensor, /) -> Tensor:
        """Return the images that these activations stand for."""
        blocks = z.to(self.center.dtype).split(IMAGES_PER_BLOCK)
        return torch.cat([self.decoder(block) for block in blocks]) * self.scale + self.center
