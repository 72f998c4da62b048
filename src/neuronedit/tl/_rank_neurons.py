"""Which neurons an edit moves, and what each of them does in the decoder."""

import numpy as np
import pandas as pd
import torch
from anndata import AnnData
from torch import Tensor

from .. import _slots
from .._check import Count
from .._data.check import NEURONS_LEFT_OUT, format_choices, get_edited_cells, open_adata, select_cells
from .._data.reader import encode_cells, spaced
from .._data.record import Record
from .._data.space import TrainedSpace, check_space_ids
from .._types import Space
from ..edits import percentile


def rank_neurons(
    adata: AnnData,
    *,
    key: str = _slots.EDITED,
    n_features: Count = 5,
    max_cells: Count = 1_000,
    accelerator: str = "auto",
) -> pd.DataFrame:
    r"""Rank neurons by how far apart source and target are, and name the features that each of them drives.

    This follows Amodio et al. 2018, arXiv:1805.12198. With :math:`p_{j0}^S, \dots, p_{j100}^S` the percentiles of neuron
    :math:`j` in the source, :math:`p_j^T` those in the target and :math:`s_j` its standard deviation in the source, the
    distance is :math:`\frac{1}{101} \sum_i |p_{ji}^T - p_{ji}^S| / s_j`, in effect the Wasserstein-1 distance. What the
    neuron drives is found by finite differences in the decoder :math:`D`, averaged over cells :math:`z` of the source:
    :math:`D(z + s_j e_j / 2) - D(z - s_j e_j / 2)`.

    Examples
    --------
    >>> import neuronedit as ne
    >>> adata = ne.datasets.simulate_batches(n_cells=200)
    >>> ne.tl.train(adata, widths=(32, 8), max_epochs=2)
    >>> populations = {"source": "control_1", "target": "control_2", "query": "sample_1"}
    >>> ne.tl.edit(adata, "group", **populations, edit="percentile")
    >>> ranked = ne.tl.rank_neurons(adata, n_features=3)
    >>> ranked.shape, list(ranked.columns)
    ((24, 7), ['rank', 'neuron', 'distance', 'shift', 'applied', 'feature', 'effect'])
    >>> best = ranked["neuron"].unique()[:2]
    >>> ne.tl.edit(adata, "group", **populations, edit="percentile", neurons=best, key_added="edited_2")

    Parameters
    ----------
    adata
        After :func:`neuronedit.tl.edit`, whose record says which cells are meant.
    key
        ``key_added`` of the edit. With several models, the first one's neurons are ranked.
    n_features
        How many features are named for each neuron, at most all.
    max_cells
        Source cells, evenly spaced, at which the decoder is differentiated; more take longer.
    %(accelerator)s

    Returns
    -------
    A DataFrame, a row for each neuron and each of its features; nothing is written. Its columns are

    ``rank``
        1 for the neuron whose distance is largest.
    ``neuron``
        Its column in ``obsm["X_neurons"]``, as :func:`neuronedit.tl.edit` takes it in ``neurons``.
    ``distance``
        Between its percentiles in source and target, in standard deviations over source cells (over target cells, where it is
        silent in the source; 0 where it is silent in both).
    ``shift``
        Its mean in the target less that in the source, in the same unit: smaller than the distance where the shape changes.
    ``applied``
        Mean absolute movement in the query, in the same unit: about the distance where the query resembles the source.
    ``feature``, ``effect``
        The features on which it has the largest effects, the largest first: how far each goes up when the neuron
        goes up by that unit, in units of the layer.

    Raises
    ------
    KeyError, ValueError
        When there is no such edit, it was fitted on other cells, or its cells, layer or space are gone or changed.
    """
    # read
    adata = open_adata(adata)
    record = Record.read(adata, key, fitted_here=True)
    config, neurons_key = record.config, _slots.neurons_edited(key)
    query = np.flatnonzero(get_edited_cells(adata, key))
    if neurons_key not in adata.obsm:
        there = format_choices(adata.obsm)
        raise KeyError(f"{neurons_key!r} is not in adata.obsm; it has {there}. {NEURONS_LEFT_OUT}")
    rows = [np.flatnonzero(select_cells(adata, config["groupby"], config[role], role)) for role in ("source", "target")]
    space = TrainedSpace.read(adata, config["key"][0], config["layer"], accelerator)
    check_space_ids(record.space_ids, adata, key)
    space.check_cells()

    # neurons before and after
    encoded = (encode_cells(space.space, space.cells, index, space.device) for index in (*rows, query))
    source, target, before = (neurons.cpu().double() for neurons in encoded)
    stored = torch.from_numpy(np.asarray(adata.obsm[neurons_key], dtype=float))
    after, unchanged = stored[query], stored[rows[1]]
    if unchanged.shape != target.shape or not torch.allclose(unchanged, target, rtol=1e-2, atol=1e-2):
        raise ValueError(
            f"obsm[{neurons_key!r}] does not hold the target's neurons in uns[{config['key'][0]!r}]: the space, the"
            " layer or the labels changed after the edit; call ne.tl.edit again."
        )

    # how far each moved, in units of its standard deviation
    unit = torch.where(_sd(source) > 0, _sd(source), _sd(target))
    curves = [percentile(z, z).knots for z in (source, target)]
    moved = {"distance": (curves[1] - curves[0]).abs().mean(1), "shift": target.mean(0) - source.mean(0)}
    moved["applied"] = (after - before).abs().mean(0)
    moved = {name: torch.where(unit > 0, value / unit, 0) for name, value in moved.items()}

    # what each does in the decoder
    few = source[spaced(len(source), max_cells)].float().to(space.device)
    effects = _effects(space.space, few, unit)  # (n_neurons, n_features)
    order = moved["distance"].argsort(descending=True, stable=True)
    top = effects.abs().argsort(dim=1, descending=True, stable=True)[order, :n_features]
    ranked = pd.DataFrame({"rank": np.arange(1, len(order) + 1), "neuron": order.numpy()})
    ranked = ranked.assign(**{name: value[order].numpy() for name, value in moved.items()})
    ranked = ranked.loc[ranked.index.repeat(top.shape[1])].reset_index(drop=True)
    features = np.array(space.features, dtype=object)[top.numpy().ravel()]
    return ranked.assign(feature=features, effect=effects[order].gather(1, top).numpy().ravel())


def _sd(z: Tensor) -> Tensor:
    """Return the standard deviation of each neuron, exactly 0 where it is silent, whatever rounding leaves of it."""
    sd, mean = torch.std_mean(z, 0, correction=0)
    return torch.where(sd > 1e-6 * mean.abs(), sd, 0)


def _effects(space: Space, z: Tensor, steps: Tensor) -> Tensor:
    """Return how far each feature goes up when a neuron goes up by its step, ``(n_neurons, n_features)``."""

    def decoded(neuron: int, step: float) -> Tensor:
        stepped = z.clone()
        stepped[:, neuron] += step
        return space.decode(stepped)

    with torch.no_grad():
        effects = [decoded(j, step / 2) - decoded(j, -step / 2) for j, step in enumerate(steps.tolist())]
        return torch.stack([effect.mean(0) for effect in effects]).cpu()
