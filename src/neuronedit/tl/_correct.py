"""Correct every batch by its control."""

import logging
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from anndata import AnnData

from .. import _slots
from .._check import Bounds, FilePath, Seed
from .._data.batches import MEAN_OF_BATCHES, BatchCorrection, BatchStatus, read_batches
from .._data.check import Selector, get_labels, open_adata
from .._data.output import Output
from .._data.reader import CellReader, ReadsCells
from .._data.record import Record, Tool
from .._data.space import TrainedSpace
from .._memory import give_back
from .._progress import Bar, shows_progress, tell
from .._subsample import subsample
from ..engine.alarms import Alarm, AlarmKind, check_scale, say_alarms, sort_alarms, tabulate_alarms
from ..engine.apply import EditedReader, EditsByCell
from ..engine.controls import CheckedControls, aim_at, average_controls, check_controls
from ..engine.fit import Edit, FittedEdit, pack_edits
from ..engine.report import MAX_SHARE_OUTSIDE, EditSummary, feature_table, write_verdict
from ..engine.write import write_edits
from ..metrics import energy_distance, gap_closed
from ..metrics._coverage import Coverage, measure_coverage
from ._edit import EditName
from ._space import find_space, training_planned

logger = logging.getLogger(__name__)

MAX_CELLS_HELD_OUT = 5_000  # held-out cells of a batch, and of the batches that they are compared with
MAX_CELLS_TO_SCORE = 2_000  # between which distances are measured: all pairs of them take a second
MAX_SAMPLES_NAMED = 3  # in the verdict

# What is reported of a batch of which nothing is known.
UNKNOWN = {"outside": np.nan, "flagged": 0, "expected": np.nan, "expected_se": np.nan, "n_clipped": 0, "verdict": ""}
BATCH_COLUMNS = ["status", "how", "n_controls", "n_samples", *UNKNOWN]
SAMPLE_COLUMNS = ["batch", "sample", "n_cells", "outside", "composition", "flagged", "lacking"]


