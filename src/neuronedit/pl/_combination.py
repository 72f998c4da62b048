"""Two treatments, each alone and both together, measured and predicted: Figure 4c-d of the paper."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from anndata import AnnData
from matplotlib.axes import Axes

from .. import _slots
from .._check import check_features, select, some
from ._biaxial import draw_populations, legend_beside
from ._figure import OKABE_ITO, ROLES, axis_label, finish, units, values_of

COLORS = {"control": "#B0B0B0", "a": OKABE_ITO[4], "b": OKABE_ITO[5], "both": ROLES["edited"]}
"""Light colours for what was measured alone, a dark one for what is to be compared."""


def combination(
    adata: AnnData,
    predicted: AnnData,
    x: str,
    y: str,
    *,
    pair: Sequence[Any] | None = None,
    measured: Any = None,
    key: str = _slots.COMBINED,
    kind: str | None = None,
    point_size: float | None = None,
    alpha: float = 0.6,
    ax: Sequence[Axes] | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Any:
    """Draw two markers against each other for a pair of treatments, once as measured and once as predicted.

    Both panels show the control and the cells under either treatment. In the first one stand the cells that were measured
    under both treatments, if there are any; in the second one, in the same colour, those that were predicted, in both orders
    together.

    Parameters
    ----------
    adata
        The measured cells.
    predicted
        What :func:`neuronedit.tl.combine` returned for them.
    x, y
        Two of ``var_names``.
    pair
        Two of the ``effects`` that were combined. `None`: the first two.
    measured
        Value of the column of treatments for cells that were measured under both. `None`: there are none.
    key
        ``key_added`` of the prediction.
    kind
        ``"points"``, ``"contours"``, or `None`: points up to 10,000 cells in a panel, as in :func:`neuronedit.pl.biaxial`.
    point_size
        In points squared. `None`: smaller for more cells.
    alpha
        Opacity of the points.
    ax
        Two axes to draw into.
    show
        Call ``plt.show()``.
    return_fig
        Return the figure instead.

    Returns
    -------
    A list of the two Axes; the Figure with ``return_fig=True``.

    Raises
    ------
    KeyError, ValueError
        When ``predicted`` holds no predicted combinations, or a marker, treatment or pair is not there.

    References
    ----------
    Amodio et al. 2018, Out-of-sample extrapolation with neuron editing, arXiv:1805.12198.

    Examples
    --------
    >>> import neuronedit as ne
    >>> adata = ne.datasets.simulate_combination(n_cells=200)
    >>> ne.tl.train(adata, space="identity")
    >>> both = ne.tl.combine(adata, "condition", control="basal", effects=["A", "B"], edit="percentile")
    >>> axes = ne.pl.combination(adata, both, x="p4EBP1", y="pSTAT5", measured="A+B")
    >>> [ax.get_title() for ax in axes]
    ['measured', 'predicted']
    """
    config = _config(predicted, key)
    for cells in (adata, predicted):
        check_features(cells, x, y)
    pair = _pair(config["effects"], pair)
    alone = [config["control"], *pair]
    if measured in alone:
        raise ValueError(f"measured={measured!r} is the control or one of the pair; name the cells under both.")
    groups = [*alone, *([] if measured is None else [measured])]
    roles = ["control", "effects", "effects", "measured"]
    masks = [select(adata, config["groupby"], [name], role) for name, role in zip(groups, roles, strict=False)]
    given, effect = (predicted.obs[f"{key}_{column}"].astype(str).to_numpy() for column in ("from", "effect"))
    both = np.logical_or(*((given == str(a)) & (effect == str(b)) for a, b in (pair, pair[::-1])))
    if not both.any():
        raise ValueError(f"predicted holds no cell under {pair[0]!r} and {pair[1]!r} together.")

    there = [values_of(adata, config["layer"], mask, (x, y)) for mask in masks]
    made = values_of(predicted, None, both, (x, y))
    cells = [_stacked(there), _stacked([*there[:3], made])]
    together = "+".join(map(str, pair))
    names = [f"{alone[0]} (control)", *pair, f"{together} (predicted)" if measured is None else str(measured)]
    colors = dict(zip(map(str, names), COLORS.values(), strict=True))
    room = 0.9 + 0.075 * max(map(len, colors))
    style: dict[str, Any] = {"kind": kind, "point_size": point_size, "alpha": alpha, "ax": ax, "room": room}
    axes = draw_populations(cells, list(colors.values()), **style)
    for panel, title in zip(axes, ("measured", "predicted"), strict=True):
        panel.set(title=title, xlabel=axis_label(x, units(adata, config["layer"], [x])))
        panel.label_outer()
    axes[0].set_ylabel(axis_label(y, units(adata, config["layer"], [y])))
    legend_beside(axes[1], colors)
    return finish(axes, show=show, return_fig=return_fig)


def _config(predicted: AnnData, key: str) -> dict[str, Any]:
    """Return the arguments of the prediction that is recorded under this key."""
    record = predicted.uns.get(key)
    if not isinstance(record, Mapping) or "orders" not in record:
        raise KeyError(f"uns[{key!r}] holds no predicted combinations; give what ne.tl.combine returned.")
    for column in (f"{key}_from", f"{key}_effect"):
        if column not in predicted.obs:
            raise KeyError(
                f"{column!r} is not in predicted.obs; it has {some(predicted.obs)}. Give what ne.tl.combine returned."
            )
    return json.loads(record["config"])


def _pair(effects: Sequence[Any], pair: Sequence[Any] | None) -> list[Any]:
    """Return two different effects."""
    found = list(effects[:2] if pair is None else pair)
    if isinstance(pair, str) or len(found) != 2 or found[0] == found[1] or any(name not in effects for name in found):
        raise ValueError(f"pair must be two of the effects {some(effects)}; it is {pair!r}.")
    return found


def _stacked(populations: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return the cells of all populations, and the number of the population of each."""
    return np.concatenate(populations), np.repeat(np.arange(len(populations)), [*map(len, populations)])
