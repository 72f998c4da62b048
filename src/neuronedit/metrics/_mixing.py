"""Are the neighbours of a cell of all batches, and of its own population? Through scib-metrics and FlowSOM, which are extras."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import numpy as np

from .._check import CellArray, Count, LabelsOf, Seed, TwoOrMore
from ._cells import to_float64

N_NEIGHBORS = 90  # three times the perplexity that is usual for local inverse Simpson indices


def ilisi(
    cells: CellArray, batches: Annotated[np.ndarray, LabelsOf("cells")], *, n_neighbors: TwoOrMore = N_NEIGHBORS
) -> float:
    """Measure how well batches are mixed around each cell: the median local inverse Simpson index of batches, from 0 to 1.

    Examples
    --------
    >>> import numpy as np, neuronedit as ne
    >>> cells, batches = np.random.default_rng(0).normal(size=(300, 3)), np.tile(["a", "b"], 150)
    >>> ne.metrics.ilisi(cells, batches) > 0.9  # doctest: +SKIP
    True

    Parameters
    ----------
    cells
        ``(n_cells, n_features)``
    batches
        Batch of each cell, ``(n_cells,)``; two or more.
    %(neighbors_of_cells)s

    Returns
    -------
    From 0, each cell is among its own batch, to 1, all batches are alike around it; higher is better. It asks that batches hold the same kinds of cells in the same numbers: where people differ, a right correction scores
    below 1, and one that pushes all cells together scores 1. Read it with `clisi`.

    %(scib_errors)s

    References
    ----------
    Korsunsky et al. 2019, Nature Methods, doi:10.1038/s41592-019-0619-0; scib-metrics.
    """
    return _find_lisi(cells, batches, n_neighbors, "batches", "ilisi_knn")


def clisi(
    cells: CellArray, populations: Annotated[np.ndarray, LabelsOf("cells")], *, n_neighbors: TwoOrMore = N_NEIGHBORS
) -> float:
    """Measure how far cells are among their own population: the median local inverse Simpson index of populations, from 0 to 1.

    Examples
    --------
    >>> import numpy as np, neuronedit as ne
    >>> cells, populations = np.random.default_rng(0).normal(size=(300, 3)), np.repeat(["B", "T"], 150)
    >>> cells[populations == "T"] += 9.0
    >>> ne.metrics.clisi(cells, populations)  # doctest: +SKIP
    1.0

    Parameters
    ----------
    cells
        ``(n_cells, n_features)``
    populations
        Population of each cell, ``(n_cells,)``; two or more.
    %(neighbors_of_cells)s

    Returns
    -------
    From 0, populations are mixed, to 1, each cell is among its own; higher is better. It is near 1 for nearly every correction, and for the cells left alone; it falls where populations are pushed into each other.

    %(scib_errors)s

    References
    ----------
    Korsunsky et al. 2019, Nature Methods, doi:10.1038/s41592-019-0619-0; scib-metrics.
    """
    return _find_lisi(cells, populations, n_neighbors, "populations", "clisi_knn")


def kbet(
    cells: CellArray, batches: Annotated[np.ndarray, LabelsOf("cells")], *, n_neighbors: TwoOrMore = N_NEIGHBORS
) -> float:
    """Share of the cells around which batches have the shares that they have in all cells, by a chi-squared test (kBET).

    Examples
    --------
    >>> import numpy as np, neuronedit as ne
    >>> cells, batches = np.random.default_rng(0).normal(size=(300, 3)), np.tile(["a", "b"], 150)
    >>> ne.metrics.kbet(cells, batches) > 0.9  # doctest: +SKIP
    True

    Parameters
    ----------
    cells
        ``(n_cells, n_features)``
    batches
        Batch of each cell, ``(n_cells,)``; two or more.
    %(neighbors_of_cells)s

    Returns
    -------
    From 0 to 1, the share of cells whose p-value is at least 0.05; higher is better. It rejects nearly everywhere as soon as batches hold other shares of the same populations, so give it cells of one
    population, or samples that hold the same.

    %(scib_errors)s

    References
    ----------
    Büttner et al. 2019, Nature Methods, doi:10.1038/s41592-018-0254-1; scib-metrics.
    """
    neighbors, codes, scib_metrics = _find_neighbors(cells, batches, n_neighbors, "batches", "kbet")
    return float(scib_metrics.kbet(neighbors, codes)[0])


def bras(
    cells: CellArray,
    batches: Annotated[np.ndarray, LabelsOf("cells")],
    populations: Annotated[np.ndarray, LabelsOf("cells")],
) -> float:
    """Measure how far batches are mixed in each population, by silhouettes (batch removal adapted silhouette).

    Examples
    --------
    >>> import numpy as np, neuronedit as ne
    >>> cells, batches = np.random.default_rng(0).normal(size=(300, 3)), np.tile(["a", "b"], 150)
    >>> ne.metrics.bras(cells, batches, np.full(300, "T")) > 0.9  # doctest: +SKIP
    True

    Parameters
    ----------
    cells
        ``(n_cells, n_features)``; distances are cosines, as in scib-metrics.
    batches, populations
        Labels of the cells, ``(n_cells,)`` each; two batches or more.

    Returns
    -------
    From 0 to 1, the mean over populations; higher is better. It compares with the mean distance to cells of all other batches, where the silhouette of batches compares with the nearest one, and so misses a batch effect that some batches share.

    %(scib_errors)s

    References
    ----------
    Rautenstrauch & Ohler 2025, Nature Biotechnology, doi:10.1038/s41587-025-02743-4; scib-metrics.
    """
    scib_metrics, [cells] = _import_scib("bras"), to_float64(cells)
    _, codes = _code_labels(batches, "batches")
    return float(scib_metrics.bras(cells, np.unique(populations, return_inverse=True)[1], codes))


def flowsom_similarity(
    x: CellArray,
    y: CellArray,
    x_populations: Annotated[np.ndarray, LabelsOf("x")],
    y_populations: Annotated[np.ndarray, LabelsOf("y")],
    *,
    grid: Count = 10,
    rng: Seed = 0,
) -> float:
    r"""Say how far two samples have the same populations in the same nodes of a self-organizing map.

    :math:`100 - \sum_k w_k \sum_c |P_{kc}^x - P_{kc}^y|` with the percentage :math:`P_{kc}` of population c among the cells in node k, and the share :math:`w_k` of all cells that are in it; the mean of
    a map of x onto which y is put, and the reverse.

    Examples
    --------
    >>> import numpy as np, neuronedit as ne
    >>> x, populations = np.random.default_rng(0).normal(size=(300, 3)), np.full(300, "T")
    >>> ne.metrics.flowsom_similarity(x, x, populations, populations, grid=3)  # doctest: +SKIP
    100.0

    Parameters
    ----------
    x, y
        Cells of two samples, ``(n_cells, n_features)``: the same person in two batches.
    x_populations, y_populations
        Their populations, ``(n_cells,)`` each.
    grid
        The map has ``grid`` x ``grid`` nodes; more than there are populations.
    %(rng)s

    Returns
    -------
    At most 100, which is best; -100 where no node has a population in both. A node that has cells of one sample alone counts half. It depends on the seed, and on how finely populations are named.

    Raises
    ------
    ImportError
        When flowsom (extra ``flowsom``) is not installed.

    References
    ----------
    Van Gassen et al. 2015, Cytometry A, doi:10.1002/cyto.a.22625; Open Problems, task of cytometry batch integration: ``flowsom_mean_mapping_similarity``.
    """
    x, y = to_float64(x, y)
    scores = [
        _compare_nodes(*_map_both(x, y, grid, rng), x_populations, y_populations),
        _compare_nodes(*_map_both(y, x, grid, rng), y_populations, x_populations),
    ]
    return float(np.mean(scores))


def _find_lisi(cells: np.ndarray, labels: np.ndarray, n_neighbors: int, argument: str, function: str) -> float:
    """Return the median index of labels among the neighbours, scaled."""
    neighbors, codes, scib_metrics = _find_neighbors(cells, labels, n_neighbors, argument, function[:5])
    return float(getattr(scib_metrics, function)(neighbors, codes))


def _find_neighbors(
    cells: np.ndarray, labels: np.ndarray, n_neighbors: int, argument: str, function: str
) -> tuple[Any, np.ndarray, Any]:
    """Return the nearest neighbours as scib-metrics takes them, the labels as numbers, and that package."""
    scib_metrics = _import_scib(function)
    from scib_metrics.nearest_neighbors import NeighborsResults
    from sklearn.neighbors import NearestNeighbors

    [cells] = to_float64(cells)
    _, codes = _code_labels(labels, argument)
    if n_neighbors > len(cells):
        raise ValueError(f"n_neighbors is {n_neighbors}; there are {len(cells)} cells.")
    distances, indices = NearestNeighbors(n_neighbors=n_neighbors).fit(cells).kneighbors(cells)
    return NeighborsResults(indices=indices, distances=distances.astype(np.float32)), codes, scib_metrics


def _code_labels(labels: np.ndarray, argument: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the names and the numbers of labels, of which there must be two or more."""
    names, codes = np.unique(labels, return_inverse=True)
    if len(names) < 2:
        raise ValueError(f"{argument} must have two values or more; they have one, {names[0]}.")
    return names, codes