@shows_progress
def correct(
    adata: AnnData,
    batch_key: str,
    *,
    control_key: str,
    control: Hashable = None,
    reference: Hashable = None,
    sample_key: str | None = None,
    bridge: Mapping[Any, Any] | None = None,
    held_out_controls: Selector | None = None,
    edit: EditName | Callable[..., Any] | None = None,
    strata: str | None = None,
    strength: float = 1.0,
    bounds: Bounds | None = None,
    layer: str | None = None,
    key: str | Sequence[str] = _slots.MODEL,
    key_added: str = _slots.CORRECTED,
    write_to: FilePath | None = None,
    accelerator: str = "auto",
    rng: Seed = 0,
    progress_bar: bool | None = None,
    copy: bool = False,
    **edit_params: Any,
) -> AnnData | None:
    """Correct every batch by its control: the edit from its control to the reference's is applied to its samples.

    All edits are fitted in one space. What a sample differs in from the control stays. Batches that cannot be corrected are
    left as they are, and the verdict names them. :func:`neuronedit.tl.apply` corrects other cells of the same batches.

    Examples
    --------
    >>> import neuronedit as ne
    >>> adata = ne.datasets.simulate_batches(n_cells=200)
    >>> ne.tl.train(adata, widths=(32, 8), max_epochs=2)
    >>> ne.tl.correct(
    ...     adata, "batch", control_key="role", reference="batch_2", edit="percentile"
    ... )
    >>> adata.uns["corrected"]["batches"]["how"].to_dict()
    {'batch_1': 'control to batch_2', 'batch_2': 'reference'}

    Parameters
    ----------
    adata
        Cells by features. If :func:`neuronedit.tl.train` was not called before, it is called now, with its defaults.
    batch_key
        Column of ``obs`` with the batches.
    control_key
        Column of ``obs`` that says which cells are controls: the same material in every batch.
    control
        The value or values that mark controls in it. `None`: `True` in a column of truth values, else ``"control"``.
    reference
        The batch to which all others are corrected; it stays as it is. `None`: the mean of all batches, each of them alike,
        however many cells it has, so that every batch moves a little.
    sample_key
        Column of ``obs`` with the samples, controls and others. Where the controls of two batches are the same samples, by their
        names, they hold the same kinds of cells in the same numbers, and edits are fitted to all of them. Else a difference
        in composition is looked for, and allowed for. It is allowed for in both cases if the cells to correct are other kinds
        of cells. With three or more controls in a batch the composition of each sample is compared with theirs. `None`: of
        cells that :func:`neuronedit.io.read_fcs` has read, each file is a sample.
    bridge
        For batches without a control, which else are left alone, batch -> what takes its place. Another batch,
        ``{"b3": "b2"}``: its cells move as those of that batch do. Or cells that were measured in this batch and in others,
        ``{"b3": {"individual": "donor 7"}}``: they are the control, and those of the other batches, corrected, the reference.
    held_out_controls
        Controls that are not used but scored, as a dict of obs column -> value(s), ``{"sample": ["HD1", "HD6"]}``: how far
        those of each batch come to those of the reference.
    edit, strata, **edit_params
        How each batch's edit is fitted, as in :func:`neuronedit.tl.edit`. `None`: ``"percentile"`` within ``strata`` if they are
        named, such as cell types that controls and samples share; else ``"auto"``, which should not get cell types as strata
        here: the correction of some need not predict that of others.
    strength
        Share of the correction.
    %(bounds)s
    %(reading)s
    key_added
        Name of the layer, and of the record in ``uns``.
    write_to
        Write into a new zarr store, which can be resumed, and leave ``adata`` as it is, as in :func:`neuronedit.tl.edit`.
    %(computing)s
    %(copy)s

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
            A DataFrame, one row a batch: its ``status`` ("reference", "corrected", "bridged", "like another batch", "left
            alone"), ``how`` it was corrected, ``n_controls`` and ``n_samples`` (cells), and the share of the samples' cells
            ``outside`` the control. Further columns are the number of ``flagged`` samples, the ``expected`` share of the gap closed
            (``edit="auto"``) and its standard error ``expected_se``, values clipped (``n_clipped``), and the ``verdict``.
        ``samples``
            A DataFrame, one row a sample. ``outside`` is its share of cells outside the control. ``composition`` is the distance of
            its composition from the controls', divided by the largest distance of one control from the others (shares of clusters,
            total variation). What chance adds to that with as few cells as the sample has is allowed for. A sample is ``flagged``
            where ``composition`` is above 1, so that the correction extrapolates. ``lacking`` lists the populations that the
            controls lack, in words.
        ``features``
            A DataFrame, one row for each ``batch`` and ``feature``: the columns that :func:`neuronedit.tl.edit` writes, and
            ``outside_control``, the share of the samples' cells beyond the central 99 % of the control's; 0.01 is usual.
        ``alarms``
            A DataFrame, one row an alarm: its kind (``alarm``), the ``batch`` that it is about, and the ``text``, with which the
            verdict begins. "control": controls are unlike their samples in some feature. "composition": they hold other cells than
            those of the reference. "outside": samples lie outside the control. "scale": one feature dominates the scale. "left
            alone": batches were left alone.
        ``held_out``
            With ``held_out_controls``, for each batch the energy distance from its held-out controls to the reference's (to
            those of all other batches if there is none), ``before`` and ``after``, and the share ``closed``.
        ``fitted``, ``verdict``
            The edits of all batches, as in :func:`neuronedit.tl.edit`; and the verdict in words, also logged.

    Raises
    ------
    %(border_errors)s

    References
    ----------
    Amodio et al. 2018, arXiv:1805.12198; Van Gassen et al. 2020, CytoNorm, Cytometry A 97:268-278, for a control in each batch.
    """
    # read: whatever can be refused is refused here, and adata is still untouched
    adata = open_adata(adata, copy=copy)
    if edit is None:
        edit = "auto" if strata is None else "percentile"
    method = Edit.of(edit, rng=rng, **edit_params)
    if method.paired_by is not None:
        raise TypeError("'paired_by' is not a parameter of ne.tl.correct: every batch has one control.")
    must_exist = method.neurons is not None or write_to is not None
    space = find_space(adata, key, layer, accelerator, must_exist=must_exist)
    output = Output.read(adata, space, key_added, strength, bounds, write_to, copy=copy, tool=Tool.CORRECT)
    asked: dict[str, Any] = {"control_key": control_key, "control": control, "reference": reference}
    asked |= {"bridge": bridge or {}, "held_out_controls": held_out_controls, "strata": strata}
    if sample_key is None and _slots.FCS in adata.uns and "file" in adata.obs:
        sample_key = "file"
    samples = None if sample_key is None else get_labels(adata, sample_key).astype(str).to_numpy()
    corrections, held_out = read_batches(adata, batch_key, **asked, samples=samples)
    samples = np.broadcast_to("all samples", adata.n_obs) if samples is None else samples  # takes no memory
    method.check(space)
    space.check_cells()

    how: dict[str, Any] = {
        "edit": method.name,
        "accelerator": accelerator,
        "rng": rng,
        "progress_bar": progress_bar,
        "copy": copy,
    }
    with training_planned(adata, space, **how) as (adata, space):
        # compute: fit the edit of each batch in turn
        with torch.no_grad():
            checked = check_controls(space, corrections)
            give_back()  # the controls of all batches were read
            bar = Bar("correcting", "fit")
            with bar.bar:
                corrections, fitted = _fit_all(corrections, checked, method, space, output, reference, bar)
        give_back()
        by_batch = {one.batch: fitted[one.like] for one in corrections if one.like in fitted}
        by_cell = EditsByCell.of(by_batch, {one.batch: one.cells for one in corrections}, space)

        # write
        config = {"batch_key": batch_key, **asked, "sample_key": sample_key, "edit": method.name, "strength": strength}
        config |= {"edit_params": method.params, "bounds": bounds, "layer": space.layer, "key": space.keys, "rng": rng}
        record = Record(key_added, Tool.CORRECT, config, pack_edits(by_batch, space, strength))

        def report(summaries: Mapping[str, EditSummary], distances: np.ndarray) -> None:
            reports = [
                _report_batch(one, by_batch.get(one.batch), summaries.get(one.batch), space, distances, samples)
                for one in corrections
            ]
            corrected = EditedReader(space.cells, by_cell, output)
            scores = _score_held_out(space.cells, corrected, corrections, held_out, space.device)
            tables = _make_tables(reports, space.names)
            alarms = [*check_scale(space.scale.find_ruling(space.features)), *checked.alarms]
            alarms = sort_alarms([*alarms, *(alarm for report in reports for alarm in report.alarms)])
            verdict = _summarize_batches(tables["batches"], tables["samples"], scores, alarms)
            tell(logger, verdict, is_alarm=bool(alarms) or tables["samples"]["flagged"].any())
            record.content.update({**tables, "verdict": verdict, "alarms": tabulate_alarms(alarms)})
            record.content.update({"held_out": scores} if held_out.any() else {})

        return write_edits(adata, space, by_cell, output, record, report, copy=copy)


