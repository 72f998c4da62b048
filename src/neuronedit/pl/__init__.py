"""Plots: read slots and layers, draw, return Axes."""

from ._biaxial import biaxial
from ._combination import combination
from ._compare import compare
from ._coverage import coverage
from ._cross_validation import cross_validation
from ._densities import densities
from ._history import history
from ._images import image_path, images
from ._marker_shift import marker_shift
from ._neurons import neurons
from ._rank_combinations import rank_combinations
from ._shift import shift
from ._support import support
from ._synergy import synergy

__all__ = [
    "biaxial",
    "combination",
    "compare",
    "coverage",
    "cross_validation",
    "densities",
    "history",
    "image_path",
    "images",
    "marker_shift",
    "neurons",
    "rank_combinations",
    "shift",
    "support",
    "synergy",
]
