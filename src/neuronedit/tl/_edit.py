"""Carry the change from source to target over to the query."""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from anndata import AnnData

from .. import _slots
from .._adata import check_adata, check_finite, check_free, groups_of, modality
from .._check import Selection, name_of_choice, plain, select, some
from .._device import fast_matmul, find_device
from ._carry import Labels, Lesson, Outputs, Trained, carry_over, encode_others, learn, resampled, trained
from ._later import lesson_of, model_of, record_of
from ._learn import Options, way_of
from ._store import Store, opened
from ._verdict import in_words, per_feature

logger = logging.getLogger(__name__)

FAR = 0.2
"""Share of query cells outside the source above which the verdict is a warning."""


def edit(
    adata: AnnData,
    groupby: str | None = None,
    *,
    source: Selection | None = None,
    target: Selection | None = None,
    query: Selection | None = None,
    model: AnnData | str | PathLike[str] | None = None,
    edit: Any = "auto",
    strata: str | None = None,
    pairs: str | None = None,
    axes: Any = "neurons",
    neurons: Sequence[int] | None = None,
    residual: bool = True,
    strength: float | Sequence[float] = 1.0,
    inverse: bool = False,
    bounds: tuple[float | None, float | None] | None = None,
    n_resamples: int = 0,
    rng: int = 0,
    layer: str | None = None,
    key: str | Sequence[str] = _slots.MODEL,
    key_added: str = _slots.EDITED,
    write_to: str | PathLike[str] | None = None,
    accelerator: str = "auto",
    mod: str | None = None,
    copy: bool = False,
    **edit_params: Any,
) -> AnnData | None:
    """Learn what changes from source to target and change the query cells the same way.

    By default parts of the pair are held out in turn, and of many edits those are combined that predict them best; where
    none does, the cells are left alone. The change is always ``target - source``. X is never touched.

    Parameters
    ----------
    adata
        Cells by features, with a space that :func:`neuronedit.tl.train` has trained on the same features.
    groupby
        Column of ``obs``.
    source, target
        The pair in which the change was observed (of more than 200,000 cells on either side so many are drawn, with which every
        percentile's rank is known to 0.003): a value or list of values of ``groupby``, or a dict of obs column ->
        value or values, all of which must hold (``{"batch": "A", "individual": "control"}``).
    query
        The cells to carry the change over to, given in the same way. `None`: every cell outside the target; with ``model``,
        every cell.
    model
        An edit that was learnt before, on other cells: the AnnData that holds it, or a file of
        :func:`neuronedit.io.save_model`. It is applied as it is, so source, target and all that says how to learn cannot be
        given. Features are matched by name.
    edit
        ``"auto"``: choose from ``ne.ensemble.CANDIDATES`` by what each predicts for held-out parts of the pair.
        ``"paper"``: the published method to the letter, the percentile edit and the decoded cell.
        Or one edit of neurons: ``"percentile"``, each neuron moves as its percentiles did; ``"shift"``, every cell moves
        by the difference of the means; ``"affine"``, each neuron takes the target's mean and spread; ``"gaussian_ot"``,
        the linear map that carries means and covariances; ``"local"``, every cell moves as the source cells nearest to
        it; ``"transport"``, as these are paired with target cells by optimal transport; or a function
        ``(source, target) -> map`` on neurons.
    strata
        Column of ``obs`` that divides source and target into parts between which the change may differ: donors, cell
        types, replicates, patients. ``"auto"`` holds them out in turn, so take what sets the query apart from the source:
        cell types for a new cell type, donors for a new donor. Any other edit is learnt in each stratum, and a cell moves
        as the source cells nearest to it do in theirs; small strata are drawn to the edit of all cells. `None`: ``"auto"``
        derives parts (clusters on the features that change least, and samples of different composition), other edits are
        learnt on all cells alike.
    pairs
        Column of ``obs`` whose values were each seen before and after the change: donors, say. The edit is learnt in each, so
        that differences between donors are not taken for a change, and the edits are averaged, those of donors most who
        resemble the query (inverse energy distance). Not for ``"auto"``, which takes donors as ``strata``.
    axes
        ``"neurons"``: as published; ``"principal"``: along the principal axes of the neurons of source and target. Not for
        ``"auto"``, which tries both.
    neurons
        Edit only these neurons, columns of ``obsm["X_neurons"]``; :func:`neuronedit.tl.rank_neurons` says what each does.
        `None`: all. Not for ``"auto"``.
    residual
        Add the change that the edit makes to the decoded cell to the cell itself, so that what the space cannot
        reproduce of it is kept. `False`: the decoded cell. Not for ``"auto"``.
    strength
        Share of the edit: 0 leaves the cells alone, 1 is the whole edit, 2 goes twice as far, -1 the other way.
        ``"auto"`` takes this share of what it chose. Several, such as ``[0.25, 0.5, 1]``, are a path: the last one is written
        as ever, the others into layers ``"edited_0.25"`` and ``"edited_0.5"``.
    inverse
        Take the change back: learn it from target to source, and apply it to a query that is like the target.
    bounds
        Lowest and highest value that an edited cell may take: ``(0, None)`` where values below 0 make no sense. What lies
        beyond is set to the bound, and counted in ``uns["edited"]["n_clipped"]``. `None`: no bounds.
    n_resamples
        Bootstrap resamples of the pair on which the edit is learnt again, for ``layers["edited_sd"]``; 0 leaves it out,
        20 take 20 times as long as the edit itself, without what was spent to choose it.
    rng
        Seed of the resamples.
    layer
        Edit this layer, and learn from it, instead of the one that the space was trained on: ``"edited"`` puts a second edit
        on top of a first. ``uns["edited"]["order"]`` lists the edits that made a layer.
    key
        Where :func:`neuronedit.tl.train` kept the model; or several, trained with other seeds (``rng=1, key_added="other"``).
        Edits in all of them are averaged, and their spread is in ``layers["edited_sd"]``; neurons and the record are the
        first one's.
    key_added
        Name of the layer, and of the record in ``uns``.
    write_to
        Write into a new zarr store at this path, 32,768 cells at a time, and leave ``adata`` as it is: for cells that are not in
        memory, or too many for a second layer. The store is an AnnData (without X) that :func:`anndata.read_zarr` reads. If it
        is interrupted, the same call goes on where it stopped; rows that were not written yet are NaN.
    accelerator
        ``"auto"``, ``"cpu"``, ``"cuda"``, ``"mps"``.
    mod
        The modality to edit, if ``adata`` is a MuData.
    copy
        Return a new AnnData and leave this one as it is.
    **edit_params
        ``n_bins=100`` (percentile, local): intervals between percentiles; more follow the pair more closely and carry
        more of its noise. ``n_neighbors=30`` (local, transport): more is smoother. ``seed=0`` (auto, transport): of what is
        drawn at random.

    Returns
    -------
    `None`, or the new AnnData with ``copy=True``. Written are

    ``layers["edited"]``
        The query cells after the edit, in the units of the layer the space was trained on; all other cells unchanged.
        Dense, ``(n_obs, n_vars)``, in the floating type of that layer (float32 for small integers).
    ``layers["edited_sd"]``
        With ``n_resamples``, the standard deviation of each edited value over them; 0 for all other cells. The models of
        ``key`` take turns, so with several it knows of their differences, too. It knows of the noise of the pair, not of how well its change carries over: that is in ``features["mean_error"]``, below.
    ``obsm["X_neurons_edited"]``
        Their neurons after the edit, ``(n_obs, n_neurons)`` float32; for all other cells their neurons. Left out where they
        would take more than 1 GiB.
    ``obs["edited_support"]``
        For query cells the share of their neurons, before the edit, that lie within the range of the source's: where it
        is low the edit extrapolates. NaN for all other cells.
    ``obs["edited_distance"]``
        For query cells how far they lie from the source cells most like them: above 1, farther than 99 % of the source's
        own cells do. NaN for all other cells.
    ``uns["edited"]``
        What was done: the pair, the query, the edit and its parameters, numbers of cells and of clipped values, and

        ``verdict``
            In words, also logged: what to expect of the edit, and what to look at.
        ``features``
            A DataFrame: for each feature the change of the mean in the controls (``control_change``) and in the query
            (``change``); whether the edit moved it beyond, or against, what the controls show (``beyond_controls``, by more
            than a tenth of the query's standard deviation); the edited ``mean`` and its standard error ``mean_error``, from
            what was missed in held-out parts and from the resamples; whether it moved the wrong way in most of what was
            held out (``wrong_on_held_out``).
        ``order``
            The edits that made this layer, the first one first.
        ``learnt``
            The edit itself, as arrays and JSON: what ``model=`` and :func:`neuronedit.io.save_model` take. It is missing where
            the edit is a function of the caller's own that returns no row of ``ne.edits.MAPS``.
        ``selection``
            For ``"auto"``, what :class:`neuronedit.ensemble.Selected` describes: candidates, held-out parts, scores, weights,
            strength and the expected share of the gap. :func:`neuronedit.pl.cross_validation` draws it.

    Raises
    ------
    ValueError, TypeError, KeyError
        Before any work, and with ``adata`` unchanged, when it cannot be done: no trained space, other features than it
        was trained on, an unknown column, value, edit or parameter, an empty group, fewer than two source or target
        cells, cells in both source and target or in both query and target, NaN.

    References
    ----------
    Amodio et al. 2018, Out-of-sample extrapolation with neuron editing, arXiv:1805.12198; Caruana et al. 2004, Ensemble
    selection from libraries of models, doi:10.1145/1015330.1015432.

    Examples
    --------
    >>> import neuronedit as ne
    >>> adata = ne.datasets.simulate_batches(n_cells=200)
    >>> ne.tl.train(adata, widths=(32, 8), max_epochs=2)
    >>> ne.tl.edit(adata, "group", source="control_1", target="control_2", query="sample_1", strata="cell_type")
    >>> adata.layers["edited"].shape
    (800, 35)
    """
    adata = modality(adata, mod, copy=copy)
    strengths, limits = _strengths(strength), limits_of(bounds)
    if n_resamples < 0:
        raise ValueError(f"n_resamples must be at least 0; it is {n_resamples}.")
    if write_to is not None and (n_resamples or copy):
        raise ValueError("with write_to= the edited cells go into a new store: n_resamples and copy cannot be given.")
    if write_to is not None and Path(write_to).exists():
        opened(write_to)
    device = find_device(accelerator)
    if model is None:
        options = Options(axes, neurons, residual, strata=strata is not None, pairs=pairs is not None)
        plan = _here(
            adata,
            groupby,
            (source, target, query),
            inverse,
            (strata, pairs),
            layer,
            key,
            device,
            options,
            edit,
            edit_params,
        )
    else:
        learning = {"source": source, "target": target, "edit": edit, "strata": strata, "pairs": pairs, "axes": axes}
        learning |= {"neurons": neurons, "residual": residual, "inverse": inverse, "n_resamples": n_resamples}
        usual = {"edit": "auto", "axes": "neurons", "residual": True, "inverse": False, "n_resamples": 0}
        given = [
            name
            for name, value in (learning | edit_params).items()
            if (value is not None if name not in usual else value != usual[name])
        ]
        plan = _later(adata, groupby, query, layer, model, key_added, given, device)
    if plan.on.layer == key_added:
        raise ValueError(f"key_added={key_added!r} is the layer that is edited; choose another.")
    layers = [*(f"{key_added}_{value:g}" for value in strengths[:-1]), key_added]
    sd_layer = _slots.sd(key_added)
    for name in plan.on.keys:
        check_free(adata, key_added, model=name, layers=layers + [sd_layer] * (n_resamples > 0))
    check_finite(adata, plan.on.rows, plan.on.layer)

    config: dict[str, Any] = {
        "groupby": groupby,
        "query": query,
        "layer": plan.on.layer,
        "strength": strength,
        "inverse": inverse,
    }
    config |= {"bounds": bounds, "n_resamples": n_resamples, "rng": rng, "key": plan.on.keys, "strata": strata}
    config |= {"edit": name_of_choice(edit), "pairs": pairs, "axes": name_of_choice(axes), "neurons": neurons}
    config |= {"residual": residual, "edit_params": edit_params} | plan.config
    record: dict[str, Any] = {
        "config": json.dumps(config, default=plain),
        "n_cells": plan.n_cells,
        "layers": np.array(layers + [sd_layer] * (n_resamples > 0), dtype=str),
        "order": np.array([*order_of(adata, plan.on.layer), key_added], dtype=str),
        _slots.VERSION: version("neuronedit"),
    }

    index, on = plan.query.nonzero()[0], plan.on
    with fast_matmul(), torch.no_grad():
        lesson = plan.learn()
        record |= record_of(lesson, strengths[-1], dict(zip(on.keys, on.spaces, strict=True)))
        if write_to is None:
            outputs = Outputs.of([on.rows.dense_copy() for _ in layers], len(lesson.inside.low))
            carried = carry_over(lesson, on.rows, index, outputs, device, strengths=strengths, limits=limits)
            encode_others(on.spaces[0], on.rows, plan.query, outputs, device)
        else:
            store = Store.of(adata, on, lesson, write_to, key_added, layers, record)
            carried = store.write(on, plan.query, lesson, strengths=strengths, limits=limits)
        sd, se = resampled(lesson.learnt, on.rows, index, device, n=n_resamples, rng=rng, strength=strengths[-1])
    features = per_feature(pd.Index(on.names), lesson.control_change, carried, lesson.missed, lesson.wrong, se)
    features = features.loc[adata.var_names]
    verdict = in_words(lesson.said, features, carried)
    abstained = lesson.selected is not None and lesson.selected.strength == 0
    logger.log(logging.WARNING if abstained or carried.outside > FAR else logging.INFO, "%s", verdict)
    record |= {"n_clipped": carried.n_clipped, "features": features, "verdict": verdict}

    if write_to is not None:
        store.finish(record)
        return None
    adata = adata.copy() if copy else adata
    outputs.write(adata, key_added, layers, on.layer)
    if n_resamples:
        adata.layers[sd_layer] = np.zeros_like(outputs.edited[-1])
        adata.layers[sd_layer][index] = sd
    adata.uns[key_added] = record
    return adata if copy else None


