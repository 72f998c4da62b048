import gzip
import logging
import tracemalloc

import anndata
import numpy as np
import pytest

import neuronedit as ne
from neuronedit.io._fcs_data_set import read_data_set
from neuronedit.io._fcs_text import split_text

NAMES, MARKERS = ["Time", "FL1-A", "FL2-A"], ["", "CD3", "CD4"]
N_TEXT = 1_000  # bytes of TEXT, padded; the events follow


def write(path, events, *, version="FCS3.1", raw=None, delimiter="/", header=None, between=b"", behind=b"", **keywords):
    """Write an FCS file from the published standard. Keywords are given without the dollar; those of None are left out."""
    raw = events.astype("<f4").tobytes() if raw is None else raw
    begin = 58 + N_TEXT + len(between)
    end = begin + len(raw) - 1
    values = {"BEGINDATA": begin, "ENDDATA": end, "BYTEORD": "1,2,3,4", "DATATYPE": "F", "MODE": "L", "NEXTDATA": 0}
    values |= {
        "BEGINSTEXT": 0,
        "ENDSTEXT": 0,
        "BEGINANALYSIS": 0,
        "ENDANALYSIS": 0,
        "PAR": events.shape[1],
        "TOT": len(events),
    }
    for i, (name, marker) in enumerate(zip(NAMES, MARKERS, strict=True), start=1):
        values |= {f"P{i}N": name, f"P{i}S": marker or None, f"P{i}B": 32, f"P{i}E": "0,0", f"P{i}R": 262144}
    words = [
        str(word) for name, value in (values | keywords).items() if value is not None for word in (f"${name}", value)
    ]
    text = delimiter + "".join(word.replace(delimiter, 2 * delimiter) + delimiter for word in words)
    header = header or (begin, end)
    offsets = "".join(str(offset).rjust(8) for offset in (58, 57 + N_TEXT, *header, 0, 0))
    path.write_bytes(f"{version}    {offsets}{text.ljust(N_TEXT)}".encode("latin-1") + between + raw + behind)
    return path


def write_integers(path, events, n_bytes=2, order="little", **keywords):
    """Write whole numbers; ``n_bytes`` is one number, or one a channel. Keywords P_R, P_E, P_G, P_B are those of all channels."""
    widths = np.broadcast_to(n_bytes, len(NAMES)).tolist()
    raw = b"".join(int(x).to_bytes(w, order) for row in events for x, w in zip(row, widths, strict=True))
    own = {name: keywords.pop(name) for name in list(keywords) if name.startswith("P_")}
    for i, width in enumerate(widths, start=1):
        mine = {f"P{i}B": 8 * width, f"P{i}R": 256**width} | {f"P{i}{name[2:]}": value for name, value in own.items()}
        keywords = mine | keywords
    byteord = "1,2,3,4" if order == "little" else "4,3,2,1"
    return write(path, events, raw=raw, **{"DATATYPE": "I", "BYTEORD": byteord} | keywords)


@pytest.fixture
def floats():
    return np.random.default_rng(0).normal(100, 30, (50, 3)).astype("f4")


@pytest.fixture
def integers():
    return np.random.default_rng(0).integers(0, 1_000, (50, 3))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "sample.fcs"


def shift(n):
    """Offsets that are wrong by some bytes."""
    return 58 + N_TEXT + n, 58 + N_TEXT + 600 - 1 + n


def check(adata, events):
    np.testing.assert_allclose(adata.X, events, rtol=1e-6)
    assert list(adata.var["channel"]) == NAMES and list(adata.var["marker"]) == MARKERS
    assert list(adata.var_names) == [marker or name for name, marker in zip(NAMES, MARKERS, strict=True)]


def keyword(adata, name):
    keywords = adata.uns["fcs"]["keywords"]
    return keywords.set_index("keyword").loc[name, "value"]


def converted(adata):
    channels = adata.uns["fcs"]["channels"]
    return list(channels.loc[channels["converted"], "channel"])


