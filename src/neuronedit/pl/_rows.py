"""What plots with a named row for each thing share: the frame, dots with intervals, and numbers as text."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import LogLocator, NullFormatter

from .._data.check import format_choices
from ._figure import blank, ink, is_dark

ESTIMATE_AREA = 34  # of an estimate's dot, in square points: it stands out from the dots of single runs and folds
TICKS_PER_DECADE = {1: (1, 1.5, 2, 3, 5, 7), 2: (1, 2, 5), np.inf: (1,)}  # by how many decades the axis has at most
INTERVAL_ALPHA = {False: 0.35, True: 0.6}  # on a light and on a dark ground: pale, so that the dot in it is seen


def format_number(value: float, _: Any = None, *, digits: int = 6) -> str:
    """Write a number, with a minus that is as wide as a plus; matplotlib gives its place on the axis, too."""
    return f"{value:.{digits}g}".replace("-", "−")


def format_percent(share: float, _: Any = None) -> str:
    """Write a share; matplotlib gives its place on the axis, too."""
    return f"{format_number(100 * share)} %"


def label_decades(axis: Axis, n_decades: float, write: Callable[..., str]) -> None:
    """Label a logarithmic axis with plain numbers: enough of them also where it has not one whole decade."""
    axis.set_major_locator(LogLocator(subs=next(ticks for most, ticks in TICKS_PER_DECADE.items() if n_decades < most)))
    axis.set_major_formatter(write)
    axis.set_minor_formatter(NullFormatter())


def interval_bar(color: str) -> dict[str, Any]:
    """Return the style of the bar of an interval."""
    return {"color": color, "linewidth": 5, "alpha": INTERVAL_ALPHA[is_dark()], "solid_capstyle": "butt"}


def check_table(table: Any, columns: Sequence[str], tool: str) -> None:
    """Refuse what is not the table that a tool returns."""
    if missing := [column for column in columns if column not in table]:
        text = f"table has no column {format_choices(missing)}; it has {format_choices(table)}."
        raise KeyError(f"{text} Give what {tool} returned.")


def name_ticks(axis: Axis, places: Any, names: Sequence[Any], n_hidden: int) -> None:
    """Name the ticks of an axis; after the last one say in grey how many are not drawn."""
    places, names = list(places), [str(name) for name in names]
    if n_hidden:
        places, names = [*places, places[-1] + 1], [*names, f"{n_hidden} more"]
    axis.set_ticks(places, names)
    for label in axis.get_ticklabels()[-1:] if n_hidden else ():  # inner panels have none
        label.set_color(ink(0.5))


def frame_rows(axes: Sequence[Axes], places: Any, names: Sequence[Any], n_hidden: int = 0) -> None:
    """Name the rows of panels that stand beside each other, the first one on top, and draw a line along each."""
    for i, panel in enumerate(axes):
        name_ticks(panel.yaxis, places, names, n_hidden)
        panel.set_ylim(panel.get_yticks()[-1] + 0.6, -0.6)
        panel.grid(axis="y", color=ink(0.92))
        panel.set_axisbelow(True)
        panel.spines["left"].set_visible(False)
        panel.tick_params(axis="y", length=0)
        if i > 0:
            panel.tick_params(axis="y", labelleft=False)


def draw_estimate(
    panel: Axes,
    y: float,
    value: float,
    interval: Any,
    color: str,
    limits: tuple[float, float] = (-np.inf, np.inf),
    lowest: float = -np.inf,
) -> None:
    """Draw a dot with its interval in row y; beyond the limits a triangle at the edge, with its number.

    ``lowest`` is what all lower values were raised to.
    """
    panel.plot(interval, [y, y], zorder=2, **interval_bar(color))
    edge, is_lowest = float(np.clip(value, *limits)), bool(np.isclose(value, lowest))
    marker = "<" if edge > value or is_lowest else "o" if edge == value else ">"
    panel.scatter(edge, y, s=ESTIMATE_AREA, marker=marker, color=color, zorder=4)
    if marker != "o":
        side, offset = ("left", 6) if marker == "<" else ("right", -6)
        style: dict[str, Any] = {"ha": side, "va": "center", "fontsize": "small", "bbox": blank(0.5)}
        text = "≤ " * is_lowest + format_number(value, digits=3)
        panel.annotate(text, (edge, y), (offset, 0), textcoords="offset points", **style)
