"""Tables that go with FCS files: what each file is (metadata), and what each channel measures (the panel)."""

import importlib.util
import re
from collections import Counter
from collections.abc import Sequence
from os import PathLike
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from .._data.check import format_choices

Sheet: TypeAlias = pd.DataFrame | str | PathLike[str]
"""A table, or the path of a CSV, TSV or Excel file."""

SEPARATORS = (",", ";", "\t")
EXCEL_ENDINGS = (".xlsx", ".xlsm")
MISSING = ("", "NA", "NaN", "nan")
NUMBER = re.compile(r"[-+]?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")  # 007 is the name of something
FILE_COLUMNS = ("file", "filename", "fcsfile", "fcsfilename", "fcs", "files", "name")  # simplified
PANEL_COLUMNS = {
    "channel": ("channel", "channelname", "fcscolname", "fcschannel", "pnn"),
    "marker": ("marker", "markername", "antigen", "target", "desc", "pns"),
    "class": ("class", "markerclass"),
    "cofactor": ("cofactor", "arcsinhcofactor"),
}
CLASSES = {"lineage": "lineage", "type": "lineage", "state": "state", "none": "none", "": ""}  # "type" is CATALYST's
RESERVED_COLUMNS = ("file", "event")  # of obs: `read_fcs` writes them


def simplify(name: str) -> str:
    """Return the letters and digits of a name, in lower case."""
    return "".join(character for character in name.casefold() if character.isalnum())


def get_stem(name: str) -> str:
    """Return the name of a file without folder, ``.gz`` and ``.fcs``."""
    name = PurePosixPath(name.strip().replace("\\", "/")).name
    return re.sub(r"\.fcs$", "", re.sub(r"\.gz$", "", name, flags=re.IGNORECASE), flags=re.IGNORECASE)


def read_metadata(sheet: Sheet, files: Sequence[str]) -> pd.DataFrame:
    """Return the columns that go to obs, a row for each file, in the order of the files."""
    table = _read_sheet(sheet, "metadata")
    stems = [get_stem(name) for name in files]
    column = _find_file_column(table, stems)
    given = [get_stem(str(value)) for value in table[column]]
    counts = Counter(given)
    faults = {
        "these files have no row": [name for name, stem in zip(files, stems, strict=True) if stem not in counts],
        "these rows have no file": [name for name in counts if name not in stems],
        "these files have several rows": [name for name, n in counts.items() if n > 1],
    }
    if any(faults.values()):
        listed = "; ".join(f"{what}: {format_choices(names)}" for what, names in faults.items() if names)
        raise ValueError(f"metadata: its column {column!r} must name each file once, but {listed}.")
    table = table.drop(columns=column).iloc[[given.index(stem) for stem in stems]].reset_index(drop=True)
    if taken := [name for name in table if name in RESERVED_COLUMNS]:
        raise ValueError(f"metadata has a column {taken[0]!r}, which read_fcs writes itself; rename it.")
    return table.apply(_to_obs) if len(table.columns) else table


def read_panel(sheet: Sheet) -> pd.DataFrame:
    """Return a table with ``channel``, ``marker`` and ``class`` ("" where it says nothing), and ``cofactor`` if it is there."""
    table = _read_sheet(sheet, "panel")
    names = {simplify(str(name)): name for name in reversed(list(table.columns))}
    found = {
        goal: next((names[name] for name in usual if name in names), None) for goal, usual in PANEL_COLUMNS.items()
    }
    if found["channel"] is None and found["marker"] is None:
        raise ValueError(f"panel has no column 'channel' or 'marker'; it has {format_choices(table.columns)}.")
    words = {
        goal: [""] * len(table) if found[goal] is None else [_to_word(value) for value in table[found[goal]]]
        for goal in PANEL_COLUMNS
    }
    panel = pd.DataFrame({"channel": words["channel"], "marker": words["marker"]})
    panel["class"] = [_read_class(word) for word in words["class"]]
    if found["cofactor"] is not None:
        panel["cofactor"] = [_read_cofactor(word) for word in words["cofactor"]]
    panel = panel[(panel["channel"] != "") | (panel["marker"] != "")].reset_index(drop=True)
    if panel.empty:
        raise ValueError("panel has no rows.")
    for column in ("channel", "marker"):
        counts = Counter(panel.loc[panel[column] != "", column])
        if twice := [name for name, n in counts.items() if n > 1]:
            raise ValueError(f"panel names {column} {format_choices(twice)} in several rows.")
    return panel


