"""Plots: read slots and layers, draw, return Axes."""

from .._check import guard
from .._docs import share_docs
from ._biaxial import biaxial
from ._combination import combination, rank_combinations, synergy
from ._curves import densities, neurons
from ._images import image_path, images
from ._scores import compare, cross_validation, history
from ._shift import marker_shift, shift
from ._support import coverage, support

__all__ = [
    "biaxial", "combination", "compare", "coverage", "cross_validation", "densities", "history", "image_path", "images",
    "marker_shift", "neurons", "rank_combinations", "shift", "support", "synergy",
]  # fmt: skip

share_docs(globals())
guard(globals())
