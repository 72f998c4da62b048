"""What the user must know before anything else: each alarm is a sentence of the verdict and a row in ``uns``."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import pandas as pd

from .._cluster_names import name_cluster
from .._data.check import format_choices
from .._data.design import Design
from ..ensemble import Matching

MIN_DIFFERS = (
    0.75  # from which compositions are said to differ; of replicates of one person in two batches it reaches 0.65
)
MAX_POPULATIONS_NAMED = 3
MIN_SHARE_DIFFERENCE = 0.03  # of all cells, below which a population is not named
COLUMNS = ("alarm", "batch", "text")


class AlarmKind(StrEnum):
    """What may be wrong."""

    SCALE = "scale"
    CONTROL = "control"
    COMPOSITION = "composition"
    OUTSIDE = "outside"
    NOT_GENERAL = "does not generalize"
    ORDERS = "orders disagree"
    LEFT_ALONE = "left alone"
    NO_ROLE = "no role"


@dataclass(frozen=True)
class Alarm:
    """Something that may be wrong, in words, and the batch that it is about, if it is one."""

    kind: AlarmKind
    text: str
    batch: str = ""


def tabulate_alarms(alarms: Sequence[Alarm]) -> pd.DataFrame:
    """Return one row an alarm, as AnnData can write it."""
    rows = [(str(alarm.kind), alarm.batch, alarm.text) for alarm in alarms]
    index = pd.Index([str(i) for i in range(len(rows))], dtype=str)
    return pd.DataFrame(rows, columns=list(COLUMNS), index=index).astype(str)


def sort_alarms(alarms: Sequence[Alarm]) -> list[Alarm]:
    """Return alarms in the order of their kinds, the gravest first."""
    return sorted(alarms, key=lambda alarm: list(AlarmKind).index(alarm.kind))


def say_alarms(alarms: Sequence[Alarm]) -> str:
    """Return the sentences of all alarms, each once."""
    return " ".join(dict.fromkeys(alarm.text for alarm in alarms))


def check_scale(ruling: Sequence[str]) -> list[Alarm]:
    """Say which features dominate the scale of all."""
    if not ruling:
        return []
    varies, dominates = ("varies", "dominates") if len(ruling) == 1 else ("vary", "dominate")
    text = (
        f"{format_choices(ruling)} {varies} more than 20 times as much as most features, and {dominates} all distances."
    )
    how = "Set var['used'] to False for what is no marker, and transform markers alike."
    return [Alarm(AlarmKind.SCALE, f"{text} {how}")]


def check_roles(n_obs: int, design: Design) -> list[Alarm]:
    """Say how many cells are neither source nor target nor query."""
    has_role = np.zeros(n_obs, dtype=bool)
    for rows in (design.source, design.target, design.query):
        has_role[rows] = True
    n = int(n_obs - has_role.sum())
    if not n:
        return []
    text = f"{n:,} of {n_obs:,} cells are neither source nor target nor query. They stay as they are."
    return [Alarm(AlarmKind.NO_ROLE, text)]


def check_composition(
    matching: Matching | None, source: np.ndarray, target: np.ndarray, features: Sequence[str], names: Sequence[str], *,
    allowed_for: bool, batch: str = "",
) -> list[Alarm]:  # fmt: skip
    """Say whether source and target hold different cells, and which; ``names`` are how the two are called."""
    if matching is None or matching.differs < MIN_DIFFERS:
        return []
    populations = _describe_populations(matching, source, features)
    shares = [np.bincount(x[:, 0], minlength=len(populations)) / len(x) for x in _labels(matching)]
    difference = shares[1] - shares[0]
    largest = [j for j in np.argsort(-np.abs(difference), kind="stable") if abs(difference[j]) >= MIN_SHARE_DIFFERENCE]
    named = [
        f"{populations[j]} are {shares[0][j]:.0%} of {names[0]} and {shares[1][j]:.0%} of {names[1]}"
        for j in largest[:MAX_POPULATIONS_NAMED]
    ]
    text = (
        f"{names[0][0].upper()}{names[0][1:]} and {names[1]} hold different cells. Their compositions differ by"
        f" {matching.total_variation:.0%} ({matching.chance_variation:.0%} by chance). This accounts for {min(matching.explained, 1):.0%}"
        f" of their distance{': ' if named else ''}{'; '.join(named)}."
    )
    how = (
        "Edits were fitted within matched populations."
        if allowed_for
        else ("This edit mistakes that difference for a change. Name strata, or take edit='auto'.")
    )
    return [Alarm(AlarmKind.COMPOSITION, f"{text} {how}", batch)]


def _labels(matching: Matching) -> tuple[np.ndarray, np.ndarray]:
    return matching.source_labels, matching.target_labels


def _describe_populations(matching: Matching, source: np.ndarray, features: Sequence[str]) -> list[str]:
    """Name each population by the features in which it differs most from all source cells."""
    labels = matching.source_labels[:, 0]
    mean, spread = source.mean(0), np.maximum(source.std(0), 1e-6)
    names = []
    for code in range(int(max(x[:, 0].max() for x in _labels(matching))) + 1):
        own = labels == code
        difference = (source[own].mean(0) - mean) / spread if own.any() else np.zeros(len(mean))
        names.append(f"{name_cluster(difference, features)} cells")
    return names
