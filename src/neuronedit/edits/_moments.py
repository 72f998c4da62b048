"""Edits that match moments: the means, the standard deviations, or the covariances."""

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from .._check import NotNegative
from .._maps import ShapeRepr
from .._types import CellTensor, Map, Vector, within
from ..spaces import PCA
from ..spaces._base import covariance, moments


@dataclass(frozen=True, eq=False, repr=False)
class Shift(ShapeRepr):
    """The map ``z -> z + vector``; ``vector`` is ``(n_neurons,)``."""

    vector: Vector

    def __call__(self, z: Tensor, /) -> Tensor:
        return z + self.vector


@dataclass(frozen=True, eq=False, repr=False)
class Stretch(ShapeRepr):
    """The map ``x -> (x - center) * factor + goal``, each ``(n_features,)``."""

    center: Tensor
    factor: Tensor
    goal: Tensor

    def __call__(self, x: Tensor, /) -> Tensor:
        return (x - self.center) * self.factor + self.goal


@dataclass(frozen=True, eq=False, repr=False)
class Linear(ShapeRepr):
    """The map ``x -> (x - center) @ matrix + goal``; ``matrix`` is ``(n_features, n_features)``, the others ``(n_features,)``."""

    center: Tensor
    matrix: Tensor
    goal: Tensor

    def __call__(self, x: Tensor, /) -> Tensor:
        return (x - self.center) @ self.matrix + self.goal


def shift(source: CellTensor, target: CellTensor, /) -> Shift:
    """Move every cell by the difference between the target's and the source's mean neurons: the paper's Constant Shift.

    Examples
    --------
    >>> import torch, neuronedit as ne
    >>> ne.edits.shift(torch.zeros(4, 2), torch.ones(4, 2))(torch.full((1, 2), 5.0))
    tensor([[6., 6.]])

    Parameters
    ----------
    %(populations)s

    Returns
    -------
    The map ``z -> z + mean(target) - mean(source)``.
    """
    return Shift(target.mean(0) - source.mean(0))


def affine(source: CellTensor, target: CellTensor, /) -> Stretch:
    """Give every feature the target's mean and standard deviation.

    Examples
    --------
    >>> import torch, neuronedit as ne
    >>> source = torch.tensor([[0.0], [2.0]])
    >>> ne.edits.affine(source, 3 * source)(torch.tensor([[5.0]])).tolist()
    [[15.0]]

    Parameters
    ----------
    %(populations)s

    Returns
    -------
    The map ``x -> (x - mean(source)) / sd(source) * sd(target) + mean(target)``. Constant features are only shifted.
    """
    spread = source.std(0, correction=0)
    factor = torch.where(spread > 0, target.std(0, correction=0) / spread, 1.0)
    return Stretch(source.mean(0), factor, target.mean(0))


def gaussian_ot(source: CellTensor, target: CellTensor, /, *, ridge: NotNegative = 1e-3) -> Map:
    r"""Map cells by the optimal transport between Gaussians with the source's and target's means and covariances.

    Examples
    --------
    >>> import torch, neuronedit as ne
    >>> source = torch.randn(500, 2)
    >>> ne.edits.gaussian_ot(source, source + 1)(torch.zeros(1, 2)).round().tolist()
    [[1.0, 1.0]]

    Parameters
    ----------
    %(populations)s
    ridge
        Added to both covariances, as a share of the source's mean variance. More trusts small variances less.

    Returns
    -------
    The map :math:`x \mapsto m_T + A (x - m_S)`, where

    .. math:: A = \Sigma_S^{-1/2} (\Sigma_S^{1/2} \Sigma_T \Sigma_S^{1/2})^{1/2} \Sigma_S^{-1/2}.

    With fewer cells than features it moves cells along the principal axes of both populations alone.

    References
    ----------
    Knott & Smith 1984, On the optimal mapping of distributions, doi:10.1007/BF00934745.
    """
    # fewer cells than features: along the principal axes
    if len(source) + len(target) < source.shape[1]:
        axes = PCA.of(torch.cat([source, target]))
        share = axes.components.shape[1] / source.shape[1]  # the mean variance is one over fewer directions
        return within(axes, partial(gaussian_ot, ridge=ridge * share))(source, target)
    # covariances, (n_features, n_features)
    means = [moments(cells)[0] for cells in (source, target)]
    source_cov, target_cov = (
        covariance(cells, mean) * (len(cells) / (len(cells) - 1))
        for cells, mean in zip((source, target), means, strict=True)
    )
    added = ridge * source_cov.diag().mean() * torch.eye(len(source_cov), dtype=source_cov.dtype)
    source_cov, target_cov = source_cov + added, target_cov + added
    # A
    root, inverse = _powers(source_cov, 0.5, -0.5)
    (middle,) = _powers(root @ target_cov @ root, 0.5)
    matrix = inverse @ middle @ inverse
    return Linear(means[0].to(source), matrix.to(source), means[1].to(source))


def _powers(matrix: Tensor, *exponents: float) -> list[Tensor]:
    """Powers of a symmetric matrix; directions without variance stay without."""
    values, vectors = torch.linalg.eigh(matrix)
    kept = values > 1e-12 * values.max()
    return [(vectors[:, kept] * values[kept] ** exponent) @ vectors[:, kept].T for exponent in exponents]
