"""Ways to move neurons. Each looks at the neurons of a source and a target and returns the map between them.

A new edit is one file and one row in `EDITS`.
"""

from collections.abc import Callable
from typing import Any

from .._maps import Chain, Mean, Only, Same, Seen
from .._types import Map, Method, Scaled, Within
from ._affine import Stretch, affine
from ._axes import on_neurons, on_principal_axes
from ._gaussian_ot import Linear, gaussian_ot
from ._local import local
from ._neighbors import Nearest
from ._pairs import by_pairs
from ._percentile import Percentiles, percentile
from ._shift import Shift, shift
from ._strata import Pair, by_strata, on_all
from ._support import Distance, Support, distance, support
from ._transport import transport

EDITS: dict[str, Callable[..., Map]] = {
    "percentile": percentile,
    "shift": shift,
    "affine": affine,
    "gaussian_ot": gaussian_ot,
    "local": local,
    "transport": transport,
}

MAPS: dict[str, type[Any]] = {
    "same": Same,
    "shift": Shift,
    "stretch": Stretch,
    "linear": Linear,
    "percentiles": Percentiles,
    "nearest": Nearest,
    "scaled": Scaled,
    "only": Only,
    "chain": Chain,
    "mean": Mean,
    "within": Within,
    "seen": Seen,
    "support": Support,
    "distance": Distance,
}
"""What edits return: dataclasses of tensors, numbers, spaces and each other, which is why a learnt edit can be saved."""

AXES: dict[str, Callable[[Method], Method]] = {
    "neurons": on_neurons,
    "principal": on_principal_axes,
}

__all__ = [
    "AXES",
    "EDITS",
    "MAPS",
    "Distance",
    "Pair",
    "Shift",
    "Support",
    "affine",
    "by_pairs",
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