@dataclass(frozen=True)
class Plan:
    """What is to be edited and how it is learnt, once everything about it is known to be right."""

    on: Trained
    query: np.ndarray
    n_cells: dict[str, int]
    learn: Callable[[], Lesson]
    config: dict[str, Any]


def _here(
    adata: AnnData,
    groupby: str | None,
    roles: tuple[Any, Any, Any],
    inverse: bool,
    columns: tuple[str | None, str | None],
    layer: str | None,
    key: str | Sequence[str],
    device: torch.device,
    options: Options,
    edit: Any,
    edit_params: dict[str, Any],
) -> Plan:
    """Plan to learn the edit from cells of this AnnData."""
    on = trained(adata, key, layer, device)
    source, target, query = roles
    if source is None or target is None:
        raise ValueError("source and target are both needed, or model= with an edit that was learnt before.")
    groups = groups_of(adata, groupby, source, target, query, inverse=inverse)
    if inverse:
        groups["source"], groups["target"] = groups["target"], groups["source"]
        source, target = target, source
    strata, pairs = (
        labels_in(adata, name, groups, what) for name, what in zip(columns, ("strata", "pairs"), strict=True)
    )
    way = way_of(edit, options, edit_params)
    _check_neurons(options.neurons, on)
    index = {role: mask.nonzero()[0] for role, mask in groups.items()}
    lesson = partial(learn, on, way, index, strata=strata, pairs=pairs, strata_name=columns[0])
    return Plan(
        on,
        groups["query"],
        {role: int(mask.sum()) for role, mask in groups.items()},
        lesson,
        {"source": source, "target": target},
    )


