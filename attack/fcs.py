"""FCS files: hostile and odd ones that are made here, and sound ones with one bit flipped.

A crafted file must be read right, or refused with an error that names it; which of the two is written beside each. A bit that
flips among the events changes one of them, and nothing can tell; elsewhere the events must be right, or the file refused. Names are
not protected either: a flip may change one of them.
"""

import gzip
import tempfile
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from anndata import AnnData
from common import Try

import neuronedit as ne

NAMES, MARKERS = ["Time", "FL1-A", "FL2-A", "FL3-A"], ["", "CD3", "CD4", "CD19"]
SPARE = 16 * 2**20  # bytes that reading may take beyond twice the file
EXPANDED = 64 * 2**20  # bytes that a small gzipped file may expand to


@dataclass
class Fcs:
    """What goes into a file. ``keywords`` replace those that follow from the events (None: left out); ``header`` the offsets."""

    events: np.ndarray
    raw: bytes | None = None
    version: str = "FCS3.1"
    delimiter: bytes = b"/"
    keywords: dict[str, str | None] = field(default_factory=dict)
    header: dict[int, object] = field(default_factory=dict)
    markers: list[str] = field(default_factory=lambda: MARKERS)
    gap: bytes = b""
    tail: bytes = b""

    def build(self) -> bytes:
        """Return the bytes of the file: HEADER, TEXT, DATA."""
        raw = self.events.astype("<f4").tobytes() if self.raw is None else self.raw
        n_text = len(self._text(0, 0))
        begin = 58 + n_text + len(self.gap)
        end = begin + len(raw) - 1
        offsets: list[object] = [58, 57 + n_text, begin, end, 0, 0]
        for i, value in self.header.items():
            offsets[i] = value(offsets[i]) if callable(value) else value
        head = self.version.encode() + b"    " + b"".join(str(offset).rjust(8).encode()[:8] for offset in offsets)
        return head + self._text(begin, end) + self.gap + raw + self.tail

    def _text(self, begin: int, end: int) -> bytes:
        n_events, n_channels = self.events.shape
        keywords: dict[str, object] = {"$BEGINDATA": f"{begin:012}", "$ENDDATA": f"{end:012}", "$BYTEORD": "1,2,3,4"}
        keywords |= {"$DATATYPE": "F", "$MODE": "L", "$NEXTDATA": "0", "$PAR": n_channels, "$TOT": n_events}
        for i in range(n_channels):
            own = {"B": "32", "E": "0,0", "R": "262144", "N": NAMES[i], "S": self.markers[i]}
            keywords |= {f"$P{i + 1}{key}": value for key, value in own.items() if key != "S" or value}
        keywords |= self.keywords
        for name in ("$BEGINDATA", "$ENDDATA"):  # a function of the right offset
            if callable(value := keywords[name]):
                keywords[name] = f"{value(begin if name == '$BEGINDATA' else end):012}"
        d = self.delimiter.decode("latin-1")
        words = [str(word) for item in keywords.items() if item[1] is not None for word in item]
        return (d + "".join(word.replace(d, d + d) + d for word in words)).encode("latin-1")


Case = tuple[bytes, np.ndarray | None]  # the file, and the events (None: it must be refused)


def floats(rng: np.random.Generator) -> np.ndarray:
    """Return events that float32 holds."""
    return rng.normal(100, 30, (int(rng.integers(20, 200)), len(NAMES))).astype("f4")


def integers(rng: np.random.Generator, high: int = 1_000) -> np.ndarray:
    """Return whole numbers from 0."""
    return rng.integers(0, high, (int(rng.integers(20, 200)), len(NAMES)))


def pack(events: np.ndarray, widths: list[int], order: str = "little") -> bytes:
    """Return integers of some bytes each."""
    return b"".join(int(x).to_bytes(w, order) for row in events for x, w in zip(row, widths, strict=True))  # type: ignore[arg-type]


