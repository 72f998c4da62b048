"""The ways to learn an edit: one that is named, or the combination that predicts best what was left out."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from torch import Tensor

from .._check import check_parameters, lookup
from .._types import Edited, Map, Method, Space, carry, scaled
from ..edits import AXES, EDITS, Pair, by_strata, on_all, percentile
from ..selection import Selected, select


@dataclass(frozen=True)
class Cells:
    """What an edit is learnt from; ``strata`` are the labels of the source's and of the target's cells."""

    source: Tensor
    target: Tensor
    query: Tensor
    strata: tuple[np.ndarray, np.ndarray] | None


@dataclass(frozen=True)
class Learnt:
    """An edit that was learnt, and what it takes to learn it again on a resample of the pair."""

    carry: Callable[[Tensor], Edited]
    pair: Pair
    again: Callable[[Pair], Map]
    selected: Selected | None


Way = Callable[[Space, Cells], Learnt]
"""Learns an edit of cells, once it is known how."""


def one_edit(
    edit: Any, *, axes: Any, residual: bool, strength: float, given_strata: bool, params: dict[str, Any]
) -> Way:
    """Learn one edit of neurons, within strata where some are given."""
    method: Method = lookup(EDITS | dict.fromkeys(WAYS), edit, "edit")
    check_parameters(method, params, f"the edit {edit!r}")
    along = lookup(AXES, axes, "axes")(partial(method, **params))
    learn = by_strata(along) if given_strata else on_all(along)

    def way(space: Space, cells: Cells) -> Learnt:
        nowhere = np.full(len(cells.source), -1), np.full(len(cells.target), -1)
        labels = nowhere if cells.strata is None else _codes(*cells.strata)
        pair = Pair(space.encode(cells.source), space.encode(cells.target), *labels)
        moves = scaled(learn(pair), strength)

        def again(pair: Pair) -> Map:
            moves = scaled(learn(pair), strength)
            return lambda x: carry(space, moves, x, residual=residual).x

        return Learnt(lambda x: carry(space, moves, x, residual=residual), pair, again, None)

    return way


def paper(edit: Any, *, axes: Any, residual: bool, strength: float, given_strata: bool, params: dict[str, Any]) -> Way:
    """Learn the percentile edit, neuron by neuron, and return the decoded cell: the paper, to the letter."""
    return one_edit(percentile, axes=axes, residual=False, strength=strength, given_strata=given_strata, params=params)


def auto(edit: Any, *, axes: Any, residual: bool, strength: float, given_strata: bool, params: dict[str, Any]) -> Way:
    """Choose by what each candidate predicts for parts of the pair that were left out."""
    check_parameters(select, params, f"the edit {edit!r}")
    for name, value, default in (("axes", axes, "neurons"), ("residual", residual, True)):
        if value != default:
            raise ValueError(f"{name}={value!r} needs an edit of its own: edit='auto' chooses from several.")

    def way(space: Space, cells: Cells) -> Learnt:
        selected = select(space, cells.source, cells.target, cells.query, cells.strata, **params)

        def again(pair: Pair) -> Map:
            return scaled(selected.learn(pair), strength)

        moves = again(selected.pair)

        def carried(x: Tensor) -> Edited:
            edited = moves(x)
            return Edited(edited, space.encode(x), space.encode(edited))

        return Learnt(carried, selected.pair, again, selected)

    return way


WAYS: dict[str, Callable[..., Way]] = {"auto": auto, "paper": paper}
"""Edits of whole cells; all others are edits of neurons, rows of `EDITS`."""


def way_of(edit: Any, **how: Any) -> Way:
    """Return how an edit is learnt, once everything about it is known to be right."""
    return (WAYS.get(edit, one_edit) if isinstance(edit, str) else one_edit)(edit, **how)


def _codes(source: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    codes = np.unique(np.concatenate([source, target]), return_inverse=True)[1]
    return codes[: len(source)], codes[len(source) :]
