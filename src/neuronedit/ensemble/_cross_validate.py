"""K-fold cross-validation of the candidates: leave each fold out, predict it from the others, and stack what predicts best."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from torch import Tensor

from .._energy import energy
from .._maps import Average, Scaled
from .._subsample import subsample
from .._types import Map, Space
from ..edits import Populations
from ..spaces import PCA, Identity
from ._candidates import CANDIDATES, FALLBACK, Candidate, Candidates, Spaces, encode_in_spaces, fit_candidates

from ._folds import (  # isort: skip
    CellLabels, Fold, FoldKind, find_resembling, has_enough_cells, make_folds, measure_novelty, weigh_folds,
)  # fmt: skip
from ._stacking import mean_and_error, score_candidates, stack

MAX_CELLS_TO_TRY = 4_000  # of source and of target, so that it takes less time than the training of the space
MAX_VALUES_TO_TRY = 2**24  # cells times features: 64 MB of float32; images reach it
MAX_CELLS_TO_SCORE = 300  # of a fold: 27 candidates predict each, and all predictions are held in memory
MIN_WEIGHT = 0.01  # candidates of less are left out of the ensemble: each one costs an edit of every cell

empty_array = partial(np.zeros, 0)


@dataclass(frozen=True)
class Ensemble:
    """Candidates, stacked, and how well they predicted folds that were left out.

    Attributes
    ----------
    fit, populations
        Fits it to populations, and all source and target cells, with the strata that were used.
    fold_kind
        What the folds are. With ``"none"``, a few candidates are averaged, and the fields from ``folds`` on say nothing.
    candidates, weights, strength
        Names, weights of sum 1, and how far the ensemble goes, from 0 (cells are left alone) to 1.
    folds, fold_weights
        Names of the folds, and what each counts; the sum is 1.
    scores, ensemble_scores
        Share of the gap (energy distance) that each candidate, ``(n_candidates, n_folds)``, and the ensemble, ``(n_folds,)``,
        closes in folds that they were not fitted to, not below -1.
    expected, expected_se
        Weighted mean of the ensemble's over folds, and its standard error.
    errors, wrong_direction
        Mean of the truth less mean of the prediction, ``(n_folds, n_features)``, and whether it moved the mean away from the
        truth in most folds, ``(n_features,)``.
    coverage
        Share of the source cells most like the query that are in a fold. Nothing says how others move: it bounds ``strength``.
    """

    fit: Callable[[Populations], Map]
    populations: Populations
    fold_kind: FoldKind
    candidates: list[str]
    weights: np.ndarray
    strength: float = 1.0
    folds: list[str] = field(default_factory=list)
    fold_weights: np.ndarray = field(default_factory=empty_array)
    scores: np.ndarray = field(default_factory=empty_array)
    ensemble_scores: np.ndarray = field(default_factory=empty_array)
    expected: float = np.nan
    expected_se: float = np.nan
    errors: np.ndarray = field(default_factory=empty_array)
    wrong_direction: np.ndarray = field(default_factory=empty_array)
    coverage: float = 0.0

    def held_out_error(self) -> np.ndarray:
        """Return the root mean square over folds of each feature's error, ``(n_features,)``; NaN without folds."""
        if not self.folds:
            return np.full(self.populations.source.shape[1], np.nan)
        return np.sqrt(self.fold_weights @ self.errors**2)

    def __repr__(self) -> str:
        """Name the best candidates in a line, without arrays and cells."""
        best = sorted(zip(self.weights, self.candidates, strict=True), reverse=True)[:3]
        names = ", ".join(f"{name} {weight:.2f}" for weight, name in best if weight > 0)
        more = ", …" if np.count_nonzero(self.weights) > len(best) else ""
        expected = "" if np.isnan(self.expected) else f", expected={self.expected:.2f} ± {self.expected_se:.2f}"
        return f"Ensemble({self.fold_kind}: {names}{more}; strength={self.strength:.2g}{expected}, {len(self.folds)} folds)"


