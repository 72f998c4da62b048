"""One data set of a Flow Cytometry Standard file: find it, find its events, read them."""

import gzip
import io
import logging
import os
import re
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ._fcs_events import Channel, decode_events, find_dtype, read_byte_order, read_channels, read_spillover
from ._fcs_text import BLANK, HEADER_SIZE, FcsFault, Header, Keywords, Segment, parse_header, shorten, to_count

logger = logging.getLogger(__name__)

GZIP = b"\x1f\x8b"
MAX_EXPANSION, MIN_EXPANDED = 100, 2**26  # a gzipped file may grow by this factor, or to this size
MAX_DATA_SETS = 1_000
LAST_OFFSET = 99_999_999  # HEADER has eight digits: some writers put this where there should be zero
PIECE = 2**20  # bytes that are searched or expanded at a time
NEXT_HEADER = re.compile(rb"FCS[23]\.[0-9] {4}(?= *[0-9])[ 0-9]{8}(?= *[0-9])[ 0-9]{8}")


@dataclass(frozen=True)
class FcsDataSet:
    """What one data set holds, and where its events are. Values are linear, neither compensated nor transformed."""

    path: Path
    version: str
    channels: list[Channel]
    keywords: dict[str, str]  # all of TEXT, as written
    spillover: tuple[list[str], np.ndarray] | None  # names of channels, and the matrix
    number: int  # which one of the file's it is; the first is 1
    begin: int  # of the events in the file, in bytes; in a gzipped file, once it is expanded
    n_events: int
    order: str  # of bytes: < or >

    @property
    def dtype(self) -> "np.dtype[Any]":
        """Return float32, or float64 where float32 would not hold the numbers."""
        return find_dtype(self.channels)

    def read_events(self) -> np.ndarray:
        """Read the events: ``(n_events, n_channels)``."""
        n_bytes = self.n_events * sum(channel.n_bytes for channel in self.channels)
        with _naming(self.path), _open(self.path) as source:
            return decode_events(source.read_array(self.begin, n_bytes), self.channels, self.order)


@dataclass(frozen=True)
class _Source:
    """A file that is open, and its size."""

    file: BinaryIO
    size: int

    def read(self, begin: int, n_bytes: int) -> bytes:
        """Return the bytes from a place on; fewer where the file ends."""
        n_bytes = min(n_bytes, self.size - begin)
        if n_bytes <= 0:
            return b""
        self.file.seek(begin)
        return self.file.read(n_bytes)

    def read_array(self, begin: int, n_bytes: int) -> np.ndarray:
        """Return bytes that must be there as an array of its own."""
        self.file.seek(begin)
        raw = np.empty(n_bytes, dtype=np.uint8)
        n_read, view = 0, raw.data
        while n_read < n_bytes and (n := self.file.readinto(view[n_read:])):  # type: ignore[attr-defined]
            n_read += n
        if n_read < n_bytes:
            raise FcsFault(f"it is cut: {n_bytes:,} bytes of events should be there, and {n_read:,} are")
        return raw

    def find_header(self, begin: int) -> int | None:
        """Return where the next data set begins, or None."""
        while begin < self.size:
            if match := NEXT_HEADER.search(self.read(begin, PIECE)):
                return begin + match.start()
            begin += PIECE - HEADER_SIZE
        return None


@dataclass(frozen=True)
class _Part:
    """One data set: where it begins, and what HEADER and TEXT hold."""

    start: int
    header: Header
    keywords: Keywords

    def list_segments(self) -> list[Segment]:
        """Return the segments that the data set names."""
        named = [self.keywords.get_segment(f"$BEGIN{name}", f"$END{name}") for name in ("DATA", "STEXT", "ANALYSIS")]
        segments = [self.header.text, self.header.data, self.header.analysis, *named]
        return [segment for segment in segments if segment is not None]


def read_data_set(
    path: str | os.PathLike[str], *, data_set: int | None = None, offsets: str = "auto", convert: bool = True
) -> FcsDataSet:
    """Read all of a data set but its events; the arguments are those of :func:`neuronedit.io.read_fcs`."""
    path = Path(path)
    if not path.is_file():
        hint = "is a folder: give one of its files" if path.is_dir() else "is not a file"
        raise FileNotFoundError(f"{path} {hint}.")
    with _naming(path), _open(path) as source:
        parts = _list_parts(source, path)
        number = _choose_data_set(path, parts, None if data_set is None else int(data_set))
        part = parts[number - 1]
        if isinstance(part, FcsFault):
            raise part
        return _read_part(source, part, number, offsets, convert, path)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Add the name of the file to whatever is wrong with it."""
    try:
        yield
    except FcsFault as fault:
        raise ValueError(f"{path}: {fault}.") from None
    except (OSError, EOFError, zlib.error) as error:
        raise OSError(f"{path} cannot be read: {error}.") from error


@contextmanager
def _open(path: Path) -> Iterator[_Source]:
    """Open a file; a gzipped one is expanded in memory."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if file.read(2) != GZIP:
            yield _Source(file, size)
            return
        file.seek(0)
        expanded, most = io.BytesIO(), max(MIN_EXPANDED, MAX_EXPANSION * size)
        with gzip.open(file) as pieces:
            while piece := pieces.read(PIECE):
                expanded.write(piece)
                if expanded.tell() > most:
                    raise FcsFault(
                        f"it is gzipped, and expands to more than {most:,} bytes; if that is right, gunzip it"
                    )
        yield _Source(expanded, expanded.tell())


