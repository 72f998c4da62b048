"""The change that was applied against the change that was observed: Figure 5b of the paper."""

from collections.abc import Callable, Iterable, Sequence
from itertools import product
from typing import Any

import numpy as np
from anndata import AnnData
from matplotlib.axes import Axes
from matplotlib.legend import Legend

from .. import _slots
from .._data.check import describe_choice
from .._docs import shared_docs
from ._figure import OKABE_ITO, describe_units, finish, ink, panels
from ._record import EditedPopulations

NAME_DISTANCES = (4.0, 10.0, 16.0, 22.0)
"""How far from its point a name may stand, in points: the nearest that is free, and none so far that it seems another's."""

NAME_ANGLES = np.deg2rad([0, 180, 90, 270, *range(30, 360, 60), *range(15, 360, 30)])
"""In which direction, the plainest first."""

MIN_SHARE_TO_NAME = 0.1
"""Share of the largest change below which a feature has not moved enough to be named."""


@shared_docs
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

    Examples
    --------
    >>> import neuronedit as ne
    >>> adata = ne.datasets.simulate_batches(n_cells=200)
    >>> ne.tl.train(adata, widths=(32, 8), max_epochs=2)
    >>> ne.tl.edit(adata, "group", source="control_1", target="control_2", query="sample_1")
    >>> ax = ne.pl.marker_shift(adata)
    >>> ax.get_xlabel()
    'observed change: target − source\n(median; arcsinh, cofactor 5)'

    Parameters
    ----------
    %(cells_of_edit)s
    statistic
        Of a population: ``np.median`` as in the paper, ``np.mean`` where most values are zero and medians do not move, or
        another function of ``(cells, axis=0)``.
    n_labels
        Name at most so many features, those that moved most and at least a tenth as far as the first. A name that finds
        no room is left out.
    %(edit_key)s
    %(figure)s

    Returns
    -------
    The Axes, with Pearson's correlation r over features in the legend; the Figure with ``return_fig=True``.

    Raises
    ------
    %(plot_errors)s
    """
    # read
    populations = EditedPopulations.read(adata, key)
    center = {role: statistic(populations.get_values(role), axis=0) for role in populations.masks}
    changes = np.stack([center["target"] - center["source"], center["edited"] - center["query"]], axis=1)
    units = describe_units(adata, populations.layer, adata.var_names)
    scale = "; ".join(filter(None, [describe_choice(statistic), units]))

    # draw
    (panel,) = panels(1, ax, size=(4.2, 3.8), room=0)
    panel.scatter(changes[:, 0], changes[:, 1], s=16, color=OKABE_ITO[0], linewidths=0, zorder=3)
    panel.axline((0, 0), slope=1, color=ink(0.4), linestyle="--", linewidth=1, label="applied = observed")
    low, high = changes.min(), changes.max()
    margin = 0.12 * (high - low) or 1.0
    panel.set(xlim=(low - margin, high + margin), ylim=(low - margin, high + margin), aspect="equal")
    panel.set_xlabel(f"observed change: target − source\n({scale})")
    panel.set_ylabel(f"applied change: edited − query\n({scale})")
    panel.spines[["top", "right"]].set_visible(False)

    # name
    with np.errstate(invalid="ignore"):
        r = np.corrcoef(changes.T)[0, 1]
    x, y = ((changes - low) / ((high - low) or 1.0)).T
    is_crowded = ((x < 0.6) & (y > 0.7)).sum() > ((x > 0.4) & (y < 0.3)).sum()
    title = "r undefined" if np.isnan(r) else f"r = {r:.2f}"
    place: dict[str, Any] = {"loc": "lower right" if is_crowded else "upper left", "alignment": "left"}
    legend = panel.legend(title=title, frameon=False, **place)
    size = np.abs(changes).max(axis=1)
    moved = [i for i in np.argsort(-size)[:n_labels] if size[i] > MIN_SHARE_TO_NAME * size.max()]
    _name_points(panel, changes, adata.var_names, moved, legend)
    return finish([panel], show=show, return_fig=return_fig)


def _name_points(panel: Axes, points: np.ndarray, names: Sequence[str], which: Iterable[int], legend: Legend) -> None:
    """Write names next to their points, the first ones first, each in the nearest place where it covers nothing."""
    # what is drawn already, in pixels
    figure = panel.figure.canvas.figure
    figure.draw_without_rendering()  # the layout settles: from here on places and sizes are known
    scale = figure.dpi / 72
    pixels, frame = panel.transData.transform(points), panel.get_window_extent().extents
    diagonal = panel.transData.transform(np.repeat(np.linspace(*panel.get_xlim(), 300)[:, None], 2, axis=1))
    of_legend = np.array(legend.get_window_extent().extents)
    taken = np.vstack([_make_boxes(pixels, 2.5 * scale), _make_boxes(diagonal, 0.5 * scale), of_legend])

    # one name after the other
    style: dict[str, Any] = {"textcoords": "offset points", "ha": "center", "va": "center", "fontsize": 7}
    for i in which:
        text = panel.annotate(names[i], points[i], (0, 0), **style)
        extent = text.get_window_extent()
        half = np.array([extent.width, extent.height]) / 2 + scale
        for distance, angle in product(NAME_DISTANCES, NAME_ANGLES):
            step = np.array([np.cos(angle), np.sin(angle)]) * scale
            middle = pixels[i] + step * distance + np.clip(1.5 * step / scale, -1, 1) * half
            leader = pixels[i] + step * np.arange(4, distance)[:, None]
            place = np.vstack([_make_boxes(middle, half), _make_boxes(leader, 0.5 * scale)])
            fits = (place[:, :2] >= frame[:2]).all() and (place[:, 2:] <= frame[2:]).all()
            covers = ((place[:, None, :2] < taken[:, 2:]) & (place[:, None, 2:] > taken[:, :2])).all(axis=2).any()
            gaps = np.linalg.norm(np.maximum(np.abs(pixels - middle) - half, 0), axis=1)
            is_clear = len(leader) or (np.delete(gaps, i) > 1.5 * gaps[i]).all()
            if fits and is_clear and not covers:
                text.set_position((middle - pixels[i]) / scale)
                taken = np.vstack([taken, place])
                if len(leader):
                    ends = panel.transData.inverted().transform([pixels[i], pixels[i] + step * distance])
                    panel.plot(*ends.T, color=ink(0.6), linewidth=0.6, zorder=2)
                break
        else:
            text.remove()


def _make_boxes(centers: np.ndarray, half: Any) -> np.ndarray:
    """Return the lower and upper corners of boxes, ``(n, 4)``."""
    return np.hstack([np.atleast_2d(centers - half), np.atleast_2d(centers + half)])
