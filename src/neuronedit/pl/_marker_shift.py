"""The change that was applied against the change that was observed: Figure 5b of the paper."""

from collections.abc import Callable, Iterable, Sequence
from itertools import product
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from anndata import AnnData
from matplotlib.axes import Axes
from matplotlib.legend import Legend

from .. import _slots
from .._check import name_of_choice
from ._figure import OKABE_ITO, finish, ink, units, values_of
from ._record import edited

DISTANCES = (4.0, 10.0, 16.0, 22.0)
"""How far from its point a name may stand, in points; the nearest that is free."""

LEAST = 0.1
"""Share of the largest change below which a feature has not moved enough to be named."""

ANGLES = np.deg2rad([0, 180, 90, 270, *range(30, 360, 60), *range(15, 360, 30)])
"""In which direction, the plainest first."""


def marker_shift(
    adata: AnnData,
    *,
    statistic: Callable[..., Any] = np.median,
    n_labels: int = 40,
    key: str = _slots.EDITED,
    ax: Axes | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Any:
    r"""Draw, for every feature, the change applied to the query against the change observed from source to target.

    On the dashed line the edit applied what was observed. Being off it is not an error in itself: cells that differ from
    the source may rightly change by another amount.

    Parameters
    ----------
    adata
        After :func:`neuronedit.tl.edit`, whose record says which cells are meant.
    statistic
        Of a population: ``np.median`` as in the paper, ``np.mean`` where most values are zero and medians do not move, or
        another function of ``(cells, axis=0)``.
    n_labels
        Name at most so many features, those that moved most and at least a tenth as far as the first. A name that finds
        no room is left out.
    key
        ``key_added`` of the edit.
    ax
        Axes to draw into.
    show
        Call ``plt.show()``.
    return_fig
        Return the figure instead.

    Returns
    -------
    The Axes, with Pearson's correlation r over features in the legend; the Figure with ``return_fig=True``.

    Raises
    ------
    KeyError, ValueError
        When there is no such edit, or its cells or layers are gone.

    Examples
    --------
    >>> import neuronedit as ne
    >>> adata = ne.datasets.simulate_batches(n_cells=200)
    >>> ne.tl.train(adata, widths=(32, 8), max_epochs=2)
    >>> ne.tl.edit(adata, "group", source="control_1", target="control_2", query="sample_1")
    >>> ax = ne.pl.marker_shift(adata)
    >>> ax.get_xlabel()
    'observed change: target − source\n(median; arcsinh, cofactor 5)'
    """
    record = edited(adata, key)
    layers = dict.fromkeys(record.masks, record.layer) | {"edited": key}
    center = {role: statistic(values_of(adata, layers[role], mask), axis=0) for role, mask in record.masks.items()}
    changes = np.stack([center["target"] - center["source"], center["edited"] - center["query"]], axis=1)
    if ax is None:
        _, ax = plt.subplots(figsize=(4.2, 4.2), layout="constrained")

    ax.scatter(changes[:, 0], changes[:, 1], s=16, color=OKABE_ITO[0], linewidths=0, zorder=3)
    ax.axline((0, 0), slope=1, color=ink(0.4), linestyle="--", linewidth=1, label="applied = observed")
    low, high = changes.min(), changes.max()
    margin = 0.12 * (high - low) or 1.0
    ax.set(xlim=(low - margin, high + margin), ylim=(low - margin, high + margin), aspect="equal")
    unit = "; ".join(filter(None, [name_of_choice(statistic), units(adata, record.layer, adata.var_names)]))
    ax.set_xlabel(f"observed change: target − source\n({unit})")
    ax.set_ylabel(f"applied change: edited − query\n({unit})")
    ax.spines[["top", "right"]].set_visible(False)
    with np.errstate(invalid="ignore"):
        r = np.corrcoef(changes.T)[0, 1]
    x, y = ((changes - low) / ((high - low) or 1.0)).T
    crowded = ((x < 0.6) & (y > 0.7)).sum() > ((x > 0.4) & (y < 0.3)).sum()
    title = "r undefined" if np.isnan(r) else f"r = {r:.2f}"
    legend = ax.legend(title=title, frameon=False, alignment="left", loc="lower right" if crowded else "upper left")
    size = np.abs(changes).max(axis=1)
    moved = [i for i in np.argsort(-size)[:n_labels] if size[i] > LEAST * size.max()]
    _name(ax, changes, adata.var_names, moved, legend)
    return finish([ax], show=show, return_fig=return_fig)


def _name(ax: Axes, points: np.ndarray, names: Sequence[str], which: Iterable[int], legend: Legend) -> None:
    """Write names next to their points, the first ones first, each in the nearest place where it covers nothing."""
    figure = ax.figure.canvas.figure
    figure.draw_without_rendering()  # the layout settles: from here on places and sizes are known
    scale = figure.dpi / 72
    pixels, frame = ax.transData.transform(points), ax.get_window_extent().extents
    line = np.repeat(np.linspace(ax.get_xlim()[0], ax.get_xlim()[1], 300)[:, None], 2, axis=1)
    taken = np.array(legend.get_window_extent().extents)
    boxes = np.vstack([_boxes(pixels, 2.5 * scale), _boxes(ax.transData.transform(line), 0.5 * scale), taken])
    for i in which:
        text = ax.annotate(
            names[i], points[i], (0, 0), textcoords="offset points", ha="center", va="center", fontsize=7
        )
        extent = text.get_window_extent()
        half = np.array([extent.width, extent.height]) / 2 + scale
        for distance, angle in product(DISTANCES, ANGLES):
            step = np.array([np.cos(angle), np.sin(angle)]) * scale
            middle = pixels[i] + step * distance + np.clip(1.5 * step / scale, -1, 1) * half
            leader = pixels[i] + step * np.arange(4, distance)[:, None]
            place = np.vstack([_boxes(middle, half), _boxes(leader, 0.5 * scale)])
            inside = (place[:, :2] >= frame[:2]).all() and (place[:, 2:] <= frame[2:]).all()
            covers = ((place[:, None, :2] < boxes[:, 2:]) & (place[:, None, 2:] > boxes[:, :2])).all(axis=2).any()
            gaps = np.linalg.norm(np.maximum(np.abs(pixels - middle) - half, 0), axis=1)
            clear = len(leader) or (np.delete(gaps, i) > 1.5 * gaps[i]).all()
            if inside and clear and not covers:
                text.set_position((middle - pixels[i]) / scale)
                boxes = np.vstack([boxes, place])
                if len(leader):
                    ends = ax.transData.inverted().transform([pixels[i], pixels[i] + step * distance])
                    ax.plot(*ends.T, color=ink(0.6), linewidth=0.6, zorder=2)
                break
        else:
            text.remove()


def _boxes(centers: np.ndarray, half: Any) -> np.ndarray:
    """Return the lower and upper corners of boxes, ``(n, 4)``."""
    return np.hstack([np.atleast_2d(centers - half), np.atleast_2d(centers + half)])
