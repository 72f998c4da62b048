"""Carry the change from source to target over to the query."""

import json
from functools import partial
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from anndata import AnnData

from .. import _slots
from .._adata import check_finite, check_free, chunks, encode, groups_of, recall, rows_of
from .._check import Selection, check_parameters, lookup, name_of_choice, plain
from .._nets import fast_matmul, find_device
from .._types import carry, scaled
from ..edits import AXES, EDITS, support


def edit(
    adata: AnnData,
    groupby: str | None = None,
    *,
    source: Selection,
    target: Selection,
    query: Selection | None = None,
    edit: Any = "percentile",
    axes: Any = "neurons",
    residual: bool = True,
    strength: float = 1.0,
    bounds: tuple[float | None, float | None] | None = None,
    key: str = _slots.MODEL,
    key_added: str = _slots.EDITED,
    accelerator: str = "auto",
    copy: bool = False,
    **edit_params: Any,
) -> AnnData | None:
    """Learn how the neurons move from source to target and move those of the query cells the same way.

    The change is always ``target - source``. X is never touched.

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
        ``"percentile"``: each neuron moves as its percentiles did (the paper); ``"shift"``: every cell moves by the
        difference of the means; ``"local"``: every cell moves as the source cells nearest to it; or a function
        ``(source, target) -> map`` on neurons.
    axes
        ``"neurons"``: as published; ``"principal"``: along the principal axes of the neurons of source and target.
    residual
        Add the change that the edit makes to the decoded cell to the cell itself, so that what the space cannot
        reproduce of it is kept. `False`: the decoded cell, as in the paper.
    strength
        Share of the edit: 0 leaves the neurons alone, 1 is the whole edit.
    bounds
        Lowest and highest value that an edited cell may take: ``(0, None)`` where values below 0 make no sense. What lies
        beyond is set to the bound, and counted in ``uns["edited"]["n_clipped"]``. `None`: no bounds.
    key
        Where :func:`neuronedit.tl.train` kept the model.
    key_added
        Name of the layer, and of the record in ``uns``.
    accelerator
        ``"auto"``, ``"cpu"``, ``"cuda"``, ``"mps"``.
    copy
        Return a new AnnData and leave this one as it is.
    **edit_params
        ``n_bins=100`` (percentile, local): intervals between percentiles; more follow the pair more closely and carry
        more of its noise. ``n_neighbors=30`` (local): more is smoother.

    Returns
    -------
    `None`, or the new AnnData with ``copy=True``. Written are

    ``layers["edited"]``
        The query cells after the edit, in the units of the layer the space was trained on; all other cells unchanged.
        Dense, ``(n_obs, n_vars)``, in the floating type of that layer (float32 for small integers).
    ``obsm["X_neurons_edited"]``
        Their neurons after the edit, ``(n_obs, n_neurons)`` float32; for all other cells their neurons.
    ``obs["edited_support"]``
        For query cells the share of their neurons, before the edit, that lie within the range of the source's: where it
        is low the edit extrapolates. NaN for all other cells.
    ``uns["edited"]``
        What was done: the pair, the query, the edit and its parameters, numbers of cells and of clipped values.

    Raises
    ------
    ValueError, TypeError, KeyError
        Before any work, and with ``adata`` unchanged, when it cannot be done: no trained space, other features than it
        was trained on, an unknown column, value, edit or parameter, an empty group, fewer than two source or target
        cells, cells in both source and target or in both query and target, NaN.

    References
    ----------
    Amodio et al. 2018, Out-of-sample extrapolation with neuron editing, arXiv:1805.12198.

    Examples
    --------
    >>> import neuronedit as ne
    >>> adata = ne.datasets.simulate_batches(n_cells=200)
    >>> ne.tl.train(adata, widths=(32, 8), max_epochs=2)
    >>> ne.tl.edit(adata, "group", source="control_1", target="control_2", query="sample_1")
    >>> adata.layers["edited"].shape
    (800, 35)
    """
    space, layer = recall(adata, key)
    rows = rows_of(adata, layer)
    groups = groups_of(adata, groupby, source, target, query)
    method = lookup(EDITS, edit, "edit")
    check_parameters(method, edit_params, f"the edit {edit!r}")
    along = lookup(AXES, axes, "axes")
    check_free(adata, key_added, model=key)
    check_finite(adata, rows, layer)
    device = find_device(accelerator)
    low, high = _limits(bounds)
    if not np.isfinite(strength):
        raise ValueError(f"strength must be a finite number; it is {strength!r}.")

    with fast_matmul(), torch.no_grad():
        space.to(device)
        z_source, z_target = (encode(space, rows, groups[role].nonzero()[0], device) for role in ("source", "target"))
        learnt = scaled(along(partial(method, **edit_params))(z_source, z_target), strength)
        inside = support(z_source)
        edited, neurons = rows.dense_copy(), np.empty((adata.n_obs, z_source.shape[1]), dtype=np.float32)
        within_range, n_clipped = np.full(adata.n_obs, np.nan, dtype=np.float32), 0
        for part in chunks(groups["query"].nonzero()[0]):
            x, z, z_edited = carry(space, learnt, rows[part].to(device), residual=residual)
            beyond = (x < low) | (x > high)
            edited[part], n_clipped = x.clamp(low, high).cpu().numpy(), n_clipped + int(beyond.sum())
            neurons[part], within_range[part] = z_edited.cpu().numpy(), inside(z).cpu().numpy()
        others = (~groups["query"]).nonzero()[0]
        neurons[others] = encode(space, rows, others, device).cpu().numpy()

    adata = adata.copy() if copy else adata
    adata.layers[key_added] = edited
    adata.obsm[_slots.neurons_edited(key_added)] = neurons
    adata.obs[_slots.support(key_added)] = within_range
    adata.uns[key_added] = {
        "config": json.dumps(
            {
                "groupby": groupby,
                "source": source,
                "target": target,
                "query": query,
                "edit": name_of_choice(edit),
                "axes": name_of_choice(axes),
                "residual": residual,
                "strength": strength,
                "bounds": bounds,
                "key": key,
                "layer": layer,
                "edit_params": edit_params,
            },
            default=plain,
        ),
        "n_cells": {role: int(mask.sum()) for role, mask in groups.items()},
        "n_clipped": n_clipped,
        _slots.VERSION: version("neuronedit"),
    }
    if _slots.cofactor(layer) in adata.var:
        adata.var[_slots.cofactor(key_added)] = adata.var[_slots.cofactor(layer)]
    return adata if copy else None


def _limits(bounds: tuple[float | None, float | None] | None) -> tuple[float, float]:
    """Return the lowest and highest value that an edited cell may take."""
    low, high = bounds or (None, None)
    low, high = -np.inf if low is None else float(low), np.inf if high is None else float(high)
    if not low < high:
        raise ValueError(f"bounds must be the lowest and the highest value, or None for either; they are {bounds!r}.")
    return low, high
