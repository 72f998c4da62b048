"""How samples, batches and controls are called in a report: as they are, without folders, or by numbers."""

import itertools
import ntpath
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData

from .._data.check import to_list

PLAIN_WORDS = {"control", "sample", "source", "target", "query", "truth", "validation", "reference", "True", "False"}
"""Values that say what cells are for: they name nobody, and stay."""

NOUNS = {"batch_key": "batch", "sample_key": "sample", "strata": "population", "paired_by": "donor"}
"""What the values of a column are called by their numbers, by the argument that names the column; others by the column's name."""

SELECTORS = ("source", "target", "query", "truth")
COLUMN_OF = {"control": "control_key", "reference": "batch_key", "effects": "groupby"}  # whose values an argument has
LOCAL_PATH = re.compile(r"^(?:/|~|\\\\|[A-Za-z]:[\\/])")  # how a path that starts at the root of a machine begins
FOLDERS = re.compile(r"(?<![\w.])(?:~|[A-Za-z]:)?[\\/][^\s'\":,;]*[\\/](?=[^\s'\":,;])")  # of a path in a sentence
BEFORE_NUMBER = r"(?:(?<=of )|(?<=to )|(?<=as )|(?<=on )|(?<=and )|(?<=\+)|(?<=^)|(?<=\. ))"
AFTER_NUMBER = r"(?!\.\d|\w|%| (?:%|of|cells|batches|strata|samples|features?|matched|query)(?!\w))"


@dataclass(frozen=True)
class Names:
    """New names of the values of columns of obs: column -> old -> new; only those that change."""

    columns: dict[str, dict[str, str]]
    everywhere: dict[str, str] = field(init=False)  # those of all columns; of one value in two, the first column's

    def __post_init__(self) -> None:
        merged: dict[str, str] = {}
        for renamed in self.columns.values():
            merged = renamed | merged
        object.__setattr__(self, "everywhere", merged)

    def rename_labels(self, column: str, labels: "pd.Series[Any]") -> "pd.Series[Any]":
        """Return the labels of cells, as words."""
        words, renamed = labels.astype(str), self.columns.get(column, {})
        if not self.everywhere:
            return words
        return words.map({word: renamed.get(word) or self.rename_text(word) for word in words.unique()})

    def rename_value(self, value: Any, column: str | None = None) -> Any:
        """Return a value of a column, of an argument or of a table; lists and dicts with all that they hold."""
        if isinstance(value, Mapping):
            return {name: self.rename_value(part, str(name)) for name, part in value.items()}
        if isinstance(value, list | tuple):
            return [self.rename_value(part, column) for part in value]
        renamed = self.columns.get(column, self.everywhere) if column is not None else self.everywhere
        return renamed.get(str(value), value) if isinstance(value, str | int) else value

    def rename_words(self, value: Any) -> Any:
        """Return arguments of a command line, words such as ``value`` and ``column=value``; lists with all that they hold."""
        if isinstance(value, list | tuple):
            return [self.rename_words(part) for part in value]
        if not isinstance(value, str):
            return value
        return "=".join(self.everywhere.get(part, part) for part in value.split("="))

    def rename_text(self, text: str) -> str:
        """Return a sentence with all names in it replaced, the longest first, and without folders."""
        text = hide_folders(text)
        if not self.everywhere:
            return text
        names = sorted(self.everywhere, key=lambda name: (-len(name), name))
        patterns = [_make_pattern(name) for name in names]
        return re.sub("|".join(patterns), lambda match: self.everywhere[match.group(0)], text)

    def rename_table(self, table: pd.DataFrame, columns: Mapping[str, str | None]) -> pd.DataFrame:
        """Return a table with all words in it renamed; ``columns`` says of which column of obs those of a column are."""
        renamed = table.copy()
        renamed.index = pd.Index([self._rename_word(name) for name in table.index], name=table.index.name)
        for name in table:
            if pd.api.types.is_numeric_dtype(table[name]) or name == "feature":
                continue
            words = self.columns.get(columns.get(name) or "", {})
            renamed[name] = [words.get(str(word), self._rename_word(word)) for word in table[name]]
        return renamed

    def _rename_word(self, word: Any) -> Any:
        return self.everywhere.get(str(word)) or (self.rename_text(word) if isinstance(word, str) else word)


