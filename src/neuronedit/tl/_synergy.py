"""Where two treatments together do something else than each of them alone would let expect."""

import itertools
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd
import torch
from anndata import AnnData
from scipy.stats import false_discovery_control, norm
from torch import Tensor
from tqdm.auto import tqdm

from .. import _slots
from .._adata import check_finite, check_free, modality
from .._check import check_features, name_of_choice, plain, select
from .._nets import fast_matmul, find_device
from ..metrics import energy_distance, gap_closed
from ._carry import Lesson, Trained, trained
from ._combine import MOST, combine, label_of, learn_effect, treatments
from ._edit import labels_in
from ._learn import Options, way_of
from ._progress import shown

logger = logging.getLogger(__name__)

MOST_COUNTED = 20_000
"""Cells of a population that are looked at."""

RECURS = 0.5
"""Share of an effect that must recur: below it, means are predicted better by leaving the effect out."""

Score = str | Mapping[str, tuple[float | None, float | None]] | Callable[[AnnData], float]
"""A marker (its mean), a gate (the share of cells in it), or a function of cells."""


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
    The p-value is of :math:`|\delta| \le` margin. Its standard error has three parts: the prediction's, by bootstrap over
    cells of control and both treatments; the measured mean's; and half of the difference between the two orders, which is
    what the prediction is known to be wrong by. Means also change when a treatment kills one kind of cell: that is seen as a
    departure, too.

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
    adata = modality(adata, mod)
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
    if measured is None:
        how: dict[str, Any] = {
            "edit": edit,
            "strata": strata,
            "axes": axes,
            "residual": residual,
            "layer": layer,
            "key": key,
        }
        how |= {"accelerator": accelerator, "progress_bar": progress_bar} | edit_params
        both = combine(adata, groupby, control=control, effects=effects, **how)
        pairs = _ranked(adata, on, both, groups, control, effects, score, n_resamples, rng)
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
            cells = {name: on.read(rows) for name, rows in index.items()}
            a, b = effects
            few = {name: _mask(rows, adata.n_obs) for name, rows in index.items()}
            both_ways = [(a, b), (b, a)]
            lessons = [learn_effect(adata, on, way, few, control, given, effect, strata) for given, effect in both_ways]
            found = _measure(cells, lessons, control, both_ways, measured, n_resamples, generator, shown(progress_bar))
        features = _tested(found, on.names, margin, fdr).loc[adata.var_names]
        carries = _carried(found, both_ways, margin)
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


SHRINKING = {"auto"}
"""Edits that go less far where they are less sure."""


@dataclass(frozen=True)
class Found:
    """Means of all populations (``(n_features,)`` each) and over resamples (``(n_resamples, n_features)``), predicted ones too."""

    mean: Mapping[str, np.ndarray]
    drawn: Mapping[str, np.ndarray]
    sd: Mapping[str, np.ndarray]
    n: Mapping[str, int]
    closed: Sequence[float]


def _mask(rows: np.ndarray, n: int) -> np.ndarray:
    mask = np.zeros(n, dtype=bool)
    mask[rows] = True
    return mask


def _measure(
    cells: Mapping[Any, Tensor],
    lessons: Sequence[Lesson],
    control: Any,
    both_ways: Sequence[tuple[Any, Any]],
    measured: Any,
    n_resamples: int,
    generator: np.random.Generator,
    progress_bar: bool,
) -> Found:
    """Predict both orders, and again on resamples of every population."""
    (a, b), _ = both_ways
    roles = {"control": control, "a": a, "b": b, "both": measured}
    of = {name: role for role, name in roles.items()}
    numpy = {role: cells[name].cpu().double().numpy() for role, name in roles.items()}
    mean = {role: x.mean(0) for role, x in numpy.items()}
    closed = []
    for lesson, (given, effect) in zip(lessons, both_ways, strict=True):
        predicted = lesson.carriers[0](cells[given]).cpu().double().numpy()
        mean[f"{of[effect]} on {of[given]}"] = predicted.mean(0)
        few = (x[_drawn(len(x))] for x in (numpy[of[given]], numpy["both"], predicted))
        closed.append(gap_closed(energy_distance, *few))
    drawn: dict[str, list[np.ndarray]] = {name: [] for name in mean}
    for _ in tqdm(range(n_resamples), unit="resample", disable=not progress_bar):
        rows = {role: generator.integers(len(x), size=len(x)) for role, x in numpy.items()}
        for role, x in numpy.items():
            drawn[role].append(x[rows[role]].mean(0))
        for lesson, (given, effect) in zip(lessons, both_ways, strict=True):
            one = lesson.learnt[0]
            carrier = one.again(one.pair.only(rows["control"], rows[of[effect]]))
            moved = carrier(cells[given][torch.from_numpy(rows[of[given]])])
            drawn[f"{of[effect]} on {of[given]}"].append(moved.cpu().double().numpy().mean(0))
    sd = {role: x.std(0, ddof=1) for role, x in numpy.items()}
    return Found(mean, {k: np.array(v) for k, v in drawn.items()}, sd, {k: len(x) for k, x in numpy.items()}, closed)


