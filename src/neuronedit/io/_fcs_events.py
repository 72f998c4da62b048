"""DATA of Flow Cytometry Standard files: what each channel holds, and the events."""

import math
import re
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ._fcs_text import FcsFault, Keywords, shorten, to_number

N_BYTES = {"F": 4, "D": 8}  # of the types of $DATATYPE that have a fixed size; integers have $PnB
MAX_EXACT = 2**24  # whole numbers up to this one are exact in float32
MAX_DECADES = 15  # in logarithmic channels: values reach up to twice as many, and float32 ends at 38
MAX_GAIN = 1e9
BLOCK = 2**16  # events that are decoded at a time
STORED = "; read with convert=False to take the numbers as they are"


@dataclass(frozen=True)
class Channel:
    """One channel: where its numbers come from, and how they become linear values.

    A stored integer x is masked (None: it is not), and becomes ``x / gain`` or, where it is logarithmic, ``lowest * 10**(slope * x)``.
    """

    name: str
    marker: str
    datatype: str  # F, D or I
    n_bytes: int
    mask: int | None = None
    slope: float = 0.0
    lowest: float = 1.0
    gain: float = 1.0

    @property
    def is_converted(self) -> bool:
        """Whether values differ from the stored numbers by more than the mask."""
        return self.slope != 0 or self.gain != 1

    @property
    def stored(self) -> str:
        """Return how a number is stored: "F32", "I16", ..."""
        return f"{self.datatype}{8 * self.n_bytes}"

    @property
    def needs_float64(self) -> bool:
        """Whether float32 does not hold every number of the channel."""
        highest = 256**self.n_bytes - 1 if self.mask is None else self.mask
        return self.datatype == "D" or (self.datatype == "I" and not self.slope and highest > MAX_EXACT)

    def decode(self, columns: np.ndarray, order: str) -> np.ndarray:
        """Return the values of a channel from its bytes, a row an event. The order is ``<`` or ``>``."""
        if self.datatype != "I":
            return np.ascontiguousarray(columns).view(f"{order}f{self.n_bytes}")[:, 0]
        width = 1 << (self.n_bytes - 1).bit_length()  # integers of 3, 5, 6 or 7 bytes are filled up to one of numpy's
        start = width - self.n_bytes if order == ">" else 0
        padded = np.zeros((len(columns), width), dtype=np.uint8)
        padded[:, start : start + self.n_bytes] = columns
        numbers = padded.view(f"{order}u{width}")[:, 0]
        if self.mask is not None:
            numbers = numbers & numbers.dtype.type(self.mask)
        if self.slope:
            return self.lowest * 10.0 ** (self.slope * numbers)
        return numbers if self.gain == 1 else numbers / self.gain


def read_channels(keywords: Keywords, version: str, *, convert: bool) -> list[Channel]:
    """Read what each channel holds."""
    n_channels = keywords.get_count("$PAR")
    if not n_channels:
        raise FcsFault(f"$PAR is {shorten(keywords.require('$PAR'))}: it has no channels")
    return [_read_channel(keywords, n, version, convert) for n in range(1, n_channels + 1)]


