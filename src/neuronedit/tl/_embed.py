"""Bring cells into a space that was trained on others."""

import logging

from anndata import AnnData

from .. import _slots
from .._check import FilePath
from .._data.check import open_adata
from .._data.reader import encode_all
from .._data.record import Tool, check_free, deep_copy
from .._data.space import TrainedSpace
from .._data.undo import writing
from ._apply import open_model

logger = logging.getLogger(__name__)

MAX_NEURONS = 2**28  # of all cells, in memory: 1 GiB


def embed(
    adata: AnnData,
    model: AnnData | FilePath,
    *,
    layer: str | None = None,
    key: str = _slots.MODEL,
    key_added: str = _slots.MODEL,
    accelerator: str = "auto",
    copy: bool = False,
) -> AnnData | None:
    """Bring cells into a space that was trained on others: no training, and any edit can be fitted here in that space.

    Examples
    --------
    >>> import neuronedit as ne
    >>> old, new = (ne.datasets.simulate_batches(n_cells=200, rng=rng) for rng in (0, 1))
    >>> ne.tl.train(old, widths=(32, 8), max_epochs=2)
    >>> ne.tl.embed(new, old)
    >>> new.obsm["X_neurons"].shape
    (800, 8)

    Parameters
    ----------
    adata
        Cells with the features that the space was trained on, in any order, and on the same scale.
    model
        The AnnData that holds the space, or a file of :func:`neuronedit.io.save_model`.
    %(layer)s
    key, key_added
        Where the space is in ``uns`` of ``model``, and where it is kept in ``uns`` of ``adata``.
    %(accelerator)s
    %(copy)s

    Returns
    -------
    `None`, or the new AnnData with ``copy=True``. Written are ``obsm["X_neurons"]`` and ``uns["neuronedit"]``, as by
    :func:`neuronedit.tl.train`, but neurons of up to 1 GiB; the space keeps the history and the settings of its training.

    Raises
    ------
    ValueError, TypeError, KeyError
        Before any work, and with ``adata`` unchanged: missing or other features, another scale, NaN, no such space.
        Also unchanged where neurons would be NaN or infinite.
    """
    # read
    adata = open_adata(adata, copy=copy)
    holder, name = open_model(model)
    space = TrainedSpace.read(adata, key, layer, accelerator, model=holder, name=f"the model ({name})")
    check_free(adata, key_added, Tool.TRAIN, obsm=[_slots.neurons(key_added)])
    space.check_cells()

    # compute
    neurons = encode_all(space.space, space.cells, space.device, max_neurons=MAX_NEURONS)

    if neurons is None:
        n_gib = adata.n_obs * space.n_neurons * 4 / 2**30
        why = (
            f"it would take {n_gib:.3g} GiB, and 1 at most is kept" if space.cells.in_memory else "cells are in a file"
        )
        logger.warning("obsm[%r] is not written: %s. Embed a part of the cells.", _slots.neurons(key_added), why)

    # write
    with writing(adata, copy) as adata:
        adata.uns[key_added] = deep_copy(holder.uns[key]) | {"embedded": True}
        adata.obsm.pop(_slots.neurons(key_added), None)  # of a space that this one takes the place of
        if neurons is not None:
            adata.obsm[_slots.neurons(key_added)] = neurons
    return adata if copy else None
