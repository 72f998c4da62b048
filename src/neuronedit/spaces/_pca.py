"""Principal components: the linear space that the paper compares with ("PCA editing")."""

from typing import Self

import torch
from torch import Tensor

from .._types import Cells, block_size
from ._base import FittedSpace, moments
from ._train import Training


class PCA(FittedSpace):
    """Project centred cells on their principal components, exactly.

    Attributes
    ----------
    mean
        ``(n_features,)``
    components
        ``(n_features, n_components)``, orthonormal, by decreasing variance; the largest loading of each is positive.
    """

    mean: Tensor
    components: Tensor

    def __init__(self, *, n_features: int, n_components: int) -> None:
        super().__init__(n_features=n_features, n_components=n_components)
        self.register_buffer("mean", torch.zeros(n_features))
        self.register_buffer("components", torch.zeros(n_features, n_components))

    @classmethod
    def fit(cls, cells: Cells, training: Training, *, n_components: int = 50) -> Self:
        """Find the components in two passes over the cells; memory grows with the square of the number of features.

        Parameters
        ----------
        cells
            ``(n_cells, n_features)``
        training
            Only its device is used.
        n_components
            At most, and never more than there are features. With fewer, what is left of a cell is kept by ``residual=True``.
        """
        if n_components < 1:
            raise ValueError(f"n_components must be at least 1; it is {n_components}.")
        return cls.of(cells, n_components=n_components).to(training.device)

    @classmethod
    def of(cls, cells: Cells, *, n_components: int | None = None) -> Self:
        """Return the components of cells that are at hand, by default all of them."""
        n_cells, n_features = cells.shape
        mean, _ = moments(cells)
        n_rows = block_size(n_features)
        covariance = torch.zeros(n_features, n_features, dtype=torch.float64)
        for start in range(0, n_cells, n_rows):
            block = cells[start : start + n_rows].cpu().double() - mean
            covariance += block.T @ block
        vectors = torch.linalg.eigh(covariance).eigenvectors.flip(1)[:, :n_components]
        largest = vectors.gather(0, vectors.abs().argmax(0, keepdim=True))
        space = cls(n_features=n_features, n_components=vectors.shape[1])
        space.mean.copy_(mean)
        space.components.copy_(vectors * largest.sign())
        return space.to(cells[:1].device)

    def encode(self, x: Tensor, /) -> Tensor:
        """Project cells on the components."""
        return (x - self.mean) @ self.components

    def decode(self, z: Tensor, /) -> Tensor:
        """Return the cells that the components span."""
        return z @ self.components.T + self.mean
