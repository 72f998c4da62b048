"""How far two populations are apart. Arrays in, a float out; 0 means that nothing was found to differ.

A new metric is one file and one row in `METRICS`.
"""

from collections.abc import Callable

from ._energy import energy_distance
from ._gap import gap_closed
from ._wasserstein import mean_wasserstein

METRICS: dict[str, Callable[..., float]] = {
    "energy_distance": energy_distance,
    "mean_wasserstein": mean_wasserstein,
}

__all__ = ["METRICS", "energy_distance", "gap_closed", "mean_wasserstein"]
