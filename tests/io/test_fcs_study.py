"""Several FCS files as one study: sheets, panels, matching, compensation, and events that are too many for memory."""

import logging
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest

import neuronedit as ne
from neuronedit.io._fcs_channels import Feature as FcsFeature
from neuronedit.io._fcs_channels import FileChannel, has_marker, match_channels, name_features

CHANNELS, MARKERS = ["Time", "Nd142Di", "Yb170Di", "Ir191Di"], ["", "CD19", "CD3", "DNA1"]
SHEET = "file_name,batch,age,plate\na.fcs,b1,31,007\nb.fcs,b2,40.5,008\nc.fcs,b2,,008\n"

pytestmark = pytest.mark.filterwarnings("ignore:Writing zarr v2 data")


@pytest.fixture
def events():
    rng = np.random.default_rng(0)
    return {name: rng.gamma(1, 100, (n, 4)).astype("f4") for name, n in (("a", 5), ("b", 7), ("c", 3))}


@pytest.fixture
def folder(tmp_path, fcs, events):
    folder = tmp_path / "study"
    folder.mkdir()
    for name, values in events.items():
        fcs["write"](folder / f"{name}.fcs", values, CHANNELS, MARKERS)
    return folder


def assert_equal(one, other):
    assert one.X.dtype == other.X.dtype and np.array_equal(one.X, other.X)
    pd.testing.assert_frame_equal(
        one.var.astype({"class": str}), other.var.astype({"class": str}), check_categorical=False, check_dtype=False
    )
    pd.testing.assert_frame_equal(one.obs, other.obs, check_categorical=False, check_dtype=False)


def test_what_is_read(folder, events):
    (folder / "notes.txt").write_text("none")
    (folder / ".hidden.fcs").write_text("none")
    adata = ne.io.read_fcs(folder)
    assert np.array_equal(adata.X, np.vstack(list(events.values()))) and adata.X.dtype == np.float32
    assert list(adata.var_names) == ["Time", "CD19", "CD3", "DNA1"]
    assert list(adata.var["channel"]) == CHANNELS and list(adata.var["marker"]) == MARKERS
    assert list(adata.var["used"]) == [False, True, True, False] and list(adata.var["class"]) == [
        "none",
        "",
        "",
        "none",
    ]
    assert list(adata.obs["file"].cat.categories) == ["a.fcs", "b.fcs", "c.fcs"]
    assert list(adata.obs["event"]) == [*range(5), *range(7), *range(3)] and adata.obs["event"].dtype == np.int32
    assert adata.obs_names[6] == "b-1" and adata.obs_names.is_unique
    assert set(adata.uns["fcs"]["channels"]["matched"]) == {"channel"}


def test_a_list_is_its_files_one_after_the_other(folder):
    paths = [folder / f"{name}.fcs" for name in "abc"]
    together = ne.io.read_fcs(paths)
    assert_equal(together, ne.io.read_fcs(folder))
    single = anndata.concat([ne.io.read_fcs(path) for path in paths], merge="same")
    assert np.array_equal(together.X, single.X) and list(together.obs_names) == list(single.obs_names)
    turned = ne.io.read_fcs(paths[::-1])[together.obs_names, together.var_names]
    assert np.array_equal(turned.X, together.X)


def test_metadata(folder, tmp_path):
    (tmp_path / "sheet.csv").write_text(SHEET)
    adata = ne.io.read_fcs(folder, metadata=tmp_path / "sheet.csv")
    by_file = adata.obs.drop_duplicates("file").set_index("file")
    assert list(by_file["batch"]) == ["b1", "b2", "b2"] and list(by_file["plate"]) == ["007", "008", "008"]
    assert list(by_file["age"])[:2] == [31, 40.5] and np.isnan(by_file["age"]["c.fcs"])
    assert adata.obs["batch"].dtype == "category"
    for separator, name, encoding in (("\t", "s.tsv", "utf-8"), (";", "s.csv", "utf-8-sig"), (",", "s.txt", "latin-1")):
        (tmp_path / name).write_bytes(SHEET.replace(",", separator).replace("b1", "bé").encode(encoding))
        other = ne.io.read_fcs(folder, metadata=str(tmp_path / name))
        assert list(other.obs["batch"].cat.categories) == ["b2", "bé"]
    table = pd.read_csv(tmp_path / "sheet.csv", dtype={"plate": str})
    assert_equal(ne.io.read_fcs(folder, metadata=table.sample(frac=1, random_state=0)), adata)
    assert_equal(ne.io.read_fcs(folder, metadata=table.set_index("file_name")), adata)


