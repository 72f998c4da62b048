"""Percentile curves of neurons: what the edit is fitted to in source and target, and what it does to the query."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from anndata import AnnData
from matplotlib.axes import Axes

from .. import _slots
from .._data.check import check_at_least, describe_layer, format_choices
from .._docs import shared_docs
from ._figure import ROLES, finish, legend_beside, panels
from ._record import EditedPopulations, check_same_space

NEURON_STYLES: dict[str, dict[str, Any]] = {
    "source": {"linewidth": 2.0, "linestyle": (0, (1, 1))},
    "target": {"linewidth": 2.0, "linestyle": (0, (4, 1.5))},
    "query": {"linewidth": 1.4, "linestyle": (0, (4, 1, 1, 1))},
    "edited": {"linewidth": 1.6},
}

NEURONS_IN_A_ROW = 3

RELATIVE_ROUNDING = 1e-6
"""Standard deviation, as a share of the mean, below which a neuron is constant up to the rounding of float32."""

SAME_NEURONS = 1e-2
"""Difference, relative and absolute, up to which two encodings of a cell are of one space; those of others differ by about 1."""


@shared_docs
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

    Examples
    --------
    >>> import neuronedit as ne
    >>> adata = ne.datasets.simulate_batches(n_cells=200)
    >>> ne.tl.train(adata, widths=(32, 8), max_epochs=2)
    >>> ne.tl.edit(adata, "group", source="control_1", target="control_2", query="sample_1", edit="percentile")
    >>> axes = ne.pl.neurons(adata, neurons=[3, 5])
    >>> [ax.get_title() for ax in axes], len(axes[0].lines)
    (['neuron 3', 'neuron 5'], 4)

    Parameters
    ----------
    %(cells_of_edit)s
    key
        ``key_added`` of the edit. With several spaces, the first one's neurons are drawn.
    neurons
        A panel for each, columns of ``obsm["X_neurons"]``. `None`: those that moved most from source to target, as in
        :func:`neuronedit.tl.rank_neurons`, which also says what each does.
    n
        How many, when none are named.
    %(figure)s

    Returns
    -------
    The Axes, or a list with one for each neuron; the Figure with ``return_fig=True``. Where another layer was edited than
    the space was trained on, the query before the edit is as in the latter, which the legend says.

    Raises
    ------
    %(plot_errors)s
    """
    # read
    values, names = _read_neurons(EditedPopulations.read(adata, key))
    n_neurons = values["source"].shape[1]
    if neurons is None:
        check_at_least(1, n=n)
        neurons = np.argsort(-_measure_change(values["source"], values["target"]), kind="stable")[:n].tolist()
    if not len(neurons) or not all(isinstance(j, int | np.integer) and 0 <= j < n_neurons for j in neurons):
        raise ValueError(f"neurons must be numbers from 0 to {n_neurons - 1}; they are {neurons!r}.")
    curves = {role: _compute_percentiles(cells[:, list(neurons)]) for role, cells in values.items()}

    # draw
    n, columns = len(neurons), NEURONS_IN_A_ROW
    axes = panels(n, ax, n_columns=columns, size=(1.9, 1.8), room=0.9, names=names.values())
    for i, (neuron, panel) in enumerate(zip(neurons, axes, strict=True)):
        for role, color in ROLES.items():
            panel.plot(curves[role][i], color=color, label=names[role], **NEURON_STYLES[role])
        panel.set_title(f"neuron {neuron}", fontsize="medium")
        panel.set(xlim=(-2, 102), xticks=[0, 25, 50, 75, 100])
        if ax is not None or i + columns >= n:
            panel.set_xlabel("percentile")
        if ax is not None or i % columns == 0:
            panel.set_ylabel("value of the neuron")
        panel.spines[["top", "right"]].set_visible(False)
    handles = {line.get_label(): line for line in axes[0].lines}
    legend_beside(axes, handles, columns, handlelength=2.6)
    return finish(axes, show=show, return_fig=return_fig)


def _read_neurons(populations: EditedPopulations) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Return the neurons of each role, ``(n_cells, n_neurons)``, and the roles' names."""
    # read
    adata, record, masks = populations.adata, populations.record, populations.masks
    model, query = record.config["key"][0], masks["query"]
    slots = (_slots.neurons(model), _slots.neurons_edited(record.key))
    for slot in slots:
        if slot not in adata.obsm:
            raise KeyError(f"{slot!r} is not in adata.obsm; it has {format_choices(adata.obsm)}.")
    if model not in adata.uns:
        raise KeyError(f"uns[{model!r}] holds no trained space; call ne.tl.train and ne.tl.edit again.")
    check_same_space(adata, record)
    before, after = (np.asarray(adata.obsm[slot]) for slot in slots)
    trained_on = describe_layer(json.loads(str(adata.uns[model]["config"]))["layer"])

    # check: where the edit read the layer of the training, cells that it left alone have the same neurons in both
    names, layer, is_same = populations.names, describe_layer(populations.layer), before.shape == after.shape
    if is_same and trained_on == layer:
        is_same = np.allclose(before[~query], after[~query], rtol=SAME_NEURONS, atol=SAME_NEURONS)
    if not is_same:
        raise ValueError(f"obsm {slots[0]!r} and {slots[1]!r} are neurons of different spaces; call ne.tl.edit again.")
    if trained_on != layer:
        names = names | {"query": f"{names['query']}, in {trained_on}"}
        if (masks["source"] & query).any():
            raise ValueError(
                f"source cells are in the query, and obsm[{slots[0]!r}] is of {trained_on}, not of {layer} that was"
                " edited: their neurons before the edit are not known."
            )
    unedited = np.where(query[:, None], before, after)
    return {role: (after if role == "edited" else unedited)[masks[role]] for role in ROLES}, names


def _measure_change(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return how far the percentiles of each neuron lie apart, in standard deviations over source cells."""
    sds = []
    for values in (source, target):
        sd, mean = values.std(axis=0, dtype=float), values.mean(axis=0, dtype=float)
        sds.append(np.where(sd > RELATIVE_ROUNDING * np.abs(mean), sd, 0))
    unit = np.where(sds[0] > 0, *sds)
    apart = np.abs(_compute_percentiles(target) - _compute_percentiles(source)).mean(axis=1)
    return np.divide(apart, unit, out=np.zeros_like(unit), where=unit > 0)


def _compute_percentiles(values: np.ndarray) -> np.ndarray:
    """Return percentiles 0, 1, ..., 100 of every column, ``(n_columns, 101)``."""
    places, at = np.arange(len(values)), np.linspace(0, len(values) - 1, 101)
    return np.array([np.interp(at, places, column) for column in np.sort(values.T)])
