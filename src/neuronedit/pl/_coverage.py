"""What the samples of each batch hold that the batch's controls do not."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from .. import _slots
from ._figure import OKABE_ITO, aim, finish, ink, panels

SAMPLE: dict[str, Any] = {"marker": "o", "color": OKABE_ITO[0]}
FLAGGED: dict[str, Any] = {"marker": "D", "color": OKABE_ITO[1]}

LEAST = 0.05
"""Share of cells that the scale of colours reaches at least, so that nothing usual is dark."""

CELL = 0.21
"""Width of a feature, in inches; a batch is a little higher."""


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

    Parameters
    ----------
    adata
        After :func:`neuronedit.tl.correct`.
    key
        ``key_added`` of the correction.
    most
        Draw only so many features, those with the largest shares.
    ax
        Two axes to draw into.
    show
        Call ``plt.show()``.
    return_fig
        Return the figure instead.

    Returns
    -------
    A list of the two Axes, features and samples; the Figure with ``return_fig=True``. Features stand in the order of their
    largest share in any batch; how many were not drawn stands behind them. The reference, batches that were left alone and
    those without samples are not drawn.

    Raises
    ------
    KeyError, ValueError
        When there is no such correction, or none of its batches has both controls and samples.

    Examples
    --------
    >>> import neuronedit as ne
    >>> adata = ne.datasets.simulate_batches(n_cells=200)
    >>> ne.tl.train(adata, space="identity")
    >>> ne.tl.correct(adata, "batch", control_key="role", edit="percentile")
    >>> features, samples = ne.pl.coverage(adata, most=10)
    >>> [label.get_text() for label in features.get_yticklabels()], features.get_xticklabels()[-1].get_text()
    (['batch_1', 'batch_2'], '25 more')
    """
    shares, samples = _tables(adata, key)
    if most < 1:
        raise ValueError(f"most must be at least 1; it is {most!r}.")
    order = np.argsort(-shares.max().fillna(0).to_numpy(), kind="stable")
    drawn, hidden = shares.iloc[:, order[:most]], max(len(order) - most, 0)
    n, width = len(drawn), CELL * (drawn.shape[1] + (hidden > 0))
    room = 2.7 + 0.075 * max(len(str(batch)) for batch in drawn.index)
    size, ratios = ((width + 2) / 2, 0.26 * n + 1.3), (width, 2)
    left, right = axes = panels(2, ax, size=size, room=room, sharey=True, width_ratios=ratios)

    _scale(axes, _heatmap(left, drawn, hidden), 2 / (width + 2))
    _dots(right, samples, list(drawn.index))
    for panel in axes:
        panel.set_yticks(np.arange(n), [str(batch) for batch in drawn.index])
        panel.set_ylim(n - 0.5, -0.5)
        panel.spines[["top", "right", "left"]].set_visible(False)
        panel.tick_params(axis="y", length=0)
    left.spines["bottom"].set_visible(False)
    right.tick_params(axis="y", labelleft=False)
    return finish(axes, show=show, return_fig=return_fig)


def _tables(adata: AnnData, key: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the tables of a correction: batches by features, and samples."""
    record = adata.uns.get(key)
    if not isinstance(record, Mapping) or not {"coverage", "samples"} <= set(record):
        raise KeyError(f"uns[{key!r}] holds no correction; call ne.tl.correct first.")
    if not len(record["coverage"]):
        raise ValueError(f"uns[{key!r}] has no batch with both controls and samples: there is nothing to compare.")
    return record["coverage"], record["samples"]


def _heatmap(panel: Axes, shares: pd.DataFrame, hidden: int) -> QuadMesh:
    """Draw batches by features."""
    n, n_features = shares.shape
    edges = np.arange(n_features + 1) - 0.5, np.arange(n + 1) - 0.5
    top = max(LEAST, float(np.nanmax(shares.to_numpy(), initial=0)))
    style: dict[str, Any] = {"cmap": "Blues", "vmin": 0, "vmax": top, "edgecolors": ink(1), "linewidth": 0.5}
    mesh = panel.pcolormesh(*edges, shares.to_numpy(dtype=float), **style)
    names = [*map(str, shares.columns), *([f"{hidden} more"] if hidden else [])]
    panel.set_xticks(np.arange(len(names)), names, rotation=90)
    panel.set_xlim(-0.5, len(names) - 0.5)
    panel.tick_params(axis="x", length=0)
    if hidden:
        panel.get_xticklabels()[-1].set_color(ink(0.5))
    return mesh


def _scale(axes: Sequence[Axes], mesh: QuadMesh, length: float) -> None:
    """Draw the scale of colours above both panels, whose rows stay beside each other."""
    bar = axes[0].figure.colorbar(mesh, ax=axes, location="top", shrink=length, aspect=15, anchor=(0, 0))
    bar.set_label("share of cells beyond the control's range", loc="left")
    bar.outline.set_visible(False)
    bar.locator = MaxNLocator(4, steps=[1, 2, 5, 10])
    bar.formatter = FuncFormatter(_percent)


def _percent(share: float, _: Any) -> str:
    """Write a share on an axis."""
    return f"{100 * share:g} %"


def _dots(panel: Axes, samples: pd.DataFrame, batches: list[Any]) -> None:
    """Draw each sample's composition, or where no batch has three controls the share of its cells outside."""
    known = bool(samples["composition"].notna().any())
    column = "composition" if known else "outside"
    flagged = samples["flagged"].to_numpy(dtype=bool)
    rows = samples["batch"].map({batch: y for y, batch in enumerate(batches)}).to_numpy(dtype=float)
    values = samples[column].to_numpy(dtype=float)
    shown = {}
    for name, which, style in (("sample", ~flagged, SAMPLE), ("flagged sample", flagged, FLAGGED)):
        if (which & ~np.isnan(values)).any():
            panel.scatter(values[which], rows[which], s=26, alpha=0.75, linewidths=0.4, edgecolors=ink(1), **style)
            shown[name] = Line2D([], [], linestyle="", alpha=0.75, markeredgewidth=0, **style)
    most = max(np.nanmax(values), float(known), 0.02)
    panel.set_xlim(-0.04 * most, 1.06 * most)
    panel.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    panel.grid(axis="y", color=ink(0.92))
    panel.set_axisbelow(True)
    if not known:
        panel.set_xlabel("share of cells outside\nthe control")
        panel.xaxis.set_major_formatter(FuncFormatter(_percent))
    else:
        panel.set_xlabel("distance of composition\nfrom the controls'")
        shown["controls from each other\nat most"] = Line2D([], [], **aim())
        panel.axvline(1, zorder=1, **aim())
        for y in set(range(len(batches))) - set(rows[~np.isnan(values)]):
            blank = {"facecolor": ink(1), "edgecolor": "none", "pad": 1}
            said: dict[str, Any] = {"color": ink(0.5), "fontsize": "small", "va": "center", "bbox": blank}
            panel.annotate("fewer than 3 controls", (0.03, y), xycoords=panel.get_yaxis_transform(), **said)
    panel.legend(shown.values(), shown.keys(), frameon=False, loc="upper left", bbox_to_anchor=(1.02, 1))
