"""Principal components: the linear space that the paper compares with ("PCA editing")."""

from typing import Annotated, Self

import torch
from torch import Tensor

from .._blocks import CellSource, pad_rows
from .._check import CELLS, Count
from .._device import fast_matmul
from .._subsample import subsample
from ._base import FittedSpace, apply_covariance, covariance, moments
from ._train import Training

MAX_TO_DECOMPOSE = 1_000  # of cells or features, whichever are fewer: time grows with the cube of it
N_PASSES = 5  # over the cells, where there are more
MAX_VALUES_TO_FIND = 2**26  # that components are found from, 256 MB: 33,000 cells of 2,000 genes
N_MORE = 10  # directions that are followed besides the components, so that the last components are nearly exact


class PCA(FittedSpace):
    """Project centred cells on their principal components."""

    is_trained = False

    mean: Tensor  # (n_features,)
    components: Tensor  # (n_features, n_components), orthonormal, by decreasing variance

    def __init__(self, *, n_features: Count, n_components: Count) -> None:
        super().__init__(n_features=n_features, n_components=n_components)
        self.register_buffer("mean", torch.zeros(n_features))
        self.register_buffer("components", torch.zeros(n_features, n_components))

    @classmethod
    def fit(cls, cells: Annotated[CellSource, CELLS], training: Training, *, n_components: Count = 50) -> Self:
        """Find the components: exactly with at most 1,000 features or cells, else by subspace iteration.

        Where there are more than 2²⁶ values, cells are drawn at random: 33,000 with 2,000 genes, and never fewer than 1,000. The
        mean is that of all cells. Of features and cells, the number of the fewer is squared in memory up to 1,000. Beyond, it is
        features times components.

        Examples
        --------
        >>> import torch, neuronedit as ne
        >>> cells = torch.randn(200, 5)
        >>> ne.spaces.PCA.fit(cells, ne.spaces.Training(), n_components=2).encode(cells).shape
        torch.Size([200, 2])

        Parameters
        ----------
        %(cells_to_fit)s
        training
            Only its device is used.
        n_components
            Components at most; there are never more than features. ``residual=True`` keeps what they lose of a cell.

        References
        ----------
        Halko, Martinsson and Tropp 2011, Finding structure with randomness, doi:10.1137/090771806 (subspace iteration).
        """
        return cls.of(cells, n_components=n_components).to(training.device)

    @classmethod
    def of(cls, cells: Annotated[CellSource, CELLS], *, n_components: Count | None = None) -> Self:
        """Return the space of the components of cells, by default of all components.

        With fewer cells than features there are as many components as directions in which the cells vary.
        """
        (mean, _), n_features = moments(cells), cells.shape[1]
        if n_components is not None:
            n_most = max(MAX_TO_DECOMPOSE, MAX_VALUES_TO_FIND // n_features)
            cells = cells[subsample(cells.shape[0], n_most)] if cells.shape[0] > n_most else cells
        n_cells = cells.shape[0]
        if n_components is not None and min(n_cells, n_features) > max(MAX_TO_DECOMPOSE, 4 * (n_components + N_MORE)):
            vectors = _iterate(cells, mean, n_components)
        elif n_cells < n_features:
            vectors = _components_of_few_cells(cells[:].cpu().double() - mean)[:, :n_components]
        else:
            vectors = torch.linalg.eigh(covariance(cells, mean)).eigenvectors.flip(1)[:, :n_components]
        # the largest loading of each component is positive
        largest = vectors.gather(0, vectors.abs().argmax(0, keepdim=True))
        space = cls(n_features=n_features, n_components=vectors.shape[1])
        space.mean.copy_(mean)
        space.components.copy_(vectors * largest.sign())
        return space.to(cells[:1].device)

    @fast_matmul()
    def encode(self, x: Tensor, /) -> Tensor:
        """Project cells on the components."""
        return (pad_rows((x - self.mean).to(self.mean.dtype)) @ self.components)[: len(x)]

    @fast_matmul()
    def decode(self, z: Tensor, /) -> Tensor:
        """Return the cells that the components span."""
        return (pad_rows(z.to(self.mean.dtype)) @ self.components.T)[: len(z)] + self.mean


def _iterate(cells: CellSource, mean: Tensor, n_components: int) -> Tensor:
    """Return the components, ``(n_features, n_components)``, without the covariance of all features: by subspace iteration."""
    generator = torch.Generator().manual_seed(0)
    moved = torch.randn(len(mean), n_components + N_MORE, dtype=torch.float64, generator=generator)
    for _ in range(N_PASSES):
        directions = torch.linalg.qr(moved).Q
        moved = apply_covariance(cells, mean, directions)
    # the components within the last directions
    vectors = torch.linalg.eigh(directions.T @ moved).eigenvectors.flip(1)[:, :n_components]
    return directions @ vectors


def _components_of_few_cells(centered: Tensor) -> Tensor:
    """Return the components, ``(n_features, n)``, of fewer cells than features: from the products of cells with each other."""
    values, vectors = torch.linalg.eigh(centered @ centered.T)
    values, vectors = values.flip(0), vectors.flip(1)
    n = max(1, int((values > 1e-10 * values[0]).sum()))
    return centered.T @ (vectors[:, :n] / values[:n].clamp_min(torch.finfo(values.dtype).tiny).sqrt())