@dataclass(frozen=True)
class BatchReport:
    """What was done to one batch: its row of the table, and tables of its features and samples, where they are known."""

    batch: str
    row: dict[str, Any]
    features: pd.DataFrame | None
    samples: pd.DataFrame | None
    alarms: Sequence[Alarm] = ()


def _fit_all(
    corrections: Sequence[BatchCorrection], checked: CheckedControls, method: Edit, space: TrainedSpace,
    output: Output, reference: Any, bar: Bar,
) -> tuple[list[BatchCorrection], dict[str, FittedEdit]]:  # fmt: skip
    """Fit the edit of each batch in turn; return what is done to each, and the edits."""
    # the mean of the batches, where that is the goal
    usable = {one.batch: one.design for one in corrections if one.batch not in checked.unusable}
    n_fitted = sum(one.is_fitted for one in corrections if one.batch in usable)
    bar.reset(total=n_fitted if reference is not None else 2 * n_fitted - 1)
    mean, goal = None, None
    controls = {one.batch: usable[one.batch] for one in corrections if one.is_first and one.batch in usable}
    if reference is None and controls:
        mean, goal = average_controls(method, space, controls, checked.cells, bar.update)
    # each batch
    reason = "its control is unlike its samples"
    corrections = [one if one.batch in usable else one.left_alone(reason) for one in corrections]
    fitted: dict[str, FittedEdit] = {}
    for one in corrections:
        if not one.is_fitted:
            continue
        targets: ReadsCells | None = mean
        if not one.is_first:  # the batches with controls, corrected
            known = {other.batch: other.cells for other in corrections if other.batch in fitted}
            targets = EditedReader(space.cells, EditsByCell.of(fitted, known, space), output)
        names = f"the control of {one.batch}", f"that of {reference or MEAN_OF_BATCHES}"
        own = method.fit(space, aim_at(one, goal), cells=checked.cells, targets=targets, names=names, batch=one.batch)
        fitted[one.batch] = checked.protect(own.without_cells(), space, one.batch)
        bar.update()
    return corrections, fitted


