"""Distributions of single features, and of single neurons, before the edit and after it."""

import json
import textwrap
from collections.abc import Hashable, Iterable, Sequence
from typing import Any

import numpy as np
from anndata import AnnData
from matplotlib.axes import Axes
from scipy import ndimage

from .. import _slots
from .._check import Count
from .._data.check import (
    NEURONS_LEFT_OUT,
    Selector,
    check_features,
    describe_layer,
    format_choices,
    select_cells,
    to_list,
)
from ._figure import (
    DOT,
    LETTERS_OF_PANEL_TITLE,
    ROLES,
    describe_units,
    finish,
    get_role_colors,
    get_values,
    ink,
    is_dark,
    legend_beside,
    panels,
)
from ._record import EditedPopulations, check_same_space, describe_selection
from ._rows import interval_bar

CURVE_STYLES: dict[str, dict[str, Any]] = {
    "source": {"linewidth": 2.5},
    "target": {"linewidth": 2.5},
    "truth": {"linewidth": 1.4, "linestyle": (0, (3, 1.5))},
    "query": {"linewidth": 1.6},
    "edited": {"linewidth": 1.6},
}
NEURON_STYLES: dict[str, dict[str, Any]] = {
    "source": {"linewidth": 4.0},
    "target": {"linewidth": 4.0},
    "query": {"linewidth": 1.6},
    "edited": {"linewidth": 1.6},
}  # wide and pale below, narrow and strong above: where two lie on each other, both are seen
ALPHA_OF_WIDE = {False: 0.8, True: 0.5}  # of source and target, on a light and on a dark ground

MEAN_SIZE = 4.0  # of a mean's dot, in points
MEAN_STEP, MEAN_GAP = 0.065, 0.03  # between means, and below the lowest one, as shares of the panel
MEAN_STYLE: dict[str, Any] = DOT | {"markersize": MEAN_SIZE}
MIN_SHARE_OF_ZEROS = 0.3  # of a population, from which on zeros stand on an axis of their own
PILE_WIDTH, PILE_GAP = 0.2, 0.06  # of that axis, and between it and the curves, as shares of the panel
BREAK_MARK = [(-0.5, -1), (0.5, 1)]  # a slanted stroke where an axis is broken
BREAK_STYLE: dict[str, Any] = {"markersize": 7, "linestyle": "", "clip_on": False, "zorder": 6}

MAX_PANELS_UNASKED = 12  # features that are drawn when none are named: three rows of panels
DENSITIES_IN_A_ROW, NEURONS_IN_A_ROW = 4, 3
RELATIVE_ROUNDING = 1e-6  # standard deviation, as a share of the mean, below which a neuron is constant but for float32
SAME_NEURONS = 1e-2  # difference, relative and absolute, up to which two encodings are of one space; of others about 1


