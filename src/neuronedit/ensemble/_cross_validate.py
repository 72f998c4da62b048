"""Choose by what can be seen in the observed pair alone: leave parts of it out and predict them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .._blocks import encode_in_blocks
from .._maps import Average, Scaled
from .._types import Map, Space
from ..edits import Populations
from ..edits._neighbors import draw
from ..edits._pairing import energy
from ..edits._strata import FEWEST
from ..spaces import PCA, Identity
from ._candidates import CANDIDATES, FALLBACK, Candidate, learn
from ._folds import Labels, clusters, mixtures, novelty, resembling
from ._stacking import Fold, combine, scores, spread

MOST, MOST_VALUES = 4_000, 2**24
"""Cells, and values, of source and of target on which candidates are tried."""

MOST_SCORED = 300
"""Cells of a part that are predicted and compared."""

WIDTH = 0.35
"""How alike the novelty of a part and of the query must be to count: standard deviation, in logarithms."""

FLOOR = 0.2
"""What a part counts that the query does not resemble, beside the share that it has of what the query resembles."""

NEGLIGIBLE = 0.01
"""Candidates of less weight are left out of the combination."""


def nothing() -> np.ndarray:
    """Return no values."""
    return np.zeros(0)


@dataclass(frozen=True)
class Ensemble:
    """The combination that was chosen, and why.

    Attributes
    ----------
    learn
        Learns it on a pair of cells: on all of them, or on a resample.
    pair
        The whole pair, with the strata that were used.
    how
        ``"strata"``: parts were the given strata; ``"derived"``: clusters and mixtures of them; ``"fixed"``: the pair is too
        small for any, a fixed combination was taken, and all below is empty.
    candidates, weights
        Names, and weights of sum 1.
    strength
        How far the combination goes, from 0 (cells are left alone) to 1.
    parts, part_weights
        Names of the parts that were left out, and what each counted.
    scores
        ``(n_candidates, n_parts)``: share of the gap (energy distance) that each candidate closed, not below -1.
    combined
        ``(n_parts,)``: what the combination closed, weighed and learnt without that part, not below -1.
    expected, expected_se
        Mean of that over parts and its standard error.
    errors
        ``(n_parts, n_features)``: mean of the truth less mean of the prediction.
    wrong
        ``(n_features,)``: features whose means it moved away from the truth on most parts.
    tested
        Share of the source cells most like the query that are in a part that was left out. The combination goes no further
        than this: of the rest nothing says how it moves.
    """

    learn: Callable[[Populations], Map]
    pair: Populations
    how: str
    candidates: list[str]
    weights: np.ndarray
    strength: float = 1.0
    parts: list[str] = field(default_factory=list)
    part_weights: np.ndarray = field(default_factory=nothing)
    scores: np.ndarray = field(default_factory=nothing)
    combined: np.ndarray = field(default_factory=nothing)
    expected: float = np.nan
    expected_se: float = np.nan
    errors: np.ndarray = field(default_factory=nothing)
    wrong: np.ndarray = field(default_factory=nothing)
    tested: float = 0.0

    def __repr__(self) -> str:
        """Say in a line what was chosen; arrays and cells are left out."""
        best = sorted(zip(self.weights, self.candidates, strict=True), reverse=True)[:3]
        names = ", ".join(f"{name} {weight:.2f}" for weight, name in best)
        expected = "" if np.isnan(self.expected) else f", expected={self.expected:.2f} ± {self.expected_se:.2f}"
        more = ", …" if len(self.candidates) > len(best) else ""
        return f"Selected({self.how}: {names}{more}; strength={self.strength:.2g}{expected}, {len(self.parts)} parts)"


def select(
    space: Space,
    source: Tensor,
    target: Tensor,
    query: Tensor,
    strata: tuple[Any, Any] | None = None,
    *,
    candidates: Mapping[str, Candidate] = CANDIDATES,
    seed: int = 0,
) -> Ensemble:
    """Leave parts of the pair out, predict each from the rest with every candidate, and combine what predicts best.

    Parameters
    ----------
    space
        A trained space. It may have seen all cells: it is trained without knowing which are before and after the change.
    source, target, query
        ``(n_cells, n_features)``. Of the query only its mean and the source cells that it resembles are used.
    strata
        Labels of the source's and of the target's cells: donors, cell types, replicates. `None`: derive some.
    candidates
        Rows of `CANDIDATES`.
    seed
        Of all that is drawn.

    Returns
    -------
    What was chosen. Parts count by how much they differ from the rest as the query differs from the source, and by how
    much of the query resembles them.

    References
    ----------
    Caruana et al. 2004, Ensemble selection from libraries of models, ICML, doi:10.1145/1015330.1015432, for the idea of
    weighing predictions by what they predict for cells that were held out.

    Examples
    --------
    >>> import torch, neuronedit as ne
    >>> source, query = torch.randn(300, 3), torch.randn(50, 3) + 1
    >>> chosen = ne.ensemble.select(ne.spaces.Identity(n_features=3), source, source + 2, query)
    >>> len(chosen.candidates) == len(ne.ensemble.CANDIDATES)
    True
    """
    everything = torch.cat([x[draw(len(x), _most(source), seed)] for x in (source, target, query)])
    spaces: dict[str, Space] = {
        "features": Identity(n_features=source.shape[1]),
        "components": PCA.of(everything, n_components=50),
        "neurons": space,
    }
    names, center = list(candidates), query.mean(0)

    def blend(weights: np.ndarray, strength: float) -> Callable[[Populations], Map]:
        """Return what learns the weighted mean of the candidates' maps on a pair."""
        shares = {name: float(weight) for name, weight in zip(names, weights, strict=True) if weight > 0}

        def learn_on(pair: Populations) -> Map:
            chosen = {name: candidates[name] for name in shares}
            maps = learn(chosen, spaces, _encoded(spaces, pair), pair.source.mean(0) - center)
            return Scaled(Average(list(maps.values()), list(shares.values())), strength)

        return learn_on

    how, pair, parts = _make_folds(source, target, strata, seed)
    left, tested = _left_out(parts, pair, query, spaces, candidates, seed)
    if len(left) < 2:
        equal = np.array([float(name in FALLBACK) for name in names])
        return Ensemble(blend(equal / equal.sum(), 1.0), pair, "fixed", names, equal / equal.sum())

    best, part_weights = combine(left, tested), np.array([part.weight for part in left])
    weights, strength = np.where(best.weights < NEGLIGIBLE, 0, best.weights), best.strength
    weights /= weights.sum()
    expected, expected_se = spread(best.scores, part_weights)
    return Ensemble(
        blend(weights, strength),
        pair,
        how,
        names,
        weights,
        strength,
        parts=[part.name for part in left],
        part_weights=part_weights,
        scores=scores(left),
        combined=best.scores,
        expected=expected,
        expected_se=expected_se,
        errors=best.errors,
        wrong=part_weights @ best.wrong > 0.5,
        tested=tested,
    )


