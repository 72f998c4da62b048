"""K-fold cross-validation of the candidates: leave each fold out, predict it from the others, and stack what predicts best."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from html import escape
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from .._check import NumberOrInfinity, Seed
from .._energy import energy
from .._maps import Scaled
from .._memory import give_back
from .._progress import track
from .._subsample import subsample
from .._types import CellTensor, Map, Space
from ..edits import Populations
from ..edits._strata import MovedWithin, as_labelings, balance
from ..spaces import PCA, Identity
from ._matching import Matching, combine_differences, compare_query, match_populations
from ._stacking import expect, score_candidates, stack

from ._candidates import (  # isort: skip
    CANDIDATES, Candidate, Candidates, Spaces, average_candidates, encode_in_space, encode_in_spaces, expect_weights, fit_candidates,
    predict_each,
)  # fmt: skip
from ._folds import (  # isort: skip
    MAX_FAMILIAR, CellLabels, Fold, FoldCells, FoldKind, find_resembling, label_strata, make_folds, measure_novelty, weigh_folds,
)  # fmt: skip

# of source and of target, so that it takes less time than the training of the space; strata can be small, and many
MAX_CELLS_TO_TRY = {FoldKind.STRATA: 3_000, FoldKind.DERIVED: 1_500}
MAX_VALUES_TO_TRY = 2**24  # cells times features: 64 MB of float32; images reach it
MAX_CELLS_TO_PREDICT = 256  # of a fold: all candidates predict each; products have a multiple of so many rows
MAX_VALUES_TO_PREDICT = 2**20  # cells times features: all predictions are held in memory
TRUTHS_PER_PREDICTION = 2  # cells of a fold's truth for each that is predicted: they take little time
MIN_WEIGHT = 0.01  # candidates of less are left out of the ensemble: each one costs an edit of every cell

# How far weights are drawn to what is expected: `benchmarks/prior.py` compares other values, each family left out in turn.
# With matched populations, more of it costs new kinds of cells, and less varies more from seed to seed.
SHRINKAGE = {FoldKind.STRATA: 0.03, FoldKind.DERIVED: 0.15}  # folds that the cells themselves gave say less
UNTESTED_STRENGTH = 0.25  # how far cells go that resemble none that were held out

# The interval of the expected share: standard errors, and what folds cannot show of other cells. Set likewise.
INTERVAL_Z, INTERVAL_FLOOR = 1.28, 0.1

Composition = Literal["auto", "same", "different"]
COMPOSITIONS: tuple[Composition, ...] = ("auto", "same", "different")

empty_array = partial(np.zeros, 0)


@dataclass(frozen=True)
class Ensemble:
    """Candidates, stacked, and how well they predicted folds that were left out.

    Examples
    --------
    >>> import torch, neuronedit as ne
    >>> source = torch.randn(300, 3)
    >>> ensemble = ne.ensemble.cross_validate(ne.spaces.Identity(n_features=3), source, source + 2, source)
    >>> round(float(ensemble.weights.sum()), 6), len(ensemble.weights) == len(ensemble.candidates)
    (1.0, True)

    Attributes
    ----------
    fit, populations
        Fits it to populations, and all source and target cells, with the strata that were used.
    fold_kind
        What the folds are. With ``"none"``, a few candidates are averaged, and the fields from ``folds`` on say nothing.
    candidates, weights, prior, strength
        Names, weights of sum 1, what was expected of them, and how far the ensemble goes, from 0 (cells are left alone) to 1.
    matching
        The populations that were matched; `None` with strata, and where there are too few cells.
    query_variation
        Total variation between the compositions of the query and of the source, in matched populations, from 0 to 1. 0 with strata.
    folds, fold_weights
        Names of the folds, and what each counts; the sum is 1.
    scores, ensemble_scores
        Share of the gap (energy distance) that each candidate, ``(n_candidates, n_folds)``, and the ensemble, ``(n_folds,)``,
        closes in folds that they were not fitted to, not below -1.
    expected, expected_se, expected_low, expected_high
        The share that the ensemble should close of the query's gap: the weighted mean over folds, its standard error, and an
        interval, not above 1, that held the truth in 80 % of the tasks of ``benchmarks/holdout.py``.
    errors, wrong_direction
        Mean of the truth less mean of the prediction, ``(n_folds, n_features)``, and whether it moved the mean away from the
        truth in most folds, ``(n_features,)``.
    coverage
        Share of the source cells most like the query that are in a fold. How others move is not known: a quarter as far.
    familiarity
        1 where some fold is at least as novel as the query, else the ratio of the two: ``expected`` was multiplied by it.
    """

    fit: Callable[[Populations], Map]
    populations: Populations
    fold_kind: FoldKind
    candidates: list[str]
    weights: np.ndarray
    prior: np.ndarray = field(default_factory=empty_array)
    strength: float = 1.0
    matching: Matching | None = None
    query_variation: float = 0.0
    folds: list[str] = field(default_factory=list)
    fold_weights: np.ndarray = field(default_factory=empty_array)
    scores: np.ndarray = field(default_factory=empty_array)
    ensemble_scores: np.ndarray = field(default_factory=empty_array)
    expected: NumberOrInfinity = np.nan
    expected_se: NumberOrInfinity = np.nan
    expected_low: NumberOrInfinity = np.nan
    expected_high: NumberOrInfinity = np.nan
    errors: np.ndarray = field(default_factory=empty_array)
    wrong_direction: np.ndarray = field(default_factory=empty_array)
    coverage: float = 0.0
    familiarity: float = 1.0

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

    def _repr_html_(self) -> str:
        """Show the candidates that count, with their weights and what they close in held-out folds, in a notebook."""
        shown = [j for j in np.argsort(-self.weights) if self.weights[j] > 0]
        closed = self.scores[shown] @ self.fold_weights if self.folds else np.full(len(shown), np.nan)
        cells = [(self.candidates[j], f"{self.weights[j]:.2f}", f"{x:.2f}") for j, x in zip(shown, closed, strict=True)]
        rows = "".join(f"<tr>{''.join(f'<td>{escape(text)}</td>' for text in row)}</tr>" for row in cells)
        names = "<th>candidate</th><th>weight</th><th>closes of held-out folds</th>"
        return f"<div>{escape(repr(self))}<table><thead><tr>{names}</tr></thead><tbody>{rows}</tbody></table></div>"


def cross_validate(
    space: Space,
    source: CellTensor,
    target: CellTensor,
    query: CellTensor,
    strata: CellLabels | None = None,
    *,
    candidates: Mapping[str, Candidate] = CANDIDATES,
    composition: Composition = "auto",
    rng: Seed = 0,
) -> Ensemble:
    """Find the ensemble of candidates that predicts best from stratum to stratum: cross-validation and stacking.

    Each stratum is left out in turn, and every candidate is fitted to the others and predicts it. The weights are those with
    which the mean prediction is nearest to the truth, shrunk towards weights that are expected before anything is left out.
    They are shrunk further where the query is more of the same cells, such as another sample of one person.
    Without strata, populations of source and target are matched, and take the place of strata as far as compositions differ.

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
        Labels of the source's and of the target's cells: donors, cell types, replicates. `None`: match populations.
    candidates
        Names and rows of `CANDIDATES`.
    composition
        Without strata: whether source and target hold the same kinds of cells in the same numbers. ``"same"``: they do, as
        where one sample was divided, and edits are fitted to all cells. ``"different"``: they do not, and edits are fitted
        within matched populations. ``"auto"``: as far as :func:`match_populations` finds a difference. A query of other
        kinds of cells than the source counts as a difference in each case: they may move otherwise than all cells together.
    %(rng)s

    Returns
    -------
    The ensemble. Folds count by how much they differ from the others as the query differs from the source, and by how much
    of the query resembles them. With fewer than two folds of 20 cells, a few candidates are averaged.

    References
    ----------
    Breiman 1996, Stacked regressions, doi:10.1007/BF00117832; Caruana et al. 2004, Ensemble selection, doi:10.1145/1015330.1015432.
    """
    held = hold_out(space, source, target, query, strata, candidates, composition, rng)
    folds, prior, names = held.folds, held.prior, list(candidates)

    # too few cells
    if len(folds) < 2:
        weights = drop_small(prior)
        fit = fit_together(candidates, weights, 1.0, held.spaces, query)
        nowhere = np.zeros(source.shape[1], dtype=bool)
        return Ensemble(fit, held.populations, FoldKind.NONE, names, weights, prior, wrong_direction=nowhere)

    # stack
    fold_kind = FoldKind.STRATA if held.matching is None else FoldKind.DERIVED
    strength = held.coverage + (1 - held.coverage) * UNTESTED_STRENGTH
    stacked = stack(folds, prior, shrink(SHRINKAGE[fold_kind], held.same_cells), strength)
    weights, fold_weights = drop_small(stacked.weights), np.array([fold.weight for fold in folds])
    fit = fit_together(candidates, weights, strength, held.spaces, query)
    expected, se = expect(folds, stacked.scores)
    give_back()
    expected *= held.familiarity
    return Ensemble(
        fit, held.populations, fold_kind, names, weights, prior, strength=strength, matching=held.matching,
        query_variation=held.query_variation,
        folds=[fold.name for fold in folds], fold_weights=fold_weights,
        scores=score_candidates(folds), ensemble_scores=stacked.scores,
        expected=expected, expected_se=se,
        expected_low=expected - half_width(se), expected_high=min(expected + half_width(se), 1.0),
        errors=stacked.errors, wrong_direction=fold_weights @ stacked.wrong_direction > 0.5,
        coverage=held.coverage, familiarity=held.familiarity,
    )  # fmt: skip


@dataclass(frozen=True)
class HeldOut:
    """Folds that were predicted without them, and what an ensemble is made of."""

    populations: Populations
    matching: Matching | None
    query_variation: float  # total variation of the query's composition from the source's; 0 with strata
    differs: float | None  # how far compositions do, from 0 to 1; None with strata
    spaces: Spaces
    folds: list[Fold]
    coverage: float  # share of the query that resembles one of them
    familiarity: (
        float  # how far the query is as novel as the most novel of them: 1 if it is no more novel, less if it is
    )
    same_cells: float  # how far the query is more of the same cells, from 0 to 1; 0 with strata
    prior: np.ndarray  # the weights that are expected, (n_candidates,)


def hold_out(
    space: Space,
    source: Tensor,
    target: Tensor,
    query: Tensor,
    strata: CellLabels | None,
    candidates: Candidates,
    composition: Composition,
    rng: int,
) -> HeldOut:
    """Leave each fold of a subsample of the cells out, and predict it with every candidate."""
    # strata: those that are given, or matched populations
    populations, matching = label_strata(source, target, strata), None
    if populations is None:
        matching = match_populations(source, target, rng=rng)
        populations = Populations(source, target, matching.source_labels, matching.target_labels)
    fold_cells = make_folds(populations, strata, matching, rng)

    # subsample, and fit the spaces that candidates edit in
    most = MAX_CELLS_TO_TRY[FoldKind.STRATA if matching is None else FoldKind.DERIVED]
    n = max(2, min(most, MAX_VALUES_TO_TRY // source.shape[1]))
    s, t, q = (subsample(len(x), n, rng) for x in (source, target, query))
    few = populations.subset(s, t)
    fold_cells = [own for fold in fold_cells if (own := fold.subset(s, t)).has_enough()]
    resembling = find_resembling(query, few.source) if fold_cells else np.empty((0, 0), dtype=int)

    # how far compositions differ
    query_variation, differs = 0.0, None
    if matching is not None:
        query_variation = compare_query(few.source_strata, resembling) if fold_cells else 0.0
        of_target = {"same": 0.0, "different": 1.0}.get(composition, matching.differs)
        differs = combine_differences(of_target, query_variation)
        # one labeling is enough to predict folds with
        few = few._replace(source_strata=few.source_strata[:, :1], target_strata=few.target_strata[:, :1])
    spaces: dict[str, Space] = {"features": Identity(n_features=source.shape[1]), "neurons": space}
    if any(candidate.space == "components" for candidate in candidates.values()):
        spaces["components"] = PCA.of(torch.cat([few.source, few.target, query[q]]), n_components=50)

    # leave each fold out
    folds, coverage, familiarity = predict_folds(fold_cells, few, query, resembling, spaces, candidates, rng)
    n_cells = min(len(source), len(target)) if len(folds) >= 2 else 0
    prior = expect_weights(candidates, differs=differs, n_cells=n_cells)
    same_cells = count_same_cells(folds, differs)
    return HeldOut(
        populations, matching, query_variation, differs, spaces, folds, coverage, familiarity, same_cells, prior
    )


def count_same_cells(folds: Sequence[Fold], differs: float | None) -> float:
    """Return how far the query is more of the same cells, from 0 to 1: as familiar as halves, and composed alike."""
    return 0.0 if differs is None else (1 - differs) * sum(fold.weight for fold in folds if fold.is_half)


def shrink(shrinkage: float, same_cells: float) -> float:
    """Return how far weights are drawn to what is expected: further where the query is more of the same cells.

    Of these, folds of other kinds of cells say little.
    """
    return shrinkage / (1 - min(same_cells, MAX_FAMILIAR)) ** 2


def half_width(se: float) -> float:
    """Return how far the share that is closed lies from the expected one in 80 % of cases."""
    return float(INTERVAL_Z * np.hypot(se, INTERVAL_FLOOR))


def drop_small(weights: np.ndarray) -> np.ndarray:
    """Return weights of sum 1 without those below `MIN_WEIGHT`."""
    weights = np.where(weights < MIN_WEIGHT, 0, weights)
    return weights / weights.sum()


def fit_together(
    candidates: Candidates, weights: np.ndarray, strength: float, spaces: Spaces, query: Tensor
) -> Callable[[Populations], Map]:
    """Return the function that fits candidates to populations, and returns the weighted mean of their maps."""
    shares = {name: float(weight) for name, weight in zip(candidates, weights, strict=True) if weight > 0}
    used, query_mean = {name: candidates[name] for name in shares}, query.mean(0)

    def fit(populations: Populations) -> Map:
        offset = populations.source.mean(0) - query_mean
        edits: dict[str, Map] = {}
        for name in spaces:  # one at a time: neurons take as much memory as the cells
            own = {key: candidate for key, candidate in used.items() if candidate.space == name}
            if own:
                edits |= fit_candidates(own, {name: encode_in_space(spaces, name, populations)})
                give_back()
        return Scaled(average_candidates(used, edits, shares, spaces, offset), strength)

    return fit


def predict_folds(
    held_out: Sequence[FoldCells],
    few: Populations,
    query: Tensor,
    resembling: np.ndarray,
    spaces: Spaces,
    candidates: Candidates,
    rng: int,
) -> tuple[list[Fold], float, float]:
    """Predict each fold from the others; ``resembling`` are the source cells that the query resembles.

    Returned are the folds, what share of the query resembles one, and how far the query is as novel as the most novel of
    them: 1 if it is no more novel, less if it is.
    """
    if not held_out:
        return [], 0.0, 1.0

    # what each counts
    in_fold = np.array([fold.source for fold in held_out])  # (n_folds, n_cells)
    shares = in_fold[:, resembling].mean(axis=(1, 2))
    coverage = float(np.any(in_fold, axis=0)[resembling].mean())
    novelties = np.array([measure_novelty(few.source[mask], few.source[~mask]) for mask in in_fold])
    query_novelty = measure_novelty(query, few.source)
    weights = weigh_folds(novelties, query_novelty, shares, np.array([fold.is_half for fold in held_out]))
    familiarity = min(1.0, float(novelties.max()) / max(query_novelty, 1e-9))

    # predict each from the others
    encoded = encode_in_spaces(spaces, few)
    n_predicted = max(100, min(MAX_CELLS_TO_PREDICT, MAX_VALUES_TO_PREDICT // few.source.shape[1]))
    folds: list[Fold] = []
    within_strata: dict[str, MovedWithin] = {}  # the others' strata are whole, so their moves are those of other folds
    for fold, weight in track(zip(held_out, weights, strict=True), "cross-validation", "fold", len(held_out)):
        own, others = few.subset(fold.source, fold.target), (~fold.source, ~fold.target)
        if fold.is_half:  # its truth has the composition of its query
            balanced = balance(*(as_labelings(labels)[0] for labels in (own.source_strata, own.target_strata)))
            own = own._replace(target=own.target[torch.from_numpy(balanced)])
        encoded_others = {space: cells.subset(*others) for space, cells in encoded.items()}
        offset = few.subset(*others).source.mean(0) - own.source.mean(0)
        edits = fit_candidates(candidates, encoded_others, None if fold.is_half else within_strata)
        before = own.source[subsample(len(own.source), n_predicted, rng)]
        truth = own.target[subsample(len(own.target), n_predicted * TRUTHS_PER_PREDICTION, rng)]
        by_name = predict_each(candidates, edits, spaces, offset, before)
        predicted = torch.stack(list(by_name.values())).float().cpu()  # (n_candidates, n_cells, n_features)
        before, truth = before.float().cpu(), truth.float().cpu()
        gap = float(energy(before, truth))
        folds.append(Fold(fold.name, float(weight), before, truth, predicted, gap, is_half=fold.is_half))
    return folds, coverage, familiarity
