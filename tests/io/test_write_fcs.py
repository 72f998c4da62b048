"""Edited cells back into FCS files: nothing changes that was not edited, and every file is as the standard says."""

import logging
from pathlib import Path

import anndata
import numpy as np
import pytest

import neuronedit as ne
from neuronedit.io._fcs_build import build_fcs, encode_text, raise_range, set_layout
from neuronedit.io._fcs_data_set import read_data_set
from neuronedit.io._fcs_text import split_text

CHANNELS, MARKERS = ["Time", "Nd142Di", "Yb170Di", "Ir191Di"], ["", "CD19", "CD3", "DNA1"]
CHANGED = {"$BEGINDATA", "$ENDDATA", "NEURONEDIT"}
KINDS = ["cytonorm_volunteers", "cytonorm_r", "imubac_krieg"]

pytestmark = pytest.mark.filterwarnings("ignore:Writing zarr v2 data")


@pytest.fixture
def folder(tmp_path, fcs):
    rng = np.random.default_rng(0)
    folder = tmp_path / "study"
    folder.mkdir()
    for name, n in (("a", 50), ("b", 70), ("c", 30)):
        values = rng.gamma(1, 100, (n, 4)).astype("f4")
        values[:, 0] = np.sort(values[:, 0]) * 1_000
        keywords = {"COM": f"made of {name}|/\\", "P1R": 10**7, "own": "x" * 300}
        fcs["write"](folder / f"{name}.fcs", values, CHANNELS, MARKERS, **keywords)
    return folder


@pytest.fixture
def adata(folder):
    return ne.io.read_fcs(folder)


def read(path):
    data_set = read_data_set(path)
    return data_set.keywords, data_set.read_events()


def differing(one, other):
    return {name for name in one.keys() | other.keys() if one.get(name, "").strip() != other.get(name, "").strip()}


def assert_same_file(path, original):
    """Check that a file differs from another in nothing but where the events are."""
    (keywords, events), (known, before) = read(path), read(original)
    assert events.tobytes() == before.tobytes()
    may_change = CHANGED | {"$BYTEORD"} | {f"$P{n}{key}" for n in range(1, events.shape[1] + 1) for key in "RE"}
    assert differing(keywords, known) <= may_change


