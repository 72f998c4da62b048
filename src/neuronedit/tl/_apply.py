"""Apply an edit that was fitted before, on other cells."""

import logging
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from anndata import AnnData

from .. import _slots
from .._check import Bounds, FilePath
from .._data.batches import BatchStatus
from .._data.check import Selector, format_choices, get_labels, open_adata, to_list
from .._data.design import read_query
from .._data.output import Output
from .._data.record import Record, Tool
from .._data.space import TrainedSpace
from .._progress import shows_progress
from ..engine.apply import EditsByCell
from ..engine.fit import FittedEdit, unpack_edits
from ..engine.report import EditSummary, write_verdict
from ..engine.write import write_edit, write_edits
from ..io import load_model
from ._correct import batch_features, stack_features

logger = logging.getLogger(__name__)


@shows_progress
def apply(
    adata: AnnData,
    model: AnnData | FilePath,
    groupby: str | None = None,
    *,
    query: Selector | None = None,
    strength: float | Sequence[float] = 1.0,
    bounds: Bounds | None = None,
    layer: str | None = None,
    key: str | None = None,
    key_added: str = _slots.EDITED,
    write_to: FilePath | None = None,
    accelerator: str = "auto",
    progress_bar: bool | None = None,
    copy: bool = False,
) -> AnnData | None:
    """Apply an edit, or a batch correction, that was fitted before on other cells: nothing is trained or fitted.

    Examples
    --------
    >>> import neuronedit as ne
    >>> old, new = (ne.datasets.simulate_batches(n_cells=200, rng=rng) for rng in (0, 1))
    >>> ne.tl.train(old, widths=(32, 8), max_epochs=2)
    >>> ne.tl.edit(old, "group", source="control_1", target="control_2", query="sample_1", edit="percentile")
    >>> ne.tl.apply(new, old, "group", query="sample_1")
    >>> new.layers["edited"].shape
    (800, 35)

    Parameters
    ----------
    adata
        Cells with the features that the edit was fitted on, in any order, and on the same scale.
    model
        The AnnData that holds the edit, or a file of :func:`neuronedit.io.save_model`.
    groupby
        Column of ``obs``. For a batch correction it names the batches; `None`: the column in which they were named then.
    query
        The cells to edit: a value or list of values of ``groupby``, a dict of obs column -> value or values, or names of
        cells: ``adata.obs_names`` are all. Required. In a batch correction every cell is corrected as its batch was.
    strength
        Share of the edit as it was fitted; several are a path, as in :func:`neuronedit.tl.edit`.
    %(bounds)s
    layer
        Read this layer. `None`: the one that the edit was fitted on.
    key
        ``key_added`` of the edit in ``model``. `None`: this call's ``key_added`` if it is there, else the only one.
    key_added
        Name of the layer, and of the record in ``uns``.
    write_to
        Write into a new zarr store, as in :func:`neuronedit.tl.edit`.
    %(accelerator)s
    %(progress_bar)s
    %(copy)s

    Returns
    -------
    `None`, or the new AnnData with ``copy=True``. Written is what :func:`neuronedit.tl.edit` writes, except ``fitted`` and
    ``ensemble``, which stay with the model; of a batch correction ``features`` has one row for each batch and feature.

    Raises
    ------
    FileNotFoundError, ValueError, TypeError, KeyError
        Before any work, and with ``adata`` unchanged: no such file; other features, another scale, NaN; a space that was
        trained again since; a batch that the correction does not know, or has left alone. Also unchanged where the result
        would be NaN or infinite.
    """
    # read: whatever can be refused is refused here, and adata is still untouched
    adata = open_adata(adata, copy=copy)
    holder, name = open_model(model)
    fitted_record = _read_fitted(holder, name, key, key_added)
    config, layer = fitted_record.config, fitted_record.config["layer"] if layer is None else layer
    space = TrainedSpace.read(adata, config["key"], layer, accelerator, model=holder, name=f"the model ({name})")
    output = Output.read(adata, space, key_added, strength, bounds, write_to, copy=copy, path=True)
    edits, scale = unpack_edits(fitted_record, holder, space, name)
    is_correction = fitted_record.tool is Tool.CORRECT
    if is_correction and groupby is None and _are_batches(adata, config["batch_key"], query):
        groupby = config["batch_key"]
    rows, by_name = read_query(adata, groupby, query), groupby is None and not isinstance(query, Mapping)
    groupby = config["batch_key"] if is_correction and groupby is None else groupby
    batches = _read_query_batches(adata, groupby, rows, fitted_record, output) if is_correction else {}
    space.check_cells(fitted_on=scale)

    # compute
    if by_name:  # a record keeps their number
        query = "all cells" if len(rows) == adata.n_obs else f"{len(rows)} cells by name"
    asked: dict[str, Any] = {"groupby": groupby, "query": query}
    asked |= {"layer": space.layer, "strength": strength, "bounds": bounds, "key": space.keys, "model": name}
    asked |= {"fitted": config, "edit": config["edit"], "digest": fitted_record.fitted_digest}
    record = Record(key_added, fitted_record.tool, asked, {})
    if not is_correction:
        record.content["n_cells"] = {"query": len(rows)}
        return write_edit(adata, space, edits["edit"], rows, output, record, copy=copy)
    return _correct_batches(adata, space, edits, batches, output, record, copy=copy)


