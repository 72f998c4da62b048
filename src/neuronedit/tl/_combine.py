"""Predict cells under two treatments from cells under one."""

import itertools
import json
import logging
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd
import torch
from anndata import AnnData
from tqdm.auto import tqdm

from .. import _slots
from .._adata import check_finite, check_free, copied, modality
from .._check import labels_of, name_of_choice, plain, select
from .._device import fast_matmul, find_device
from ..metrics import energy_distance
from ._carry import Lesson, Outputs, Trained, carry_over, learn, trained
from ._edit import labels_in, limits_of
from ._learn import Options, Way, way_of
from ._progress import shown
from ._verdict import in_words, per_feature

logger = logging.getLogger(__name__)

AGREEING = 0.5
"""Agreement of the two orders below which it is a warning."""

MOST = 2_000
"""Cells between which distances are measured."""


def combine(
    adata: AnnData,
    groupby: str,
    *,
    control: Any,
    effects: Sequence[Any],
    as_layers: bool = False,
    edit: Any = "auto",
    strata: str | None = None,
    axes: Any = "neurons",
    residual: bool = True,
    strength: float = 1.0,
    bounds: tuple[float | None, float | None] | None = None,
    layer: str | None = None,
    key: str = _slots.MODEL,
    key_added: str = _slots.COMBINED,
    accelerator: str = "auto",
    progress_bar: bool | None = None,
    mod: str | None = None,
    **edit_params: Any,
) -> AnnData | None:
    """Predict cells under every pair of treatments from cells under one of them.

    Each pair is predicted twice: what A does to the control is done to the cells that took B, and what B does to those that
    took A. If effects add up, the two agree; where they do not, neither is to be trusted.

    Parameters
    ----------
    adata
        Cells by features, with a trained space.
    groupby
        Column of ``obs`` with the treatments.
    control
        Its value for untreated cells.
    effects
        Its values for cells under one treatment each, at least two. All pairs of them are predicted.
    as_layers
        Write into ``adata`` instead: for each effect a layer, ``"combined_das"``, in which the cells of all other effects have
        received this one.
    edit, strata, axes, residual, **edit_params
        How each effect is learnt, as in :func:`neuronedit.tl.edit`. By default it is chosen for each pair in each order, which
        takes some seconds each.
    strength
        Share of the second effect: a dose.
    bounds
        Lowest and highest value that a predicted cell may take.
    layer
        Read this layer. `None`: the one that the space was trained on.
    key
        Where :func:`neuronedit.tl.train` kept the model.
    key_added
        Key of the record in ``uns``, and start of the names of layers and of columns in ``obs``.
    accelerator
        ``"auto"``, ``"cpu"``, ``"cuda"``, ``"mps"``.
    progress_bar
        `None`: in terminals and notebooks.
    mod
        The modality, if ``adata`` is a MuData.

    Returns
    -------
    A new AnnData of predicted cells, each cell of each effect once for each other effect; or `None` with ``as_layers=True``.

    ``X``
        The predicted cells, in the units of the layer that was read.
    ``obs``
        As of the cell that was carried, but ``obs[groupby]`` is the pair, ``"bez+das"``, in the order of ``effects``. What is
        predicted from what: ``combined_from`` ("bez", which the cell took), ``combined_effect`` ("das", which it received),
        ``combined_cell`` (its name in ``adata``), and ``combined_support`` and ``combined_distance`` as of
        :func:`neuronedit.tl.edit`.
    ``obsm["X_neurons_combined"]``, ``uns["neuronedit"]``
        Their neurons, and the model.
    ``uns["combined"]`` (with ``as_layers`` in ``adata``)
        What was done, and

        ``pairs``
            A DataFrame: for each pair the ``agreement`` of the two orders, 1 less the energy distance between them as a share of
            that from the control to both: 1 is perfect, 0 as far from each other as from the control.
        ``orders``
            A DataFrame: for each pair in each order the number of cells, the share of them ``outside`` the control, the
            ``expected`` share of the gap closed, and the ``verdict``.

    Raises
    ------
    ValueError, TypeError, KeyError
        Before any work, and with ``adata`` unchanged.

    References
    ----------
    Amodio et al. 2018, Out-of-sample extrapolation with neuron editing, arXiv:1805.12198, section 4.3 and Figure 4c-d.

    Examples
    --------
    >>> import neuronedit as ne
    >>> adata = ne.datasets.simulate_combination(n_cells=200)
    >>> ne.tl.train(adata, widths=(32, 8), max_epochs=2)
    >>> both = ne.tl.combine(adata, "condition", control="basal", effects=["A", "B"], edit="percentile")
    >>> both.shape, both.obs["condition"].unique().tolist()
    ((400, 35), ['A+B'])
    """
    adata = modality(adata, mod)
    limits, device = limits_of(bounds), find_device(accelerator)
    on = trained(adata, key, layer, device)
    groups = treatments(adata, groupby, control, effects)
    way = way_of(edit, Options(axes, None, residual, strata=strata is not None), edit_params)
    for effect in effects:
        labels_in(adata, strata, {"source": groups[control], "target": groups[effect]}, "strata")
    if not np.isfinite(strength):
        raise ValueError(f"strength must be a finite number; it is {strength!r}.")
    layers = {effect: f"{key_added}_{effect}" for effect in effects}
    check_free(adata, key_added, model=key, layers=list(layers.values()) if as_layers else [])
    check_finite(adata, on.rows, on.layer)

    index = {name: np.flatnonzero(mask) for name, mask in groups.items()}
    n_neurons = on.n_neurons
    blocks, rows = {}, []
    orders = list(itertools.permutations(effects, 2))
    for given, effect in tqdm(orders, unit="pair", disable=not shown(progress_bar)):
        with fast_matmul(), torch.no_grad():
            lesson = learn_effect(adata, on, way, groups, control, given, effect, strata)
            block = Outputs.of([np.empty((len(index[given]), adata.n_vars), dtype=on.rows.dtype)], n_neurons)
            carried = carry_over(
                lesson,
                on.rows,
                index[given],
                block,
                device,
                strengths=[strength],
                limits=limits,
                place=np.arange(len(index[given])),
            )
        features = per_feature(pd.Index(on.names), lesson.control_change, carried, lesson.missed, lesson.wrong)
        row = {"from": str(given), "effect": str(effect), "n_cells": carried.n_cells, "outside": carried.outside}
        row["expected"] = np.nan if lesson.selected is None else lesson.selected.expected
        rows.append(row | {"verdict": in_words(lesson.said, features, carried)})
        blocks[given, effect] = block
    untreated = on.rows.in_place(on.rows[index[control][some_of(len(index[control]))]].numpy())
    pairs = {label_of(*pair): _agreement(blocks, *pair, untreated) for pair in itertools.combinations(effects, 2)}
    for name, agreement in pairs.items():
        low = agreement < AGREEING
        logger.log(
            logging.WARNING if low else logging.INFO,
            "%s: the two orders agree to %.2f%s.",
            name,
            agreement,
            "; the effects do not add up, and neither order is to be trusted" if low else "",
        )

    config = {"groupby": groupby, "control": control, "effects": list(effects), "edit": name_of_choice(edit)}
    config |= {"strata": strata, "axes": name_of_choice(axes), "residual": residual, "strength": strength}
    config |= {"bounds": bounds, "layer": on.layer, "key": on.keys, "edit_params": edit_params}
    record = {
        "config": json.dumps(config, default=plain),
        "pairs": pd.DataFrame({"agreement": pairs}),
        "orders": pd.DataFrame(rows, index=[f"{row['effect']} on {row['from']}" for row in rows]),
        "layers": np.array(list(layers.values()) if as_layers else [], dtype=str),
        _slots.VERSION: version("neuronedit"),
    }
    if not as_layers:
        return _predicted(adata, on, groupby, orders, index, blocks, record, key_added)
    for effect, name in layers.items():
        adata.layers[name] = on.rows.dense_copy()
        for given in effects:
            if given != effect:
                adata.layers[name][index[given]] = blocks[given, effect].edited[0]
        if _slots.cofactor(on.layer) in adata.var:
            adata.var[_slots.cofactor(name)] = adata.var[_slots.cofactor(on.layer)]
    adata.uns[key_added] = record
    return None