def _list_parts(source: _Source, path: Path) -> list[_Part | FcsFault]:
    """Read HEADER and TEXT of every data set of a file, one after the other; the last may be unreadable."""
    parts: list[_Part | FcsFault] = []
    start: int | None = 0
    while start is not None:
        if len(parts) == MAX_DATA_SETS:
            raise FcsFault(f"it has more than {MAX_DATA_SETS:,} data sets")
        try:
            part = _read_text(source, start)
        except FcsFault as fault:
            if not parts:
                raise
            return [*parts, fault]
        parts.append(part)
        start = _find_next(source, part, path)
    return parts


def _read_text(source: _Source, start: int) -> _Part:
    """Read HEADER and TEXT of the data set that begins at a byte."""
    header = parse_header(source.read(start, HEADER_SIZE))
    if start + header.text.end >= source.size:
        raise FcsFault(
            f"it is cut: TEXT should end at byte {header.text.end:,}, and the file has {source.size:,} bytes"
        )
    keywords = Keywords()
    keywords.add_all(source.read(start + header.text.begin, header.text.size))
    return _Part(start, header, keywords)


def _find_next(source: _Source, part: _Part, path: Path) -> int | None:
    """Return where the next data set begins: where $NEXTDATA says, or behind the segments of this one."""
    told = part.keywords.get("$NEXTDATA")
    offset = to_count(told or "") or 0
    earliest = part.start + part.header.text.end + 1
    # counted from the beginning of this data set, or, as some writers do, of the file
    for begin in (part.start + offset, offset):
        if offset and begin >= earliest and NEXT_HEADER.match(source.read(begin, HEADER_SIZE)):
            return begin
    begin_behind = source.find_header(part.start + max(segment.end for segment in part.list_segments()) + 1)
    if (told or "").strip("0") and begin_behind is None:
        logger.warning(
            "%s: $NEXTDATA is %s, but no data set begins there; the file is read as one.", path, shorten(told)
        )
    return begin_behind


def _choose_data_set(path: Path, parts: list[_Part | FcsFault], number: int | None) -> int:
    """Return the number of the data set to read: the one that was asked for, or the first with events, with a warning."""
    if number is not None:
        if number > len(parts):
            raise FcsFault(f"it has {_describe(parts)}; there is no data_set={number}")
        return number
    filled = [i + 1 for i, part in enumerate(parts) if isinstance(part, FcsFault) or part.keywords.get("$TOT") != "0"]
    if len(filled) > 1:
        if any(isinstance(part, FcsFault) for part in parts):
            raise FcsFault(f"it has {_describe(parts)}; choose one by data_set=")
        text = f"{path}: it has {_describe(parts)}. Only number {filled[0]} is read; data_set= reads another."
        warnings.warn(text, stacklevel=4)
    return filled[0] if filled else 1


def _describe(parts: list[_Part | FcsFault]) -> str:
    if len(parts) == 1:
        return "one data set"
    sizes = [
        "unreadable" if isinstance(part, FcsFault) else f"{part.keywords.get('$TOT')} events" for part in parts[:9]
    ]
    listed = ", ".join(f"{i + 1} ({size})" for i, size in enumerate(sizes))
    return f"{len(parts)} data sets: {listed}{', ...' if len(parts) > len(sizes) else ''}"


def _read_part(source: _Source, part: _Part, number: int, offsets: str, convert: bool, path: Path) -> FcsDataSet:
    """Read what a data set holds, and find its events."""
    _complete_text(source, part)
    keywords, version = part.keywords, part.header.version
    if (mode := keywords.get("$MODE") or "L").upper() != "L":
        raise FcsFault(f"$MODE is {shorten(mode)}: it holds histograms, not events; export it as a list (L)")
    channels = read_channels(keywords, version, convert=convert)
    order = read_byte_order(keywords, channels)
    n_bytes = sum(channel.n_bytes for channel in channels)
    begin, n_events = _locate_events(source, part, n_bytes, offsets, path)
    try:
        spillover = read_spillover(keywords, [channel.name for channel in channels])
    except FcsFault as fault:
        logger.warning("%s: %s. It is kept among the keywords.", path, fault)
        spillover = None
    return FcsDataSet(path, version, channels, keywords.values, spillover, number, begin, n_events, order)


