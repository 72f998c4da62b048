"""How training went."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from anndata import AnnData
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from .. import _slots
from ._figure import OKABE_ITO, finish

CURVES = {"train_loss": "training", "validation_loss": "validation"}


def history(
    adata: AnnData,
    *,
    key: str = _slots.MODEL,
    ax: Axes | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Any:
    """Draw the reconstruction error against the epochs of training.

    Parameters
    ----------
    adata
        After :func:`neuronedit.tl.train`.
    key
        Where the model is kept in ``uns``.
    ax
        Axes to draw into.
    show
        Call ``plt.show()``.
    return_fig
        Return the figure instead.

    Returns
    -------
    The Axes, with a line for training and, where cells were kept aside, one for validation.

    Raises
    ------
    KeyError, ValueError
        When there is no such model, or it was not trained in epochs (PCA, identity).

    Examples
    --------
    >>> import neuronedit as ne
    >>> adata = ne.datasets.simulate_batches(n_cells=200)
    >>> ne.tl.train(adata, widths=(32, 8), max_epochs=3, validation_size=0.1)
    >>> len(ne.pl.history(adata).lines)
    2
    """
    if key not in adata.uns:
        raise KeyError(f"uns[{key!r}] holds no trained space; call ne.tl.train(adata) first.")
    curves = {label: np.asarray(adata.uns[key]["history"].get(name, [])) for name, label in CURVES.items()}
    if not curves["training"].size:
        raise ValueError(
            f"uns[{key!r}] has no history: the space {adata.uns[key]['space']!r} was not trained in epochs."
        )
    if ax is None:
        _, ax = plt.subplots(figsize=(4.2, 3.0), layout="constrained")
    for color, (label, curve) in zip(OKABE_ITO, curves.items(), strict=False):
        if curve.size:
            ax.plot(
                np.arange(1, curve.size + 1), curve, color=color, label=label, marker="o" if curve.size == 1 else None
            )
    ax.set(xlabel="epoch", ylabel="mean squared error (scaled units)", yscale="log")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False)
    return finish([ax], show=show, return_fig=return_fig)