def treatments(adata: AnnData, groupby: str, control: Any, effects: Sequence[Any]) -> dict[Any, np.ndarray]:
    """Return the masks of the control and of each effect, once they make sense together."""
    labels_of(adata, groupby)
    if isinstance(effects, str) or len(effects) < 2:
        raise ValueError(f"effects must be two or more values of obs[{groupby!r}]; they are {effects!r}.")
    names = [control, *effects]
    if twice := [name for i, name in enumerate(names) if name in names[:i]]:
        raise ValueError(f"{twice[0]!r} is named twice among control and effects.")
    groups = {
        name: select(adata, groupby, [name], what)
        for name, what in zip(names, ["control", *["effects"] * len(effects)], strict=True)
    }
    for name, mask in groups.items():
        if (n := int(mask.sum())) < 2:
            raise ValueError(
                f"{name!r} has {n} cell; percentiles need at least 2 cells, and are noise below about 100."
            )
        if n < 100:
            logger.warning("%r has only %d cells: its percentiles are mostly noise; edit='shift' needs fewer.", name, n)
    return groups


def learn_effect(
    adata: AnnData,
    on: Trained,
    way: Way,
    groups: Mapping[Any, np.ndarray],
    control: Any,
    given: Any,
    effect: Any,
    strata: str | None,
) -> Lesson:
    """Learn what an effect does to the control, for cells that took another one."""
    roles = {"source": groups[control], "target": groups[effect], "query": groups[given]}
    labels = labels_in(adata, strata, roles, "strata")
    return learn(
        on, way, {role: np.flatnonzero(mask) for role, mask in roles.items()}, strata=labels, strata_name=strata
    )


