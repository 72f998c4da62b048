"""The space that a tool works in: the one that was trained, or, where there is none, one that is trained on the way."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from anndata import AnnData

from .. import _slots
from .._check import Seed
from .._data.space import TrainedSpace
from ._train import DEFAULT_SPACE, train

logger = logging.getLogger(__name__)

SPACE_OF_EDIT = {"paper": "autoencoder"}  # as published, whatever the features are


def find_space(
    adata: AnnData, key: str | Sequence[str], layer: str | None, accelerator: str, *, must_exist: bool = False
) -> TrainedSpace:
    """Read the trained space; where none was trained yet, return a plan of the default one, which all else is checked against.

    Neurons without their space are what :func:`anndata.concat` leaves of one: that is an error.
    """
    traces = _slots.MODEL in adata.uns or _slots.neurons(_slots.MODEL) in adata.obsm
    if must_exist or traces or key != _slots.MODEL:
        return TrainedSpace.read(adata, key, layer, accelerator)
    return TrainedSpace.plan(adata, key, layer, accelerator)


@contextmanager
def training_planned(
    adata: AnnData,
    space: TrainedSpace,
    *,
    edit: str,
    accelerator: str,
    rng: Seed,
    progress_bar: bool | None = None,
    copy: bool = False,
) -> Iterator[tuple[AnnData, TrainedSpace]]:
    """Train the space if it is only planned, in a copy if one is asked for; an error in the block takes it away again.

    It is the default one, or that of the ``edit`` in `SPACE_OF_EDIT`.
    """
    if not space.is_planned:
        yield adata, space
        return
    [key] = space.keys
    adata = adata.copy() if copy else adata
    logger.info("uns[%r] holds no trained space: one is trained, with the defaults of ne.tl.train.", key)
    how: dict[str, Any] = {"space": SPACE_OF_EDIT.get(edit, DEFAULT_SPACE), "layer": space.layer, "rng": rng}
    train(adata, **how, accelerator=accelerator, key_added=key, progress_bar=progress_bar)
    try:
        if adata.uns[key]["history"].get("interrupted"):
            raise KeyboardInterrupt
        yield adata, TrainedSpace.read(adata, key, None, accelerator)
    except BaseException:
        del adata.uns[key]
        adata.obsm.pop(_slots.neurons(key), None)
        raise
