"""Where two treatments together do something else than each of them alone would let expect."""

import json
import logging
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd
import torch
from anndata import AnnData

from .. import _slots
from .._adata import check_finite, check_free, modality
from .._check import check_features, name_of_choice, plain, select
from .._device import fast_matmul, find_device
from ._carry import trained
from ._combine import combine, learn_effect, treatments
from ._departures import carries_over, departures, measure
from ._edit import labels_in
from ._learn import Options, way_of
from ._progress import shown
from ._score import Score, ranked

logger = logging.getLogger(__name__)

MOST_COUNTED = 20_000
"""Cells of a population that are looked at."""

SHRINKING = {"auto"}
"""Edits that go less far where they are less sure."""


def synergy(
    adata: AnnData,
    groupby: str,
    *,
    control: Any,
    effects: Sequence[Any],
    measured: Any = None,
    score: Score | None = None,
    edit: Any = "percentile",
    strata: str | None = None,
    axes: Any = "neurons",
    residual: bool = True,
    margin: float = 0.1,
    fdr: float = 0.05,
    n_resamples: int = 50,
    rng: int = 0,
    layer: str | None = None,
    key: str = _slots.MODEL,
    key_added: str = _slots.SYNERGY,
    accelerator: str = "auto",
    progress_bar: bool | None = None,
    mod: str | None = None,
    copy: bool = False,
    **edit_params: Any,
) -> AnnData | None:
    r"""Find where a measured combination departs from the predicted one; or rank predicted pairs by a score.

    With ``measured``, the mean of each feature under both treatments is held against its prediction from each of them alone,
    the average over both orders of :func:`neuronedit.tl.combine`. Before that it is asked whether the effects carry over at
    all: if too little of one recurs in the cells of the other, a difference says nothing about a single feature. Without
    ``measured``, all pairs of ``effects`` are predicted and ranked.

    Parameters
    ----------
    adata
        Cells by features, with a trained space.
    groupby
        Column of ``obs`` with the treatments.
    control
        Its value for untreated cells.
    effects
        Its values for cells under one treatment each: two with ``measured``, two or more without.
    measured
        Its value for cells under both treatments.
    score
        What to rank pairs by, the highest first: a feature (its mean), a gate (``{"CD38": (1.5, None), "CD3": (None, 1)}``: the
        share of cells between the limits), or a function of an AnnData of cells that returns a number.
    edit, strata, axes, residual, **edit_params
        How each effect is learnt, as in :func:`neuronedit.tl.edit`; with strata standard errors are smaller. Not ``"auto"`` if
        there is a measured combination: it shrinks effects of which it is not sure, and what it leaves out would look like
        a departure.
    margin
        A departure must be larger than this, in standard deviations of the feature in the measured combination. With 0 any
        inaccuracy of the prediction becomes significant once there are cells enough.
    fdr
        Expected share of false ones among the features that are said to depart (Benjamini-Hochberg).
    n_resamples
        Bootstrap resamples of all populations, with the effects learnt anew. More make the standard errors steadier: with 50
        they vary by 10 %.
    rng
        Seed of the resamples.
    layer
        Read this layer. `None`: the one that the space was trained on.
    key
        Where :func:`neuronedit.tl.train` kept the model.
    key_added
        Key of the result in ``uns``.
    accelerator
        ``"auto"``, ``"cpu"``, ``"cuda"``, ``"mps"``.
    progress_bar
        `None`: in terminals and notebooks.
    mod
        The modality, if ``adata`` is a MuData.
    copy
        Return a new AnnData and leave this one as it is.

    Returns
    -------
    `None`, or the new AnnData with ``copy=True``. Written is ``uns["synergy"]``: what was done, ``verdict`` in words, and with
    ``measured``

    ``features``
        A DataFrame: for each feature the effect of each treatment on its mean (``effect_a``, ``effect_b``, against the
        control), the ``predicted`` and ``measured`` mean under both, their ``difference`` (measured - predicted) with standard
        error ``se`` and 95 % interval ``low`` to ``high``, ``sd`` (what the margin is a share of), ``p_value``, ``q_value``, and
        whether it ``departs``.
    ``carries_over``
        A DataFrame, one row for each effect on the cells of the other: the share of it that ``recurs`` there, with 95 %
        interval ``low`` to ``high``, over the features that it changes in the control; ``gap_closed``, of the energy distance
        from those cells to the measured ones, by the edit; and what that ``says``.

    without

    ``pairs``
        A DataFrame, the best pair first: the ``predicted`` score, averaged over both orders, its 95 % interval ``low`` to ``high``
        over resamples of the predicted cells, the scores measured under either treatment alone (``score_a``, ``score_b``) and in
        the ``control``, and the ``agreement`` of the orders.

    Raises
    ------
    ValueError, TypeError, KeyError
        Before any work, and with ``adata`` unchanged.

    Notes
    -----
    The p-value is of :math:`|\delta| \le` margin. Its standard error has four parts: the prediction's, by bootstrap over
    cells of control and both treatments; the measured mean's; half of the difference between the two orders; and the
    difference between the prediction and the sum of the effects on the mean. The last two are what the prediction may be
    wrong by, as far as that can be seen: a space that was trained too briefly loses power, but calls nothing a departure that
    is its own error. Means also change when a treatment kills one kind of cell: that is seen as a departure, too.

    A space that has seen the measured combination may predict a part of the departure. To be strict, train on all other
    cells and bring these in with :func:`neuronedit.tl.embed`.

    References
    ----------
    McCarthy & Smyth 2009, Testing significance relative to a fold-change threshold is a TREAT, doi:10.1093/bioinformatics/btp053;
    Benjamini & Hochberg 1995, doi:10.1111/j.2517-6161.1995.tb02031.x.

    Examples
    --------
    >>> import neuronedit as ne
    >>> adata = ne.datasets.simulate_combination(n_cells=300, interaction=2.0)
    >>> ne.tl.train(adata, space="identity")
    >>> ne.tl.synergy(adata, "condition", control="basal", effects=["A", "B"], measured="A+B")
    >>> table = adata.uns["synergy"]["features"]
    >>> table.index[table["departs"]].tolist()
    ['p4EBP1', 'pERK']
    """
    adata = modality(adata, mod, copy=copy)
    device = find_device(accelerator)
    on = trained(adata, key, layer, device)
    groups = treatments(adata, groupby, control, effects)
    way = way_of(edit, Options(axes, None, residual, strata=strata is not None), edit_params)
    for effect in effects:
        labels_in(adata, strata, {"source": groups[control], "target": groups[effect]}, "strata")
    _check(adata, groupby, groups, effects, measured, score, edit, margin, fdr, n_resamples)
    check_free(adata, key_added, model=key, layers=[])
    check_finite(adata, on.rows, on.layer)

    config = {"groupby": groupby, "control": control, "effects": list(effects), "measured": measured, "margin": margin}
    config |= {"fdr": fdr, "n_resamples": n_resamples, "rng": rng, "edit": name_of_choice(edit), "strata": strata}
    config |= {"axes": name_of_choice(axes), "residual": residual, "layer": on.layer, "key": on.keys}
    config |= {"edit_params": edit_params, "score": name_of_choice(score) if callable(score) else score}
    if score is not None:
        how: dict[str, Any] = {"edit": edit, "strata": strata, "axes": axes, "residual": residual} | edit_params
        how |= {"layer": layer, "key": key, "accelerator": accelerator, "progress_bar": progress_bar}
        both = combine(adata, groupby, control=control, effects=effects, **how)
        pairs = ranked(adata, on, both, groups, groupby, control, effects, score, n_resamples=n_resamples, rng=rng)
        best = pairs.iloc[0]
        verdict = f"Of {len(pairs)} predicted pairs {pairs.index[0]} scores highest: {best['predicted']:.3g}"
        verdict += f" (alone {best['score_a']:.3g} and {best['score_b']:.3g}, control {best['control']:.3g})."
        result: dict[str, Any] = {"pairs": pairs}
    else:
        groups[measured] = select(adata, groupby, [measured], "measured")
        generator = np.random.default_rng(rng)
        index = {
            name: np.sort(generator.permutation(np.flatnonzero(mask))[:MOST_COUNTED]) for name, mask in groups.items()
        }
        with fast_matmul(), torch.no_grad():
            cells = dict(zip(index, on.read(*index.values()), strict=True))
            a, b = effects
            few = {name: _mask(rows, adata.n_obs) for name, rows in index.items()}
            both_ways = [(a, b), (b, a)]
            lessons = [learn_effect(adata, on, way, few, control, given, effect, strata) for given, effect in both_ways]
            found = measure(cells, lessons, control, both_ways, measured, n_resamples, generator, shown(progress_bar))
        features = departures(found, on.names, margin, fdr).loc[adata.var_names]
        carries = carries_over(found, both_ways, margin, fdr)
        verdict = _in_words(features, carries, margin, fdr)
        result = {"features": features, "carries_over": carries}
    logger.log(logging.WARNING if "not carry over" in verdict else logging.INFO, "%s", verdict)

    adata = adata.copy() if copy else adata
    adata.uns[key_added] = result | {
        "config": json.dumps(config, default=plain),
        "verdict": verdict,
        _slots.VERSION: version("neuronedit"),
    }
    return adata if copy else None