def test_metadata_in_excel(folder, tmp_path, monkeypatch):
    pytest.importorskip("openpyxl")
    (tmp_path / "sheet.csv").write_text(SHEET)
    pd.read_csv(tmp_path / "sheet.csv", dtype=str).to_excel(tmp_path / "sheet.xlsx", index=False)
    by_excel = ne.io.read_fcs(folder, metadata=tmp_path / "sheet.xlsx")
    assert_equal(by_excel, ne.io.read_fcs(folder, metadata=tmp_path / "sheet.csv"))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"sheet.xlsx is an Excel file, .*neuronedit\[excel\]"):
        ne.io.read_fcs(folder, metadata=tmp_path / "sheet.xlsx")


@pytest.mark.parametrize("column", ["file", "File Name", "FCS", "fcs_file", "name", "sample of mine"])
@pytest.mark.parametrize("form", ["{}.fcs", "{}", "/data/raw/{}.fcs", "C:\\raw\\{}.FCS"])
def test_the_column_with_the_files_is_found(folder, column, form):
    table = pd.DataFrame({"donor": ["x", "y", "z"], column: [form.format(name) for name in "abc"]})
    assert list(ne.io.read_fcs(folder, metadata=table).obs["donor"].cat.categories) == ["x", "y", "z"]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"file": ["a", "b"]}, r"no row: 'c.fcs'\."),
        ({"file": ["a", "b", "d", "e"]}, "no row: 'c.fcs'; these rows have no file: 'd', 'e'"),
        ({"file": ["a", "b", "c", "c"]}, r"several rows: 'c'\."),
        ({"x": [1, 2, 3]}, "metadata has the columns 'x': call the one"),
        ({"file": ["a", "b", "c"], "event": [1, 2, 3]}, "a column 'event', which read_fcs writes itself"),
    ],
)
def test_metadata_that_does_not_fit(folder, table, message):
    with pytest.raises(ValueError, match=message):
        ne.io.read_fcs(folder, metadata=pd.DataFrame(table))


def test_panel(folder):
    panel = pd.DataFrame(
        {
            "fcs_colname": ["Yb170Di", "Nd142Di", "Ir191Di"],
            "antigen": ["CD3e", "CD19", ""],
            "marker_class": ["type", "state", "none"],
            "cofactor": [5, 10, np.nan],
        }
    )
    adata = ne.io.read_fcs(folder, panel=panel)
    assert list(adata.var_names) == ["Time", "CD19", "CD3e", "DNA1"]
    assert list(adata.var["class"]) == ["none", "state", "lineage", "none"]
    assert list(adata.var["used"]) == [False, True, True, False]
    assert adata.var["cofactor"].dropna().to_dict() == {"CD19": 10, "CD3e": 5}
    raw = adata.X.copy()
    ne.pp.arcsinh(adata, adata.var["cofactor"].dropna())
    assert np.array_equal(adata.X[:, [0, 3]], raw[:, [0, 3]])
    np.testing.assert_allclose(adata.X[:, 1], np.arcsinh(raw[:, 1] / 10), rtol=1e-6)
    only_cd3 = ne.io.read_fcs(folder, panel=pd.DataFrame({"marker": ["cd-3"]}))
    assert list(only_cd3.var["used"]) == [False, False, True, False]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"gene": ["CD3"]}, "panel has no column 'channel' or 'marker'; it has 'gene'"),
        ({"marker": ["CD3", "CD99"]}, "no file has 'CD99'"),
        ({"channel": ["Bi209Di"], "marker": ["CD99"]}, r"no file has 'CD99' \('Bi209Di'\)"),
        (
            {"channel": ["Nd142Di"], "marker": ["CD3"]},
            "'CD3' is 'Nd142Di' by its channel .* and 'Yb170Di' by its marker",
        ),
        ({"marker": ["CD3", "CD3"]}, "panel names marker 'CD3' in several rows"),
        ({"marker": ["CD3", "cd3"]}, "'Yb170Di' is both 'CD3' and 'cd3'"),
        (
            {"marker": ["CD3"], "class": ["phospho"]},
            "the class 'phospho'; it must be one of 'lineage', 'state', 'none'",
        ),
        ({"marker": ["CD3"], "cofactor": [-5]}, "the cofactor '-5'; it must be a positive number"),
        ({"marker": []}, "panel has no rows"),
    ],
)
def test_panel_that_does_not_fit(folder, table, message):
    with pytest.raises(ValueError, match=message):
        ne.io.read_fcs(folder, panel=pd.DataFrame(table))


