"""Write several slots of an AnnData as if at once: what is interrupted leaves it as it was."""

import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from anndata import AnnData, ImplicitModificationWarning

SLOTS = ("layers", "obsm", "uns")  # dicts that tools write into, besides X, obs and var


@contextmanager
def writing(adata: AnnData, copy: bool = False) -> Iterator[AnnData]:
    """Write all that a block writes, or nothing: an error puts back what was there, and Ctrl-C waits until the block ends.

    What was there is kept by reference, so a block must assign new arrays and tables rather than change those that are there.
    With ``copy`` a copy is given to write into.
    """
    if copy:
        yield adata.copy()
        return
    if adata.is_view and not adata.isbacked:  # else it would become one in the midst of the block
        text = "adata is a view of another AnnData; it becomes a copy, because it is written into."
        warnings.warn(text, ImplicitModificationWarning, stacklevel=4)
        adata.obs = adata.obs.copy()
    with _waiting_interrupt():
        before = {slot: dict(getattr(adata, slot)) for slot in SLOTS}
        tables = adata.obs.copy(deep=False), adata.var.copy(deep=False)
        matrix = None if adata.isbacked else adata.X
        try:
            yield adata
        except BaseException:
            if not adata.isbacked and adata.X is not matrix:
                adata.X = matrix
            adata.obs, adata.var = tables
            for slot, values in before.items():
                mapping = getattr(adata, slot)
                for name in [name for name in mapping if name not in values]:
                    del mapping[name]
                for name, value in values.items():
                    if name is not None and mapping.get(name) is not value:  # anndata 0.13 lists X among the layers
                        mapping[name] = value
            raise


@contextmanager
def _waiting_interrupt() -> Iterator[None]:
    """Let Ctrl-C wait until a block ends; it reaches the main thread alone."""
    handler = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        yield
        return
    caught: list[FrameType | None] = []
    signal.signal(signal.SIGINT, lambda number, frame: caught.append(frame))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
    if caught:
        handler(signal.SIGINT, caught[0])
