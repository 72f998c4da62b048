"""Where two treatments together do something else than the sum of what each of them does."""

import logging
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from anndata import AnnData

from .. import _slots
from .._check import NotNegative, Seed, TwoOrMore
from .._data.check import open_adata, select_cells
from .._data.design import MIN_CELLS, read_treatments
from .._data.record import Record, Tool, check_free
from .._data.space import TrainedSpace
from .._progress import is_shown, shows_progress, tell
from ..engine.fit import Edit
from ..engine.report import list_names
from ._combine import read_orders
from ._edit import EditName
from ._interaction import Generalization, estimate_means, find_departures, measure_generalization

logger = logging.getLogger(__name__)

MAX_CELLS_FOR_MEANS = 20_000  # of a population: of so many a mean is known to 0.7 % of a standard deviation
MAX_FEATURES_IN_VERDICT = 8
SHRINKING_EDITS = {"auto"}  # they go less far where they are less sure


@shows_progress
def synergy(
    adata: AnnData,
    groupby: str,
    *,
    control: Hashable,
    effects: Sequence[Hashable],
    measured: Hashable,
    edit: EditName | Callable[..., Any] = "percentile",
    strata: str | None = None,
    margin: NotNegative = 0.1,
    fdr: float = 0.05,
    n_bootstrap: TwoOrMore = 50,
    layer: str | None = None,
    key: str = _slots.MODEL,
    key_added: str = _slots.SYNERGY,
    accelerator: str = "auto",
    rng: Seed = 0,
    progress_bar: bool | None = None,
    copy: bool = False,
    **edit_params: Any,
) -> AnnData | None:
    r"""Find where a measured combination of two treatments departs from the predicted one.

    The mean of each feature under both treatments is compared with its prediction from each of them alone, the average over
    both orders of :func:`neuronedit.tl.combine`. First it is tested whether the effects generalize at all. If too
    little of one recurs in the cells of the other, a difference is no evidence for a single feature. Combinations that were
    not measured are ranked by :func:`neuronedit.tl.rank_combinations`.

    Examples
    --------
    >>> import neuronedit as ne
    >>> adata = ne.datasets.simulate_combination(n_cells=300, interaction=2.0)
    >>> ne.tl.train(adata, space="identity")
    >>> ne.tl.synergy(adata, "condition", control="basal", effects=["A", "B"], measured="A+B")
    >>> table = adata.uns["synergy"]["features"]
    >>> table.index[table["departs"]].tolist()
    ['p4EBP1', 'pERK']

    Parameters
    ----------
    %(treatments)s
    measured
        Its value for cells under both treatments.
    %(edit)s
        With strata standard errors are smaller. Not ``"auto"``: what it shrinks of an effect would look like a departure.
    margin
        A departure must be larger than this, in standard deviations of the feature in the measured combination. With 0 any
        inaccuracy becomes significant with enough cells.
    fdr
        Expected share of false ones among the features that are called departures (Benjamini-Hochberg).
    n_bootstrap
        Resamples of all populations, on which the effects are fitted again. With 50 the standard errors vary by 10 %.
    %(reading)s
    key_added
        Key of the result in ``uns``.
    %(computing)s
    %(copy)s

    Returns
    -------
    `None`, or the new AnnData with ``copy=True``. Written is ``uns["synergy"]``: what was done, ``verdict`` in words, and

    ``features``
        A DataFrame with a row for each feature. ``effect_a`` and ``effect_b`` are the effects of the treatments on its mean,
        against the control. ``predicted`` and ``measured`` are the means under both. Their ``difference`` (measured - predicted)
        has the standard error ``se`` and the 95 % interval ``low`` to ``high``. ``sd`` is the standard deviation that the margin
        refers to. ``p_value``, ``q_value``, and ``departs`` are the result of the test.
    ``generalizes``
        A DataFrame, one row for each effect on the cells of the other. ``recurs`` is the share of it that is found there, over
        the features that it changes in the control, with 95 % interval ``low`` to ``high``. ``gap_closed`` is the share of the
        energy distance from those cells to the measured ones that the edit closes. The ``verdict`` is "generalizes", "does not
        generalize", "undecided" or "no effect".

    Raises
    ------
    %(border_errors)s

    Notes
    -----
    The p-value is of :math:`|\delta| \le` margin. Its standard error has four parts: the prediction's, by bootstrap over
    cells of control and both treatments; the measured mean's; half of the difference between the two orders; and the
    difference between the prediction and the sum of the effects on the mean. The last two are what can be seen of the error
    of the prediction: a space that was trained too briefly loses power, but calls nothing a departure that is its own error.
    Means also change when a treatment kills one kind of cell: that is seen as a departure, too.
    A space that has seen the measured combination may predict a part of the departure. To be strict, train on all other
    cells and bring these in with :func:`neuronedit.tl.embed`.

    References
    ----------
    McCarthy & Smyth 2009, Testing significance relative to a fold-change threshold is a TREAT, doi:10.1093/bioinformatics/btp053;
    Benjamini & Hochberg 1995, doi:10.1111/j.2517-6161.1995.tb02031.x.
    """
    # read: whatever can be refused is refused here, and adata is still untouched
    adata = open_adata(adata, copy=copy)
    if isinstance(effects, str) or len(effects) != 2:
        raise ValueError(f"effects must be two values; they are {effects!r}.")
    if isinstance(edit, str) and edit in SHRINKING_EDITS:
        why = "shrinks effects, which would look like departures"
        raise ValueError(f"edit={edit!r} {why}; name one edit, such as 'percentile'.")
    if margin < 0 or not 0 < fdr < 1:
        raise ValueError(f"margin must be at least 0 and fdr between 0 and 1; they are {margin!r} and {fdr!r}.")
    if not isinstance(key, str):
        raise TypeError(f"key must name one trained space; it is {key!r}.")
    method = Edit.of(edit, rng=rng, **edit_params)
    space = TrainedSpace.read(adata, key, layer, accelerator)
    rows = read_treatments(adata, groupby, control, effects)
    if measured in rows:
        raise ValueError(f"measured={measured!r} is also the control or one of the effects.")
    rows[measured] = np.flatnonzero(select_cells(adata, groupby, [measured], "measured"))
    if len(rows[measured]) < MIN_CELLS:
        raise ValueError(f"{measured!r} has {len(rows[measured])} cell; a mean and its error need at least 2.")
    labels = {"strata": strata, "paired_by": method.paired_by}
    read_orders(adata, rows, control, effects, **labels)
    method.check(space)
    check_free(adata, key_added, Tool.SYNERGY, spaces=space.keys)
    space.check_cells()

    # compute
    generator = np.random.default_rng(rng)
    few = {name: np.sort(generator.permutation(of_name)[:MAX_CELLS_FOR_MEANS]) for name, of_name in rows.items()}
    with torch.no_grad():
        cells = dict(zip(few, space.read_cells(*few.values()), strict=True))
        designs = read_orders(adata, few, control, effects, **labels)
        fitted = {order: method.fit(space, design) for order, design in designs.items()}
        roles = {"control": control, "a": effects[0], "b": effects[1], "both": measured}
        means = estimate_means(cells, fitted, roles, n_bootstrap, generator, is_shown())
    features = find_departures(means, space.features, margin, fdr).loc[space.names]
    generalizes = measure_generalization(means, roles, margin, fdr)

    # write
    verdict = _summarize_departures(features, generalizes, margin, fdr)
    fails = (generalizes["verdict"] == Generalization.FAILS).any()
    tell(logger, verdict, is_alarm=fails)
    config = {"groupby": groupby, "control": control, "effects": list(effects), "measured": measured, "margin": margin}
    config |= {"fdr": fdr, "n_bootstrap": n_bootstrap, "rng": rng, "edit": method.name, "strata": strata}
    config |= {"edit_params": method.params, "layer": space.layer, "key": space.keys}
    adata = adata.copy() if copy else adata
    content = {"features": features, "generalizes": generalizes, "verdict": verdict}
    Record(key_added, Tool.SYNERGY, config, content).write(adata)
    return adata if copy else None


