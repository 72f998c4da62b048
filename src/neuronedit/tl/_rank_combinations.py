"""Rank predicted combinations by a score of the caller's."""

import itertools
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData

from .. import _slots
from .._check import Score, Seed, TwoOrMore
from .._data.check import check_features, open_adata
from .._data.design import read_treatments
from .._data.record import Record, Tool
from .._data.space import TrainedSpace
from .._progress import shows_progress
from ._combine import combine, name_combination
from ._edit import EditName


@shows_progress
def rank_combinations(
    adata: AnnData,
    groupby: str,
    *,
    control: Hashable,
    effects: Sequence[Hashable],
    score: Score,
    edit: EditName | Callable[..., Any] = "percentile",
    strata: str | None = None,
    n_bootstrap: TwoOrMore = 50,
    layer: str | None = None,
    key: str | Sequence[str] = _slots.MODEL,
    accelerator: str = "auto",
    rng: Seed = 0,
    progress_bar: bool | None = None,
    **edit_params: Any,
) -> pd.DataFrame:
    """Predict cells under every combination of two treatments, and rank the combinations by a score.

    Examples
    --------
    >>> import neuronedit as ne
    >>> adata = ne.datasets.simulate_combination(n_cells=300)
    >>> ne.tl.train(adata, space="identity")
    >>> ranked = ne.tl.rank_combinations(
    ...     adata, "condition", control="basal", effects=["A", "B", "A+B"], score="CD38", progress_bar=False
    ... )
    >>> len(ranked), list(ranked.columns)
    (3, ['predicted', 'low', 'high', 'score_a', 'score_b', 'control', 'agreement'])

    Parameters
    ----------
    %(treatments)s
    score
        What to rank by, the highest first: a feature (its mean), a gate (``{"CD38": (1.5, None), "CD3": (None, 1)}``: the
        share of cells between the limits), or a function of an AnnData of cells that returns a number.
    %(edit)s
    n_bootstrap
        Bootstrap resamples of the predicted cells behind the intervals.
    %(reading)s
    %(computing)s

    Returns
    -------
    A DataFrame, the best combination first; nothing is written. Its columns are the ``predicted`` score, averaged over both
    orders of :func:`neuronedit.tl.combine`, its 95 % interval ``low`` to ``high`` over resamples of the predicted cells, the
    scores measured under either treatment alone (``score_a``, ``score_b``) and in the ``control``, and the ``agreement`` of
    the orders. The interval does not know how well an effect generalizes: look at the agreement.

    Raises
    ------
    %(border_errors)s
    """
    # read
    adata = open_adata(adata)
    measure = _read_score(adata, score)
    space = TrainedSpace.read(adata, key, layer, accelerator)
    rows = read_treatments(adata, groupby, control, effects)

    # predict
    how: dict[str, Any] = {"edit": edit, "strata": strata, "rng": rng, "progress_bar": progress_bar} | edit_params
    how |= {"layer": layer, "key": key, "accelerator": accelerator}
    predicted = combine(adata, groupby, control=control, effects=effects, **how)
    assert predicted is not None
    agreement = Record.read(predicted, _slots.COMBINED, Tool.COMBINE).content["combinations"]["agreement"]

    # score
    generator, alone, table = np.random.default_rng(rng), {}, {}
    for name, of_name in rows.items():
        cells = space.cells.dense_copy(of_name)
        alone[name] = measure(AnnData(cells, obs=adata.obs.iloc[of_name], var=adata.var))
    for a, b in itertools.combinations(effects, 2):
        name = name_combination(a, b)
        cells = predicted[predicted.obs[groupby] == name]
        orders = [cells[cells.obs[f"{_slots.COMBINED}_from"] == str(given)] for given in (a, b)]
        resampled = []
        for _ in range(n_bootstrap):
            samples = (order[generator.integers(order.n_obs, size=order.n_obs)] for order in orders)
            resampled.append(np.mean([measure(sample) for sample in samples]))
        low, high = np.quantile(resampled, [0.025, 0.975])
        row = {"predicted": np.mean([measure(cells) for cells in orders]), "low": low, "high": high}
        row |= {"score_a": alone[a], "score_b": alone[b], "control": alone[control]}
        table[name] = row | {"agreement": agreement[name]}
    return pd.DataFrame.from_dict(table, orient="index").sort_values("predicted", ascending=False, kind="stable")


def _read_score(adata: AnnData, score: Any) -> Callable[[AnnData], float]:
    """Return the score as a function of cells, and refuse features that are not there."""
    check_features(adata, *([score] if isinstance(score, str) else score if isinstance(score, Mapping) else ()))
    if callable(score):
        return lambda cells: float(score(cells))
    if isinstance(score, str):
        return lambda cells: float(np.asarray(cells[:, score].X).mean())

    def share_in_gate(cells: AnnData) -> float:
        mask = np.ones(cells.n_obs, dtype=bool)
        for name, (low, high) in score.items():
            x = np.asarray(cells[:, name].X).ravel()
            mask &= (x >= (-np.inf if low is None else low)) & (x <= (np.inf if high is None else high))
        return float(mask.mean())

    return share_in_gate