def places(files, panel=None):
    """Match channels given as {file: "channel:marker ..."}; return {name: places} of those that all files have."""
    listed = {
        file: [FileChannel(*word.partition(":")[::2]) for word in channels.split()] for file, channels in files.items()
    }
    features = [one for one in match_channels(listed, panel) if len(one.places) == len(files)]
    return {name: list(one.places.values()) for name, one in zip(name_features(features), features, strict=True)}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"a": "X1:CD3 X2:CD4", "b": "X2:CD4 X1:CD3"}, {"CD3": [0, 1], "CD4": [1, 0]}),  # another order
        ({"a": "X1:CD3 X2:CD4", "b": "Y9:CD3 X2:CD4"}, {"CD3": [0, 0], "CD4": [1, 1]}),  # a channel was renamed
        ({"a": "X1:CD3 X2:CD4", "b": "X1:CD3e X2:CD4"}, {"CD3": [0, 0], "CD4": [1, 1]}),  # a marker was renamed
        ({"a": "FITC-A:CD3 X2:CD4", "b": "fitc_a:CD-3 x2:CD4"}, {"CD-3": [0, 0], "CD4": [1, 1]}),  # punctuation
        ({"a": "X1:170Er_CD3 X2:CD4", "b": "Y1:CD3 X2:CD4"}, {"170Er_CD3": [0, 0], "CD4": [1, 1]}),  # isotope in front
        ({"a": "T X1:CD3", "b": "X1:CD3 S"}, {"CD3": [1, 0]}),  # others are not in all files
        ({"a": "X1:CD3 X2:CD3", "b": "X1:CD3 X2:CD3"}, {"X1": [0, 0], "X2": [1, 1]}),  # a marker twice
        ({"a": "X1:X2 X2", "b": "X1:X2 X2"}, {"X1": [0, 0], "X2": [1, 1]}),  # called as a channel is
        ({"a": "P P:CD3", "b": "P P:CD3"}, {"P": [0, 0], "CD3": [1, 1]}),  # a channel twice
    ],
)
def test_matching(files, expected):
    assert places(files) == expected
    turned = dict(reversed(files.items()))
    assert set(places(turned)) == set(expected)
    assert {name: found[::-1] for name, found in places(turned).items()} == expected


def test_channels_and_markers_that_contradict_each_other():
    files = {"a": "X1:CD3 X2:CD4", "b": "X1:CD3 X2:CD4", "c": "X1:CD4 X2:CD3"}
    with pytest.raises(ValueError, match="c: 'X1' has the marker 'CD4', in other files 'CD3', which is 'X2' here"):
        places(files)
    panel = pd.DataFrame({"channel": ["", ""], "marker": ["CD3", "CD4"], "class": ["", ""]})
    assert places(files, panel) == {"CD3": [0, 0, 1], "CD4": [1, 1, 0]}
    panel = pd.DataFrame({"channel": ["X1", "X2"], "marker": ["", ""], "class": ["", ""]})
    assert list(places(files, panel).values()) == [[0, 0, 0], [1, 1, 1]]


def test_markers_that_are_not_in_all_files(folder, fcs, events, caplog):
    fcs["write"](folder / "c.fcs", events["c"], ["Time", "Nd142Di", "Pd102Di", "Ir191Di"], ["", "CD19", "", "DNA1"])
    with pytest.raises(ValueError, match=r"markers must be in all files: 'CD3' \(Yb170Di\) is not in 'c.fcs'"):
        ne.io.read_fcs(folder)
    panel = pd.DataFrame({"marker": ["CD19", "CD3"], "class": ["lineage", "none"]})
    with caplog.at_level(logging.WARNING):
        adata = ne.io.read_fcs(folder, panel=panel)
    assert "not in all files are left out: 'Yb170Di', 'Pd102Di'" in caplog.text
    assert list(adata.var_names) == ["Time", "CD19", "DNA1"]
    table = adata.uns["fcs"]["channels"].set_index(["file", "channel"])
    assert table.loc[("c.fcs", "Pd102Di"), "matched"] == "left out" == table.loc[("a.fcs", "Yb170Di"), "matched"]
    assert table.loc[("c.fcs", "Nd142Di"), "matched"] == "marker" and table.loc[("a.fcs", "Time"), "feature"] == "Time"


