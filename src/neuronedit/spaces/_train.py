"""The one training loop, for every space that has weights to train."""

import logging
import math
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor, distributed, nn

from .._adam import Adam
from .._blocks import CellSource, block_size, read_to
from .._check import CELLS, Count, Positive, Seed
from .._networks import check_trained, describe_divergence
from .._progress import Forecast, tqdm
from ._cuda_graph import GraphedStep

logger = logging.getLogger(__name__)

History = dict[str, Any]  # `train_loss` and, with a validation split, `validation_loss` of each epoch; `interrupted`
Schedule = Callable[
    [float], float
]  # the learning rate as a share of its peak, given the share of training that is done
BatchLoss = Callable[[Tensor], Tensor]  # (batch_size, n_features) -> loss
Precision = Literal["float32", "bfloat16"]  # of the products in training; weights and trained spaces are float32
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
MAX_VALUES_IN_MEMORY = 2**27  # read from a file at a time: 512 MB of float32, were none of them zero
MAX_GRADIENT_NORM = (
    1.0  # longer ones are shortened: hardly ever ordinary cells', but one outlier's could end all learning
)


def onecycle(done: float, *, rise: float = 0.3, start: float = 1 / 25, end: float = 4e-6) -> float:
    """Rise to the peak over the first 30 % of training and anneal to almost nothing, both along a cosine."""
    low, share = (start, done / rise) if done < rise else (end, (1 - done) / (1 - rise))
    return low + (1 - low) * (1 - math.cos(math.pi * share)) / 2


def constant(done: float) -> float:
    """Keep the rate, as published."""
    return 1.0


MAX_RISE = 1e4  # of the loss, above that of the first batch: no training that learns anything gets there

SCHEDULES: dict[str, Schedule] = {"onecycle": onecycle, "constant": constant}


@dataclass(frozen=True, kw_only=True)
class Training:
    """How a space is trained. A space without training uses only the device.

    Examples
    --------
    >>> import neuronedit as ne
    >>> ne.spaces.Training(n_steps=1_000, batch_size=50).epochs(n_cells=500)
    100

    Parameters
    ----------
    max_epochs, n_steps
        Passes over the cells. `None`: enough for ``n_steps`` minibatches, and at least two.
    batch_size
        Cells in a step.
    lr
        Learning rate of Adam; the peak where the schedule anneals. `None`: 3e-3 with `onecycle`, else 1e-3, as published.
    schedule
        A row of `SCHEDULES`, or a function of the share of training that is done.
    validation_size
        Share of the cells that is not trained on. Their loss is recorded.
    early_stopping
        Stop when the validation loss has not improved for so many epochs, and keep the best weights.
    %(rng)s
    device, precision, progress_bar
        Where to compute; a row of `PRECISIONS`; whether to show a progress bar.
    cuda_graph
        Record a step on the CUDA device once and replay it, which saves the launches of its operations. It trains as without,
        but for rounding, in one process.
    """

    max_epochs: Count | None = None
    batch_size: Count = 100
    lr: Positive | None = None
    schedule: Schedule = onecycle
    validation_size: float = 0.0
    early_stopping: Count | None = None
    rng: Seed = 0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    progress_bar: bool = False
    precision: Precision = "float32"
    n_steps: Count = 2_500
    cuda_graph: bool = False

    def __post_init__(self) -> None:
        if self.cuda_graph and self.device.type != "cuda":
            raise ValueError(f"cuda_graph=True needs a CUDA device; training is on {str(self.device)!r}.")
        if not 0 <= self.validation_size < 1:
            raise ValueError(f"validation_size must be a share, from 0 to below 1; it is {self.validation_size}.")
        if self.early_stopping and not self.validation_size:
            raise ValueError("early_stopping needs cells to validate on: give validation_size, for example 0.1.")

    @property
    def peak(self) -> float:
        """The highest learning rate."""
        default = 3e-3 if self.schedule is onecycle else 1e-3
        return default if self.lr is None else self.lr

    def epochs(self, n_cells: int) -> int:
        """Return the number of passes over so many cells."""
        return self.max_epochs or max(2, math.ceil(self.n_steps * self.batch_size / n_cells))


