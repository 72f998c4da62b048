"""Carry the change from source to target over to the query."""

import json
import logging
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from anndata import AnnData

from .. import _slots
from .._adata import CHUNK, Rows, check_finite, check_free, chunks, encode, groups_of, recall, rows_of
from .._check import Selection, name_of_choice, plain, some
from .._nets import fast_matmul, find_device
from ..edits import distance, support
from ._learn import Cells, Learnt, way_of
from ._verdict import in_words, per_feature

logger = logging.getLogger(__name__)

MOST_SEEN = 20_000
"""Query cells that ``edit="auto"`` looks at to see how they differ from the source."""

FAR = 0.2
"""Share of query cells outside the source above which the verdict is a warning."""


def edit(
    adata: AnnData,
    groupby: str | None = None,
    *,
    source: Selection,
    target: Selection,
    query: Selection | None = None,
    edit: Any = "auto",
    strata: str | None = None,
    axes: Any = "neurons",
    residual: bool = True,
    strength: float = 1.0,
    bounds: tuple[float | None, float | None] | None = None,
    n_resamples: int = 0,
    rng: int = 0,
    key: str | Sequence[str] = _slots.MODEL,
    key_added: str = _slots.EDITED,
    accelerator: str = "auto",
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
        The pair in which the change was observed: a value or list of values of ``groupby``, or a dict of obs column ->
        value or values, all of which must hold (``{"batch": "A", "individual": "control"}``).
    query
        The cells to carry the change over to, given in the same way. `None`: every cell outside the target.
    edit
        ``"auto"``: choose from ``ne.selection.CANDIDATES`` by what each predicts for held-out parts of the pair.
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
        as the source cells nearest to it do in theirs. `None`: ``"auto"`` derives parts (clusters on the features that
        change least, and samples of different composition), other edits are learnt on all cells alike.
    axes
        ``"neurons"``: as published; ``"principal"``: along the principal axes of the neurons of source and target. Not for
        ``"auto"``, which tries both.
    residual
        Add the change that the edit makes to the decoded cell to the cell itself, so that what the space cannot
        reproduce of it is kept. `False`: the decoded cell. Not for ``"auto"``.
    strength
        Share of the edit: 0 leaves the cells alone, 1 is the whole edit. ``"auto"`` takes this share of what it chose.
    bounds
        Lowest and highest value that an edited cell may take: ``(0, None)`` where values below 0 make no sense. What lies
        beyond is set to the bound, and counted in ``uns["edited"]["n_clipped"]``. `None`: no bounds.
    n_resamples
        Bootstrap resamples of the pair on which the edit is learnt again, for ``layers["edited_sd"]``; 0 leaves it out,
        20 take 20 times as long as the edit itself, without what was spent to choose it.
    rng
        Seed of the resamples.
    key
        Where :func:`neuronedit.tl.train` kept the model; or several, trained with other seeds (``rng=1, key_added="other"``).
        Edits in all of them are averaged, and their spread is in ``layers["edited_sd"]``; neurons and the record are the
        first one's.
    key_added
        Name of the layer, and of the record in ``uns``.
    accelerator
        ``"auto"``, ``"cpu"``, ``"cuda"``, ``"mps"``.
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
        Their neurons after the edit, ``(n_obs, n_neurons)`` float32; for all other cells their neurons.
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
        ``selection``
            For ``"auto"``, what :class:`neuronedit.selection.Selected` describes: candidates, held-out parts, scores, weights,
            strength and the expected share of the gap. :func:`neuronedit.pl.selection` draws it.

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
    keys = [key] if isinstance(key, str) else list(key)
    models = [recall(adata, name) for name in keys]
    layer = _only([layer for _, layer in models], keys)
    rows = rows_of(adata, layer)
    groups = groups_of(adata, groupby, source, target, query)
    labels = _strata(adata, strata, groups)
    given = strata is not None
    way = way_of(edit, axes=axes, residual=residual, strength=strength, given_strata=given, params=edit_params)
    sd_layer = _slots.sd(key_added)
    for name in keys:
        check_free(adata, key_added, model=name, layers=[key_added] + [sd_layer] * (n_resamples > 0))
    check_finite(adata, rows, layer)
    device = find_device(accelerator)
    low, high = _limits(bounds)
    if not np.isfinite(strength):
        raise ValueError(f"strength must be a finite number; it is {strength!r}.")
    if n_resamples < 0:
        raise ValueError(f"n_resamples must be at least 0; it is {n_resamples}.")

    index = {role: mask.nonzero()[0] for role, mask in groups.items()}
    with fast_matmul(), torch.no_grad():
        spaces = [space.to(device) for space, _ in models]
        seen = np.sort(np.random.default_rng(0).permutation(index["query"])[:MOST_SEEN])
        of_source, of_target, of_query = (_read(rows, i, device) for i in (index["source"], index["target"], seen))
        cells = Cells(of_source, of_target, of_query, labels)
        first, *more = learnt = [way(space, cells) for space in spaces]
        z_source = spaces[0].encode(of_source)
        inside, away = support(z_source), distance(z_source)
        edited, neurons = rows.dense_copy(), np.empty((adata.n_obs, z_source.shape[1]), dtype=np.float32)
        within_range, far = (np.full(adata.n_obs, np.nan, dtype=np.float32) for _ in range(2))
        sums, n_clipped = np.zeros((3, adata.n_vars)), 0
        for part in chunks(index["query"]):
            before = rows[part]
            x, z, z_edited = first.carry(before.to(device))
            x = torch.stack([x, *(one.carry(before.to(device)).x for one in more)]).mean(0)
            after = x.clamp(low, high).cpu()
            edited[part], n_clipped = after.numpy(), n_clipped + int(((x < low) | (x > high)).sum())
            neurons[part], within_range[part] = z_edited.cpu().numpy(), inside(z).cpu().numpy()
            far[part] = away(z).cpu().numpy()
            sums += torch.stack([cells.double().sum(0) for cells in (before, before.square(), after)]).numpy()
        others = (~groups["query"]).nonzero()[0]
        neurons[others] = encode(spaces[0], rows, others, device).cpu().numpy()
        spread, se = _resampled(learnt, rows, index["query"], n_resamples, rng, device)

    mean, squares, mean_edited = sums / len(index["query"])
    means = {role: x.cpu().double().mean(0).numpy() for role, x in (("source", of_source), ("target", of_target))}
    means |= {"query": mean, "edited": mean_edited}
    sd = np.sqrt(np.maximum(squares - mean**2, 0))
    features = per_feature(adata.var_names, means, sd, first.selected, se)
    outside = float((far[index["query"]] > 1).mean())
    verdict = in_words(first.selected, strata, features, outside, len(index["query"]))
    abstained = first.selected is not None and first.selected.strength == 0
    logger.log(logging.WARNING if abstained or outside > FAR else logging.INFO, "%s", verdict)

    adata = adata.copy() if copy else adata
    if key_added in adata.uns and sd_layer in adata.layers:  # of an edit of ours that this one takes the place of
        del adata.layers[sd_layer]
    adata.layers[key_added] = edited
    adata.obsm[_slots.neurons_edited(key_added)] = neurons
    adata.obs[_slots.support(key_added)] = within_range
    adata.obs[_slots.distance(key_added)] = far
    if n_resamples:
        adata.layers[sd_layer] = np.zeros_like(edited)
        adata.layers[sd_layer][index["query"]] = spread
    adata.uns[key_added] = {
        "config": json.dumps(
            {
                "groupby": groupby,
                "source": source,
                "target": target,
                "query": query,
                "edit": name_of_choice(edit),
                "strata": strata,
                "axes": name_of_choice(axes),
                "residual": residual,
                "strength": strength,
                "bounds": bounds,
                "n_resamples": n_resamples,
                "rng": rng,
                "key": key,
                "layer": layer,
                "edit_params": edit_params,
            },
            default=plain,
        ),
        "n_cells": {role: int(mask.sum()) for role, mask in groups.items()},
        "n_clipped": n_clipped,
        "features": features,
        "verdict": verdict,
        _slots.VERSION: version("neuronedit"),
    }
    if first.selected is not None:
        adata.uns[key_added]["selection"] = _record(first.selected)
    if _slots.cofactor(layer) in adata.var:
        adata.var[_slots.cofactor(key_added)] = adata.var[_slots.cofactor(layer)]
    return adata if copy else None


def _strata(adata: AnnData, column: str | None, groups: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the strata of the source's and the target's cells; other cells need none."""
    if column is None:
        return None
    if column not in adata.obs:
        raise KeyError(f"strata: {column!r} is not in adata.obs; it has {some(adata.obs)}.")
    labels = adata.obs[column]
    for role in ("source", "target"):
        if n := int(labels[groups[role]].isna().sum()):
            raise ValueError(f"obs[{column!r}] is missing (NaN) for {n} cells of the {role}; label or drop them first.")
    before, after = (labels[groups[role]].astype(str).to_numpy() for role in ("source", "target"))
    if not set(before) & set(after):
        raise ValueError(
            f"no stratum of obs[{column!r}] is in both source and target: the source has {some(sorted(set(before)))}, the"
            f" target {some(sorted(set(after)))}."
        )
    return before, after


def _only(layers: list[str | None], keys: list[str]) -> str | None:
    """Return the one layer that all models were trained on."""
    if not keys:
        raise ValueError("key is empty; name at least one trained space.")
    if len(set(layers)) > 1:
        raise ValueError(f"the spaces in uns {some(keys)} were trained on different layers: {some(layers)}.")
    return layers[0]


def _read(rows: Rows, index: np.ndarray, device: torch.device) -> torch.Tensor:
    """Return some cells, read a chunk at a time."""
    return torch.cat([rows[part].to(device) for part in chunks(index)])


def _resampled(
    learnt: list[Learnt], rows: Rows, query: np.ndarray, n: int, rng: int, device: torch.device
) -> tuple[np.ndarray, np.ndarray]:
    """Return the standard deviation of each edited value, and of each edited mean, over resamples of the pair; several models take turns."""
    generator = np.random.default_rng(rng)
    sums, means = np.zeros((2, len(query) if n else 0, rows.shape[1]), dtype=np.float32), []
    for i in range(n):
        one = learnt[i % len(learnt)]
        drawn = (_redraw(generator, labels) for labels in (one.pair.source_strata, one.pair.target_strata))
        move = one.again(one.pair.only(*drawn))
        mean = np.zeros(rows.shape[1])
        for start in range(0, len(query), CHUNK):
            x = move(rows[query[start : start + CHUNK]].to(device)).cpu().numpy()
            mean += x.sum(axis=0, dtype=float)
            so_far, squares = sums[:, start : start + CHUNK]
            change = x - so_far
            so_far += change / (i + 1)
            squares += change * (x - so_far)
        means.append(mean / len(query))
    se = np.std(means, axis=0, ddof=1) if n > 1 else np.full(rows.shape[1], np.nan)
    return np.sqrt(sums[1] / max(n - 1, 1)), se


def _redraw(generator: np.random.Generator, labels: np.ndarray) -> np.ndarray:
    """Draw as many cells of every stratum again as it has."""
    strata = (np.flatnonzero(labels == stratum) for stratum in np.unique(labels))
    return np.concatenate([generator.choice(cells, len(cells)) for cells in strata])


def _record(selected: Any) -> dict[str, Any]:
    """Turn what was chosen into what AnnData can write."""
    names = ("candidates", "weights", "strength", "parts", "part_weights", "scores", "combined")
    record = {name: getattr(selected, name) for name in (*names, "how", "expected", "expected_se", "tested")}
    return {name: np.array(value, dtype=str) if isinstance(value, list) else value for name, value in record.items()}


def _limits(bounds: tuple[float | None, float | None] | None) -> tuple[float, float]:
    """Return the lowest and highest value that an edited cell may take."""
    low, high = bounds or (None, None)
    low, high = -np.inf if low is None else float(low), np.inf if high is None else float(high)
    if not low < high:
        raise ValueError(f"bounds must be the lowest and the highest value, or None for either; they are {bounds!r}.")
    return low, high
