"""Distributions of single markers before the edit, after it, and in truth."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from anndata import AnnData
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from scipy import ndimage

from .. import _slots
from .._check import check_features, matrix_of, select
from ._figure import ROLES, finish, ink, panels, units, values_of
from ._record import describe, edited

STYLES: dict[str, dict[str, Any]] = {
    "source": {"color": ROLES["source"], "linewidth": 1.0},
    "target": {"color": ROLES["target"], "linewidth": 1.0},
    "truth": {"linewidth": 1.4, "linestyle": (0, (3, 1.5))},
    "query": {"color": ROLES["query"], "linewidth": 1.6},
    "edited": {"color": ROLES["edited"], "linewidth": 1.6},
}

MOST_PANELS = 12
"""How many features are drawn when none are named."""


def densities(
    adata: AnnData,
    features: Sequence[str] | None = None,
    *,
    truth: Any = None,
    truth_layer: str | None = None,
    controls: bool = False,
    key: str = _slots.EDITED,
    ax: Axes | Sequence[Axes] | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Any:
    """Draw how each marker is distributed in the query before and after the edit, and in truth where that is known.

    Parameters
    ----------
    adata
        After :func:`neuronedit.tl.edit`, whose record says which cells are meant.
    features
        A panel for each. `None`: the 12 that the edit moved most, by their mean absolute change.
    truth
        Cells like the query's that were measured after the change: a value or values of the edit's ``groupby``, or a dict
        of obs column -> value(s).
    truth_layer
        Instead, for simulated cells, the layer that holds the query's true values.
    controls
        Draw source and target, too, as thin lines.
    key
        ``key_added`` of the edit.
    ax
        Axes to draw into, one for each feature.
    show
        Call ``plt.show()``.
    return_fig
        Return the figure instead.

    Returns
    -------
    The Axes, or a list with one for each feature; the Figure with ``return_fig=True``. Curves are histograms, smoothed, each
    with an area of 1; none reaches below the smallest or above the largest of its values, so that a pile of zeros stays
    at zero.

    Raises
    ------
    KeyError, ValueError
        When there is no such edit, feature, cell or layer.

    Examples
    --------
    >>> import neuronedit as ne
    >>> adata = ne.datasets.simulate_batches(n_cells=200)
    >>> ne.tl.train(adata, widths=(32, 8), max_epochs=2)
    >>> ne.tl.edit(adata, "group", source="control_1", target="control_2", query="sample_1")
    >>> axes = ne.pl.densities(adata, ["IFNg", "CCR6"], truth_layer="truth")
    >>> [ax.get_title() for ax in axes], len(axes[0].lines)
    (['IFNg', 'CCR6'], 3)
    """
    record = edited(adata, key)
    if truth is not None and truth_layer is not None:
        raise ValueError("truth names cells and truth_layer a layer that holds them: give one of the two.")
    masks, names = record.masks | {"truth": record.masks["query"]}, record.names | {"truth": "truth"}
    if truth is not None:
        masks["truth"] = select(adata, record.groupby, truth, "truth")
        names["truth"] = f"truth: {describe(truth)}"
    matrix_of(adata, truth_layer or record.layer)
    if features is None:
        change = values_of(adata, key, masks["query"]) - values_of(adata, record.layer, masks["query"])
        features = adata.var_names[np.argsort(-np.abs(change).mean(axis=0), kind="stable")[:MOST_PANELS]]
    features = [features] if isinstance(features, str) else list(features)
    if not features:
        raise ValueError("features is empty; name at least one, or leave it out.")
    check_features(adata, *features)
    drawn = (
        ["source", "target"] * controls
        + ["truth"] * (truth is not None or truth_layer is not None)
        + ["query", "edited"]
    )
    layers = dict.fromkeys(drawn, record.layer) | {"edited": key, "truth": truth_layer or record.layer}
    cells = {role: values_of(adata, layers[role], masks[role], features) for role in drawn}
    room = 0.8 + 0.075 * max(len(names[role]) for role in drawn)
    axes = panels(len(features), ax, columns=4, size=(1.6, 1.6), room=room)

    for i, (feature, panel) in enumerate(zip(features, axes, strict=True)):
        for role in drawn:
            panel.plot(*_density(cells[role][:, i]), **style(role))
        low, high = np.array([np.quantile(values[:, i], [0.001, 0.999]) for values in cells.values()]).T
        margin = 0.05 * (high.max() - low.min()) or 1.0
        panel.set_title(feature, fontsize="medium")
        panel.set(xlim=(low.min() - margin, high.max() + margin), yticks=[])
        panel.set_xlabel(units(adata, record.layer, [feature]), fontsize="small")
        panel.set_ylim(bottom=0)
        panel.spines[["top", "right", "left"]].set_visible(False)
    axes[0].set_ylabel("density")
    handles = [Line2D([], [], **style(role)) for role in drawn]
    beside = axes[min(len(axes), 4) - 1]
    beside.legend(handles, [names[role] for role in drawn], frameon=False, loc="upper left", bbox_to_anchor=(1.02, 1))
    return finish(axes, show=show, return_fig=return_fig)


def _density(values: np.ndarray, n_bins: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Return a smoothed histogram as a curve that starts and ends on the axis.

    What smoothing carries beyond the ends is folded back, so that nothing is where no cell was.
    """
    counts, edges = np.histogram(values, bins=n_bins)
    width = edges[1] - edges[0]
    bandwidth = 0.5 * np.std(values) * len(values) ** -0.2
    density = ndimage.gaussian_filter1d(counts / (len(values) * width), max(bandwidth / width, 1.0), mode="reflect")
    ends = edges[[0, 0, -1, -1]]
    x = np.concatenate([ends[:2], (edges[1:] + edges[:-1]) / 2, ends[2:]])
    return x, np.concatenate([[0], density[:1], density, density[-1:], [0]])


def style(role: str) -> dict[str, Any]:
    """Return how a role is drawn; one without a colour of its own as text is."""
    return {"color": ink(0)} | STYLES[role]
