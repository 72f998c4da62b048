"""Percentile curves of neurons: what the edit learns from source and target, and what it does to the query."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from anndata import AnnData
from matplotlib.axes import Axes

from .. import _slots
from .._check import config_of, name_of, some
from ._figure import ROLES, finish, panels
from ._record import Edited, edited

STYLES: dict[str, dict[str, Any]] = {
    "source": {"linewidth": 2.0, "linestyle": (0, (1, 1))},
    "target": {"linewidth": 2.0, "linestyle": (0, (4, 1.5))},
    "query": {"linewidth": 1.4, "linestyle": (0, (4, 1, 1, 1))},
    "edited": {"linewidth": 1.6},
}

COLUMNS = 3
"""Panels beside each other."""


def neurons(
    adata: AnnData,
    *,
    key: str = _slots.EDITED,
    neurons: Sequence[int] | None = None,
    n: int = 6,
    ax: Axes | Sequence[Axes] | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Any:
    """Draw the percentiles of single neurons in source, target and the query before and after the edit.

    Percentile editing moves each value of a neuron by the distance between the curves of source and target at that value,
    so the query's curves lie as far apart as these where query and source are alike.

    Parameters
    ----------
    adata
        After :func:`neuronedit.tl.edit`, whose record says which cells are meant.
    key
        ``key_added`` of the edit. With several models, the first one's neurons are drawn.
    neurons
        A panel for each, columns of ``obsm["X_neurons"]``. `None`: those that moved most from source to target, as in
        :func:`neuronedit.tl.rank_neurons`, which also says what each does.
    n
        How many, when none are named.
    ax
        Axes to draw into, one for each neuron.
    show
        Call ``plt.show()``.
    return_fig
        Return the figure instead.

    Returns
    -------
    The Axes, or a list with one for each neuron; the Figure with ``return_fig=True``. Where another layer was edited than
    the space was trained on, the query before the edit is as in the latter, which the legend says.

    Raises
    ------
    KeyError, ValueError
        When there is no such edit or neuron, or its neurons are gone or those of another space.

    References
    ----------
    Amodio et al. 2018, Out-of-sample extrapolation with neuron editing, arXiv:1805.12198.

    Examples
    --------
    >>> import neuronedit as ne
    >>> adata = ne.datasets.simulate_batches(n_cells=200)
    >>> ne.tl.train(adata, widths=(32, 8), max_epochs=2)
    >>> ne.tl.edit(adata, "group", source="control_1", target="control_2", query="sample_1", edit="percentile")
    >>> axes = ne.pl.neurons(adata, neurons=[3, 5])
    >>> [ax.get_title() for ax in axes], len(axes[0].lines)
    (['neuron 3', 'neuron 5'], 4)
    """
    record = edited(adata, key)
    values, names = _neurons(adata, record, key)
    n_neurons = values["source"].shape[1]
    if neurons is None:
        if n < 1:
            raise ValueError(f"n must be at least 1; it is {n}.")
        neurons = np.argsort(-_distance(values["source"], values["target"]), kind="stable")[:n].tolist()
    if not len(neurons) or not all(isinstance(j, int | np.integer) and 0 <= j < n_neurons for j in neurons):
        raise ValueError(f"neurons must be numbers from 0 to {n_neurons - 1}; they are {neurons!r}.")
    curves = {role: _percentiles(cells[:, list(neurons)]) for role, cells in values.items()}
    room = 0.9 + 0.075 * max(map(len, names.values()))
    axes = panels(len(neurons), ax, columns=COLUMNS, size=(1.9, 1.8), room=room)

    for i, (neuron, panel) in enumerate(zip(neurons, axes, strict=True)):
        for role, color in ROLES.items():
            panel.plot(curves[role][i], color=color, label=names[role], **STYLES[role])
        panel.set_title(f"neuron {neuron}", fontsize="medium")
        panel.set(xlim=(-2, 102), xticks=[0, 25, 50, 75, 100])
        if ax is not None or i + COLUMNS >= len(axes):
            panel.set_xlabel("percentile")
        if ax is not None or i % COLUMNS == 0:
            panel.set_ylabel("value of the neuron")
        panel.spines[["top", "right"]].set_visible(False)
    beside = axes[min(len(axes), COLUMNS) - 1]
    beside.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.02, 1), handlelength=2.6)
    return finish(axes, show=show, return_fig=return_fig)


def _neurons(adata: AnnData, record: Edited, key: str) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Return the neurons of each role, ``(n_cells, n_neurons)``, and the roles' names."""
    model = config_of(adata, key)["key"][0]
    slots = (_slots.neurons(model), _slots.neurons_edited(key))
    for slot in slots:
        if slot not in adata.obsm:
            raise KeyError(f"{slot!r} is not in adata.obsm; it has {some(adata.obsm)}.")
    if model not in adata.uns:
        raise KeyError(f"uns[{model!r}] holds no trained space; call ne.tl.train and ne.tl.edit again.")
    trained_on = json.loads(str(adata.uns[model]["config"]))["layer"]
    before, after = (np.asarray(adata.obsm[slot]) for slot in slots)
    query, names = record.masks["query"], record.names
    same = trained_on == record.layer
    if before.shape != after.shape or (same and not np.allclose(before[~query], after[~query], rtol=1e-2, atol=1e-2)):
        raise ValueError(
            f"obsm[{slots[0]!r}] and obsm[{slots[1]!r}] are neurons of different spaces; call ne.tl.edit again."
        )
    if not same:
        if (record.masks["source"] & query).any():
            raise ValueError(
                f"source cells are in the query, and obsm[{slots[0]!r}] is of {name_of(trained_on)}, not of"
                f" {name_of(record.layer)} that was edited: their neurons before the edit are not known."
            )
        names = names | {"query": f"{names['query']}, in {name_of(trained_on)}"}
    unedited = np.where(query[:, None], before, after)
    return {role: (after if role == "edited" else unedited)[record.masks[role]] for role in ROLES}, names


def _distance(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return how far the percentiles of each neuron lie apart, in standard deviations over source cells."""
    sds = []
    for values in (source, target):
        sd, mean = values.std(axis=0, dtype=float), values.mean(axis=0, dtype=float)
        sds.append(np.where(sd > 1e-6 * np.abs(mean), sd, 0))
    unit = np.where(sds[0] > 0, *sds)
    apart = np.abs(_percentiles(target) - _percentiles(source)).mean(axis=1)
    return np.divide(apart, unit, out=np.zeros_like(unit), where=unit > 0)


def _percentiles(values: np.ndarray) -> np.ndarray:
    """Return percentiles 0, 1, ..., 100 of every column, ``(n_columns, 101)``."""
    places, at = np.arange(len(values)), np.linspace(0, len(values) - 1, 101)
    return np.array([np.interp(at, places, column) for column in np.sort(values.T)])
