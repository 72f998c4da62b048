"""Fréchet distance: how far apart the means and covariances of two populations are, in any features."""

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

import numpy as np

from .._check import NOT_EMPTY, Count, TwoCellArray, check_cells
from ._cells import to_float64

Features = Callable[[np.ndarray], np.ndarray]
"""``(n_cells, n_features) -> (n_cells, n)``"""


def frechet(
    x: TwoCellArray, y: TwoCellArray, /, *, features: Literal["inception"] | Features | None = None,
    image_shape: Annotated[Sequence[Count], NOT_EMPTY] | None = None, n_components: Count = 50,
) -> float:  # fmt: skip
    r"""Fréchet distance (squared 2-Wasserstein distance) between Gaussians fitted to the features of two populations.

    :math:`\|m_x - m_y\|^2 + \mathrm{tr}(\Sigma_x + \Sigma_y - 2 (\Sigma_x \Sigma_y)^{1/2})`. With the features of Inception it
    is known as FID. With any other features it is not, and its values cannot be compared with published ones: report it as FD,
    with the name of the features.

    Examples
    --------
    >>> import numpy as np, neuronedit as ne
    >>> x = np.random.default_rng(0).normal(size=(500, 2))
    >>> round(ne.metrics.frechet(x, x + [3.0, 0.0]), 6)
    9.0
    >>> round(ne.metrics.frechet(x, x + [3.0, 0.0], features=lambda cells: cells[:, 1:]), 6)
    0.0

    Parameters
    ----------
    x, y
        ``(n_cells, n_features)``, at least two cells each.
    features
        `None`: the leading principal components of both populations together. They depend on both, so small differences
        between the values of several predictions mean nothing. Or a function ``(n_cells, n_features) -> (n_cells, n)``: an
        extractor that was trained on other data, or on the truth, and is the same for all predictions. Or ``"inception"``,
        for images with values from 0 to 1: the 2,048 pooled features of Inception v3, whose weights torch-fidelity downloads.
    image_shape
        ``(rows, columns)`` or ``(rows, columns, channels)``, for ``"inception"``.
    n_components
        Principal components at most, by default. More show finer differences, and need more cells for their covariances.

    Returns
    -------
    In squared units of the features, 0 or more. It is biased upwards with few cells, the more so the more features there are:
    compare values of equally many cells.

    Raises
    ------
    ImportError
        When torch-fidelity (extra ``fid``) is not installed, for ``"inception"``.

    References
    ----------
    Dowson & Landau 1982, The Fréchet distance between multivariate normal distributions, J Multivar Anal 12:450-455;
    Heusel et al. 2017, GANs trained by a two time-scale update rule, NeurIPS, arXiv:1706.08500.
    """
    if features is not None and not callable(features):
        if not isinstance(features, str) or features not in EXTRACTORS:
            known = ", ".join(map(repr, EXTRACTORS))
            raise ValueError(f"features={features!r} is not known; choose {known} or give a function.")
        features = EXTRACTORS[features](image_shape)
    # extract features
    x, y = to_float64(x, y)
    if features is None:
        x, y = _project_on_common_axes(x, y, n_components)
    else:
        x, y = to_float64(features(x), features(y))
        for name, cells in (("features(x)", x), ("features(y)", y)):
            check_cells(name, cells, n_cells=2)
    # compare means and covariances
    mean_x, mean_y = x.mean(axis=0), y.mean(axis=0)
    root_x, root_y = _covariance_root(x - mean_x), _covariance_root(y - mean_y)
    # the trace of the root of the product of the covariances is the sum of the singular values of R_x R_y'
    between = (root_x**2).sum() + (root_y**2).sum() - 2 * np.linalg.norm(root_x @ root_y.T, "nuc")
    return float(((mean_x - mean_y) ** 2).sum() + max(between, 0.0))


def _covariance_root(centered: np.ndarray) -> np.ndarray:
    """Return R, of which ``R.T @ R`` is the covariance."""
    return np.linalg.qr(centered, mode="r") / np.sqrt(len(centered) - 1)


def _project_on_common_axes(x: np.ndarray, y: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the coordinates of two populations along the principal axes of both together."""
    both = np.concatenate([x, y])
    both = both - both.mean(axis=0)
    if both.shape[1] > n:
        if len(both) < both.shape[1]:  # fewer cells than features: their products are the smaller matrix
            axes = both.T @ np.linalg.eigh(both @ both.T)[1][:, -n:]  # (n_features, n)
        else:
            axes = np.linalg.eigh(both.T @ both)[1][:, -n:]
        both = both @ np.linalg.qr(axes)[0]  # (n_cells, n)
    return both[: len(x)], both[len(x) :]


def _inception(image_shape: Sequence[int] | None) -> Features:
    """Return the extractor of FID."""
    try:
        import torch
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    except ImportError as error:
        raise ImportError("features='inception' needs torch-fidelity: pip install 'neuronedit[fid]'.") from error
    if image_shape is None:
        raise ValueError("features='inception' needs image_shape: (rows, columns) or (rows, columns, channels).")
    shape = (*image_shape, 1)[:3]
    net: Any = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"])

    def features(images: np.ndarray) -> np.ndarray:
        levels = np.rint(255 * images.clip(0, 1)).astype(np.uint8).reshape(-1, *map(int, shape))
        colours = torch.from_numpy(levels).permute(0, 3, 1, 2)
        with torch.no_grad():
            blocks = [net(block.expand(-1, 3, -1, -1).contiguous())[0] for block in colours.split(100)]
        return torch.cat(blocks).numpy()

    return features


EXTRACTORS: dict[str, Callable[[Sequence[int] | None], Features]] = {"inception": _inception}
"""Extractors with a name, given the shape of the images."""
