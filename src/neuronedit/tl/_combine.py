"""Predict cells under two treatments from cells under one."""

import itertools
import logging
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from anndata import AnnData

from .. import _slots
from .._check import Bounds, Seed
from .._data.check import open_adata
from .._data.design import Design, read_treatments
from .._data.output import Output, copy_cofactor
from .._data.record import Record, Tool, deep_copy
from .._data.space import TrainedSpace
from .._data.undo import writing
from .._progress import shows_progress, tell, track
from .._subsample import subsample
from ..engine.alarms import Alarm, AlarmKind, check_scale, say_alarms, sort_alarms, tabulate_alarms
from ..engine.apply import EditedLayers, apply_edit, count_kept
from ..engine.fit import Edit, FittedEdit
from ..engine.outcomes import EDIT_FAILED, check_values
from ..engine.report import feature_table, find_alarms, write_verdict
from ..metrics import e_test, energy_distance, gap_closed
from ._edit import EditName
from ._space import find_space, training_planned

logger = logging.getLogger(__name__)

MIN_AGREEMENT = 0.5  # below it is a warning: the orders are half as far from each other as from the control
MAX_CELLS_FOR_AGREEMENT = 2_000  # between which distances are measured: all pairs of them take a second
MAX_CELLS_REPRODUCED = (
    500  # of source and of target, of which the share of an effect that is reproduced is known to 0.1
)
MIN_REPRODUCED = (
    0.5  # of an effect in the control: below it were all additive effects whose orders disagreed (simulated)
)
N_PERMUTATIONS = 99  # all of them with a smaller distance is what counts as more than chance


@shows_progress
def combine(
    adata: AnnData,
    groupby: str,
    *,
    control: Hashable,
    effects: Sequence[Hashable],
    as_layers: bool = False,
    edit: EditName | Callable[..., Any] = "auto",
    strata: str | None = None,
    strength: float = 1.0,
    bounds: Bounds | None = None,
    layer: str | None = None,
    key: str | Sequence[str] = _slots.MODEL,
    key_added: str = _slots.COMBINED,
    accelerator: str = "auto",
    rng: Seed = 0,
    progress_bar: bool | None = None,
    **edit_params: Any,
) -> AnnData | None:
    """Predict cells under every combination of two treatments from cells under one of them.

    Each combination is predicted in two orders: what A does to the control is done to the cells that took B, and what B does
    to those that took A (Amodio et al. 2018, arXiv:1805.12198, section 4.3 and Figure 4c-d). If effects add up, and
    the edit reproduces each of them, the two agree; where they do not, neither is to be trusted.

    Examples
    --------
    >>> import neuronedit as ne
    >>> adata = ne.datasets.simulate_combination(n_cells=200)
    >>> ne.tl.train(adata, widths=(32, 8), max_epochs=2)
    >>> both = ne.tl.combine(adata, "condition", control="basal", effects=["A", "B"], edit="percentile")
    >>> both.shape, both.obs["condition"].unique().tolist()
    ((400, 35), ['A+B'])

    Parameters
    ----------
    %(treatments)s
    as_layers
        Write into ``adata`` instead: for each effect a layer, ``"combined_das"``, in which the cells of all others received it.
    %(edit)s
        By default an ensemble is cross-validated for each combination in each order, which takes some seconds each.
    strength
        Share of the second effect: a dose.
    %(bounds)s
    %(reading)s
    key_added
        Key of the record in ``uns``, and start of the names of layers and of columns in ``obs``.
    %(computing)s

    Returns
    -------
    A new AnnData of predicted cells, each cell of each effect once for each other effect; or `None` with ``as_layers=True``.

    ``X``
        The predicted cells, in the units of the layer that was read.
    ``obs``
        As of the cell that was edited, but ``obs[groupby]`` is the combination, ``"bez+das"``, in the order of ``effects``.
        ``combined_from`` ("bez", which the cell took), ``combined_effect`` ("das", which it received), ``combined_cell`` (its
        name in ``adata``), and ``combined_support`` and ``combined_distance`` as of :func:`neuronedit.tl.edit`.
    ``obsm["X_neurons_combined"]``, ``uns["neuronedit"]``
        Their neurons, and the model.
    ``uns["combined"]`` (with ``as_layers`` in ``adata``)
        What was done, and

        ``combinations``
            A DataFrame: for each combination the ``agreement`` of the two orders, 1 less the energy distance between them as a
            share of that from the control to both: 1 is perfect, 0 as far from each other as from the control.
        ``orders``
            A DataFrame: for each combination in each order what it is predicted ``from``, the ``effect``, the number of cells,
            the share of them ``outside`` the control, the ``expected`` share of the distance closed, and the ``verdict``.
            ``reproduced`` is the share of the effect that the edit reproduces in the control itself: 1 is as close as a replicate.
        ``alarms``, ``verdict``
            A DataFrame, one row an alarm: its kind (``alarm``) and the ``text``, as of :func:`neuronedit.tl.edit`, with the order
            that it is about; and two orders that disagree ("orders disagree"). The verdict begins with them, and is also logged.

    Raises
    ------
    %(border_errors)s
    """
    # read: whatever can be refused is refused here, and adata is still untouched
    adata = open_adata(adata)
    method = Edit.of(edit, rng=rng, **edit_params)
    space = find_space(adata, key, layer, accelerator, must_exist=method.neurons is not None)
    rows = read_treatments(adata, groupby, control, effects)
    designs = read_orders(adata, rows, control, effects, strata=strata, paired_by=method.paired_by)
    layers = {effect: f"{key_added}_{effect}" for effect in effects}
    method.check(space)
    written = list(layers.values()) if as_layers else []
    output = Output.read(adata, space, key_added, strength, bounds, tool=Tool.COMBINE, layers=written)
    space.check_cells()

    how: dict[str, Any] = {"edit": method.name, "accelerator": accelerator, "rng": rng, "progress_bar": progress_bar}
    with training_planned(adata, space, **how) as (adata, space):
        # compute: each combination in each order
        predictions, reports, alarms = {}, {}, check_scale(space.scale.find_ruling(space.features))
        with torch.no_grad():
            for order, design in track(designs.items(), "combining", "order"):
                predictions[order], reports[order], found = _predict_order(method, space, design, output, order)
                alarms += found
        agreements, sentences, disagreements = _compare_orders(effects, predictions, reports, space, rows[control])
        alarms += disagreements
        alarms = sort_alarms(alarms)
        verdict = " ".join([say_alarms(alarms), *sentences]).strip()
        tell(logger, verdict, is_alarm=bool(alarms))

        # write
        config = {
            "groupby": groupby,
            "control": control,
            "effects": list(effects),
            "edit": method.name,
            "strata": strata,
        }
        config |= {"edit_params": method.params, "strength": strength, "bounds": bounds, "layer": space.layer}
        orders = [{"from": str(given), "effect": str(effect)} | reports[given, effect] for given, effect in designs]
        content = {
            "combinations": pd.DataFrame({"agreement": agreements}),
            "orders": pd.DataFrame(orders, index=[name_order(*order) for order in designs]),
            "alarms": tabulate_alarms(alarms),
            "verdict": verdict,
            "layers": np.array(list(layers.values()) if as_layers else [], dtype=str),
        }
        record = Record(key_added, Tool.COMBINE, config | {"key": space.keys, "rng": rng}, content)
        if not as_layers:
            return _stack_predictions(adata, groupby, rows, predictions, record)
        with writing(adata):
            for effect, name in layers.items():
                adata.layers[name] = space.cells.dense_copy()
                for given in effects:
                    if given != effect:
                        adata.layers[name][rows[given]] = predictions[given, effect].layers[0]
                copy_cofactor(adata, space.layer, name)
            record.write(adata)
        return None


