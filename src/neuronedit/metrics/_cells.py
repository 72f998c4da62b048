"""Cells that can be scored: NaN would pass for close in one comparison, and for far in the next."""

from typing import Any

import numpy as np

MAX_FLOAT32 = float(np.finfo(np.float32).max)  # far below what float64 can square and sum


def read_cell_arrays(*, min_cells: int = 1, **populations: Any) -> list[np.ndarray]:
    """Return populations in float64, ``(n_cells, n_features)``, once all values are finite and float32 could hold them."""
    arrays = []
    for name, given in populations.items():
        cells = np.asarray(given, dtype=np.float64)
        if len(cells) < min_cells:
            raise ValueError(f"{name} has {len(cells)} cells; a score needs at least {min_cells}.")
        is_good = np.abs(cells) <= MAX_FLOAT32
        if not is_good.all():
            row, *column = (int(i) for i in np.argwhere(~is_good)[0])
            where = f"cell number {row}" + "".join(f", feature number {j}" for j in column)
            text = f"{name} has NaN or infinite values, or ones beyond float32, the first in {where}"
            raise ValueError(f"{text}: they cannot be scored.")
        arrays.append(cells)
    return arrays
