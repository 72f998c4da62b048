"""Read Flow Cytometry Standard files."""

from collections.abc import Sequence
from os import PathLike
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
from anndata import AnnData

from .._check import FilePath, Positive, at_least
from ._fcs_data_set import read_data_set
from ._fcs_sheets import read_metadata, read_panel
from ._fcs_spillover import Spillover
from ._fcs_store import check_store, write_study
from ._fcs_study import list_files, make_study, read_study

FilePaths = FilePath | Sequence[str | PathLike[str]]


def read_fcs(
    path: FilePaths,
    *,
    metadata: pd.DataFrame | FilePath | None = None,
    panel: pd.DataFrame | FilePath | None = None,
    compensate: bool | pd.DataFrame | FilePath = False,
    cofactor: Positive | Literal["panel"] | None = None,
    write_to: FilePath | None = None,
    data_set: Annotated[int, at_least(1)] | None = None,
    offsets: Literal["auto", "header", "text"] = "auto",
    convert: bool = True,
) -> AnnData:
    """Read the events of one FCS file, or of all files of a study (FCS 2.0, 3.0, 3.1 or 3.2).

    Examples
    --------
    >>> import neuronedit as ne
    >>> adata = ne.io.read_fcs("study/", metadata="files.csv", panel="panel.csv", cofactor=5)  # doctest: +SKIP
    >>> adata = ne.io.read_fcs("sample.fcs")  # doctest: +SKIP
    >>> adata.uns["fcs"]["keywords"].set_index("keyword").loc["$DATE", "value"]  # doctest: +SKIP
    '05-OCT-2025'

    Parameters
    ----------
    path
        A file, a list of files, or a folder: all its files that end in ``.fcs`` or ``.fcs.gz``, by name. Files may be gzipped.
    metadata
        What each file is: a table, or a CSV, TSV or Excel (``.xlsx``) file, with a row for each file. The column with the names
        of the files is found by its name (``file``, ``file_name``, ``fcs`` ...) or by what it holds; folders and endings do not
        matter. The other columns go to ``obs``.
    panel
        What each channel measures: likewise a table or a file, with the columns ``channel`` and ``marker``, or one of them, and
        if you like ``class`` ("lineage", "state", "none": not used) and ``cofactor``. The names that CATALYST gives these
        columns are known, too. Channels without a row are kept, and not used.
    compensate
        `True`: take the spillover out by the matrix that each file has. Or a matrix for all files, as a table or a CSV file: a
        row for each signal, a column for each channel it is seen in, both named by channels.
    cofactor
        Transform the channels that are used to ``arcsinh(x / cofactor)``, as :func:`neuronedit.pp.arcsinh` does: one number for all (5
        is usual for mass cytometry, about 150 for flow cytometry), or "panel": those of the panel. `None`: linear values.
    write_to
        Write into a new zarr store at this path, a file at a time, and return it opened from there: for events that are too
        many for memory. Needs the extra ``dask``.
    data_set
        Which data set of each file, from 1. `None`: the first that has events, with a warning where others have, too.
    offsets
        Where a file tells the place of the events: in its "header" or its "text". "auto": where it fits $PAR, $PnB and $TOT.
    convert
        Turn integers into linear values, as the standard says: logarithmic channels ($PnE) become linear, and linear ones but
        the time are divided by their gain ($PnG). `False`: the numbers as they are. Either way the bits above the range ($PnR)
        are ignored, and floating point numbers are not changed.

    Returns
    -------
    AnnData of events by channels, float32; float64 where a file has doubles, or integers that float32 does not hold exactly.

    - ``var_names``: the marker, where there is one and no other channel has it, else the channel.
    - ``var``: ``channel`` ($PnN); ``marker`` (of the panel, else $PnS); ``class``; ``used``, whether it is a marker to train on;
      ``cofactor``, if the panel has it, and ``X_arcsinh_cofactor``, if X was transformed. Not used are channels without a marker, time, event length, scatter, DNA, barcodes,
      beads, dead cell stains, and the heights and widths of pulses, unless the panel gives them a class.
    - ``obs``: ``file``; ``event``, its number in the file from 0; the columns of the metadata.
    - ``uns["fcs"]``: tables of the ``files``, of all their ``keywords``, of their ``channels`` (which feature each is, and how
      it was matched) and of their ``spillover``; ``compensated``. :func:`neuronedit.io.write_fcs` needs it.

    Channels of several files are one feature if they have the same name, else the same marker; case and punctuation count only
    where they tell two apart. Channels that are not in all files are left out, with a warning.

    Raises
    ------
    ValueError
        When a file is no FCS file, is truncated or damaged, or can be read in two ways. When a file has no row or a row no file.
        When a marker is not in all files, a matrix is missing or singular, or the panel has no cofactor for a channel. The error
        names the file, the problem and the remedy.
    OSError
        When a file is not there, or cannot be read; ``write_to`` exists.
    ImportError
        When an Excel file is given without the extra ``excel``, or ``write_to`` without the extra ``dask``.
    """
    # what is asked for
    store = None if write_to is None else check_store(write_to)
    files = list_files(path)
    names = [file.name for file in files]
    table = pd.DataFrame(index=range(len(files))) if metadata is None else read_metadata(metadata, names)
    markers = None if panel is None else read_panel(panel)
    is_matrix = not isinstance(compensate, bool | np.bool_)
    matrix: bool | Spillover = Spillover.read(compensate) if is_matrix else bool(compensate)

    # what the files hold, and how their channels match
    options: dict[str, Any] = {"offsets": offsets, "convert": bool(convert)}
    data_sets = {file.name: read_data_set(file, data_set=data_set, **options) for file in files}
    study = make_study(data_sets, table, markers, matrix, cofactor, options)
    return read_study(study) if store is None else write_study(study, store)