def read_orders(
    adata: AnnData, rows: Mapping[Any, np.ndarray], control: Any, effects: Sequence[Any], **labels: str | None
) -> dict[tuple[Any, Any], Design]:
    """Return for the cells of each effect and each other effect how that is learnt: (given, effect) -> design."""
    return {
        (given, effect): Design.of(adata, source=rows[control], target=rows[effect], query=rows[given], **labels)
        for given, effect in itertools.permutations(effects, 2)
    }


def name_combination(a: Any, b: Any) -> str:
    """Name a combination of two effects."""
    return f"{a}+{b}"


def name_order(given: Any, effect: Any) -> str:
    """Name an effect on the cells that took another."""
    return f"{effect} on {given}"


def _predict_order(
    method: Edit, space: TrainedSpace, design: Design, output: Output, order: tuple[Any, Any]
) -> tuple[EditedLayers, dict[str, Any], list[Alarm]]:
    """Fit an effect, and apply it to the cells that took another; return them, a row of the table of orders, and alarms."""
    fitted, n_cells = method.fit(space, design, names=("the control", f"the cells of {order[1]}")), len(design.query)
    edited = EditedLayers.of([space.cells.dense_copy(design.query)], count_kept(n_cells, space.n_neurons))
    into = np.arange(n_cells)
    summary = apply_edit(fitted, space.cells, design.query, edited, space.device, output, into=into)
    features = feature_table(space.features, fitted, summary)
    row: dict[str, Any] = {"n_cells": n_cells, "outside": summary.share_outside}
    row["reproduced"] = _measure_reproduced(fitted, space, design, output.strength)
    row["expected"] = np.nan if fitted.ensemble is None else fitted.ensemble.expected
    alarms = find_alarms(fitted, summary)
    row["verdict"] = write_verdict(fitted.summary, features, summary, alarms)
    return edited, row, [replace(alarm, text=f"{name_order(*order)}: {alarm.text}") for alarm in alarms]


