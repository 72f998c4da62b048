"""What somebody who is watching sees: bars with the time left, and the verdict."""

import logging
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from textwrap import fill
from typing import ParamSpec, TypeVar

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # without ipywidgets bars are of letters, and that is all
    from tqdm.auto import tqdm

__all__ = ["is_shown", "showing_progress", "shows_progress", "tell", "tqdm", "track"]

Item = TypeVar("Item")
Returned = TypeVar("Returned")
Parameters = ParamSpec("Parameters")

LINE_WIDTH = 100  # letters of a printed verdict

_IS_SHOWN: ContextVar[bool | None] = ContextVar("_IS_SHOWN", default=None)  # None: outside of a tool


@contextmanager
def showing_progress(progress_bar: bool | None) -> Iterator[None]:
    """Show bars and print the verdict, as the caller says.

    `None`: as the tool does that calls this one, else where somebody is watching, in a terminal or a notebook.
    """
    if progress_bar is None:
        outer, is_watched = _IS_SHOWN.get(), sys.stderr.isatty() or "ipykernel" in sys.modules
        progress_bar = is_watched if outer is None else outer
    token = _IS_SHOWN.set(progress_bar)
    try:
        yield
    finally:
        _IS_SHOWN.reset(token)


def is_shown() -> bool:
    """Return whether the tool at work shows what it does."""
    return bool(_IS_SHOWN.get())


def track(items: Iterable[Item], what: str, unit: str = "it", total: int | None = None) -> Iterator[Item]:
    """Yield items, with a bar that says how long the others will take."""
    yield from tqdm(items, desc=what, unit=unit, total=total, leave=False, disable=not is_shown())


def tell(logger: logging.Logger, verdict: str, *, is_alarm: bool) -> None:
    """Print a verdict where somebody is watching and nobody collects the log; else log it."""
    if is_shown() and not logger.hasHandlers():
        print(fill(verdict, LINE_WIDTH))  # noqa: T201 (it is asked for)
    else:
        logger.log(logging.WARNING if is_alarm else logging.INFO, "%s", verdict)


def shows_progress(tool: Callable[Parameters, Returned]) -> Callable[Parameters, Returned]:
    """Let a tool show what it does, as its ``progress_bar`` says."""

    @wraps(tool)
    def call(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Returned:
        with showing_progress(kwargs.get("progress_bar")):  # type: ignore[arg-type]
            return tool(*args, **kwargs)

    return call