def _report_batch(
    correction: BatchCorrection,
    fitted: FittedEdit | None,
    summary: EditSummary | None,
    space: TrainedSpace,
    distances: np.ndarray,
    samples: np.ndarray,
) -> BatchReport:
    """Say what was done to the cells of one batch."""
    source, query = correction.design.source, correction.design.query
    row: dict[str, Any] = UNKNOWN | {"status": str(correction.status), "how": correction.how}
    row |= {"n_controls": len(source), "n_samples": len(query)}
    features = by_sample = None
    alarms: list[Alarm] = []
    if correction.status is BatchStatus.LEFT_ALONE:
        alarms.append(Alarm(AlarmKind.LEFT_ALONE, f"{correction.batch} was {correction.how}.", correction.batch))
    if fitted is not None and summary is not None:
        features = batch_features(fitted, summary, space.features, correction.batch).assign(outside_control=np.nan)
        alarms += fitted.alarms if correction.is_fitted else []
        verdict = write_verdict(fitted.summary, features.set_index("feature"), summary, alarms)
        row |= {"n_clipped": summary.n_clipped, "verdict": verdict}
        if fitted.ensemble is not None:
            row |= {"expected": fitted.ensemble.expected, "expected_se": fitted.ensemble.expected_se}
    if features is not None and correction.is_fitted and len(query):
        control_cells, query_cells = (cells.cpu().numpy() for cells in space.read_cells(source, query))
        found = measure_coverage(control_cells, samples[source], query_cells, samples[query], space.features)
        features = features.assign(outside_control=found.beyond)
        outside = ~(distances[query] <= 1)  # NaN is outside
        by_sample = _describe_samples(found, pd.Series(outside, index=samples[query])).assign(batch=correction.batch)
        row |= {"outside": outside.mean(), "flagged": by_sample["flagged"].sum()}
        if outside.mean() > MAX_SHARE_OUTSIDE:
            text = f"{outside.mean():.0%} of the samples' cells of {correction.batch} lie outside its control"
            alarms.append(Alarm(AlarmKind.OUTSIDE, f"{text}: there the correction extrapolates.", correction.batch))
    return BatchReport(correction.batch, row, features, by_sample, alarms)


def batch_features(fitted: FittedEdit, summary: EditSummary, names: Sequence[str], batch: str) -> pd.DataFrame:
    """Return what was done to each feature of a batch, a row a feature."""
    table = feature_table(names, fitted, summary).rename_axis("feature")
    return table.reset_index().assign(batch=batch)


def stack_features(tables: Sequence[pd.DataFrame], names: Sequence[str]) -> pd.DataFrame:
    """Return the features of all batches as one table, a row for each batch and feature, in the order of ``names``."""
    if not tables:
        return pd.DataFrame({"batch": pd.Categorical([]), "feature": pd.Categorical([])})
    ordered = [table.set_index("feature").loc[list(names)].reset_index() for table in tables]
    stacked = pd.concat(ordered, ignore_index=True)
    stacked.index = stacked.index.astype(str)
    columns = ["batch", "feature"]
    stacked = stacked.astype(dict.fromkeys(columns, "category"))
    return stacked[columns + [name for name in stacked if name not in columns]]


