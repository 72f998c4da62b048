"""Which channels of several FCS files are one feature, and which of them are markers to train on."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pandas as pd

from .._data.check import format_choices
from ._fcs_sheets import simplify

KEPT_CHANNEL = "neuronedit_kept"  # `write_fcs` marks events with it

ELEMENTS = "Y|Rh|Pd|Ag|In|Sn|Te|I|Xe|Cs|Ba|La|Ce|Pr|Nd|Sm|Eu|Gd|Tb|Dy|Ho|Er|Tm|Yb|Lu|Hf|Ta|W|Os|Ir|Pt|Au|Hg|Pb|Bi"
MASS = "89|1[0-9]{2}|20[0-9]"
CADMIUM = "Cd(106|108|11[0-46])|(106|108|11[0-46])Cd"
ISOTOPE = re.compile(rf"\(?(({ELEMENTS})({MASS})|({MASS})({ELEMENTS})|{CADMIUM})\)?(Di|Dd)?")

UNUSED_RULES = {
    "time": r"^(time|hdr-?t)$",
    "number or length of the event": r"^(event|cell)[ _-]?(length|number|id|count|#)$",
    "scatter": r"^(v|b|r|y|violet|blue)?[ _-]?(fsc|ssc)|^(fs|ss)([ _-]|$)",
    "shape of the ion cloud": r"^(width|center|offset|residual|amplitude)$",
    "DNA": r"(^|[^a-z])dna[ _-]?[0-9]*$|ir-?19[13]|19[13]-?ir|intercalator|iridium|hoechst",
    "barcode": r"(^|[^a-z])bc[ _-]?[0-9]+$|barcod",
    "beads": r"bead|(^|[^a-z])eq[ _-]?[0-9]*$",
    "live or dead": r"(^|[^a-z])(live|dead|viab\w*|cisplatin|zombie\w*|7-?aad|dapi|fvs\w*|fvd\w*|l[/_-]d)([^a-z]|$)|^(pi|ld)$",
    "mark of neuronedit": f"^{KEPT_CHANNEL}$",
}
"""What is not trained on: looked for in the channel and in the marker, in lower case."""


class FileChannel(NamedTuple):
    """A channel of a file, as the file calls it."""

    channel: str
    marker: str


ChannelsByFile = Mapping[str, Sequence[FileChannel]]


@dataclass
class Feature:
    """Channels of several files that are one feature: by file, its place there and how it was matched."""

    channel: str
    marker: str = ""
    marker_class: str = ""
    cofactor: float = np.nan
    is_in_panel: bool = False
    places: dict[str, int] = field(default_factory=dict)
    matched: dict[str, str] = field(default_factory=dict)

    @property
    def is_used(self) -> bool:
        """Whether it is a marker: the panel's class says so, or no rule says that it is something else."""
        if self.marker_class or not has_marker(self.channel, self.marker):
            return self.marker_class not in ("", "none")
        names = (self.channel.lower(), self.marker.lower())
        return not any(re.search(rule, name) for rule in UNUSED_RULES.values() for name in names)


def has_marker(channel: str, marker: str) -> bool:
    """Whether a channel measures something: its marker is neither empty, nor an isotope, nor its own name."""
    return bool(marker) and not ISOTOPE.fullmatch(marker) and simplify(marker) != simplify(channel)


def match_channels(files: ChannelsByFile, panel: pd.DataFrame | None) -> list[Feature]:
    """Return the features of files: those of the panel first, if there is one, then all others.

    Raises ValueError where a channel can be two features, a panel's row is in no file, or a marker is not in all files.
    """
    features = [] if panel is None else _match_panel(files, panel)
    features += _match_files(files, features)
    for feature in features:
        if not feature.is_in_panel and panel is not None:
            feature.marker_class = "none"
    _leave_out_heights(features)
    lacking = {}
    for feature in features:
        is_expected = feature.is_in_panel or 2 * len(feature.places) > len(files)
        missing = [name for name in files if name not in feature.places]
        if missing and feature.is_used and is_expected:
            lacking[f"{feature.marker or feature.channel!r} ({feature.channel})"] = missing
    if lacking:
        listed = "; ".join(f"{marker} is not in {format_choices(names)}" for marker, names in lacking.items())
        hint = "Correct the panel (class none: not used), or leave these files out"
        raise ValueError(f"markers must be in all files: {listed}. {hint}.")
    first = next(iter(files))  # gives the order
    return sorted(features, key=lambda feature: feature.places.get(first, len(files[first])))