def _read_channel(keywords: Keywords, n: int, version: str, convert: bool) -> Channel:
    bits, datatype = keywords.require(f"$P{n}B"), keywords.get(f"$P{n}DATATYPE") or keywords.require("$DATATYPE")
    # FCS 2.0 lets channels go without a name
    name = keywords.get(f"$P{n}N") if version == "FCS2.0" else keywords.require(f"$P{n}N")
    name, marker, datatype = name or f"P{n}", keywords.get(f"$P{n}S") or "", datatype.upper()
    if datatype not in ("F", "D", "I"):
        kind = "ASCII data, which are not read" if datatype == "A" else "not one of F, D and I"
        raise FcsFault(f"$DATATYPE of channel {n} is {shorten(datatype)}: {kind}; export it as floating point data")
    n_bits = 8 * N_BYTES[datatype] if datatype in N_BYTES else None
    if not re.fullmatch("[0-9]{1,2}", bits) or int(bits) % 8 or not 8 <= int(bits) <= 64:
        raise FcsFault(f"$P{n}B is {shorten(bits)}; 8, 16, 24, ... 64 bits can be read")
    if n_bits not in (None, int(bits)):
        raise FcsFault(f"$P{n}B is {bits}, but numbers of type {datatype} have {n_bits} bits")
    channel = Channel(name, marker, datatype, int(bits) // 8)
    return _read_scale(channel, keywords, n, convert) if datatype == "I" else channel


def _read_scale(channel: Channel, keywords: Keywords, n: int, convert: bool) -> Channel:
    """Read how stored integers become linear values: by $PnR, $PnE and $PnG."""
    top = to_number(keywords.get(f"$P{n}R") or "")
    if convert and not top > 1:
        raise FcsFault(f"$P{n}R is {shorten(keywords.get(f'$P{n}R'))}; it must be a number above 1{STORED}")
    # a range that is no power of two has the mask of the next one
    n_bits = (math.ceil(top) - 1).bit_length() if top > 1 else 64
    mask = (1 << n_bits) - 1 if n_bits < 8 * channel.n_bytes else None
    if not convert:
        return replace(channel, mask=mask)
    decades, lowest = _read_pair(keywords.require(f"$P{n}E"))
    gain = 1.0
    if not (decades >= 0 and lowest >= 0 and decades + abs(math.log10(lowest or 1)) <= MAX_DECADES):
        hint = f"it must be two numbers, as 0,0 or 4,1{STORED}"
        raise FcsFault(f"$P{n}E is {shorten(keywords.get(f'$P{n}E'))}; {hint}")
    if not decades and not _is_time(channel.name, keywords, n):
        gain = to_number(keywords.get(f"$P{n}G") or "1") or 1.0  # instruments write 0 for none
        if not 1 / MAX_GAIN <= gain <= MAX_GAIN:
            raise FcsFault(f"$P{n}G is {shorten(keywords.get(f'$P{n}G'))}; it must be a number above 0{STORED}")
    # 4,0 is to be read as 4,1: so says the standard
    return replace(channel, mask=mask, slope=decades / top, lowest=lowest or 1.0, gain=gain)


def _read_pair(value: str) -> tuple[float, float]:
    first, _, second = value.partition(",")
    return to_number(first), to_number(second)


def _is_time(name: str, keywords: Keywords, n: int) -> bool:
    """Whether a channel is the time, which no amplifier has gained ($TIMESTEP has its unit)."""
    return "time" in (name.lower(), (keywords.get(f"$P{n}TYPE") or "").lower())


def read_byte_order(keywords: Keywords, channels: list[Channel]) -> str:
    """Return ``<`` (1,2,3,4) or ``>`` (4,3,2,1)."""
    if all(channel.n_bytes == 1 for channel in channels):
        return "<"
    value = keywords.require("$BYTEORD")
    order = value.replace(" ", "").split(",")
    for sign, step in (("<", 1), (">", -1)):
        if len(order) in (2, 4, 8) and order == [str(i) for i in range(1, len(order) + 1)][::step]:
            return sign
    raise FcsFault(f"$BYTEORD is {shorten(value)}; 1,2,3,4 and 4,3,2,1 can be read")


def find_dtype(channels: list[Channel]) -> "np.dtype[Any]":
    """Return the type that holds the values of all channels."""
    return np.dtype(np.float64 if any(channel.needs_float64 for channel in channels) else np.float32)


def decode_events(raw: np.ndarray, channels: list[Channel], order: str) -> np.ndarray:
    """Return events by channels from the bytes of DATA; where that needs no work, the bytes themselves."""
    n_bytes = [channel.n_bytes for channel in channels]
    n_events = len(raw) // sum(n_bytes)
    types = {channel.datatype for channel in channels}
    if types in ({"F"}, {"D"}):
        events = raw.view(f"{order}f{n_bytes[0]}").reshape(n_events, len(channels))
        return events.astype(events.dtype.newbyteorder("="), copy=False)
    raw = raw.reshape(n_events, sum(n_bytes))
    events = np.empty((n_events, len(channels)), dtype=find_dtype(channels))
    starts = np.cumsum([0, *n_bytes])
    for first in range(0, n_events, BLOCK):
        block = slice(first, first + BLOCK)
        for j, channel in enumerate(channels):
            events[block, j] = channel.decode(raw[block, starts[j] : starts[j + 1]], order)
    return events


def read_spillover(keywords: Keywords, names: list[str]) -> tuple[list[str], np.ndarray] | None:
    """Return the spillover matrix with the names of its channels, or None where there is none.

    Raises FcsFault where the keyword holds no matrix.
    """
    keyword = next(
        (k for k in ("$SPILLOVER", "$SPILL", "SPILL", "SPILLOVER", "$COMP", "COMP") if keywords.get(k)), None
    )
    parts = [part.strip() for part in (keywords.get(keyword) or "0" if keyword else "0").split(",")]
    n = int(to_number(parts[0])) if to_number(parts[0]) >= 0 else -1
    if n == 0:
        return None
    channels, values = parts[1 : -n * n], parts[-n * n :]
    if not channels and n == len(names):
        channels = names  # $COMP of FCS 3.0 has all channels, without their names
    numbers = [to_number(value) for value in values]
    if n < 0 or len(channels) != n or len(values) != n * n or any(map(math.isnan, numbers)):
        raise FcsFault(f"{keyword} holds no matrix with a channel a row: {shorten(keywords.get(keyword or ''))}")
    # numbers of channels instead of names
    numbered = {str(i + 1): name for i, name in enumerate(names)}
    channels = [name if name in names else numbered.get(name, name) for name in channels]
    return channels, np.reshape(numbers, (n, n))
