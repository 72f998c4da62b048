"""Many cells, a block at a time: how many are read together, and encoded together."""

from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from ._types import Space

ROWS_PER_PRODUCT = 256  # oneDNN keeps 0.6 MB for every size of a product that it has met: sizes are rounded up to this


class CellSource(Protocol):
    """Cells, ``(n_cells, n_features)``, whose rows can be indexed and are float32 then: a tensor, or a file."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __getitem__(self, rows: slice | np.ndarray, /) -> Tensor: ...


def read_to(cells: CellSource, rows: slice | np.ndarray, device: torch.device) -> Tensor:
    """Return rows on a device. Cells that know a shorter way there, such as sparse ones, have a method ``send``."""
    send = getattr(cells, "send", None)
    return cells[rows].to(device) if send is None else send(rows, device)


def block_size(n_features: int) -> int:
    """Return how many cells to read at once: 32 MB of float32 at most, which may fit in a processor's cache."""
    return max(1, min(65_536, 2**23 // max(1, n_features)))


def pad_rows(x: Tensor, multiple: int = ROWS_PER_PRODUCT) -> Tensor:
    """Return rows with zeros below, so that there are a multiple of so many."""
    missing = -len(x) % multiple
    return pad(x, (0, 0) * (x.ndim - 1) + (0, missing)) if missing else x


def encode_in_blocks(space: Space, x: Tensor, /, *, n_rows: int = 4096) -> Tensor:
    """Encode many cells, ``n_rows`` at a time: the wide layers of all of them would fill the memory."""
    blocks = x.split(n_rows)
    first = space.encode(blocks[0])
    if len(blocks) == 1:
        return first
    neurons = first.new_empty(len(x), first.shape[1])  # (n_cells, n_neurons)
    for block, rows in zip(blocks, neurons.split(n_rows), strict=True):
        rows.copy_(space.encode(block))
    return neurons