def name_features(features: Sequence[Feature]) -> list[str]:
    """Return the marker of each feature where there is one that no other has, else its channel."""
    counts = Counter(feature.marker for feature in features)
    counts.update({feature.channel for feature in features if feature.channel != feature.marker})
    names = [one.marker if one.marker and counts[one.marker] == 1 else one.channel for one in features]
    given: Counter[str] = Counter()
    for i, name in enumerate(names):  # channels of one name, against the standard
        given[name] += 1
        if given[name] > 1:
            names[i] = f"{name}-{given[name] - 1}"
    return names


def _match_panel(files: ChannelsByFile, panel: pd.DataFrame) -> list[Feature]:
    """Return a feature for each row of a panel."""
    features, faults = [], []
    taken: dict[tuple[str, int], str] = {}
    for row in panel.to_dict("records"):
        label = row["marker"] or row["channel"]
        feature = Feature(row["channel"], row["marker"], row["class"], row.get("cofactor", np.nan), is_in_panel=True)
        for name, channels in files.items():
            by_channel = _find(row["channel"], [[one.channel] for one in channels])
            by_marker = _find(row["marker"], [_list_names(one.marker) for one in channels])
            if None not in (by_channel, by_marker) and by_channel != by_marker and row["class"] != "none":
                there, other = channels[by_channel or 0], channels[by_marker or 0]
                text = f"{label!r} is {there.channel!r} by its channel (marker {there.marker!r}) and {other.channel!r}"
                faults.append(f"{name}: {text} by its marker; name only one of the two in the panel")
            place = by_marker if by_channel is None else by_channel
            if place is None:
                continue
            if (name, place) in taken:
                faults.append(f"{name}: {channels[place].channel!r} is both {taken[name, place]!r} and {label!r}")
            taken[name, place] = label
            feature.places[name] = place
            feature.matched[name] = "marker" if by_channel is None else "panel"
        if not feature.places:
            faults.append(f"no file has {label!r}" + (f" ({row['channel']!r})" if row["channel"] else ""))
        features.append(feature)
    if faults:
        raise ValueError(f"the panel does not fit the files: {'; '.join(faults)}.")
    for feature in features:
        found = [files[name][place] for name, place in feature.places.items()]
        feature.channel = _most_frequent([one.channel for one in found])
        feature.marker = feature.marker or _most_frequent([one.marker for one in found])
    return features


def _match_files(files: ChannelsByFile, features: Sequence[Feature]) -> list[Feature]:
    """Return the features that channels outside the panel are: those of one name, then those of one marker."""
    taken = {(name, place) for feature in features for name, place in feature.places.items()}
    left = {
        name: {i: one for i, one in enumerate(channels) if (name, i) not in taken} for name, channels in files.items()
    }
    groups = _merge_by_marker(_group_by_channel(left), files)
    found = []
    for places in groups:
        members = [files[name][place] for name, place in places.items()]
        feature = Feature(_most_frequent([one.channel for one in members]), places=places)
        feature.marker = _most_frequent([one.marker for one in members])
        for name, place in places.items():
            is_named = simplify(files[name][place].channel) == simplify(feature.channel)
            feature.matched[name] = "channel" if is_named else "marker"
        found.append(feature)
    if not features:
        _check_swaps(files, found)
    return found


def _group_by_channel(left: Mapping[str, Mapping[int, FileChannel]]) -> list[dict[str, int]]:
    """Return, for each name of a channel, its place in each file; names that differ in punctuation alone are one."""
    doubled = set()
    for channels in left.values():
        counts = Counter(simplify(one.channel) for one in channels.values())
        doubled |= {name for name, n in counts.items() if n > 1}
    groups: dict[tuple[str, int], dict[str, int]] = {}
    for name, channels in left.items():
        seen_here: Counter[str] = Counter()
        for place, one in channels.items():
            key = one.channel if simplify(one.channel) in doubled | {""} else simplify(one.channel)
            groups.setdefault((key, seen_here[key]), {})[name] = place
            seen_here[key] += 1
    return list(groups.values())


