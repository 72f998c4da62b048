"""Distributions of single markers before the edit, after it, and in truth."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from anndata import AnnData
from matplotlib.axes import Axes
from scipy import ndimage

from .. import _slots
from .._data.check import check_features, select_cells, to_list
from .._docs import shared_docs
from ._figure import ROLES, describe_units, finish, get_values, ink, legend_beside, panels
from ._record import EditedPopulations, describe_selection

CURVE_STYLES: dict[str, dict[str, Any]] = {
    "source": {"color": ROLES["source"], "linewidth": 1.0},
    "target": {"color": ROLES["target"], "linewidth": 1.0},
    "truth": {"linewidth": 1.4, "linestyle": (0, (3, 1.5))},
    "query": {"color": ROLES["query"], "linewidth": 1.6},
    "edited": {"color": ROLES["edited"], "linewidth": 1.6},
}

MAX_PANELS_UNASKED = 12
"""Features that are drawn when none are named: three rows of panels."""

DENSITIES_IN_A_ROW = 4


@shared_docs
def densities(
    adata: AnnData,
    features: Sequence[str] | None = None,
    *,
    truth: Any = None,
    truth_layer: str | None = None,
    source_and_target: bool = False,
    key: str = _slots.EDITED,
    ax: Axes | Sequence[Axes] | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Any:
    """Draw how each marker is distributed in the query before and after the edit, and in truth where that is known.

    Examples
    --------
    >>> import neuronedit as ne
    >>> adata = ne.datasets.simulate_batches(n_cells=200)
    >>> ne.tl.train(adata, widths=(32, 8), max_epochs=2)
    >>> ne.tl.edit(adata, "group", source="control_1", target="control_2", query="sample_1")
    >>> axes = ne.pl.densities(adata, ["IFNg", "CCR6"], truth_layer="truth")
    >>> [ax.get_title() for ax in axes], len(axes[0].lines)
    (['IFNg', 'CCR6'], 3)

    Parameters
    ----------
    %(cells_of_edit)s
    features
        A panel for each. `None`: the 12 that the edit moved most, by their mean absolute change.
    truth
        Cells like the query's that were measured after the change: a value or values of the edit's ``groupby``, or a dict
        of obs column -> value(s).
    truth_layer
        Instead, for simulated cells, the layer that holds the query's true values.
    source_and_target
        Draw source and target, too, as thin lines.
    %(edit_key)s
    %(figure)s

    Returns
    -------
    The Axes, or a list with one for each feature; the Figure with ``return_fig=True``. Curves are histograms, smoothed, each
    with an area of 1; none reaches below the smallest or above the largest of its values, so that a pile of zeros stays
    at zero.

    Raises
    ------
    %(plot_errors)s
    """
    # read
    populations = EditedPopulations.read(adata, key)
    if truth is not None and truth_layer is not None:
        raise ValueError("truth names cells and truth_layer a layer that holds them: give one of the two.")
    names, of_truth = populations.names | {"truth": "truth"}, populations.masks["query"]
    if truth is not None:
        of_truth = select_cells(adata, populations.record.config["groupby"], truth, "truth")
        names["truth"] = f"truth: {describe_selection(truth)}"
    if features is None:
        change = np.abs(populations.get_values("edited") - populations.get_values("query")).mean(axis=0)
        features = adata.var_names[np.argsort(-change, kind="stable")[:MAX_PANELS_UNASKED]]
    features = to_list(features)
    if not features:
        raise ValueError("features is empty; name at least one, or leave it out.")
    check_features(adata, *features)
    has_truth = truth is not None or truth_layer is not None
    roles = ["source", "target"] * source_and_target + ["truth"] * has_truth + ["query", "edited"]
    cells = {role: populations.get_values(role, features) for role in roles if role != "truth"}
    if has_truth:
        cells["truth"] = get_values(adata, truth_layer or populations.layer, of_truth, features)

    # draw
    styles = {names[role]: curve_style(role) for role in roles}
    axes = panels(len(features), ax, n_columns=DENSITIES_IN_A_ROW, size=(1.6, 1.6), room=0.8, names=styles)
    for i, (feature, panel) in enumerate(zip(features, axes, strict=True)):
        for role in roles:
            panel.plot(*_estimate_density(cells[role][:, i]), **curve_style(role))
        low, high = np.array([np.quantile(values[:, i], [0.001, 0.999]) for values in cells.values()]).T
        margin = 0.05 * (high.max() - low.min()) or 1.0
        panel.set_title(feature, fontsize="medium")
        panel.set(xlim=(low.min() - margin, high.max() + margin), yticks=[])
        panel.set_xlabel(describe_units(adata, populations.layer, [feature]), fontsize="small")
        panel.set_ylim(bottom=0)
        panel.spines[["top", "right", "left"]].set_visible(False)
    axes[0].set_ylabel("density")
    legend_beside(axes, styles, DENSITIES_IN_A_ROW)
    return finish(axes, show=show, return_fig=return_fig)


def _estimate_density(values: np.ndarray, n_bins: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Return a smoothed histogram as a curve that starts and ends on the axis.

    What smoothing moves beyond the ends is folded back, so that nothing is where no cell was.
    """
    counts, edges = np.histogram(values, bins=n_bins)
    width = edges[1] - edges[0]
    bandwidth = 0.5 * np.std(values) * len(values) ** -0.2
    density = ndimage.gaussian_filter1d(counts / (len(values) * width), max(bandwidth / width, 1.0), mode="reflect")
    ends = edges[[0, 0, -1, -1]]
    x = np.concatenate([ends[:2], (edges[1:] + edges[:-1]) / 2, ends[2:]])
    return x, np.concatenate([[0], density[:1], density, density[-1:], [0]])


def curve_style(role: str) -> dict[str, Any]:
    """Return how a role is drawn; one without a colour of its own as text is."""
    return {"color": ink(0)} | CURVE_STYLES[role]
