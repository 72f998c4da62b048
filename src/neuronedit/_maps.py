"""Maps made of maps: in a row, weighed, for some neurons alone, or of whole cells."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ._types import Edited, Map, Space


@dataclass(frozen=True, eq=False)
class Same:
    """Moves nothing."""

    def __call__(self, z: Tensor, /) -> Tensor:
        """Return what was given."""
        return z


@dataclass(frozen=True, eq=False)
class Chain:
    """One map after the other."""

    maps: Sequence[Map]

    def __call__(self, z: Tensor, /) -> Tensor:
        """Move cells or neurons."""
        for move in self.maps:
            z = move(z)
        return z


@dataclass(frozen=True, eq=False)
class Mean:
    """The mean of where several maps carry a cell, each with its share; the shares sum to 1."""

    maps: Sequence[Map]
    shares: Sequence[float]

    def __call__(self, z: Tensor, /) -> Tensor:
        """Move cells or neurons."""
        return torch.stack([share * move(z) for share, move in zip(self.shares, self.maps, strict=True)]).sum(0)


@dataclass(frozen=True, eq=False)
class Only:
    """An edit of some neurons, named by their columns; the others stay."""

    edit: Map
    neurons: Sequence[int]

    def __call__(self, z: Tensor, /) -> Tensor:
        """Move neurons."""
        moved, columns = z.clone(), list(self.neurons)
        moved[:, columns] = self.edit(z)[:, columns]
        return moved


@dataclass(frozen=True, eq=False)
class Seen:
    """A map of whole cells, whose neurons are looked at in a space."""

    space: Space
    edit: Map

    def carry(self, x: Tensor, /) -> Edited:
        """Edit, and encode before and after it."""
        edited = self.edit(x)
        return Edited(edited, self.space.encode(x), self.space.encode(edited))

    def __call__(self, x: Tensor, /) -> Tensor:
        """Return the edited cells."""
        return self.edit(x)
