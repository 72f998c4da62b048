"""The one training loop, for every space that has weights to train."""

import logging
import math
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, distributed, nn
from tqdm.auto import tqdm

from .._blocks import CellSource, block_size
from .._device import fast_matmul

logger = logging.getLogger(__name__)

History = dict[str, Any]
"""``train_loss`` and, with a validation split, ``validation_loss`` of each epoch; ``interrupted``."""

Schedule = Callable[[float], float]
"""The learning rate as a share of its peak, given the share of training that is done."""


def onecycle(done: float, *, rise: float = 0.3, start: float = 1 / 25, end: float = 4e-6) -> float:
    """Rise to the peak over the first 30 % of training and anneal to almost nothing, both along a cosine."""
    low, share = (start, done / rise) if done < rise else (end, (1 - done) / (1 - rise))
    return low + (1 - low) * (1 - math.cos(math.pi * share)) / 2


def constant(done: float) -> float:
    """Keep the rate, as published."""
    return 1.0


MOST_READ = 2**27
"""Values, if none were zero, that are read into memory at a time."""

PRECISIONS = ("float32", "bfloat16")
"""Of the products while a space is trained. Weights, and all that is done with a trained space, are float32."""

SCHEDULES: dict[str, Schedule] = {"onecycle": onecycle, "constant": constant}


