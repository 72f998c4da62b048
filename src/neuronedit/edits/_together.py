"""Several edits of the same cells in one space: cells are encoded once, and their neighbours are looked for once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from .._types import Map, Space
from ._neighbors import Nearest


@dataclass(frozen=True, eq=False)
class AverageInSpace:
    """The weighted mean of several edits in one space, each decoded by itself; the weights, ``shares``, sum to 1."""

    space: Space
    edits: Sequence[Map]
    shares: Sequence[float]

    def __call__(self, x: Tensor, /) -> Tensor:
        total = x.clone()
        for share, edited in zip(self.shares, edit_each(self.space, self.edits, x), strict=True):
            total.add_(edited.sub_(x), alpha=share)
        return total


def edit_each(space: Space, edits: Sequence[Map], x: Tensor) -> Iterator[Tensor]:
    """Yield the cells that each edit in a space makes of ``x``: a new tensor, what the space loses of a cell kept."""
    z = space.encode(x)
    before = space.decode(z)
    for moved in move_each(edits, z):
        yield x + (space.decode(moved) - before)


def move_each(edits: Sequence[Map], z: Tensor) -> Iterator[Tensor]:
    """Yield the neurons that each edit makes of ``z``: where several look for the same neighbours, they are found once."""
    found: list[tuple[Nearest, Tensor]] = []
    for edit in edits:
        if not isinstance(edit, Nearest):
            yield edit(z)
            continue
        neighbors = next((rows for other, rows in found if edit.finds_as(other)), None)
        if neighbors is None:
            neighbors = edit.find_neighbors(z)
            found.append((edit, neighbors))
        yield edit.follow(z, neighbors)