def _summarize_departures(features: pd.DataFrame, generalizes: pd.DataFrame, margin: float, fdr: float) -> str:
    """Say whether the effects generalize, and which features depart from the prediction."""
    sentences = []
    for _, row in generalizes.iterrows():
        share = f"{row['recurs']:.0%} of its effect recurs there (95 % interval {row['low']:.0%} to {row['high']:.0%})"
        texts = {
            Generalization.FAILS: f"{row['effect']} does not generalize to cells of {row['given']}: {share}.",
            Generalization.UNDECIDED: f"Whether {row['effect']} generalizes to cells of {row['given']} is undecided: {share}.",
            Generalization.NO_EFFECT: f"{row['effect']} changes no feature of the control by more than {margin:g} sd.",
        }
        if row["verdict"] in texts:
            sentences.append(texts[row["verdict"]])
    names, limit = list(features.index[features["departs"]]), f"by more than {margin:g} sd (FDR {fdr:.0%})"
    if names:
        what = f"{len(names)} of {len(features)} features depart from the prediction {limit}"
        sentences.append(f"{what}: {list_names(names, MAX_FEATURES_IN_VERDICT)}.")
    else:
        sentences.append(f"No feature departs from the prediction {limit}.")
    if names and (generalizes["verdict"] == Generalization.FAILS).any():
        sentences.append(
            "One effect as a whole does not generalize, so these are no evidence for interactions of single features."
        )
    return " ".join(sentences)
