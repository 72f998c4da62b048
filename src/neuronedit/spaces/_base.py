"""What every space shares: it is a torch module whose buffers and weights are all there is to save."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from .._blocks import CellSource, block_size
from ._train import History


class FittedSpace(nn.Module, ABC):
    """A space that is ready to use. Its class method ``fit`` returns it.

    ``config``, what the constructor was given (as JSON can hold it), and the saved weights make it again. ``history`` has the
    losses during training, if there was one. ``training_defaults`` are what :func:`neuronedit.tl.train` takes instead of the
    defaults of `Training`, where the caller gives none.
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


class ScaledSpace(FittedSpace):
    """An autoencoder whose input is centred per feature and divided by one scale for all features."""

    center: Tensor
    scale: Tensor
    encoder: nn.Sequential
    decoder: nn.Sequential

    def __init__(self, *, widths: Sequence[int], **config: Any) -> None:
        if not len(widths) or min(widths) < 1:
            raise ValueError(f"widths must hold at least one positive number; they are {tuple(widths)}.")
        super().__init__(**config, widths=[int(width) for width in widths])
        self.register_buffer("center", torch.zeros(config["n_features"]))
        self.register_buffer("scale", torch.ones(()))

    def set_scale(self, cells: CellSource) -> None:
        """Set the centre and the scale from the cells."""
        mean, variance = moments(cells)
        self.center.copy_(mean)
        self.scale.fill_(variance.mean().sqrt().item() or 1.0)

    def standardize(self, x: Tensor) -> Tensor:
        """Return cells, centred and scaled."""
        return (x - self.center) / self.scale

    def reconstruction_loss(self, x: Tensor) -> Tensor:
        """Return the mean squared error of reproducing cells, after scaling."""
        scaled = self.standardize(x)
        return mse_loss(self.decoder(self.encoder(scaled)), scaled)


def moments(cells: CellSource) -> tuple[Tensor, Tensor]:
    """Return mean and variance of every feature, in float64, in one pass over blocks of cells."""
    n_cells, n_features = cells.shape
    n_rows = block_size(n_features)
    mean, squares = torch.zeros(2, n_features, dtype=torch.float64)
    for start in range(0, n_cells, n_rows):
        block = cells[start : start + n_rows].cpu().double()
        offset = block.mean(0) - mean
        weight = len(block) / (start + len(block))
        squares += (block - block.mean(0)).square().sum(0) + offset.square() * start * weight
        mean += offset * weight
    return mean, squares / n_cells
