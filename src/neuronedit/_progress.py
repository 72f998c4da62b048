"""What somebody who is watching sees: bars with the time left, and the verdict."""

import logging
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from textwrap import fill
from typing import ParamSpec, TypeVar

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # without ipywidgets bars are of letters, and that is all
    from tqdm.auto import tqdm

__all__ = ["Bar", "Forecast", "is_shown", "saying", "showing_progress", "shows_progress", "tell", "tqdm", "track"]

logger = logging.getLogger(__name__)

Item = TypeVar("Item")
Returned = TypeVar("Returned")
Parameters = ParamSpec("Parameters")

LINE_WIDTH = 100  # letters of a printed verdict
SECONDS_TO_MEASURE = 2.0  # before it is said how long something takes
SECONDS_TO_WAIT = 15.0  # that are left, from which on it is said

_IS_SHOWN: ContextVar[bool | None] = ContextVar("_IS_SHOWN", default=None)  # None: outside of a tool


_SAY: ContextVar[Callable[[str], None] | None] = ContextVar("_SAY", default=None)  # `None`: the log


@contextmanager
def saying(say: Callable[[str], None]) -> Iterator[None]:
    """Say by a function what else is logged: how long something will take."""
    token = _SAY.set(say)
    try:
        yield
    finally:
        _SAY.reset(token)


class Forecast:
    """Say once how long work will take, where no bar does, from how long its beginning took."""

    def __init__(self, what: str) -> None:
        self.what, self.began, self.is_said = what, time.monotonic(), is_shown()

    def update(self, share: float) -> None:
        """Take in which share of the work is done, from 0 to 1."""
        seconds = time.monotonic() - self.began
        if self.is_said or seconds < SECONDS_TO_MEASURE or share <= 0:
            return
        self.is_said = True
        if (left := seconds / share - seconds) >= SECONDS_TO_WAIT:
            (_SAY.get() or logger.info)(f"{self.what}: about {format_seconds(left)} left.")


class Bar:
    """A bar of steps whose number is known later; where it is not shown, a forecast."""

    def __init__(self, what: str, unit: str) -> None:
        self.bar = tqdm(desc=what, unit=unit, disable=not is_shown())
        self.forecast, self.n, self.total = Forecast(what.capitalize()), 0, 0

    def reset(self, total: int) -> None:
        """Take in how many steps there are."""
        self.total = total
        self.bar.reset(total=total)

    def update(self) -> None:
        """Count one step more."""
        self.n += 1
        self.bar.update()
        self.forecast.update(self.n / self.total)


def format_seconds(seconds: float) -> str:
    """Return a time in words, as exactly as a forecast is."""
    for unit, length in (("h", 3_600), ("min", 60)):
        if seconds >= 1.5 * length:
            return f"{seconds / length:.2g} {unit}"
    return f"{round(seconds, -1 if seconds >= 20 else 0):.0f} s"


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
    """Yield items, with a bar that says how long the others will take, or a line of the log."""
    forecast, n = Forecast(what.capitalize()), total or (len(items) if isinstance(items, Sized) else 0)
    for i, item in enumerate(tqdm(items, desc=what, unit=unit, total=total, leave=False, disable=not is_shown())):
        if n:
            forecast.update(i / n)
        yield item


def tell(logger: logging.Logger, verdict: str, *, is_alarm: bool) -> None:
    """Print a verdict where somebody is watching and nobody collects the log; else log it. A level above warnings silences both."""
    if is_shown() and not logger.hasHandlers() and logger.isEnabledFor(logging.WARNING):
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
