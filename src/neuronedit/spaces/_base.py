"""What every space shares: it is a torch module whose buffers and weights are all there is to save."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from .._blocks import CellSource, block_size
from .._networks import check_widths
from ._train import History

RULING_SPREAD = (
    20.0  # times the median standard deviation: markers on the arcsinh scale reach 3, logarithms of genes 10
)


class FittedSpace(nn.Module, ABC):
    """A space that is ready to use. Its class method ``fit`` returns it.

    ``config``, what the constructor was given (as JSON can hold it), and the saved weights make it again. ``history`` has the
    losses during training, if there was one. ``training_defaults`` are what :func:`neuronedit.tl.train` takes instead of the
    defaults of `Training`, where the caller gives none. A space that ``is_trained`` is fitted in steps, as they say.
    """

    training_defaults: ClassVar[dict[str, Any]] = {}
    is_trained: ClassVar[bool] = True

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
    """An autoencoder whose input is centred per feature and divided by one scale for all features.

    A feature that would rule that scale, such as time in seconds among markers, has a scale of its own.
    """

    center: Tensor
    scale: Tensor
    encoder: nn.Sequential
    decoder: nn.Sequential

    def __init__(self, *, widths: Sequence[int], **config: Any) -> None:
        check_widths(widths)
        super().__init__(**config, widths=[int(width) for width in widths])
        self.register_buffer("center", torch.zeros(config["n_features"]))
        self.register_buffer("scale", torch.ones(()))

    def set_scale(self, cells: CellSource) -> None:
        """Set the centre and the scale from the cells."""
        mean, variance = moments(cells)
        self.center.copy_(mean)
        spread = variance.sqrt()
        ruling = find_ruling(spread)
        scale = variance[~ruling].mean().sqrt().item() or 1.0
        if not ruling.any():
            self.scale.fill_(scale)
            return
        self.scale = torch.where(ruling, spread, torch.full_like(spread, scale)).float()  # (n_features,)

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        """Load weights, where the scale may be one number or one of each feature."""
        if f"{prefix}scale" in state_dict:
            scale = state_dict[f"{prefix}scale"]
            if scale.shape not in ((), self.center.shape) or not (scale > 0).all():
                raise ValueError("scale must be one positive number, or one of each feature")
            self.scale = torch.ones_like(scale, dtype=self.scale.dtype)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def standardize(self, x: Tensor) -> Tensor:
        """Return cells, centred and scaled, in the precision of the weights."""
        return ((x - self.center) / self.scale).to(self.center.dtype)

    def reconstruction_loss(self, x: Tensor) -> Tensor:
        """Return the mean squared error of reproducing cells, after scaling."""
        scaled = self.standardize(x)
        return mse_loss(self.decoder(self.encoder(scaled)), scaled)


def check_space(space: FittedSpace, x: Tensor, name: str) -> None:
    """Refuse a space that does not give every cell its neurons, and the neurons of every cell a cell, all finite."""
    if bad := [key for key, weight in space.weights().items() if not weight.isfinite().all()]:
        raise ValueError(f"the space {name} has weights that are NaN or infinite: {', '.join(bad)}.")
    with torch.no_grad():
        z = space.encode(x)
        n_neurons = z.shape[1] if getattr(z, "ndim", 0) == 2 else "n_neurons"
        _check_rows(z, (len(x), n_neurons), f"encode of the space {name}")
        _check_rows(space.decode(z), tuple(x.shape), f"decode of the space {name}")


def _check_rows(given: Any, shape: tuple[Any, ...], what: str) -> None:
    if not isinstance(given, Tensor) or not given.is_floating_point():
        kind = f"a tensor of {given.dtype}" if isinstance(given, Tensor) else f"a {type(given).__name__}"
        raise TypeError(f"{what} returned {kind}; it must return a tensor of floating type.")
    if tuple(given.shape) != shape:
        wanted = ", ".join(map(str, shape))
        raise ValueError(f"{what} returned the shape {tuple(given.shape)} for {shape[0]} cells; it must be ({wanted}).")
    bad = int((~torch.isfinite(given)).any(1).sum())
    if bad:
        raise ValueError(f"{what} returned NaN or infinite values for {bad} of {len(given)} cells; it must be finite.")


def find_ruling(spread: Tensor) -> Tensor:
    """Return which features vary so much more than most that they would rule a common scale: ``(n_features,)``."""
    varying = spread[spread > 0]
    if len(varying) < 3:
        return torch.zeros_like(spread, dtype=torch.bool)
    return (spread > RULING_SPREAD * varying.median()) & (spread.square() > spread.square().sum() / 10)


def covariance(cells: CellSource, mean: Tensor) -> Tensor:
    """Return the mean product of the differences from ``mean``, ``(n_features, n_features)`` in float64, block by block."""
    products = torch.zeros(cells.shape[1], cells.shape[1], dtype=torch.float64)
    for block in _read_double(cells):
        block -= mean
        products += block.T @ block
    return products / cells.shape[0]


def apply_covariance(cells: CellSource, mean: Tensor, directions: Tensor) -> Tensor:
    """Return what `covariance` makes of directions, ``(n_features, n)`` in float64, without holding it."""
    moved = torch.zeros_like(directions)
    for block in _read_double(cells):
        block -= mean
        moved += block.T @ (block @ directions)
    return moved / cells.shape[0]


def moments(cells: CellSource) -> tuple[Tensor, Tensor]:
    """Return mean and variance of every feature, in float64, in one pass over blocks of cells."""
    n_so_far, n_features = 0, cells.shape[1]
    mean, squares = torch.zeros(2, n_features, dtype=torch.float64)
    for block in _read_double(cells):
        own_mean = block.mean(0)
        offset = own_mean - mean
        weight = len(block) / (n_so_far + len(block))
        squares += (block - own_mean).square_().sum(0) + offset.square() * n_so_far * weight
        mean += offset * weight
        n_so_far += len(block)
    if not (mean.isfinite().all() and squares.isfinite().all()):
        bad = (~(mean.isfinite() & squares.isfinite())).nonzero().flatten().tolist()
        raise ValueError(f"cells have NaN, infinite or too large values in features number {bad}; drop them first.")
    return mean, squares / n_so_far


def _read_double(cells: CellSource) -> Iterator[Tensor]:
    """Yield the cells in float64, a block at a time, read in larger blocks: double precision takes twice the memory."""
    n_cells, n_features = cells.shape
    n_rows = block_size(n_features)
    for start in range(0, n_cells, n_rows):
        for part in cells[start : start + n_rows].split(max(1, n_rows // 8)):
            yield part.to("cpu", torch.float64, copy=True)  # it may be changed in place