def test_what_is_read(path, floats):
    keywords = {"DATE": "05/10/2025", "SPILLOVER": "2,FL1-A,FL2-A,1,0.3,0.05,1"}
    adata = ne.io.read_fcs(write(path, floats, **keywords))
    check(adata, floats)
    assert adata.X.dtype == np.float32 and list(adata.obs_names[:2]) == ["sample-0", "sample-1"]
    record = adata.uns["fcs"]
    files = record["files"].loc["sample.fcs"]
    assert (files["version"], files["data_set"], files["n_events"], files["spillover"]) == ("FCS3.1", 1, 50, 1)
    assert converted(adata) == [] and not record["compensated"]
    assert keyword(adata, "$DATE") == "05/10/2025" and keyword(adata, "$P2N") == "FL1-A"
    assert list(adata.var["used"]) == [False, True, True] and list(adata.obs.columns) == ["file", "event"]
    assert list(record["spillover"]["channel"]) == ["FL1-A", "FL1-A", "FL2-A", "FL2-A"]
    assert list(record["spillover"]["seen_in"]) == ["FL1-A", "FL2-A"] * 2
    assert list(record["spillover"]["share"]) == [1, 0.3, 0.05, 1]


@pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
def test_what_is_kept_can_be_written(tmp_path, path, floats, suffix):
    """Also keywords and channels that could be no names in a file."""
    spillover = "2,FL1-A,FL2-A,1,0,0,1"
    adata = ne.io.read_fcs(write(path, floats, delimiter="|", P2S="CD3/CD4\0", SPILLOVER=spillover, **{"A/B": "x"}))
    getattr(adata, f"write_{suffix}")(tmp_path / f"a.{suffix}")
    again = getattr(anndata, f"read_{suffix}")(tmp_path / f"a.{suffix}")
    assert keyword(again, "$A/B") == "x" and again.var["marker"].iloc[1] == "CD3/CD4"
    for table in ("files", "keywords", "channels", "spillover"):
        there, written = again.uns["fcs"][table], adata.uns["fcs"][table]
        assert list(there.index) == list(written.index) and (there == written).all(axis=None)
    assert not again.uns["fcs"]["compensated"]


@pytest.mark.parametrize(
    ("value", "channels"),
    [
        ("2, FL1-A, FL2-A, 1, 0, 0, 1", ["FL1-A", "FL2-A"]),
        ("2,2,3,1,0,0,1", ["FL1-A", "FL2-A"]),
        ("3,1,0,0,0,1,0,0,0,1", NAMES),
        ("0", None),
        ("", None),
        ("2,FL1-A,FL2-A", None),
        ("2,FL1-A,FL2-A,1,0,0,x", None),
        ("999999999999", None),
        ("-1", None),
        ("no", None),
    ],
)
def test_spillover(path, floats, value, channels):
    spillover = read_data_set(write(path, floats, COMP=value)).spillover
    assert (
        channels is None
        if spillover is None
        else spillover[0] == channels and np.array_equal(*[np.eye(len(channels)), spillover[1]])
    )


@pytest.mark.parametrize("version", ["FCS2.0", "FCS3.0", "FCS3.1", "FCS3.2"])
@pytest.mark.parametrize(("order", "byteord"), [("<", "1,2,3,4"), (">", "4,3,2,1")])
def test_floating_point(path, floats, version, order, byteord):
    check(
        ne.io.read_fcs(
            write(path, floats, raw=floats.astype(f"{order}f4").tobytes(), version=version, BYTEORD=byteord)
        ),
        floats,
    )
    keywords = {"DATATYPE": "D", "BYTEORD": byteord, "P1B": 64, "P2B": 64, "P3B": 64}
    doubles = floats.astype("f8") / 3
    adata = ne.io.read_fcs(write(path, floats, raw=doubles.astype(f"{order}f8").tobytes(), version=version, **keywords))
    assert adata.X.dtype == np.float64 and np.array_equal(adata.X, doubles)


