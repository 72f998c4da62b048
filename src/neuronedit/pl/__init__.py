"""Plots: read slots and layers, draw, return Axes."""

from ._biaxial import biaxial
from ._compare import compare
from ._densities import densities
from ._history import history
from ._marker_shift import marker_shift
from ._neurons import neurons
from ._selection import selection
from ._shift import shift
from ._support import support

__all__ = ["biaxial", "compare", "densities", "history", "marker_shift", "neurons", "selection", "shift", "support"]