def integer_keywords(widths: list[int], **more: str) -> dict[str, str | None]:
    """Return the keywords of integer channels; ``more`` holds one value for every channel."""
    keywords: dict[str, str | None] = {"$DATATYPE": "I"}
    for i, width in enumerate(widths):
        own = {"B": str(8 * width), "R": str(256**width)} | more
        keywords |= {f"$P{i + 1}{key}": value for key, value in own.items()}
    return keywords


def floating(right: bool, **changes: object) -> Callable[[np.random.Generator], Case]:
    """Make a case of floating point numbers with some changes."""

    def make(rng: np.random.Generator) -> Case:
        events = floats(rng)
        return Fcs(events, **changes).build(), events if right else None  # type: ignore[arg-type]

    return make


def keyword(right: bool, **changes: str | None) -> Callable[[np.random.Generator], Case]:
    """Make a case with some keywords changed; their names go without the dollar."""
    return floating(right, keywords={f"${name}": value for name, value in changes.items()})


def integer(right: bool, width: int = 2, **more: str) -> Callable[[np.random.Generator], Case]:
    """Make a case of integers; ``more`` holds one keyword value for every channel."""

    def make(rng: np.random.Generator) -> Case:
        events, widths = integers(rng), [width] * len(NAMES)
        made = Fcs(events, pack(events, widths), keywords=integer_keywords(widths, **more)).build()
        return made, events if right else None

    return make


def masked(rng: np.random.Generator) -> Case:
    """Bits above the range are set, and do not count."""
    events, widths = integers(rng), [2] * 4
    dirty = events | rng.integers(0, 2, events.shape) << 14
    return Fcs(events, pack(dirty, widths), keywords=integer_keywords(widths, R="1000")).build(), events


def logarithmic(lowest: str) -> Callable[[np.random.Generator], Case]:
    """Four decades in 1,024 channels; 4,0 means 4,1."""

    def make(rng: np.random.Generator) -> Case:
        events, widths = integers(rng), [2] * 4
        keywords = integer_keywords(widths, R="1024", E=f"4,{lowest}")
        return Fcs(events, pack(events, widths), keywords=keywords).build(), 10 ** (4 * events / 1024) * (
            float(lowest) or 1
        )

    return make


def gained(rng: np.random.Generator) -> Case:
    """Linear integers are divided by their gain, the time is not."""
    events, widths = integers(rng), [4] * 4
    keywords = integer_keywords(widths, R="1024", G="8.0")
    return Fcs(events, pack(events, widths), keywords=keywords).build(), events / [1, 8, 8, 8]


def of_widths(widths: list[int], order: str = "little") -> Callable[[np.random.Generator], Case]:
    """Integers of unlike sizes."""

    def make(rng: np.random.Generator) -> Case:
        events = integers(rng, 200)
        keywords = integer_keywords(widths) | {"$BYTEORD": "1,2,3,4" if order == "little" else "4,3,2,1"}
        return Fcs(events, pack(events, widths, order), keywords=keywords).build(), events

    return make


def mixed_types(rng: np.random.Generator) -> Case:
    """Channels of FCS 3.2 with a type of their own."""
    events = np.round(floats(rng)).astype("f8")
    record = np.zeros(len(events), "<u4,<f4,<f8,<f4")
    for i in range(4):
        record[f"f{i}"] = np.abs(events[:, i]) if i == 0 else events[:, i]
    keywords = {"$P1DATATYPE": "I", "$P3DATATYPE": "D", "$P3B": "64", "$P1R": "4294967296"}
    events[:, 0] = np.abs(events[:, 0])
    return Fcs(events, record.tobytes(), "FCS3.2", keywords=keywords).build(), events


def doubles(rng: np.random.Generator) -> Case:
    """Doubles, the last byte first."""
    events = floats(rng).astype("f8")
    keywords = {"$DATATYPE": "D", "$BYTEORD": "4,3,2,1"} | {f"$P{i}B": "64" for i in range(1, 5)}
    return Fcs(events, events.astype(">f8").tobytes(), keywords=keywords).build(), events


