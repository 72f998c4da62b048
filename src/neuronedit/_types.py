"""The one idea: a method looks at a source and a target population and returns the map from one to the other.

A space turns cells into neurons and back. `within` runs a method on the neurons of a space; the result is itself a method.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, NamedTuple, Protocol

from torch import Tensor

from ._check import CELLS, TWO_CELLS, VECTOR

CellTensor = Annotated[Tensor, CELLS]
TwoCellTensor = Annotated[Tensor, TWO_CELLS]
Vector = Annotated[Tensor, VECTOR]

Map = Callable[[Tensor], Tensor]
"""Changes cells: ``(n_cells, n_features) -> (n_cells, n_features)``."""


class Method(Protocol):
    """Look at two populations, each ``(n_cells, n_features)``, and return the map from the first to the second."""

    def __call__(self, source: Tensor, target: Tensor, /) -> Map: ...


class Space(Protocol):
    """Where cells are edited: ``encode`` turns them into neurons, ``decode`` turns neurons back into cells."""

    def encode(self, x: Tensor, /) -> Tensor: ...

    def decode(self, z: Tensor, /) -> Tensor: ...


class EditedCells(NamedTuple):
    """Cells after an edit, ``(n_cells, n_features)``, and their neurons before and after it, ``(n_cells, n_neurons)``."""

    x: Tensor
    neurons: Tensor
    neurons_edited: Tensor


@dataclass(frozen=True, eq=False)
class InSpace:
    """An edit of neurons, as a map of cells. With ``residual``, what the space loses of a cell is kept: ``x + D(edit(z)) - D(z)``."""

    space: Space
    edit: Map
    residual: bool = True

    def apply(self, x: Tensor, /) -> EditedCells:
        """Encode, edit and decode."""
        z = self.space.encode(x)
        z_edited = self.edit(z)
        decoded = self.space.decode(z_edited)
        if self.residual:
            decoded = x + (decoded - self.space.decode(z))
        return EditedCells(decoded, z, z_edited)

    def __call__(self, x: Tensor, /) -> Tensor:
        """Return the edited cells."""
        return self.apply(x).x


def within(space: Space, method: Method, *, residual: bool = True) -> Method:
    """Run ``method`` on the neurons of ``space`` instead of on the features."""
    return lambda source, target, /: InSpace(space, method(space.encode(source), space.encode(target)), residual)
