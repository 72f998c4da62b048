"""Densities in two dimensions: filled contours of one population, and the difference of two."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_rgba
from matplotlib.patches import Patch
from scipy import ndimage

from ._figure import OKABE_ITO, ink
from ._rows import format_number

CONTOUR_SHARES = (0.95, 0.75, 0.5, 0.25)  # of a group's cells, that its contours enclose
SHADES = (0.25, 0.45, 0.7, 1.0)  # of the opacity, from the outermost contour to the innermost
MIN_CELLS_FOR_DENSITY = 10  # of a group, below which a density means nothing: they are shown as they are
BINS_ALONG_AXIS = 160  # of the grid, along each axis
BANDWIDTH = 0.8  # of Scott's rule, which smooths a population of several clusters too much
OUTLINE: dict[str, Any] = {"linewidth": 1.2, "linestyle": (0, (3, 1.5))}
COLOR_STEPS = 6  # of the colours of a difference, to each side of 0


def estimate_plane_density(values: np.ndarray, limits: Any) -> tuple[list[np.ndarray], np.ndarray]:
    """Return the centers of a grid over these limits, and the density of the cells there: its sum times a bin's area is 1."""
    x, y = values.T
    counts, *edges = np.histogram2d(x, y, bins=BINS_ALONG_AXIS, range=limits)
    widths = np.array([np.diff(edge)[0] for edge in edges])
    bandwidth = BANDWIDTH * values.std(axis=0) * len(values) ** (-1 / 6) / widths
    density = ndimage.gaussian_filter(counts, sigma=np.maximum(bandwidth, 1.5), mode="constant")
    return [(edge[1:] + edge[:-1]) / 2 for edge in edges], density / (len(values) * widths.prod())


def find_levels(density: np.ndarray) -> np.ndarray:
    """Return the densities at which contours enclose the given shares of the cells, and the largest one."""
    ordered = np.sort(density, axis=None)[::-1]
    enclosed = np.cumsum(ordered) / ordered.sum()
    levels = np.unique([ordered[np.searchsorted(enclosed, share)] for share in CONTOUR_SHARES])
    return np.append(levels, max(ordered[0], levels[-1]) * 1.01)


def draw_contours(panel: Axes, values: np.ndarray, color: Any, *, s: float, alpha: float) -> None:
    """Fill the areas that enclose given shares of the cells, darker towards the middle; few cells are drawn as points."""
    if len(values) < MIN_CELLS_FOR_DENSITY:
        panel.scatter(values[:, 0], values[:, 1], c=[color], s=s, linewidths=0, rasterized=True)
        return
    centers, density = estimate_plane_density(values, [panel.get_xlim(), panel.get_ylim()])
    levels = find_levels(density)
    fills = [to_rgba(color, alpha * shade) for shade in SHADES[1 - len(levels) :]]
    panel.contourf(*centers, density.T, levels=levels, colors=fills)
    panel.contour(*centers, density.T, levels=levels[:1], colors=[color], linewidths=1.0)


def draw_outline(panel: Axes, values: np.ndarray, color: Any) -> None:
    """Draw the outermost contour alone, of another population than the one whose contours are filled."""
    if len(values) >= MIN_CELLS_FOR_DENSITY:
        centers, density = estimate_plane_density(values, [panel.get_xlim(), panel.get_ylim()])
        style = {"linewidths": OUTLINE["linewidth"], "linestyles": [OUTLINE["linestyle"]]}
        panel.contour(*centers, density.T, levels=find_levels(density)[:1], colors=[color], **style)


def explain_contours(colors: dict[Any, Any], alpha: float) -> dict[Any, Any]:
    """Return what a legend shows: a patch for each group, and in grey what the shades enclose."""
    styles = {name: Patch(facecolor=to_rgba(color, alpha), edgecolor=color) for name, color in colors.items()}
    for share, shade in list(zip(CONTOUR_SHARES, SHADES, strict=True))[::-1]:
        styles[f"{100 * share:.0f} % of the cells"] = Patch(
            facecolor=to_rgba(ink(0.35), alpha * shade), edgecolor="none"
        )
    return styles


def draw_differences(axes: Sequence[Axes], cells: Sequence[tuple[np.ndarray, np.ndarray]], label: str) -> None:
    """Draw, for each panel, the density of its first cells minus that of its second, all in the same colours."""
    differences = []
    for panel, both in zip(axes, cells, strict=True):
        limits = [panel.get_xlim(), panel.get_ylim()]
        centers, (density, former) = zip(*(estimate_plane_density(values, limits) for values in both), strict=True)
        differences.append((centers[0], density - former))
    end = max(float(np.abs(difference).max()) for _, difference in differences) or 1.0
    steps = np.linspace(0, end, COLOR_STEPS + 1)[1:] * 1.0001  # the largest is drawn, too
    levels = [*-steps[::-1], *steps]
    colors = LinearSegmentedColormap.from_list("difference", [OKABE_ITO[0], ink(1), OKABE_ITO[1]])
    for panel, (grid, difference) in zip(axes, differences, strict=True):
        if np.abs(difference).max() < end / COLOR_STEPS:
            panel.text(0.5, 0.5, "no difference", color=ink(0.4), ha="center", va="center", transform=panel.transAxes)
        filled = panel.contourf(*grid, difference.T, levels=levels, cmap=colors, vmin=-end, vmax=end)
    bar = axes[0].figure.colorbar(filled, ax=axes, aspect=25, ticks=[-end, 0, end], format=format_difference)
    bar.set_label(label)
    bar.outline.set_visible(False)


def format_difference(value: float, _: Any = None) -> str:
    """Write a difference, with its sign."""
    return f"{'+' if value > 0 else ''}{format_number(value, digits=2)}"
