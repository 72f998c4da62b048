"""Edits: each looks at the neurons of a source and a target and returns the map from one to the other.

A new edit is one file and one row in `EDITS`.
"""

from collections.abc import Callable
from typing import Any

from .._check import guard
from .._device import fast_matmul
from .._docs import share_docs
from .._maps import Average, Bounded, Compose, NoChange, OnNeurons, Scaled, WithNeurons
from .._types import InSpace, Map, Method
from ._axes import on_neurons, on_principal_axes
from ._local import local
from ._moments import Linear, Shift, Stretch, affine, gaussian_ot, shift
from ._neighbors import Nearest
from ._pairing import by_pairing
from ._percentile import Percentiles, percentile
from ._strata import Populations, by_strata, on_all, on_balanced
from ._support import Distance, Support, distance, support
from ._together import AverageInSpace
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
    "identity": NoChange,
    "shift": Shift,
    "stretch": Stretch,
    "linear": Linear,
    "percentiles": Percentiles,
    "nearest": Nearest,
    "scaled": Scaled,
    "on_neurons": OnNeurons,
    "bounded": Bounded,
    "compose": Compose,
    "average": Average,
    "in_space": InSpace,
    "average_in_space": AverageInSpace,
    "with_neurons": WithNeurons,
    "support": Support,
    "distance": Distance,
}
"""What edits return: dataclasses of tensors, numbers, spaces and each other, which is why a fitted edit can be saved."""

FORMER_NAMES = {
    "same": "identity",
    "only": "on_neurons",
    "chain": "compose",
    "mean": "average",
    "within": "in_space",
    "seen": "with_neurons",
}
"""Rows of `MAPS` under the names that they have in files written before the first release."""

AXES: dict[str, Callable[[Method], Method]] = {"neurons": on_neurons, "principal": on_principal_axes}

__all__ = [
    "AXES", "EDITS", "FORMER_NAMES", "MAPS", "Distance", "Populations", "Shift", "Support", "affine", "by_pairing",
    "by_strata", "distance", "gaussian_ot", "local", "on_all", "on_balanced", "on_neurons", "on_principal_axes", "percentile",
    "shift", "support", "transport",
]  # fmt: skip

share_docs(globals())
guard(globals(), within=fast_matmul)
