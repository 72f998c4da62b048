"""The combination of edits that predicts best what was held out, as one function of cells."""

from collections.abc import Callable

import torch
from torch import Tensor

from .._types import Map, Space
from ..ensemble import select
from ..spaces import Autoencoder, Training
from ._spaces import autoencoder


def auto_edit(
    source: Tensor,
    target: Tensor,
    /,
    *,
    cells: Tensor | None = None,
    query: Tensor | None = None,
    n_steps: int = 5_000,
    seed: int = 0,
    fit: Callable[[Tensor, Training], Space] = Autoencoder.fit,
) -> Map:
    """Choose by held-out parts of the pair, which are derived: what ``ne.tl.edit`` does by default, without strata.

    Parameters
    ----------
    source, target
        ``(n_cells, n_features)``
    cells
        What the autoencoder is trained on. `None`: source and target.
    query
        The cells that the map is meant for: parts count by how much they resemble them. `None`: the source.
    n_steps, seed
        Of the training, and of what is drawn.
    fit
        Trains the autoencoder on cells; ``functools.cache(Autoencoder.fit)`` lets several methods share one.

    Returns
    -------
    The weighted mean of the candidates' maps.

    Examples
    --------
    >>> import torch, neuronedit as ne
    >>> source = torch.randn(200, 3)
    >>> ne.baselines.auto_edit(source, source + 1, n_steps=4)(source).shape
    torch.Size([200, 3])
    """
    space = autoencoder(fit, source, target, cells, n_steps, seed)
    with torch.no_grad():
        chosen = select(space, source, target, source if query is None else query, seed=seed)
        return chosen.learn(chosen.pair)
