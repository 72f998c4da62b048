"""FCS files: written from the published standard, and held against it."""

import re

import numpy as np
import pytest


def write_file(path, events, channels, markers=None, *, delimiter="|", datatype="F", stored=None, **keywords):
    """Write a file, float32 unless said otherwise. Keywords are given without the dollar; one of None is left out."""
    markers = [""] * len(channels) if markers is None else markers
    stored = np.asarray(events, dtype="<f4") if stored is None else stored
    values = {"$BYTEORD": "1,2,3,4", "$DATATYPE": datatype, "$MODE": "L", "$NEXTDATA": "0"}
    values |= {f"${name}": "0" for name in ("BEGINANALYSIS", "ENDANALYSIS", "BEGINSTEXT", "ENDSTEXT")}
    values |= {"$PAR": str(len(channels)), "$TOT": str(len(stored))}
    for n, (channel, marker) in enumerate(zip(channels, markers, strict=True), start=1):
        values |= {f"$P{n}N": channel, f"$P{n}B": str(8 * stored.dtype.itemsize), f"$P{n}E": "0,0", f"$P{n}R": "262144"}
        values |= {f"$P{n}S": marker} if marker else {}
    own = {name if name.islower() else f"${name}": value for name, value in keywords.items()}
    values = {name: str(value) for name, value in (values | own).items() if value is not None}
    begin = 8_192
    raw = stored.tobytes()
    values |= {"$BEGINDATA": str(begin if raw else 0), "$ENDDATA": str(begin + len(raw) - 1 if raw else 0)}
    words = [word.replace(delimiter, 2 * delimiter) for item in values.items() for word in item]
    text = (delimiter + delimiter.join(words) + delimiter).encode()
    assert len(text) < begin - 58
    offsets = (58, 57 + len(text), begin if raw else 0, begin + len(raw) - 1 if raw else 0, 0, 0)
    header = "FCS3.1    " + "".join(str(offset).rjust(8) for offset in offsets)
    path.write_bytes((header.encode() + text).ljust(begin) + raw)
    return path


def read_standard(path):
    """Return the keywords and the events of a file of ours, once it is found to be as FCS 3.1 says, byte by byte."""
    made = path.read_bytes()
    assert made[:10] == b"FCS3.1    "
    text_begin, text_end, begin, end, *analysis = (int(made[i : i + 8]) for i in range(10, 58, 8))
    assert text_begin == 58 and analysis == [0, 0]
    text = made[text_begin : text_end + 1].decode()
    delimiter = text[0]
    assert text[-1] == delimiter and 1 <= ord(delimiter) <= 126
    one = f"{re.escape(delimiter)}(?!{re.escape(delimiter)})"
    words = (
        re.split(one, text.replace(2 * delimiter, "\0")[1:-1]) if 2 * delimiter in text else text[1:-1].split(delimiter)
    )
    words = [word.replace("\0", delimiter) for word in words]
    assert len(words) % 2 == 0 and all(words), "a keyword or a value is empty"
    keywords = dict(zip(words[::2], words[1::2], strict=True))
    assert len(keywords) == len(words) // 2, "a keyword is there twice"
    told = {name[1:]: value for name, value in keywords.items() if name.startswith("$")}
    n_events, n_channels = int(told["TOT"]), int(told["PAR"])
    assert (told["MODE"], told["BYTEORD"], told["NEXTDATA"]) == ("L", "1,2,3,4", "0")
    for name in ("BEGINSTEXT", "ENDSTEXT", "BEGINANALYSIS", "ENDANALYSIS"):
        assert told[name] == "0"
    dtype = {"F": "<f4", "D": "<f8"}[told["DATATYPE"]]
    width = np.dtype(dtype).itemsize
    if n_events:
        assert (
            int(told["BEGINDATA"]) == text_end + 1 and int(told["ENDDATA"]) == text_end + n_events * n_channels * width
        )
        assert (begin, end) in [(int(told["BEGINDATA"]), int(told["ENDDATA"])), (0, 0)]
        assert (begin == 0) == (int(told["ENDDATA"]) > 99_999_999)
    raw = made[text_end + 1 : text_end + 1 + n_events * n_channels * width]
    assert made[text_end + 1 + len(raw) :] == b"0" * 8  # no checksum
    events = np.frombuffer(raw, dtype=dtype).reshape(n_events, n_channels)
    names = [told[f"P{n}N"] for n in range(1, n_channels + 1)]
    assert len(set(names)) == n_channels and not any("," in name for name in names)
    for n in range(1, n_channels + 1):
        assert int(told[f"P{n}B"]) == 8 * width and f"P{n}DATATYPE" not in told
        assert told[f"P{n}E"] == "0,0"
        assert float(told[f"P{n}R"]) > 0 and float(told[f"P{n}R"]) >= events[:, n - 1].max(initial=0)
    assert not [name for name in told if re.fullmatch(rf"P{n_channels + 1}[A-Z]", name)]
    return keywords, events


@pytest.fixture
def fcs():
    """The helpers by name: test files cannot import from each other."""
    return {"write": write_file, "check": read_standard}