def _make_pattern(name: str) -> str:
    """Return what finds a name in a sentence; a short number there is a name only where names stand."""
    if name.isdigit() and len(name) < 4:
        return BEFORE_NUMBER + re.escape(name) + AFTER_NUMBER
    return rf"(?<!\w){re.escape(name)}(?!\w)"


def hide_folders(text: str) -> str:
    """Return a sentence with only the last part of every path in it that starts at the root of a machine."""
    return FOLDERS.sub("", text)


def find_design_columns(config: Mapping[str, Any]) -> dict[str, str]:
    """Return the columns of obs that a record names, and what their values are called: column -> noun."""
    columns: dict[str, str] = {}
    if isinstance(config.get("fitted"), Mapping):
        columns |= find_design_columns(config["fitted"])
    for argument in ("batch_key", "sample_key", "control_key", "groupby", "strata"):
        if isinstance(config.get(argument), str):
            columns.setdefault(config[argument], NOUNS.get(argument, config[argument]))
    bridges = (config.get("bridge") or {}).values()
    for selector in (*(config.get(role) for role in SELECTORS), config.get("held_out_controls"), *bridges):
        for column in selector if isinstance(selector, Mapping) else ():
            columns.setdefault(str(column), str(column))
    paired_by = (config.get("edit_params") or {}).get("paired_by")
    if isinstance(paired_by, str):
        columns.setdefault(paired_by, NOUNS["paired_by"])
    return columns


def make_names(cells: Iterable[AnnData], nouns: Mapping[str, str], config: Mapping[str, Any], rng: int | None) -> Names:
    """Return how the values of these columns are called: as they are, of paths the last part; by numbers if ``rng`` draws these."""
    cells = list(cells)
    renamed: dict[str, dict[str, str]] = {}
    for column, noun in nouns.items():
        values = {str(value) for one in cells if column in one.obs for value in one.obs[column].dropna().unique()}
        values |= {str(value) for value in _list_named(config, column)}
        values -= {
            f"{a}+{b}" for a, b in itertools.permutations(config.get("effects") or [], 2)
        }  # named by their parts
        new = {value: ntpath.basename(value.rstrip("/\\")) for value in sorted(values) if LOCAL_PATH.match(value)}
        if rng is not None:
            hidden = sorted(values - PLAIN_WORDS)
            numbers = np.random.default_rng(rng).permutation(len(hidden)) + 1  # "sample 7" need not be "Patient 7"
            new = {value: f"{noun} {number}" for value, number in zip(hidden, numbers, strict=True)}
        renamed[column] = new
    return Names(renamed)


def split_numbers(name: str) -> list[tuple[int, int, str]]:
    """Sort names as people do: those with a 2 before those with a 10."""
    parts = re.split(r"(\d+)", name)
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts if part]


def _list_named(config: Mapping[str, Any], column: str) -> list[Any]:
    """Return the values of a column that a record names, also those that none of the cells here has."""
    values: list[Any] = []
    if isinstance(config.get("fitted"), Mapping):
        values += _list_named(config["fitted"], column)
    for argument, key in COLUMN_OF.items():
        if config.get(key) == column and config.get(argument) is not None:
            values += to_list(config[argument])
    for role in (*SELECTORS, "control"):
        selector = config.get(role)
        if isinstance(selector, Mapping):
            values += to_list(selector.get(column, []))
        elif config.get("groupby") == column and selector is not None and "batch_key" not in config:
            values += to_list(selector)
    return values


def rename_config(config: Mapping[str, Any], names: Names) -> dict[str, Any]:
    """Return what a tool was asked for under new names; of a model only the name of its file."""
    renamed = dict(config)
    if isinstance(config.get("fitted"), Mapping):
        renamed["fitted"] = rename_config(config["fitted"], names)
    for argument in (*SELECTORS, *COLUMN_OF, "bridge", "held_out_controls"):
        if argument in config:
            column = config.get(COLUMN_OF.get(argument, "groupby"))
            renamed[argument] = names.rename_value(config[argument], column if isinstance(column, str) else None)
    if config.get("bridge"):
        renamed["bridge"] = {names.rename_value(batch): part for batch, part in renamed["bridge"].items()}
    if "model" in config:
        renamed["model"] = ntpath.basename(str(config["model"]))
    return renamed
