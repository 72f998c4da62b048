"""Distributions of markers before and after, as small curves that the page draws itself."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from .._data.record import Tool
from ..pl._curves import estimate_density
from ._cells import CellSample, order_roles
from ._result import Result

WIDTH, HEIGHT = 180, 44  # of one row of curves, in the units of the drawing
N_POINTS = 56  # of a curve
MIN_CELLS_OF_CURVE = 20  # of a group, below which its curve is noise
MAX_ROWS = 4  # states below each other
MAX_CURVES = 40  # of a row: more are not told apart, and their lines fill the file
N_COLORS = 8
N_FIRST = 12  # markers that are shown at once; the others are folded away


@dataclass(frozen=True)
class Curve:
    """A line: which group it is of, the number of its colour, `None` where there are too many, and its path."""

    group: str
    color: int | None
    role: str
    path: str


@dataclass(frozen=True)
class DensityPanel:
    """A marker: for each state its curves, from the lowest to the highest value."""

    feature: str
    rows: list[tuple[str, list[Curve]]]
    low: str
    high: str


@dataclass(frozen=True)
class Densities:
    """All markers; ``roles`` are those between which the reader chooses, none where all are drawn together."""

    panels: list[DensityPanel]
    groups: list[tuple[str, int | None]]
    roles: list[str]
    states: list[str]


def estimate_densities(result: Result, sample: CellSample) -> Densities:
    """Return the curves of all markers that are shown, those that change most first."""
    by_batch = result.tool is Tool.CORRECT and "batch" in sample.labels
    groups = sample.labels["batch" if by_batch else "role"]
    roles = sample.labels["role"] if by_batch else pd.Series("", index=sample.labels.index)
    names = sorted(groups.unique(), key=order_roles)[:MAX_CURVES]
    colors = {name: i if len(names) <= N_COLORS else None for i, name in enumerate(names)}
    states = result.states[:MAX_ROWS]
    by_group = sample.labels.groupby([roles, groups]).indices
    panels = []
    for feature in sample.ranked:
        column = sample.features.index(feature)
        low, high = _find_limits([sample.values[state][:, column] for state in states])
        grid = np.linspace(low, high, N_POINTS)
        rows = []
        for state in states:
            curves = []
            for (role, group), index in sorted(by_group.items()):
                values = sample.values[state][index, column]
                values = values[~np.isnan(values)]
                if group in colors and len(values) >= MIN_CELLS_OF_CURVE:
                    curves.append(Curve(group, colors[group], role, _draw(values, grid)))
            rows.append((state, curves))
        panels.append(DensityPanel(feature, rows, _format(low), _format(high)))
    choices = sorted(roles.unique(), key=order_roles) if by_batch else []
    return Densities(panels, list(colors.items()), choices, states)


def _format(value: float) -> str:
    """Write the end of an axis."""
    return f"{value:.1f}".replace("-0.0", "0.0").replace("-", "−")


def _find_limits(states: list[np.ndarray]) -> tuple[float, float]:
    """Return the range that is drawn: all but the outermost cells."""
    values = np.concatenate(states)
    low, high = np.quantile(values[~np.isnan(values)], [0.001, 0.999])
    return (float(low), float(high)) if high > low else (float(low) - 0.5, float(low) + 0.5)


def _draw(values: np.ndarray, grid: np.ndarray) -> str:
    """Return the path of a density, as high as all others; coordinates are rounded to a tenth."""
    x, density = estimate_density(values) if np.ptp(values) > 0 else (grid[[0, -1]], np.zeros(2))
    heights = np.interp(grid, x, density, left=0, right=0)
    y = HEIGHT - 2 - (HEIGHT - 6) * heights / max(heights.max(), 1e-12)
    places = np.linspace(0, WIDTH, len(grid))
    return "M" + "L".join(f"{a:.0f} {b:.1f}" for a, b in zip(places, y, strict=True))
