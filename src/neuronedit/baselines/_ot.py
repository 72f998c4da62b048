"""Entropic optimal transport, from POT."""

import numpy as np
import torch
from torch import Tensor

from .._check import Count, Positive, Seed
from .._types import CellTensor, Map


def ot(
    source: CellTensor, target: CellTensor, /, *, epsilon: Positive = 0.01, max_cells: Count = 1_000, rng: Seed = 0
) -> Map:
    """Transport the source onto the target with entropic regularization; a new cell moves as its nearest source cell does.

    Examples
    --------
    >>> import torch, neuronedit as ne
    >>> source = torch.randn(200, 2)
    >>> ne.baselines.ot(source, source + 5)(torch.zeros(1, 2)).round().tolist()
    [[5.0, 5.0]]

    Parameters
    ----------
    %(populations)s
    epsilon
        Regularization, as a share of the largest squared distance. More is smoother and pulls towards the target's mean.
    max_cells
        Larger populations are subsampled to so many cells: memory grows with its square.
    %(rng)s

    Returns
    -------
    POT's out-of-sample map.

    Raises
    ------
    ImportError
        When POT (extra ``ot``) is not installed.

    References
    ----------
    Ferradans et al. 2014, Regularized discrete optimal transport, doi:10.1137/130929886 (the out-of-sample map);
    Flamary et al. 2021, POT, JMLR 22(78):1-8.
    """
    try:
        from ot.da import SinkhornTransport
    except ImportError as error:
        raise ImportError("Optimal transport needs POT: pip install 'neuronedit[ot]'.") from error
    numpy_rng = np.random.default_rng(rng)
    subsamples = []
    for cells in (source, target):
        rows = np.sort(numpy_rng.permutation(len(cells))[:max_cells])
        subsamples.append(cells.cpu().double().numpy()[rows])
    transport = SinkhornTransport(reg_e=epsilon, norm="max", max_iter=1000, tol=1e-5)
    transport.fit(Xs=subsamples[0], Xt=subsamples[1])

    def move(x: Tensor) -> Tensor:
        return torch.from_numpy(transport.transform(Xs=x.cpu().double().numpy(), batch_size=1024)).to(x)

    return move
