"""Write edits into AnnData or into a store: the edited cells, and the record of what was done."""

import logging
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from anndata import AnnData

from .._data.output import Output
from .._data.record import Record
from .._data.space import TrainedSpace
from .._data.undo import writing
from .._memory import give_back
from .._progress import tell
from .alarms import Alarm, tabulate_alarms
from .apply import EditedLayers, EditsByCell
from .fit import FittedEdit
from .report import EditSummary, feature_table, find_alarms, write_verdict
from .store import EditStore

logger = logging.getLogger(__name__)

Report = Callable[[Mapping[str, EditSummary], np.ndarray], None]  # completes the record, given summaries and distances


def write_edit(
    adata: AnnData,
    space: TrainedSpace,
    fitted: FittedEdit,
    query: np.ndarray,
    output: Output,
    record: Record,
    *,
    alarms: Sequence[Alarm] = (),
    copy: bool = False,
) -> AnnData | None:
    """Apply a fitted edit to the query, into memory or into a store, and write the cells and the record of it.

    ``alarms`` are those that are known before.
    """

    def report(summaries: Mapping[str, EditSummary], distances: np.ndarray) -> None:
        [summary] = summaries.values()
        features = feature_table(space.features, fitted, summary).loc[space.names]
        found = find_alarms(fitted, summary, alarms)
        verdict = write_verdict(fitted.summary, features, summary, found)
        tell(logger, verdict, is_alarm=bool(found))
        record.content.update({"n_clipped": summary.n_clipped, "features": features, "verdict": verdict})
        record.content["alarms"] = tabulate_alarms(found)

    by_cell = EditsByCell.of({"edit": fitted}, {"edit": query}, space)
    return write_edits(adata, space, by_cell, output, record, report, copy=copy)


def write_edits(
    adata: AnnData,
    space: TrainedSpace,
    by_cell: EditsByCell,
    output: Output,
    record: Record,
    report: Report,
    *,
    copy: bool = False,
) -> AnnData | None:
    """Apply the edit of each cell, into memory or into a store, and write the cells and the record once it is complete."""
    record.content.update(output.to_uns())
    if not by_cell.n_kept:
        logger.info("Neurons are not kept: those of all %s cells take more than 128 MiB.", f"{len(by_cell.numbers):,}")

    # into a store
    if output.write_to is not None:
        with EditStore.open(adata, space, by_cell, output, record) as store:
            report(store.write(space, by_cell), store.read_distances())
            store.finish(record)
        give_back()
        return None

    # into memory
    edited = EditedLayers.of([space.cells.dense_copy() for _ in output.layers], by_cell.n_kept)
    summaries = by_cell.apply(space.space, space.cells, edited, space.device, output)
    report(summaries, edited.distance)
    with writing(adata, copy) as adata:
        edited.write(adata, output.key, output.layers, space.layer)
        record.write(adata)
    give_back()
    return adata if copy else None