def _read_sheet(sheet: Sheet, argument: str) -> pd.DataFrame:
    """Return a table; one from a file is all words."""
    if isinstance(sheet, pd.DataFrame):
        if not sheet.columns.is_unique:
            raise ValueError(f"{argument} has two columns of one name.")
        has_names = not isinstance(sheet.index, pd.RangeIndex) and sheet.index.name is not None
        return sheet.reset_index() if has_names else sheet.reset_index(drop=True)
    path = Path(sheet)
    if not path.is_file():
        raise FileNotFoundError(f"{argument}: {path} is not a file.")
    if path.suffix.lower() in EXCEL_ENDINGS:
        if importlib.util.find_spec("openpyxl") is None:
            text = f"{argument}: {path} is an Excel file, which needs openpyxl: pip install 'neuronedit[excel]'"
            raise ImportError(f"{text}, or save it as CSV.")
        return pd.read_excel(path, dtype=str, keep_default_na=False)
    raw = path.read_bytes()
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    if "\0" in text or not text.strip():
        raise ValueError(f"{argument}: {path} is not a CSV, TSV or .xlsx file.")
    from io import StringIO

    first = text.strip().splitlines()[0]
    separator = max(SEPARATORS, key=first.count)
    try:
        return pd.read_csv(StringIO(text), sep=separator, dtype=str, keep_default_na=False, skipinitialspace=True)
    except pd.errors.ParserError as error:
        raise ValueError(f"{argument}: {path} cannot be read as a table: {error}.") from None


def _find_file_column(table: pd.DataFrame, stems: Sequence[str]) -> str:
    """Return the column with the names of the files: one that is called so, or the only one that holds them."""
    holding = [name for name in table if {get_stem(str(value)) for value in table[name]} & set(stems)]
    named = [name for usual in FILE_COLUMNS for name in table if simplify(str(name)) == usual]
    candidates = [name for name in named if name in holding] or (holding if len(holding) == 1 else []) or named
    if not candidates:
        hint = "call the one with the names of the files 'file'"
        raise ValueError(f"metadata has the columns {format_choices(table.columns)}: {hint}.")
    return candidates[0]


def _to_obs(column: "pd.Series[Any]") -> "pd.Series[Any]":
    """Return numbers as numbers and words as categories."""
    if column.dtype.kind in "iufb" or isinstance(column.dtype, pd.CategoricalDtype):
        return column
    words = [_to_word(value) for value in column]
    there = [word for word in words if word]
    if there and all(NUMBER.fullmatch(word) for word in there):
        return pd.to_numeric(pd.Series([word or np.nan for word in words], index=column.index))
    return pd.Series(pd.Categorical([word or None for word in words]), index=column.index)


def _to_word(value: object) -> str:
    word = "" if value is None or value is pd.NA else str(value).strip()
    return "" if word in MISSING else word


def _read_class(word: str) -> str:
    if word.lower() not in CLASSES:
        raise ValueError(f"panel has the class {word!r}; it must be one of 'lineage', 'state', 'none'.")
    return CLASSES[word.lower()]


def _read_cofactor(word: str) -> float:
    try:
        value = float(word or "nan")
    except ValueError:
        value = -1.0
    if value <= 0 or value == np.inf:
        raise ValueError(f"panel has the cofactor {word!r}; it must be a positive number.")
    return value
