"""Correct every batch by its control."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd
import torch
from anndata import AnnData
from tqdm.auto import tqdm

from .. import _slots
from .._adata import Rows, check_finite, check_free, modality
from .._check import Selection, labels_of, listed, name_of_choice, plain, select, some
from .._device import fast_matmul, find_device
from ..metrics import energy_distance, gap_closed
from ..metrics._coverage import Coverage, coverage
from ._carry import Lesson, Outputs, Trained, carry_over, encode_others, learn, trained
from ._combine import some_of
from ._edit import labels_in, limits_of, order_of
from ._learn import Options, way_of
from ._progress import shown
from ._verdict import in_words, per_feature

logger = logging.getLogger(__name__)

POOLED = "all controls"
"""How the reference is called where it is no batch."""

CONTROL = "control"
"""How controls are marked, unless the caller says otherwise."""

UNKNOWN = {"outside": np.nan, "flagged": 0, "expected": np.nan, "expected_se": np.nan, "n_clipped": 0, "verdict": ""}
"""What is said of a batch of which nothing is known."""

LISTED = 3
"""Samples that the verdict names."""


def correct(
    adata: AnnData,
    batch_key: str,
    *,
    control_key: str,
    control: Any = None,
    reference: Any = None,
    sample_key: str | None = None,
    bridge: Mapping[Any, Any] | None = None,
    held_out_controls: Selection | None = None,
    edit: Any = None,
    strata: str | None = None,
    axes: Any = "neurons",
    residual: bool = True,
    strength: float = 1.0,
    bounds: tuple[float | None, float | None] | None = None,
    layer: str | None = None,
    key: str = _slots.MODEL,
    key_added: str = _slots.CORRECTED,
    accelerator: str = "auto",
    progress_bar: bool | None = None,
    mod: str | None = None,
    copy: bool = False,
    **edit_params: Any,
) -> AnnData | None:
    """Correct every batch by its control: what carries the batch's control to the reference carries its samples, too.

    One edit is learnt for each batch, from its control cells to those of the reference, all in the one space that
    :func:`neuronedit.tl.train` has trained. What a sample differs in from the control stays. Batches that cannot be corrected
    are left as they are, and said to be.

    Parameters
    ----------
    adata
        Cells by features, with a trained space.
    batch_key
        Column of ``obs`` with the batches.
    control_key
        Column of ``obs`` that says which cells are controls: the same material in every batch.
    control
        The value or values that mark controls in it. `None`: `True` in a column of truth values, else ``"control"``.
    reference
        The batch to which all others are carried; it stays as it is. `None`: to the controls of all batches together, which
        moves every batch, each a little.
    sample_key
        Column of ``obs`` with the samples: donors or tubes, controls and others. With three or more controls in a batch the
        composition of each sample is held against theirs. `None`: it is not.
    bridge
        For batches without a control, batch -> what stands in. Another batch, ``{"b3": "b2"}``: its cells move as those of
        that batch (run on the same day, say). Or cells that were measured in this batch and in others,
        ``{"b3": {"individual": "donor 7"}}``: they are the control, and those of the other batches, corrected, the reference.
        A batch without a control that is not named here is left alone.
    held_out_controls
        Controls that are not used but scored, as a dict of obs column -> value(s), ``{"sample": ["HD1", "HD6"]}``: how far
        those of each batch come to those of the reference.
    edit, strata, axes, residual, **edit_params
        How each batch's edit is learnt, as in :func:`neuronedit.tl.edit`. `None`: ``"percentile"`` within ``strata``, if they are
        named: cell types, then, that controls and samples share. Without strata ``"auto"``, which chooses for each batch.
        Do not give ``"auto"`` cell types as strata here: it would ask whether the correction of some carries over to others,
        which it need not.
    strength
        Share of the correction.
    bounds
        Lowest and highest value that a corrected cell may take.
    layer
        Correct this layer. `None`: the one that the space was trained on.
    key
        Where :func:`neuronedit.tl.train` kept the model.
    key_added
        Name of the layer, and of the record in ``uns``.
    accelerator
        ``"auto"``, ``"cpu"``, ``"cuda"``, ``"mps"``.
    progress_bar
        `None`: in terminals and notebooks.
    mod
        The modality, if ``adata`` is a MuData.
    copy
        Return a new AnnData and leave this one as it is.

    Returns
    -------
    `None`, or the new AnnData with ``copy=True``. Written are

    ``layers["corrected"]``
        All cells of all batches, controls included, in the units of the layer that was read.
    ``obsm["X_neurons_corrected"]``, ``obs["corrected_support"]``, ``obs["corrected_distance"]``
        As :func:`neuronedit.tl.edit` writes them, against the control of the cell's own batch.
    ``uns["corrected"]``
        What was done, and

        ``batches``
            A DataFrame, one row a batch: ``how`` it was corrected, ``n_controls`` and ``n_samples`` (cells), the share of the
            samples' cells ``outside`` the control, how many samples are ``flagged``, the ``expected`` share of the gap closed
            (``edit="auto"``) and its standard error, values that were clipped, and the ``verdict``.
        ``samples``
            A DataFrame, one row a sample: its share of cells ``outside`` the control; its ``composition``, how far it is from
            the controls' as a share of how far one control is from the others at most (shares of clusters, total variation);
            ``flagged`` where that is above 1, and what the controls are ``lacking``, in words: the correction of such a sample
            extrapolates, and what looks like a batch effect may be its composition, or the other way round.
        ``coverage``
            A DataFrame, batches by features: share of the samples' cells beyond the central 99 % of the control's; 0.01 is
            usual.
        ``features``
            A DataFrame: for each batch and feature what :func:`neuronedit.tl.edit` says of a feature.
        ``held_out``
            With ``held_out_controls``, for each batch the energy distance from its held-out controls to the reference's (to
            those of all other batches if there is none), ``before`` and ``after``, and the share ``closed``.
        ``verdict``
            In words, also logged.

    Raises
    ------
    ValueError, TypeError, KeyError
        Before any work, and with ``adata`` unchanged.

    References
    ----------
    Amodio et al. 2018, Out-of-sample extrapolation with neuron editing, arXiv:1805.12198; Van Gassen et al. 2020, CytoNorm,
    Cytometry A 97:268-278, for the design with a control in every batch.

    Examples
    --------
    >>> import neuronedit as ne
    >>> adata = ne.datasets.simulate_batches(n_cells=200)
    >>> ne.tl.train(adata, widths=(32, 8), max_epochs=2)
    >>> ne.tl.correct(adata, "batch", control_key="role", reference="batch_2", edit="percentile")
    >>> adata.uns["corrected"]["batches"]["how"].to_dict()
    {'batch_1': 'control to batch_2', 'batch_2': 'reference'}
    """
    edit = edit if edit is not None else "auto" if strata is None else "percentile"
    adata = modality(adata, mod, copy=copy)
    limits, device = limits_of(bounds), find_device(accelerator)
    if not np.isfinite(strength):
        raise ValueError(f"strength must be a finite number; it is {strength!r}.")
    on = trained(adata, key, layer, device)
    samples = labels_of(adata, sample_key).astype(str).to_numpy() if sample_key else np.full(adata.n_obs, "all samples")
    moves, held_out = _design(adata, batch_key, control_key, control, reference, bridge or {}, held_out_controls)
    way = way_of(edit, Options(axes, None, residual, strata=strata is not None), edit_params)
    for move in moves:
        labels_in(adata, strata if move.learns else None, move.roles, "strata")
    if on.layer == key_added:
        raise ValueError(f"key_added={key_added!r} is the layer that is corrected; choose another.")
    check_free(adata, key_added, model=key)
    check_finite(adata, on.rows, on.layer)

    lessons: dict[str, Lesson] = {}
    batches, features, covered, of_samples = {}, [], {}, []
    with fast_matmul(), torch.no_grad():
        outputs = Outputs.of([on.rows.dense_copy()], on.n_neurons)
        encode_others(on.spaces[0], on.rows, np.zeros(adata.n_obs, dtype=bool), outputs, device)
        for move in tqdm(moves, unit="batch", disable=not shown(progress_bar)):
            index = {role: np.flatnonzero(mask) for role, mask in move.roles.items()}
            row: dict[str, Any] = UNKNOWN | {
                "how": move.how,
                "n_controls": len(index["source"]),
                "n_samples": len(index["query"]),
            }
            if move.learns:
                targets = Rows(outputs.edited[0], on.rows.order) if move.to_corrected else None
                learning = index if len(index["query"]) else index | {"query": index["source"]}
                labels = labels_in(adata, strata, move.roles, "strata")
                lessons[move.batch] = learn(on, way, learning, strata=labels, strata_name=strata, targets=targets)
            if (lesson := lessons.get(move.like)) is not None:
                every = np.flatnonzero(move.cells)
                carried = carry_over(lesson, on.rows, every, outputs, device, strengths=[strength], limits=limits)
                table = per_feature(pd.Index(on.names), lesson.control_change, carried, lesson.missed, lesson.wrong)
                table = table.loc[adata.var_names].rename_axis("feature")
                row |= {"n_clipped": carried.n_clipped, "verdict": in_words(lesson.said, table, carried)}
                features.append(table.reset_index().assign(batch=move.batch))
                if lesson.selected is not None:
                    row |= {"expected": lesson.selected.expected, "expected_se": lesson.selected.expected_se}
            if move.learns and len(index["query"]):
                found = _coverage(on, index, samples)
                covered[move.batch] = pd.Series(found.beyond, index=on.names)
                outside = outputs.distance[index["query"]] > 1
                own = _per_sample(found, pd.Series(outside, index=samples[index["query"]]))
                of_samples.append(own.assign(batch=move.batch))
                row |= {"outside": outside.mean(), "flagged": own["flagged"].sum()}
            batches[move.batch] = row
    scores = _scores(on, outputs, moves, held_out)
    record = _tables(batches, features, covered, of_samples, list(adata.var_names))
    verdict = _in_words(record["batches"], record["samples"], scores)
    alone = record["batches"]["how"].str.startswith("left alone").any() or record["samples"]["flagged"].any()
    logger.log(logging.WARNING if alone else logging.INFO, "%s", verdict)

    adata = adata.copy() if copy else adata
    outputs.write(adata, key_added, [key_added], on.layer)
    config = {"batch_key": batch_key, "control_key": control_key, "control": control, "reference": reference}
    config |= {"sample_key": sample_key, "bridge": bridge, "held_out_controls": held_out_controls, "layer": on.layer}
    config |= {"edit": name_of_choice(edit), "strata": strata, "axes": name_of_choice(axes), "residual": residual}
    config |= {"strength": strength, "bounds": bounds, "key": on.keys, "edit_params": edit_params}
    adata.uns[key_added] = (
        record
        | {
            "config": json.dumps(config, default=plain),
            "verdict": verdict,
            "layers": np.array([key_added], dtype=str),
            "order": np.array([*order_of(adata, on.layer), key_added], dtype=str),
            _slots.VERSION: version("neuronedit"),
        }
        | ({"held_out": scores} if held_out.any() else {})
    )
    return adata if copy else None


@dataclass(frozen=True)
class Move:
    """How the cells of one batch are corrected: learnt from ``source`` to ``target`` if it ``learns``, as batch ``like`` is."""

    batch: str
    how: str
    cells: np.ndarray
    roles: dict[str, np.ndarray]
    like: str
    learns: bool
    to_corrected: bool = False


def _design(
    adata: AnnData,
    batch_key: str,
    control_key: str,
    control: Any,
    reference: Any,
    bridge: Mapping[Any, Any],
    held_out_controls: Selection | None,
) -> tuple[list[Move], np.ndarray]:
    """Return how each batch is corrected, those that others wait for first, and which controls are held out."""
    labels = labels_of(adata, batch_key)
    names = sorted(labels.unique(), key=str)
    cells_of = {name: (labels == name).to_numpy() for name in names}
    controls = _controls(adata, control_key, control)
    held_out = np.zeros(adata.n_obs, dtype=bool)
    if held_out_controls is not None:
        held_out = select(adata, control_key, held_out_controls, "held_out_controls") & controls
        if not held_out.any():
            raise ValueError("held_out_controls names no control.")
    used = controls & ~held_out
    for given, what in (([] if reference is None else [reference], "reference"), (bridge, "bridge")):
        for name in given:
            if name not in names:
                raise ValueError(f"{what}: {name!r} is not in obs[{batch_key!r}]; it has {some(names)}.")
    n_controls = {name: int((used & cells_of[name]).sum()) for name in names}
    if reference is not None and n_controls[reference] < 2:
        raise ValueError(f"the reference {reference!r} has {n_controls[reference]} control cells; it needs at least 2.")
    if sum(n >= 2 for n in n_controls.values()) < 2:
        raise ValueError(f"fewer than two batches of obs[{batch_key!r}] have controls: there is nothing to learn from.")
    goal = used if reference is None else used & cells_of[reference]
    to = POOLED if reference is None else str(reference)

    roles_of = {
        name: {"source": used & cells, "target": goal, "query": cells & ~used} for name, cells in cells_of.items()
    }
    moves: dict[Any, Move] = {}
    for name in names:
        cells, roles = cells_of[name], roles_of[name]
        if name == reference:
            moves[name] = Move(str(name), "reference", cells, roles, "", learns=False)
        elif name not in bridge and n_controls[name] >= 2:
            if n_controls[name] < 100:
                logger.warning(
                    "The control of %s has only %d cells: its percentiles are mostly noise; edit='shift' needs fewer.",
                    name,
                    n_controls[name],
                )
            moves[name] = Move(str(name), f"control to {to}", cells, roles, str(name), learns=True)
    known = list(moves)
    for name in names:
        cells, roles = cells_of[name], roles_of[name]
        if name in known:
            continue
        if name not in bridge:
            moves[name] = Move(str(name), "left alone: no control", cells, roles, "", learns=False)
        elif isinstance(bridge[name], Mapping):
            stand_in = select(adata, None, bridge[name], f"bridge of {name!r}")
            there = stand_in & labels.isin(known).to_numpy()
            if min((stand_in & cells).sum(), there.sum()) < 2:
                raise ValueError(
                    f"bridge: {bridge[name]!r} has fewer than 2 cells in {name!r}, or in all batches with controls."
                )
            roles = {"source": stand_in & cells, "target": there, "query": cells & ~stand_in}
            through = ", ".join(f"{column}={value!r}" for column, value in bridge[name].items())
            moves[name] = Move(
                str(name), f"bridged through {through}", cells, roles, str(name), learns=True, to_corrected=True
            )
        elif bridge[name] in known:
            how = f"as {bridge[name]}"
            moves[name] = Move(str(name), how, cells, roles, str(bridge[name]), learns=False)
        else:
            raise ValueError(
                f"bridge: {bridge[name]!r}, which is to stand in for {name!r}, is no batch with a control."
            )
    return list(moves.values()), held_out


def _controls(adata: AnnData, control_key: str, control: Any) -> np.ndarray:
    """Return which cells are controls."""
    labels = labels_of(adata, control_key)
    if control is None:
        control = True if labels.dtype == bool else CONTROL
    return select(adata, control_key, listed(control), "control")


def _coverage(on: Trained, index: Mapping[str, np.ndarray], samples: np.ndarray) -> Coverage:
    """Compare the samples of a batch with its controls."""
    control, query = (cells.cpu().numpy() for cells in on.read(index["source"], index["query"]))
    return coverage(control, samples[index["source"]], query, samples[index["query"]], on.names)


def _per_sample(found: Coverage, outside: pd.Series) -> pd.DataFrame:
    """Return one row a sample, given which of its cells lie outside the control."""
    own = pd.DataFrame({"composition": found.ratio})
    own["lacking"] = [found.lacking.get(name, "") for name in own.index]
    own["n_cells"], own["outside"] = outside.groupby(level=0).size(), outside.groupby(level=0).mean()
    own["flagged"] = own["composition"] > 1
    return own.rename_axis("sample").reset_index()


def _scores(on: Trained, outputs: Outputs, moves: Sequence[Move], held_out: np.ndarray) -> pd.DataFrame:
    """Score held-out controls: how far those of each batch come to those of the reference, or of all other batches."""
    rows = {}
    corrected = Rows(outputs.edited[0], on.rows.order)
    reference = [move for move in moves if move.how == "reference"]
    for move in moves:
        own = np.flatnonzero(held_out & move.cells)
        others = reference or [other for other in moves if other is not move]
        there = np.flatnonzero(held_out & np.logical_or.reduce([other.cells for other in others]))
        if move in reference or min(len(own), len(there)) < 2:
            continue
        before, after, truth = (x[i].numpy() for x, i in ((on.rows, own), (corrected, own), (corrected, there)))
        distances = {"before": energy_distance(before, truth), "after": energy_distance(after, truth)}
        closed = gap_closed(energy_distance, *(x[some_of(len(x))] for x in (before, truth, after)), n_splits=20)
        rows[move.batch] = {"n_cells": len(own)} | distances | {"closed": closed}
    return pd.DataFrame.from_dict(rows, orient="index", columns=["n_cells", "before", "after", "closed"])


def _tables(
    batches: Mapping[str, Mapping[str, Any]],
    features: Sequence[pd.DataFrame],
    covered: Mapping[str, "pd.Series[float]"],
    samples: Sequence[pd.DataFrame],
    names: Sequence[str],
) -> dict[str, pd.DataFrame]:
    """Return what AnnData can write of what was done to each batch."""
    columns = [
        "how",
        "n_controls",
        "n_samples",
        "outside",
        "flagged",
        "expected",
        "expected_se",
        "n_clipped",
        "verdict",
    ]
    table = pd.DataFrame.from_dict(batches, orient="index", columns=columns).sort_index()
    columns = ["batch", "sample", "n_cells", "outside", "composition", "flagged", "lacking"]
    rows = pd.concat(samples)[columns] if samples else pd.DataFrame(columns=columns)
    rows = rows.astype({"flagged": bool, "composition": float})
    rows.index = pd.Index(rows["batch"] + ": " + rows["sample"], dtype=str)
    every = pd.concat(features) if features else pd.DataFrame(columns=["batch", "feature"])
    every.index = pd.Index(every["batch"] + ": " + every["feature"], dtype=str)
    coverage = pd.DataFrame(covered).T.reindex(columns=names)
    return {"batches": table, "samples": rows, "coverage": coverage, "features": every}


def _in_words(batches: pd.DataFrame, samples: pd.DataFrame, scores: pd.DataFrame) -> str:
    """Say what was corrected, what was not, and where the control says too little."""
    done = ~batches["how"].str.startswith(("reference", "left alone"))
    sentences = [f"{done.sum()} of {len(batches)} batches corrected."]
    if (alone := batches.index[batches["how"].str.startswith("left alone")]).size:
        sentences.append(f"Left alone, as there is no control: {some(alone)}.")
    flagged = samples[samples["flagged"]].sort_values("composition", ascending=False, kind="stable")
    if len(flagged):
        sentences.append(
            f"{len(flagged)} of {len(samples)} samples are composed otherwise than the controls of their batch, further from them"
            " than these are from each other: there the correction extrapolates."
        )
    for _, row in flagged.head(LISTED).iterrows():
        sentences.append(f"{row['sample']} ({row['batch']}, {row['composition']:.1f} times as far): {row['lacking']}.")
    if samples["composition"].isna().any():
        sentences.append(
            "Whether samples are composed as their controls is not known: sample_key names no three controls."
        )
    for batch, row in scores.iterrows():
        sentences.append(f"Held-out controls of {batch} came {row['closed']:.2f} of the way.")
    return " ".join(sentences)
