"""What is chosen from: every candidate is an edit in a space, and a row of `CANDIDATES`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

from torch import Tensor

from .._maps import Compose, Identity
from .._types import InSpace, Map, Space
from ..edits import (
    Populations,
    Shift,
    affine,
    by_strata,
    gaussian_ot,
    local,
    on_all,
    on_principal_axes,
    percentile,
    shift,
    transport,
)


def leave_alone(pair: Populations, /) -> Map:
    """Move nothing."""
    return Identity()


@dataclass(frozen=True)
class Candidate:
    """An edit in a space.

    Attributes
    ----------
    space
        ``"features"``, ``"components"`` (principal components) or ``"neurons"`` (of the trained space).
    learn
        Learns the edit on the neurons of a pair.
    offset
        Share of the way from the query's mean to the source's that cells are moved before the edit. It corrects a query
        that differs from the source in the same way as the target does; where the query differs because it is something
        else, it does harm.
    """

    space: str
    learn: Callable[[Populations], Map]
    offset: float = 0.0


WHOLE: dict[str, Candidate] = {
    "identity": Candidate("features", leave_alone),
    "mean_shift": Candidate("features", on_all(shift)),
    "affine": Candidate("features", on_all(affine)),
    "quantile": Candidate("features", on_all(percentile)),
    "gaussian_ot": Candidate("features", on_all(gaussian_ot)),
    "transport": Candidate("features", on_all(transport)),
    "local_quantile": Candidate("features", on_all(local)),
    "shift_by_strata": Candidate("features", by_strata(shift)),
    "quantile_by_strata": Candidate("features", by_strata(percentile)),
    "pca_edit": Candidate("components", on_all(percentile)),
    "constant_shift": Candidate("neurons", on_all(shift)),
    "neuron_editing": Candidate("neurons", on_all(percentile)),
    "principal_neurons": Candidate("neurons", on_all(on_principal_axes(percentile))),
    "gaussian_ot_neurons": Candidate("neurons", on_all(gaussian_ot)),
    "transport_neurons": Candidate("neurons", on_all(transport)),
    "local_neurons": Candidate("neurons", on_all(local)),
    "neurons_by_strata": Candidate("neurons", by_strata(percentile)),
}

SHRUNK = {
    f"{name}_offset_{offset:g}": Candidate(WHOLE[name].space, WHOLE[name].learn, offset)
    for name in ("mean_shift", "quantile", "gaussian_ot", "transport", "neuron_editing")
    for offset in (0.25, 0.5)
}
"""Offset shrinkage, of edits that showed themselves different from each other."""

CANDIDATES = WHOLE | SHRUNK

FALLBACK = ("mean_shift", "quantile", "gaussian_ot", "neuron_editing", "local_neurons")
"""What is averaged, all alike, where the pair is too small to leave parts of it out."""


def learn(
    candidates: Mapping[str, Candidate], spaces: Mapping[str, Space], pairs: Mapping[str, Populations], offset: Tensor
) -> dict[str, Map]:
    """Return the maps of candidates, given the pair in each space and the way from the query's mean to the source's."""
    learnt = cache(lambda space, edit: edit(pairs[space]))  # candidates that differ in the offset alone share an edit

    def mapped(candidate: Candidate) -> Map:
        move = InSpace(spaces[candidate.space], learnt(candidate.space, candidate.learn))
        return Compose([Shift(candidate.offset * offset), move]) if candidate.offset else move

    return {name: mapped(candidate) for name, candidate in candidates.items()}