def test_logarithms_and_gains_of_floating_point_are_not_applied(path, floats):
    """The standard has them linear; real files have $PnE/4.07918,1/ beside linear numbers."""
    check(ne.io.read_fcs(write(path, floats, P2E="4.07918,1", P3G="8", P2R="")), floats)


def test_a_type_for_each_channel(path):
    events = np.array([[1, 0.5, 1 / 3], [2**31, -3, 1e100]])
    record = np.array([tuple(row) for row in events], dtype="<u4,<f4,<f8")
    keywords = {"P1DATATYPE": "I", "P1R": 2**32, "P3DATATYPE": "D", "P3B": 64}
    adata = ne.io.read_fcs(write(path, events, raw=record.tobytes(), version="FCS3.2", **keywords))
    assert np.array_equal(adata.X, events)


@pytest.mark.parametrize("order", ["little", "big"])
@pytest.mark.parametrize("n_bytes", [1, 2, 3, 4, 5, 8, [1, 2, 3], [4, 3, 8]])
def test_integers(path, integers, n_bytes, order):
    integers %= 256
    adata = ne.io.read_fcs(write_integers(path, integers, n_bytes, order))
    check(adata, integers)
    assert adata.X.dtype == (np.float64 if np.max(n_bytes) > 3 else np.float32)


def test_integers_that_float32_does_not_hold(path):
    events = np.array([[2**31 + 1, 2**24 + 1, 0]])
    assert np.array_equal(ne.io.read_fcs(write_integers(path, events, 4)).X, events)


@pytest.mark.parametrize("n_range", [1_000, "1024", "1024.0", " 1024 ", "1.024e3"])
def test_bits_above_the_range_are_ignored(path, integers, n_range):
    dirty = integers + 2**15
    check(ne.io.read_fcs(write_integers(path, dirty, P_R=n_range)), integers)
    check(ne.io.read_fcs(path, convert=False), integers)


@pytest.mark.parametrize(("amplification", "lowest"), [("4,1", 1), ("4,0", 1), ("4.0, 0.01", 0.01)])
def test_logarithmic_channels_become_linear(path, integers, amplification, lowest):
    adata = ne.io.read_fcs(write_integers(path, integers, P_E=amplification, P_R=1024, P_G=8))
    check(adata, lowest * 10 ** (4 * integers / 1024))
    assert converted(adata) == NAMES and keyword(adata, "$P1E") == amplification
    check(ne.io.read_fcs(path, convert=False), integers)


def test_gains(path, integers):
    """The time has none, whatever is written; 0 is none."""
    adata = ne.io.read_fcs(write_integers(path, integers, P1G=100, P2G=8, P3G=0))
    check(adata, integers / [1, 8, 1])
    assert converted(adata) == ["FL1-A"]


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        (b"/a/1/b/2/", [("a", "1"), ("b", "2")]),
        (b"/a/1/b/2", [("a", "1"), ("b", "2")]),
        (b"/a/1/b/2/ \r\n\0", [("a", "1"), ("b", "2")]),
        (b"/a//b/2/", [("a", ""), ("b", "2")]),
        (b"/a//b//c/3/", [("a", ""), ("b", ""), ("c", "3")]),
        (b"/a/1/b//", [("a", "1"), ("b", "")]),
        (b"/a/1//2/b/2/", [("a", "1/2"), ("b", "2")]),
        (b"/a///1/b/2/", [("a", "/1"), ("b", "2")]),
        (b"/a/1///b/2/", [("a", "1/"), ("b", "2")]),
        (b"/a////b/2/", [("a", "/"), ("b", "2")]),
        (b"/a//b/1//2////3/c//d/4/", [("a", ""), ("b", "1/2//3"), ("c", ""), ("d", "4")]),
        (b"\na\n1\nb\n\n", [("a", "1"), ("b", "")]),
        (b"\xffa\xff1\xff", [("a", "1")]),
        ("/a/\u00b5/".encode(), [("a", "\u00b5")]),
        (b"/a/\xb5/", [("a", "\u00b5")]),
    ],
)
def test_delimiters(text, pairs):
    assert split_text(text) == pairs


