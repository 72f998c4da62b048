"""Correct every batch by its control."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd
import torch
from anndata import AnnData

from .. import _slots
from .._adata import Rows, check_finite, check_free, modality
from .._check import Selection, labels_of, listed, name_of_choice, plain, select, some
from .._nets import fast_matmul, find_device
from ..metrics import energy_distance, gap_closed
from ._carry import Outputs, Trained, carry_over, encode_others, learn, trained
from ._coverage import coverage_of
from ._edit import labels_in, limits_of
from ._learn import Options, way_of
from ._verdict import in_words, per_feature

logger = logging.getLogger(__name__)

POOLED = "all controls"
"""How the reference is called where it is no batch."""


def correct(
    adata: AnnData,
    batch_key: str,
    *,
    control_key: str,
    control: Any = None,
    reference: Any = None,
    bridge: Mapping[Any, Any] | None = None,
    held_out_controls: Selection | None = None,
    edit: Any = "auto",
    strata: str | None = None,
    axes: Any = "neurons",
    residual: bool = True,
    strength: float = 1.0,
    bounds: tuple[float | None, float | None] | None = None,
    layer: str | None = None,
    key: str = _slots.MODEL,
    key_added: str = _slots.CORRECTED,
    accelerator: str = "auto",
    mod: str | None = None,
    copy: bool = False,
    **edit_params: Any,
) -> AnnData | None:
    """Correct every batch by its control: what carries the batch's control to the reference carries its samples, too.

    One edit is learnt for each batch, from its control cells to those of the reference, all in the one space that
    :func:`neuronedit.tl.train` has trained. What a sample differs in from the control stays. Batches that cannot be corrected
    are left as they are, and said to be.

    Parameters
    ----------
    adata
        Cells by features, with a trained space.
    batch_key
        Column of ``obs`` with the batches.
    control_key
        Column of ``obs`` that says which cells are controls: the same material in every batch.
    control
        The value or values that mark controls in it. `None`: `True` in a column of truth values, else ``"control"``.
    reference
        The batch to which all others are carried; it stays as it is. `None`: to the controls of all batches together, which
        moves every batch, each a little.
    bridge
        For batches without a control, batch -> what stands in. Another batch, ``{"b3": "b2"}``: its cells move as those of
        that batch (run on the same day, say). Or cells that were measured in this batch and in others,
        ``{"b3": {"individual": "donor 7"}}``: they are the control, and those of the other batches, corrected, the reference.
        A batch without a control that is not named here is left alone.
    held_out_controls
        Controls that are not used but scored, a dict of obs column -> value(s), such as ``{"sample": ["HD1", "HD6"]}``: how far
        those of each batch come to those of the reference.
    edit, strata, axes, residual, **edit_params
        How each batch's edit is learnt, as in :func:`neuronedit.tl.edit`. By default each is chosen for its batch; one edit by
        name, ``"percentile"``, is several times faster.
    strength
        Share of the correction.
    bounds
        Lowest and highest value that a corrected cell may take.
    layer
        Correct this layer. `None`: the one that the space was trained on.
    key
        Where :func:`neuronedit.tl.train` kept the model.
    key_added
        Name of the layer, and of the record in ``uns``.
    accelerator
        ``"auto"``, ``"cpu"``, ``"cuda"``, ``"mps"``.
    mod
        The modality, if ``adata`` is a MuData.
    copy
        Return a new AnnData and leave this one as it is.

    Returns
    -------
    `None`, or the new AnnData with ``copy=True``. Written are

    ``layers["corrected"]``
        All cells of all batches, controls included, in the units of the layer that was read.
    ``obsm["X_neurons_corrected"]``, ``obs["corrected_support"]``, ``obs["corrected_distance"]``
        As :func:`neuronedit.tl.edit` writes them, against the control of the cell's own batch.
    ``uns["corrected"]``
        What was done, and

        ``batches``
            A DataFrame, one row a batch: ``how`` it was corrected, ``n_controls`` and ``n_samples`` (cells), ``outside`` (share
            of the samples' cells outside the control), ``lacking`` (whether, and of what, the control lacks too much to be
            trusted), ``expected`` share of the gap closed and its standard error, ``verdict``.
        ``coverage``
            A DataFrame, batches by features: share of the samples' cells beyond what the control shows of a feature.
        ``features``
            A DataFrame: for each batch and feature what :func:`neuronedit.tl.edit` says of a feature.
        ``held_out``
            With ``held_out_controls``, for each batch the energy distance from its held-out controls to the reference's, before
            and after, and the share closed.

    Raises
    ------
    ValueError, TypeError, KeyError
        Before any work, and with ``adata`` unchanged.

    References
    ----------
    Amodio et al. 2018, Out-of-sample extrapolation with neuron editing, arXiv:1805.12198; Van Gassen et al. 2020, CytoNorm,
    Cytometry A 97:268-278, for the design with a control in every batch.

    Examples
    --------
    >>> import neuronedit as ne
    >>> adata = ne.datasets.simulate_batches(n_cells=200)
    >>> ne.tl.train(adata, widths=(32, 8), max_epochs=2)
    >>> ne.tl.correct(adata, "batch", control_key="role", reference="batch_2", edit="percentile")
    >>> adata.uns["corrected"]["batches"]["how"].to_dict()
    {'batch_1': 'control to batch_2', 'batch_2': 'reference'}
    """
    adata = modality(adata, mod)
    limits, device = limits_of(bounds), find_device(accelerator)
    if not np.isfinite(strength):
        raise ValueError(f"strength must be a finite number; it is {strength!r}.")
    on = trained(adata, key, layer, device)
    design = _design(adata, batch_key, control_key, control, reference, bridge or {}, held_out_controls)
    way = way_of(edit, Options(axes, None, residual, strata=strata is not None), edit_params)
    labels = {b: labels_in(adata, strata, role, "strata") for b, role in design.roles.items()}
    if on.layer == key_added:
        raise ValueError(f"key_added={key_added!r} is the layer that is corrected; choose another.")
    check_free(adata, key_added, model=key)
    check_finite(adata, on.rows, on.layer)

    rows, tables, coverage = [], [], {}
    with fast_matmul(), torch.no_grad():
        outputs = Outputs.of(on.rows, on.spaces[0].encode(on.read(np.arange(1))).shape[1])
        encode_others(on.spaces[0], on.rows, np.zeros(adata.n_obs, dtype=bool), outputs, device)
        lessons: dict[Any, Any] = {}
        for batch in design.order:
            cells = np.flatnonzero(design.labels == batch)
            row = design.about(batch)
            if batch in design.roles:
                index = {role: np.flatnonzero(mask) for role, mask in design.roles[batch].items()}
                after = Rows(outputs.edited[0], on.rows.order) if batch in design.bridged else None
                lessons[batch] = learn(on, way, index, strata=labels[batch], strata_name=strata, targets=after)
            lesson = lessons.get(batch, lessons.get(design.like.get(batch)))
            ...
    return adata if copy else None
