"""Several edits of the same cells in one space: cells are encoded once, and what edits look for in common is found once."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from .._blocks import ROWS_PER_PRODUCT
from .._types import Map, Space
from ._neighbors import Nearest
from ._percentile import Percentiles

# cells times features times edits: products of few cells are filled up with rows of zeros, of which fewer are needed so
MAX_VALUES_TO_DECODE_TOGETHER = 2**18


@dataclass(frozen=True, eq=False)
class AverageInSpace:
    """The weighted mean of several edits in one space, each decoded by itself; the weights, ``shares``, sum to 1."""

    space: Space
    edits: Sequence[Map]
    shares: Sequence[float]

    @cached_property
    def searches(self) -> list[int]:
        """Return what `number_searches` does, asked for once: to compare cells is to wait for an accelerator."""
        return number_searches(self.edits)

    def __call__(self, x: Tensor, /) -> Tensor:
        total = x.clone()
        for share, edited in zip(self.shares, edit_each(self.space, self.edits, x, self.searches), strict=True):
            total.add_(edited.sub_(x), alpha=share)
        return total


def edit_each(space: Space, edits: Sequence[Map], x: Tensor, searches: Sequence[int] | None = None) -> Iterator[Tensor]:
    """Yield the cells that each edit in a space makes of ``x``: a new tensor, what the space loses of a cell kept."""
    z = space.encode(x)
    moved = move_each(edits, z, number_searches(edits) if searches is None else searches)
    decoded: Iterable[Tensor]
    if x.numel() * (1 + len(edits)) <= MAX_VALUES_TO_DECODE_TOGETHER:
        parts = torch.cat([z, *moved]).split(ROWS_PER_PRODUCT)
        before, *decoded = torch.cat([space.decode(part) for part in parts]).unflatten(0, (1 + len(edits), len(x)))
    else:
        before, decoded = space.decode(z), map(space.decode, moved)
    for own in decoded:
        yield x + (own - before)


def move_each(edits: Sequence[Map], z: Tensor, searches: Sequence[int]) -> Iterator[Tensor]:
    """Yield the neurons that each edit makes of ``z``: neighbours or percentiles that several look for are found once."""
    found: dict[int, Any] = {}
    last_uses = {search: i for i, search in enumerate(searches)}
    for i, (edit, search) in enumerate(zip(edits, searches, strict=True)):
        if not isinstance(edit, Nearest | Percentiles):
            yield edit(z)
            continue
        if search not in found:
            found[search] = edit.find(z)
        moved = edit.follow(z, found[search])
        if last_uses[search] == i:
            del found[search]  # of a block of cells it can be 30 MB
        yield moved


def number_searches(edits: Sequence[Map]) -> list[int]:
    """Return for each edit the number of the first one that looks for the same; its own where none does before."""
    firsts: dict[int, Nearest | Percentiles] = {}
    numbers = []
    for i, edit in enumerate(edits):
        number = i
        if isinstance(edit, Nearest | Percentiles):
            number = next((j for j, other in firsts.items() if edit.finds_as(other)), i)
            firsts.setdefault(number, edit)
        numbers.append(number)
    return numbers


def share_cells(edits: Sequence[Map]) -> list[Map]:
    """Return the edits; those that look for the same neighbours have one tensor of cells among them, in place of equal ones."""
    cells: dict[int, Tensor] = {}
    shared = []
    for edit, search in zip(edits, number_searches(edits), strict=True):
        same = replace(edit, cells=cells.setdefault(search, edit.cells)) if isinstance(edit, Nearest) else edit
        shared.append(same)
    return shared