@pytest.mark.parametrize("order", ["NSBER", "BERSN", "RNBES", "SNBER"])
def test_empty_values(path, floats, order):
    """They lose no name, wherever they stand."""
    values = {"N": NAMES, "S": ["", "", ""], "B": [32] * 3, "E": ["0,0"] * 3, "R": [1024] * 3}
    absent = {f"P{i}{key}": None for i in (1, 2, 3) for key in "NSBER"}
    pairs = [(f"$P{i + 1}{key}", values[key][i]) for i in range(3) for key in order]
    more = "".join(f"/{name}/{value}" for name, value in [("$CYT", ""), *pairs, ("$COM", "a//b"), ("$LAST", "")])
    write(path, floats, **absent)
    made = path.read_bytes()
    end = made[: 58 + N_TEXT].rstrip().rfind(b"/")
    path.write_bytes((made[:end] + more.encode() + b"/").ljust(58 + N_TEXT) + made[58 + N_TEXT :])
    data_set = read_data_set(path)
    assert [one.name for one in data_set.channels] == NAMES and np.array_equal(data_set.read_events(), floats)
    assert (data_set.keywords["$CYT"], data_set.keywords["$COM"], data_set.keywords["$LAST"]) == ("", "a/b", "")


@pytest.mark.parametrize("delimiter", ["|", "\\", "*", "!", "\f", "\x1e", "\t", "\n", "\x7f", ";"])
def test_odd_delimiters(path, floats, delimiter):
    check(ne.io.read_fcs(write(path, floats, delimiter=delimiter, COM=f"a{delimiter}b")), floats)


@pytest.mark.parametrize(
    "changes",
    [
        {"header": ("", "")},
        {"header": (0, 0)},
        {"header": (58 + N_TEXT, 99_999_999)},
        {"header": (58 + N_TEXT, 99_999_999), "BEGINDATA": None, "ENDDATA": None},
        {"header": shift(-6)},
        {"header": shift(6)},
        {"header": ("abc", "-1")},
        {"BEGINDATA": "", "ENDDATA": ""},
        {"BEGINDATA": None, "ENDDATA": None},
        {"BEGINDATA": 0, "ENDDATA": 0},
        {"BEGINDATA": shift(6)[0], "ENDDATA": shift(6)[1]},
        {"header": (58 + N_TEXT, 58 + N_TEXT + 600), "ENDDATA": 58 + N_TEXT + 600, "behind": b"\0"},
        {"TOT": None},
        {"TOT": None, "version": "FCS2.0"},
    ],
)
def test_offsets(path, floats, changes):
    check(ne.io.read_fcs(write(path, floats, **changes)), floats)


def test_offsets_that_are_ambiguous(path, floats):
    write(path, floats, between=b"\0" * 12, header=shift(0))
    with pytest.raises(
        ValueError, match=r"sample.fcs: .*HEADER at bytes 1058 to 1657 and TEXT at bytes 1070 .* offsets='header'"
    ):
        ne.io.read_fcs(path)
    check(ne.io.read_fcs(path, offsets="text"), floats)
    check(ne.io.read_fcs(path, offsets="header"), np.vstack([np.zeros((1, 3)), floats[:-1]]))
    write(path, floats, BEGINDATA=None, ENDDATA=None)
    with pytest.raises(ValueError, match="TEXT does not tell where the events are"):
        ne.io.read_fcs(path, offsets="text")


