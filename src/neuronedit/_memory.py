"""Memory that is free again, and stays with the process until the C library is asked for it."""

import ctypes
import sys
from functools import cache
from typing import Any


def give_back() -> None:
    """Return memory that is free to the system, on Linux: the C library keeps blocks of up to 32 MB for later."""
    if (trim := _find_trim()) is not None:
        trim(0)


@cache
def _find_trim() -> Any:
    """Return the function of the GNU C library; `None` where there is another one."""
    return getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