def big_endian(rng: np.random.Generator) -> Case:
    """Floats, the last byte first."""
    events = floats(rng)
    return Fcs(events, events.astype(">f4").tobytes(), keywords={"$BYTEORD": "4,3,2,1"}).build(), events


def after(change: Callable[[bytes], bytes], right: bool = False) -> Callable[[np.random.Generator], Case]:
    """Change the bytes of a sound file."""

    def make(rng: np.random.Generator) -> Case:
        events = floats(rng)
        return change(Fcs(events).build()), events if right else None

    return make


def empty_values(fcs_keywords: dict[str, str | None]) -> Callable[[np.random.Generator], Case]:
    """Write some keywords with an empty value, which the standard forbids and instruments do."""
    return floating(True, markers=["", "", "CD4", ""], keywords=fcs_keywords)


def supplemental(rng: np.random.Generator) -> Case:
    """Keywords in a second TEXT, behind the events."""
    events = floats(rng)
    extra = b"/$P2S/CD3/$CELLS/PBMC/"
    first = Fcs(events, keywords={"$BEGINSTEXT": "0" * 8, "$ENDSTEXT": "0" * 8}).build()
    begin = len(first)
    keywords = {"$BEGINSTEXT": f"{begin:08}", "$ENDSTEXT": f"{begin + len(extra) - 1:08}"}
    return Fcs(events, keywords=keywords, tail=extra).build(), events


def data_first(rng: np.random.Generator) -> Case:
    """The events lie before TEXT."""
    events = floats(rng)
    raw, made = events.tobytes(), Fcs(events)
    text = made._text(58, 57 + len(raw))
    offsets = (58 + len(raw), 57 + len(raw) + len(text), 58, 57 + len(raw), 0, 0)
    return b"FCS3.1    " + b"".join(str(o).rjust(8).encode() for o in offsets) + raw + text, events


def two_data_sets(change: str | None) -> Callable[[np.random.Generator], Case]:
    """Two data sets in a file, of which the first is read; the second may have no events, and the first tell where it is."""

    def make(rng: np.random.Generator) -> Case:
        events = floats(rng)
        size = len(Fcs(events, keywords={"$NEXTDATA": "0" * 8}).build())
        first = Fcs(events, keywords={"$NEXTDATA": f"{size:08}" if change == "told" else "0" * 8}).build()
        second = Fcs(events[:0] if change == "empty" else events).build()
        return first + second, events

    return make


def many_data_sets(rng: np.random.Generator) -> Case:
    """A hundred thousand data sets, each with a TEXT of a few bytes."""
    text = b"/$TOT/1/"
    head = b"FCS3.1    " + b"".join(str(o).rjust(8).encode() for o in (58, 57 + len(text), 0, 0, 0, 0))
    return (head + text) * 100_000, None


def ambiguous(rng: np.random.Generator) -> Case:
    """HEADER and TEXT tell two places, and the events fit into both."""
    return Fcs(floats(rng), gap=b" " * 16, header={2: lambda x: x - 8, 3: lambda x: x - 8}).build(), None


def zipped(rng: np.random.Generator) -> Case:
    """A zip archive of FCS files."""
    with tempfile.TemporaryFile() as file:
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("a.fcs", Fcs(floats(rng)).build())
        file.seek(0)
        return file.read(), None


def bomb(rng: np.random.Generator) -> Case:
    """A gzipped file that expands to 400 MB of nothing."""
    return gzip.compress(Fcs(floats(rng), tail=bytes(400 * 2**20)).build(), 9), None