def test_two_data_sets(path, floats, caplog):
    write(path, floats)
    one = path.read_bytes()
    for told in (False, True):
        write(path, floats, NEXTDATA=len(one) if told else 0)
        path.write_bytes(path.read_bytes() + b"\0" * 8 * (not told) + write(path, 2 * floats[:9]).read_bytes())
        with pytest.warns(
            match=r"sample.fcs: it has 2 data sets: 1 \(50 events\), 2 \(9 events\). Only number 1 .*data_set="
        ):
            check(ne.io.read_fcs(path), floats)
        check(ne.io.read_fcs(path, data_set=np.int64(1)), floats)
        check(second := ne.io.read_fcs(path, data_set=2), 2 * floats[:9])
        assert second.uns["fcs"]["files"].loc["sample.fcs", "data_set"] == 2
        with pytest.raises(ValueError, match="there is no data_set=3"):
            ne.io.read_fcs(path, data_set=3)
    path.write_bytes(one + write(path, floats[:0]).read_bytes())
    check(ne.io.read_fcs(path), floats)  # the other one has no events
    path.write_bytes(one + one[:70])
    check(ne.io.read_fcs(path, data_set=1), floats)
    with pytest.raises(ValueError, match="2 data sets: .* 2 .unreadable"):
        ne.io.read_fcs(path)


@pytest.mark.parametrize("offset", [1658, 1_000_000, 1100, 60, 5, -1, "next"])
def test_nextdata_that_leads_nowhere(path, floats, offset, caplog):
    with caplog.at_level(logging.WARNING):
        check(ne.io.read_fcs(write(path, floats, NEXTDATA=offset)), floats)
    assert f"$NEXTDATA is '{offset}', but no data set begins there" in caplog.text


def test_gzip(tmp_path, path, floats):
    packed = tmp_path / "packed.fcs.gz"
    packed.write_bytes(gzip.compress(write(path, floats).read_bytes()))
    check(ne.io.read_fcs(packed), floats)
    for damaged in (packed.read_bytes()[:-20], packed.read_bytes()[:300] + b"\0" * 40 + packed.read_bytes()[340:]):
        packed.write_bytes(damaged)
        with pytest.raises(OSError, match="packed.fcs.gz cannot be read"):
            ne.io.read_fcs(packed)
    packed.write_bytes(gzip.compress(path.read_bytes() + bytes(70 * 2**20)))
    with pytest.raises(ValueError, match="packed.fcs.gz: it is gzipped, and expands to more than .*gunzip"):
        ne.io.read_fcs(packed)


def test_supplemental_text(path, floats):
    begin = 58 + N_TEXT + 600
    extra = b"/$P1S/Zeit/"
    adata = ne.io.read_fcs(write(path, floats, behind=extra, BEGINSTEXT=begin, ENDSTEXT=begin + len(extra) - 1))
    assert list(adata.var["marker"]) == ["Zeit", "CD3", "CD4"]


def test_other_segments_between_text_and_events(path, floats):
    """They may hold anything."""
    noise = np.random.default_rng(0).bytes(300_000) + b"/"
    check(ne.io.read_fcs(write(path, floats, between=noise)), floats)


def test_no_events(path, floats):
    assert ne.io.read_fcs(write(path, floats[:0])).shape == (0, 3)
    assert ne.io.read_fcs(write(path, floats[:0], header=(0, 0), BEGINDATA=0, ENDDATA=0)).shape == (0, 3)


def test_channels_without_name(path, floats):
    """FCS 2.0 allows them."""
    assert list(ne.io.read_fcs(write(path, floats, version="FCS2.0", P2N=None)).var["channel"]) == [
        "Time",
        "P2",
        "FL2-A",
    ]
    assert list(ne.io.read_fcs(write(path, floats, P2N="")).var["channel"]) == ["Time", "P2", "FL2-A"]


