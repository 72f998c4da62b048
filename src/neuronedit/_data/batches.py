"""How each batch is corrected: read from obs once, checked once."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Self

import numpy as np
import pandas as pd
from anndata import AnnData

from .check import Selector, format_choices, get_labels, select_cells, to_list
from .design import MIN_CELLS, Design, TargetLabels, check_size

MEAN_OF_BATCHES = "the mean of the batches"  # how the reference is called where it is no batch
DEFAULT_CONTROL = "control"  # how controls are marked, unless the caller says otherwise


class BatchStatus(StrEnum):
    """What happens to a batch."""

    REFERENCE = "reference"
    CORRECTED = "corrected"
    BRIDGED = "bridged"
    LIKE_ANOTHER = "like another batch"
    LEFT_ALONE = "left alone"


@dataclass(frozen=True)
class BatchCorrection:
    """How the cells of one batch are corrected."""

    batch: str
    status: BatchStatus
    how: str  # the same in words
    cells: np.ndarray  # row numbers of all its cells
    design: Design  # its controls, those of the reference, and its other cells
    like: str = ""  # the batch whose edit corrects it: itself, another, or none

    @property
    def is_fitted(self) -> bool:
        """Return whether an edit is fitted for this batch."""
        return self.status in (BatchStatus.CORRECTED, BatchStatus.BRIDGED)

    @property
    def is_first(self) -> bool:
        """Return whether it is corrected by its own control, before batches that are bridged."""
        return self.status is BatchStatus.CORRECTED

    def left_alone(self, reason: str) -> Self:
        """Return that it is left alone, and why."""
        return replace(self, status=BatchStatus.LEFT_ALONE, how=f"left alone: {reason}", like="")


def read_batches(
    adata: AnnData,
    batch_key: str,
    *,
    control_key: str,
    control: Any,
    reference: Any,
    bridge: Mapping[Any, Any],
    held_out_controls: Selector | None,
    strata: str | None,
    samples: np.ndarray | None = None,
) -> tuple[list[BatchCorrection], np.ndarray]:
    """Return how each batch is corrected, those that others wait for first, and the mask of the controls that are held out.

    ``samples`` has the name of each cell's sample.
    """
    labels = get_labels(adata, batch_key)
    rows = _split_rows(labels)
    names = sorted(rows, key=str)
    is_control, held_out = read_controls(adata, control_key, control, held_out_controls)
    used = is_control & ~held_out
    n_controls = {name: int(used[rows[name]].sum()) for name in names}
    _check_batches(names, n_controls, batch_key, reference, bridge)

    # what is done to each batch
    goal = np.flatnonzero(used) if reference is None else rows[reference][used[rows[reference]]]
    goal_samples = None if samples is None else set(samples[goal])
    goal_labels = TargetLabels(adata, strata, goal, "strata")
    goal_name = MEAN_OF_BATCHES if reference is None else str(reference)
    have_control = [name for name in names if name == reference or name not in bridge and n_controls[name] >= MIN_CELLS]
    is_known = labels.isin(have_control).to_numpy()
    corrections = []
    for name in sorted(names, key=lambda name: name not in have_control):
        cells, stand_in, like = rows[name], bridge.get(name), ""
        if name == reference:
            status, how = BatchStatus.REFERENCE, "reference"
        elif name in have_control:
            status, how, like = BatchStatus.CORRECTED, f"control to {goal_name}", str(name)
        elif isinstance(stand_in, Mapping):
            through = ", ".join(f"{column}={value!r}" for column, value in stand_in.items())
            status, how, like = BatchStatus.BRIDGED, f"bridged through {through}", str(name)
        elif name not in bridge:
            status, how = BatchStatus.LEFT_ALONE, "left alone: no control"
        elif stand_in in have_control:
            status, how, like = BatchStatus.LIKE_ANOTHER, f"as {stand_in}", str(stand_in)
        else:
            raise ValueError(f"bridge: {stand_in!r} cannot stand in for {name!r}, because it has no control.")

        # its populations
        if status is BatchStatus.BRIDGED:
            design = _read_bridge(adata, name, bridge[name], cells, is_known, strata)
        else:
            source, query = cells[used[cells]], cells[~used[cells]]
            own_strata = strata if status is BatchStatus.CORRECTED else None
            labels_of_both = goal_labels.beside(source) if own_strata else None
            design = Design(source, goal, query, own_strata, labels_of_both)
            if samples is not None and set(samples[design.source]) == goal_samples:
                design = replace(design, composition="same")  # the same samples hold the same kinds of cells
        if status is BatchStatus.CORRECTED:
            check_size(f"The control of {name}", n_controls[name])
        corrections.append(BatchCorrection(str(name), status, how, cells, design, like))
    return corrections, held_out


def _split_rows(labels: "pd.Series[Any]") -> dict[Any, np.ndarray]:
    """Return the row numbers of the cells of each label, in ascending order: memory does not grow with the number of labels."""
    codes, names = pd.factorize(labels)
    ends = np.bincount(codes, minlength=len(names)).cumsum()
    rows = np.argsort(codes, kind="stable")
    rows = rows.astype(np.int32 if len(rows) < 2**31 else np.int64, copy=False)  # all batches' rows are kept
    return dict(zip(labels.unique(), np.split(rows, ends[:-1]), strict=True))


def read_controls(
    adata: AnnData, control_key: str, control: Any, held_out_controls: Selector | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the masks of all controls and of those that are held out."""
    labels = get_labels(adata, control_key)
    if control is None:
        control = True if labels.dtype == bool else DEFAULT_CONTROL
    is_control = select_cells(adata, control_key, to_list(control), "control")
    held_out = np.zeros(adata.n_obs, dtype=bool)
    if held_out_controls is not None:
        held_out = select_cells(adata, control_key, held_out_controls, "held_out_controls") & is_control
        if not held_out.any():
            raise ValueError("held_out_controls names no control.")
    return is_control, held_out


def _check_batches(
    names: list[Any], n_controls: Mapping[Any, int], batch_key: str, reference: Any, bridge: Mapping[Any, Any]
) -> None:
    """Refuse batches that do not exist, and too few controls."""
    for given, argument in (([] if reference is None else [reference], "reference"), (bridge, "bridge")):
        for name in given:
            if name not in names:
                there = format_choices(names, near=name)
                raise ValueError(f"{argument}: {name!r} is not in obs[{batch_key!r}]; it has {there}.")
    if reference is not None and n_controls[reference] < MIN_CELLS:
        raise ValueError(f"the reference {reference!r} has {n_controls[reference]} control cells; it needs at least 2.")
    if sum(n >= MIN_CELLS for n in n_controls.values()) < 2:
        raise ValueError(f"fewer than two batches of obs[{batch_key!r}] have controls: there is nothing to learn from.")


def _read_bridge(
    adata: AnnData, name: Any, stand_in: Mapping[str, Any], own: np.ndarray, is_known: np.ndarray, strata: str | None
) -> Design:
    """Return the design of a batch without a control: cells that were measured in it and in others are the control."""
    is_stand_in = select_cells(adata, None, stand_in, f"bridge of {name!r}")
    source, target = own[is_stand_in[own]], np.flatnonzero(is_stand_in & is_known)
    if min(len(source), len(target)) < MIN_CELLS:
        raise ValueError(f"bridge: {stand_in!r} has fewer than 2 cells in {name!r}, or in all batches with controls.")
    return Design.of(adata, source=source, target=target, query=own[~is_stand_in[own]], strata=strata)