HUGE = "9" * 17
RIGHT: dict[str, Callable[[np.random.Generator], Case]] = {
    "plain": floating(True),
    "big endian": big_endian,
    "doubles": doubles,
    "a type for each channel": mixed_types,
    "2.0": floating(True, version="FCS2.0"),
    "3.0": floating(True, version="FCS3.0"),
    "no $TOT": floating(True, version="FCS2.0", keywords={"$TOT": None}),
    "16 bits": integer(True),
    "24 bits": integer(True, 3),
    "64 bits": integer(True, 8, R="1024"),
    "bits of unlike number": of_widths([1, 2, 3, 4]),
    "bits of unlike number, big endian": of_widths([4, 3, 2, 1], "big"),
    "masked": masked,
    "$PnR 1024.0": integer(True, R="1024.0"),
    "$PnR blank among floats": keyword(True, P2R=""),
    "logarithmic": logarithmic("1"),
    "logarithmic, 4,0": logarithmic("0"),
    "gains": gained,
    "gains of 0": integer(True, G="0"),
    "logarithmic floats": keyword(True, P2E="4,1", P3E="5.57918,0.0316228"),
    "empty values": empty_values({"$P2S": "", "$CYT": "", "$P4S": "", "$COM": ""}),
    "empty values and doubled delimiters": empty_values({"$CYT": "", "$DATE": "05/10/2025", "$COM": "/a//b/"}),
    "doubled delimiters": keyword(True, DATE="05/10/2025", COM="//"),
    "delimiter form feed": floating(True, delimiter=b"\f"),
    "delimiter |": floating(True, delimiter=b"|"),
    "delimiter \\": floating(True, delimiter=b"\\"),
    "delimiter *": floating(True, delimiter=b"*", keywords={"$COM": "a*b"}),
    "delimiter new line": floating(True, delimiter=b"\n"),
    "delimiter record separator": floating(True, delimiter=b"\x1e"),
    "HEADER blank": floating(True, header={2: "", 3: ""}),
    "HEADER zero": floating(True, header={2: 0, 3: 0}),
    "HEADER 99999999": floating(True, header={3: 99_999_999}),
    "HEADER 99999999, TEXT silent": floating(
        True, header={3: 99_999_999}, keywords={"$BEGINDATA": None, "$ENDDATA": None}
    ),
    "HEADER six bytes off": floating(True, header={2: lambda x: x - 6, 3: lambda x: x - 6}),
    "TEXT six bytes off": floating(True, keywords={"$BEGINDATA": lambda x: x + 6, "$ENDDATA": lambda x: x + 6}),
    "TEXT blank": keyword(True, BEGINDATA="", ENDDATA=""),
    "TEXT without offsets": keyword(True, BEGINDATA=None, ENDDATA=None),
    "TEXT ends one too far": floating(True, header={1: lambda x: x + 1}),
    "DATA ends one too far": floating(
        True, header={3: lambda x: x + 1}, keywords={"$ENDDATA": lambda x: x + 1}, tail=b"\0"
    ),
    "CRC at the end": floating(True, tail=b"00000000"),
    "$NEXTDATA at the end": floating(True, keywords={"$NEXTDATA": "9" * 5}),
    "$NEXTDATA into itself": floating(True, keywords={"$NEXTDATA": "60"}),
    "$NEXTDATA negative zero": floating(True, keywords={"$NEXTDATA": "0000000000"}),
    "second data set empty": two_data_sets("empty"),
    "two data sets": two_data_sets(None),
    "two data sets, $NEXTDATA": two_data_sets("told"),
    "supplemental TEXT": supplemental,
    "events before TEXT": data_first,
    "TEXT padded": floating(True, gap=b" " * 300),
    "no events": lambda rng: (Fcs(floats(rng)[:0]).build(), floats(rng)[:0]),
    "latin-1": keyword(True, OP="Müller", CYT="\xb5"),
    "gzipped": after(gzip.compress, True),
    "keyword twice": keyword(True, mode="L"),
}
REFUSED: dict[str, Callable[[np.random.Generator], Case]] = {
    "$PAR huge": keyword(False, PAR=HUGE),
    "$PAR 0": keyword(False, PAR="0"),
    "$PAR a word": keyword(False, PAR="four"),
    "$PAR of 5000 digits": keyword(False, PAR="9" * 5000),
    "$PAR missing": keyword(False, PAR=None),
    "$PAR too small": keyword(False, PAR="3"),
    "$TOT huge": keyword(False, TOT=HUGE),
    "$TOT negative": keyword(False, TOT="-5"),
    "$TOT too small": keyword(False, TOT="7"),
    "$TOT 0": keyword(False, TOT="0"),
    "$TOT a float": keyword(False, TOT="1e3"),
    "events cut": after(lambda made: made[:-40]),
    "TEXT cut": after(lambda made: made[:200]),
    "HEADER cut": after(lambda made: made[:40]),
    "empty": after(lambda made: b""),
    "a table": after(lambda made: b"CD3,CD4\n1,2\n"),
    "FCS alone": after(lambda made: b"FCS"),
    "version 1.0": floating(False, version="FCS1.0"),
    "version 9.9": floating(False, version="FCS9.9"),
    "zip": zipped,
    "gzip cut": after(lambda made: gzip.compress(made)[:-50]),
    "gzip damaged": after(lambda made: gzip.compress(made)[:100] + b"\0" * 50 + gzip.compress(made)[150:]),
    "gzip bomb": bomb,
    "offsets huge": floating(False, header={2: 0, 3: 0}, keywords={"$BEGINDATA": "600", "$ENDDATA": HUGE}),
    "offsets and $TOT huge": floating(
        False, header={2: 0, 3: 0}, keywords={"$BEGINDATA": "600", "$ENDDATA": "16000000599", "$TOT": "1000000000"}
    ),
    "offsets backwards": floating(False, header={2: 900, 3: 600}, keywords={"$BEGINDATA": "900", "$ENDDATA": "600"}),
    "offsets nowhere": floating(False, header={2: "", 3: ""}, keywords={"$BEGINDATA": None, "$ENDDATA": None}),
    "offsets at 0": floating(False, header={2: 0, 3: 0}, keywords={"$BEGINDATA": "0", "$ENDDATA": "0"}),
    "offsets ambiguous": ambiguous,
    "TEXT behind the end": floating(False, header={0: 9_000_000, 1: 9_100_000}),
    "TEXT backwards": floating(False, header={0: 500, 1: 100}),
    "TEXT offsets words": floating(False, header={0: "abc", 1: "def"}),
    "TEXT ends early": floating(False, header={1: lambda x: x - 60}),
    "TEXT of delimiters": after(lambda made: made[:10] + b"      58 3000058" + b"       0" * 4 + b"/" * 3_000_001),
    "TEXT of small keywords": after(
        lambda made: made[:10] + b"      58 3000058" + b"       0" * 4 + b"/ab" * 1_000_001
    ),
    "delimiter in a value": after(lambda made: made.replace(b"FL1-A", b"FL1/A")),
    "supplemental TEXT nowhere": keyword(False, BEGINSTEXT="70000", ENDSTEXT="80000"),
    "$BYTEORD 3,4,1,2": keyword(False, BYTEORD="3,4,1,2"),
    "$BYTEORD 1,2,3": keyword(False, BYTEORD="1,2,3"),
    "$BYTEORD missing": keyword(False, BYTEORD=None),
    "$DATATYPE A": keyword(False, DATATYPE="A"),
    "$DATATYPE Q": keyword(False, DATATYPE="Q"),
    "$DATATYPE missing": keyword(False, DATATYPE=None),
    "$DATATYPE D in 32 bits": keyword(False, DATATYPE="D"),
    "$MODE C": keyword(False, MODE="C"),
    "$PnB 10": integer(False, B="10"),
    "$PnB *": integer(False, B="*"),
    "$PnB 0": integer(False, B="0"),
    "$PnB huge": integer(False, B="8000000000"),
    "$PnB missing": keyword(False, P2B=None),
    "$PnN missing": keyword(False, P2N=None),
    "$PnR a word": integer(False, R="abc"),
    "$PnR 0": integer(False, R="0"),
    "$PnR negative": integer(False, R="-1024"),
    "$PnR NaN": integer(False, R="nan"),
    "$PnR with a comma": integer(False, R="1024,0"),
    "$PnE a word": integer(False, E="log"),
    "$PnE one number": integer(False, E="4"),
    "$PnE NaN": integer(False, E="nan,nan"),
    "$PnE 400 decades": integer(False, E="400,1"),
    "$PnE negative": integer(False, E="-4,1"),
    "$PnG negative": integer(False, G="-8"),
    "$PnG NaN": integer(False, G="nan"),
    "$PnG tiny": integer(False, G="1e-300"),
    "keyword twice, two values": after(lambda made: made.replace(b"$P2S", b"$P1N")),
    "many data sets": many_data_sets,
}
FLIPPED = ("plain", "big endian", "doubles", "2.0", "TEXT padded", "doubled delimiters")


