"""What every plot shares: colours, panels, and what is returned."""

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from anndata import AnnData
from matplotlib.axes import Axes
from matplotlib.colors import to_hex

OKABE_ITO = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#F0E442"]
"""Eight colours that are told apart with any colour vision (Okabe & Ito 2008)."""


def panels(n: int, ax: Axes | Sequence[Axes] | None, size: float = 2.9) -> list[Axes]:
    """Return n axes in a row: the caller's own, or new ones that share their scales."""
    if ax is None:
        _, axes = plt.subplots(
            1, n, figsize=(size * n + 1.4, size + 0.4), sharex=True, sharey=True, squeeze=False, layout="constrained"
        )
        return list(axes[0])
    given = [ax] if isinstance(ax, Axes) else list(ax)
    if len(given) != n:
        raise ValueError(f"ax holds {len(given)} axes; {n} panels are to be drawn.")
    return given


def colors_of(adata: AnnData, groupby: str, groups: Sequence[Any], palette: Any) -> dict[Any, str]:
    """Return a colour for each group: the caller's, scanpy's in ``uns``, or a colour-blind safe one."""
    if isinstance(palette, dict):
        if missing := [group for group in groups if group not in palette]:
            raise ValueError(f"palette has no colour for {missing!r}.")
        return {group: to_hex(palette[group]) for group in groups}
    stored = adata.uns.get(f"{groupby}_colors")
    if palette is None and stored is not None and hasattr(adata.obs[groupby], "cat"):
        known = dict(zip(adata.obs[groupby].cat.categories, stored, strict=False))
        if all(group in known for group in groups):
            return {group: to_hex(known[group]) for group in groups}
    colors = palette or (
        OKABE_ITO if len(groups) <= len(OKABE_ITO) else plt.get_cmap("turbo")(np.linspace(0.05, 0.95, len(groups)))
    )
    if len(colors) < len(groups):
        raise ValueError(f"palette has {len(colors)} colours for {len(groups)} groups.")
    return {group: to_hex(color) for group, color in zip(groups, colors, strict=False)}


def finish(axes: Sequence[Axes], *, show: bool | None, return_fig: bool) -> Any:
    """Show the figure where it was asked for; return the figure, the only Axes, or all of them."""
    if show:
        plt.show()
    if return_fig:
        return axes[0].figure
    return axes[0] if len(axes) == 1 else list(axes)