def train(
    module: nn.Module,
    loss: BatchLoss,
    cells: Annotated[CellSource, CELLS],
    training: Training,
    *,
    backward: BatchLoss | None = None,
) -> History:
    """Lower ``loss(batch)`` of the module with Adam, freeze the module and return the history.

    Every epoch visits the cells in a new order. Gradients longer than 1 are shortened to it. Ctrl-C ends training and keeps
    the weights so far. Where a process group of torch.distributed is initialized (as under ``torchrun``), each process
    trains on its share of the cells and gradients are averaged, so that all have the same weights. All processes must be
    given the same cells and ``rng``.

    Examples
    --------
    >>> import torch, neuronedit as ne
    >>> module = torch.nn.Linear(3, 3)
    >>> def loss(x):
    ...     return (module(x) - 1).square().mean()
    >>> len(ne.spaces.train(module, loss, torch.rand(500, 3), ne.spaces.Training(max_epochs=4))["train_loss"])
    4

    Parameters
    ----------
    module, loss
        What is trained, and frozen afterwards; ``(batch_size, n_features) -> loss``, the mean over the cells.
    %(cells_to_fit)s
    %(training_settings)s
    backward
        In float32 it returns a batch's loss and leaves its gradients in the parameters. Otherwise autograd does.

    Returns
    -------
    The losses of every epoch, and whether training was interrupted.
    """
    # split: some cells are held out, and each process has its share of the others
    rng = torch.Generator().manual_seed(training.rng)
    order = torch.randperm(cells.shape[0], generator=rng).numpy()
    n_held_out = round(training.validation_size * len(order))
    held_out, kept = np.sort(order[:n_held_out]), np.sort(order[n_held_out:])
    together = distributed.is_available() and distributed.is_initialized()
    rank, n_ranks = (distributed.get_rank(), distributed.get_world_size()) if together else (0, 1)
    kept = kept[rank::n_ranks][: len(kept) // n_ranks]

    # prepare
    n_epochs = training.epochs(len(kept) * n_ranks)
    n_steps = n_epochs * math.ceil(len(kept) / training.batch_size)
    parameters, gradient = flatten_parameters(module)
    if backward is None or training.precision != "float32":
        backward = _make_backward(module, loss, training)
    take_step = _make_step(parameters, gradient, backward, n_ranks, training)
    history: History = {"train_loss": [], "interrupted": False} | ({"validation_loss": []} if n_held_out else {})
    best, best_epoch, best_weights, step, first = math.inf, 0, None, 0, torch.zeros((), device=training.device)
    bar = tqdm(total=n_epochs, desc="training", unit="epoch", disable=not training.progress_bar)
    forecast = Forecast("Training")

    # train
    try:
        with bar:
            for epoch in range(n_epochs):
                total = torch.zeros((), device=training.device)
                for batch in _iterate_batches(cells, kept, training, rng):
                    value = take_step(batch, _get_rate(training, step / n_steps))
                    first = value if step == 0 else first
                    total += value * len(batch)
                    step += 1
                    forecast.update(step / n_steps)
                sums = torch.stack([_average_over_ranks(total, n_ranks), first]).tolist()  # both in one wait
                losses = {"loss": sums[0] / len(kept)}
                history["train_loss"].append(losses["loss"])
                if n_held_out:
                    losses["validation"] = _mean_loss(loss, cells, held_out, training)
                    history["validation_loss"].append(losses["validation"])
                    if losses["validation"] < best:
                        best, best_epoch = losses["validation"], epoch
                        best_weights = deepcopy(module.state_dict()) if training.early_stopping else None
                _check_losses(losses, epoch, sums[1], training)
                bar.update()
                bar.set_postfix({name: f"{value:.3g}" for name, value in losses.items()})
                if training.early_stopping and epoch - best_epoch >= training.early_stopping:
                    break
    except KeyboardInterrupt:
        history["interrupted"] = True
        logger.warning("Training was interrupted after %d of %d steps; the weights so far are kept.", step, n_steps)

    # freeze
    if best_weights is not None:
        module.load_state_dict(best_weights)
    check_trained(module, training.peak)
    module.zero_grad()
    module.requires_grad_(False)
    return history


def _make_step(
    parameters: nn.Parameter, gradient: Tensor, backward: BatchLoss, n_ranks: int, training: Training
) -> Callable[[Tensor, float], Tensor]:
    """Return what takes a step of Adam for a batch at a learning rate, and returns its loss."""
    adam = Adam(parameters, gradient)

    def take_step(batch: Tensor, rate: float | Tensor) -> Tensor:
        value = backward(batch)
        _average_over_ranks(gradient, n_ranks)
        _shorten(gradient)
        adam.step(rate)
        return value

    if not training.cuda_graph:
        return take_step
    if n_ranks > 1:
        raise ValueError(f"cuda_graph=True trains in one process; there are {n_ranks}.")
    # the record reads the rate where it is
    place = torch.full((), training.peak, device=training.device)
    graphed = GraphedStep(lambda batch: take_step(batch, place))

    def replay(batch: Tensor, rate: float) -> Tensor:
        place.fill_(rate)
        return graphed(batch)

    return replay


def _shorten(gradient: Tensor) -> None:
    """Scale a gradient that is too long down to the longest one that is taken."""
    norm = gradient.norm()
    if gradient.device.type != "cpu" or norm > MAX_GRADIENT_NORM:  # to ask an accelerator is to wait
        gradient *= (MAX_GRADIENT_NORM / norm).clamp(max=1.0)


def _get_rate(training: Training, done: float) -> float:
    """Return the learning rate after a share of the training."""
    share = training.schedule(done)
    if not 0 <= share < math.inf:
        raise ValueError(f"schedule({done:.3g}) is {share}; it must return a share of lr, 0 or more and finite.")
    return training.peak * share


def _check_losses(losses: Mapping[str, float], epoch: int, first: float, training: Training) -> None:
    """Refuse losses that are not finite, or have risen far above that of the first batch, before any step."""
    most = MAX_RISE * first if first > 0 else math.inf
    if all(value <= most and math.isfinite(value) for value in losses.values()):
        return
    found = ", ".join(f"{name} {value:.3g}" for name, value in losses.items())
    raise ValueError(f"training diverged in epoch {epoch + 1} ({found}); {describe_divergence(training.peak)}")


def _average_over_ranks(values: Tensor, n_ranks: int) -> Tensor:
    """Replace values by their mean over all processes."""
    if n_ranks > 1:
        distributed.all_reduce(values)
        values /= n_ranks
    return values


def flatten_parameters(module: nn.Module) -> tuple[nn.Parameter, Tensor]:
    """Make all parameters of a module views of one buffer, and their gradients of another: Adam then has one to step."""
    parameters = list(module.parameters())
    flat = nn.Parameter(torch.cat([parameter.detach().reshape(-1) for parameter in parameters]))
    gradient = flat.grad = torch.zeros_like(flat)
    sizes = [parameter.numel() for parameter in parameters]
    for parameter, values, slopes in zip(parameters, flat.data.split(sizes), gradient.split(sizes), strict=True):
        parameter.data, parameter.grad = values.view_as(parameter), slopes.view_as(parameter)
    return flat, gradient


def _make_backward(module: nn.Module, loss: BatchLoss, training: Training) -> BatchLoss:
    """Return what computes the loss of a batch and leaves its gradients in the parameters, with autograd."""
    lowered = torch.autocast(training.device.type, torch.bfloat16, enabled=training.precision == "bfloat16")

    def backward(batch: Tensor) -> Tensor:
        module.zero_grad(set_to_none=False)
        with torch.enable_grad(), lowered:
            value = loss(batch)
        value.backward()
        return value.detach()

    return backward


def _iterate_batches(cells: CellSource, rows: np.ndarray, training: Training, rng: torch.Generator) -> Iterator[Tensor]:
    """Yield the rows once, in a new order, a minibatch at a time.

    Of a file, spans of consecutive rows are read: the spans are shuffled, and the rows of at least four with each other.
    """
    span: int = getattr(cells, "span", 1)
    order = rows[_shuffle_spans(len(rows), span, rng)]
    if span == 1:
        yield from _read_in_order(cells, order, training)
        return
    n_rows = max(min(65_536, MAX_VALUES_IN_MEMORY // cells.shape[1]), 4 * span)
    for block in _split_order(order, n_rows, training.batch_size):
        shuffled = torch.randperm(len(block), generator=rng).numpy()
        in_memory = cells.load(np.sort(block))  # type: ignore[attr-defined]
        yield from _read_in_order(in_memory, shuffled, training)


def _read_in_order(cells: CellSource, order: np.ndarray, training: Training) -> Iterator[Tensor]:
    """Yield minibatches in this order, out of contiguous copies of many rows."""
    for block in _split_order(order, block_size(cells.shape[1]), training.batch_size):
        yield from read_to(cells, block, training.device).split(training.batch_size)


def _split_order(order: np.ndarray, max_rows: int, batch_size: int) -> Iterator[np.ndarray]:
    """Cut into blocks of at most ``max_rows``, each but the last a multiple of the size of a minibatch."""
    n_rows = max(max_rows - max_rows % batch_size, batch_size)
    return (order[start : start + n_rows] for start in range(0, len(order), n_rows))


def _shuffle_spans(n: int, span: int, rng: torch.Generator) -> np.ndarray:
    """Return the numbers below ``n`` in a new order, ``span`` consecutive ones together."""
    starts = torch.randperm(-(-n // span), generator=rng).numpy() * span
    order = (starts[:, None] + np.arange(span)).ravel()
    return order[order < n]


def _mean_loss(loss: BatchLoss, cells: CellSource, rows: np.ndarray, training: Training) -> float:
    """Return the mean loss of these rows, without gradients."""
    blocks = np.split(rows, range(4096, len(rows), 4096))
    with torch.no_grad():
        losses = torch.stack([loss(read_to(cells, block, training.device)) for block in blocks]).tolist()
    total = 0.0
    for value, block in zip(losses, blocks, strict=True):
        total += value * len(block)
    return total / len(rows)
