"""Write an edit into AnnData or into a store: the edited cells, and the record of what was done."""

import logging
from collections.abc import Sequence

import numpy as np
import torch
from anndata import AnnData

from .._data.output import Output
from .._data.record import Record
from .._data.space import TrainedSpace
from .._data.undo import writing
from .._progress import tell
from .alarms import Alarm, tabulate_alarms
from .apply import EditedLayers, apply_edit, encode_others
from .fit import FittedEdit
from .report import EditSummary, feature_table, find_alarms, write_verdict
from .store import EditStore

logger = logging.getLogger(__name__)


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
    is_query = np.zeros(adata.n_obs, dtype=bool)
    is_query[query] = True
    record.content.update(output.to_uns())

    # into a store
    if output.write_to is not None:
        with torch.no_grad(), EditStore.open(adata, space, fitted, is_query, output, record) as store:
            summary = store.write(space, is_query, fitted)
            _report(adata, space, fitted, summary, record, alarms)
            store.finish(record)
        return None

    # into memory
    with torch.no_grad():
        edited = EditedLayers.of([space.cells.dense_copy() for _ in output.layers], fitted.n_neurons)
        summary = apply_edit(fitted, space.cells, query, edited, space.device, output)
        encode_others(space.space, space.cells, is_query, edited, space.device)
    _report(adata, space, fitted, summary, record, alarms)
    with writing(adata, copy) as adata:
        edited.write(adata, output.key, output.layers, space.layer)
        record.write(adata)
    return adata if copy else None


def _report(
    adata: AnnData,
    space: TrainedSpace,
    fitted: FittedEdit,
    summary: EditSummary,
    record: Record,
    alarms: Sequence[Alarm],
) -> None:
    """Say what was done, and keep it in the record."""
    features = feature_table(space.features, fitted, summary).loc[space.names]
    found = find_alarms(fitted, summary, alarms)
    verdict = write_verdict(fitted.summary, features, summary, found)
    tell(logger, verdict, is_alarm=bool(found))
    record.content.update({"n_clipped": summary.n_clipped, "features": features, "verdict": verdict})
    record.content["alarms"] = tabulate_alarms(found)
