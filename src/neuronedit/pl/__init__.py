"""Plots: read slots and layers, draw, return Axes."""

from ._biaxial import biaxial
from ._history import history

__all__ = ["biaxial", "history"]
