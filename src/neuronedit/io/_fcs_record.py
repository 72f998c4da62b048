"""What `read_fcs` keeps about the files in uns, read again to write them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
from anndata import AnnData

from .. import _slots
from .._data.check import format_choices
from ._fcs_data_set import FcsDataSet, read_data_set
from ._fcs_spillover import Spillover

TABLES = {
    "files": ("path", "data_set", "n_events", "spillover"),
    "keywords": ("file", "keyword", "value"),
    "channels": ("file", "number", "channel", "feature", "stored", "converted"),
}


@dataclass(frozen=True)
class FcsFile:
    """One file that was read."""

    name: str
    path: Path  # where it was
    data_set: int
    n_events: int
    keywords: dict[str, str]
    channels: pd.DataFrame  # a row a channel, in order
    spillover: Spillover | None  # that was taken out of its events
    options: dict[str, Any]  # how it was read

    def find_places(self) -> list[int]:
        """Return the columns of the channels between which there was spillover."""
        names = list(self.channels["channel"])
        return [] if self.spillover is None else [names.index(name) for name in self.spillover.channels]

    def read_again(self) -> np.ndarray:
        """Read its events again, not compensated: ``(n_events, n_channels)``."""
        return self.find_again().read_events()

    def find_again(self) -> FcsDataSet:
        """Find the file again.

        Raises ValueError where it is not there any more, or is another file now.
        """
        if not self.path.is_file():
            raise ValueError(f"{self.name}: {self.path} is not there any more")
        data_set = read_data_set(self.path, data_set=self.data_set, **self.options)
        names = [channel.name for channel in data_set.channels]
        if data_set.n_events != self.n_events or names != list(self.channels["channel"]):
            text = f"{self.n_events:,} events of {len(self.channels)} channels were read from it"
            raise ValueError(f"{self.path} was changed: {text}, now it has {data_set.n_events:,} of {len(names)}")
        return data_set


def read_cells_of_files(adata: AnnData) -> pd.DataFrame:
    """Return which file each cell is from, and which of its events it is; of an obs in a file, no other column is read."""
    columns = ["file", "event"]
    if missing := [column for column in columns if column not in adata.obs]:
        raise KeyError(f"{missing[0]!r} is not in adata.obs; it has {format_choices(adata.obs.columns)}.")
    cells = adata.obs[columns]
    return cells if isinstance(cells, pd.DataFrame) else cells.to_memory()


@dataclass(frozen=True)
class FcsRecord:
    """All files that were read, by name."""

    files: dict[str, FcsFile]

    @classmethod
    def read(cls, adata: AnnData) -> Self:
        """Read it from uns, once it is known to be there."""
        stored = adata.uns.get(_slots.FCS)
        for name, columns in TABLES.items():
            table = stored.get(name) if isinstance(stored, Mapping) else None
            if not isinstance(table, pd.DataFrame) or not set(columns) <= set(table.columns):
                hint = "anndata.concat drops it: read all files with one call of ne.io.read_fcs"
                raise KeyError(f"uns['fcs'] does not say which files the cells are from ({name} is missing); {hint}.")
        options = {"offsets": str(stored["offsets"]), "convert": bool(stored["convert"])}
        is_compensated = bool(stored["compensated"])
        keywords = {str(name): table for name, table in stored["keywords"].groupby("file", observed=True)}
        channels = {str(name): table for name, table in stored["channels"].groupby("file", observed=True)}
        files = {}
        for name, row in stored["files"].iterrows():
            spillover = None
            if is_compensated:
                table = stored["spillover"]
                spillover = Spillover.from_table(table[table["number"] == row["spillover"]])
            files[str(name)] = FcsFile(
                name=str(name),
                path=Path(str(row["path"])),
                data_set=int(row["data_set"]),
                n_events=int(row["n_events"]),
                keywords=dict(zip(map(str, keywords[name]["keyword"]), map(str, keywords[name]["value"]), strict=True)),
                channels=channels[name].sort_values("number").reset_index(drop=True),
                spillover=spillover,
                options=options,
            )
        return cls(files)

    def find_rows(self, cells: pd.DataFrame) -> dict[str, np.ndarray]:
        """Return the rows of each file's cells, in the order of the events."""
        labels, events = cells["file"], cells["event"].to_numpy()
        if unknown := sorted(set(map(str, labels.unique())) - set(self.files)):
            raise ValueError(f"obs['file'] has {format_choices(unknown)}, which uns['fcs'] does not know.")
        codes = pd.Categorical(labels, categories=list(self.files)).codes
        if (codes < 0).any():
            raise ValueError(f"obs['file'] is missing (NaN) for {int((codes < 0).sum())} cells.")
        order = np.lexsort((events, codes))
        ends = np.cumsum(np.bincount(codes, minlength=len(self.files)))[:-1]
        rows = dict(zip(self.files, np.split(order, ends), strict=True))
        for name, file in self.files.items():
            own = events[rows[name]]
            is_number = own.dtype.kind in "iu" and (len(own) == 0 or (own[0] >= 0 and own[-1] < file.n_events))
            if not is_number:
                raise ValueError(f"obs['event'] of {name} must be whole numbers from 0 to {file.n_events - 1}.")
            if (own[1:] == own[:-1]).any():
                event = int(own[1:][own[1:] == own[:-1]][0])
                raise ValueError(f"{name}: event {event} is there several times; a file has each once.")
        return rows
