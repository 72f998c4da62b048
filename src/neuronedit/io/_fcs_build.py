"""The bytes of an FCS 3.1 file: HEADER, TEXT and DATA, as the standard says."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from ._fcs_text import BLANK, HEADER_SIZE, to_number

DELIMITERS = "|\x0c\x1e/\\!~^*#@;"  # in this order of preference; any character from 1 to 126 may be one
LAST_IN_HEADER = 99_999_999  # HEADER has eight digits
NO_CRC = b"0" * 8  # says that no checksum was computed

OFFSETS = ("$BEGINDATA", "$ENDDATA")
NOT_WRITTEN = (
    "BEGINANALYSIS",
    "ENDANALYSIS",
    "BEGINSTEXT",
    "ENDSTEXT",
    "NEXTDATA",
)  # there is nothing of these any more


def set_layout(keywords: Mapping[str, str], events: np.ndarray) -> dict[str, str]:
    """Return the keywords with those that say what type the events have and how many they are, but not where they are."""
    fixed = {f"${name}": "0" for name in NOT_WRITTEN}
    fixed |= {"$MODE": "L", "$BYTEORD": "1,2,3,4", "$DATATYPE": {4: "F", 8: "D"}[events.dtype.itemsize]}
    fixed |= {"$PAR": str(events.shape[1]), "$TOT": str(len(events))}
    fixed |= {f"$P{n}B": str(8 * events.dtype.itemsize) for n in range(1, events.shape[1] + 1)}
    return replace_keywords(keywords, fixed)


def build_fcs(keywords: Mapping[str, str], events: np.ndarray) -> bytes:
    """Return a file with one data set; ``events`` are float32 or float64, ``(n_events, n_channels)``.

    The keywords that say where the events are, are set; `set_layout` has set those that say what they are.
    """
    n_bytes = events.size * events.dtype.itemsize
    begin = HEADER_SIZE
    while True:  # the offsets are a part of the text, and move what they tell the place of
        end = begin + n_bytes - 1 if n_bytes else 0
        told = (str(begin if n_bytes else 0), str(end))
        encoded = encode_text(replace_keywords(keywords, dict(zip(OFFSETS, told, strict=True))))
        if begin == HEADER_SIZE + len(encoded):
            break
        begin = HEADER_SIZE + len(encoded)
    data = (begin, end) if n_bytes and end <= LAST_IN_HEADER else (0, 0)
    header = "".join(str(offset).rjust(8) for offset in (HEADER_SIZE, begin - 1, *data, 0, 0))
    raw = np.ascontiguousarray(events, dtype=events.dtype.newbyteorder("<")).tobytes()
    return f"FCS3.1    {header}".encode() + encoded + raw + NO_CRC


def replace_keywords(keywords: Mapping[str, str], changes: Mapping[str, str | None]) -> dict[str, str]:
    """Return keywords with others in place of theirs, whatever the case of their names; `None` removes one."""
    wanted = {name.upper(): (name, value) for name, value in changes.items()}
    result: dict[str, str] = {}
    for name, value in keywords.items():
        new = wanted.pop(name.upper(), (name, value))[1]
        if new is not None:
            result[name] = new
    return result | {name: value for name, value in wanted.values() if value is not None}


def encode_text(keywords: Mapping[str, str]) -> bytes:
    """Return TEXT. Its delimiter is a character that is in no keyword and value; if all are used, it is doubled in these.

    An empty value, which the standard forbids, becomes a blank.
    """
    words = [word or " " for item in keywords.items() for word in item]
    used = set("".join(words))
    free = [chr(code) for code in range(1, 127) if chr(code) not in f"{BLANK}$," and not chr(code).isalnum()]
    choices = [character for character in [*DELIMITERS, *free] if character not in used]
    delimiter = choices[0] if choices else _choose_doubled(words)
    escaped = [word.replace(delimiter, 2 * delimiter) for word in words]
    return f"{delimiter}{delimiter.join(escaped)}{delimiter}".encode()


def _choose_doubled(words: Sequence[str]) -> str:
    """Return a delimiter that can be doubled: no word begins or ends with it."""
    ends = {word[0] for word in words} | {word[-1] for word in words}
    choices = [character for character in DELIMITERS if character not in ends]
    if not choices:
        raise ValueError(
            "its keywords use every character that could stand between them; drop those that you do not need"
        )
    return choices[0]


def raise_range(told: str | None, highest: float) -> str | None:
    """Return the $PnR of a channel where values lie above the one that the file has; `None` where they do not."""
    known = to_number(told or "")
    if known > 0 and highest <= known:
        return None
    return str(max(1, math.ceil(highest)))
