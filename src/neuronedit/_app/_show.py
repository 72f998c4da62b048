"""What all tabs show of a session, as JSON."""

from typing import Any

from ._guess import guess_rows, list_sheets
from ._job import JobState
from ._session import Session


def show_session(session: Session) -> dict[str, Any]:
    """Return all that the page shows."""
    session.refresh()
    values = session.tables.get("values", {})
    is_folder = session.is_fcs() and (session.root.folder / session.input).is_dir()
    choices = {
        "columns": [name for name in values if name not in ("file", "event")],
        "controls": values.get(session.fields["control_key"], []),
        "batches": values.get(session.fields["batch_key"], []),
        "layers": session.tables.get("layers", []),
        "sheets": list_sheets(session.root, session.root.folder / session.input) if is_folder else [],
    }
    return {
        "root": str(session.root.folder),
        "input": session.input,
        "holds": session.holds,
        "is_fcs": session.is_fcs(),
        "fields": session.fields,
        "errors": session.errors,
        "choices": choices,
        "looking": _show_look(session),
        "tables": {name: rows for name, rows in session.tables.items() if name != "values"},
        "checked": {name: session.checked[name] for name in ("batches", "composition") if name in session.checked},
        "problems": session.problems,
        "rows": guess_rows(session.root.folder / session.input) if is_folder and not session.fields["metadata"] else [],
        "run": _show_run(session),
    }


def _show_look(session: Session) -> str:
    """Return what is looked at at the moment; "" if nothing is."""
    if session.look is None:
        return ""
    return "Checking the controls of each batch." if session.is_check else "Reading the cells."


def _show_run(session: Session) -> dict[str, Any] | None:
    """Return how far the run is, and what came of it."""
    if session.run is None:
        return None
    state, result = session.run.read_state()
    progress = session.run.read_progress()
    shown: dict[str, Any] = {
        "state": str(state),
        "seconds": round(session.run.get_seconds()),
        "steps": [{**step, "text": session.root.shorten(step["text"])} for step in progress.steps],
        "share": 1.0 if state is JobState.DONE else round(progress.share, 3),
        "warnings": [session.say(text) for text in progress.warnings],
        "name": session.run.folder.name,
        "is_stopping": state is JobState.RUNNING and session.run.killed_at is not None,
    }
    if state is JobState.FAILED:
        shown["error"] = session.say(result["error"])
    if state is JobState.DONE:
        shown |= {"lines": result.get("lines", []), "alarms": [row["text"] for row in result["alarms"]]}
        shown |= {"verdict": result["verdict"], "batches": result["tables"].get("batches", [])}
        shown["files"] = [session.root.shorten(name) for name in result["files"]]
        shown["has_report"] = session.find_report() is not None
    return shown
