"""HEADER and TEXT of Flow Cytometry Standard files: where things lie, and the keywords."""

import logging
import math
import re
from dataclasses import dataclass, field
from typing import NamedTuple

logger = logging.getLogger(__name__)

VERSIONS = ("FCS2.0", "FCS3.0", "FCS3.1", "FCS3.2")
HEADER_SIZE = 58  # version, four spaces, and six offsets of eight digits
MAX_KEYWORDS = 100_000  # a file of 100 channels has about 2,000
MAX_TEXT = 2**25  # bytes
MAX_SHOWN = 60  # characters of a value that an error shows
BLANK = " \t\r\n\0"


class FcsFault(ValueError):
    """What is wrong with a file. Whoever opened the file adds its name."""


class Segment(NamedTuple):
    """First and last byte of a part of a data set, counted from the beginning of the data set."""

    begin: int
    end: int

    @property
    def size(self) -> int:
        """Number of bytes."""
        return self.end - self.begin + 1


@dataclass(frozen=True)
class Header:
    """The first bytes of a data set. A segment is None where its offsets are blank, zero or no numbers."""

    version: str
    text: Segment
    data: Segment | None
    analysis: Segment | None


@dataclass
class Keywords:
    """The keywords of a data set, as they are written; they are found in upper and lower case."""

    values: dict[str, str] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)  # in upper case -> as written

    def add(self, name: str, value: str) -> None:
        """Take up a keyword. The standard's own may be there twice with the same value only."""
        known = self.names.setdefault(name.upper(), name)
        first = self.values.setdefault(known, value)
        if first.strip(BLANK) != value.strip(BLANK):
            if name.startswith("$"):
                raise FcsFault(f"{name} is there twice, as {shorten(first)} and as {shorten(value)}")
            logger.warning("The keyword %s is there twice; its first value is kept.", name)

    def add_all(self, text: bytes) -> None:
        """Take up the keywords of a TEXT segment."""
        for name, value in split_text(text):
            self.add(name, value)

    def get(self, name: str) -> str | None:
        """Return a value without the blanks around it, or None."""
        known = self.names.get(name.upper())
        return None if known is None else self.values[known].strip(BLANK)

    def require(self, name: str) -> str:
        """Return a value that must be there."""
        if (value := self.get(name)) is None:
            raise FcsFault(f"TEXT has no keyword {name}: it is damaged, or was not written as the standard says")
        return value

    def get_count(self, name: str) -> int | None:
        """Return a whole number that is not negative; None where the keyword is missing or blank."""
        value = self.get(name)
        if not value:
            return None
        if (number := to_count(value)) is None:
            raise FcsFault(f"{name} is {shorten(value)}; it must be a whole number")
        return number

    def get_segment(self, begin: str, end: str) -> Segment | None:
        """Return where a segment lies; None where that is missing, blank, zero or no number."""
        return make_segment(to_count(self.get(begin) or ""), to_count(self.get(end) or ""))


def shorten(value: object) -> str:
    """Show a value in an error."""
    text = repr(value)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}... ({len(text)} characters)"


def to_count(value: str) -> int | None:
    """Return a whole number of at most 18 digits, else None."""
    return int(value) if re.fullmatch(r"[0-9]{1,18}", value) else None


def to_number(value: str) -> float:
    """Return a finite number, else NaN."""
    try:
        number = float(value) if len(value) <= MAX_SHOWN and "_" not in value else math.nan
    except ValueError:
        return math.nan
    return number if math.isfinite(number) else math.nan


def make_segment(begin: int | None, end: int | None) -> Segment | None:
    """Join two offsets; None where one of them is missing, or the first is zero."""
    return Segment(begin, end) if begin and end is not None else None


def parse_header(block: bytes) -> Header:
    """Read the first 58 bytes of a data set."""
    if not block.startswith(b"FCS"):
        raise FcsFault(f"it is no FCS file: it begins with {shorten(block[:8])}, not with 'FCS'")
    version = block[:6].decode("latin-1")
    if version not in VERSIONS:
        raise FcsFault(f"its version is {shorten(version)}; {', '.join(VERSIONS)} can be read")
    if len(block) < HEADER_SIZE:
        raise FcsFault(f"it is cut: HEADER has {HEADER_SIZE} bytes, and {len(block)} are there")
    fields = [block[i : i + 8].decode("latin-1").strip(BLANK) for i in range(10, HEADER_SIZE, 8)]
    text, data, analysis = (
        make_segment(to_count(begin), to_count(end)) for begin, end in zip(fields[::2], fields[1::2], strict=True)
    )
    if text is None or text.begin < HEADER_SIZE or text.size < 2:
        raise FcsFault(f"HEADER puts TEXT at bytes {shorten(fields[0])} to {shorten(fields[1])}, which cannot be")
    if data and data.begin == text.end:  # some writers count the last byte of TEXT one too far
        text = Segment(text.begin, text.end - 1)
    return Header(version, text, data, analysis)


def split_text(text: bytes) -> list[tuple[str, str]]:
    """Return keywords and values of a TEXT segment.

    The first byte is the delimiter. Doubled inside a value it stands for itself (so says the standard); doubled after a keyword
    it is an empty value (so do instruments). Keywords are never empty and never hold the delimiter, so that the two readings do
    not meet.
    """
    delimiter = text[:1]
    if len(text) > MAX_TEXT:
        raise FcsFault(f"TEXT has {len(text):,} bytes; {MAX_TEXT:,} can be read")
    body = text[1:].rstrip(bytes(set(BLANK.encode()) - set(delimiter)))
    if body.count(delimiter) > 2 * MAX_KEYWORDS:
        raise FcsFault(f"TEXT has more than {MAX_KEYWORDS:,} keywords (its delimiter is {shorten(delimiter)})")
    pieces = body.removesuffix(delimiter).split(delimiter)
    if b"" in pieces:
        pieces = _join_doubled(pieces, delimiter)
    if len(pieces) % 2 and not pieces[-1].strip(BLANK.encode()):
        pieces.pop()
    if len(pieces) % 2:
        raise FcsFault(
            f"TEXT ends with {shorten(pieces[-1])}, a keyword without a value: it is cut, or its delimiter "
            f"{shorten(delimiter)} stands alone in a value"
        )
    words = [_decode(piece) for piece in pieces]
    return [(name.strip(BLANK), value) for name, value in zip(words[::2], words[1::2], strict=True)]


def _join_doubled(pieces: list[bytes], delimiter: bytes) -> list[bytes]:
    """Join what was split at doubled delimiters; the result has keywords and values by turns."""
    joined, i = [], 0
    while i < len(pieces):
        joined.append(pieces[i])  # the keyword
        i += 1
        if i == len(pieces):
            break
        value, in_value = [], False
        while i < len(pieces):
            n_empty = 0
            while i < len(pieces) and not pieces[i]:
                n_empty, i = n_empty + 1, i + 1
            # n_empty + 1 delimiters in a row: an odd one ends what comes before it
            ends = (n_empty % 2 == 0) == in_value
            value.append(delimiter * ((n_empty + in_value) // 2))
            if ends or i == len(pieces):
                break
            value.append(pieces[i])
            in_value, i = True, i + 1
        joined.append(b"".join(value))
    return joined


def _decode(piece: bytes) -> str:
    """Return text: UTF-8 since FCS 3.1, and what instruments wrote before. Files keep no null characters."""
    try:
        return piece.decode().replace("\0", "")
    except UnicodeDecodeError:
        return piece.decode("latin-1").replace("\0", "")
