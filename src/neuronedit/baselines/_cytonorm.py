"""CytoNorm: monotone splines through the quantiles of each FlowSOM cluster, from CytoNormPy."""

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from .._check import Count, Seed, at_least
from .._types import CellTensor, Map
from ._peer import isolated


def cytonorm(
    source: CellTensor, target: CellTensor, /, *, n_clusters: Count = 10, n_quantiles: Annotated[int, at_least(2)] = 99, min_cells: Annotated[int, at_least(0)] = 50,
    limits: Sequence[float] | None = None, rng: Seed = 0,
) -> Map:  # fmt: skip
    """Cluster source and target together, and map the quantiles of the source to those of the target in each cluster.

    A new cell is assigned to a cluster, whose splines are applied to its features. The goal is the target's distribution, not
    the mean of the batches, CytoNorm's default.

    Examples
    --------
    >>> import torch, neuronedit as ne
    >>> source = torch.randn(2000, 3)
    >>> ne.baselines.cytonorm(source, source + 1)(source).mean().round().item()  # doctest: +SKIP
    1.0

    Parameters
    ----------
    source, target
        ``(n_cells, n_features)``, the control sample in both batches, variance-stabilized (`arcsinh`).
    n_clusters
        Metaclusters of FlowSOM, 10 as in CytoNormPy's tutorial. More follow cell types more closely, but each needs
        ``min_cells`` cells of both populations.
    n_quantiles
        Knots of a spline. Beyond the outermost two it is a straight line, which can be very steep where most of a cluster is
        zero: look at the range of the result, and give ``limits`` if it is absurd.
    min_cells
        A cluster with fewer cells in the source or in the target is left unchanged.
    limits
        Values that no spline changes, such as the lowest and the highest that can be measured.
    %(rng)s

    Returns
    -------
    A map of each cell by itself. A feature that is constant within a cluster is left unchanged there.

    %(bench_errors)s

    References
    ----------
    Van Gassen et al. 2020, CytoNorm, doi:10.1002/cyto.a.23904; Van Gassen et al. 2015, FlowSOM, doi:10.1002/cyto.a.22625.
    """
    with isolated("CytoNorm needs CytoNormPy"):
        import cytonormpy
        from anndata import AnnData

        # set up
        cells = torch.cat([source, target]).detach().cpu().double().numpy()
        batch = np.repeat([0, 1], [len(source), len(target)])
        obs = {"batch": batch, "file_name": np.where(batch, "target", "source"), "reference": ["ref"] * len(cells)}
        adata = AnnData(cells, obs=obs, layers={"cells": cells})
        side = min(10, math.isqrt(len(cells)))
        clusterer = cytonormpy.FlowSOM(n_clusters=min(n_clusters, side**2), xdim=side, ydim=side, seed=rng)
        norm = cytonormpy.CytoNorm()
        norm.add_clusterer(clusterer)
        norm.run_anndata_setup(adata, layer="cells", channels="all")
        # fit
        with ThreadPoolExecutor(1) as pool:  # numba's random state, which FlowSOM sets, is one for each thread
            pool.submit(norm.run_clustering, test_cluster_cv=False).result()
        norm.calculate_quantiles(n_quantiles=n_quantiles, min_cells=min_cells)
        norm.calculate_splines(goal=1, limits=None if limits is None else list(limits))

    def move(x: Tensor) -> Tensor:
        cells = x.detach().cpu().double().numpy()
        clusters = clusterer.calculate_clusters(cells)
        moved = cells.copy()
        for cluster in set(norm.clusters) & set(clusters.tolist()):
            rows = clusters == cluster
            for feature, name in enumerate(adata.var_names):
                moved[rows, feature] = norm.splinefuncs.transform(cells[rows, feature], 0, cluster, name)
        return torch.from_numpy(moved).to(x)

    return move
