"""One verb of the command line at work in a process of its own, which goes on when the page is closed or its server ends."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import yaml

DONE_CODES = (0, 3, 4)  # exit codes of a verb that has written what was asked for
INTERRUPTED_CODE = 130
SECONDS_TO_STOP = 10  # that a verb has to clean up before it is killed
DAY = 86_400

LINE = re.compile(r"^\[(\d\d):(\d\d):(\d\d)\] (.*)$")
BAR = re.compile(r"^(?:\x1b\[A)*([a-z][a-z -]*): +(\d+)%\|")
SHARES = {
    "Reading": (0.0, 0.05, ""),
    "Read ": (0.05, 0.08, ""),
    "Applying": (0.08, 0.10, ""),
    "Training": (0.10, 0.50, "training"),
    "Correcting": (0.50, 0.88, "correcting"),
    "Writing": (0.88, 0.99, ""),
}
"""Where a step begins and ends on the bar of the whole run, and the bar that tells how far it is. Measured on six files of 1,000 cells."""


class JobState(StrEnum):
    """How far a job is."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    STOPPED = "stopped"


@dataclass
class JobProgress:
    """What a job has said on stderr: its steps with the seconds that each took, warnings, and the share of the whole that is done."""

    steps: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    share: float = 0.0
    last_line: str = ""


class Job:
    """A job in its folder: ``arguments.yaml``, ``progress.txt`` (stderr), ``result.json`` (stdout) and ``job.json``.

    The process holds a lock on ``progress.txt`` as long as it lives, so that another server can tell whether it still runs.
    """

    def __init__(self, folder: Path, process: subprocess.Popen[bytes] | None = None) -> None:
        self.folder, self.process = folder, process
        about = json.loads((folder / "job.json").read_text(encoding="utf-8"))
        self.began: float = about["began"]
        self.number: int = about["process"]
        self.arguments: dict[str, Any] = yaml.safe_load((folder / "arguments.yaml").read_text(encoding="utf-8"))
        self.killed_at: float | None = None

    @classmethod
    def start(cls, folder: Path, verb: str, arguments: Mapping[str, Any]) -> "Job":
        """Start a verb with arguments, as ``--config`` takes them."""
        folder.mkdir(parents=True, mode=0o700)
        config = folder / "arguments.yaml"
        config.write_text(
            yaml.safe_dump({"command": verb, **arguments}, sort_keys=False, allow_unicode=True), encoding="utf-8"
        )
        # -P: modules are never taken from the folder of the cells
        command = [sys.executable, "-P", "-m", "neuronedit._cli", verb, "--config", str(config), "--json", "--progress"]
        environment = os.environ | {"PYTHONUTF8": "1"}
        began = time.time()
        with (folder / "progress.txt").open("wb") as errors, (folder / "result.json").open("wb") as result:
            _lock(errors.fileno())
            process = subprocess.Popen(
                command,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=result,
                stderr=errors,
                env=environment,
                start_new_session=True,
            )
        (folder / "job.json").write_text(json.dumps({"process": process.pid, "began": began}), encoding="utf-8")
        return cls(folder, process)

    @classmethod
    def find_last(cls, runs: Path) -> "Job | None":
        """Return the last job of a folder of jobs; `None` if there is none."""
        folders = sorted(runs.iterdir(), reverse=True) if runs.is_dir() else []
        for folder in folders:
            with suppress(OSError, ValueError, KeyError, yaml.YAMLError):
                return cls(folder)
        return None

    def is_running(self) -> bool:
        """Return whether the process lives."""
        if self.process is not None:
            return self.process.poll() is None
        return _is_locked(self.folder / "progress.txt")

    def stop(self) -> None:
        """Interrupt the process, as a scheduler does; kill it where that does not help."""
        if not self.is_running():
            return
        (self.folder / "stopped").touch()
        is_late = self.killed_at is not None and time.monotonic() > self.killed_at
        if self.killed_at is None:
            self.killed_at = time.monotonic() + SECONDS_TO_STOP
        with suppress(ProcessLookupError):
            os.kill(self.number, getattr(signal, "SIGKILL", signal.SIGTERM) if is_late else signal.SIGTERM)

    def kill(self) -> None:
        """End the process at once."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def read_state(self) -> tuple[JobState, dict[str, Any]]:
        """Return how far the job is, and its result: what the verb printed, or its error."""
        if self.is_running():
            if self.killed_at is not None and time.monotonic() > self.killed_at:
                self.stop()
            return JobState.RUNNING, {}
        result = self._read_result()
        code = result.get("exit_code")
        if code in DONE_CODES:
            return JobState.DONE, result
        if code == INTERRUPTED_CODE or (self.folder / "stopped").exists():
            return JobState.STOPPED, result
        last = self.read_progress().last_line
        text = f"The run ended before it was done{f': {last}' if last else '.'}"
        return JobState.FAILED, result if "error" in result else {"error": text}

    def read_progress(self) -> JobProgress:
        """Return what the verb has said so far."""
        text = (self.folder / "progress.txt").read_text(encoding="utf-8", errors="replace")
        return parse_progress(text, self.began, time.time() if self.is_running() else self._ended_at())

    def get_seconds(self) -> float:
        """Return how long the job has run, or ran."""
        return max(0.0, (time.time() if self.is_running() else self._ended_at()) - self.began)

    def _read_result(self) -> dict[str, Any]:
        """Return what was printed on stdout; nothing where the process was killed before."""
        with suppress(OSError, ValueError):
            content = json.loads((self.folder / "result.json").read_text(encoding="utf-8"))
            return content if isinstance(content, dict) else {}
        return {}

    def _ended_at(self) -> float:
        """Return when something was written last."""
        return max((self.folder / name).stat().st_mtime for name in ("progress.txt", "result.json"))


def parse_progress(text: str, began: float, now: float) -> JobProgress:
    """Return what stderr says: a line a step, with its time, and between them bars."""
    progress, starts = JobProgress(), []
    bars: dict[str, Any] = {}
    midnight = time.mktime((*time.localtime(began)[:3], 0, 0, 0, 0, 0, -1))
    for line in re.split(r"[\r\n]+", text):
        step, bar = LINE.match(line), BAR.match(line)
        if step and step[4].startswith("warning: "):
            progress.warnings.append(step[4].removeprefix("warning: "))
        elif step:
            bars = {}
            starts.append(midnight + 3_600 * int(step[1]) + 60 * int(step[2]) + int(step[3]))
            progress.steps.append({"text": step[4]})
        elif bar:
            bars[bar[1]] = int(bar[2]) / 100
        elif line.strip() and not line.startswith(("\x1b", " ")) and "|" not in line:
            progress.last_line = line.strip()
    for row, start, end in zip(progress.steps, starts, [*starts, now][1:], strict=True):
        row["seconds"] = round((end - start) % DAY)
    if progress.steps:
        text = progress.steps[-1]["text"]
        begin, end, name = next((SHARES[word] for word in SHARES if text.startswith(word)), (0.0, 0.0, ""))
        progress.share = begin + (end - begin) * bars.get(name, 0.0)
    return progress


def _lock(handle: int) -> None:
    """Lock a file for the process that inherits it; where the system has no such locks, do nothing."""
    if os.name == "posix":
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _is_locked(path: Path) -> bool:
    """Return whether a process holds the lock of a file."""
    if os.name != "posix":
        return False
    import fcntl

    with path.open("rb") as file:
        try:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
