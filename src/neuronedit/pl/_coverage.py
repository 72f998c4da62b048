"""What the samples of each batch hold that the batch's controls do not."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from .. import _slots
from .._data.check import check_at_least
from .._data.record import Record, Tool
from .._docs import shared_docs
from ._figure import DOT, OKABE_ITO, blank, finish, format_percent, ideal_line, ink, legend_beside, panels
from ._rows import frame_rows, name_ticks

SAMPLE_STYLE: dict[str, Any] = {"marker": "o", "color": OKABE_ITO[0]}
FLAGGED_STYLE: dict[str, Any] = {"marker": "D", "color": OKABE_ITO[1]}

MIN_END_OF_SCALE = 0.05
"""Share of cells that the scale of colours reaches at least, so that the usual 1 % is never dark."""

MIN_END_OF_AXIS = 0.02
"""Share of cells that the axis of samples reaches at least, so that the usual 1 % is not at its end."""

INCHES_PER_FEATURE = 0.21
"""Width of a column, enough for a name written upwards; a batch is a little higher."""


@shared_docs
def coverage(
    adata: AnnData,
    *,
    key: str = _slots.CORRECTED,
    most: int = 30,
    ax: Sequence[Axes] | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Any:
    """Draw what the samples of each batch hold that the batch's controls do not: there a correction extrapolates.

    On the left, for each batch and feature, the share of the samples' cells beyond the central 99 % of the control's; 1 %
    is usual. On the right, a dot for each sample: how far its composition is from the controls', as a share of how far
    one control is from the others at most, the dashed line; samples that are further are flagged. Where no batch has three
    controls that is not known, and the share of each sample's cells that lie outside the control stands there instead.

    Examples
    --------
    >>> import neuronedit as ne
    >>> adata = ne.datasets.simulate_batches(n_cells=200)
    >>> ne.tl.train(adata, space="identity")
    >>> ne.tl.correct(adata, "batch", control_key="role", edit="percentile")
    >>> features, samples = ne.pl.coverage(adata, most=10)
    >>> [label.get_text() for label in features.get_yticklabels()], features.get_xticklabels()[-1].get_text()
    (['batch_1', 'batch_2'], '25 more')

    Parameters
    ----------
    adata
        After :func:`neuronedit.tl.correct`.
    key
        ``key_added`` of the correction.
    most
        Draw only so many features, those with the largest shares.
    %(figure)s

    Returns
    -------
    A list of the two Axes, features and samples; the Figure with ``return_fig=True``. How many features were not drawn stands
    behind the others. The reference, batches that were left alone and those without samples are not drawn.

    Raises
    ------
    %(plot_errors)s
    """
    # read
    record = Record.read(adata, key, Tool.CORRECT, fitted_here=True)
    shares = _pivot_shares(record.content["features"])
    if shares.empty:
        raise ValueError(f"uns[{key!r}] has no batch with both controls and samples: there is nothing to compare.")
    check_at_least(1, most=most)
    order = np.argsort(-shares.max().fillna(0).to_numpy(), kind="stable")
    drawn, n_hidden = shares.iloc[:, order[:most]], max(len(order) - most, 0)

    # draw
    n, width = len(drawn), INCHES_PER_FEATURE * (drawn.shape[1] + (n_hidden > 0))
    layout: dict[str, Any] = {"size": ((width + 2) / 2, 0.26 * n + 1.3), "sharey": True, "width_ratios": (width, 2)}
    left, right = axes = panels(2, ax, room=2.7, names=drawn.index, **layout)
    _draw_shares(axes, drawn, n_hidden, 2 / (width + 2))
    frame_rows(axes, range(n), drawn.index)
    left.grid(visible=False)
    left.spines["bottom"].set_visible(False)
    for panel in axes:
        panel.set_ylim(n - 0.5, -0.5)
    _draw_sample_dots(right, record.content["samples"], list(drawn.index))
    return finish(axes, show=show, return_fig=return_fig)


def _pivot_shares(features: pd.DataFrame) -> pd.DataFrame:
    """Return the share of cells beyond the control's range, batches by features; without batches that were not compared."""
    if "outside_control" not in features:
        return pd.DataFrame()
    features = features.astype({"batch": str, "feature": str})
    shares = features.pivot(index="batch", columns="feature", values="outside_control")
    return shares[features["feature"].unique()].dropna(how="all")


def _draw_shares(axes: Sequence[Axes], shares: pd.DataFrame, n_hidden: int, length: float) -> None:
    """Draw batches by features, and the scale of colours above all panels, whose rows stay beside each other."""
    panel, (n, n_features) = axes[0], shares.shape
    edges = np.arange(n_features + 1) - 0.5, np.arange(n + 1) - 0.5
    end = max(MIN_END_OF_SCALE, float(np.nanmax(shares.to_numpy(), initial=0)))
    style: dict[str, Any] = {"cmap": "Blues", "vmin": 0, "vmax": end, "edgecolors": ink(1), "linewidth": 0.5}
    mesh = panel.pcolormesh(*edges, shares.to_numpy(dtype=float), **style)
    name_ticks(panel.xaxis, range(n_features), shares.columns, n_hidden)
    panel.set_xlim(-0.5, panel.get_xticks()[-1] + 0.5)
    panel.tick_params(axis="x", length=0, labelrotation=90)
    bar = panel.figure.colorbar(mesh, ax=axes, location="top", shrink=length, aspect=15, anchor=(0, 0))
    bar.set_label("share of cells beyond the control's range", loc="left")
    bar.outline.set_visible(False)
    bar.locator = MaxNLocator(4, steps=[1, 2, 5, 10])
    bar.formatter = FuncFormatter(format_percent)


def _draw_sample_dots(panel: Axes, samples: pd.DataFrame, batches: list[Any]) -> None:
    """Draw each sample's composition, or where no batch has three controls the share of its cells outside."""
    # samples
    has_composition = bool(samples["composition"].notna().any())
    values = samples["composition" if has_composition else "outside"].to_numpy(dtype=float)
    is_flagged = samples["flagged"].to_numpy(dtype=bool)
    rows = samples["batch"].map({batch: y for y, batch in enumerate(batches)}).to_numpy(dtype=float)
    styles = {}
    kinds = {"sample": (~is_flagged, SAMPLE_STYLE), "flagged sample": (is_flagged, FLAGGED_STYLE)}
    for name, (which, style) in kinds.items():
        if (which & ~np.isnan(values)).any():
            panel.scatter(values[which], rows[which], s=26, alpha=0.75, linewidths=0.4, edgecolors=ink(1), **style)
            styles[name] = DOT | style | {"alpha": 0.75, "markeredgewidth": 0}

    # axis
    end = max(np.nanmax(values), float(has_composition), MIN_END_OF_AXIS)
    panel.set_xlim(-0.04 * end, 1.06 * end)
    panel.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    if has_composition:
        panel.set_xlabel("distance of composition\nfrom the controls'")
        panel.axvline(1, zorder=1, **ideal_line())
        styles["controls from each other\nat most"] = ideal_line()
        style = {"color": ink(0.5), "fontsize": "small", "va": "center", "bbox": blank()}
        for y in set(range(len(batches))) - set(rows[~np.isnan(values)]):
            panel.annotate("fewer than 3 controls", (0.03, y), xycoords=panel.get_yaxis_transform(), **style)
    else:
        panel.set_xlabel("share of cells outside\nthe control")
        panel.xaxis.set_major_formatter(FuncFormatter(format_percent))
    legend_beside([panel], styles)
