"""Several FCS files as one table of events: what is read of each, and what is kept about it."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData

from .. import _slots
from .._data.check import format_choices
from .._data.scales import make_arcsinh
from ._fcs_channels import Feature, FileChannel, match_channels, name_features
from ._fcs_data_set import FcsDataSet
from ._fcs_sheets import get_stem
from ._fcs_spillover import Spillover

logger = logging.getLogger(__name__)

ENDINGS = (".fcs", ".fcs.gz")


@dataclass(frozen=True)
class Study:
    """Files whose channels were matched; events are read when they are asked for."""

    data_sets: dict[str, FcsDataSet]  # by file name
    features: list[Feature]  # that all files have
    spillovers: dict[str, Spillover]  # of the files that have one, by file name
    is_compensated: bool
    metadata: pd.DataFrame  # a row a file
    options: dict[str, Any]  # how the files were read
    cofactors: "np.ndarray | None" = (
        None  # (n_features,): of arcsinh, NaN where a feature has none; None: linear values
    )

    @property
    def n_events(self) -> int:
        """Number of events of all files."""
        return sum(data_set.n_events for data_set in self.data_sets.values())

    @property
    def dtype(self) -> "np.dtype[Any]":
        """Return the type that holds the events of all files."""
        return np.result_type(*(data_set.dtype for data_set in self.data_sets.values()))

    @cached_property
    def names(self) -> list[str]:
        """Return the names of the features."""
        return name_features(self.features)

    @cached_property
    def stems(self) -> dict[str, str]:
        """Return what the names of the events of each file begin with."""
        stems = {name: get_stem(name) for name in self.data_sets}
        is_unique = len(set(stems.values())) == len(stems)
        return stems if is_unique else {name: name for name in stems}

    def read_events(self, name: str) -> np.ndarray:
        """Read the events of a file: ``(n_events, n_features)``."""
        data_set = self.data_sets[name]
        events = data_set.read_events()
        if self.is_compensated:
            channels = [channel.name for channel in data_set.channels]
            spillover = self.spillovers[name]
            spillover.remove(events, [channels.index(channel) for channel in spillover.channels])
        places = [feature.places[name] for feature in self.features]
        events = events if places == list(range(events.shape[1])) else events[:, places]
        if self.cofactors is not None:
            for j in np.flatnonzero(~np.isnan(self.cofactors)):
                events[:, j] = make_arcsinh(self.cofactors[j]).transform(events[:, j])
        return events

    def name_events(self, name: str) -> list[str]:
        """Return the names of the events of a file."""
        return [f"{self.stems[name]}-{i}" for i in range(self.data_sets[name].n_events)]

    def make_obs_columns(self) -> "dict[str, Any]":
        """Return what makes each column of obs; one at a time, as all of them may be too many for memory."""
        sizes = [data_set.n_events for data_set in self.data_sets.values()]
        files = pd.Categorical.from_codes(np.arange(len(sizes), dtype=np.int16), list(self.data_sets))
        ranges = [np.arange(size, dtype=np.int32) for size in sizes]
        makers = {"file": lambda: files.repeat(sizes), "event": lambda: np.concatenate(ranges)}
        for column in self.metadata:
            values = self.metadata[column]
            # numpy's own where it has the type, else an array of pandas
            values = values.to_numpy() if isinstance(values.dtype, np.dtype) else values.array
            makers[str(column)] = partial(values.repeat, sizes)
        return makers

    def make_var(self) -> pd.DataFrame:
        """Return a table of the features."""
        is_used = [feature.is_used for feature in self.features]
        classes = [one.marker_class if used else "none" for one, used in zip(self.features, is_used, strict=True)]
        columns: dict[str, Any] = {
            "channel": [feature.channel for feature in self.features],
            "marker": [feature.marker for feature in self.features],
            "class": classes,
            "used": np.array(is_used, dtype=bool),
        }
        if self.options["has_cofactors"]:
            columns["cofactor"] = np.array([feature.cofactor for feature in self.features], dtype=float)
        if self.cofactors is not None:
            columns[_slots.cofactor(None)] = self.cofactors
        return pd.DataFrame(columns, index=self.names)

    def make_record(self) -> dict[str, Any]:
        """Return what goes to uns: all that files hold besides their events. Tables are long, as any name may have a slash."""
        names = list(self.data_sets)
        record: dict[str, Any] = {"keywords": self._tabulate_keywords(), "channels": self._tabulate_channels()}
        files = pd.DataFrame(
            {
                "path": [str(one.path.resolve()) for one in self.data_sets.values()],
                "version": [one.version for one in self.data_sets.values()],
                "data_set": [one.number for one in self.data_sets.values()],
                "n_events": [one.n_events for one in self.data_sets.values()],
            },
            index=names,
        )
        different: list[Spillover] = []
        numbers = []
        for name in names:
            spillover = self.spillovers.get(name)
            if spillover is not None and not any(spillover.is_same(one) for one in different):
                different.append(spillover)
            numbers.append(next((i for i, one in enumerate(different, 1) if spillover and spillover.is_same(one)), 0))
        files["spillover"] = numbers
        if different:
            tables = [one.tabulate().assign(number=i) for i, one in enumerate(different, 1)]
            table = pd.concat(tables, ignore_index=True)
            record["spillover"] = _with_words(table[["number", "channel", "seen_in", "share"]])
        record |= {"files": files, "compensated": self.is_compensated}
        return record | {"offsets": self.options["offsets"], "convert": self.options["convert"]}

    def _tabulate_keywords(self) -> pd.DataFrame:
        rows = [(name, *item) for name, one in self.data_sets.items() for item in one.keywords.items()]
        return _with_words(pd.DataFrame(rows, columns=["file", "keyword", "value"], dtype=str))

    def _tabulate_channels(self) -> pd.DataFrame:
        by_place = {}
        for feature, name in zip(self.features, self.names, strict=True):
            for file, place in feature.places.items():
                by_place[file, place] = (name, feature.matched[file])
        rows = []
        for file, data_set in self.data_sets.items():
            for place, channel in enumerate(data_set.channels):
                what = by_place.get((file, place), ("", "left out"))
                own = (channel.name, channel.marker, *what, channel.stored, channel.is_converted)
                rows.append((file, place + 1, *own))
        columns = ["file", "number", "channel", "marker", "feature", "matched", "stored", "converted"]
        return _with_words(pd.DataFrame(rows, columns=columns))


def list_files(path: "str | PathLike[str] | Sequence[str | PathLike[str]]") -> list[Path]:
    """Return the files that are meant: one, those of a list, or those of a folder by name."""
    if isinstance(path, str | PathLike):
        folder = Path(path)
        if not folder.is_dir():
            return [folder]
        files = sorted(one for one in folder.iterdir() if one.name.lower().endswith(ENDINGS) and one.is_file())
        files = [one for one in files if not one.name.startswith(".")]
        if not files:
            raise FileNotFoundError(f"{folder} is a folder without .fcs files.")
        return files
    files = [Path(one) for one in path]
    if not files:
        raise ValueError("path is an empty list; give one file or more.")
    names = [one.name for one in files]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(
            f"path has several files of one name: {format_choices(twice)}; the name tells them apart in obs."
        )
    return files


def make_study(
    data_sets: dict[str, FcsDataSet],
    metadata: pd.DataFrame,
    panel: pd.DataFrame | None,
    compensate: "bool | Spillover",
    cofactor: "float | str | None",
    options: dict[str, Any],
) -> Study:
    """Match the channels of files, once it is known that they can be read together."""
    spillovers = _find_spillovers(data_sets, compensate)
    channels = {
        name: [FileChannel(channel.name, channel.marker) for channel in data_set.channels]
        for name, data_set in data_sets.items()
    }
    features = match_channels(channels, panel)
    shared = [feature for feature in features if len(feature.places) == len(data_sets)]
    partial_channels = [feature.channel for feature in features if len(feature.places) < len(data_sets)]
    if not shared:
        raise ValueError("the files have no channel in common.")
    if partial_channels:
        text = "Channels that are not in all files are left out: %s. uns['fcs']['channels'] has the files."
        logger.warning(text, format_choices(partial_channels))
    if not any(feature.is_used for feature in shared):
        logger.warning("No channel has a marker, so that none is used; panel= names those that are.")
    options = options | {"has_cofactors": panel is not None and "cofactor" in panel}
    is_compensated = compensate is not False
    cofactors = _find_cofactors(shared, cofactor, panel)
    return Study(data_sets, shared, spillovers, is_compensated, metadata, options, cofactors)


def read_study(study: Study) -> AnnData:
    """Read all events into memory."""
    sizes = [data_set.n_events for data_set in study.data_sets.values()]
    if len(sizes) == 1:
        events = study.read_events(next(iter(study.data_sets)))
    else:
        events = np.empty((study.n_events, len(study.features)), dtype=study.dtype)
        first = 0
        for name, size in zip(study.data_sets, sizes, strict=True):
            events[first : first + size] = study.read_events(name)
            first += size
    names = [event for name in study.data_sets for event in study.name_events(name)]
    obs = pd.DataFrame({name: make() for name, make in study.make_obs_columns().items()}, index=names)
    return AnnData(events, obs=obs, var=study.make_var(), uns={_slots.FCS: study.make_record()})


def _find_cofactors(
    features: Sequence[Feature], cofactor: "float | str | None", panel: pd.DataFrame | None
) -> "np.ndarray | None":
    """Return the cofactor of each feature, NaN where it is not used; `None` where values stay linear."""
    if cofactor is None:
        return None
    used = {name: one for name, one in zip(name_features(features), features, strict=True) if one.is_used}
    if not used:
        raise ValueError(f"cofactor={cofactor!r}, but no channel is used: name those that are in panel=, with a class.")
    if cofactor != "panel":
        return np.array([float(cofactor) if one.is_used else np.nan for one in features])
    if panel is None or "cofactor" not in panel:
        raise ValueError("cofactor='panel', but no panel with a column 'cofactor' is given.")
    if missing := [name for name, one in used.items() if np.isnan(one.cofactor)]:
        text = f"cofactor='panel', but the panel has none for {format_choices(missing)}"
        raise ValueError(f"{text}: complete it, or give one number for all.")
    return np.array([one.cofactor if one.is_used else np.nan for one in features], dtype=float)


def _find_spillovers(data_sets: dict[str, FcsDataSet], compensate: "bool | Spillover") -> dict[str, Spillover]:
    """Return the spillover of each file that has one; of all files where they are compensated."""
    if isinstance(compensate, Spillover):
        spillovers = dict.fromkeys(data_sets, compensate)
    else:
        spillovers = {name: Spillover(*one.spillover) for name, one in data_sets.items() if one.spillover}
    if compensate is False:
        return spillovers
    if missing := [name for name in data_sets if name not in spillovers]:
        text = f"compensate=True, but these files have no $SPILLOVER: {format_choices(missing)}"
        raise ValueError(f"{text}. Give a matrix, or compensate=False.")
    for name, spillover in spillovers.items():
        spillover.check(name, [channel.name for channel in data_sets[name].channels])
    return spillovers


def _with_words(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table with categories for the names of files, and an index of words."""
    table.index = table.index.astype(str)
    if "file" in table:
        table["file"] = pd.Categorical(table["file"], categories=list(dict.fromkeys(table["file"])))
    return table