def test_untouched_files_stay_what_they_are(adata, folder, tmp_path, fcs):
    paths = ne.io.write_fcs(adata, tmp_path / "out")
    assert paths == [tmp_path / "out" / f"{name}.fcs" for name in "abc"]
    for path in paths:
        keywords, events = fcs["check"](path)
        assert_same_file(path, folder / path.name)
        assert keywords["NEURONEDIT"].startswith("neuronedit ") and keywords["NEURONEDIT"].endswith("; layer X")
    again = ne.io.read_fcs(tmp_path / "out")
    assert np.array_equal(again.X, adata.X) and again.obs.equals(adata.obs) and again.var.equals(adata.var)
    ne.io.write_fcs(again, tmp_path / "twice")
    for path in paths:
        assert (tmp_path / "twice" / path.name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize("kind", KINDS)
def test_real_files(data_dir, tmp_path, fcs, kind):
    origin = Path(data_dir) / "origin" / kind
    if not origin.is_dir():
        pytest.skip(f"{origin} is not there")
    adata = ne.io.read_fcs(origin)
    for path in ne.io.write_fcs(adata, tmp_path / "out"):
        fcs["check"](path)
        assert_same_file(path, origin / path.name)
    again = ne.io.read_fcs(tmp_path / "out")
    assert np.array_equal(again.X, adata.X) and again.obs.equals(adata.obs) and again.var.equals(adata.var)


def test_cells_in_any_order(adata, folder, tmp_path):
    order = np.random.default_rng(0).permutation(adata.n_obs)
    for path in ne.io.write_fcs(adata[order].copy(), tmp_path / "out"):
        assert_same_file(path, folder / path.name)


@pytest.mark.parametrize("form", ["h5ad", "zarr", "backed"])
def test_from_a_file(adata, folder, tmp_path, form):
    if form == "zarr":
        adata.write_zarr(tmp_path / "a.zarr")
        stored = anndata.read_zarr(tmp_path / "a.zarr")
    else:
        adata.write_h5ad(tmp_path / "a.h5ad")
        stored = anndata.read_h5ad(tmp_path / "a.h5ad", backed="r" if form == "backed" else None)
    for path in ne.io.write_fcs(stored, tmp_path / "out"):
        assert_same_file(path, folder / path.name)


@pytest.mark.parametrize("most", [3, 1_000])
def test_from_a_store(folder, tmp_path, monkeypatch, most):
    pytest.importorskip("xarray")
    monkeypatch.setattr("neuronedit.io._fcs_store.MAX_NAMES_LOADED", most)
    stored = ne.io.read_fcs(folder, write_to=tmp_path / "a.zarr")
    for path in ne.io.write_fcs(stored, tmp_path / "out"):
        assert_same_file(path, folder / path.name)


def test_from_the_store_of_an_edit(folder, tmp_path):
    """It has no X: what was not used is read from the original files."""
    pytest.importorskip("xarray")
    adata = ne.io.read_fcs(folder)
    ne.pp.arcsinh(adata)
    markers = adata[:, adata.var["used"]].copy()
    ne.tl.train(markers, space="identity")
    how = {"source": "a.fcs", "target": "b.fcs", "query": "c.fcs", "edit": "shift"}
    ne.tl.edit(markers, "file", **how, write_to=tmp_path / "edited.zarr")
    ne.tl.edit(markers, "file", **how)
    ne.io.write_fcs(markers, tmp_path / "one", layer="edited")
    ne.io.write_fcs(anndata.read_zarr(tmp_path / "edited.zarr"), tmp_path / "two", layer="edited")
    for name in ("a.fcs", "b.fcs", "c.fcs"):
        np.testing.assert_allclose(read(tmp_path / "one" / name)[1], read(tmp_path / "two" / name)[1], rtol=1e-6)


@pytest.mark.parametrize("scale", ["raw", "arcsinh", "logicle"])
def test_edited_values(adata, folder, tmp_path, fcs, scale):
    """They come back to the raw scale; what is not used stays as it is to the bit."""
    raw = adata.X.copy()
    if scale == "arcsinh":
        ne.pp.arcsinh(adata, 5)
    if scale == "logicle":
        pytest.importorskip("flowutils")
        ne.pp.logicle(adata, T=1e4)
    adata.layers["edited"] = adata.X + np.float32(0.01)
    adata.layers["edited"][:, [0, 3]] = -1  # not used
    for column in [name for name in adata.var if name.startswith("X_")]:
        adata.var[column.replace("X_", "edited_", 1)] = adata.var[column]
    ne.io.write_fcs(adata, tmp_path / "out", layer="edited")
    again = ne.io.read_fcs(tmp_path / "out")
    assert np.array_equal(again.X[:, [0, 3]], raw[:, [0, 3]])
    again.X = raw if scale == "raw" else again.X
    if scale == "arcsinh":
        ne.pp.arcsinh(again, 5)
    if scale == "logicle":
        ne.pp.logicle(again, T=1e4)
    if scale != "raw":
        np.testing.assert_allclose(again.X[:, 1:3], adata.layers["edited"][:, 1:3], atol=1e-6)
    assert fcs["check"](tmp_path / "out" / "a.fcs")[0]["NEURONEDIT"].endswith("layer edited")


@pytest.mark.parametrize("scale", ["arcsinh", "logicle"])
def test_values_that_were_not_edited_stay_to_the_bit(adata, folder, tmp_path, scale):
    """The way to the scale and back rounds; where the raw values are known they are taken."""
    if scale == "arcsinh":
        ne.pp.arcsinh(adata, 5, key_added="corrected")
    else:
        pytest.importorskip("flowutils")
        ne.pp.logicle(adata, key_added="corrected")
    ne.io.write_fcs(adata, tmp_path / "same", layer="corrected")
    for name in "abc":
        assert_same_file(tmp_path / "same" / f"{name}.fcs", folder / f"{name}.fcs")
    at = adata.var_names.get_loc("CD3")
    adata.layers["corrected"][::2, at] *= 1.5
    ne.io.write_fcs(adata, tmp_path / "edited", layer="corrected")
    again = ne.io.read_fcs(tmp_path / "edited")
    others = [name for name in adata.var_names if name != "CD3"]
    np.testing.assert_array_equal(again[:, others].X, adata[:, others].X)
    np.testing.assert_array_equal(again.X[1::2, at], adata.X[1::2, at])
    assert (np.abs(again.X[::2, at] - adata.X[::2, at]) > 1e-3).mean() > 0.9


def test_an_edit_is_named(adata, tmp_path, fcs):
    ne.pp.arcsinh(adata)
    used = adata[:, adata.var["used"]].copy()
    ne.tl.train(used, space="identity")
    ne.tl.edit(used, "file", source="a.fcs", target="b.fcs", query="c.fcs", edit="shift")
    ne.io.write_fcs(used, tmp_path / "out", layer="edited")
    keywords, events = fcs["check"](tmp_path / "out" / "c.fcs")
    assert "layer edited; ne.tl.edit; source" in keywords["NEURONEDIT"] and "b.fcs" in keywords["NEURONEDIT"]
    rows = (used.obs["file"] == "c.fcs").to_numpy()
    np.testing.assert_allclose(np.arcsinh(events[:, 1:3] / 5), used.layers["edited"][rows], atol=1e-6)


def test_channels_that_are_no_features(adata, folder, tmp_path, fcs):
    used = adata[:, adata.var["used"]].copy()
    for path in ne.io.write_fcs(used, tmp_path / "out"):
        assert_same_file(path, folder / path.name)
    for path in ne.io.write_fcs(used, tmp_path / "dropped", on_left_out="drop"):
        keywords, events = fcs["check"](path)
        assert (keywords["$PAR"], keywords["$P1N"], keywords["$P2S"]) == ("2", "Nd142Di", "CD3")
        assert np.array_equal(events, read(folder / path.name)[1][:, 1:3])
    (folder / "b.fcs").rename(folder / "moved")
    with pytest.raises(
        ValueError, match=r"b.fcs must be read again for its channels 'Time', 'Ir191Di', .* not there any"
    ):
        ne.io.write_fcs(used, tmp_path / "no")
    fcs["write"](folder / "b.fcs", np.ones((2, 4)), CHANNELS, MARKERS)
    with pytest.raises(
        ValueError, match="was changed: 70 events of 4 channels .* now it has 2 of 4; on_left_out='drop'"
    ):
        ne.io.write_fcs(used, tmp_path / "no")
    fcs["write"](folder / "b.fcs", np.ones((70, 4)), CHANNELS, MARKERS)
    with pytest.raises(ValueError, match="b.fcs was changed: its 'Time' is not what was read"):
        ne.io.write_fcs(adata[:, ["Time", "CD3"]].copy(), tmp_path / "no")
    assert not (tmp_path / "no").exists()


def test_removed_cells(adata, folder, tmp_path, fcs):
    ne.pp.arcsinh(adata)
    adata.layers["edited"] = adata.X + np.float32(1)
    adata.var["edited_arcsinh_cofactor"] = adata.var["X_arcsinh_cofactor"]
    kept = np.random.default_rng(0).random(adata.n_obs) < 0.8
    kept[adata.obs["file"] == "c.fcs"] = False
    some_cells = adata[kept].copy()
    counts = (~kept[:50]).sum(), (~kept[50:120]).sum()
    with pytest.raises(
        ValueError, match=rf"a.fcs \({counts[0]}\), b.fcs \({counts[1]}\), c.fcs \(30\); on_removed='mark'"
    ):
        ne.io.write_fcs(some_cells, tmp_path / "out", layer="edited")
    assert not (tmp_path / "out").exists()
    ends = {"a.fcs": slice(0, 50), "b.fcs": slice(50, 120), "c.fcs": slice(120, 150)}
    for path in ne.io.write_fcs(some_cells, tmp_path / "out", layer="edited", on_removed="mark"):
        keywords, events = fcs["check"](path)
        before, is_kept = read(folder / path.name)[1], kept[ends[path.name]]
        assert keywords["$P5N"] == "neuronedit_kept" and np.array_equal(events[:, 4], is_kept)
        assert np.array_equal(events[~is_kept, :4], before[~is_kept])
        assert np.array_equal(events[:, [0, 3]], before[:, [0, 3]])
        change = np.arcsinh(events[is_kept, 1:3] / 5) - np.arcsinh(before[is_kept, 1:3] / 5)
        np.testing.assert_allclose(change, 1, atol=1e-5)
    again = ne.io.read_fcs(tmp_path / "out")
    assert not again.var.loc["neuronedit_kept", "used"]
    with pytest.raises(ValueError, match="has a channel 'neuronedit_kept' already"):
        ne.io.write_fcs(again, tmp_path / "twice", on_removed="mark")
    (folder / "a.fcs").unlink()
    with pytest.raises(ValueError, match="a.fcs must be read again for its removed cells, but .* not there any more"):
        ne.io.write_fcs(some_cells, tmp_path / "no", on_removed="mark")


def test_compensated_cells_are_spilled_over_again(folder, tmp_path, fcs):
    for path in sorted(folder.iterdir()):
        keywords = {"SPILLOVER": "2,Nd142Di,Yb170Di,1,0.3,0.05,1"}
        fcs["write"](path, read(path)[1], CHANNELS, MARKERS, **keywords)
    adata = ne.io.read_fcs(folder, compensate=True)
    for path in ne.io.write_fcs(adata, tmp_path / "out"):
        (keywords, events), (known, before) = fcs["check"](path), read(folder / path.name)
        assert differing(keywords, known) <= CHANGED | {"$P1R"}
        np.testing.assert_allclose(events, before, rtol=1e-5, atol=1e-4)
        assert np.array_equal(events[:, [0, 3]], before[:, [0, 3]])
    adata.X[:, 1] += 100
    ne.io.write_fcs(adata, tmp_path / "edited")
    again = ne.io.read_fcs(tmp_path / "edited", compensate=True)
    np.testing.assert_allclose(again.X, adata.X, rtol=1e-4, atol=1e-3)
    part = adata[:, ["Time", "CD3"]].copy()
    with pytest.raises(ValueError, match="was compensated with 'Nd142Di', .* cannot be spilled over again"):
        ne.io.write_fcs(part, tmp_path / "no", on_left_out="drop")
    part.X[:, 1] += 100
    ne.io.write_fcs(part, tmp_path / "part")
    again = ne.io.read_fcs(tmp_path / "part", compensate=True)
    np.testing.assert_allclose(again[:, "CD3"].X, part[:, "CD3"].X, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(("dtype", "written"), [("<u2", "F"), ("<u4", "D")])
def test_integers_become_floating_point(tmp_path, fcs, dtype, written):
    stored = np.random.default_rng(0).integers(0, 1_000, (20, 3)).astype(dtype)
    stored[0] = np.iinfo(dtype).max
    keywords = {"P1R": 2 ** (8 * stored.dtype.itemsize), "P2R": 1_024, "P2E": "4,1", "P3G": "8", "P3R": 2**16}
    keywords |= {"P2G": "1"}
    path = fcs["write"](
        tmp_path / "a.fcs", stored, ["T", "A", "B"], ["", "CD3", "CD4"], datatype="I", stored=stored, **keywords
    )
    adata = ne.io.read_fcs(path)
    ne.io.write_fcs(adata, tmp_path / "out")
    told, events = fcs["check"](tmp_path / "out" / "a.fcs")
    assert told["$DATATYPE"] == written and (told["$P2E"], told["$P2G"], told["$P3G"]) == ("0,0", "1", "1")
    assert np.array_equal(events, adata.X)
    assert np.array_equal(ne.io.read_fcs(tmp_path / "out").X, adata.X)


def test_doubles_stay_doubles(tmp_path, fcs):
    stored = np.random.default_rng(0).normal(size=(20, 2))
    path = fcs["write"](
        tmp_path / "a.fcs", stored, ["A", "B"], ["CD3", "CD4"], datatype="D", stored=stored.astype("<f8")
    )
    adata = ne.io.read_fcs(path)
    ne.io.write_fcs(adata, tmp_path / "out")
    assert np.array_equal(fcs["check"](tmp_path / "out" / "a.fcs")[1], stored)


def test_gzipped_files_and_no_events(tmp_path, fcs):
    import gzip

    path = fcs["write"](tmp_path / "a.fcs", np.ones((0, 2)), ["A", "B"], ["CD3", "CD4"])
    packed = tmp_path / "b.fcs.gz"
    packed.write_bytes(
        gzip.compress(fcs["write"](tmp_path / "b", np.ones((3, 2)), ["A", "B"], ["CD3", "CD4"]).read_bytes())
    )
    adata = ne.io.read_fcs([path, packed])
    ne.io.write_fcs(adata, tmp_path / "out")
    assert np.array_equal(ne.io.read_fcs(tmp_path / "out").X, adata.X)
    assert (tmp_path / "out" / "b.fcs.gz").read_bytes()[:2] == b"\x1f\x8b"
    fcs["check"](tmp_path / "out" / "a.fcs")


def test_values_that_no_file_can_hold(adata, tmp_path, fcs, caplog):
    ne.pp.arcsinh(adata)
    adata.layers["edited"] = adata.X.copy()
    adata.var["edited_arcsinh_cofactor"] = adata.var["X_arcsinh_cofactor"]
    adata.layers["edited"][60:63, 2] = [95, 1_000, -1_000]
    with caplog.at_level(logging.WARNING):
        ne.io.write_fcs(adata, tmp_path / "out", layer="edited")
    assert "set to the largest number: Yb170Di (3)" in caplog.text
    keywords, events = fcs["check"](tmp_path / "out" / "b.fcs")
    limit = np.finfo("f4").max
    assert events[10:13, 2].tolist() == [limit, limit, -limit] and float(keywords["$P3R"]) >= limit
    for value in (np.nan, np.inf):
        adata.layers["edited"][130, 2] = value
        with pytest.raises(
            ValueError, match=r"layers\['edited'\] has 1 NaN or infinite values in 'CD3' \(Yb170Di\) of c.fcs"
        ):
            ne.io.write_fcs(adata, tmp_path / "no", layer="edited")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "study"]


def test_goals(adata, folder, tmp_path):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(ValueError, match="has the files that were read: 'a.fcs'.*choose another folder"):
        ne.io.write_fcs(adata, folder, overwrite=True)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    out = tmp_path / "out"
    out.mkdir()
    (out / "b.fcs").write_text("mine")
    (out / "notes").write_text("mine")
    with pytest.raises(FileExistsError, match="out has 'b.fcs'; .*overwrite=True"):
        ne.io.write_fcs(adata, out)
    assert sorted(path.name for path in out.iterdir()) == ["b.fcs", "notes"]
    ne.io.write_fcs(adata, out, overwrite=True)
    assert sorted(path.name for path in out.iterdir()) == ["a.fcs", "b.fcs", "c.fcs", "notes"]
    assert_same_file(out / "b.fcs", folder / "b.fcs")
    with pytest.raises(NotADirectoryError, match="notes exists and is no folder"):
        ne.io.write_fcs(adata, out / "notes")
    with pytest.raises(FileNotFoundError, match="The folder .*deep does not exist"):
        ne.io.write_fcs(adata, tmp_path / "deep" / "er")


def test_what_a_killed_process_left_is_removed(adata, tmp_path):
    for exists in (False, True):  # beside a new folder, and in one that is there
        left = (tmp_path / "out" if exists else tmp_path) / f".out.neuronedit-unfinished-{2**22 + 1}-0"
        left.mkdir()
        (left / "a.fcs").write_text("half")
        ne.io.write_fcs(adata, tmp_path / "out", overwrite=exists)
        assert not left.exists()


@pytest.mark.parametrize("exists", [False, True])
def test_an_interruption_leaves_nothing(adata, tmp_path, monkeypatch, exists):
    out = tmp_path / "out"
    if exists:
        out.mkdir()
    written = []

    def fail(keywords, events):
        written.append(events)
        if len(written) == 3:
            raise KeyboardInterrupt
        return build_fcs(keywords, events)

    monkeypatch.setattr("neuronedit.io._write_fcs.build_fcs", fail)
    with pytest.raises(KeyboardInterrupt):
        ne.io.write_fcs(adata, out)
    assert list(tmp_path.rglob(".*")) == [] and list(tmp_path.glob("out/*")) == [] and out.exists() == exists


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda a: a.uns.pop("fcs"), KeyError, r"uns\['fcs'\] does not say which files .*anndata.concat drops it"),
        (lambda a: a.obs.pop("event"), KeyError, "'event' is not in adata.obs"),
        (lambda a: a.obs.update({"event": a.obs["event"] * 0}), ValueError, "a.fcs: event 0 is there several times"),
        (lambda a: a.obs.insert(0, "file", "z", True) or a.obs, ValueError, ""),
        (
            lambda a: setattr(a, "var_names", ["p", "q", "r", "s"]),
            ValueError,
            "none of the channels of a.fcs .*renamed",
        ),
        (lambda a: setattr(a, "X", a.X.astype(complex)), TypeError, "X has dtype complex.*; it must hold real numbers"),
        (
            lambda a: setattr(a, "X", a.X.astype(str).astype(object)),
            TypeError,
            "X has dtype object; it must hold real numbers",
        ),
    ],
)
def test_what_is_missing(adata, tmp_path, change, error, message):
    if message == "":
        adata.obs["file"], message = "z.fcs", r"obs\['file'\] has 'z.fcs', which uns\['fcs'\] does not know"
    else:
        change(adata)
    with pytest.raises(error, match=message):
        ne.io.write_fcs(adata, tmp_path / "out")
    with pytest.raises(KeyError, match="'none' is not in adata.layers"):
        ne.io.write_fcs(ne.io.read_fcs(tmp_path / "study"), tmp_path / "out", layer="none")


