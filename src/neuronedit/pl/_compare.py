"""Methods beside each other, metric by metric."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from .._check import some
from ._figure import OKABE_ITO, aim, finish, ink, nought, panels

COLUMNS = ["method", "seed", "metric", "value", "low", "high", "distance", "error"]

BLUE = OKABE_ITO[0]

LIMITS = (-1.0, 2.0)
"""What an axis shows at most."""


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

    Parameters
    ----------
    table
        What :func:`neuronedit.tl.compare` returned.
    metrics
        Draw only these, in this order.
    ax
        Axes to draw into, one for each metric.
    show
        Call ``plt.show()``.
    return_fig
        Return the figure instead.

    Returns
    -------
    The Axes, or a list with one for each metric; the Figure with ``return_fig=True``. Methods stand in the order of their
    categories, the first on top; those that failed are named in grey.

    Raises
    ------
    TypeError, KeyError, ValueError
        When this is not such a table, or it does not have these metrics.

    Examples
    --------
    >>> import neuronedit as ne
    >>> adata = ne.datasets.simulate_batches(n_cells=200)
    >>> groups = {"source": "control_1", "target": "control_2", "query": "sample_1", "truth": "sample_2"}
    >>> table = ne.tl.compare(adata, "group", **groups, methods=["identity", "mean_shift"], n_bootstrap=10)
    >>> [ax.get_title() for ax in ne.pl.compare(table, metrics=["energy_distance", "variance_ratio"])]
    ['energy distance', 'variance ratio']
    """
    if not isinstance(table, pd.DataFrame):
        raise TypeError(f"table must be what ne.tl.compare returned; it is a {type(table).__name__}.")
    if missing := [column for column in COLUMNS if column not in table]:
        raise KeyError(f"table has no column {some(missing)}; it has {some(table)}. Give what ne.tl.compare returned.")
    known, methods = _levels(table["metric"]), _levels(table["method"])
    metrics = known if metrics is None else [metrics] if isinstance(metrics, str) else list(metrics)
    if not metrics or (unknown := [metric for metric in metrics if metric not in known]):
        raise ValueError(f"metrics={unknown if metrics else metrics!r} are not in the table; it has {some(known)}.")
    room = 1.9 + 0.075 * max(len(str(method)) for method in methods)
    axes = panels(len(metrics), ax, columns=4, size=(1.8, 0.26 * len(methods) + 0.6), room=room, sharey=True)

    for metric, panel in zip(metrics, axes, strict=True):
        _draw(panel, table[table["metric"] == metric], methods)
        panel.set_title(str(metric).replace("_", " "), fontsize="medium")
    seeds = table["seed"].nunique() > 1
    shown = {"mean over seeds" if seeds else "value": Line2D([], [], marker="o", linestyle="", color=BLUE)}
    if seeds:
        shown["one seed"] = Line2D([], [], marker="o", linestyle="", color=BLUE, markersize=2.5)
    if table["low"].notna().any():
        shown["95 % interval"] = Line2D([], [], color=BLUE, linewidth=5, alpha=0.35, solid_capstyle="butt")
    shown["ideal"] = Line2D([], [], **aim())
    if table["distance"].notna().any():
        shown["cells left alone"] = Line2D([], [], **nought())
    beside = axes[min(len(axes), 4) - 1]
    beside.legend(shown.values(), shown.keys(), frameon=False, loc="upper left", bbox_to_anchor=(1.02, 1))
    return finish(axes, show=show, return_fig=return_fig)


def _levels(column: Any) -> list[Any]:
    """Return the values of a column in the order of its categories, or as they come."""
    return list(column.cat.remove_unused_categories().cat.categories if hasattr(column, "cat") else column.unique())


def _draw(panel: Axes, rows: pd.DataFrame, methods: list[Any]) -> None:
    """Draw one metric."""
    is_distance = rows["distance"].notna().any()
    means = rows.groupby("method", observed=True)[["value", "low", "high"]].mean().reindex(methods)
    seen = np.concatenate([rows["value"], means.to_numpy().ravel(), [0.0, 1.0] if is_distance else [1.0]])
    low, high = np.nanmin(np.clip(seen, *LIMITS)), np.nanmax(np.clip(seen, *LIMITS))
    margin = 0.08 * (high - low) or 0.1
    panel.axvline(1, zorder=1, **aim())
    if is_distance:
        panel.axvline(0, zorder=1, **nought())
    panel.set(xlim=(low - margin, high + margin), ylim=(len(methods) - 0.4, -0.6))
    panel.set_xlabel("share of the gap closed" if is_distance else "score")
    panel.set_yticks(range(len(methods)), [str(method) for method in methods])
    for label, value in zip(panel.get_yticklabels(), means["value"], strict=False):  # inner panels have no labels
        if np.isnan(value):
            label.set_color(ink(0.5))
    panel.grid(axis="y", color=ink(0.92))
    panel.spines[["top", "right", "left"]].set_visible(False)
    panel.tick_params(axis="y", length=0)

    for y, method in enumerate(methods):
        own = rows[rows["method"] == method]
        value, *interval = means.loc[method]
        if np.isnan(value):
            reason = "failed" if (own["error"] != "").any() else "undefined"
            blank = {"facecolor": ink(1), "edgecolor": "none", "pad": 1}
            panel.text((low + high) / 2, y, reason, color=ink(0.5), ha="center", va="center", bbox=blank)
            continue
        panel.plot(interval, [y, y], color=BLUE, linewidth=5, alpha=0.35, solid_capstyle="butt", zorder=2)
        if len(own) > 1:
            panel.scatter(own["value"], np.full(len(own), y + 0.3), s=6, color=BLUE, linewidths=0, zorder=3)
        edge = float(np.clip(value, *LIMITS))
        panel.scatter(
            edge, y, s=34, marker="o" if edge == value else "<" if edge > value else ">", color=BLUE, zorder=4
        )
        if edge != value:
            number, side = f"{value:.3g}".replace("-", "−"), "left" if edge > value else "right"
            offset = (6 if edge > value else -6, 0)
            panel.annotate(
                number, (edge, y), offset, textcoords="offset points", ha=side, va="center", fontsize="small"
            )