def _compare_orders(
    effects: Sequence[Any],
    predictions: Mapping[Any, EditedLayers],
    reports: Mapping[Any, Mapping[str, Any]],
    space: TrainedSpace,
    control: np.ndarray,
) -> tuple[dict[str, float], list[str], list[Alarm]]:
    """Return how well the two orders of each combination agree, by its name; in words where they do, else as an alarm."""
    untreated = space.cells[control[subsample(len(control), MAX_CELLS_FOR_AGREEMENT)]].numpy()
    agreements, sentences, alarms = {}, [], []
    for a, b in itertools.combinations(effects, 2):
        one, other = (space.cells.pick(predictions[order].layers[0]) for order in ((a, b), (b, a)))
        name, agreement = name_combination(a, b), _measure_agreement(one, other, untreated)
        agreements[name], text = agreement, f"{name}: the two orders agree to {agreement:.2f}."
        if agreement >= MIN_AGREEMENT:
            sentences.append(text)
        elif _differ_by_chance(one, other):
            sentences.append(f"{text} They do not differ by more than chance.")
        else:
            reproduced = {b: reports[a, b]["reproduced"], a: reports[b, a]["reproduced"]}
            alarms.append(Alarm(AlarmKind.ORDERS, f"{text} {_explain_disagreement(reproduced)}"))
    return agreements, sentences, alarms


def _explain_disagreement(reproduced: Mapping[Any, float]) -> str:
    """Say why two orders disagree: effects that the edit hardly reproduces tell nothing of how they add up."""
    little = [f"{share:.0%} of the effect of {name}" for name, share in reproduced.items() if share < MIN_REPRODUCED]
    if not little:
        return "The effects do not add up: trust neither order."
    share = f"In the control itself, the edit reproduces only {' and '.join(little)}."
    return f"{share} That is too little to tell whether the effects add up. Train the space for longer, or take another edit."


def _measure_agreement(one: np.ndarray, other: np.ndarray, control: np.ndarray) -> float:
    """Return how close the two orders are to each other, 1 at best, beside how far they are from the control."""
    one, other = (cells[subsample(len(cells), MAX_CELLS_FOR_AGREEMENT)] for cells in (one, other))
    from_control = energy_distance(control, np.concatenate([one, other]))
    return min(float(1 - energy_distance(one, other) / max(from_control, 1e-12)), 1.0)


def _differ_by_chance(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether some random division of the cells of both orders lies as far apart as the two do."""
    test = e_test(one, other, n_permutations=N_PERMUTATIONS, max_cells=MAX_CELLS_FOR_AGREEMENT)
    return test.p_value > 1 / (1 + N_PERMUTATIONS)


def _measure_reproduced(fitted: FittedEdit, space: TrainedSpace, design: Design, strength: float) -> float:
    """Return the share of the distance from the control to the treated cells that the edit closes, applied to the control."""
    rows = [of_role[subsample(len(of_role), MAX_CELLS_REPRODUCED)] for of_role in (design.source, design.target)]
    source, target = space.read_cells(*rows)
    moved = torch.stack([cell_map(source) for cell_map in fitted.scaled(strength)]).mean(0)
    check_values(moved, "values after the effect on the control", EDIT_FAILED, fitted.features)
    return gap_closed(energy_distance, *(x.cpu().numpy() for x in (source, target, moved)), n_splits=20)


def _stack_predictions(
    adata: AnnData, groupby: str, rows: Mapping[Any, np.ndarray], edited: dict[Any, EditedLayers], record: Record
) -> AnnData:
    """Put the predicted cells of all combinations in all orders into one AnnData, with what they were predicted from."""
    # obs
    key, names, frames = record.key, list(rows), []
    for (given, effect), of_order in edited.items():
        obs = adata.obs.iloc[rows[given]].copy()
        obs[f"{key}_from"], obs[f"{key}_effect"] = str(given), str(effect)
        obs[f"{key}_cell"] = obs.index.astype(str)
        obs[groupby] = name_combination(*sorted((given, effect), key=names.index))
        obs.index = obs.index.astype(str) + f"+{effect}"
        obs[_slots.support(key)], obs[_slots.distance(key)] = of_order.support, of_order.distance
        frames.append(obs)

    # cells
    cells = np.concatenate([of_order.layers[0] for of_order in edited.values()])
    predicted = AnnData(cells, obs=pd.concat(frames), var=adata.var.copy())
    for column in (groupby, f"{key}_from", f"{key}_effect"):
        values = predicted.obs[column].astype(str)
        predicted.obs[column] = pd.Categorical(values, categories=values.unique())
    neurons = [of_order.neurons for of_order in edited.values() if of_order.neurons is not None]
    if len(neurons) == len(edited):  # else they are too many for memory
        predicted.obsm[_slots.neurons_edited(key)] = np.concatenate(neurons)
    predicted.uns = {name: deep_copy(adata.uns[name]) | {"embedded": True} for name in record.config["key"]}
    cofactor = _slots.cofactor(record.config["layer"])
    record.write(predicted)
    if cofactor in adata.var:
        predicted.var[_slots.cofactor(None)] = adata.var[cofactor]
    return predicted
