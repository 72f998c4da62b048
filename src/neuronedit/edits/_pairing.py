"""Learn a change on each of several pairs, and trust those most whose source resembles the query."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from .._maps import Average
from .._types import Map
from ._neighbors import draw
from ._strata import FEWEST, PRIOR, Populations

MOST = 1_000
"""Cells of each population between which distances are measured."""


def energy(x: Tensor, y: Tensor) -> Tensor:
    """Energy distance, unbiased; gradients flow through it."""
    return 2 * torch.cdist(x, y).mean() - torch.pdist(x).mean() - torch.pdist(y).mean()


def by_pairing(learn: Callable[[Populations], Map], query: Tensor, /) -> Callable[[Populations], Map]:
    """Learn an edit on each pair, and average the edits by how much each pair's source resembles the query.

    The change is seen within one donor at a time, so what sets donors apart is not taken for a change where source and
    target hold them in different numbers. A pair counts by the inverse of the energy distance from its source to the query
    (Shepard's weights), and by n / (n + 50) where it has only n cells before or after the change; with fewer than 20 it does
    not count.

    Parameters
    ----------
    learn
        Learns an edit on a pair: ``on_all(edit)`` or ``by_strata(edit)``.
    query
        Neurons of the cells that are to be carried, ``(n_cells, n_neurons)``.

    Returns
    -------
    The function that learns it on a pair whose ``source_pairs`` and ``target_pairs`` say which cells belong together.

    References
    ----------
    Shepard 1968, A two-dimensional interpolation function for irregularly-spaced data, doi:10.1145/800186.810616.

    Examples
    --------
    >>> import numpy as np, torch, neuronedit as ne
    >>> source, donors = torch.tensor([[0.0], [10.0]]).repeat(500, 1), np.tile([0, 1], 500)
    >>> target, none = source + torch.tensor([[1.0], [3.0]]).repeat(500, 1), np.zeros(1000)
    >>> learn = ne.edits.by_pairs(ne.edits.on_all(ne.edits.shift), torch.full((100, 1), 10.0))
    >>> learn(ne.edits.Pair(source, target, none, none, donors, donors))(torch.tensor([[10.0]])).round().tolist()
    [[13.0]]
    """
    seen = query[draw(len(query), MOST)]

    def learn_each(pair: Populations) -> Map:
        if pair.source_pairing is None or pair.target_pairing is None:
            raise ValueError("the pair does not say which of its cells belong together: source_pairs and target_pairs.")
        maps, kept, away = [], [], []
        for name in np.unique(pair.source_pairing):
            own = pair.only(pair.source_pairing == name, pair.target_pairing == name)
            if (n := min(len(own.source), len(own.target))) >= FEWEST:
                maps.append(learn(own))
                kept.append(n / (n + PRIOR))
                away.append(float(energy(own.source[draw(len(own.source), MOST)], seen)))
        if not maps:
            return learn(pair)
        near = 1 / np.maximum(away, max(0.01 * float(np.mean(away)), 1e-9))
        shares = np.array(kept) * near
        return Average(maps, [float(share) for share in shares / shares.sum()])

    return learn_each
