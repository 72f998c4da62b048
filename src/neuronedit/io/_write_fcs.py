"""Write edited events back into Flow Cytometry Standard files."""

import gzip
import json
import logging
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from anndata import AnnData

from .._check import FilePath
from .._data.check import MAX_NAMES_SHOWN, format_choices, open_adata
from .._data.record import find_tool
from ._atomic import check_folder, filling
from ._fcs_build import OFFSETS, build_fcs, raise_range, replace_keywords, set_layout
from ._fcs_channels import KEPT_CHANNEL
from ._fcs_compose import Composed, FeatureValues
from ._fcs_data_set import read_data_set
from ._fcs_record import FcsFile, FcsRecord, read_cells_of_files
from ._fcs_text import BLANK

logger = logging.getLogger(__name__)

KEYWORD = "NEURONEDIT"  # says what was done
TOLD = ("reference", "source", "target", "batch_key", "groupby")  # what of a record's config it repeats
OF_CHANNEL = re.compile(r"([A-Za-z_]*\$?P)([1-9][0-9]*)([A-Z][A-Za-z]*)")  # $P3N, and flowCore_$P3Rmax


def write_fcs(
    adata: AnnData,
    folder: FilePath,
    *,
    layer: str | None = None,
    overwrite: bool = False,
    on_removed: Literal["refuse", "mark"] = "refuse",
    on_left_out: Literal["read", "drop"] = "read",
) -> list[Path]:
    """Write cells that `read_fcs` has read, and that were edited since, as one FCS 3.1 file for each file that was read.

    Examples
    --------
    >>> import neuronedit as ne
    >>> adata = ne.io.read_fcs("study/")  # doctest: +SKIP
    >>> ne.pp.arcsinh(adata, cofactor=5)  # doctest: +SKIP
    >>> ne.io.write_fcs(adata, "same/")  # doctest: +SKIP

    Parameters
    ----------
    adata
        Cells by channels with ``obs["file"]``, ``obs["event"]`` and ``uns["fcs"]``; also one that was written and read again.
        Features may have been left out, cells may stand in any order.
    folder
        Where to write; it is made if it is not there. Files keep their names. The files that were read are never overwritten.
    layer
        With the edited values. `None`: X. Values on the arcsinh or the logicle scale, as ``var`` says, become linear again.
        Of features that are not used (``var["used"]``), X is written.
    overwrite
        Replace files of these names.
    on_removed
        What to do where cells of a file are not there any more. "refuse": raise an error with their numbers. "mark": write all
        events of the file, those that were removed with the values that they had, and a channel ``neuronedit_kept`` that is 1
        for those that are here and 0 for the others.
    on_left_out
        Where channels of the files are not among the features: "read" takes them from the files that were read, which must still
        be there; "drop" writes files without them.

    Returns
    -------
    The paths of the files. In each, events stand in the order of the file that was read, and what was not changed is the same
    to the bit, if the file held floating point numbers and was not compensated. All keywords are kept but those that must
    change: offsets and types, ``$PnR`` where values lie above it, ``$PnE``, which is 0,0 for floating point numbers, and ``$PnG``
    of integers that were divided by it. ``NEURONEDIT`` says what was done. Events that were compensated are spilled over again by the same matrix, so that
    programs that compensate them find the edited values.

    Raises
    ------
    KeyError, ValueError
        When it is not recorded which files the cells are from; cells were removed, or are there twice; a value is NaN or infinite;
        channels were left out and their file is not there any more. Nothing is written then.
    OSError
        When files exist, or the folder cannot be written.
    """
    # read
    is_lazy = isinstance(adata, AnnData) and isinstance(adata.var, pd.DataFrame) and hasattr(adata.obs, "to_memory")
    adata = adata if is_lazy else open_adata(adata)  # obs of many events stays where it is
    record, cells = FcsRecord.read(adata), read_cells_of_files(adata)
    rows, values = record.find_rows(cells), FeatureValues.read(adata, layer, cells["event"].to_numpy())
    if on_removed == "refuse":
        _check_removed(record, rows)
    goal = Path(folder)
    _check_goals(goal, record, overwrite)
    marked = on_removed == "mark"
    read_again = {
        name: _needs_original(file, values, len(rows[name]), marked, on_left_out == "drop")
        for name, file in record.files.items()
    }
    history = _describe_history(adata, layer)

    # write
    clipped: Counter[str] = Counter()
    with filling(goal) as work:
        for name, file in record.files.items():
            composed = Composed.of(file, values, rows[name], read_again=read_again[name], mark=marked)
            clipped.update(composed.clipped)
            keywords = _update_keywords(file, composed, history, marked)
            _write_verified(work / name, keywords, composed.events)
    if clipped:
        listed = ", ".join(f"{name} ({n:,})" for name, n in clipped.items())
        logger.warning("Values beyond what the files can hold were set to the largest number: %s.", listed)
    return [goal / name for name in record.files]


def _check_removed(record: FcsRecord, rows: Mapping[str, np.ndarray]) -> None:
    """Refuse files that have lost cells."""
    lost = {name: file.n_events - len(rows[name]) for name, file in record.files.items()}
    if any(lost.values()):
        listed = _format_counts({name: n for name, n in lost.items() if n})
        hint = "on_removed='mark' writes them as they were, with a channel that marks them"
        raise ValueError(f"cells of these files were removed: {listed}; {hint}.")


def _format_counts(counts: Mapping[str, int]) -> str:
    """List names with their numbers for an error, the first few of them."""
    texts = [f"{name} ({n:,})" for name, n in counts.items()]
    more = f", ... ({len(texts)} in all)" if len(texts) > MAX_NAMES_SHOWN else ""
    return ", ".join(texts[:MAX_NAMES_SHOWN]) + more


