"""Edits within spaces, as whole methods: what the paper calls PCA editing, constant shift and neuron editing."""

from collections.abc import Callable

import torch
from torch import Tensor

from .._types import Map, Space, within
from ..edits import percentile, shift
from ..spaces import PCA, Autoencoder, Training


def pca_edit(source: Tensor, target: Tensor, /, *, cells: Tensor | None = None, n_components: int = 50) -> Map:
    """Move the percentiles of the principal components ("PCA editing").

    Parameters
    ----------
    source, target
        ``(n_cells, n_features)``
    cells
        What the components are found on. `None`: source and target.
    n_components
        At most; never more than there are features.

    Returns
    -------
    The percentile edit within `spaces.PCA`.

    Examples
    --------
    >>> import torch, neuronedit as ne
    >>> source = torch.randn(500, 3)
    >>> ne.baselines.pca_edit(source, source + 1)(torch.zeros(1, 3)).round().tolist()
    [[1.0, 1.0, 1.0]]
    """
    space = PCA.of(torch.cat([source, target]) if cells is None else cells, n_components=n_components)
    return within(space, percentile)(source, target)


def constant_shift(
    source: Tensor,
    target: Tensor,
    /,
    *,
    cells: Tensor | None = None,
    n_steps: int = 5_000,
    seed: int = 0,
    fit: Callable[[Tensor, Training], Space] = Autoencoder.fit,
) -> Map:
    """Add the difference of the mean neurons of an autoencoder (latent arithmetic).

    Parameters
    ----------
    source, target
        ``(n_cells, n_features)``
    cells
        What the autoencoder is trained on. `None`: source and target.
    n_steps, seed
        Of the training.
    fit
        Trains the autoencoder on cells; ``functools.cache(Autoencoder.fit)`` lets several methods share one.

    Returns
    -------
    `edits.shift` within `spaces.Autoencoder`.

    Examples
    --------
    >>> import torch, neuronedit as ne
    >>> source = torch.randn(200, 3)
    >>> ne.baselines.constant_shift(source, source + 1, n_steps=4)(source).shape
    torch.Size([200, 3])
    """
    return within(autoencoder(fit, source, target, cells, n_steps, seed), shift)(source, target)


def neuron_editing(
    source: Tensor,
    target: Tensor,
    /,
    *,
    cells: Tensor | None = None,
    n_steps: int = 5_000,
    seed: int = 0,
    fit: Callable[[Tensor, Training], Space] = Autoencoder.fit,
) -> Map:
    """Move the percentiles of an autoencoder's neurons: the paper's method, as one function of cells.

    Parameters
    ----------
    source, target
        ``(n_cells, n_features)``
    cells
        What the autoencoder is trained on. `None`: source and target.
    n_steps, seed
        Of the training.
    fit
        Trains the autoencoder on cells; ``functools.cache(Autoencoder.fit)`` lets several methods share one.

    Returns
    -------
    `edits.percentile` within `spaces.Autoencoder`.

    Examples
    --------
    >>> import torch, neuronedit as ne
    >>> source = torch.randn(200, 3)
    >>> ne.baselines.neuron_editing(source, source + 1, n_steps=4)(source).shape
    torch.Size([200, 3])
    """
    return within(autoencoder(fit, source, target, cells, n_steps, seed), percentile)(source, target)


def autoencoder(
    fit: Callable[[Tensor, Training], Space],
    source: Tensor,
    target: Tensor,
    cells: Tensor | None,
    n_steps: int,
    seed: int,
) -> Space:
    """Train an autoencoder on all cells that are at hand."""
    cells = torch.cat([source, target]) if cells is None else cells
    return fit(cells, Training(n_steps=n_steps, seed=seed, device=source.device))