def _check(
    adata: AnnData,
    groupby: str,
    groups: Mapping[Any, np.ndarray],
    effects: Sequence[Any],
    measured: Any,
    score: Score | None,
    edit: Any,
    margin: float,
    fdr: float,
    n_resamples: int,
) -> None:
    """Refuse what cannot be asked together."""
    if (measured is None) == (score is None):
        raise ValueError(
            "give either measured, a value of obs for cells under both treatments, or score, to rank pairs by."
        )
    if measured is not None:
        if len(effects) != 2:
            raise ValueError(f"measured needs two effects; there are {len(effects)}: {list(effects)!r}.")
        if measured in groups:
            raise ValueError(f"measured={measured!r} is among control and effects, too.")
        if (n := int(select(adata, groupby, [measured], "measured").sum())) < 2:
            raise ValueError(f"{measured!r} has {n} cell; a mean and its error need at least 2.")
        if isinstance(edit, str) and edit in SHRINKING:
            raise ValueError(
                f"edit={edit!r} shrinks effects, which would look like departures; name one edit, 'percentile'."
            )
    if score is not None and not callable(score):
        check_features(adata, *([score] if isinstance(score, str) else score))
    if n_resamples < 2:
        raise ValueError(f"n_resamples must be at least 2; it is {n_resamples}.")
    if margin < 0 or not 0 < fdr < 1:
        raise ValueError(f"margin must be at least 0 and fdr between 0 and 1; they are {margin!r} and {fdr!r}.")


