"""What was computed must be finite: else nothing is written, and an error says what is not and what to do."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .._data.check import format_choices
from .._maps import Scaled
from .._types import EditedCells, Map
from ..edits import MAPS

N_TRIED = 256  # cells of the query that an edit is tried on before any is written

SPACE_FAILED = "train the space again with a lower lr, or drop cells with extreme values"
EDIT_FAILED = "take another edit, or drop cells with extreme values"


def check_values(values: Tensor, what: str, remedy: str, features: Sequence[str] | None = None) -> None:
    """Refuse values of cells, one row or number a cell, that are NaN or infinite; name the features, if columns are."""
    is_finite = torch.isfinite(values)
    if is_finite.all():
        return
    bad = ~is_finite.reshape(len(values), -1)
    where = ""
    if features is not None:
        names = [name for name, is_bad in zip(features, bad.any(0).tolist(), strict=True) if is_bad]
        where = f", in {format_choices(names)}"
    raise ValueError(f"{int(bad.any(1).sum()):,} of {len(bad):,} cells have NaN or infinite {what}{where}: {remedy}.")


def check_edited(edited: EditedCells, before: Tensor, features: Sequence[str], strength: float) -> None:
    """Refuse edited cells whose number, width, neurons or values are not what an edit gives; ``before`` is before it."""
    x, neurons, neurons_edited = edited
    for given, wanted, what in ((x, before, "cells"), (neurons_edited, neurons, "neurons")):
        if given.shape != wanted.shape:
            shapes = tuple(given.shape), tuple(wanted.shape)
            raise ValueError(f"the edited {what} have the shape {shapes[0]}; those before the edit have {shapes[1]}.")
    check_values(neurons, "neurons", SPACE_FAILED)
    remedy = EDIT_FAILED if strength == 1 else f"lower the strength ({strength:g}), {EDIT_FAILED}"
    check_values(neurons_edited, "edited neurons", remedy)
    check_values(x, "edited values", remedy, features)


def try_edit(cell_map: Any, cells: Tensor, features: Sequence[str]) -> None:
    """Edit a few cells, to find out before any work whether the result is finite and of the right shape."""
    if not len(cells):
        return
    few = cells[:: max(1, len(cells) // N_TRIED)]
    strength = cell_map.edit.strength if isinstance(cell_map.edit, Scaled) else 1.0
    check_edited(cell_map.apply(few), few, features, strength)


@dataclass(frozen=True, eq=False)
class CheckedMap:
    """A map of the caller's own, whose results are looked at."""

    edit: Map
    name: str

    def __call__(self, z: Tensor, /) -> Tensor:
        """Move neurons, once it is known that the result is finite and of their shape."""
        moved = self.edit(z)
        wanted = f"it must return a tensor of the shape {tuple(z.shape)} of what it was given"
        if not isinstance(moved, Tensor):
            raise TypeError(f"the map of {self.name!r} returned {type(moved).__name__}; {wanted}.")
        if moved.shape != z.shape:
            raise ValueError(f"the map of {self.name!r} returned the shape {tuple(moved.shape)}; {wanted}.")
        check_values(moved, f"values after the map of {self.name!r}", "it must return finite ones")
        return moved.to(z)


def check_own(fit: Callable[..., Map], name: str) -> Callable[..., Map]:
    """Return a function that fits a map as ``fit`` does, and looks at what that gives; rows of `MAPS` are known."""

    def fit_checked(*populations: Any) -> Map:
        move: Any = fit(*populations)
        if type(move) in MAPS.values():
            return move
        if not callable(move):
            wanted = "a function of neurons that returns the edited ones"
            raise TypeError(f"{name!r} returned {type(move).__name__}; it must return {wanted}.")
        return CheckedMap(move, name)

    return fit_checked