@dataclass(frozen=True, kw_only=True)
class Training:
    """How a space is trained. A space without training uses only the device.

    Parameters
    ----------
    max_epochs
        Passes over the cells. `None`: enough for `n_steps` steps, and at least two.
    batch_size
        Cells a step.
    lr
        Learning rate of Adam; the peak where the schedule anneals. `None`: 3e-3 with `onecycle`, else 1e-3, as published.
    schedule
        A row of `SCHEDULES` or a function of the share of training that is done.
    validation_size
        Share of the cells that is kept from training and whose loss is recorded.
    early_stopping
        Stop when the validation loss has not improved for so many epochs, and keep the best weights.
    seed
        Of the initial weights, the validation split and the order of the cells.
    device
        Where to compute.
    progress_bar
        Show one.
    precision
        A row of `PRECISIONS`.
    n_steps
        Minibatches to train on where ``max_epochs`` is not given.
    """

    max_epochs: int | None = None
    batch_size: int = 100
    lr: float | None = None
    schedule: Schedule = onecycle
    validation_size: float = 0.0
    early_stopping: int | None = None
    seed: int = 0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    progress_bar: bool = False
    precision: str = "float32"
    n_steps: int = 5_000

    def __post_init__(self) -> None:
        for name in ("max_epochs", "batch_size", "early_stopping"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1; it is {value}.")
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision {self.precision!r} is not one of {', '.join(map(repr, PRECISIONS))}.")
        if not self.peak > 0:
            raise ValueError(f"lr must be positive; it is {self.lr}.")
        if not 0 <= self.validation_size < 1:
            raise ValueError(
                f"validation_size must be a share of the cells, from 0 to below 1; it is {self.validation_size}."
            )
        if self.early_stopping and not self.validation_size:
            raise ValueError("early_stopping needs cells to validate on: give validation_size, for example 0.1.")

    @property
    def peak(self) -> float:
        """The highest learning rate."""
        return self.lr if self.lr is not None else 3e-3 if self.schedule is onecycle else 1e-3

    def epochs(self, n_cells: int) -> int:
        """Return the number of passes over so many cells."""
        return self.max_epochs or max(2, math.ceil(self.n_steps * self.batch_size / n_cells))


def train(
    module: nn.Module,
    loss: Callable[[Tensor], Tensor],
    cells: CellSource,
    training: Training,
    *,
    backward: Callable[[Tensor], Tensor] | None = None,
) -> History:
    """Lower ``loss(batch)`` of the module with Adam, freeze the module and return the history.

    Every epoch visits the cells in a new order, shuffled copies of some of them at a time. Gradients longer than 1 are
    shortened to it. Ctrl-C ends training and keeps the weights so far.

    Where a process group of torch.distributed is initialized (as under ``torchrun``), each process trains on its share of
    the cells with its own minibatches, and gradients are averaged: the weights are the same in all of them. All processes
    must be given the same cells and seed.

    Parameters
    ----------
    module
        What is trained; its parameters are frozen afterwards.
    loss
        ``(batch_size, n_features) -> loss``, the mean over the cells.
    cells
        ``(n_cells, n_features)``
    training
        How long, how fast and where.
    backward
        Returns the loss of a batch and leaves its gradients in the parameters, in float32. `None`, or another precision:
        autograd does.

    Returns
    -------
    The history.

    Examples
    --------
    >>> import torch, neuronedit as ne
    >>> module = torch.nn.Linear(3, 3)
    >>> history = ne.spaces.train(
    ...     module, lambda x: (module(x) - 1).square().mean(), torch.rand(500, 3), ne.spaces.Training(max_epochs=4)
    ... )
    >>> len(history["train_loss"])
    4
    """
    generator = torch.Generator().manual_seed(training.seed)
    order = torch.randperm(cells.shape[0], generator=generator).numpy()
    n_held_out = round(training.validation_size * len(order))
    held_out, kept = np.sort(order[:n_held_out]), np.sort(order[n_held_out:])
    rank, n_ranks = (distributed.get_rank(), distributed.get_world_size()) if _is_distributed() else (0, 1)
    kept = kept[rank::n_ranks][: len(kept) // n_ranks]
    n_epochs = training.epochs(len(kept) * n_ranks)
    n_steps = n_epochs * math.ceil(len(kept) / training.batch_size)
    flat = flattened(module)
    optimizer = torch.optim.Adam([flat], lr=training.peak, fused=True)
    if backward is None or training.precision != "float32":
        backward = _by_autograd(module, loss, training)
    history: History = {"train_loss": [], "interrupted": False} | ({"validation_loss": []} if n_held_out else {})
    best, best_epoch, best_weights, step = math.inf, 0, None, 0
    bar = tqdm(total=n_epochs, desc="training", unit="epoch", disable=not training.progress_bar)
    try:
        with fast_matmul(), bar:
            for epoch in range(n_epochs):
                total = torch.zeros((), device=training.device)
                for batch in _batches(cells, kept, training, generator):
                    rate = training.peak * training.schedule(step / n_steps)
                    for group in optimizer.param_groups:
                        group["lr"] = rate
                    total += backward(batch) * len(batch)
                    _shortened(_averaged(flat.grad, n_ranks))
                    optimizer.step()
                    step += 1
                history["train_loss"].append(_averaged(total, n_ranks).item() / len(kept))
                shown = {"loss": history["train_loss"][-1]}
                if n_held_out:
                    history["validation_loss"].append(_mean_loss(loss, cells, held_out, training))
                    shown["validation"] = history["validation_loss"][-1]
                    if shown["validation"] < best:
                        best, best_epoch = shown["validation"], epoch
                        best_weights = deepcopy(module.state_dict()) if training.early_stopping else None
                bar.update()
                bar.set_postfix({name: f"{value:.3g}" for name, value in shown.items()})
                if training.early_stopping and epoch - best_epoch >= training.early_stopping:
                    break
    except KeyboardInterrupt:
        history["interrupted"] = True
        logger.warning("Training was interrupted after %d of %d steps; the weights so far are kept.", step, n_steps)
    if best_weights is not None:
        module.load_state_dict(best_weights)
    module.zero_grad()
    module.requires_grad_(False)
    return history


def _is_distributed() -> bool:
    return distributed.is_available() and distributed.is_initialized()


def _averaged(values: Tensor | None, n_ranks: int) -> Tensor:
    """Replace values by their mean over all processes."""
    assert values is not None
    if n_ranks > 1:
        distributed.all_reduce(values)
        values /= n_ranks
    return values


def _shortened(gradient: Tensor, longest: float = 1.0) -> None:
    """Shorten a gradient that is longer than ordinary cells' hardly ever are: else an outlier can end all learning."""
    norm = gradient.norm()
    if gradient.device.type != "cpu" or norm > longest:  # an accelerator would have to be waited for to ask
        gradient *= (longest / norm).clamp(max=1.0)


def flattened(module: nn.Module) -> nn.Parameter:
    """Put all parameters of a module into one buffer, and their gradients into another, so that Adam has one to step.

    The module's own parameters become views of it.
    """
    parameters = list(module.parameters())
    flat = nn.Parameter(torch.cat([p.detach().reshape(-1) for p in parameters]))
    flat.grad = torch.zeros_like(flat)
    start = 0
    for p in parameters:
        own = slice(start, start := start + p.numel())
        p.data, p.grad = flat.data[own].view_as(p), flat.grad[own].view_as(p)
    return flat


def _by_autograd(module: nn.Module, loss: Callable[[Tensor], Tensor], training: Training) -> Callable[[Tensor], Tensor]:
    lowered = torch.autocast(training.device.type, torch.bfloat16, enabled=training.precision == "bfloat16")

    def backward(batch: Tensor) -> Tensor:
        module.zero_grad(set_to_none=False)
        with torch.enable_grad(), lowered:
            value = loss(batch)
        value.backward()
        return value.detach()

    return backward


def _batches(cells: CellSource, rows: np.ndarray, training: Training, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield the rows once, in a new order, a minibatch at a time out of shuffled contiguous copies.

    Where rows are best read in spans, spans are shuffled, and the rows of at least four of them.
    """
    span: int = getattr(cells, "span", 1)
    order = rows[_shuffled(len(rows), span, generator)]
    if span > 1:  # from afar: read in order, then mixed
        n_rows = max(min(65_536, MOST_READ // cells.shape[1]), 4 * span)
        for block in _chunks_of(order, n_rows, training.batch_size):
            mixed = torch.randperm(len(block), generator=generator).numpy()
            yield from _minibatches(cells.near(np.sort(block)), mixed, training)  # type: ignore[attr-defined]
    else:
        yield from _minibatches(cells, order, training)


def _minibatches(cells: CellSource, order: np.ndarray, training: Training) -> Iterator[Tensor]:
    for block in _chunks_of(order, block_size(cells.shape[1]), training.batch_size):
        yield from cells[block].to(training.device).split(training.batch_size)


def _chunks_of(order: np.ndarray, most: int, batch_size: int) -> Iterator[np.ndarray]:
    """Cut into parts of at most so many, each but the last a multiple of the size of a minibatch."""
    n = max(most - most % batch_size, batch_size)
    return (order[start : start + n] for start in range(0, len(order), n))


def _shuffled(n: int, span: int, generator: torch.Generator) -> np.ndarray:
    """Return the numbers below ``n`` in a new order, ``span`` consecutive ones together."""
    first = torch.randperm(-(-n // span), generator=generator).numpy() * span
    order = (first[:, None] + np.arange(span)).ravel()
    return order[order < n]


def _mean_loss(loss: Callable[[Tensor], Tensor], cells: CellSource, rows: np.ndarray, training: Training) -> float:
    """Return the loss of held-out cells."""
    with torch.no_grad():
        blocks = (cells[rows[i : i + 4096]].to(training.device) for i in range(0, len(rows), 4096))
        return sum(loss(block).item() * len(block) for block in blocks) / len(rows)