HUGE = 10**17
REFUSED = {
    "PAR huge": ({"PAR": HUGE}, r"TEXT has no keyword \$P4B"),
    "PAR zero": ({"PAR": 0}, r"\$PAR is '0'"),
    "PAR a word": ({"PAR": "x"}, r"\$PAR is 'x'; it must be a whole number"),
    "PAR long": ({"PAR": "9" * 400}, r"\$PAR is '9+\.\.\. \(402 characters\)"),
    "PAR missing": ({"PAR": None}, r"no keyword \$PAR"),
    "PAR small": ({"PAR": 2}, r"\$TOT=50 events of 8 bytes do not fill"),
    "TOT huge": ({"TOT": HUGE}, "do not fill"),
    "TOT small": ({"TOT": 7}, "do not fill"),
    "TOT zero": ({"TOT": 0}, "do not fill"),
    "TOT and offsets huge": ({"TOT": 10**15, "ENDDATA": 1057 + 12 * 10**15, "header": (0, 0)}, "it is cut, 50 of"),
    "offsets backwards": ({"header": (0, 0), "BEGINDATA": 900, "ENDDATA": 600}, "no events can be there"),
    "offsets nowhere": ({"header": (0, 0), "BEGINDATA": 0, "ENDDATA": 0}, "neither HEADER nor TEXT tells where"),
    "offsets in TEXT": ({"header": shift(-6), "BEGINDATA": None}, "TEXT is there"),
    "version": ({"version": "FCS1.0"}, "its version is 'FCS1.0'; FCS2.0, FCS3.0"),
    "BYTEORD mixed": ({"BYTEORD": "3,4,1,2"}, r"\$BYTEORD is '3,4,1,2'; 1,2,3,4 and 4,3,2,1 can be read"),
    "BYTEORD missing": ({"BYTEORD": None}, r"no keyword \$BYTEORD"),
    "MODE": ({"MODE": "C"}, r"\$MODE is 'C': it holds histograms"),
    "DATATYPE A": ({"DATATYPE": "A"}, r"\$DATATYPE of channel 1 is 'A': ASCII"),
    "DATATYPE Q": ({"DATATYPE": "Q"}, r"\$DATATYPE of channel 1 is 'Q'"),
    "DATATYPE D": ({"DATATYPE": "D"}, r"\$P1B is 32, but numbers of type D have 64 bits"),
    "PnB missing": ({"P2B": None}, r"no keyword \$P2B"),
    "PnB 10": ({"P2B": 10}, r"\$P2B is '10'; 8, 16, 24"),
    "PnB *": ({"P2B": "*"}, r"\$P2B is '\*'"),
    "PnN missing": ({"P2N": None}, r"no keyword \$P2N"),
    "supplemental TEXT": ({"BEGINSTEXT": 70_000, "ENDSTEXT": 80_000}, r"\$BEGINSTEXT and \$ENDSTEXT are 70000"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(path, floats, name):
    changes, message = REFUSED[name]
    with pytest.raises(ValueError, match=f"sample.fcs: .*{message}"):
        ne.io.read_fcs(write(path, floats, **changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"P_R": "abc"}, r"\$P1R is 'abc'; it must be a number above 1"),
        ({"P_R": "0"}, r"\$P1R is '0'"),
        ({"P2R": None}, r"\$P2R is None"),
        ({"P_R": "1024,0"}, r"\$P1R is '1024,0'"),
        ({"P_R": "nan"}, r"\$P1R is 'nan'"),
        ({"P2E": "log"}, r"\$P2E is 'log'; it must be two numbers"),
        ({"P_E": "400,1"}, r"\$P1E is '400,1'"),
        ({"P_E": "-4,1"}, r"\$P1E is '-4,1'"),
        ({"P2G": "-8"}, r"\$P2G is '-8'; it must be a number above 0"),
        ({"P2G": "1e-300"}, r"\$P2G is '1e-300'"),
    ],
)
def test_scales_that_are_refused_can_be_left_out(path, integers, changes, message):
    write_integers(path, integers, **changes)
    with pytest.raises(ValueError, match=f"sample.fcs: {message}.*convert=False"):
        ne.io.read_fcs(path)
    check(ne.io.read_fcs(path, convert=False), integers)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda made: b"", "it is no FCS file: it begins with b''"),
        (lambda made: b"CD3,CD4\n1,2\n", "it is no FCS file: it begins with b'CD3,CD4"),
        (lambda made: made[:40], "it is cut: HEADER has 58 bytes, and 40 are there"),
        (lambda made: made[:500], "it is cut: TEXT should end at byte 1,057, and the file has 500 bytes"),
        (lambda made: made[:-45], ".* it is cut, 46 of 50 events are there"),
        (lambda made: made.replace(b"FL1-A", b"FL1/A"), "TEXT ends with .* stands alone in a value"),
        (lambda made: made.replace(b"$P2N", b"$P1N"), r"\$P1N is there twice, as 'Time' and as 'FL1-A'"),
        (
            lambda made: made[:18] + str(made.index(b"$P2N") - 1).rjust(8).encode() + made[26:],
            "HEADER ends TEXT at byte [0-9]+, but keywords go on",
        ),
        (lambda made: made[:10] + b" " * 16 + made[26:], "HEADER puts TEXT at bytes '' to ''"),
        (
            lambda made: made[:10] + b"      58 1000058" + made[26:58] + b"/" * 1_000_001,
            "TEXT has more than 100,000 keywords",
        ),
        (lambda made: (made[:26] + b" " * 32 + b"/$TOT/1/".ljust(N_TEXT)) * 1_001, "it has more than 1,000 data sets"),
    ],
)
def test_damaged_files(path, floats, change, message):
    path.write_bytes(change(write(path, floats).read_bytes()))
    with pytest.raises(ValueError, match=f"sample.fcs: {message}"):
        ne.io.read_fcs(path)


