"""Ways to move neurons. Each looks at the neurons of a source and a target and returns the map between them.

A new edit is one file and one row in `EDITS`.
"""

from collections.abc import Callable

from .._types import Map, Method
from ._axes import on_neurons, on_principal_axes
from ._local import local
from ._percentile import percentile
from ._shift import shift
from ._support import support

EDITS: dict[str, Callable[..., Map]] = {
    "percentile": percentile,
    "shift": shift,
    "local": local,
}

AXES: dict[str, Callable[[Method], Method]] = {
    "neurons": on_neurons,
    "principal": on_principal_axes,
}

__all__ = ["AXES", "EDITS", "local", "on_neurons", "on_principal_axes", "percentile", "shift", "support"]