def _check_goals(folder: Path, record: FcsRecord, overwrite: bool) -> None:
    """Refuse a folder that cannot be written, and files that are there."""
    check_folder(folder)
    there = [name for name in record.files if (folder / name).exists()]
    read = [name for name in there if (folder / name).resolve() == record.files[name].path.resolve()]
    if read:
        raise ValueError(f"{folder} has the files that were read: {format_choices(read)}; choose another folder.")
    if there and not overwrite:
        raise FileExistsError(f"{folder} has {format_choices(there)}; choose another folder, or overwrite=True.")


def _needs_original(file: FcsFile, values: FeatureValues, n_cells: int, marked: bool, drop: bool) -> bool:
    """Return whether a file must be read again, once it is known that it can be."""
    if marked and KEPT_CHANNEL in set(file.channels["channel"]):
        raise ValueError(f"{file.name} has a channel {KEPT_CHANNEL!r} already, which on_removed='mark' would write.")
    features = values.find_features(file)
    if all(i is None for i in features):
        raise ValueError(f"none of the channels of {file.name} is among the features; were these renamed?")
    absent = [name for name, i in zip(file.channels["channel"], features, strict=True) if i is None]
    is_cut = marked and n_cells < file.n_events
    if not is_cut and (drop or not absent):
        _check_spillover(file, absent)
        return False
    try:
        file.find_again()
    except (OSError, ValueError) as error:
        what = "its removed cells" if is_cut else f"its channels {format_choices(absent)}, which are no features"
        hint = "" if is_cut else "; on_left_out='drop' writes files without them"
        raise ValueError(f"{file.name} must be read again for {what}, but {error}{hint}.") from None
    return True


def _check_spillover(file: FcsFile, dropped: Sequence[str]) -> None:
    """Refuse to drop channels that spill over into others."""
    spilled = [] if file.spillover is None else [name for name in file.spillover.channels if name in dropped]
    if spilled:
        text = f"{file.name} was compensated with {format_choices(spilled)}, which are no features"
        raise ValueError(f"{text}: without them it cannot be spilled over again. Use on_left_out='read'.")


def _describe_history(adata: AnnData, layer: str | None) -> str:
    """Return in words what was done: the version, the layer, and the tool that made it."""
    words = [f"neuronedit {version('neuronedit')}", f"layer {layer or 'X'}"]
    stored: Any = adata.uns.get(layer) if layer else None
    if (tool := find_tool(stored)) is not None:
        words.append(str(tool))
        config = json.loads(str(stored["config"])) if "config" in stored else {}
        words += [f"{name} {json.dumps(config[name])}" for name in TOLD if config.get(name) is not None]
    return "; ".join(words)


def _update_keywords(file: FcsFile, composed: Composed, history: str, marked: bool) -> dict[str, str]:
    """Return the keywords of a file: those that it had, but for what is different now."""
    keywords = _renumber(file.keywords, composed.channels, len(file.channels))
    known = {name.upper(): value for name, value in keywords.items()}
    changes: dict[str, str | None] = {KEYWORD: history, "$UNICODE": None}
    highest = composed.events.max(axis=0, initial=0)
    for n, j in enumerate(composed.channels, start=1):
        # the standard has it so for floating point numbers, and programs that do not know it would take powers of these
        changes |= {f"$P{n}DATATYPE": None, f"$P{n}E": "0,0"}
        if f"$P{n}N" not in known:  # FCS 2.0 allows it
            changes[f"$P{n}N"] = str(file.channels["channel"][j])
        if file.channels["converted"][j] and f"$P{n}G" in known:
            changes[f"$P{n}G"] = "1"
        if (raised := raise_range(known.get(f"$P{n}R"), float(highest[n - 1]))) is not None:
            changes[f"$P{n}R"] = raised
    if marked:
        n = len(composed.channels) + 1
        changes |= {f"$P{n}N": KEPT_CHANNEL, f"$P{n}S": KEPT_CHANNEL, f"$P{n}E": "0,0", f"$P{n}R": "2"}
    return set_layout(replace_keywords(keywords, changes), composed.events)


def _renumber(keywords: Mapping[str, str], channels: Sequence[int], n_channels: int) -> dict[str, str]:
    """Return the keywords with those of the channels that are written numbered from 1."""
    if list(channels) == list(range(n_channels)):
        return dict(keywords)
    numbers = {j + 1: n for n, j in enumerate(channels, start=1)}
    result = {}
    for name, value in keywords.items():
        match = OF_CHANNEL.fullmatch(name)
        if match is None:
            result[name] = value
        elif int(match[2]) in numbers:
            result[f"{match[1]}{numbers[int(match[2])]}{match[3]}"] = value
    return result


def _write_verified(path: Path, keywords: Mapping[str, str], events: np.ndarray) -> None:
    """Write a file, and read it back."""
    try:
        content = build_fcs(keywords, events)
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}.") from None
    path.write_bytes(gzip.compress(content) if path.name.lower().endswith(".gz") else content)
    there = read_data_set(path, data_set=1)
    told = {name: value.strip(BLANK) for name, value in there.keywords.items() if name.upper() not in OFFSETS}
    wanted = {name: value.strip(BLANK) for name, value in keywords.items() if name.upper() not in OFFSETS}
    if told != wanted or there.read_events().tobytes() != events.tobytes():
        raise OSError(f"{path} does not hold what was written into it; is the disk full or damaged?")