def _in_words(features: pd.DataFrame, carries: pd.DataFrame, margin: float, fdr: float) -> str:
    """Say whether the effects carry over, and which features depart from what they let expect."""
    sentences = []
    for name, row in carries.iterrows():
        effect, given = str(name).split(" on ", 1)
        share = f"{row['recurs']:.0%} of its effect recurs there (95 % interval {row['low']:.0%} to {row['high']:.0%})"
        said = {
            "does not carry over": f"{effect} does not carry over to cells of {given}: {share}.",
            "cannot be told": f"Whether {effect} carries over to cells of {given} cannot be told: {share}.",
            "no effect in the control": f"{effect} changes no feature of the control by more than {margin:g} sd.",
        }
        if row["says"] in said:
            sentences.append(said[row["says"]])
    unsure = (carries["says"] == "does not carry over").any()
    names = list(features.index[features["departs"]])
    if names:
        shown_names = ", ".join(map(str, names[:8])) + (", …" if len(names) > 8 else "")
        what = f"{len(names)} of {len(features)} features depart from the prediction"
        sentences.append(f"{what} by more than {margin:g} sd (FDR {fdr:.0%}): {shown_names}.")
    else:
        sentences.append(f"No feature departs from the prediction by more than {margin:g} sd (FDR {fdr:.0%}).")
    if unsure and names:
        sentences.append("As an effect as a whole does not carry over, these are no interactions of single features.")
    return " ".join(sentences)


def _mask(rows: np.ndarray, n: int) -> np.ndarray:
    mask = np.zeros(n, dtype=bool)
    mask[rows] = True
    return mask
