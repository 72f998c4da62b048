"""What a command says while it runs, and how it ends."""

import json
import logging
import math
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Any

import click


class ExitCode(IntEnum):
    """How a command ends."""

    DONE = 0
    BAD_INPUT = 2
    NOT_GENERAL = 3
    ALARMS = 4
    INTERRUPTED = 130


EPILOG = """\b
Exit codes:
    0  done
    2  bad input, or what was asked for cannot be done: one line on stderr says why
    3  done, but nothing generalizes: the change is not expected to hold in other cells
    4  done, with alarms: the verdict begins with them
  130  interrupted"""


@dataclass
class Outcome:
    """What a command has done, as `--json` prints it."""

    verdict: str = ""
    alarms: list[dict[str, Any]] = field(default_factory=list)
    lines: list[dict[str, str]] = field(default_factory=list)  # the verdict in three lines, each with its level
    tables: dict[str, Any] = field(default_factory=dict)
    files: list[Path] = field(default_factory=list)
    exit_code: ExitCode = ExitCode.DONE

    def to_json(self) -> str:
        """Return it as one JSON object."""
        content = {"exit_code": int(self.exit_code), "verdict": self.verdict, "alarms": self.alarms}
        content |= {"lines": self.lines} if self.lines else {}
        content |= {"tables": self.tables, "files": [str(path) for path in self.files]}
        return json.dumps(to_json_value(content), ensure_ascii=False)


@dataclass
class Screen:
    """Results go to stdout, and steps, warnings and progress bars to stderr.

    Where nobody is watching, steps are held back until `begin`: what is refused before is one line on stderr.
    """

    quiet: bool = False
    as_json: bool = False
    is_followed: bool = False  # by a program that reads the progress
    held: list[str] | None = field(default_factory=list)  # lines; `None` once the work has begun

    @property
    def has_bars(self) -> bool:
        """Whether somebody is watching."""
        return not self.quiet and (self.is_followed or sys.stderr.isatty())

    def say(self, text: str = "") -> None:
        """Print a result, unless it is printed as JSON at the end."""
        if not self.as_json:
            click.echo(text)

    def begin(self) -> None:
        """All arguments are checked: show what was held back, and hold back no more."""
        lines, self.held = self.held or [], None
        for line in lines:
            click.echo(line, err=True)

    def step(self, text: str) -> None:
        """Say what is done next, with the time."""
        if not self.quiet:
            self.note(text)

    def note(self, text: str) -> None:
        """Write one line to stderr, with the time."""
        line = f"[{time.strftime('%H:%M:%S')}] {text}"
        if self.held is None or self.has_bars:
            click.echo(line, err=True)
        else:
            self.held.append(line)

    @contextmanager
    def showing_log(self) -> Iterator[None]:
        """Show the warnings of the package, and how long something takes, as lines on stderr, but not the verdicts, which are results."""
        from .._progress import saying

        logger, handler = logging.getLogger("neuronedit"), _Lines(self)
        logger.addHandler(handler)
        try:
            with saying(self.step):
                yield
        finally:
            logger.removeHandler(handler)

    def finish(self, outcome: Outcome) -> None:
        """Name the files, or print all as JSON."""
        self.begin()
        if self.as_json:
            click.echo(outcome.to_json())
        elif outcome.files:
            click.echo(f"Wrote {join_words([str(path) for path in outcome.files])}.")
        sys.stdout.flush()  # a full disk or a closed pipe is found here, not at the exit


class _Lines(logging.Handler):
    """Warnings as lines of a screen."""

    def __init__(self, screen: Screen) -> None:
        super().__init__(logging.WARNING)
        self.screen = screen

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line; a record that is nothing but a text is a verdict."""
        if record.msg != "%s":
            with suppress(OSError):
                self.screen.note(f"warning: {' '.join(record.getMessage().split())}")


def fail(message: Any, code: ExitCode, *, as_json: bool = False) -> int:
    """Say in one line what went wrong; return the exit code."""
    line = " ".join(str(message).split())
    with suppress(OSError):  # stderr may be closed, or its disk full
        click.echo(f"neuronedit: {line}", err=True)
    if as_json:
        with suppress(OSError):
            click.echo(json.dumps({"exit_code": int(code), "error": line}, ensure_ascii=False))
    return int(code)


def to_json_value(value: Any) -> Any:
    """Turn numbers of numpy, paths and collections into what JSON holds; NaN and infinity become null."""
    if isinstance(value, Mapping):
        return {str(name): to_json_value(part) for name, part in value.items()}
    if hasattr(value, "tolist"):
        return to_json_value(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, Iterable):
        return [to_json_value(part) for part in value]
    return str(value)


def join_words(words: list[str]) -> str:
    """Join names as a sentence does."""
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)


def to_records(table: Any, index: str = "") -> list[dict[str, Any]]:
    """Return the rows of a DataFrame as dicts; its index, if it is named, comes first."""
    rows = table.to_dict("records")
    return [{index: name} | row for name, row in zip(table.index, rows, strict=True)] if index else rows
