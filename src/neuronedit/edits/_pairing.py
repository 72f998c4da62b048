"""Fit an edit in each donor, say, and trust those most whose source resembles the query."""

from collections.abc import Callable

import numpy as np

from .._energy import energy
from .._maps import Average
from .._subsample import subsample
from .._types import CellTensor, Map
from ._strata import MIN_CELLS_PER_STRATUM, PRIOR_CELLS, Populations

MAX_CELLS_FOR_DISTANCE = 1_000  # of each population: a million distances for each donor
MIN_RELATIVE_DISTANCE = 0.01  # of the mean: lower ones count alike, as samples of one population are about 0 apart


def by_pairing(fit: Callable[[Populations], Map], query: CellTensor, /) -> Callable[[Populations], Map]:
    """Fit an edit in each donor, and average the edits by how much each donor's source resembles the query.

    Differences between donors are then not mistaken for a change where source and target hold them in different numbers. A donor
    counts by the inverse of the energy distance from its source to the query (Shepard's weights), and by n / (n + 50) where
    it has only n cells before or after the change; with fewer than 20 it does not count.

    Examples
    --------
    >>> import numpy as np, torch, neuronedit as ne
    >>> source, donors = torch.tensor([[0.0], [10.0]]).repeat(500, 1), np.tile([0, 1], 500)
    >>> target, none = source + torch.tensor([[1.0], [3.0]]).repeat(500, 1), np.zeros(1000)
    >>> populations = ne.edits.Populations(source, target, none, none, donors, donors)
    >>> fit = ne.edits.by_pairing(ne.edits.on_all(ne.edits.shift), torch.full((100, 1), 10.0))
    >>> fit(populations)(torch.tensor([[10.0]])).round().tolist()
    [[13.0]]

    Parameters
    ----------
    fit
        Fits an edit: ``on_all(edit)`` or ``by_strata(edit)``.
    query
        Neurons of the cells that the edit is meant for, ``(n_cells, n_neurons)``.

    Returns
    -------
    The function that fits it to `Populations` with pairing, or else raises a ValueError; to all cells where no donor has enough.

    References
    ----------
    Shepard 1968, A two-dimensional interpolation function for irregularly-spaced data, doi:10.1145/800186.810616.
    """
    query_sample = query[subsample(len(query), MAX_CELLS_FOR_DISTANCE)]

    def fit_each(populations: Populations) -> Map:
        if populations.source_pairing is None or populations.target_pairing is None:
            raise ValueError("source_pairing and target_pairing are None: they say which cells belong together.")
        # fit in each donor
        maps, reliability, distances = [], [], []
        for donor in np.unique(populations.source_pairing):
            own = populations.subset(populations.source_pairing == donor, populations.target_pairing == donor)
            n = min(len(own.source), len(own.target))
            if n < MIN_CELLS_PER_STRATUM:
                continue
            source_sample = own.source[subsample(len(own.source), MAX_CELLS_FOR_DISTANCE)]
            maps.append(fit(own))
            reliability.append(n / (n + PRIOR_CELLS))
            distances.append(float(energy(source_sample, query_sample)))
        if not maps:
            return fit(populations)
        # average
        min_distance = max(MIN_RELATIVE_DISTANCE * float(np.mean(distances)), 1e-9)
        nearness = 1 / np.maximum(distances, min_distance)
        weights = np.array(reliability) * nearness
        return Average(maps, (weights / weights.sum()).tolist())

    return fit_each
