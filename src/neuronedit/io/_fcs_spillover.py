"""Spillover matrices: read, checked, taken out of events and put into them again."""

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd

from .._data.check import format_choices

MAX_CONDITION = 1e8  # of a matrix whose inverse still means something in float32


@dataclass(frozen=True)
class Spillover:
    """How much of each channel's signal is seen in each channel: a row for the signal, a column for where it is seen."""

    channels: list[str]
    matrix: np.ndarray  # (n_channels, n_channels)

    @classmethod
    def read(cls, source: pd.DataFrame | str | PathLike[str]) -> Self:
        """Read a matrix from a table, or from a CSV file whose first row, and usually first column, names channels."""
        where = "compensate"
        if not isinstance(source, pd.DataFrame):
            path, where = Path(source), f"compensate: {source}"
            if not path.is_file():
                raise FileNotFoundError(f"{where} is not a file.")
            try:
                source = pd.read_csv(path, encoding="utf-8-sig")
            except (UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
                raise ValueError(f"{where} cannot be read as a table: {error}.") from None
            is_named = source.shape[1] == len(source) + 1
            source = source.set_index(source.columns[0]) if is_named else source.set_axis(source.columns[: len(source)])
        columns, rows = list(map(str, source.columns)), list(map(str, source.index))
        if sorted(columns) != sorted(rows) or len(set(columns)) < len(columns) or not columns:
            text = f"rows {format_choices(rows)}, columns {format_choices(columns)}"
            raise ValueError(f"{where} must be a matrix with the same channels as rows and as columns; it has {text}.")
        try:
            matrix = source.set_axis(rows).loc[columns].to_numpy(dtype=float)
        except (TypeError, ValueError):
            raise ValueError(f"{where} must hold numbers only.") from None
        return cls(columns, matrix)

    def check(self, where: str, there: Sequence[str]) -> None:
        """Refuse a matrix that has no inverse, or channels that are not there."""
        if missing := [name for name in self.channels if name not in there]:
            raise ValueError(f"{where} has no channel {format_choices(missing)}, which the spillover matrix names.")
        is_regular = np.isfinite(self.matrix).all() and np.linalg.cond(self.matrix) < MAX_CONDITION
        if not is_regular:
            names = format_choices(self.channels)
            raise ValueError(f"the spillover matrix of {where} is singular: {names} cannot be told apart by it.")

    def remove(self, events: np.ndarray, places: Sequence[int]) -> None:
        """Compensate events in place; ``places`` are the columns of the channels."""
        events[:, places] = np.linalg.solve(self.matrix.T, events[:, places].T.astype(np.float64)).T

    def restore(self, events: np.ndarray, places: Sequence[int]) -> None:
        """Undo `remove`."""
        events[:, places] = events[:, places].astype(np.float64) @ self.matrix

    def is_same(self, other: "Spillover") -> bool:
        """Whether another matrix is this one."""
        return self.channels == other.channels and np.array_equal(self.matrix, other.matrix)

    def tabulate(self) -> pd.DataFrame:
        """Return a long table, as files keep no matrix with names."""
        n = len(self.channels)
        names = {"channel": np.repeat(self.channels, n), "seen_in": np.tile(self.channels, n)}
        return pd.DataFrame(
            {name: list(map(str, values)) for name, values in names.items()} | {"share": self.matrix.ravel()}
        )

    @classmethod
    def from_table(cls, table: pd.DataFrame) -> Self:
        """Return what `tabulate` was given."""
        channels = [str(name) for name in dict.fromkeys(table["channel"])]
        return cls(channels, table["share"].to_numpy(dtype=float).reshape(len(channels), -1))
