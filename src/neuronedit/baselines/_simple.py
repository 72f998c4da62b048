"""The simplest baselines: no change, and a linear model with the batch as its factor."""

import torch

from .._types import CellTensor, Map


def identity(source: CellTensor, target: CellTensor, /) -> Map:
    """Return the map that changes nothing.

    Examples
    --------
    >>> import torch, neuronedit as ne
    >>> ne.baselines.identity(torch.zeros(2, 2), torch.ones(2, 2))(torch.full((1, 2), 3.0)).tolist()
    [[3.0, 3.0]]

    Parameters
    ----------
    source, target
        ``(n_cells, n_features)``; not used.

    Returns
    -------
    The map ``x -> x``.
    """
    return lambda x: x.clone()


def limma(source: CellTensor, target: CellTensor, /) -> Map:
    """Fit a linear model with an intercept and the batch, and replace the source's batch term by the target's.

    limma's removeBatchEffect removes the batch term; here the target's term is then added. With two batches and no other
    covariate this is the mean shift.

    Examples
    --------
    >>> import torch, neuronedit as ne
    >>> ne.baselines.limma(torch.zeros(4, 2), torch.ones(4, 2))(torch.zeros(1, 2)).round().tolist()
    [[1.0, 1.0]]

    Parameters
    ----------
    %(populations)s

    Returns
    -------
    The map ``x -> x - effect(source) + effect(target)``.

    References
    ----------
    Ritchie et al. 2015, limma, Nucleic Acids Research 43:e47, doi:10.1093/nar/gkv007.
    """
    cells = torch.cat([source, target]).cpu().double()
    batch = torch.cat([torch.ones(len(source)), -torch.ones(len(target))]).double()  # contrasts that sum to zero
    design = torch.stack([torch.ones_like(batch), batch], dim=1)
    effect = torch.linalg.lstsq(design, cells).solution[1].to(source)
    return lambda x: x - effect - effect
