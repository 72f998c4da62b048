"""Edits within a space, as whole methods: PCA editing, constant shift, neuron editing, and the ensemble of edits."""

from collections.abc import Callable

import torch
from torch import Tensor

from .._check import Count, Seed
from .._types import CellTensor, Map, Method, Space, within
from ..edits import percentile, shift
from ..ensemble import cross_validate
from ..spaces import PCA, Autoencoder, Training
from ..spaces._choice import choose_space

FitSpace = Callable[[Tensor, Training], Space]  # trains a space on cells, (n_cells, n_features)


def pca_edit(
    source: CellTensor, target: CellTensor, /, *, cells: CellTensor | None = None, n_components: Count = 50
) -> Map:
    """Move the percentiles of the principal components ("PCA editing").

    Examples
    --------
    >>> import torch, neuronedit as ne
    >>> source = torch.randn(500, 3)
    >>> ne.baselines.pca_edit(source, source + 1)(torch.zeros(1, 3)).round().tolist()
    [[1.0, 1.0, 1.0]]

    Parameters
    ----------
    %(populations)s
    %(cells_to_train_on)s
    n_components
        Components at most; there are never more than features.

    Returns
    -------
    The percentile edit within `spaces.PCA`.
    """
    space = PCA.of(torch.cat([source, target]) if cells is None else cells, n_components=n_components)
    return within(space, percentile)(source, target)


def make_autoencoder_baseline(name: str, method: Method, summary: str) -> Callable[..., Map]:
    """Return a baseline that trains an autoencoder and runs a method on its neurons."""

    def baseline(
        source: CellTensor, target: CellTensor, /, *, cells: CellTensor | None = None, n_steps: Count = 2_500, rng: Seed = 0,
        fit: FitSpace = Autoencoder.fit,
    ) -> Map:  # fmt: skip
        space = _fit_space(fit, source, target, cells, n_steps, rng)
        return within(space, method)(source, target)

    baseline.__name__ = baseline.__qualname__ = name
    baseline.__doc__ = f"""{summary}

    Examples
    --------
    >>> import torch, neuronedit as ne
    >>> source = torch.randn(200, 3)
    >>> ne.baselines.{name}(source, source + 1, n_steps=4)(source).shape
    torch.Size([200, 3])

    Parameters
    ----------
    %(populations)s
    %(cells_to_train_on)s
    %(autoencoder_training)s

    Returns
    -------
    The edit within `spaces.Autoencoder`.
    """
    return baseline


constant_shift = make_autoencoder_baseline(
    "constant_shift", shift, "Add the difference of the mean neurons of an autoencoder (latent arithmetic)."
)

neuron_editing = make_autoencoder_baseline(
    "neuron_editing", percentile, "Move the percentiles of an autoencoder's neurons, as the paper does."
)


def auto_edit(
    source: CellTensor, target: CellTensor, /, *, cells: CellTensor | None = None, query: CellTensor | None = None, n_steps: Count = 2_500,
    rng: Seed = 0, fit_space: FitSpace | None = None,
) -> Map:  # fmt: skip
    """Average the edits that generalize best in cross-validation: what ``ne.tl.edit`` does by default, without strata.

    Examples
    --------
    >>> import torch, neuronedit as ne
    >>> source = torch.randn(200, 3)
    >>> ne.baselines.auto_edit(source, source + 1, n_steps=4)(source).shape
    torch.Size([200, 3])

    Parameters
    ----------
    %(populations)s
    %(cells_to_train_on)s
    query
        The cells that the map is meant for: folds that resemble them count more. `None`: the source.
    n_steps
        Minibatches that the space is trained on, if it is trained.
    rng
        Seed of the training, and of all else that is random.
    fit_space
        Fits the space to cells. `None`: the default of ``ne.tl.train``, an autoencoder for up to 60 features, else principal
        components.

    Returns
    -------
    The weighted mean of the candidates' maps.
    """
    fit = choose_space(source.shape[1]).fit if fit_space is None else fit_space
    space = _fit_space(fit, source, target, cells, n_steps, rng)
    with torch.no_grad():
        ensemble = cross_validate(space, source, target, source if query is None else query, rng=rng)
        return ensemble.fit(ensemble.populations)


def _fit_space(fit: FitSpace, source: Tensor, target: Tensor, cells: Tensor | None, n_steps: int, rng: int) -> Space:
    """Train a space on all cells that were given."""
    cells = torch.cat([source, target]) if cells is None else cells
    return fit(cells, Training(n_steps=n_steps, rng=rng, device=source.device))