def _complete_text(source: _Source, part: _Part) -> None:
    """Refuse a TEXT that goes on behind the end that HEADER tells, and add the keywords of the supplemental TEXT."""
    first, end = part.header.text
    text = source.read(part.start + first, part.header.text.size)
    delimiter, blank = text[:1], BLANK.encode()
    stop = min((segment.begin for segment in part.list_segments() if segment.begin > end), default=end)
    behind = source.read(part.start + end + 1, min(stop - end - 1, PIECE)).strip(blank)
    is_ended = text.rstrip(blank).endswith(delimiter)
    goes_on = (behind.isascii() and behind.endswith(delimiter)) or re.search(
        re.escape(delimiter) + rb"\$[A-Z0-9]+" + re.escape(delimiter), behind
    )
    if behind not in (b"", delimiter) and (goes_on or not is_ended):
        raise FcsFault(f"HEADER ends TEXT at byte {end:,}, but keywords go on behind it")
    more = part.keywords.get_segment("$BEGINSTEXT", "$ENDSTEXT")
    if more and more.size > 1 and more.begin != first:
        if more.begin < HEADER_SIZE or part.start + more.end >= source.size:
            raise FcsFault(f"$BEGINSTEXT and $ENDSTEXT are {more.begin} and {more.end}, where no TEXT can be")
        supplement = source.read(part.start + more.begin, more.size)
        part.keywords.add_all(delimiter + supplement.removeprefix(delimiter))


def _locate_events(source: _Source, part: _Part, n_bytes: int, offsets: str, path: Path) -> tuple[int, int]:
    """Return where the events begin and how many there are, from the offsets that fit $PAR, $PnB and $TOT."""
    n_events = part.keywords.get_count("$TOT")
    told = {"HEADER": part.header.data, "TEXT": part.keywords.get_segment("$BEGINDATA", "$ENDDATA")}
    places = {name: place for name, place in told.items() if place and offsets in ("auto", name.lower())}
    if n_events == 0 and all(place.size <= 1 for place in places.values()):
        return part.start, 0
    fits: dict[str, tuple[int, int]] = {}
    near_fits: dict[str, tuple[int, int]] = {}
    faults: dict[Segment, str] = {}
    for name, place in places.items():
        try:
            begin_and_number, is_exact = _fit_segment(
                source, part, place, n_events, n_bytes, check_overlap=offsets == "auto"
            )
            (fits if is_exact else near_fits)[name] = begin_and_number
        except FcsFault as fault:
            faults[place] = f"{name} puts the events at bytes {place.begin} to {place.end}, but {fault}"
    fits = fits or near_fits
    if not fits:
        silent = "neither HEADER nor TEXT tells" if offsets == "auto" else f"{offsets.upper()} does not tell"
        raise FcsFault("; ".join(faults.values()) or f"{silent} where the events are")
    if len(set(fits.values())) > 1:
        listed = " and ".join(f"{name} at bytes {place.begin} to {place.end}" for name, place in places.items())
        raise FcsFault(f"the events are by {listed}, and both can be: choose by offsets='header' or offsets='text'")
    if len(fits) < len(set(places.values())):
        logger.warning("%s: HEADER and TEXT put the events at different bytes; those of %s fit.", path, *fits)
    return next(iter(fits.values()))


def _fit_segment(
    source: _Source, part: _Part, place: Segment, n_events: int | None, n_bytes: int, *, check_overlap: bool
) -> tuple[tuple[int, int], bool]:
    """Return where events begin and how many there are, and whether the segment fits to the byte.

    Some writers count the last byte of DATA, or that of TEXT, one too far; one of the two is let pass.
    """
    text = part.header.text
    if place.begin < HEADER_SIZE or place.size < 1:
        raise FcsFault("no events can be there")
    if check_overlap and place.begin < text.end and place.end >= text.begin:
        raise FcsFault(f"TEXT is there, at bytes {text.begin} to {text.end}")
    number = place.size // n_bytes if n_events is None else n_events
    surplus = place.size - number * n_bytes
    if place.end == LAST_OFFSET and surplus > 0 and n_events is not None:
        surplus = 1
    touches = int(check_overlap and place.begin == text.end)
    if surplus < 0 or surplus + touches > 1:
        told = (
            f"events of {n_bytes} bytes (the sum of $PnB)"
            if n_events is None
            else f"$TOT={n_events} events of {n_bytes} bytes"
        )
        raise FcsFault(f"{told} do not fill these")
    available = source.size - part.start - place.begin
    if number * n_bytes > available:
        n_there = max(available // n_bytes, 0)
        raise FcsFault(f"the file ends at byte {source.size}: it is cut, {n_there} of {number} events are there")
    return (part.start + place.begin, number), surplus + touches == 0