USED = [
    "CD3",
    "CD45RA",
    "p38",
    "pS6",
    "IgD",
    "BCL2",
    "BCMA",
    "TIMEless",
    "PI3K",
    "LD1x",
    "PD-L1",
    "S6",
    "HLA-DR",
    "B220",
    "CD294",
    "OliverX",
    "CXCR5",
    "Ki-67",
    "89Y_CD45",
]
NOT_USED = [
    "Time",
    "Event_length",
    "FSC-A",
    "SSC-H",
    "Center",
    "Offset",
    "Width",
    "Residual",
    "DNA1",
    "191Ir_DNA",
    "BC1",
]
NOT_USED += ["102Pd_BC1", "barcode 3", "140Ce_Beads", "EQ Beads", "beadDist", "Live/Dead", "198Pt_Dead", "Viability"]
NOT_USED += [
    "Cisplatin",
    "195Pt_Cisplatin",
    "7-AAD",
    "DAPI",
    "Zombie",
    "195Pt",
    "Pt195Di",
    "(Pt195)Di",
    "neuronedit_kept",
]


@pytest.mark.parametrize(
    ("marker", "is_used"), [(m, True) for m in USED] + [(m, False) for m in [*NOT_USED, "", "Ch1"]]
)
def test_what_is_trained_on(marker, is_used):
    assert FcsFeature("Ch1", marker).is_used == is_used


def test_the_channel_tells_it_too():
    names = ["Time", "FSC-A", "SSC-W", "Ir193Di", "Event_length", "HDR-T"]
    assert not any(FcsFeature(name, "CD3").is_used for name in names)
    assert FcsFeature("Pt195Di", "CD8").is_used and not has_marker("Nd142Di", "nd142di")
    assert FcsFeature("Ir193Di", "CD3", "lineage").is_used  # the panel has the last word


def test_only_the_area_of_a_pulse_is_used(tmp_path, fcs):
    channels = ["FITC-A", "FITC-H", "FITC-W", "PE-H"]
    path = fcs["write"](tmp_path / "a.fcs", np.ones((2, 4)), channels, ["CD3", "CD3", "CD3", "CD4"])
    assert list(ne.io.read_fcs(path).var["used"]) == [True, False, False, True]


def test_a_file_without_markers_has_nothing_to_use(tmp_path, fcs, caplog):
    adata = ne.io.read_fcs(fcs["write"](tmp_path / "a.fcs", np.ones((2, 2)), ["FL1", "FL2"]))
    assert "none is used" in caplog.text and not adata.var["used"].any()
    with pytest.raises(ValueError, match="False for every feature"):
        ne.pp.arcsinh(adata)


SPILLOVER = np.array([[1, 0.3], [0.05, 1]])


def test_compensation(folder, tmp_path, fcs, events):
    spilled = {name: values.copy() for name, values in events.items()}
    for name, values in spilled.items():
        values[:, 1:3] = values[:, 1:3] @ SPILLOVER
        fcs["write"](folder / f"{name}.fcs", values, CHANNELS, MARKERS, SPILLOVER="2,Nd142Di,Yb170Di,1,0.3,0.05,1")
    plain, adata = ne.io.read_fcs(folder), ne.io.read_fcs(folder, compensate=True)
    assert np.array_equal(plain.X, np.vstack(list(spilled.values()))) and not plain.uns["fcs"]["compensated"]
    np.testing.assert_allclose(adata.X, np.vstack(list(events.values())), rtol=1e-5, atol=1e-4)
    assert adata.uns["fcs"]["compensated"] and list(adata.uns["fcs"]["files"]["spillover"]) == [1, 1, 1]
    assert np.array_equal(adata.X[:, [0, 3]], plain.X[:, [0, 3]])
    matrix = pd.DataFrame(SPILLOVER, index=["Nd142Di", "Yb170Di"], columns=["Nd142Di", "Yb170Di"])
    turned = matrix.loc[["Yb170Di", "Nd142Di"]]
    matrix.to_csv(tmp_path / "named.csv")
    matrix.to_csv(tmp_path / "columns.csv", index=False)
    for given in (matrix, turned, tmp_path / "named.csv", tmp_path / "columns.csv"):
        np.testing.assert_allclose(ne.io.read_fcs(folder, compensate=given).X, adata.X, rtol=1e-5, atol=1e-4)


