"""The one idea: a method looks at a source and a target population and returns the map between them.

A space turns cells into neurons and back. `within` runs a method on the neurons of a space; the result is itself a method.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np
from torch import Tensor

Map = Callable[[Tensor], Tensor]
"""Carries cells: ``(n_cells, n_features) -> (n_cells, n_features)``."""


class Method(Protocol):
    """Look at two populations, each ``(n_cells, n_features)``, and return the map from the first to the second."""

    def __call__(self, source: Tensor, target: Tensor, /) -> Map: ...


class Space(Protocol):
    """Where cells are edited: ``encode`` turns them into neurons, ``decode`` turns neurons back into cells."""

    def encode(self, x: Tensor, /) -> Tensor: ...

    def decode(self, z: Tensor, /) -> Tensor: ...


class Cells(Protocol):
    """Cells read a block of rows at a time, as float32. A tensor is one; so is whatever can index its rows."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __getitem__(self, rows: slice | np.ndarray, /) -> Tensor: ...


class Edited(NamedTuple):
    """What `carry` returns: the cells after the edit, and their neurons before and after it."""

    x: Tensor
    neurons: Tensor
    neurons_edited: Tensor


def carry(space: Space, edit: Map, x: Tensor, *, residual: bool) -> Edited:
    """Encode, edit and decode. With ``residual``, what the space loses of a cell is kept: ``x + D(edit(z)) - D(z)``."""
    z = space.encode(x)
    edited = edit(z)
    y = space.decode(edited)
    return Edited(x + (y - space.decode(z)) if residual else y, z, edited)


def within(space: Space, method: Method, *, residual: bool = True) -> Method:
    """Run ``method`` on the neurons of ``space`` instead of on the features."""

    def learn(source: Tensor, target: Tensor, /) -> Map:
        edit = method(space.encode(source), space.encode(target))
        return lambda x: carry(space, edit, x, residual=residual).x

    return learn


def scaled(edit: Map, strength: float) -> Map:
    """Go only a part of the way: ``strength`` 0 leaves a cell alone, 1 is the whole edit."""
    return edit if strength == 1 else lambda z: z + strength * (edit(z) - z)
