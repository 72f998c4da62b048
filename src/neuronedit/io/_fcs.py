"""Read Flow Cytometry Standard files."""

from typing import Annotated, Literal

import numpy as np
import pandas as pd
from anndata import AnnData

from .. import _slots
from .._check import FilePath, at_least
from ._fcs_data_set import FcsDataSet, read_data_set


def read_fcs(
    path: FilePath,
    *,
    data_set: Annotated[int, at_least(1)] | None = None,
    offsets: Literal["auto", "header", "text"] = "auto",
    convert: bool = True,
) -> AnnData:
    """Read the events of one FCS file (2.0, 3.0, 3.1 or 3.2), as they were recorded: no compensation, no transformation.

    Examples
    --------
    >>> import neuronedit as ne
    >>> adata = ne.io.read_fcs("sample.fcs")  # doctest: +SKIP
    >>> adata = adata[:, adata.var["marker"] != ""].copy()  # doctest: +SKIP
    >>> adata.uns["fcs"]["keywords"].loc["$DATE", "value"]  # doctest: +SKIP
    '05-OCT-2025'

    Parameters
    ----------
    path
        The file; it may be gzipped.
    data_set
        Which data set of the file, from 1. `None`: the first that has events, with a warning where others have, too.
    offsets
        Where the file tells the place of the events: in its "header" or its "text". "auto": where it fits $PAR, $PnB and $TOT.
    convert
        Turn integers into linear values, as the standard says: logarithmic channels ($PnE) become linear, and linear ones but
        the time are divided by their gain ($PnG). `False`: the numbers as they are. Either way the bits above the range ($PnR)
        are ignored, and floating point numbers are not changed.

    Returns
    -------
    AnnData of events by channels, float32; float64 where the file has doubles, or integers that float32 does not hold exactly.
    ``var_names`` are the channels (``$PnN``), ``var["marker"]`` what they measure (``$PnS``, empty where nothing is said).

    ``uns["fcs"]`` keeps the rest: ``version``; ``data_set``, its number; ``keywords``, a table of all of them with their
    ``value``; ``converted``, the channels whose values are not the stored ones; and, where the file has one, ``spillover``: the
    ``matrix`` and its ``channels``.

    Raises
    ------
    ValueError
        When the file is no FCS file, is cut or damaged, or can be read in two ways. The error names the file, what is wrong with
        it, and what to do.
    OSError
        When the file is not there, or cannot be read.
    """
    return to_anndata(read_data_set(path, data_set=data_set, offsets=offsets, convert=convert))


def to_anndata(data_set: FcsDataSet) -> AnnData:
    """Return a data set as AnnData; what has no place of its own goes to uns."""
    channels = data_set.channels
    keywords = pd.DataFrame({"value": list(data_set.keywords.values())}, index=list(data_set.keywords))
    record = {
        "version": data_set.version,
        "data_set": data_set.number,
        "keywords": keywords.astype(str),
        "converted": np.array(channels.index[channels["converted"]], dtype=str),
    }
    if data_set.spillover:
        names, matrix = data_set.spillover
        record["spillover"] = {"channels": np.array(names, dtype=str), "matrix": matrix}
    obs = pd.DataFrame(index=[f"c{i}" for i in range(len(data_set.events))])
    return AnnData(data_set.events, obs=obs, var=channels[["marker"]].copy(), uns={_slots.FCS: record})
