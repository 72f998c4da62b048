"""Memory that is used again and again, and memory that is free and stays with the process until the C library is asked for it."""

import ctypes
import math
import sys
import threading
from functools import cache
from typing import Any

import torch
from torch import Tensor


class _Scratch(threading.local):
    """What `scratch` has given a thread, by use."""

    def __init__(self) -> None:
        self.buffers: dict[tuple[Any, ...], Tensor] = {}


_SCRATCH = _Scratch()


def scratch(use: str, like: Tensor, *shape: int) -> Tensor:
    """Return memory of a shape with any values in it: on the CPU what was given to this use in this thread before.

    Workers of dask give memory back to the system as soon as it is free (their ``MALLOC_TRIM_THRESHOLD_``), and to get it anew
    costs up to a fifth of the time of an edit.
    """
    if like.device.type != "cpu" or type(like) is not Tensor:
        return like.new_empty(shape)
    n, own = math.prod(shape), (use, like.dtype, torch.is_inference_mode_enabled())
    buffer = _SCRATCH.buffers.get(own)
    if buffer is None or len(buffer) < n:
        buffer = _SCRATCH.buffers[own] = like.new_empty(n)
    return buffer[:n].view(shape)


def give_back() -> None:
    """Return memory that is free to the system, on Linux: the C library keeps blocks of up to 32 MB for later."""
    _SCRATCH.buffers.clear()
    if (trim := _find_trim()) is not None:
        trim(0)


@cache
def _find_trim() -> Any:
    """Return the function of the GNU C library; `None` where there is another one."""
    return getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