def _import_scib(function: str) -> Any:
    """Return the package scib-metrics."""
    try:
        import scib_metrics
    except ImportError as error:
        raise ImportError(f"{function} needs scib-metrics: pip install 'neuronedit[scib]'.") from error
    return scib_metrics


def _map_both(reference: np.ndarray, other: np.ndarray, grid: int, rng: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the node of each cell of both in a self-organizing map of the first."""
    try:
        from flowsom import FlowSOM
    except ImportError as error:
        raise ImportError("flowsom_similarity needs flowsom: pip install 'neuronedit[flowsom]'.") from error
    with _quiet():
        tree = FlowSOM(reference.copy(), n_clusters=1, xdim=grid, ydim=grid, seed=rng)
        mapped = tree.new_data(other.copy())
        return np.asarray(tree.cluster_labels), np.asarray(mapped.cluster_labels)


def _compare_nodes(x_nodes: Any, y_nodes: Any, x_populations: np.ndarray, y_populations: np.ndarray) -> float:
    """Return 100 less the weighted difference between the percentages of populations in each node."""
    nodes, populations = np.union1d(x_nodes, y_nodes), np.union1d(x_populations, y_populations)
    dissimilarity = 0.0
    for node in nodes:
        shares = []
        for own, labels in ((x_nodes == node, x_populations), (y_nodes == node, y_populations)):
            counts = np.array([np.sum(labels[own] == name) for name in populations], dtype=float)
            shares.append(100 * counts / max(counts.sum(), 1))
        weight = (np.sum(x_nodes == node) + np.sum(y_nodes == node)) / (len(x_nodes) + len(y_nodes))
        dissimilarity += weight * np.abs(shares[0] - shares[1]).sum()
    return 100 - dissimilarity


@contextmanager
def _quiet() -> Iterator[None]:
    """Run FlowSOM without its log and warnings, and put back the random state of the process, which it sets."""
    from loguru import logger

    state = np.random.get_state()  # noqa: NPY002
    logger.disable("flowsom")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.enable("flowsom")
        np.random.set_state(state)  # noqa: NPY002
