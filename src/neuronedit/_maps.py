"""Maps made of maps: one after the other, averaged, scaled, of some neurons alone, or of whole cells."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from ._types import EditedCells, Map, Space


class ShapeRepr:
    """A dataclass that prints the shape of a tensor in place of its numbers."""

    def __repr__(self) -> str:
        values = {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]
        texts = (f"{k}={tuple(v.shape) if isinstance(v, Tensor) else repr(v)}" for k, v in values.items())
        return f"{type(self).__name__}({', '.join(texts)})"


@dataclass(frozen=True, eq=False)
class NoChange:
    """Moves nothing."""

    def __call__(self, z: Tensor, /) -> Tensor:
        return z


@dataclass(frozen=True, eq=False)
class Scaled:
    """A part of an edit: ``strength`` 0 leaves a cell alone, 1 is the whole edit, 2 goes twice as far."""

    edit: Map
    strength: float

    def __call__(self, z: Tensor, /) -> Tensor:
        return self.edit(z) if self.strength == 1 else z + self.strength * (self.edit(z) - z)


@dataclass(frozen=True, eq=False)
class Compose:
    """One map after the other."""

    maps: Sequence[Map]

    def __call__(self, z: Tensor, /) -> Tensor:
        for move in self.maps:
            z = move(z)
        return z


@dataclass(frozen=True, eq=False)
class Average:
    """The weighted mean of what several maps return; the weights, ``shares``, sum to 1."""

    maps: Sequence[Map]
    shares: Sequence[float]

    def __call__(self, z: Tensor, /) -> Tensor:
        total = torch.zeros_like(z)
        for share, move in zip(self.shares, self.maps, strict=True):
            total.add_(move(z), alpha=share)
        return total


@dataclass(frozen=True, eq=False)
class OnNeurons:
    """An edit of some neurons, named by their columns; the others stay."""

    edit: Map
    neurons: Sequence[int]

    def __call__(self, z: Tensor, /) -> Tensor:
        moved, columns = z.clone(), list(self.neurons)
        moved[:, columns] = self.edit(z)[:, columns]
        return moved


@dataclass(frozen=True, eq=False, repr=False)
class Bounded(ShapeRepr):
    """An edit whose result stays between ``low`` and ``high``, both ``(n_features,)``, infinite where there is no bound."""

    edit: Map
    low: Tensor
    high: Tensor

    def __call__(self, x: Tensor, /) -> Tensor:
        return torch.minimum(torch.maximum(self.edit(x), self.low), self.high)


@dataclass(frozen=True, eq=False)
class WithNeurons:
    """A map of whole cells that also reports their neurons in a space, before and after."""

    space: Space
    edit: Map

    def apply(self, x: Tensor, /) -> EditedCells:
        """Edit, and encode before and after it."""
        edited = self.edit(x)
        return EditedCells(edited, self.space.encode(x), self.space.encode(edited))

    def __call__(self, x: Tensor, /) -> Tensor:
        return self.edit(x)
