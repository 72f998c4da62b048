"""What every attack shares: a try in a child process of its own, with limits of memory and time, and what came of it.

An attack is a file of this folder with a function ``tries(seed, long)`` that yields `Try`: a name, and a function of the file
with its arguments. The function is called in a child process and returns an outcome, or raises.
"""

import contextlib
import csv
import faulthandler
import io
import linecache
import logging
import os
import resource
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

CSV = Path(__file__).parent / "attack.csv"
"""What came of all tries, of which the docs are made."""

PACKAGE = str(Path(__file__).parents[1] / "src" / "neuronedit")
DOCUMENTED = (ValueError, TypeError, KeyError, OSError, ImportError)
"""Classes of the errors that the documentation names, with those derived from them."""

OUTCOMES = {
    "right": "it worked, and the result is right",
    "clear": "one clear error of a documented class, before any work",
    "raw": "an error of another library, of another class, or without words of ours",
    "silent": "a wrong result without a word",
    "lost": "input was lost or changed, or work cannot be resumed",
    "crash": "the process died, took too long, or asked for too much memory",
}
GOOD = ("right", "clear")
MEMORY, SECONDS = 6 * 2**30, 120.0
"""Bytes of address space beyond what the child has at its start, and seconds a try."""


@dataclass(frozen=True)
class Try:
    """One try: its kind, a name to show, and what is called in the child."""

    kind: str
    name: str
    function: Callable[..., str | None]
    args: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Result:
    """What came of a try."""

    kind: str
    name: str
    outcome: str
    text: str


def judge(error: BaseException) -> str:
    """Say whether an error is one of ours: its class is documented, and a line of the package that says "raise" has raised it."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    is_own = frame.filename.startswith(PACKAGE) and "raise" in linecache.getline(frame.filename, frame.lineno or 0)
    return "clear" if is_own and isinstance(error, DOCUMENTED) else "raw"


def run_tries(tries: Iterable[Try], *, memory: int = MEMORY, seconds: float = SECONDS) -> Iterator[Result]:
    """Run each try in a child process, one after the other; a child that dies is replaced."""
    child = None
    for one in tries:
        child = child or _Child(memory)
        outcome, text = child.run(one, seconds)
        if outcome == "crash":
            child.stop()
            child = None
        yield Result(one.kind, one.name, outcome, text)
    if child:
        child.stop()


Counts = dict[str, dict[str, int]]  # kind of try -> outcome -> how many tries ended so


def count(results: Iterable[Result]) -> Counts:
    """Return how many tries of each kind ended how."""
    counts: Counts = {}
    for result in results:
        counts.setdefault(result.kind, dict.fromkeys(OUTCOMES, 0))[result.outcome] += 1
    return counts


def tabulate(counts: Counts) -> list[str]:
    """Return the lines of a table, one row a kind."""
    heads = ["what", "tried", *OUTCOMES]
    rows = [[kind, str(sum(own.values())), *map(str, own.values())] for kind, own in counts.items()]
    return [f"| {' | '.join(row)} |" for row in (heads, ["---"] * len(heads), *rows)]


def write_counts(counts: Counts) -> None:
    """Write a row for each kind of try."""
    with CSV.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["what", *OUTCOMES])
        writer.writerows([kind, *own.values()] for kind, own in counts.items())


def read_counts() -> Counts:
    """Return what was written."""
    with CSV.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {row["what"]: {outcome: int(row[outcome]) for outcome in OUTCOMES} for row in rows}


class _Child:
    """A process that calls one try after another."""

    def __init__(self, memory: int) -> None:
        context = get_context("spawn")
        self.connection, other = context.Pipe()
        self.process = context.Process(target=_serve, args=(other, memory), daemon=False)
        self.process.start()
        other.close()

    def run(self, one: Try, seconds: float) -> tuple[str, str]:
        """Return the outcome of a try, and what was said."""
        self.connection.send(one)
        try:
            if self.connection.poll(seconds):
                outcome, text = self.connection.recv()
                return outcome, text
            return "crash", f"no answer in {seconds:g} s"
        except (EOFError, OSError):
            self.process.join(5)
            return "crash", f"the process ended with {self.process.exitcode}"

    def stop(self) -> None:
        """End it."""
        self.connection.close()
        if self.process.is_alive():
            self.process.kill()
        self.process.join()


def _serve(connection: Connection, memory: int) -> None:
    """Call tries as they come, until nobody sends any."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    faulthandler.disable()
    os.environ["OMP_NUM_THREADS"] = "1"
    sys.path.insert(0, str(Path(__file__).parent))
    import torch

    import neuronedit  # noqa: F401 (loaded before the limit is set)

    torch.set_num_threads(1)
    logging.getLogger("neuronedit").setLevel(logging.CRITICAL)
    pages = int(Path("/proc/self/statm").read_text().split()[0]) if Path("/proc/self/statm").exists() else 0
    if pages:
        limit = pages * resource.getpagesize() + memory
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    while True:
        try:
            one = connection.recv()
        except EOFError:
            return
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            connection.send(_call(one))


def _call(one: Try) -> tuple[str, str]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return one.function(*one.args) or "right", ""
    except (Exception, SystemExit, KeyboardInterrupt) as error:  # all of them are what is looked for
        outcome = "crash" if isinstance(error, MemoryError) else judge(error)
        return outcome, f"{type(error).__name__}: {str(error)[:300]}"
