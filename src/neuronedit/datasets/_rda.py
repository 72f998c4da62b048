"""Read R data without R."""

import warnings
from pathlib import Path
from typing import Any


def read_rda(path: Path) -> dict[str, Any]:
    """Read the objects of an .rda or .RData file by name: lists as dicts, data frames as pandas', S4 slots as attributes."""
    try:
        import rdata
    except ImportError as error:
        raise ImportError("Reading R data needs rdata: pip install 'neuronedit[rdata]'.") from error
    with warnings.catch_warnings():
        # rdata returns the slots of classes that it does not know, which is enough here
        warnings.filterwarnings("ignore", message="Missing constructor for R class")
        return rdata.read_rda(path)
