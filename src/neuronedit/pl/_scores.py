"""How training went, and how much of the gap was closed by methods and by what ``edit="auto"`` tried."""

import json
import textwrap
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np
import pandas as pd
from anndata import AnnData
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from .. import _slots
from .._check import Count
from .._data.check import format_choices, to_list
from .._data.record import Record
from .._method_names import name_method
from .._metric_table import DISTANCE_AXIS, describe_metric
from ._figure import DOT, OKABE_ITO, blank, finish, ideal_line, ink, legend_beside, panels, vivid, zero_line
from ._rows import (
    ESTIMATE_AREA,
    check_table,
    draw_estimate,
    format_number,
    format_percent,
    frame_rows,
    interval_bar,
    label_decades,
)

CURVES = {
    "train_loss": ("cells of training", OKABE_ITO[0]),
    "validation_loss": ("cells kept aside", OKABE_ITO[1]),
}  # of the history of a space, their names and colours
COMPARE_COLUMNS = ["method", "seed", "metric", "value", "low", "high", "distance", "error"]
ALWAYS_DRAWN = ("identity",)  # what others are measured by
SCALED_COLUMNS = ["scaled", "scaled_low", "scaled_high"]
METHOD_COLOR = OKABE_ITO[0]
METHOD_PANELS_IN_A_ROW = 4
MAX_LETTERS_IN_METRIC = 22  # in a line, of a panel of compare
SCORE_LIMITS = (-1.0, 2.0)  # what an axis shows at most: cells left alone, 0, to ideal, 1, is the middle third of it

CANDIDATE_COLOR, ENSEMBLE_COLOR = OKABE_ITO[:2]
CLOSED_LIMITS = (-1.0, 1.2)  # shown at most: the lowest score that is recorded, and a little beyond the ideal, 1
MIN_WEIGHT_TO_COUNT = 0.01  # of a fold that is counted
FIRST_CANDIDATE_ROW = 1.5  # the ensemble, in row 0, is set apart
MAX_FOLD_AREA = 18.0  # of the dot of the fold that counts most, in square points; other dots are smaller in proportion
FOLD_ALPHA = 0.6
MIN_FOLD_AREA = {"o": 3.0, "<": 9.0, ">": 9.0}  # below which a dot, or a triangle, would not be seen
FOLDS_IN_WORDS = {
    "strata": "{n} strata of {strata!r}",
    "derived": "{n} matched populations and halves",
}  # other kinds have no folds


