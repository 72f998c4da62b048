"""Ways to move neurons. Each looks at the neurons of a source and a target and returns the map between them.

A new edit is one file and one row in `EDITS`.
"""

from collections.abc import Callable

from .._types import Map, Method
from ._affine import affine
from ._axes import on_neurons, on_principal_axes
from ._gaussian_ot import gaussian_ot
from ._local import local
from ._percentile import percentile
from ._shift import shift
from ._strata import Pair, by_strata, on_all
from ._support import distance, support
from ._transport import transport

EDITS: dict[str, Callable[..., Map]] = {
    "percentile": percentile,
    "shift": shift,
    "affine": affine,
    "gaussian_ot": gaussian_ot,
    "local": local,
    "transport": transport,
}

AXES: dict[str, Callable[[Method], Method]] = {
    "neurons": on_neurons,
    "principal": on_principal_axes,
}

__all__ = [
    "AXES",
    "EDITS",
    "Pair",
    "affine",
    "by_strata",
    "distance",
    "gaussian_ot",
    "local",
    "on_all",
    "on_neurons",
    "on_principal_axes",
    "percentile",
    "shift",
    "support",
    "transport",
]