def _merge_by_marker(groups: Sequence[dict[str, int]], files: ChannelsByFile) -> list[dict[str, int]]:
    """Join channels that are in some files only, where they have one marker and no file has both."""
    merged = [dict(places) for places in groups if len(places) == len(files)]
    partial = [(places, _marker_keys(places, files)) for places in groups if len(places) < len(files)]
    partial.sort(key=lambda one: (-len(one[0]), min(files[name][place].channel for name, place in one[0].items())))
    joined: list[tuple[dict[str, int], set[str]]] = []
    for places, keys in partial:
        partner = next((one for one in joined if keys & one[1] and not set(places) & set(one[0])), None)
        if partner is None:
            joined.append((dict(places), set(keys)))
        else:
            partner[0].update(places)
            partner[1].update(keys)
    return merged + [{name: places[name] for name in files if name in places} for places, _ in joined]


def _marker_keys(places: Mapping[str, int], files: ChannelsByFile) -> set[str]:
    """Return the simplified markers of a feature."""
    members = [files[name][place] for name, place in places.items()]
    return {_marker_key(one.marker) for one in members if has_marker(one.channel, one.marker)} - {""}


def _marker_key(marker: str) -> str:
    return simplify(_list_names(marker)[-1])


def _check_swaps(files: ChannelsByFile, features: Sequence[Feature]) -> None:
    """Refuse a channel whose marker another channel of the same file has in the other files."""
    faults = []
    for feature in features:
        usual = _marker_key(feature.marker)
        for name, place in feature.places.items():
            one = files[name][place]
            if not usual or not one.marker or _marker_key(one.marker) == usual:
                continue
            others = [c.channel for i, c in enumerate(files[name]) if i != place and _marker_key(c.marker) == usual]
            if others:
                text = f"{name}: {one.channel!r} has the marker {one.marker!r}, in other files {feature.marker!r}"
                faults.append(f"{text}, which is {others[0]!r} here")
    if faults:
        hint = "Give a panel= with a column channel, or one with a column marker, to say which of the two counts"
        raise ValueError(f"channels and markers of the files contradict each other: {'; '.join(faults)}. {hint}.")


def _leave_out_heights(features: Sequence[Feature]) -> None:
    """Do not train on the height and the width of a pulse whose area is there."""
    areas = {feature.channel[:-2] for feature in features if feature.channel.endswith("-A")}
    for feature in features:
        is_part = feature.channel.endswith(("-H", "-W")) and feature.channel[:-2] in areas
        if is_part and not feature.is_in_panel:
            feature.marker_class = "none"


def _find(name: str, names: Sequence[Sequence[str]]) -> int | None:
    """Return the one place that has a name: exactly, else without punctuation and case."""
    if not name:
        return None
    exact = [i for i, own in enumerate(names) if name in own]
    near = [i for i, own in enumerate(names) if simplify(name) in [simplify(one) for one in own] and simplify(name)]
    found = exact or near
    return found[0] if len(found) == 1 else None


def _list_names(marker: str) -> list[str]:
    """Return a marker, and what is left without an isotope before or behind it: CD3 of 170Er_CD3."""
    parts = re.split(r"[_ -]", marker)
    if len(parts) > 1 and ISOTOPE.fullmatch(parts[0]):
        return [marker, marker[len(parts[0]) + 1 :]]
    if len(parts) > 1 and ISOTOPE.fullmatch(parts[-1]):
        return [marker, marker[: -len(parts[-1]) - 1]]
    return [marker]


def _most_frequent(names: Sequence[str]) -> str:
    """Return the name that most files have; whatever their order, of several the first in the alphabet."""
    counts = Counter(name for name in names if name)
    return min(counts, key=lambda name: (-counts[name], name)) if counts else ""