def _most(cells: Tensor) -> int:
    """Return how many cells of each population are looked at: fewer of those with many features."""
    return max(2, min(MOST, MOST_VALUES // cells.shape[1]))


def _make_folds(
    source: Tensor, target: Tensor, strata: tuple[Any, Any] | None, seed: int
) -> tuple[str, Populations, dict[str, Labels]]:
    """Return how parts were made, the pair with its strata, and for each part which cells are in it."""
    if strata is not None:
        names, codes = np.unique(np.concatenate(strata), return_inverse=True)
        labels = codes[: len(source)], codes[len(source) :]
        parts = {str(name): _members(labels, code) for code, name in enumerate(names)}
        if sum(min(before.sum(), after.sum()) >= FEWEST for before, after in parts.values()) >= 2:
            return "strata", Populations(source, target, *labels), parts
    labels = clusters(source, target, seed=seed)
    dealt = mixtures(labels, seed=seed)
    parts = {f"cluster {code + 1}": _members(labels, code) for code in np.unique(labels[0])}
    parts |= {f"mixture {code + 1}": _members(dealt, code) for code in np.unique(dealt[0])}
    return "derived", Populations(source, target, *labels), parts


def _members(labels: Labels, code: int) -> Labels:
    return labels[0] == code, labels[1] == code


def _left_out(
    parts: Mapping[str, Labels],
    pair: Populations,
    query: Tensor,
    spaces: Mapping[str, Space],
    candidates: Mapping[str, Candidate],
    seed: int,
) -> tuple[list[Fold], float]:
    """Predict every part that has enough cells, and return how much of what the query resembles is in one."""
    most = _most(pair.source)
    rows = draw(len(pair.source), most, seed).numpy(), draw(len(pair.target), most, seed).numpy()
    pair = pair.only(*rows)
    neurons_in = _encoded(spaces, pair)
    names, members, novelties, predictions = [], [], [], []
    for name, labels in parts.items():
        inside = labels[0][rows[0]], labels[1][rows[1]]
        outside = ~inside[0], ~inside[1]
        if min(mask.sum() for mask in (*inside, *outside)) < FEWEST:
            continue
        part, rest = pair.only(*inside), pair.only(*outside)
        cells, truth = (x[draw(len(x), MOST_SCORED, seed)] for x in (part.source, part.target))
        known = {space: neurons.only(*outside) for space, neurons in neurons_in.items()}
        maps = learn(candidates, spaces, known, rest.source.mean(0) - part.source.mean(0))
        names.append(name)
        members.append(inside[0])
        novelties.append(novelty(part.source, rest.source))
        predictions.append((cells.cpu(), truth.cpu(), torch.stack([move(cells) for move in maps.values()]).cpu()))
    if not names:
        return [], 0.0
    like = resembling(query, pair.source)
    shares = np.array([member[like].mean() for member in members])
    weights = _weights(novelties, novelty(query, pair.source), shares)
    left = [
        Fold(name, weight, *prediction, before=float(energy(*prediction[:2])))
        for name, weight, prediction in zip(names, weights, predictions, strict=True)
    ]
    return left, float(np.any(members, axis=0)[like].mean())


def _encoded(spaces: Mapping[str, Space], pair: Populations) -> dict[str, Populations]:
    """Return the pair's neurons in every space."""
    return {
        name: pair._replace(source=encode_in_blocks(space, pair.source), target=encode_in_blocks(space, pair.target))
        for name, space in spaces.items()
    }


def _weights(novelties: Sequence[float], of_query: float, shares: np.ndarray) -> np.ndarray:
    """Weigh parts by how much their novelty is the query's, and by the share that they have of what the query resembles."""
    away = np.log(np.maximum(novelties, 1e-9) / max(of_query, 1e-9)) / WIDTH
    weights = (np.exp(-(away**2 - (away**2).min()) / 2) + 1e-3) * (shares + FLOOR)
    return weights / weights.sum()