def test_compensation_that_is_refused(folder, fcs, events):
    names = ["Nd142Di", "Yb170Di"]
    with pytest.raises(ValueError, match=r"no \$SPILLOVER: 'a.fcs', 'b.fcs', 'c.fcs'"):
        ne.io.read_fcs(folder, compensate=True)
    with pytest.raises(ValueError, match="spillover matrix of a.fcs is singular"):
        ne.io.read_fcs(folder, compensate=pd.DataFrame(np.ones((2, 2)), names, names))
    with pytest.raises(ValueError, match="a.fcs has no channel 'X'"):
        ne.io.read_fcs(folder, compensate=pd.DataFrame(np.eye(2), ["X", names[0]], ["X", names[0]]))
    with pytest.raises(ValueError, match="same channels as rows and as columns"):
        ne.io.read_fcs(folder, compensate=pd.DataFrame(np.eye(2), ["X", "Y"], names))
    with pytest.raises(ValueError, match="must hold numbers only"):
        ne.io.read_fcs(folder, compensate=pd.DataFrame([["a", "b"], ["c", "d"]], names, names))
    with pytest.raises(FileNotFoundError, match="none.csv is not a file"):
        ne.io.read_fcs(folder, compensate="none.csv")


PANEL = pd.DataFrame({"marker": ["CD19", "CD3"], "class": "lineage", "cofactor": [5.0, 150.0]})


@pytest.mark.parametrize(
    ("cofactor", "panel", "same_as"),
    [(5, None, 5), (2.5, PANEL, 2.5), ("panel", PANEL, {"CD19": 5.0, "CD3": 150.0})],
    ids=["one for all", "one for all, not the panel's", "the panel's"],
)
def test_a_cofactor_transforms_what_is_used(folder, tmp_path, cofactor, panel, same_as):
    adata = ne.io.read_fcs(folder, panel=panel, cofactor=cofactor)
    raw = ne.io.read_fcs(folder, panel=panel)
    ne.pp.arcsinh(raw, same_as)
    assert_equal(adata, raw)
    ne.pp.inverse_arcsinh(adata)
    with pytest.raises(ValueError, match="arcsinh-transformed already"):
        ne.pp.arcsinh(raw, 5)
    stored = ne.io.read_fcs(folder, panel=panel, cofactor=cofactor, write_to=tmp_path / "study.zarr")
    assert np.array_equal(stored.X.compute(), raw.X) and stored.var["X_arcsinh_cofactor"].equals(
        raw.var["X_arcsinh_cofactor"]
    )


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"cofactor": 0}, "cofactor must be"),
        ({"cofactor": "5"}, "cofactor must be"),
        ({"cofactor": True}, "cofactor must be"),
        ({"cofactor": "panel"}, "no panel with a column 'cofactor'"),
        ({"cofactor": "panel", "panel": PANEL.drop(columns="cofactor")}, "no panel with a column 'cofactor'"),
        ({"cofactor": "panel", "panel": PANEL.assign(cofactor=[5.0, np.nan])}, "the panel has none for 'CD3'"),
        ({"cofactor": 5, "panel": PANEL.assign(**{"class": "none"})}, "no channel is used"),
    ],
    ids=["zero", "a word", "a truth value", "no panel", "no column", "no value", "nothing is used"],
)
def test_a_cofactor_that_is_refused(folder, more, message):
    with pytest.raises((TypeError, ValueError), match=message):
        ne.io.read_fcs(folder, **more)


def test_what_was_transformed_is_written_linear(folder, tmp_path, events):
    adata = ne.io.read_fcs(folder, cofactor=5)
    [path, *_] = ne.io.write_fcs(adata, tmp_path / "same")
    back = ne.io.read_fcs(path).X
    np.testing.assert_allclose(back, events["a"], rtol=1e-5)
    assert np.array_equal(back[:, [0, 3]], events["a"][:, [0, 3]])  # neither time nor DNA was transformed


