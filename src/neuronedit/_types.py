"""The one idea: a method looks at a source and a target population and returns the map between them.

A space turns cells into neurons and back. `within` runs a method on the neurons of a space; the result is itself a method.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import NamedTuple, Protocol

import numpy as np
from torch import Tensor

Map = Callable[[Tensor], Tensor]
"""Carries cells: ``(n_cells, n_features) -> (n_cells, n_features)``."""


class Brief:
    """A dataclass that prints the shape of a tensor in place of its numbers."""

    def __repr__(self) -> str:
        values = {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]
        shown = (f"{k}={tuple(v.shape) if isinstance(v, Tensor) else repr(v)}" for k, v in values.items())
        return f"{type(self).__name__}({', '.join(shown)})"


class Method(Protocol):
    """Look at two populations, each ``(n_cells, n_features)``, and return the map from the first to the second."""

    def __call__(self, source: Tensor, target: Tensor, /) -> Map: ...


class Space(Protocol):
    """Where cells are edited: ``encode`` turns them into neurons, ``decode`` turns neurons back into cells."""

    def encode(self, x: Tensor, /) -> Tensor: ...

    def decode(self, z: Tensor, /) -> Tensor: ...


def encoded(space: Space, x: Tensor, /, *, n_rows: int = 4096) -> Tensor:
    """Encode many cells, so many at a time: wide layers of all of them at once would fill the memory."""
    parts = x.split(n_rows)
    first = space.encode(parts[0])
    if len(parts) == 1:
        return first
    neurons = first.new_empty(len(x), first.shape[1])
    for part, to in zip(parts, neurons.split(n_rows), strict=True):
        to.copy_(space.encode(part))
    return neurons


class Cells(Protocol):
    """Cells read a block of rows at a time, as float32. A tensor is one; so is whatever can index its rows."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __getitem__(self, rows: slice | np.ndarray, /) -> Tensor: ...


def block_size(n_features: int) -> int:
    """Return how many cells to read at once: 32 MB of float32 at most, which a processor's cache may hold."""
    return max(1, min(65_536, 2**23 // max(1, n_features)))


class Edited(NamedTuple):
    """What a `Within` carries: the cells after the edit, and their neurons before and after it."""

    x: Tensor
    neurons: Tensor
    neurons_edited: Tensor


@dataclass(frozen=True, eq=False)
class Within:
    """An edit of neurons, as a map of cells. With ``residual``, what the space loses of a cell is kept: ``x + D(edit(z)) - D(z)``."""

    space: Space
    edit: Map
    residual: bool = True

    def carry(self, x: Tensor, /) -> Edited:
        """Encode, edit and decode."""
        z = self.space.encode(x)
        edited = self.edit(z)
        y = self.space.decode(edited)
        return Edited(x + (y - self.space.decode(z)) if self.residual else y, z, edited)

    def __call__(self, x: Tensor, /) -> Tensor:
        """Return the edited cells."""
        return self.carry(x).x


def within(space: Space, method: Method, *, residual: bool = True) -> Method:
    """Run ``method`` on the neurons of ``space`` instead of on the features."""
    return lambda source, target, /: Within(space, method(space.encode(source), space.encode(target)), residual)


@dataclass(frozen=True, eq=False)
class Scaled:
    """A part of an edit: ``strength`` 0 leaves a cell alone, 1 is the whole edit, 2 goes twice as far."""

    edit: Map
    strength: float

    def __call__(self, z: Tensor, /) -> Tensor:
        """Move cells or neurons."""
        return self.edit(z) if self.strength == 1 else z + self.strength * (self.edit(z) - z)