def _later(
    adata: AnnData,
    groupby: str | None,
    query: Selection | None,
    layer: str | None,
    model: Any,
    key_added: str,
    given: list[str],
    device: torch.device,
) -> Plan:
    """Plan to apply an edit that was learnt before, on other cells."""
    if given:
        raise ValueError(f"with model= the edit is learnt already; {some(given)} cannot be given.")
    known = model_of(model, key_added)
    layer = known.layer if layer is None else layer
    check_adata(adata)
    lesson, on = lesson_of(known, adata, layer, device)
    mask = np.ones(adata.n_obs, dtype=bool) if query is None else select(adata, groupby, query, "query")
    config = known.config | {
        "query": query,
        "model": known.name,
        "source": None,
        "target": None,
        "learnt": known.config,
    }
    return Plan(on, mask, {"query": int(mask.sum())}, lambda: lesson, config)


def labels_in(adata: AnnData, column: str | None, groups: Mapping[str, np.ndarray], what: str) -> Labels | None:
    """Return the labels of the source's and the target's cells in a column of strata or pairs; other cells need none."""
    if column is None:
        return None
    if column not in adata.obs:
        raise KeyError(f"{what}: {column!r} is not in adata.obs; it has {some(adata.obs)}.")
    labels = adata.obs[column]
    for role in ("source", "target"):
        if n := int(labels[groups[role]].isna().sum()):
            raise ValueError(f"obs[{column!r}] is missing (NaN) for {n} cells of the {role}; label or drop them first.")
    before, after = (labels[groups[role]].astype(str).to_numpy() for role in ("source", "target"))
    if not set(before) & set(after):
        raise ValueError(
            f"no value of obs[{column!r}] is in both source and target ({what}): the source has {some(sorted(set(before)))},"
            f" the target {some(sorted(set(after)))}."
        )
    return before, after


