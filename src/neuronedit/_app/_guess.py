"""What the page proposes, from the names of files and columns. Each proposal can be changed before the run."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ._root import SHEET_ENDINGS, Root, is_fcs

SHEET_WORDS = ("sample", "metadata", "meta", "files", "sheet", "annotation", "design")
PANEL_WORDS = ("panel", "channels", "markers", "antibod")
BATCH_WORDS = ("batch", "batch_id", "plate", "run", "barcode_set", "day", "date")
CONTROL_WORDS = ("role", "control", "is_control", "sample_type", "type", "anchor", "reference")
VALUE_WORDS = ("control", "true", "ctrl", "anchor", "reference", "ref", "yes", "1", "technical", "bridge", "qc", "pbmc")
"""Names of columns and of values, the most telling first."""

MASS_COFACTOR, FLOW_COFACTOR = "5", "150"
MASS_CHANNEL = re.compile(r"^[A-Z][a-z]?\d{2,3}Di$|^\d{2,3}[A-Z][a-z]?Di$|Di$")  # such as Nd142Di
FLOW_CHANNEL = re.compile(r"^(FSC|SSC)", re.IGNORECASE)
BETWEEN_WORDS = re.compile(r"[_\-. ]+")


def list_sheets(root: Root, folder: Path) -> list[str]:
    """Return the tables in a folder and in the one that holds it, if that was opened as well."""
    folders = [folder, folder.parent] if folder != root.folder else [folder]
    paths = [path for one in folders for path in sorted(one.iterdir()) if path.suffix.lower() in SHEET_ENDINGS]
    allowed = [path for path in paths if path.resolve().is_relative_to(root.folder) and not path.name.startswith(".")]
    return [root.name(path) for path in allowed if path.is_file()]


def guess_sheets(names: Sequence[str]) -> dict[str, str]:
    """Return the sample sheet and the panel among tables, by their names; "" where none is called so."""
    panel = _find_name(names, PANEL_WORDS)
    return {"metadata": _find_name([name for name in names if name != panel], SHEET_WORDS), "panel": panel}


def _find_name(names: Sequence[str], words: Sequence[str]) -> str:
    """Return the first name with a word in it, the words one after the other."""
    return next((name for word in words for name in names if word in Path(name).name.lower()), "")


def guess_design(values: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Return the columns of batches and of controls and the value that marks controls, from columns and their values."""
    several = {name: words for name, words in values.items() if len(words) >= 2 and name not in ("file", "event")}
    batch = _find_column(several, BATCH_WORDS)
    marking = {name: value for name, words in several.items() if name != batch and (value := guess_control(words))}
    control = _find_column(marking, CONTROL_WORDS) or next(iter(marking), "")
    return {"batch_key": batch, "control_key": control, "control": marking.get(control, "")}


def guess_control(values: Sequence[str]) -> str:
    """Return the value that marks controls; "" if none is called so."""
    lower = {value.lower(): value for value in values}
    return next((lower[word] for word in VALUE_WORDS if word in lower), "")


def _find_column(names: Any, words: Sequence[str]) -> str:
    """Return the column that is called by a word, else the first one with a word in its name."""
    lower = {name.lower(): name for name in names}
    exact = next((lower[word] for word in words if word in lower), "")
    return exact or next((lower[name] for word in words for name in lower if word in name), "")


def guess_cofactor(panel: Sequence[Mapping[str, Any]]) -> str:
    """Return the usual cofactor of the cytometer that the channels are of; "" where the panel has its own, or nothing tells."""
    if not panel or "channel" not in panel[0] or any(row.get("cofactor") for row in panel):
        return ""
    channels = [str(row["channel"]) for row in panel]
    if any(MASS_CHANNEL.search(channel) for channel in channels):
        return MASS_COFACTOR
    return FLOW_COFACTOR if any(FLOW_CHANNEL.search(channel) for channel in channels) else ""


def guess_rows(folder: Path) -> list[dict[str, str]]:
    """Return a row of a sample sheet for each FCS file of a folder: its batch and its role, as far as its name tells them."""
    files = sorted(path.name for path in folder.iterdir() if is_fcs(path))
    words = [BETWEEN_WORDS.split(re.sub(r"(?i)\.fcs(\.gz)?$", "", name)) for name in files]
    batches = _guess_batches(words)
    is_control = [any(guess_control([word]) for word in row) for row in words]
    roles = (
        ["control" if one else "sample" for one in is_control]
        if 0 < sum(is_control) < len(files)
        else [""] * len(files)
    )
    return [
        {"file": name, "batch": batch, "role": role} for name, batch, role in zip(files, batches, roles, strict=True)
    ]


def _guess_batches(words: Sequence[Sequence[str]]) -> list[str]:
    """Return the words at the first place that splits the files into groups of two or more; "" where there is none."""
    for column in zip(*words, strict=False):
        counts = {word: column.count(word) for word in column}
        if len(counts) > 1 and min(counts.values()) > 1 and not any(guess_control([word]) for word in counts):
            return list(column)
    return [""] * len(words)


def find_free_name(root: Root, name: str) -> str:
    """Return a name that nothing in the folder has yet: name_2 where name is taken."""
    path = Path(name)
    names = [name, *(f"{path.with_name(path.stem)}_{number}{path.suffix}" for number in range(2, 1_000))]
    return next((one for one in names if not (root.folder / one).exists()), name)