def _tested(found: Found, names: Sequence[str], margin: float, fdr: float) -> pd.DataFrame:
    """Hold the measured mean of each feature against the predicted one."""
    mean, orders = found.mean, ("b on a", "a on b")
    predicted = (mean[orders[0]] + mean[orders[1]]) / 2
    noise = (found.drawn[orders[0]] + found.drawn[orders[1]]).std(0, ddof=1) / 2
    apart = (mean[orders[0]] - mean[orders[1]]) / 2
    difference = mean["both"] - predicted
    se = np.sqrt(noise**2 + found.sd["both"] ** 2 / found.n["both"] + apart**2)
    sd = np.maximum(found.sd["both"], np.mean(list(found.sd.values()), axis=0) / 2)
    p_value = beyond(difference, se, margin * sd)
    q_value = false_discovery_control(p_value)
    columns = {"effect_a": mean["a"] - mean["control"], "effect_b": mean["b"] - mean["control"]}
    columns |= {"predicted": predicted, "measured": mean["both"], "difference": difference, "se": se}
    columns |= {"low": difference - 1.96 * se, "high": difference + 1.96 * se, "sd": sd}
    return pd.DataFrame(
        columns | {"p_value": p_value, "q_value": q_value, "departs": q_value <= fdr}, index=list(names)
    )


def beyond(difference: np.ndarray, se: np.ndarray, margin: np.ndarray) -> np.ndarray:
    """Return the p-value that a difference is at most ``margin`` in size, either way; 1 where nothing varies."""
    safe = np.where(se > 0, se, 1.0)
    p_value = norm.sf((np.abs(difference) - margin) / safe) + norm.sf((np.abs(difference) + margin) / safe)
    return np.where(se > 0, np.minimum(p_value, 1.0), np.where(np.abs(difference) > margin, 0.0, 1.0))


def _carried(found: Found, both_ways: Sequence[tuple[Any, Any]], margin: float, fdr: float = 0.05) -> pd.DataFrame:
    """Say how much of each effect recurs in the cells of the other treatment, over the features that it changes."""
    rows = {}
    names = {"a": both_ways[0][0], "b": both_ways[0][1]}
    sd = np.maximum(found.sd["both"], np.mean(list(found.sd.values()), axis=0) / 2)
    for (effect, given), closed in zip((("b", "a"), ("a", "b")), found.closed, strict=True):
        change = found.mean[effect] - found.mean["control"]
        se = np.sqrt(sum(found.sd[role] ** 2 / found.n[role] for role in (effect, "control")))
        changed = false_discovery_control(beyond(change, se, margin * sd)) <= fdr

        def share(
            means: Mapping[str, np.ndarray], effect: str = effect, given: str = given, on: np.ndarray = changed
        ) -> Any:
            alone = ((means[effect] - means["control"]) / sd)[..., on]
            again = ((means["both"] - means[given]) / sd)[..., on]
            return (alone * again).sum(-1) / (alone**2).sum(-1)

        recurs = low = high = np.nan
        if changed.any():
            recurs, (low, high) = float(share(found.mean)), np.quantile(share(found.drawn), [0.025, 0.975])
        says = "no effect in the control"
        if changed.any():
            says = "carries over" if recurs >= RECURS else "does not carry over" if high < 1 else "cannot be told"
        row = {"recurs": recurs, "low": low, "high": high, "gap_closed": closed, "n_features": int(changed.sum())}
        rows[f"{names[effect]} on {names[given]}"] = row | {"says": says}
    return pd.DataFrame(rows).T.astype(
        {"recurs": float, "low": float, "high": float, "gap_closed": float, "n_features": int, "says": str}
    )


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


def _drawn(n: int) -> np.ndarray:
    """Return at most so many rows as distances are measured between."""
    return np.sort(np.random.default_rng(0).permutation(n)[:MOST])


def _ranked(
    adata: AnnData,
    on: Trained,
    both: AnnData | None,
    groups: Mapping[Any, np.ndarray],
    control: Any,
    effects: Sequence[Any],
    score: Score | None,
    n_resamples: int,
    rng: int,
) -> pd.DataFrame:
    """Score every predicted pair, and what it is made of."""
    assert both is not None and score is not None
    of, generator = _score_of(score), np.random.default_rng(rng)
    alone = {
        name: of(AnnData(on.rows.in_place(on.rows[np.flatnonzero(mask)].numpy()), obs=adata.obs[mask], var=adata.var))
        for name, mask in groups.items()
    }
    config_column = f"{_slots.COMBINED}_from"
    table = {}
    for a, b in itertools.combinations(effects, 2):
        pair = both[
            both.obs.iloc[:, both.obs.columns.get_loc(json.loads(both.uns[_slots.COMBINED]["config"])["groupby"])]
            == label_of(a, b)
        ]
        orders = [pair[pair.obs[config_column] == str(given)] for given in (a, b)]
        drawn = []
        for _ in range(n_resamples):
            drawn.append(np.mean([of(cells[generator.integers(cells.n_obs, size=cells.n_obs)]) for cells in orders]))
        low, high = np.quantile(drawn, [0.025, 0.975])
        row = {"predicted": np.mean([of(cells) for cells in orders]), "low": low, "high": high}
        row |= {"score_a": alone[a], "score_b": alone[b], "control": alone[control]}
        table[label_of(a, b)] = row | {"agreement": both.uns[_slots.COMBINED]["pairs"]["agreement"][label_of(a, b)]}
    return pd.DataFrame(table).T.sort_values("predicted", ascending=False, kind="stable")


def _score_of(score: Score) -> Callable[[AnnData], float]:
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
