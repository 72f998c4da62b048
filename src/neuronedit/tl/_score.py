"""Rank predicted combinations by a score of the caller's."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData

from .. import _slots
from ._carry import Trained
from ._combine import label_of

Score = str | Mapping[str, tuple[float | None, float | None]] | Callable[[AnnData], float]
"""A feature (its mean), a gate (the share of cells in it), or a function of cells."""


def ranked(
    adata: AnnData,
    on: Trained,
    both: AnnData,
    groups: Mapping[Any, np.ndarray],
    groupby: str,
    control: Any,
    effects: Sequence[Any],
    score: Score,
    *,
    n_resamples: int,
    rng: int,
) -> pd.DataFrame:
    """Score every predicted pair in ``both``, and what it is made of; intervals are over resamples of its cells."""
    of, generator, table = _function(score), np.random.default_rng(rng), {}
    alone = {
        name: of(AnnData(on.rows.in_place(on.rows[np.flatnonzero(mask)].numpy()), obs=adata.obs[mask], var=adata.var))
        for name, mask in groups.items()
    }
    agreement = both.uns[_slots.COMBINED]["pairs"]["agreement"]
    for a, b in itertools.combinations(effects, 2):
        name = label_of(a, b)
        pair = both[both.obs[groupby] == name]
        orders = [pair[pair.obs[f"{_slots.COMBINED}_from"] == str(given)] for given in (a, b)]
        drawn = [
            np.mean([of(cells[generator.integers(cells.n_obs, size=cells.n_obs)]) for cells in orders])
            for _ in range(n_resamples)
        ]
        low, high = np.quantile(drawn, [0.025, 0.975])
        row = {"predicted": np.mean([of(cells) for cells in orders]), "low": low, "high": high}
        row |= {"score_a": alone[a], "score_b": alone[b], "control": alone[control]}
        table[name] = row | {"agreement": agreement[name]}
    return pd.DataFrame(table).T.sort_values("predicted", ascending=False, kind="stable")


def _function(score: Score) -> Callable[[AnnData], float]:
    """Return the score as a function of cells."""
    if callable(score):
        return lambda cells: float(score(cells))
    if isinstance(score, str):
        return lambda cells: float(np.asarray(cells[:, score].X).mean())

    def inside(cells: AnnData) -> float:
        mask = np.ones(cells.n_obs, dtype=bool)
        for name, (low, high) in score.items():
            x = np.asarray(cells[:, name].X).ravel()
            mask &= (x >= (-np.inf if low is None else low)) & (x <= (np.inf if high is None else high))
        return float(mask.mean())

    return inside
