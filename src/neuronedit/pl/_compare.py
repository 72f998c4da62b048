"""Methods beside each other, metric by metric."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from .._data.check import format_choices, to_list
from .._docs import shared_docs
from ._figure import DOT, OKABE_ITO, blank, finish, ideal_line, ink, legend_beside, panels, zero_line
from ._rows import INTERVAL, check_table, draw_estimate, frame_rows

COMPARE_COLUMNS = ["method", "seed", "metric", "value", "low", "high", "distance", "error"]

METHOD_COLOR = OKABE_ITO[0]

METHOD_PANELS_IN_A_ROW = 4

SCORE_LIMITS = (-1.0, 2.0)
"""What an axis shows at most, so that from cells left alone, 0, to ideal, 1, is the middle third of it."""


@shared_docs
def compare(
    table: pd.DataFrame,
    *,
    metrics: Sequence[str] | None = None,
    ax: Axes | Sequence[Axes] | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Any:
    """Draw what :func:`neuronedit.tl.compare` found: a panel for each metric, a row for each method.

    The large dot is the mean over seeds, the small ones below it are the seeds, the bar is the mean of their 95 % bootstrap
    intervals. On the dashed line a method is ideal, on the thin one it is no better than leaving the cells alone. An axis
    shows at most -1 to 2: a mean beyond is a triangle at the edge, with its number, so that one method that does great
    harm does not hide how the others differ.

    Examples
    --------
    >>> import neuronedit as ne
    >>> adata = ne.datasets.simulate_batches(n_cells=200)
    >>> groups = {"source": "control_1", "target": "control_2", "query": "sample_1", "truth": "sample_2"}
    >>> table = ne.tl.compare(adata, "group", **groups, methods=["identity", "mean_shift"], n_bootstrap=10)
    >>> [ax.get_title() for ax in ne.pl.compare(table, metrics=["energy_distance", "variance_ratio"])]
    ['energy distance', 'variance ratio']

    Parameters
    ----------
    table
        What :func:`neuronedit.tl.compare` returned.
    metrics
        Draw only these, in this order.
    %(figure)s

    Returns
    -------
    The Axes, or a list with one for each metric; the Figure with ``return_fig=True``. Methods stand in the order of their
    categories, the first on top; those that failed are named in grey.

    Raises
    ------
    %(plot_errors)s
    """
    # read
    check_table(table, COMPARE_COLUMNS, "ne.tl.compare")
    scored, methods = _list_levels(table["metric"]), _list_levels(table["method"])
    metrics = scored if metrics is None else to_list(metrics)
    unknown = [metric for metric in metrics if metric not in scored]
    if unknown or not metrics:
        raise ValueError(f"metrics={unknown} are not in the table; it has {format_choices(scored)}.")

    # draw
    size, n_columns = (1.8, 0.26 * len(methods) + 0.6), METHOD_PANELS_IN_A_ROW
    axes = panels(len(metrics), ax, n_columns=n_columns, size=size, room=1.9, names=methods, sharey=True)
    for metric, panel in zip(metrics, axes, strict=True):
        _draw_metric(panel, table[table["metric"] == metric], methods)
        panel.set_title(str(metric).replace("_", " "), fontsize="medium")

    # explain
    color, has_seeds = {"color": METHOD_COLOR}, table["seed"].nunique() > 1
    styles = {"mean over seeds" if has_seeds else "value": DOT | color}
    if has_seeds:
        styles["one seed"] = DOT | color | {"markersize": 2.5}
    if table["low"].notna().any():
        styles["95 % interval"] = INTERVAL | color
    styles["ideal"] = ideal_line()
    if table["distance"].notna().any():
        styles["cells left alone"] = zero_line()
    legend_beside(axes, styles, n_columns)
    return finish(axes, show=show, return_fig=return_fig)


def _list_levels(column: Any) -> list[Any]:
    """Return the values of a column in the order of its categories, or as they come."""
    return list(column.cat.remove_unused_categories().cat.categories if hasattr(column, "cat") else column.unique())


def _draw_metric(panel: Axes, rows: pd.DataFrame, methods: list[Any]) -> None:
    """Draw one metric."""
    # frame
    is_distance = rows["distance"].notna().any()
    means = rows.groupby("method", observed=True)[["value", "low", "high"]].mean().reindex(methods)
    shown = np.concatenate([rows["value"], means.to_numpy().ravel(), [0.0, 1.0] if is_distance else [1.0]])
    low, high = np.clip([np.nanmin(shown), np.nanmax(shown)], *SCORE_LIMITS)
    margin = 0.08 * (high - low) or 0.1
    panel.axvline(1, zorder=1, **ideal_line())
    if is_distance:
        panel.axvline(0, zorder=1, **zero_line())
    frame_rows([panel], range(len(methods)), methods)
    panel.set_xlim(low - margin, high + margin)
    panel.set_xlabel("share of the gap closed" if is_distance else "score")
    for label, value in zip(panel.get_yticklabels(), means["value"], strict=False):  # only outer panels have labels
        if np.isnan(value):
            label.set_color(ink(0.5))

    # methods
    for y, method in enumerate(methods):
        own = rows[rows["method"] == method]
        value, *interval = means.loc[method]
        if np.isnan(value):
            reason = "failed" if (own["error"] != "").any() else "undefined"
            panel.text((low + high) / 2, y, reason, color=ink(0.5), ha="center", va="center", bbox=blank())
            continue
        if len(own) > 1:
            panel.scatter(own["value"], np.full(len(own), y + 0.3), s=6, color=METHOD_COLOR, linewidths=0, zorder=3)
        draw_estimate(panel, y, value, interval, METHOD_COLOR, SCORE_LIMITS)
