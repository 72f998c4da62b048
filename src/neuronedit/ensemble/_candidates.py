"""What an ensemble is made of: every candidate is an edit in a space, and a row of `CANDIDATES`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

from torch import Tensor

from .._blocks import encode_in_blocks
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


def leave_alone(populations: Populations, /) -> Map:
    """Move nothing."""
    return Identity()


@dataclass(frozen=True)
class Candidate:
    """An edit in a space.

    Attributes
    ----------
    space
        The features, their principal components, or the neurons of the trained space.
    fit
        Fits the edit to source and target in that space.
    offset
        Share of the way from the query's mean to the source's that cells are moved before the edit. It corrects a query
        that differs from the source in the same way as the target does. Where the query differs because it is something
        else, it does harm.
    """

    space: Literal["features", "components", "neurons"]
    fit: Callable[[Populations], Map]
    offset: float = 0.0


WITHOUT_OFFSET: dict[str, Candidate] = {
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

WITH_OFFSET = {
    f"{name}_offset_{offset:g}": replace(WITHOUT_OFFSET[name], offset=offset)
    for name in ("mean_shift", "quantile", "gaussian_ot", "transport", "neuron_editing")
    for offset in (0.25, 0.5)
}
"""Edits that proved different from each other, after a quarter or a half of the way to the source."""

CANDIDATES = WITHOUT_OFFSET | WITH_OFFSET

FALLBACK = ("mean_shift", "quantile", "gaussian_ot", "neuron_editing", "local_neurons")
"""Averaged with equal weights where there are too few cells for folds."""


def encode_in_spaces(spaces: Mapping[str, Space], populations: Populations) -> dict[str, Populations]:
    """Return source and target in every space."""
    source, target = populations.source, populations.target
    return {
        name: populations._replace(source=encode_in_blocks(space, source), target=encode_in_blocks(space, target))
        for name, space in spaces.items()
    }


def fit_candidates(
    candidates: Mapping[str, Candidate], spaces: Mapping[str, Space], encoded: Mapping[str, Populations], offset: Tensor
) -> dict[str, Map]:
    """Return the map of each candidate, given source and target in every space.

    ``offset`` is the way from the query's mean to the source's, ``(n_features,)``.
    """

    @cache  # candidates that differ in the offset alone share an edit
    def fit(space: str, fit_edit: Callable[[Populations], Map]) -> Map:
        return fit_edit(encoded[space])

    maps: dict[str, Map] = {}
    for name, candidate in candidates.items():
        edit = InSpace(spaces[candidate.space], fit(candidate.space, candidate.fit))
        maps[name] = Compose([Shift(candidate.offset * offset), edit]) if candidate.offset else edit
    return maps