def _describe_samples(found: Coverage, outside: pd.Series) -> pd.DataFrame:
    """Return one row a sample, given which of its cells lie outside the control."""
    table = pd.DataFrame({"composition": found.ratio})
    table["lacking"] = [found.lacking.get(name, "") for name in table.index]
    table["n_cells"], table["outside"] = outside.groupby(level=0).size(), outside.groupby(level=0).mean()
    table["flagged"] = table["composition"] > 1
    return table.rename_axis("sample").reset_index()


def _score_held_out(
    cells: CellReader,
    corrected: EditedReader,
    corrections: Sequence[BatchCorrection],
    held_out: np.ndarray,
    device: torch.device,
) -> pd.DataFrame:
    """Score held-out controls: how far those of each batch come to those of the reference, or of all other batches."""
    rows = {}
    by_batch = {one.batch: one.cells[held_out[one.cells]] for one in corrections}
    reference = [one.batch for one in corrections if one.status is BatchStatus.REFERENCE]
    compared = np.sort(np.concatenate([by_batch[name] for name in reference or by_batch]))
    for one in corrections:
        own = by_batch[one.batch]
        theirs = compared if reference else np.setdiff1d(compared, own, assume_unique=True)
        if one.status is BatchStatus.REFERENCE or min(len(own), len(theirs)) < 2:
            continue
        own, theirs = (x[subsample(len(x), MAX_CELLS_HELD_OUT)] for x in (own, theirs))
        before = cells[own].numpy()
        with torch.no_grad():
            after, truth = (x.cpu().numpy() for x in corrected.read([own, theirs], device))
        row = {
            "n_cells": len(by_batch[one.batch]),
            "before": energy_distance(before, truth),
            "after": energy_distance(after, truth),
        }
        few = [x[subsample(len(x), MAX_CELLS_TO_SCORE)] for x in (before, truth, after)]
        rows[one.batch] = row | {"closed": gap_closed(energy_distance, *few, n_splits=20)}
    return pd.DataFrame.from_dict(rows, orient="index", columns=["n_cells", "before", "after", "closed"])


def _make_tables(reports: Sequence[BatchReport], names: Sequence[str]) -> dict[str, pd.DataFrame]:
    """Return what AnnData can write of what was done to each batch."""
    rows = {report.batch: report.row for report in reports}
    batches = pd.DataFrame.from_dict(rows, orient="index", columns=BATCH_COLUMNS).sort_index()
    by_sample = [report.samples for report in reports if report.samples is not None]
    samples = pd.concat(by_sample)[SAMPLE_COLUMNS] if by_sample else pd.DataFrame(columns=SAMPLE_COLUMNS)
    samples = samples.astype({"flagged": bool, "composition": float})
    samples.index = pd.Index(samples["batch"] + ": " + samples["sample"], dtype=str)
    features = stack_features([report.features for report in reports if report.features is not None], names)
    return {"batches": batches, "samples": samples, "features": features}


def _summarize_batches(
    batches: pd.DataFrame, samples: pd.DataFrame, scores: pd.DataFrame, alarms: Sequence[Alarm]
) -> str:
    """Say what may be wrong, what was corrected, what was not, and where the control says too little."""
    untouched = batches["status"].isin([BatchStatus.REFERENCE, BatchStatus.LEFT_ALONE])
    sentences = [say_alarms(alarms)] if alarms else []
    sentences.append(f"{(~untouched).sum()} of {len(batches)} batches corrected.")
    flagged = samples[samples["flagged"]].sort_values("composition", ascending=False, kind="stable")
    if len(flagged):
        sentences.append(
            f"{len(flagged)} of {len(samples)} samples differ in composition from the controls of their batch by more than the"
            " controls differ from each other. There the correction extrapolates."
        )
    for _, row in flagged.head(MAX_SAMPLES_NAMED).iterrows():
        sentences.append(f"{row['sample']} ({row['batch']}, {row['composition']:.1f} times as far): {row['lacking']}.")
    if samples["composition"].isna().any():
        text = (
            "Whether samples and controls agree in composition is not known: that takes sample_key with three controls."
        )
        sentences.append(text)
    for batch, row in scores.iterrows():
        sentences.append(f"Of the distance of held-out controls of {batch}, {row['closed']:.2f} was closed.")
    return " ".join(sentences)
