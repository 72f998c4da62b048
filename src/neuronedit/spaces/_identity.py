"""No space at all: the features are the neurons, so that per-marker methods fit the same contract."""

from typing import Annotated, Self

from torch import Tensor

from .._blocks import CellSource
from .._check import CELLS
from ._base import FittedSpace
from ._train import Training


class Identity(FittedSpace):
    """Edit the features themselves. `percentile` in it is per-marker quantile matching, `shift` the mean shift."""

    is_trained = False

    @classmethod
    def fit(cls, cells: Annotated[CellSource, CELLS], training: Training) -> Self:
        """Return the space; there is nothing to fit."""
        return cls()

    def encode(self, x: Tensor, /) -> Tensor:
        """Return the cells."""
        return x

    def decode(self, z: Tensor, /) -> Tensor:
        """Return the neurons."""
        return z
