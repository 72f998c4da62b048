"""Read Flow Cytometry Standard files."""

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from anndata import AnnData

from .._check import FilePath


def read_fcs(path: FilePath) -> AnnData:
    """Read the events of one FCS file (2.0, 3.0 or 3.1), as they were recorded: no compensation, no transformation.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    AnnData of events by channels, float32: ``var_names`` are the channels (``$PnN``), ``var["marker"]`` what they measure
    (``$PnS``, empty where nothing is said).

    Raises
    ------
    ImportError
        When flowio is not installed: ``pip install 'neuronedit[fcs]'``.
    """
    try:
        import flowio
    except ImportError as error:
        raise ImportError("Reading FCS files needs flowio: pip install 'neuronedit[fcs]'.") from error
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path} is not a file.")
    with warnings.catch_warnings():
        # some writers count the last byte of the data segment differently; the number of events below tells if it matters
        warnings.filterwarnings("ignore", message=".*reported incorrect data offset.*")
        data = flowio.FlowData(str(path), ignore_offset_error=True)
    events = np.reshape(np.asarray(data.events, dtype=np.float32), (-1, data.channel_count))
    if len(events) != int(data.text["tot"]):
        raise ValueError(f"{path} holds {len(events)} events, but says that it has {data.text['tot']}.")
    names, markers = ([data.text.get(f"p{i + 1}{what}", "") for i in range(events.shape[1])] for what in "ns")
    var = pd.DataFrame({"marker": markers}, index=names)
    return AnnData(events, obs=pd.DataFrame(index=[f"c{i}" for i in range(len(events))]), var=var)