def open_model(model: AnnData | str | PathLike[str]) -> tuple[AnnData, str]:
    """Return the AnnData that holds a model, and its name for errors."""
    if isinstance(model, str | PathLike):
        return load_model(model), str(Path(model))
    return open_adata(model), "AnnData"


def _read_fitted(model: AnnData, name: str, key: str | None, key_added: str) -> Record:
    """Return the record of an edit or a correction that can be applied."""
    found = [k for k, held in model.uns.items() if isinstance(held, Mapping) and {"fitted", "learnt"} & set(held)]
    candidates = [key] if key is not None else [key_added] if key_added in found else found
    if len(candidates) != 1 or candidates[0] not in found:
        what = "holds no edit that can be applied"
        if found:
            several = f"holds several edits, {format_choices(found)}: name one by key"
            what = several if key is None else f"holds {format_choices(found)}, not {key!r}"
        raise ValueError(f"model ({name}) {what}; ne.tl.edit and ne.tl.correct write one, ne.io.save_model saves it.")
    return Record.read(model, candidates[0], Tool.EDIT, Tool.CORRECT)


def _are_batches(adata: AnnData, batch_key: str, query: Any) -> bool:
    """Return whether a query that comes without a column names batches, and not cells."""
    batches = set(adata.obs[batch_key].astype(str)) if batch_key in adata.obs else set()
    return not isinstance(query, Mapping) and query is not None and {str(name) for name in to_list(query)} <= batches


def _read_query_batches(
    adata: AnnData, groupby: Any, rows: np.ndarray, record: Record, output: Output
) -> dict[str, np.ndarray]:
    """Return the rows of each batch in the query, once the correction knows all of these batches."""
    if len(output.strengths) > 1:
        raise ValueError("several strengths are for edits; a batch correction has one.")
    labels = get_labels(adata, groupby).astype(str).to_numpy()[rows]
    status = record.content["batches"]["status"]
    corrected = status.index[status != BatchStatus.LEFT_ALONE]
    if unknown := sorted(set(labels) - set(corrected)):
        raise ValueError(
            f"query has cells of the batches {format_choices(unknown)} of obs[{groupby!r}], which the correction does not know"
            f" or has left alone; it has {format_choices(corrected)}."
        )
    return {str(batch): rows[labels == batch] for batch in np.unique(labels)}


def _correct_batches(
    adata: AnnData, space: TrainedSpace, edits: dict[str, FittedEdit], batches: dict[str, np.ndarray],
    output: Output, record: Record, *, copy: bool,
) -> AnnData | None:  # fmt: skip
    """Correct the cells of each batch as it was corrected then; those of the reference stay."""

    def report(summaries: Mapping[str, EditSummary], distances: np.ndarray) -> None:
        tables, sentences = [], []
        for batch in batches:
            if batch not in summaries:
                sentences.append(f"{batch}: the reference, which stays as it is.")
                continue
            tables.append(batch_features(edits[batch], summaries[batch], space.features, batch))
            verdict = write_verdict(edits[batch].summary, tables[-1].set_index("feature"), summaries[batch])
            sentences.append(f"{batch}: {verdict}")
        verdict = " ".join(sentences)
        logger.info("%s", verdict)
        record.content.update({"features": stack_features(tables, space.names), "verdict": verdict})

    by_cell = EditsByCell.of({batch: edits[batch] for batch in batches if batch in edits}, batches, space)
    return write_edits(adata, space, by_cell, output, record, report, copy=copy)