def densities(
    adata: AnnData,
    features: Sequence[str] | None = None,
    *,
    truth: Selector | None = None,
    truth_layer: str | None = None,
    source_and_target: bool = False,
    batch: Hashable = None,
    key: str = _slots.EDITED,
    ax: Axes | Sequence[Axes] | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Any:
    """Draw how each marker is distributed in the query before and after the edit, and in truth where that is known.

    Curves are smoothed histograms with an area of 1. None reaches beyond its smallest and largest value, so that a pile of
    zeros stays at zero. Dots above the curves are the means of all cells. A bar at the edited mean is ± one standard error,
    where the record holds it (``uns["edited"]["features"]["mean_error"]``).

    Where 30 % or more of the cells are exactly zero, the zeros have an axis of their own on the left. Its bars are the share of
    cells at zero. The curve is that of the other cells, and its area is their share. The title says how many of the query's
    cells are above zero, before the edit and after it.

    Examples
    --------
    >>> import neuronedit as ne
    >>> adata = ne.datasets.simulate_batches(n_cells=200)
    >>> ne.tl.train(adata, widths=(32, 8), max_epochs=2)
    >>> ne.tl.edit(adata, "group", source="control_1", target="control_2", query="sample_1")
    >>> axes = ne.pl.densities(adata, ["IFNg", "CCR6"], truth_layer="truth")

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
    %(batch)s
    %(result_key)s
    %(figure)s
    """
    # read
    populations = EditedPopulations.read(adata, key, batch)
    if truth is not None and truth_layer is not None:
        raise ValueError("truth names cells and truth_layer a layer that holds them: give one of the two.")
    names, of_truth = populations.names | {"truth": "truth"}, populations.masks["query"]
    if truth is not None:
        of_truth = select_cells(adata, populations.record.config.get("groupby"), truth, "truth")
        names["truth"] = f"truth: {describe_selection(truth)}"
    if features is None:
        change = np.abs(populations.get_values("edited") - populations.get_values("query")).mean(axis=0)
        features = [populations.features[j] for j in np.argsort(-change, kind="stable")[:MAX_PANELS_UNASKED]]
    features = to_list(features)
    if not features:
        raise ValueError("features is empty; name at least one, or leave it out.")
    check_features(adata, *features)
    has_truth = truth is not None or truth_layer is not None
    roles = ["source", "target"] * source_and_target + ["truth"] * has_truth + ["query", "edited"]
    cells = {role: populations.get_values(role, features) for role in roles if role != "truth"}
    if has_truth:
        cells["truth"] = get_values(
            adata, populations.layer if truth_layer is None else truth_layer, of_truth, features
        )

    # draw
    styles = {role: _get_style(role, CURVE_STYLES) for role in roles}
    errors = populations.get_mean_errors(features)
    in_legend = {names[role]: style for role, style in styles.items()} | {"mean": MEAN_STYLE | {"color": ink(0.4)}}
    if np.isfinite(errors).any():
        in_legend["± standard error"] = interval_bar(styles["edited"]["color"])
    size = (1.8, 1.5 + 0.08 * len(roles))  # with room for the means
    axes = panels(len(features), ax, n_columns=DENSITIES_IN_A_ROW, size=size, room=0.8, names=in_legend)
    for i, (feature, panel) in enumerate(zip(features, axes, strict=True)):
        _draw_feature(panel, {role: values[:, i] for role, values in cells.items()}, styles, errors[i])
        before, after = (f"{100 * (cells[role][:, i] > 0).mean():.0f}" for role in ("query", "edited"))
        is_piled = find_pile([values[:, i] for values in cells.values()])
        title = textwrap.wrap(feature, LETTERS_OF_PANEL_TITLE) + [f"{before} → {after} % above 0"] * is_piled
        panel.set_title("\n".join(title), fontsize="medium")
        panel.set_xlabel(describe_units(adata, populations.layer, [feature]), fontsize="small")
    axes[0].set_ylabel("density", labelpad=26 if axes[0].child_axes else None)  # beside the axis of the zeros
    legend_beside(axes, in_legend, DENSITIES_IN_A_ROW)
    return finish(axes, show=show, return_fig=return_fig)


def _get_style(role: str, styles: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the style of the curve of a role, with its colour."""
    alpha = {"alpha": ALPHA_OF_WIDE[is_dark()]} if role in ("source", "target") else {}
    return styles[role] | alpha | {"color": get_role_colors().get(role, ink(0))}


def _draw_feature(panel: Axes, cells: dict[str, np.ndarray], styles: dict[str, dict[str, Any]], error: float) -> None:
    """Draw the distributions of one feature; a pile of zeros stands beside the curves of the other cells."""
    # frame
    low, high = np.array([np.quantile(values, [0.001, 0.999]) for values in cells.values()]).T
    start, end = low.min(), high.max()
    margin = 0.05 * (end - start) or 1.0
    is_piled = find_pile(cells.values())
    panel.set(xlim=(start - margin, end + margin), yticks=[])
    panel.spines["left"].set_visible(False)

    # draw
    place = panel.get_xaxis_transform()
    for role, style in styles.items():
        values = cells[role]
        others = values[values != 0] if is_piled else values
        if len(others):
            x, density = estimate_density(others)
            panel.plot(x, density * len(others) / len(values), **style)
    peak = max((np.asarray(line.get_ydata()).max() for line in panel.lines), default=1.0)
    share_of_means = MEAN_GAP + MEAN_STEP * len(styles)
    panel.set_ylim(0, 1.03 * peak / (1 - share_of_means))
    for i, (role, style) in enumerate(styles.items()):
        mean, y = cells[role].mean(), 1 - MEAN_STEP * (i + 0.5)
        if role == "edited" and np.isfinite(error):
            panel.plot([mean - error, mean + error], [y, y], transform=place, **interval_bar(style["color"]))
        panel.scatter(mean, y, s=MEAN_SIZE**2, color=style["color"], transform=place, linewidths=0, zorder=5)
    if is_piled:
        _draw_pile(panel, cells, styles)


def find_pile(populations: Iterable[np.ndarray]) -> bool:
    """Return whether a large share of the cells of a population is exactly zero."""
    return max(float((values == 0).mean()) for values in populations) >= MIN_SHARE_OF_ZEROS


def _draw_pile(panel: Axes, cells: dict[str, np.ndarray], styles: dict[str, dict[str, Any]]) -> None:
    """Draw the share of zeros of each population on an axis of its own, left of the curves."""
    # make room, and break the axis
    start, end = panel.get_xlim()
    share = PILE_WIDTH + PILE_GAP
    panel.set_xlim(start - share / (1 - share) * (end - start), end)
    panel.spines["bottom"].set_bounds(start, end)
    panel.set_xticks([tick for tick in panel.get_xticks() if start <= tick <= end])
    pile = panel.inset_axes(
        (0, 0, PILE_WIDTH, 1), xlim=(-0.7, len(cells) - 0.3), ylim=(0, 1), xticks=[(len(cells) - 1) / 2]
    )
    pile.spines[["top", "right"]].set_visible(False)
    for axes, x in ((pile, 1.0), (panel, share)):
        axes.plot([x], [0], marker=BREAK_MARK, transform=axes.transAxes, color=ink(0), **BREAK_STYLE)

    # draw
    for i, (role, style) in enumerate(styles.items()):
        share_of_zeros = (cells[role] == 0).mean()
        pile.bar(i, share_of_zeros, width=0.8, color=style["color"], linewidth=0)
    pile.set_xticklabels(["zero"], fontsize="small")
    pile.set_yticks([0, 0.5, 1], ["0", "", "100 %"], fontsize="x-small")
    pile.tick_params(length=2, pad=1.5)


def estimate_density(values: np.ndarray, n_bins: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Return a smoothed histogram as a curve from axis to axis; what smoothing moves beyond its ends is folded back."""
    counts, edges = np.histogram(values, bins=n_bins)
    width = edges[1] - edges[0]
    bandwidth = 0.5 * np.std(values) * len(values) ** -0.2
    density = ndimage.gaussian_filter1d(counts / (len(values) * width), max(bandwidth / width, 1.0), mode="reflect")
    ends = edges[[0, 0, -1, -1]]
    x = np.concatenate([ends[:2], (edges[1:] + edges[:-1]) / 2, ends[2:]])
    return x, np.concatenate([[0], density[:1], density, density[-1:], [0]])


def neurons(
    adata: AnnData,
    *,
    key: str = _slots.EDITED,
    neurons: Sequence[int] | None = None,
    n: Count = 6,
    ax: Axes | Sequence[Axes] | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Any:
    """Draw the percentiles of single neurons in source, target and the query before and after the edit.

    Percentile editing moves each value of a neuron by the distance between the curves of source and target at that value,
    so the query's curves lie as far apart as these where query and source are alike. Source and target are wide and pale,
    the query narrow and dark. Where another layer was edited than the space was trained on, the query before the edit is as
    in the latter, which the legend says.

    Examples
    --------
    >>> import neuronedit as ne
    >>> adata = ne.datasets.simulate_batches(n_cells=200)
    >>> ne.tl.train(adata, widths=(32, 8), max_epochs=2)
    >>> ne.tl.edit(adata, "group", source="control_1", target="control_2", query="sample_1", edit="percentile")
    >>> axes = ne.pl.neurons(adata, neurons=[3, 5])

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
    """
    # read
    values, names = _read_neurons(EditedPopulations.read(adata, key))
    n_neurons = values["source"].shape[1]
    if neurons is None:
        neurons = np.argsort(-_measure_change(values["source"], values["target"]), kind="stable")[:n].tolist()
    if not len(neurons) or not all(isinstance(j, int | np.integer) and 0 <= j < n_neurons for j in neurons):
        raise ValueError(f"neurons must be numbers from 0 to {n_neurons - 1}; they are {neurons!r}.")
    curves = {role: _compute_percentiles(cells[:, list(neurons)]) for role, cells in values.items()}

    # draw
    n, columns = len(neurons), NEURONS_IN_A_ROW
    axes = panels(n, ax, n_columns=columns, size=(1.9, 1.8), room=0.9, names=names.values())
    for i, (neuron, panel) in enumerate(zip(neurons, axes, strict=True)):
        for role in ROLES:
            panel.plot(curves[role][i], label=names[role], **_get_style(role, NEURON_STYLES))
        panel.set_title(f"neuron {neuron}", fontsize="medium")
        panel.set(xlim=(-2, 102), xticks=[0, 25, 50, 75, 100])
        if ax is not None or i + columns >= n:
            panel.set_xlabel("percentile")
        if ax is not None or i % columns == 0:
            panel.set_ylabel("value of the neuron")
    legend_beside(axes, {line.get_label(): line for line in axes[0].lines}, columns)
    return finish(axes, show=show, return_fig=return_fig)


def _read_neurons(populations: EditedPopulations) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Return the neurons of each role, ``(n_cells, n_neurons)``, and the roles' names."""
    # read
    adata, record, masks = populations.adata, populations.record, populations.masks
    model, query = record.config["key"][0], masks["query"]
    slots = (_slots.neurons(model), _slots.neurons_edited(record.key))
    for slot in slots:
        if slot not in adata.obsm:
            there = format_choices(adata.obsm, near=slot)
            raise KeyError(f"{slot!r} is not in adata.obsm; it has {there}. {NEURONS_LEFT_OUT}")
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
