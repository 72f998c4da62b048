"""Two treatments, each alone and both together, measured and predicted: Figure 4c-d of the paper."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from anndata import AnnData
from matplotlib.axes import Axes

from .. import _slots
from .._data.check import check_features, format_choices, get_column, select_cells
from .._data.record import Record, Tool
from .._docs import shared_docs
from ._biaxial import Kind, draw_populations, name_groups
from ._figure import OKABE_ITO, ROLES, finish, get_values, name_axis

TREATMENTS = {"control": "#B0B0B0", "a": OKABE_ITO[4], "b": OKABE_ITO[5], "both": ROLES["edited"]}
"""Light colours for what was measured alone, a dark one for what is to be compared."""


@shared_docs
def combination(
    adata: AnnData,
    predicted: AnnData,
    x: str,
    y: str,
    *,
    effects: Sequence[Any] | None = None,
    measured: Any = None,
    key: str = _slots.COMBINED,
    kind: Kind | None = None,
    point_size: float | None = None,
    alpha: float = 0.6,
    ax: Sequence[Axes] | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Any:
    """Draw two markers against each other for a combination of two treatments, once as measured and once as predicted.

    Both panels show the control and the cells under either treatment. In the first one stand the cells that were measured
    under both treatments, if there are any; in the second one, in the same colour, those that were predicted, in both orders
    together.

    Examples
    --------
    >>> import neuronedit as ne
    >>> adata = ne.datasets.simulate_combination(n_cells=200)
    >>> ne.tl.train(adata, space="identity")
    >>> both = ne.tl.combine(adata, "condition", control="basal", effects=["A", "B"], edit="percentile")
    >>> axes = ne.pl.combination(adata, both, x="p4EBP1", y="pSTAT5", measured="A+B")
    >>> [ax.get_title() for ax in axes]
    ['measured', 'predicted']

    Parameters
    ----------
    adata
        The measured cells.
    predicted
        What :func:`neuronedit.tl.combine` returned for them.
    x, y
        Two of ``var_names``.
    effects
        Two of those that were combined. `None`: the first two.
    measured
        Value of the column of treatments for cells that were measured under both. `None`: there are none.
    key
        ``key_added`` of the prediction.
    %(points)s
    %(figure)s

    Returns
    -------
    A list of the two Axes; the Figure with ``return_fig=True``.

    Raises
    ------
    %(plot_errors)s
    """
    # read
    config = Record.read(predicted, key, Tool.COMBINE).config
    for cells in (adata, predicted):
        check_features(cells, x, y)
    two = list(config["effects"][:2] if effects is None else effects)
    if isinstance(effects, str) or len(two) != 2 or two[0] == two[1] or not set(two) <= set(config["effects"]):
        raise ValueError(f"effects must be two of {format_choices(config['effects'])}; they are {effects!r}.")
    alone = [config["control"], *two]
    if measured in alone:
        raise ValueError(f"measured={measured!r} is the control or one of the effects; name the cells under both.")
    groups = dict(zip(alone, ("control", "effects", "effects"), strict=True))
    groups |= {} if measured is None else {measured: "measured"}
    masks = [select_cells(adata, config["groupby"], [name], role) for name, role in groups.items()]
    of_measured = [get_values(adata, config["layer"], mask, (x, y)) for mask in masks]
    of_predicted = get_values(predicted, None, _find_predicted(predicted, key, two), (x, y))
    both = f"{two[0]}+{two[1]} (predicted)" if measured is None else measured
    names = [f"{alone[0]} (control)", *two, both]
    colors = dict(zip(map(str, names), TREATMENTS.values(), strict=True))

    # draw
    populations = [_stack_populations(of_measured), _stack_populations([*of_measured[:3], of_predicted])]
    style = {"s": point_size, "alpha": alpha}
    axes = draw_populations(populations, list(colors.values()), kind, style, ax=ax, room=0.9, names=colors)
    for panel, title in zip(axes, ("measured", "predicted"), strict=True):
        panel.set(title=title, xlabel=name_axis(adata, config["layer"], x))
        panel.label_outer()
    axes[0].set_ylabel(name_axis(adata, config["layer"], y))
    name_groups(axes, colors)
    return finish(axes, show=show, return_fig=return_fig)


def _find_predicted(predicted: AnnData, key: str, effects: Sequence[Any]) -> np.ndarray:
    """Return which cells are predicted under both effects, in either order, as a mask."""
    taken, received = (get_column(predicted, f"{key}_{name}", "predicted").astype(str) for name in ("from", "effect"))
    a, b = map(str, effects)
    is_predicted = ((taken == a) & (received == b)) | ((taken == b) & (received == a))
    if not is_predicted.any():
        raise ValueError(f"predicted holds no cell under {effects[0]!r} and {effects[1]!r} together.")
    return is_predicted.to_numpy()


def _stack_populations(populations: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return the cells of all populations, and the number of the population of each."""
    return np.concatenate(populations), np.repeat(np.arange(len(populations)), [*map(len, populations)])