def test_into_a_store(folder, tmp_path, events, monkeypatch):
    pytest.importorskip("xarray")
    table = pd.DataFrame({"file": list("abc"), "batch": ["b1", "b2", "b2"], "age": [1.5, 2, 3]})
    wanted = ne.io.read_fcs(folder, metadata=table)
    stored = ne.io.read_fcs(folder, metadata=table, write_to=tmp_path / "study.zarr")
    assert hasattr(stored.X, "dask") and not list(tmp_path.glob("*.neuronedit"))
    with pytest.raises(FileExistsError, match="study.zarr exists"):
        ne.io.read_fcs(folder, write_to=tmp_path / "study.zarr")
    assert_equal(anndata.read_zarr(tmp_path / "study.zarr"), wanted)
    assert_equal(stored.to_memory(), wanted)
    ne.pp.arcsinh(stored)
    ne.pp.arcsinh(wanted)
    np.testing.assert_array_equal(np.asarray(stored.X.compute()), wanted.X)

    # where names would be too many
    monkeypatch.setattr("neuronedit.io._fcs_store.MAX_NAMES_LOADED", 3)
    large = ne.io.read_fcs(folder, metadata=table, write_to=tmp_path / "large.zarr")
    ne.pp.arcsinh(large)
    np.testing.assert_array_equal(np.asarray(large.X.compute()), wanted.X)
    assert list(large.obs["batch"]) == list(wanted.obs["batch"]) and list(large.obs["age"]) == list(wanted.obs["age"])


def test_a_store_that_cannot_be_written_leaves_nothing(folder, tmp_path):
    made = (folder / "c.fcs").read_bytes()
    (folder / "c.fcs").write_bytes(made[:-20])
    with pytest.raises(ValueError, match="c.fcs: .*it is cut"):
        ne.io.read_fcs(folder, write_to=tmp_path / "study.zarr")
    assert [path.name for path in tmp_path.iterdir()] == ["study"]
    with pytest.raises(FileNotFoundError, match="The folder .* does not exist"):
        ne.io.read_fcs(folder, write_to=tmp_path / "no" / "study.zarr")


@pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
def test_what_is_kept_can_be_written(folder, tmp_path, fcs, events, suffix):
    fcs["write"](folder / "b.fcs", events["b"], CHANNELS, ["", "CD19/20", "CD3", "DNA1"], COM="x/y")
    adata = ne.io.read_fcs(folder, panel=pd.DataFrame({"channel": ["Nd142Di"], "cofactor": [5]}))
    getattr(adata, f"write_{suffix}")(tmp_path / f"a.{suffix}")
    stored = getattr(anndata, f"read_{suffix}")(tmp_path / f"a.{suffix}")
    assert_equal(stored, adata)
    for name, table in adata.uns["fcs"].items():
        if isinstance(table, pd.DataFrame):
            pd.testing.assert_frame_equal(stored.uns["fcs"][name], table, check_dtype=False, check_categorical=False)
        else:
            assert stored.uns["fcs"][name] == table


def test_files_that_cannot_be_read(folder, tmp_path):
    with pytest.raises(ValueError, match="empty list"):
        ne.io.read_fcs([])
    with pytest.raises(FileNotFoundError, match="missing.fcs is not a file"):
        ne.io.read_fcs([folder / "a.fcs", folder / "missing.fcs"])
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.fcs").write_bytes((folder / "a.fcs").read_bytes())
    with pytest.raises(ValueError, match="several files of one name: 'a.fcs'"):
        ne.io.read_fcs([folder / "a.fcs", tmp_path / "other" / "a.fcs"])
    (folder / "b.fcs").write_text("CD3,CD4")
    with pytest.raises(ValueError, match="b.fcs: it is no FCS file"):
        ne.io.read_fcs(folder)
    (folder / "sheet.csv").write_bytes(b"PK\0\0")
    with pytest.raises(ValueError, match="sheet.csv is not a CSV, TSV or .xlsx file"):
        ne.io.read_fcs(folder / "a.fcs", metadata=folder / "sheet.csv")


def test_real_files(data_dir):
    origin = Path(data_dir) / "origin" / "imubac_krieg"
    if not origin.is_dir():
        pytest.skip(f"{origin} is not there")
    sheets = {"metadata": origin / "Metadata.csv", "panel": origin / "PanelInfo_Data23_Panel3.csv"}
    adata = ne.io.read_fcs(origin, **sheets)
    assert adata.shape == (129_712, 30) and adata.var["used"].sum() == 25 and adata.obs["file"].nunique() == 30
    wanted = anndata.read_h5ad(Path(data_dir) / "imubac_krieg.h5ad")
    used = adata[:, wanted.var_names]
    for donor, rows in adata.obs.groupby("donor_id", observed=True).indices.items():
        np.testing.assert_array_equal(used.X[rows], wanted.X[wanted.obs["individual"] == donor])
