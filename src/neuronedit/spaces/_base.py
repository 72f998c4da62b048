"""What every space shares: it is a torch module whose buffers and weights are all there is to save."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from .._blocks import CellSource, block_size
from ._train import History


class FittedSpace(nn.Module, ABC):
    """A space that is ready to use. Its class method ``fit`` returns it; ``config`` and the saved weights make it again.

    Attributes
    ----------
    config
        What the constructor was given, as JSON can hold it.
    history
        Losses during training; empty for a space without training.
    training_defaults
        Settings that :func:`neuronedit.tl.train` takes instead of the defaults of `Training`, where the caller gives none.
    """

    training_defaults: ClassVar[dict[str, Any]] = {}

    def __init__(self, **config: Any) -> None:
        super().__init__()
        self.config = config
        self.history: History = {}

    @abstractmethod
    def encode(self, x: Tensor, /) -> Tensor:
        """Turn cells, ``(n_cells, n_features)``, into neurons, ``(n_cells, n_neurons)``."""

    @abstractmethod
    def decode(self, z: Tensor, /) -> Tensor:
        """Turn neurons, ``(n_cells, n_neurons)``, into cells, ``(n_cells, n_features)``."""

    def weights(self) -> dict[str, Tensor]:
        """Return weights and buffers, on the CPU."""
        return {name: tensor.detach().cpu() for name, tensor in self.state_dict().items()}


def check_widths(widths: Sequence[int]) -> None:
    """Raise an error unless there are layers, each with at least one neuron or filter."""
    if not len(widths) or min(widths) < 1:
        raise ValueError(f"widths must hold at least one positive number; they are {tuple(widths)}.")


def set_scale(space: FittedSpace, cells: CellSource) -> None:
    """Set the centre of each feature and the one scale of all of them, from the cells."""
    mean, variance = moments(cells)
    space.get_buffer("center").copy_(mean)
    space.get_buffer("scale").fill_(variance.mean().sqrt().item() or 1.0)


def moments(cells: CellSource) -> tuple[Tensor, Tensor]:
    """Return mean and variance of every feature, in float64, in one pass over blocks of cells."""
    n_cells, n_features = cells.shape
    n_rows = block_size(n_features)
    mean, squares = torch.zeros(n_features, dtype=torch.float64), torch.zeros(n_features, dtype=torch.float64)
    for start in range(0, n_cells, n_rows):
        block = cells[start : start + n_rows].cpu().double()
        offset = block.mean(0) - mean
        weight = len(block) / (start + len(block))
        squares += (block - block.mean(0)).square().sum(0) + offset.square() * start * weight
        mean += offset * weight
    return mean, squares / n_cells
