"""What the page shows, and what its buttons do. All tabs see the same, and nothing of it is lost with a tab."""

import csv
import io
import os
import secrets
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from ._fields import FIELD_OF_PROBLEM, FIELDS, FieldKind, check_value, find_field, replace_options
from ._guess import find_free_name, guess_cofactor, guess_control, guess_design, guess_sheets, list_sheets
from ._job import Job, JobState
from ._root import FieldError, Root, find_kind, is_fcs, list_folder

RUNS = ".neuronedit-app/runs"  # in the folder that was opened: arguments, progress and results of runs
COLUMN_FIELDS = ("batch_key", "control_key", "control", "reference", "strata")
FILE_ROLES = ("control", "sample", "")


class Session:
    """The cells that were chosen, the fields, what `inspect` says, and the run."""

    def __init__(self, root: Root) -> None:
        self.root = root
        self.input = ""
        self.holds = ""
        self.fields: dict[str, str] = dict.fromkeys(FIELDS, "")
        self.errors: dict[str, str] = {}
        self.by_hand: set[str] = set()  # fields that were given, not proposed
        self.look: Job | None = None
        self.is_check = False  # whether the look is at a design, not at the cells alone
        self.tables: dict[str, Any] = {}  # what `inspect` said of the cells
        self.checked: dict[str, Any] = {}  # what it said of the design
        self.problems: list[dict[str, str]] = []
        self.run = Job.find_last(root.find(RUNS, "run"))
        self.shown_error = ""  # the folder of the run whose error is beside a field already
        if self.run is not None:
            self._take_up_run()

    # choosing

    def list_folder(self, name: str) -> dict[str, object]:
        """Return what may be chosen in a folder."""
        return list_folder(self.root, name)

    def choose(self, name: str) -> None:
        """Choose cells, propose the tables that belong to them, and look."""
        path = self.root.find_existing(name, "input")
        holds = find_kind(path)
        if not holds:
            what = "a folder without FCS files" if path.is_dir() else "no .h5ad file"
            raise FieldError(
                "input", f"{name} is {what}; choose a folder of FCS files, an .h5ad file or a .zarr store."
            )
        self.root.check_links(path, "input")
        self.input, self.holds = self.root.name(path), holds
        self.fields, self.by_hand = dict.fromkeys(FIELDS, ""), set()
        if self.is_fcs():
            self.fields |= guess_sheets(list_sheets(self.root, path))
        self._propose_goals()
        self.start_look(is_check=False)

    def is_fcs(self) -> bool:
        """Return whether FCS files were chosen."""
        return self.holds.endswith(("FCS file", "FCS files"))

    def set_field(self, name: str, value: Any) -> None:
        """Set a field; another table means another look."""
        text = check_value(name, value)
        if text and FIELDS[name].kind is FieldKind.SHEET:
            self.root.find_existing(text, name)
        if text and FIELDS[name].kind is FieldKind.GOAL:
            self.root.find(text, name)
        self.fields[name] = text
        self.errors.pop(name, None)
        self.by_hand.add(name)
        if name == "control_key":
            self.fields["control"] = guess_control(self.tables.get("values", {}).get(text, []))
        if name == "batch_key":
            self.fields["reference"] = ""
        if name in (*COLUMN_FIELDS, "cofactor", "layer"):
            self.checked = {}
        if FIELDS[name].of_cells and self.input:
            self.start_look(is_check=False)

    def write_sheet(self, rows: Any) -> None:
        """Write a sample sheet of what was named on the page beside the FCS files, and take it."""
        folder = self.root.find_existing(self.input or ".", "metadata")
        files = {path.name for path in folder.iterdir() if is_fcs(path)} if folder.is_dir() else set()
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise FieldError("metadata", "A sample sheet is a list of rows.")
        lines = [[str(row.get(name, "")).strip() for name in ("file", "batch", "role")] for row in rows]
        if {line[0] for line in lines} != files or len(lines) != len(files):
            raise FieldError("metadata", "The sample sheet must name each FCS file of the folder once.")
        if any(not batch or role not in FILE_ROLES[:2] or not batch.isprintable() for _, batch, role in lines):
            raise FieldError("metadata", "Name the batch and the role of each file.")
        name = find_free_name(self.root, self.root.name(folder / "samples.csv"))
        try:
            write_new(self.root.find(name, "metadata"), [["file", "batch", "role"], *lines])
        except OSError as error:
            raise FieldError("metadata", f"{name} cannot be written: {error.strerror}.") from None
        self.set_field("metadata", name)

    def _propose_goals(self) -> None:
        """Propose names that nothing has yet for what a run writes; those that were given stay."""
        path = Path(self.input if self.input != "." else "cells")
        stem = path.name if self.is_fcs() else path.stem
        is_h5ad = Path(self.fields["output"]).suffix == ".h5ad" or not self.is_fcs()
        names = {"output": f"{stem}_corrected{'.h5ad' if is_h5ad else ''}", "report": f"{stem}_report.html"}
        goals = {field: path.with_name(name).as_posix() for field, name in names.items()}
        for field, goal in goals.items():
            is_taken = (self.root.folder / self.fields[field]).exists()
            if field not in self.by_hand and (not self.fields[field] or is_taken):
                self.fields[field] = find_free_name(self.root, goal)

    # looking

    def start_look(self, *, is_check: bool) -> None:
        """Run `inspect` on the cells, or on the design as it is given."""
        if not self.input:
            raise FieldError("input", "Choose cells first.")
        self._drop_look()
        self.errors, self.is_check, self.checked, self.problems = {}, is_check, {}, []
        if not is_check:
            self.tables = {}
        arguments = self._read_arguments(is_check=is_check, is_look=True)
        self.look = Job.start(Path(tempfile.mkdtemp(prefix="neuronedit-")) / "look", "inspect", arguments)

    def close(self) -> None:
        """End what is of no use without the page; a run goes on."""
        self._drop_look()

    def _drop_look(self) -> None:
        """End a look that is not needed any more; it writes nothing."""
        if self.look is not None:
            self.look.kill()
            shutil.rmtree(self.look.folder.parent, ignore_errors=True)
        self.look = None

    def _read_arguments(self, *, is_check: bool, is_look: bool) -> dict[str, Any]:
        """Return the fields as arguments of a verb, with paths that were checked again."""
        cells = self.root.find_existing(self.input, "input")
        self.root.check_links(cells, "input")
        arguments: dict[str, Any] = {"input": [str(cells)]}
        for name, field in FIELDS.items():
            value = self.fields[name]
            is_left_out = is_look and (
                not field.of_check or not (is_check or field.of_cells or name in ("layer", "cofactor"))
            )
            if not value or is_left_out or (field.of_cells and not self.is_fcs()):
                continue
            if field.kind is FieldKind.SHEET:
                value = str(self.root.find_existing(value, name))
            elif field.kind is FieldKind.GOAL:
                value = str(self.root.find(value, name))
            arguments[field.option] = [value] if name == "control" else value
        return arguments

    def refresh(self) -> None:
        """Take in what the jobs have done since."""
        if self.look is not None and not self.look.is_running():
            state, result = self.look.read_state()
            self._drop_look()
            self._take_look(state, result)
        if self.run is not None and self.shown_error != self.run.folder.name:
            state, result = self.run.read_state()
            if state is JobState.FAILED:
                self.errors[find_field(result["error"])] = self.say(result["error"])
            if state is not JobState.RUNNING:
                self.shown_error = self.run.folder.name
                self._propose_goals()

    def _take_look(self, state: JobState, result: dict[str, Any]) -> None:
        """Keep what `inspect` said; after a look at the cells, propose a design and check it."""
        if state is not JobState.DONE:
            if state is JobState.FAILED:
                self.errors[find_field(result["error"])] = self.say(result["error"])
            return
        tables = result["tables"]
        rows = result["alarms"]
        self.problems = [
            {"field": FIELD_OF_PROBLEM.get(row["alarm"], "input"), "text": self.say(row["text"])} for row in rows
        ]
        if self.is_check:
            self.checked = tables
            return
        self.tables = tables
        self._propose_design()
        if all(self.fields[name] for name in ("batch_key", "control_key", "control")):
            self.start_look(is_check=True)

    def _propose_design(self) -> None:
        """Propose columns and a cofactor; what was given stays, as long as the cells have it."""
        values = self.tables["values"]
        proposed = guess_design(values) | {
            "cofactor": guess_cofactor(self.tables.get("panel", [])) if self.is_fcs() else ""
        }
        for name in ("batch_key", "control_key", "strata"):
            if self.fields[name] and self.fields[name] not in values:
                self.fields[name] = ""
                self.by_hand.discard(name)
        given = {"control_key"} if self.fields["control_key"] else set()
        for name, value in proposed.items():
            if not self.fields[name] and name not in self.by_hand and not (name == "control" and given):
                self.fields[name] = value
        if not self.fields["control"]:
            self.fields["control"] = guess_control(values.get(self.fields["control_key"], []))

    # running

    def start_run(self) -> None:
        """Start the correction; refuse, beside their fields, whatever can be refused at once."""
        if self.run is not None and self.run.is_running():
            raise FieldError("run", "A run is at work; wait for it, or stop it first.")
        if not self.input:
            raise FieldError("input", "Choose cells first.")
        for name, field in FIELDS.items():
            if field.is_required and not self.fields[name]:
                raise FieldError(name, f"Name {field.label}.")
            if field.kind is FieldKind.GOAL and self.fields[name]:
                self._check_goal(name)
        self._drop_look()
        arguments = self._read_arguments(is_check=True, is_look=False)
        if self.is_fcs() and not self.fields["output"].endswith((".h5ad", ".zarr")):
            arguments["output"] += "/"
        runs = self.root.find(RUNS, "run")  # past a link, which could lead out
        try:
            self.run = Job.start(
                runs / f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}", "correct", arguments
            )
        except OSError as error:
            raise FieldError("run", f"{RUNS}, where runs are kept, cannot be written: {error.strerror}.") from None
        self.errors = {}

    def _check_goal(self, name: str) -> None:
        """Refuse a name that is taken, or that is in a folder that is not there."""
        path = self.root.find(self.fields[name], name)
        if path.exists():
            raise FieldError(name, f"{self.fields[name]} exists; give another name.")
        if not path.parent.is_dir():
            raise FieldError(name, f"The folder {self.root.name(path.parent)} does not exist.")

    def stop_run(self) -> None:
        """Stop the run; nothing is written of it."""
        if self.run is not None:
            self.run.stop()

    def find_report(self) -> Path | None:
        """Return the report of the last run, if it was written and lies in the folder that was opened."""
        if self.run is None or self.run.read_state()[0] is not JobState.DONE or "report" not in self.run.arguments:
            return None
        path = Path(os.path.realpath(self.run.arguments["report"]))
        return path if path.is_relative_to(self.root.folder) and path.is_file() else None

    def _take_up_run(self) -> None:
        """Show the fields of a run that an earlier server has started."""
        assert self.run is not None
        arguments = self.run.arguments
        with suppress(FieldError, ValueError, KeyError, IndexError, OSError):
            path = Path(arguments["input"][0])
            self.input, self.holds = self.root.name(path), find_kind(path)
            for name, field in FIELDS.items():
                value = arguments.get(field.option, "")
                value = value[0] if isinstance(value, list) else str(value)
                is_path = field.kind in (FieldKind.SHEET, FieldKind.GOAL)
                self.fields[name] = self.root.name(Path(value)) if value and is_path else value
            self.by_hand = {
                name for name, value in self.fields.items() if value and FIELDS[name].kind is not FieldKind.GOAL
            }
            self.start_look(is_check=False)

    def say(self, text: str) -> str:
        """Return a sentence of the command line in the words of the page."""
        return replace_options(self.root.shorten(" ".join(text.split())))


def write_new(path: Path, rows: list[list[str]]) -> None:
    """Write a CSV file that is not there yet, whole or not at all."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    with path.open("x", newline="", encoding="utf-8") as file:
        try:
            file.write(text.getvalue())
            file.flush()
        except OSError:
            path.unlink(missing_ok=True)
            raise
