"""What an ensemble is made of: every candidate is an edit in a space, and a row of `CANDIDATES`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

from torch import Tensor

from .._blocks import encode_in_blocks
from .._maps import Compose, Identity
from .._types import InSpace, Map, Space

from ..edits import (  # isort: skip
    Populations, Shift, affine, by_strata, gaussian_ot, local, on_all, on_principal_axes, percentile, shift, transport,
)  # fmt: skip


@dataclass(frozen=True)
class Candidate:
    """An edit in a space.

    Attributes
    ----------
    space, fit
        Fits the edit to source and target in that space: features, their principal components, or neurons of the trained space.
    offset
        Share of the way from the query's mean to the source's that cells are moved before the edit. It helps where the
        query differs from the source as the target does, and else does harm.
    """

    space: Literal["features", "components", "neurons"]
    fit: Callable[[Populations], Map]
    offset: float = 0.0


Candidates = Mapping[str, Candidate]
Spaces = Mapping[str, Space]

WITHOUT_OFFSET: dict[str, Candidate] = {
    "identity": Candidate("features", lambda populations: Identity()),
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

# edits that proved different from each other, after a quarter or a half of the way to the source
WITH_OFFSET = {
    f"{name}_offset_{offset:g}": replace(WITHOUT_OFFSET[name], offset=offset)
    for name in ("mean_shift", "quantile", "gaussian_ot", "transport", "neuron_editing")
    for offset in (0.25, 0.5)
}
CANDIDATES = WITHOUT_OFFSET | WITH_OFFSET

# averaged with equal weights where there are too few cells for folds
FALLBACK = ("mean_shift", "quantile", "gaussian_ot", "neuron_editing", "local_neurons")


def encode_in_spaces(spaces: Spaces, populations: Populations) -> dict[str, Populations]:
    """Return source and target in every space."""
    source, target = populations.source, populations.target
    return {
        name: populations._replace(source=encode_in_blocks(space, source), target=encode_in_blocks(space, target))
        for name, space in spaces.items()
    }


def fit_candidates(
    candidates: Candidates, spaces: Spaces, encoded: Mapping[str, Populations], offset: Tensor
) -> dict[str, Map]:
    """Return the map of each candidate; ``offset`` is the source's mean less the query's, ``(n_features,)``."""

    @cache  # candidates that differ in the offset alone share an edit
    def fit(space: str, fit_edit: Callable[[Populations], Map]) -> Map:
        return fit_edit(encoded[space])

    maps: dict[str, Map] = {}
    for name, candidate in candidates.items():
        edit = InSpace(spaces[candidate.space], fit(candidate.space, candidate.fit))
        maps[name] = Compose([Shift(candidate.offset * offset), edit]) if candidate.offset else edit
    return maps