def cross_validate(
    space: Space,
    source: Tensor,
    target: Tensor,
    query: Tensor,
    strata: CellLabels | None = None,
    *,
    candidates: Mapping[str, Candidate] = CANDIDATES,
    rng: int = 0,
) -> Ensemble:
    """Find the ensemble of candidates that predicts best from stratum to stratum: cross-validation and stacking.

    Each stratum is left out in turn, and every candidate is fitted to the others and predicts it. The weights are those with
    which the mean prediction is nearest to the truth; in each fold, the ensemble is scored with weights of the others.

    Examples
    --------
    >>> import torch, neuronedit as ne
    >>> source, query = torch.randn(300, 3), torch.randn(50, 3) + 1
    >>> ensemble = ne.ensemble.cross_validate(ne.spaces.Identity(n_features=3), source, source + 2, query)
    >>> len(ensemble.candidates) == len(ne.ensemble.CANDIDATES)
    True
    >>> ensemble.fit(ensemble.populations)(query).shape
    torch.Size([50, 3])

    Parameters
    ----------
    space
        A trained space. It may have been trained on all cells, as it is trained without source or target labels.
    source, target, query
        ``(n_cells, n_features)``. Of the query only its mean and the source cells that it resembles are used.
    strata
        Labels of the source's and of the target's cells: donors, cell types, replicates. `None`: derive some.
    candidates
        Names and rows of `CANDIDATES`.
    %(rng)s

    Returns
    -------
    The ensemble. Folds count by how much they differ from the others as the query differs from the source, and by how much
    of the query resembles them. With fewer than two folds of 20 cells, a few candidates are averaged with equal weights.

    References
    ----------
    Breiman 1996, Stacked regressions, doi:10.1007/BF00117832; Caruana et al. 2004, Ensemble selection, doi:10.1145/1015330.1015432.
    """
    # subsample, and fit the spaces that candidates edit in
    fold_kind, populations, members = make_folds(source, target, strata, rng)
    n = max(2, min(MAX_CELLS_TO_TRY, MAX_VALUES_TO_TRY // source.shape[1]))
    s, t, q = (subsample(len(x), n, rng) for x in (source, target, query))
    few = populations.subset(s, t)
    components = PCA.of(torch.cat([few.source, few.target, query[q]]), n_components=50)
    spaces = {"features": Identity(n_features=source.shape[1]), "components": components, "neurons": space}

    # leave each fold out, and predict it with every candidate
    members = {name: (in_source[s], in_target[t]) for name, (in_source, in_target) in members.items()}
    folds, coverage = predict_folds(members, few, query, spaces, candidates, rng)

    # too few cells
    names = list(candidates)
    if len(folds) < 2:
        weights = np.array([float(name in FALLBACK) for name in names])
        weights /= weights.sum()
        fit = fit_together(candidates, weights, 1.0, spaces, query)
        nowhere = np.zeros(source.shape[1], dtype=bool)
        return Ensemble(fit, populations, FoldKind.NONE, names, weights, wrong_direction=nowhere)

    # stack
    stacked = stack(folds, max_strength=coverage)
    weights = np.where(stacked.weights < MIN_WEIGHT, 0, stacked.weights)
    weights /= weights.sum()
    fold_weights = np.array([fold.weight for fold in folds])
    expected, expected_se = mean_and_error(stacked.scores, fold_weights)
    fit = fit_together(candidates, weights, stacked.strength, spaces, query)
    return Ensemble(
        fit, populations, fold_kind, names, weights, stacked.strength,
        folds=[fold.name for fold in folds], fold_weights=fold_weights,
        scores=score_candidates(folds), ensemble_scores=stacked.scores, expected=expected, expected_se=expected_se,
        errors=stacked.errors, wrong_direction=fold_weights @ stacked.wrong_direction > 0.5, coverage=coverage,
    )  # fmt: skip


def fit_together(
    candidates: Candidates, weights: np.ndarray, strength: float, spaces: Spaces, query: Tensor
) -> Callable[[Populations], Map]:
    """Return the function that fits candidates to populations, and returns the weighted mean of their maps."""
    shares = {name: float(weight) for name, weight in zip(candidates, weights, strict=True) if weight > 0}
    used, query_mean = {name: candidates[name] for name in shares}, query.mean(0)

    def fit(populations: Populations) -> Map:
        offset = populations.source.mean(0) - query_mean
        maps = fit_candidates(used, spaces, encode_in_spaces(spaces, populations), offset)
        return Scaled(Average(list(maps.values()), list(shares.values())), strength)

    return fit


def predict_folds(
    members: Mapping[str, CellLabels], few: Populations, query: Tensor, spaces: Spaces, candidates: Candidates, rng: int
) -> tuple[list[Fold], float]:
    """Predict each fold that has enough cells from the others; return them, and what share of the query resembles one."""
    # folds that have enough cells and leave enough others
    others = {name: (~in_source, ~in_target) for name, (in_source, in_target) in members.items()}
    names = [name for name in members if has_enough_cells(members[name]) and has_enough_cells(others[name])]
    if not names:
        return [], 0.0

    # what each counts
    in_fold = np.array([members[name][0] for name in names])  # (n_folds, n_cells)
    resembling = find_resembling(query, few.source)
    shares = in_fold[:, resembling].mean(axis=(1, 2))
    coverage = float(np.any(in_fold, axis=0)[resembling].mean())
    novelties = [measure_novelty(few.source[mask], few.source[~mask]) for mask in in_fold]
    weights = weigh_folds(novelties, measure_novelty(query, few.source), shares)

    # predict each from the others
    encoded = encode_in_spaces(spaces, few)
    folds = []
    for name, weight in zip(names, weights, strict=True):
        own, rest = few.subset(*members[name]), few.subset(*others[name])
        encoded_rest = {space: cells.subset(*others[name]) for space, cells in encoded.items()}
        maps = fit_candidates(candidates, spaces, encoded_rest, rest.source.mean(0) - own.source.mean(0))
        before, truth = (x[subsample(len(x), MAX_CELLS_TO_SCORE, rng)] for x in (own.source, own.target))
        predicted = torch.stack([edit(before) for edit in maps.values()])  # (n_candidates, n_cells, n_features)
        before, truth = before.cpu(), truth.cpu()
        folds.append(Fold(name, weight, before, truth, predicted.cpu(), gap=float(energy(before, truth))))
    return folds, coverage