def history(
    adata: AnnData,
    *,
    key: str = _slots.MODEL,
    ax: Axes | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Any:
    """Draw the reconstruction error against the epochs of training, and that of cells which were kept aside for validation.

    The error is the share of the variance of the features that the space does not reconstruct: with 100 % it knows their means
    alone. A dot is where training ended, or with ``early_stopping`` the epoch whose weights were kept. The legend has its error.
    Of a class of your own, the loss is drawn as it is.

    Examples
    --------
    >>> import neuronedit as ne
    >>> adata = ne.datasets.simulate_batches(n_cells=200)
    >>> ne.tl.train(adata, widths=(32, 8), max_epochs=3, validation_size=0.1)
    >>> ax = ne.pl.history(adata)

    Parameters
    ----------
    adata
        After :func:`neuronedit.tl.train`.
    key
        Where the trained space is kept in ``uns``.
    %(figure)s
    """
    space = adata.uns.get(key)
    if not isinstance(space, Mapping) or "history" not in space:
        raise KeyError(f"uns[{key!r}] holds no trained space; call ne.tl.train(adata) first.")
    losses = {name: np.asarray(space["history"].get(name, []), dtype=float) for name in CURVES}
    curves = {name: losses[name] for name in CURVES if losses[name].size}
    if not losses["train_loss"].size:
        raise ValueError(f"uns[{key!r}] has no history: the space {space['space']!r} was not trained in epochs.")
    stops_early = bool(json.loads(space["config"])["training"].get("early_stopping"))
    is_share = "." not in space["space"]  # the loss of a class of your own, which has its full name, may be anything
    judged = list(curves.values())[-1]  # on the cells kept aside, where there are some
    kept = np.nanargmin(judged) if stops_early else judged.size - 1
    write = format_percent if is_share else format_number

    # draw
    (panel,) = panels(1, ax, size=(3.6, 2.5), room=0)
    for name, curve in curves.items():
        label, color = CURVES[name]
        value = write(float(f"{curve[kept]:.2g}"))
        panel.plot(np.arange(1, curve.size + 1), curve, color=vivid(color), label=f"{label}: {value}")
        panel.scatter(kept + 1, curve[kept], s=ESTIMATE_AREA, color=vivid(color), zorder=4)
    panel.legend(frameon=False, title=f"epoch {kept + 1} was kept" if stops_early else None)

    # axes
    panel.set(xlabel="epoch", ylabel="variance not reconstructed" if is_share else "loss")
    panel.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    low, high = (find(np.concatenate(list(curves.values()))) for find in (np.nanmin, np.nanmax))
    if low > 0:
        panel.set_yscale("log")
        label_decades(panel.yaxis, np.log10(high / low), write)
    return finish([panel], show=show, return_fig=return_fig)


def compare(
    table: Annotated[pd.DataFrame, "what ne.tl.compare returned"],
    *,
    metrics: Sequence[str] | None = None,
    scaled: bool = False,
    most: Count = 20,
    ax: Axes | Sequence[Axes] | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Any:
    """Draw what :func:`neuronedit.tl.compare` found: a panel for each metric, a row for each method.

    The large dot is the mean over seeds, the small ones below it are the seeds, the bar is the mean of their 95 % bootstrap
    intervals. Where strata were held out, the large dot is the mean over strata, the small ones are the strata, and the bar is the 95 % interval
    over strata. Methods stand in the order of their categories; those that failed are named in grey. Cells left alone, what
    others are measured by, have grey dots. An axis shows at most -1 to 2, so that one method that does great harm does not
    hide how the others differ: a mean beyond is a triangle at the edge, with its number.

    Examples
    --------
    >>> import neuronedit as ne
    >>> adata = ne.datasets.simulate_batches(n_cells=200)
    >>> groups = {"source": "control_1", "target": "control_2", "query": "sample_1", "truth": "sample_2"}
    >>> table = ne.tl.compare(adata, "group", **groups, methods=["identity", "mean_shift"], n_bootstrap=10)
    >>> axes = ne.pl.compare(table, metrics=["energy_distance", "variance_ratio"])

    Parameters
    ----------
    table
        What :func:`neuronedit.tl.compare` returned.
    metrics
        Draw only these, in this order.
    scaled
        Draw the scores between the baseline, 0, and a replicate, 1.
    most
        Draw at most so many methods, the best first, and ``"identity"``. How many more there are stands after the last.
    %(figure)s
    """
    # read
    check_table(table, [*COMPARE_COLUMNS, *(SCALED_COLUMNS if scaled else [])], "ne.tl.compare")
    if scaled:
        table = table.assign(
            **{name: table[column] for name, column in zip(("value", "low", "high"), SCALED_COLUMNS, strict=True)}
        )
    table = table.assign(
        held_out=table["held_out"].astype(object).fillna("").astype(str) if "held_out" in table else ""
    )
    scored, methods = _list_levels(table["metric"]), _list_levels(table["method"])
    metrics = scored if metrics is None else to_list(metrics)
    unknown = [metric for metric in metrics if metric not in scored]
    if unknown or not metrics:
        raise ValueError(f"metrics={unknown} are not in the table; it has {format_choices(scored)}.")
    hidden = [method for method in methods[most:] if method not in ALWAYS_DRAWN]
    methods = [method for method in methods if method not in hidden]
    names = [name_method(method) for method in methods]

    # draw
    titles = [textwrap.fill(describe_metric(metric).title, MAX_LETTERS_IN_METRIC) for metric in metrics]
    n_lines = 1 + max(title.count("\n") for title in titles)
    size = (1.8, 0.26 * (len(methods) + bool(hidden)) + 0.4 + 0.2 * n_lines)
    n_columns = METHOD_PANELS_IN_A_ROW
    axes = panels(len(metrics), ax, n_columns=n_columns, size=size, room=1.9, names=names, sharey=True)
    scores = table[table["metric"].isin(metrics)].groupby("method", observed=True)["value"]
    has_none = scores.count().reindex(methods).to_numpy() == 0
    for metric, title, panel in zip(metrics, titles, axes, strict=True):
        frame_rows([panel], range(len(methods)), names, len(hidden))
        for y in np.flatnonzero(has_none) if panel.get_yticklabels() else ():  # inner panels have none
            panel.get_yticklabels()[y].set_color(ink(0.5))
        _draw_metric(panel, table[table["metric"] == metric], methods, scaled=scaled)
        panel.set_title(title, fontsize="medium")

    # explain
    color: dict[str, Any] = {"color": vivid(METHOD_COLOR)}
    is_held_out, has_seeds = (table["held_out"] != "").any(), table["seed"].nunique() > 1
    several, one = ("mean over strata", "one stratum") if is_held_out else ("mean over seeds", "one seed")
    styles = {several if has_seeds or is_held_out else "value": DOT | color}
    if has_seeds or is_held_out:
        styles[one] = DOT | color | {"markersize": 2.5}
    if table["low"].notna().any():
        styles["95 % interval"] = interval_bar(color["color"])
    styles["replicate" if scaled else "ideal"] = ideal_line()
    if scaled or table["distance"].notna().any():
        styles["baseline" if scaled else "cells left alone"] = zero_line()
    legend_beside(axes, styles, n_columns)
    return finish(axes, show=show, return_fig=return_fig)


def _list_levels(column: Any) -> list[Any]:
    """Return the values of a column in the order of its categories, or as they come."""
    return list(column.cat.remove_unused_categories().cat.categories if hasattr(column, "cat") else column.unique())


def _draw_metric(panel: Axes, rows: pd.DataFrame, methods: list[Any], *, scaled: bool) -> None:
    """Draw one metric."""
    # frame
    has_zero = scaled or rows["distance"].notna().any()
    rows = rows[rows["method"].isin(methods)]
    is_whole = rows["held_out"].isin(_slots.WHOLE)
    parts = rows if is_whole.all() else rows[~is_whole]  # seeds, or strata
    means = rows[is_whole].groupby("method", observed=True)[["value", "low", "high"]].mean().reindex(methods)
    shown = np.concatenate([parts["value"], means.to_numpy().ravel(), [0.0, 1.0] if has_zero else [1.0]])
    low, high = np.clip([np.nanmin(shown), np.nanmax(shown)], *SCORE_LIMITS)
    margin = 0.08 * (high - low) or 0.1
    panel.axvline(1, zorder=1, **ideal_line())
    if has_zero:
        panel.axvline(0, zorder=1, **zero_line())
    panel.set_xlim(low - margin, high + margin)
    axis = DISTANCE_AXIS if has_zero else describe_metric(rows["metric"].iloc[0]).axis
    panel.set_xlabel("scaled score" if scaled else axis)

    # methods
    for y, method in enumerate(methods):
        own = parts[parts["method"] == method]
        value, *interval = means.loc[method]
        if np.isnan(value):
            reason = "failed" if (own["error"] != "").any() else "undefined"
            panel.text((low + high) / 2, y, reason, color=ink(0.5), ha="center", va="center", bbox=blank())
            continue
        color = ink(0.5) if method in ALWAYS_DRAWN else vivid(METHOD_COLOR)
        if len(own) > 1:
            panel.scatter(own["value"], np.full(len(own), y + 0.3), s=6, color=color, linewidths=0, zorder=3)
        draw_estimate(panel, y, value, interval, color, SCORE_LIMITS)


def cross_validation(
    adata: AnnData,
    *,
    key: str = _slots.EDITED,
    most: Count = 15,
    ax: Sequence[Axes] | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Any:
    """Draw what ``ne.tl.edit(edit="auto")`` tried in cross-validation, and the ensemble that it made of it.

    On the left is the share of the gap from source to target that each candidate closed in held-out folds. Folds are the
    strata, or parts that were derived. A dot is the mean over folds ± its standard error. Below it are the folds, the larger
    the more they count. The first row is the ensemble, weighted without the fold in which it is scored; then come the candidates, the best
    one first. The axis shows at most -1 to 1.2: what lies beyond is a triangle at the edge, a mean with its number. Folds
    below -1 were recorded as -1, and are triangles, too. On the right, the weight of each candidate in the ensemble, times its strength: what is missing to 1 leaves the cells alone.
    Where source and target were too small for folds, there are only the weights of a fixed average.

    Examples
    --------
    >>> import neuronedit as ne
    >>> adata = ne.datasets.simulate_batches(n_cells=200)
    >>> ne.tl.train(adata, widths=(32, 8), max_epochs=2)
    >>> ne.tl.edit(adata, "group", source="control_1", target="control_2", query="sample_1", strata="cell_type")
    >>> scores, weights = ne.pl.cross_validation(adata)

    Parameters
    ----------
    adata
        After :func:`neuronedit.tl.edit` with ``edit="auto"``, which is its default.
    %(result_key)s
    most
        Draw at most so many candidates, besides those that have a weight. How many more there are stands after the last.
    %(figure)s
    """
    # read
    record = Record.read(adata, key)
    if "ensemble" not in record.content:
        edit = record.config["edit"]
        raise ValueError(f"uns[{key!r}] was edited with edit={edit!r}; only edit='auto' cross-validates.")
    ensemble = record.content["ensemble"]
    names = np.array([name_method(name) for name in ensemble["candidates"]])
    weights = np.asarray(ensemble["weights"]) * ensemble["strength"]  # (n_candidates,)
    scores, fold_weights = np.asarray(ensemble["scores"]), np.asarray(ensemble["fold_weights"])
    has_folds = str(ensemble["fold_kind"]) in FOLDS_IN_WORDS
    drawn = _choose_candidates(ensemble, most if has_folds else 0)
    n_hidden = len(names) - len(drawn) if has_folds else 0

    # draw
    first = FIRST_CANDIDATE_ROW * has_folds
    places = {first + row: i for row, i in enumerate(drawn)}
    size = (2.1, 0.26 * (first + len(drawn) + (n_hidden > 0)) + 0.7)
    layout: dict[str, Any] = {"room": 1.9 if has_folds else 0.3, "sharey": True, "width_ratios": (2.2, 1)}
    scored, weighted = axes = panels(2, ax, size=size, names=names[drawn], **layout)
    rows = ({0.0: "ensemble"} if has_folds else {}) | {y: names[i] for y, i in places.items()}
    frame_rows(axes, list(rows), list(rows.values()), n_hidden)
    bars = {y: weights[i] for y, i in places.items() if weights[i] > 0}
    largest = max(bars.values(), default=1)
    weighted.barh(list(bars), list(bars.values()), height=0.6, color=vivid(CANDIDATE_COLOR), zorder=2)
    weighted.set(xlabel="weight", xlim=(-0.06 * largest, 1.06 * largest))
    weighted.xaxis.set_major_locator(MaxNLocator(3, steps=[1, 2, 5, 10]))
    weighted.xaxis.set_major_formatter(format_number)
    scored.set_title(_summarize(ensemble, record.config), loc="left", fontsize="medium")
    if has_folds:
        for panel in axes:
            panel.axhline(FIRST_CANDIDATE_ROW / 2, color=ink(0.7), linewidth=0.6)
        of_ensemble = {0.0: np.asarray(ensemble["ensemble_scores"])}
        _draw_scores(scored, of_ensemble | {y: scores[i] for y, i in places.items()}, fold_weights)
        legend_beside(axes, _explain_folds())
    else:
        scored.set(xticks=[], xlim=(0, 1))
        scored.grid(visible=False)
        scored.spines["bottom"].set_visible(False)
        text = "source and target\nare too small for\ncross-validation"
        scored.text(0.5, sum(scored.get_ylim()) / 2, text, color=ink(0.4), ha="center", va="center")
    return finish(axes, show=show, return_fig=return_fig)


def _explain_folds() -> dict[str, dict[str, Any]]:
    """Name what is drawn of each candidate, and the lines."""
    mean = DOT | {"color": vivid(CANDIDATE_COLOR)}
    fold = mean | {"markersize": 3.5, "markeredgewidth": 0, "alpha": FOLD_ALPHA}
    styles = {"weighted mean": mean, "fold (size: weight)": fold, "± standard error": interval_bar(mean["color"])}
    return styles | {"ideal": ideal_line(), "cells left alone": zero_line()}


def _choose_candidates(ensemble: Mapping[str, Any], most: int) -> list[int]:
    """Return which candidates are drawn, the best first, by weight without folds: so many, and all that have a weight."""
    weights, fold_weights = np.asarray(ensemble["weights"]), np.asarray(ensemble["fold_weights"])
    means = np.array([fold_weights @ values for values in ensemble["scores"]]) if most else weights
    order = np.argsort(-means, kind="stable")
    chosen = {*order[:most], *np.flatnonzero(weights > 0)}
    return [int(i) for i in order if i in chosen]


def _summarize(ensemble: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    """Say what to expect, and what it was cross-validated on."""
    kind, strength = str(ensemble["fold_kind"]), ensemble["strength"]
    if kind not in FOLDS_IN_WORDS:
        return "a fixed average of edits"
    n = int((np.asarray(ensemble["fold_weights"]) >= MIN_WEIGHT_TO_COUNT).sum())
    folds = "folds: " + FOLDS_IN_WORDS[kind].format(n=n, strata=config["strata"])
    if not strength:  # an edit of before the first release
        return f"nothing generalizes: cells left alone\n{folds}"
    share = np.atleast_1d(config["strength"])[-1]  # of several, the last one is the layer's
    applied = "" if share == 1 else f", of which {share:g} was applied"
    expected = f"{ensemble['expected']:.2f} ± {ensemble['expected_se']:.2f}"
    if "expected_low" in ensemble:
        expected = f"{ensemble['expected']:.2f} ({ensemble['expected_low']:.2f} to {ensemble['expected_high']:.2f} in 4 of 5 cases)"
    return f"expected to close {expected} of the gap\nstrength {strength:.2g}{applied}, {folds}"


def _draw_scores(panel: Axes, rows: Mapping[float, np.ndarray], fold_weights: np.ndarray) -> None:
    """Draw what was closed in each fold, the mean over folds and its standard error, by row."""
    low, high = CLOSED_LIMITS
    shown, n_folds = [0.0, 1.0], 1 / float(fold_weights @ fold_weights)  # as many equal weights would be worth as much
    areas = MAX_FOLD_AREA * fold_weights / fold_weights.max()
    panel.axvline(1, zorder=1, **ideal_line())
    panel.axvline(0, zorder=1, **zero_line())
    for y, values in rows.items():
        color = vivid(CANDIDATE_COLOR if y else ENSEMBLE_COLOR)
        clipped = np.clip(values, low, high)
        for marker, which in {"<": values <= low, ">": values > high, "o": (values > low) & (values <= high)}.items():
            if which.any():
                style: dict[str, Any] = {
                    "marker": marker,
                    "color": color,
                    "alpha": FOLD_ALPHA,
                    "linewidths": 0,
                    "zorder": 3,
                }
                area = np.maximum(areas[which], MIN_FOLD_AREA[marker])
                panel.scatter(clipped[which], np.full(which.sum(), y + 0.32), s=area, **style)
        mean = float(fold_weights @ values)
        error = np.sqrt(fold_weights @ (values - mean) ** 2 / max(n_folds - 1, 0.5))  # as in `neuronedit.ensemble`
        interval = np.clip([mean - error, mean + error], low, high)
        draw_estimate(panel, y, mean, interval, color, CLOSED_LIMITS, lowest=low)
        shown += [*interval, *clipped]
    margin = 0.06 * (max(shown) - min(shown))
    panel.set(xlim=(min(shown) - margin, max(shown) + margin))
    panel.set_xlabel("share of the gap closed\n(0: cells left alone, 1: all of it)")