def label_of(a: Any, b: Any) -> str:
    """Name a pair of effects."""
    return f"{a}+{b}"


def some_of(n: int) -> np.ndarray:
    """Return at most so many row numbers as distances are measured between."""
    return np.sort(np.random.default_rng(0).permutation(n)[:MOST])


def _agreement(blocks: Mapping[Any, Outputs], a: Any, b: Any, control: np.ndarray) -> float:
    """Return how close the two orders of a pair are to each other, 1 at best, beside how far they are from the control."""
    one, other = (blocks[order].edited[0] for order in ((a, b), (b, a)))
    one, other = (cells[some_of(len(cells))] for cells in (one, other))
    away = energy_distance(control, np.concatenate([one, other]))
    return float(1 - energy_distance(one, other) / max(away, 1e-12))


def _predicted(
    adata: AnnData,
    on: Trained,
    groupby: str,
    orders: Sequence[tuple[Any, Any]],
    index: Mapping[Any, np.ndarray],
    blocks: Mapping[Any, Outputs],
    record: dict[str, Any],
    key_added: str,
) -> AnnData:
    """Put the predicted cells of all pairs in all orders into one AnnData, with what they were predicted from."""
    names, frames = list(index), []
    for given, effect in orders:
        obs = adata.obs.iloc[index[given]].copy()
        obs[f"{key_added}_from"], obs[f"{key_added}_effect"] = str(given), str(effect)
        obs[f"{key_added}_cell"] = obs.index.astype(str)
        obs[groupby] = label_of(*sorted((given, effect), key=names.index))
        obs.index = obs.index.astype(str) + f"+{effect}"
        block = blocks[given, effect]
        obs[_slots.support(key_added)], obs[_slots.distance(key_added)] = block.support, block.distance
        frames.append(obs)
    predicted = AnnData(
        np.concatenate([blocks[order].edited[0] for order in orders]), obs=pd.concat(frames), var=adata.var.copy()
    )
    for column in (groupby, f"{key_added}_from", f"{key_added}_effect"):
        values = predicted.obs[column].astype(str)
        predicted.obs[column] = pd.Categorical(values, categories=values.unique())
    neurons = [z for order in orders if (z := blocks[order].neurons) is not None]
    if len(neurons) == len(orders):  # else they are too many for memory
        predicted.obsm[_slots.neurons_edited(key_added)] = np.concatenate(neurons)
    predicted.uns = {name: copied(adata.uns[name]) for name in on.keys} | {key_added: record}
    if _slots.cofactor(on.layer) in adata.var:
        predicted.var[_slots.cofactor(None)] = adata.var[_slots.cofactor(on.layer)]
    return predicted