@pytest.mark.parametrize(
    "words",
    [
        {"A": "1", "B": ""},
        {"A": "|", "B": "/\\!"},
        {"A": "a|b||c", "B": "|x|"},
        {"A": "".join(map(chr, range(1, 127))), "B": "a" + "".join(map(chr, range(1, 127))) + "b", "µ": "é漢"},
    ],
)
def test_text(words):
    assert dict(split_text(encode_text(words))) == {name: value or " " for name, value in words.items()}


@pytest.mark.parametrize(
    ("told", "highest", "raised"),
    [
        ("262144", 5, None),
        ("262144", 262144, None),
        ("1024", 1024.5, "1025"),
        (None, 0, "1"),
        ("x", 7.2, "8"),
        ("0", 0, "1"),
    ],
)
def test_range(told, highest, raised):
    assert raise_range(told, highest) == raised


def test_offsets_beyond_the_header(tmp_path, fcs):
    events = np.zeros((3_200_000, 8), dtype="f4")
    keywords = {f"$P{n}{key}": value for n in range(1, 9) for key, value in (("N", f"C{n}"), ("E", "0,0"), ("R", "1"))}
    path = tmp_path / "large.fcs"
    path.write_bytes(build_fcs(set_layout(keywords, events), events))
    told, _ = fcs["check"](path)
    assert int(told["$ENDDATA"]) > 99_999_999 and path.read_bytes()[26:42] == b"       0       0"
    assert ne.io.read_fcs(path).shape == events.shape


@pytest.mark.parametrize("reader", ["flowio", "flowkit", "readfcs", "FlowCal", "flowsom"])
def test_other_readers(adata, tmp_path, reader):
    module = pytest.importorskip(reader)
    adata.X[:, 1] *= 3
    for path in ne.io.write_fcs(adata, tmp_path / "out"):
        rows = (adata.obs["file"] == path.name).to_numpy()
        if reader == "flowio":
            theirs = module.FlowData(str(path)).as_array()
        elif reader == "flowkit":
            theirs = module.Sample(str(path)).get_events(source="raw")
        elif reader == "FlowCal":
            theirs = np.asarray(module.io.FCSData(str(path)))
        elif reader == "readfcs":
            theirs = module.read(str(path)).X
        else:
            theirs = module.io.read_FCS(str(path)).X
        np.testing.assert_allclose(theirs, adata.X[rows], rtol=1e-6)