def test_what_is_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="missing.fcs is not a file"):
        ne.io.read_fcs(tmp_path / "missing.fcs")
    with pytest.raises(FileNotFoundError, match="is a folder without .fcs files"):
        ne.io.read_fcs(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"path": 3}, TypeError, "path must be a string or a PathLike or a list .*; it is 3"),
        ({"offsets": "both"}, ValueError, "offsets must be one of 'auto', 'header', 'text'; it is 'both'"),
        ({"offsets": ["auto"]}, TypeError, "offsets must be one of"),
        ({"data_set": 0}, ValueError, "data_set must be at least 1; it is 0"),
        ({"data_set": True}, TypeError, "data_set must be"),
        ({"convert": "no"}, TypeError, "convert must be True or False; it is 'no'"),
    ],
)
def test_bad_arguments(path, arguments, error, message):
    with pytest.raises(error, match=message):
        ne.io.read_fcs(**{"path": path} | arguments)


def test_memory(path):
    """Reading takes the events once; what a file claims takes nothing."""
    events = np.zeros((300_000, 3), dtype="f4")
    for keywords, limit in (({}, 1.2), ({"TOT": HUGE}, 0.1), ({"PAR": HUGE}, 0.1)):
        write(path, events, **keywords)
        tracemalloc.start()
        try:
            read_data_set(path).read_events()
        except ValueError:
            assert keywords
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < limit * events.nbytes


@pytest.mark.parametrize("reader", ["flowio", "FlowCal", "flowkit", "readfcs"])
def test_other_readers_agree(path, floats, integers, reader):
    """On files that all of them read; flowio is always there, the others where they are installed."""
    module = pytest.importorskip(reader)
    big = write(path.with_name("big.fcs"), floats, raw=floats.astype(">f4").tobytes(), BYTEORD="4,3,2,1")
    files = [write(path, floats), big, write_integers(path.with_name("integers.fcs"), integers, P_R=1024)]
    if reader != "readfcs":  # it does not convert
        files.append(write_integers(path.with_name("log.fcs"), integers, P_R=1024, P_E="4,1"))
    for file in files:
        if reader == "flowio":
            theirs = module.FlowData(str(file)).as_array()
        elif reader == "FlowCal":
            theirs = np.asarray(module.transform.to_rfi(module.io.FCSData(str(file))))
        elif reader == "flowkit":
            theirs = module.Sample(str(file)).get_events(source="raw")
        else:
            theirs = module.read(str(file)).X
        np.testing.assert_allclose(ne.io.read_fcs(file).X, theirs, rtol=1e-5)