def _check_neurons(neurons: Sequence[int] | None, on: Trained) -> None:
    """Refuse neurons that the space does not have."""
    if neurons is None:
        return
    n = on.n_neurons
    if not len(neurons) or not all(isinstance(j, int | np.integer) and 0 <= j < n for j in neurons):
        raise ValueError(f"neurons must be numbers from 0 to {n - 1}; they are {neurons!r}.")


def order_of(adata: AnnData, layer: str | None) -> list[str]:
    """Return the edits that made a layer, the first one first."""
    record = adata.uns.get(layer) if layer is not None else None
    return [str(name) for name in record["order"]] if isinstance(record, Mapping) and "order" in record else []


def _strengths(strength: float | Sequence[float]) -> list[float]:
    """Return the strengths, one a layer."""
    values = [float(value) for value in np.atleast_1d(strength)]
    if not values or not np.isfinite(values).all() or len(set(values)) < len(values):
        raise ValueError(f"strength must be a finite number, or several different ones; it is {strength!r}.")
    return values


def limits_of(bounds: tuple[float | None, float | None] | None) -> tuple[float, float]:
    """Return the lowest and highest value that an edited cell may take."""
    low, high = bounds or (None, None)
    low, high = -np.inf if low is None else float(low), np.inf if high is None else float(high)
    if not low < high:
        raise ValueError(f"bounds must be the lowest and the highest value, or None for either; they are {bounds!r}.")
    return low, high
