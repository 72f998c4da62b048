"""What an ensemble is made of: every candidate is an edit in a space, and a row of `CANDIDATES`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

import numpy as np
from torch import Tensor

from .._blocks import encode_in_blocks
from .._check import NotNegative, Share
from .._maps import Average, Compose, NoChange
from .._types import Map, Space
from ..spaces import PCA
from ..spaces._choice import MAX_MARKERS

from ..edits import (  # isort: skip
    Populations, Shift, affine, by_strata, gaussian_ot, on_all, on_balanced, percentile, shift,
)  # fmt: skip
from ..edits._strata import ByStrata, MovedWithin
from ..edits._together import AverageInSpace, edit_each, share_cells

PRIOR_COUNT = 50  # the weights for few cells count as so many cells


@dataclass(frozen=True)
class Prior:
    """What a candidate is expected to weigh before anything is cross-validated, in four situations.

    Attributes
    ----------
    alike, strata, few_cells
        Where source and target have the same composition, where strata are named, and where percentiles would be noise.
    matched
        Where compositions differ and populations were matched. `None`: as with strata.
    """

    alike: NotNegative
    strata: NotNegative
    few_cells: NotNegative = 0.0
    matched: NotNegative | None = None


@dataclass(frozen=True)
class Candidate:
    """An edit in a space.

    Examples
    --------
    >>> import neuronedit as ne
    >>> halfway = ne.ensemble.Candidate("features", ne.edits.on_all(ne.edits.percentile), offset=0.5)
    >>> candidates = ne.ensemble.CANDIDATES | {"quantile_halfway": halfway}
    >>> "quantile_halfway" in candidates
    True

    Attributes
    ----------
    space, fit
        Fits the edit to source and target in that space: features, their principal components, or neurons of the trained space.
    offset
        Share of the way from the query's mean to the source's that cells are moved before the edit. It helps where the
        query differs from the source as the target does, and else does harm.
    prior
        What it is expected to weigh; only ratios between candidates matter.
    """

    space: Literal["features", "components", "neurons"]
    fit: Callable[[Populations], Map]
    offset: Share = 0.0
    prior: Prior = Prior(0.02, 0.02)


Candidates = Mapping[str, Candidate]
Spaces = Mapping[str, Space]

seldom = Prior(0.01, 0.01, matched=0.005)
of_same_cells = replace(seldom, alike=0.08)  # other kinds of cells must not be moved towards the source
of_all_cells = Prior(0.02, 0.02, matched=0.005)  # an edit that takes another composition for a change

# The weights are rounded and the same for candidates that resemble each other: `benchmarks/prior.py` compares them with others.
WITHOUT_OFFSET: dict[str, Candidate] = {
    "identity": Candidate("features", lambda populations: NoChange(), prior=of_all_cells),
    "mean_shift": Candidate("features", on_all(shift), prior=replace(of_all_cells, few_cells=0.6)),
    "affine": Candidate("features", on_all(affine), prior=of_all_cells),
    "quantile": Candidate("features", on_all(percentile), prior=replace(of_all_cells, alike=0.25)),
    "quantile_balanced": Candidate("features", on_balanced(percentile)),
    "shift_by_strata": Candidate("features", by_strata(shift)),
    "quantile_by_strata": Candidate("features", by_strata(percentile), prior=Prior(0.02, 0.4)),
    "constant_shift": Candidate("neurons", on_all(shift), prior=replace(of_all_cells, few_cells=0.2)),
    "neuron_editing": Candidate("neurons", on_all(percentile), prior=replace(of_all_cells, alike=0.1, few_cells=0.2)),
    "gaussian_ot_neurons": Candidate("neurons", on_all(gaussian_ot), prior=replace(of_all_cells, alike=0.5)),
    "neurons_by_strata": Candidate("neurons", by_strata(percentile), prior=Prior(0.02, 0.15)),
    "gaussian_ot_by_strata": Candidate("neurons", by_strata(gaussian_ot), prior=Prior(0.02, 0.2)),
}

# edits that proved different from each other, after half of the way to the source
WITH_OFFSET = {
    f"{name}_offset": replace(WITHOUT_OFFSET[name], offset=0.5, prior=prior)
    for name, prior in (("mean_shift", seldom), ("quantile", of_same_cells), ("neuron_editing", of_same_cells))
}
CANDIDATES = WITHOUT_OFFSET | WITH_OFFSET


def expect_weights(candidates: Candidates, *, differs: float | None, n_cells: int) -> np.ndarray:
    """Return the weights that are expected: ``(n_candidates,)``, of sum 1.

    ``differs`` says how far compositions do, from 0 to 1, and is `None` with strata; ``n_cells`` has the smaller of source and
    target.
    """
    priors = [candidate.prior for candidate in candidates.values()]
    alike, strata, few_cells = (
        np.array([getattr(prior, name) for prior in priors]) for name in ("alike", "strata", "few_cells")
    )
    matched = np.array([prior.strata if prior.matched is None else prior.matched for prior in priors])
    usual = strata if differs is None else (1 - differs) * alike / alike.sum() + differs * matched / matched.sum()
    usual = usual / usual.sum()
    if not few_cells.any():
        return usual
    share = PRIOR_COUNT / (n_cells + PRIOR_COUNT)
    return (1 - share) * usual + share * few_cells / few_cells.sum()


def encode_in_space(spaces: Spaces, name: str, populations: Populations) -> Populations:
    """Return source and target in a space. Cells of many features are compared in principal components, if neurons are these.

    Those of an autoencoder are not used: with them, edits within strata scored lower than with all genes.
    """
    source, target = (encode_in_blocks(spaces[name], x) for x in (populations.source, populations.target))
    neurons = spaces.get("neurons")
    has_components = name == "features" and source.shape[1] > MAX_MARKERS and isinstance(neurons, PCA)
    return populations._replace(source=source, target=target, compared_in=neurons if has_components else None)


def encode_in_spaces(spaces: Spaces, populations: Populations) -> dict[str, Populations]:
    """Return source and target in every space."""
    return {name: encode_in_space(spaces, name, populations) for name in spaces}


def fit_candidates(
    candidates: Candidates, encoded: Mapping[str, Populations], known: dict[str, MovedWithin] | None = None
) -> dict[str, Map]:
    """Return the edit of each candidate, of the neurons of its space.

    ``known`` are moves within strata, by space: calls whose strata have the same cells share them.
    """

    @cache  # candidates that differ in the offset alone share an edit
    def fit(space: str, fit_edit: Callable[[Populations], Map]) -> Map:
        if isinstance(fit_edit, ByStrata):
            return fit_edit.fit(encoded[space], None if known is None else known.setdefault(space, {}))
        return fit_edit(encoded[space])

    return {name: fit(candidate.space, candidate.fit) for name, candidate in candidates.items()}


def group_candidates(candidates: Candidates) -> dict[tuple[str, float], list[str]]:
    """Return the names of the candidates that edit in the same space after the same offset, by these two."""
    groups: dict[tuple[str, float], list[str]] = {}
    for name, candidate in candidates.items():
        groups.setdefault((candidate.space, candidate.offset), []).append(name)
    return groups


def predict_each(
    candidates: Candidates, edits: Mapping[str, Map], spaces: Spaces, offset: Tensor, x: Tensor
) -> dict[str, Tensor]:
    """Return what each candidate makes of cells; ``offset`` is the source's mean less the query's, ``(n_features,)``."""
    predicted: dict[str, Tensor] = {}
    for (space, share), names in group_candidates(candidates).items():
        moved = x + share * offset if share else x
        predicted |= dict(zip(names, edit_each(spaces[space], [edits[name] for name in names], moved), strict=True))
    return {name: predicted[name] for name in candidates}


def average_candidates(
    candidates: Candidates, edits: Mapping[str, Map], shares: Mapping[str, float], spaces: Spaces, offset: Tensor
) -> Map:
    """Return the weighted mean of the candidates as one map of cells; ``offset`` is as in `predict_each`."""
    maps: list[Map] = []
    totals = []
    for (space, share), names in group_candidates(candidates).items():
        total = sum(shares[name] for name in names)
        own = [shares[name] / total for name in names]
        edit = AverageInSpace(spaces[space], share_cells([edits[name] for name in names]), own)
        maps.append(Compose([Shift(share * offset), edit]) if share else edit)
        totals.append(total)
    return Average(maps, totals)