def tries(seed: int, long: bool) -> Iterator[Try]:
    """Yield the tries."""
    n_rounds, n_flips = (10, 150) if long else (1, 15)
    for i in range(seed, seed + n_rounds):
        yield from (Try("FCS, odd but right", f"{name} {i}", read_crafted, (name, i)) for name in RIGHT)
        yield from (Try("FCS, to be refused", f"{name} {i}", read_crafted, (name, i)) for name in REFUSED)
        yield from (Try("FCS, to be refused", f"{name} {i}", read_no_file, (name,)) for name in ("folder", "missing"))
    for name in FLIPPED:
        for i in range(seed, seed + n_flips):
            yield Try("FCS, one bit flipped", f"{name} {i}", read_flipped, (name, i))


def read_crafted(name: str, seed: int) -> str | None:
    """Read a file of the tables."""
    content, events = (RIGHT | REFUSED)[name](np.random.default_rng(seed))
    adata, outcome = _read(content)
    if adata is None:
        return outcome
    if events is None:
        return "silent"
    is_right = (
        adata.shape == events.shape and np.allclose(adata.X, events, rtol=1e-5) and list(adata.var["channel"]) == NAMES
    )
    return None if is_right else "silent"


def read_flipped(name: str, seed: int) -> str | None:
    """Read a sound file with one bit flipped: of its HEADER or TEXT, and once in ten times anywhere."""
    rng = np.random.default_rng(seed)
    content, events = RIGHT[name](rng)
    assert events is not None
    n_text = len(content) - events.size * (8 if name == "doubles" else 4)
    at = int(rng.integers(n_text if seed % 10 else len(content)))
    flipped = bytearray(content)
    flipped[at] ^= 1 << int(rng.integers(8))
    adata, outcome = _read(bytes(flipped))
    if adata is None:
        return outcome
    if adata.shape != events.shape:
        return "silent"
    n_events = int((events != adata.X).sum())
    n_names = sum(a != b for a, b in zip(adata.var["channel"], NAMES, strict=True))
    n_names += sum(a != b for a, b in zip(adata.var["marker"], MARKERS, strict=True))
    return None if n_events <= (at >= n_text) and n_names <= (at < n_text) else "silent"


def read_no_file(what: str) -> str | None:
    """Read what is no file."""
    with tempfile.TemporaryDirectory() as folder:
        ne.io.read_fcs(folder if what == "folder" else Path(folder) / "missing.fcs")
    return "silent"


def _read(content: bytes) -> tuple[AnnData | None, str | None]:
    """Read a file with these bytes; an error that does not name it is raw, and too much memory is a crash."""
    most = 2 * max(len(content), EXPANDED if content[:2] == b"\x1f\x8b" else 0) + SPARE
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "hostile.fcs"
        path.write_bytes(content)
        tracemalloc.start()
        try:
            adata = ne.io.read_fcs(path)
        except Exception as error:
            if tracemalloc.get_traced_memory()[1] > most:
                return None, "crash"
            if path.name in str(error):
                raise
            return None, "raw"
        else:
            return (None, "crash") if tracemalloc.get_traced_memory()[1] > most else (adata, None)
        finally:
            tracemalloc.stop()
