"""How training went."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from anndata import AnnData
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from .. import _slots
from .._docs import shared_docs
from ._figure import OKABE_ITO, finish, panels

CURVES = {"train_loss": "training", "validation_loss": "validation"}


@shared_docs
def history(
    adata: AnnData,
    *,
    key: str = _slots.MODEL,
    ax: Axes | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Any:
    """Draw the reconstruction error against the epochs of training, and that of cells which were kept aside for validation.

    Examples
    --------
    >>> import neuronedit as ne
    >>> adata = ne.datasets.simulate_batches(n_cells=200)
    >>> ne.tl.train(adata, widths=(32, 8), max_epochs=3, validation_size=0.1)
    >>> len(ne.pl.history(adata).lines)
    2

    Parameters
    ----------
    adata
        After :func:`neuronedit.tl.train`.
    key
        Where the trained space is kept in ``uns``.
    %(figure)s
    """
    space = adata.uns.get(key)
    if not isinstance(space, Mapping) or "history" not in space:
        raise KeyError(f"uns[{key!r}] holds no trained space; call ne.tl.train(adata) first.")
    curves = {label: np.asarray(space["history"].get(name, [])) for name, label in CURVES.items()}
    if not curves["training"].size:
        raise ValueError(f"uns[{key!r}] has no history: the space {space['space']!r} was not trained in epochs.")

    (panel,) = panels(1, ax, size=(4.2, 2.6), room=0)
    for color, (label, curve) in zip(OKABE_ITO, curves.items(), strict=False):
        if curve.size:
            marker = "o" if curve.size == 1 else None
            panel.plot(np.arange(1, curve.size + 1), curve, color=color, label=label, marker=marker)
    panel.set(xlabel="epoch", ylabel="mean squared error (scaled units)", yscale="log")
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    panel.legend(frameon=False)
    return finish([panel], show=show, return_fig=return_fig)
