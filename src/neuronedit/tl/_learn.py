"""The ways to learn an edit: one that is named, or the combination that predicts best what was left out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from torch import Tensor

from .._blocks import encode_in_blocks
from .._check import check_parameters, lookup
from .._maps import OnNeurons, WithNeurons
from .._types import InSpace, Method, Space
from ..edits import AXES, EDITS, Populations, by_pairing, by_strata, on_all, percentile
from ..ensemble import Ensemble, select

Carrier = InSpace | WithNeurons
"""A map of cells that also knows their neurons."""


@dataclass(frozen=True)
class Cells:
    """What an edit is learnt from; ``strata`` and ``pairs`` are labels of the source's and of the target's cells."""

    source: Tensor
    target: Tensor
    query: Tensor
    strata: tuple[np.ndarray, np.ndarray] | None = None
    pairs: tuple[np.ndarray, np.ndarray] | None = None


@dataclass(frozen=True)
class Learnt:
    """An edit that was learnt, and what it takes to learn it again on a resample of the pair."""

    carrier: Carrier
    pair: Populations
    again: Callable[[Populations], Carrier]
    selected: Ensemble | None


@dataclass(frozen=True)
class Options:
    """What :func:`neuronedit.tl.edit` was asked for, as far as learning goes."""

    axes: Any = "neurons"
    neurons: Sequence[int] | None = None
    residual: bool = True
    strata: bool = False
    pairs: bool = False

    def check_default(self, why: str) -> None:
        """Refuse what only one edit by itself can do."""
        for name, default in (("axes", "neurons"), ("neurons", None), ("residual", True), ("pairs", False)):
            if getattr(self, name) != default:
                value = "" if name == "pairs" else f"={getattr(self, name)!r}"
                raise ValueError(f"{name}{value} needs an edit of its own: {why}")


Way = Callable[[Space, Cells], Learnt]
"""Learns an edit of cells, once it is known how."""


def one_edit(edit: Any, options: Options, params: dict[str, Any]) -> Way:
    """Learn one edit of neurons, within strata and on several pairs where they are given."""
    method: Method = lookup(EDITS | dict.fromkeys(WAYS), edit, "edit")
    check_parameters(method, params, f"the edit {edit!r}")
    along = lookup(AXES, options.axes, "axes")(partial(method, **params))
    learn = by_strata(along) if options.strata else on_all(along)

    def way(space: Space, cells: Cells) -> Learnt:
        pair = Populations(
            encode_in_blocks(space, cells.source), encode_in_blocks(space, cells.target), *_codes(cells.strata, cells)
        )
        pair = pair._replace(source_pairing=(of := _codes(cells.pairs, cells))[0], target_pairing=of[1])
        own = by_pairing(learn, encode_in_blocks(space, cells.query)) if cells.pairs else learn

        def again(pair: Populations) -> InSpace:
            moves = own(pair)
            return InSpace(
                space, moves if options.neurons is None else OnNeurons(moves, options.neurons), options.residual
            )

        return Learnt(again(pair), pair, again, None)

    return way


def paper(edit: Any, options: Options, params: dict[str, Any]) -> Way:
    """Learn the percentile edit, neuron by neuron, and return the decoded cell: the paper, to the letter."""
    return one_edit(percentile, replace(options, residual=False), params)


def auto(edit: Any, options: Options, params: dict[str, Any]) -> Way:
    """Choose by what each candidate predicts for parts of the pair that were left out."""
    check_parameters(select, params, f"the edit {edit!r}")
    options.check_default("edit='auto' chooses from several (and holds the values of strata out).")

    def way(space: Space, cells: Cells) -> Learnt:
        selected = select(space, cells.source, cells.target, cells.query, cells.strata, **params)

        def again(pair: Populations) -> WithNeurons:
            return WithNeurons(space, selected.learn(pair))

        return Learnt(again(selected.pair), selected.pair, again, selected)

    return way


WAYS: dict[str, Callable[[Any, Options, dict[str, Any]], Way]] = {"auto": auto, "paper": paper}
"""Edits of whole cells; all others are edits of neurons, rows of `EDITS`."""


def way_of(edit: Any, options: Options, params: dict[str, Any]) -> Way:
    """Return how an edit is learnt, once everything about it is known to be right."""
    return (WAYS.get(edit, one_edit) if isinstance(edit, str) else one_edit)(edit, options, params)


def _codes(labels: tuple[np.ndarray, np.ndarray] | None, cells: Cells) -> tuple[np.ndarray, np.ndarray]:
    """Number the labels of source and target; -1 where there are none."""
    if labels is None:
        return np.full(len(cells.source), -1), np.full(len(cells.target), -1)
    codes = np.unique(np.concatenate(labels), return_inverse=True)[1]
    return codes[: len(labels[0])], codes[len(labels[0]) :]
