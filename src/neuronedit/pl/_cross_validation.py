"""What ``edit="auto"`` tried on held-out parts of the pair, and what it made of it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from anndata import AnnData
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from .. import _slots
from .._check import config_of
from ._figure import OKABE_ITO, aim, finish, ink, nought, panels

BLUE, ORANGE = OKABE_ITO[:2]

LIMITS = (-1.0, 1.2)
"""What the axis of scores shows at most."""

COUNTED = 0.01
"""Weight of a held-out part from which it is counted."""

FIRST = 1.5
"""Row of the best candidate: the combination, in row 0, is set apart."""

LARGEST = 18.0
"""Area of the dot of the part that counted most, in square points; other dots are smaller in proportion."""

SMALLEST = {"o": 3.0, "<": 9.0, ">": 9.0}
"""Area that no dot, and no triangle, is drawn below."""


def cross_validation(
    adata: AnnData,
    *,
    key: str = _slots.EDITED,
    most: int = 15,
    ax: Sequence[Axes] | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Any:
    """Draw what ``ne.tl.edit(edit="auto")`` tried on held-out parts of the pair, and how it combined what it tried.

    On the left, how much of the gap from source to target each candidate closed in parts of the pair that were held out
    (the strata, or some that were derived). The large dot is the mean over parts, the bar is ± its standard error, and
    the small dots below it are the parts, the larger the more they counted. On the dashed line a candidate is ideal, on
    the thin one it is no better than leaving the cells alone. The first row is the combination, weighed without the
    part in which it is judged. The axis shows at most -1 to 1.2: what lies beyond is a triangle at the edge, a mean
    with its number.

    On the right, the weight of each candidate in the combination, times its strength: what is missing to 1 leaves the
    cells alone.

    Parameters
    ----------
    adata
        After :func:`neuronedit.tl.edit` with ``edit="auto"``, which is its default.
    key
        ``key_added`` of the edit.
    most
        Draw only so many candidates, the best ones; those that have a weight are always drawn.
    ax
        Two axes to draw into.
    show
        Call ``plt.show()``.
    return_fig
        Return the figure instead.

    Returns
    -------
    A list of the two Axes, scores and weights; the Figure with ``return_fig=True``. Candidates stand in the order of
    their means, the best on top; how many were not drawn stands below them. Where the pair was too small to hold out a
    part, there are only the weights of the fixed combination that was taken.

    Raises
    ------
    KeyError, ValueError
        When there is no such edit, or it was not edited with ``edit="auto"``.

    Examples
    --------
    >>> import neuronedit as ne
    >>> adata = ne.datasets.simulate_batches(n_cells=200)
    >>> ne.tl.train(adata, widths=(32, 8), max_epochs=2)
    >>> ne.tl.edit(adata, "group", source="control_1", target="control_2", query="sample_1", strata="cell_type")
    >>> scores, weights = ne.pl.cross_validation(adata)
    >>> scores.get_yticklabels()[0].get_text(), weights.get_xlabel()
    ('combination', 'weight')
    """
    config = config_of(adata, key)
    if "selection" not in adata.uns[key]:
        raise ValueError(f"uns[{key!r}] was edited with edit={config['edit']!r}; only edit='auto' chooses.")
    if most < 1:
        raise ValueError(f"most must be at least 1; it is {most!r}.")
    record = adata.uns[key]["selection"]
    names, parts = np.asarray(record["candidates"], dtype=str), list(record["parts"])
    weights, counted = np.asarray(record["weights"]), np.asarray(record["part_weights"])
    found = [spread(values, counted) for values in record["scores"]] if parts else [(np.nan, np.nan)] * len(names)
    means = np.array([mean for mean, _ in found])
    drawn, hidden = _rows(means, weights, most if parts else 0)
    n_rows = FIRST * bool(parts) + len(drawn) + (hidden > 0)
    room = 0.075 * max(map(len, names[drawn]), default=0) + (1.9 if parts else 0.3)
    size = (2.1, 0.26 * n_rows + 0.7)
    left, right = axes = panels(2, ax, size=size, room=room, sharey=True, width_ratios=(2.2, 1))

    places = {FIRST * bool(parts) + row: i for row, i in enumerate(drawn)}
    _frame(axes, places, names, hidden if parts else 0, combination=bool(parts))
    bars = {y: weight for y, i in places.items() if (weight := weights[i] * record["strength"]) > 0}
    right.barh(list(bars), list(bars.values()), height=0.6, color=BLUE, zorder=2)
    largest = max(bars.values(), default=1)
    right.set(xlabel="weight", xlim=(-0.06 * largest, 1.06 * largest))
    right.xaxis.set_major_locator(MaxNLocator(3, steps=[1, 2, 5, 10]))
    right.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    left.set_title(_summary(record, config), loc="left", fontsize="medium")
    if not parts:
        left.set(xticks=[], xlim=(0, 1))
        left.grid(visible=False)
        left.spines["bottom"].set_visible(False)
        said = "the pair is\ntoo small to hold out\na part of it"
        left.text(0.5, sum(left.get_ylim()) / 2, said, color=ink(0.4), ha="center", va="center")
        return finish(axes, show=show, return_fig=return_fig)

    rows = {y: np.asarray(record["scores"])[i] for y, i in places.items()}
    _draw(left, {0.0: np.asarray(record["combined"])} | rows, counted)
    right.legend(**_legend(), frameon=False, loc="upper left", bbox_to_anchor=(1.02, 1))
    return finish(axes, show=show, return_fig=return_fig)


def spread(values: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    """Return the weighted mean over parts and its standard error, as in `neuronedit.ensemble`."""
    mean = float(weights @ values)
    n = 1 / float(weights @ weights)
    return mean, float(np.sqrt(weights @ (values - mean) ** 2 / max(n - 1, 0.5)))


def _rows(means: np.ndarray, weights: np.ndarray, most: int) -> tuple[list[int], int]:
    """Return which candidates are drawn, the best first (by weight where nothing was scored), and how many are not."""
    order = np.argsort(-(weights if np.isnan(means).all() else means), kind="stable")
    drawn = {*order[:most], *np.flatnonzero(weights > 0)}
    return [int(i) for i in order if i in drawn], len(order) - len(drawn)


def _summary(record: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    """Say what to expect, and what it was learnt on."""
    n, strength = int((np.asarray(record["part_weights"]) >= COUNTED).sum()), record["strength"]
    if not n:
        return "a fixed combination"
    strata = f"{n} strata of {config['strata']!r}" if record["how"] == "strata" else f"{n} derived strata"
    if not strength:
        return f"nothing carries over: cells left alone\n{strata}"
    applied = "" if config["strength"] == 1 else f", of which {config['strength']:g} was applied"
    expected = f"{record['expected']:.2f} ± {record['expected_se']:.2f}"
    return f"expected to close {expected} of the gap\nstrength {strength:.2g}{applied}, {strata}"


def _frame(
    axes: Sequence[Axes], places: Mapping[float, int], names: np.ndarray, hidden: int, *, combination: bool
) -> None:
    """Name the rows."""
    labels = {y: str(names[i]) for y, i in places.items()}
    labels = ({0.0: "combination"} if combination else {}) | labels
    if hidden:
        labels[max(labels) + 1] = f"{hidden} more"
    for panel in axes:
        panel.set_yticks(list(labels), list(labels.values()))
        panel.set_ylim(max(labels) + 0.6, -0.6)
        panel.grid(axis="y", color=ink(0.92))
        panel.set_axisbelow(True)
        panel.spines[["top", "right", "left"]].set_visible(False)
        panel.tick_params(axis="y", length=0)
        if combination:
            panel.axhline(FIRST / 2, color=ink(0.7), linewidth=0.6)
    axes[1].tick_params(axis="y", labelleft=False)
    if hidden:
        axes[0].get_yticklabels()[-1].set_color(ink(0.5))


def _draw(panel: Axes, rows: Mapping[float, np.ndarray], counted: np.ndarray) -> None:
    """Draw what was closed in each part, the mean over parts and its standard error."""
    seen = [0.0, 1.0]
    sizes = LARGEST * counted / counted.max()
    panel.axvline(1, zorder=1, **aim())
    panel.axvline(0, zorder=1, **nought())
    for y, values in rows.items():
        color = BLUE if y else ORANGE
        mean, error = spread(values, counted)
        ends = np.clip([mean - error, mean + error], *LIMITS)
        panel.plot(ends, [y, y], color=color, linewidth=5, alpha=0.35, solid_capstyle="butt", zorder=2)
        seen += [*ends, *np.clip(values, *LIMITS)]
        for marker, which in _markers(values).items():
            places = np.clip(values[which], *LIMITS), np.full(which.sum(), y + 0.32)
            own = np.maximum(sizes[which], SMALLEST[marker])
            panel.scatter(*places, s=own, marker=marker, color=color, alpha=0.6, linewidths=0, zorder=3)
        edge, marker = float(np.clip(mean, *LIMITS)), next(m for m, own in _markers(np.array([mean])).items() if own[0])
        panel.scatter(edge, y, s=34, marker=marker, color=color, zorder=4)
        if edge != mean:
            number, side = f"{mean:.3g}".replace("-", "−"), "left" if edge > mean else "right"
            style: dict[str, Any] = {"ha": side, "va": "center", "fontsize": "small"}
            blank = {"facecolor": ink(1), "edgecolor": "none", "pad": 0.5}
            offset = (6 if edge > mean else -6, 0)
            panel.annotate(number, (edge, y), offset, textcoords="offset points", bbox=blank, **style)
    margin = 0.06 * (max(seen) - min(seen))
    panel.set(xlim=(min(seen) - margin, max(seen) + margin), xlabel="share of the gap closed")


def _markers(values: np.ndarray) -> dict[str, np.ndarray]:
    """Return which values are within the axis, below it and above it, by the marker that says so."""
    found = {"<": values < LIMITS[0], ">": values > LIMITS[1]}
    found["o"] = ~found["<"] & ~found[">"]
    return {marker: which for marker, which in found.items() if which.any()}


def _legend() -> dict[str, Any]:
    """Return what is in the legend."""
    dot: dict[str, Any] = {"marker": "o", "linestyle": "", "color": BLUE}
    shown = {
        "weighted mean": Line2D([], [], **dot),
        "held-out part (size: weight)": Line2D([], [], **dot, markersize=3.5, markeredgewidth=0, alpha=0.6),
        "± standard error": Line2D([], [], color=BLUE, linewidth=5, alpha=0.35, solid_capstyle="butt"),
        "ideal": Line2D([], [], **aim()),
        "cells left alone": Line2D([], [], **nought()),
    }
    return {"handles": list(shown.values()), "labels": list(shown)}
