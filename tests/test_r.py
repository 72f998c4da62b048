"""What is written into AnnData is read in R, by the code of the page "From R", and is there what it is in Python.

Each part runs where Rscript and its packages are found. rhdf5 is enough for most: Debian has it as r-bioc-rhdf5.
"""

import functools
import re
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import anndata
import flowio
import numpy as np
import pandas as pd
import pytest
import scipy.sparse

import neuronedit as ne
from neuronedit._cli import main
from neuronedit._data.record import Tool

PAGE = (Path(__file__).parents[1] / "docs" / "guide" / "from_r.md").read_text(encoding="utf-8")
POPULATIONS = {"source": "control_1", "target": "control_2", "query": "sample_1"}
ODD_NAMES = {"CD16": "CD16/CD32", "CD8": "", "CD14": "_index", "CD19": "IFNγ 37 °C", "CD20": 'a "b" \\ c'}
CANDIDATES = {name: ne.ensemble.CANDIDATES[name] for name in ("mean_shift", "neuron_editing")}
KEEPS_ORDERED = (2, 46)  # the rhdf5 that reads whether a factor is ordered; anndataR and zellkonverter need it
QUIET = {"progress_bar": False}

WRITE_LEAVES = r"""
write_words <- function(words, file) {
  for (word in enc2utf8(words)) writeBin(c(charToRaw(word), as.raw(0)), file) # the same bytes in every locale
}

write_leaf <- function(file, path, kind, values) {
  write_words(c(path, kind), file)
  writeBin(length(values), file)
  if (kind == "words") write_words(values, file) else writeBin(as.double(values), file)
}

write_leaves <- function(x, file, path = "") {
  if (is(x, "sparseMatrix")) x <- as.matrix(x)
  if (is.data.frame(x)) write_leaf(file, paste0(path, "/row names"), "words", rownames(x))
  if (is.list(x)) {
    for (name in names(x)) write_leaves(x[[name]], file, paste0(path, "/", name))
  } else if (is.factor(x)) {
    write_leaf(file, paste0(path, "/codes"), "numbers", as.integer(x) - 1)
    write_leaf(file, paste0(path, "/levels"), "words", levels(x))
    write_leaf(file, paste0(path, "/ordered"), "booleans", is.ordered(x))
  } else {
    if (length(dim(x)) > 1) write_leaf(file, paste0(path, "/dims"), "numbers", dim(x))
    kind <- if (is.character(x)) "words" else if (is.logical(x)) "booleans" else "numbers"
    write_leaf(file, path, kind, as.vector(x))
  }
}

write_file <- function(x, path) {
  file <- file(path, "wb")
  write_leaves(x, file)
  close(file)
}
"""


def run_r(code, folder):
    """Run R code in a folder, where it finds and leaves its variables."""
    path = folder / "code.R"
    path.write_text(code, encoding="utf-8")
    command = ["Rscript", "--restore", "--save", path.name]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    return done.stdout


@functools.cache
def find_packages():
    """Return the versions of the R packages that the page uses, as tuples of numbers."""
    if shutil.which("Rscript") is None:
        return {}
    names = sorted(set(re.findall(r"(?m)^library\((\w+)\)$|(\w+)::", PAGE)))
    quoted = ", ".join(f'"{library or space}"' for library, space in names)
    code = (
        f"for (p in c({quoted})) if (nzchar(system.file(package = p))) cat(p, as.character(packageVersion(p)), '\\n')"
    )
    out = subprocess.run(["Rscript", "-e", code], capture_output=True, text=True, check=True).stdout
    return {name: tuple(map(int, re.findall(r"\d+", version))) for name, version in map(str.split, out.splitlines())}


def need(**packages):
    """Skip where R or a package of a version or later is missing."""
    if shutil.which("Rscript") is None:
        pytest.skip("Rscript is not installed")
    for name, version in packages.items():
        if find_packages().get(name, ()) < version:
            pytest.skip(f"the R package {name} {'.'.join(map(str, version))} or later is not installed")


def get_blocks(heading):
    """Return (language, code) for each block of code below a heading of the page."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return re.findall(r"(?ms)^```(r|bash)\n(.*?)^```$", section)


def read_leaves(path):
    """Return what `write_leaves` wrote: a kind and values by path."""
    data, at, leaves = path.read_bytes(), 0, {}

    def read_word():
        nonlocal at
        begin, at = at, data.index(b"\0", at) + 1
        return data[begin : at - 1].decode()

    while at < len(data):
        path, kind = read_word(), read_word()
        n = int(np.frombuffer(data, "<i4", 1, at)[0])
        at += 4
        if kind == "words":
            values = [read_word() for _ in range(n)]
        else:
            values = np.frombuffer(data, "<f8", n, at)
            at += 8 * n
        leaves[path] = (kind, values)
    return leaves


def list_leaves(thing, path=""):
    """Yield path, kind and values of all that is in a table, an array or a dict of these, as R has them."""
    if isinstance(thing, pd.DataFrame):
        assert thing.index.is_unique
        yield f"{path}/row names", "words", list(map(str, thing.index))
        thing = dict(thing.items())
    if isinstance(thing, Mapping):
        for name in set(thing) - {None}:
            yield from list_leaves(thing[name], f"{path}/{name}")
    elif isinstance(getattr(thing, "dtype", None), pd.CategoricalDtype):
        codes = np.where(thing.cat.codes < 0, np.nan, thing.cat.codes)
        yield f"{path}/codes", "numbers", codes
        yield f"{path}/levels", "words", list(map(str, thing.cat.categories))
        yield f"{path}/ordered", "booleans", [thing.cat.ordered and find_packages()["rhdf5"] >= KEEPS_ORDERED]
    elif isinstance(getattr(thing, "dtype", None), pd.Int64Dtype | pd.BooleanDtype):
        kind = "numbers" if isinstance(thing.dtype, pd.Int64Dtype) else "booleans"
        yield path, kind, thing.to_numpy(dtype=float, na_value=np.nan)
    else:
        values = thing.toarray() if scipy.sparse.issparse(thing) else np.asarray(thing)
        if values.ndim > 1:
            yield f"{path}/dims", "numbers", values.shape[::-1]
        kind = {"b": "booleans", "O": "words", "U": "words", "T": "words"}.get(values.dtype.kind, "numbers")
        yield path, kind, list(map(str, values.ravel())) if kind == "words" else values.ravel()


def assert_same(in_r, thing):
    """Check what R has against what Python has: paths, kinds and values, to the bit."""
    expected = {path: (kind, values) for path, kind, values in list_leaves(thing)}
    assert sorted(in_r) == sorted(expected)
    for path, (kind, values) in expected.items():
        assert in_r[path][0] == kind, path
        np.testing.assert_array_equal(in_r[path][1], values, err_msg=path)


# what every tool writes


def simulate(n_cells=60, **kwargs):
    """Simulate cells with odd names of features and batches."""
    adata = ne.datasets.simulate_batches(n_cells=n_cells, **kwargs)
    adata.var_names = [ODD_NAMES.get(name, name) for name in adata.var_names]
    adata.obs["batch"] = adata.obs["batch"].cat.rename_categories({"batch_1": "run 1/2", "batch_2": "_index"})
    return adata


def write_edits(folder):
    adata = simulate(150)
    ne.tl.train(adata, widths=(16, 4), max_epochs=2, validation_size=0.2)
    ne.tl.edit(adata, "group", **POPULATIONS, strata="cell_type", candidates=CANDIDATES)
    ne.tl.edit(adata, "group", **POPULATIONS, edit="local", strength=[0.25, 0.5, 1], key_added="local")
    ne.tl.bootstrap(adata, "local", n_bootstrap=2)
    ne.tl.apply(adata, adata.copy(), "group", query="sample_2", key="edited", key_added="applied")
    adata.uns["neurons"] = ne.tl.rank_neurons(adata, key="local").reset_index(drop=True)
    return adata


def write_corrections(folder):
    adata = simulate()
    ne.tl.train(adata, space="pca", n_components=4)
    how = {"sample_key": "group", "held_out_controls": {"cell_type": "B"}} | QUIET
    ne.tl.correct(adata, "batch", control_key="role", edit="percentile", **how)
    ne.tl.correct(adata, "batch", control_key="role", reference="_index", edit="shift", key_added="one way", **QUIET)
    ne.tl.apply(adata, adata.copy(), query=adata.obs_names, key="corrected", key_added="corrected again")
    return adata


def write_controls(folder):
    """Write a correction of controls alone: the table of samples is empty."""
    adata = simulate()
    adata = adata[adata.obs["role"] == "control"].copy()
    ne.tl.train(adata, space="identity")
    ne.tl.correct(adata, "batch", control_key="role", edit="shift", **QUIET)
    return adata


def write_embedded(folder):
    old, adata = simulate(), simulate(rng=1)
    ne.tl.train(old, space="identity")
    ne.tl.embed(adata, old)
    return adata


def write_comparison(folder):
    adata = simulate()
    how = {"methods": ["identity", "mean_shift"], "n_bootstrap": 2, "key_added": "compared"} | QUIET
    table = ne.tl.compare(adata, "group", **POPULATIONS, truth="sample_2", **how)
    table.index = table.index.astype(str)
    adata.uns["table"] = table
    return adata


def write_matches(folder):
    adata = simulate(200)
    ne.pp.match_populations(adata, "group", reference="control_1", n_populations=4)
    return adata


TREATMENTS = {"control": "basal", "effects": ["A", "B"], "edit": "percentile"} | QUIET


def write_combinations(folder):
    adata = ne.datasets.simulate_combination(n_cells=60)
    ne.tl.train(adata, space="identity")
    return ne.tl.combine(adata, "condition", **TREATMENTS)


def write_synergy(folder):
    adata = ne.datasets.simulate_combination(n_cells=60)
    ne.tl.train(adata, space="identity")
    ne.tl.combine(adata, "condition", **TREATMENTS, as_layers=True)
    ne.tl.synergy(adata, "condition", **TREATMENTS, measured="A+B", n_bootstrap=3)
    adata.uns["ranked"] = ne.tl.rank_combinations(adata, "condition", **TREATMENTS, score="CD38", n_bootstrap=3)
    return adata


def write_images(folder):
    adata = simulate()
    adata.uns["image_shape"] = (5, 7)
    ne.tl.train(adata, space="conv", widths=(2, 2), max_epochs=1)
    adata.uns["image_shape"] = np.array([5, 7])
    return adata


def write_sparse(folder):
    """Write sparse cells, and columns of a user's own: with missing values, with an order, with integers beyond 32 bits."""
    adata = simulate()
    adata.X = scipy.sparse.csr_matrix(adata.X)
    adata.layers["by column"] = scipy.sparse.csc_matrix(adata.X)
    adata.obs["missing"] = pd.Categorical(np.where(adata.obs["role"] == "control", "yes", None))
    adata.obs["dose"] = pd.Categorical(["low", "high"] * (adata.n_obs // 2), ["low", "high"], ordered=True)
    adata.obs["large"] = np.arange(adata.n_obs) + 2**40
    adata.obs["plate"] = pd.array([1, None] * (adata.n_obs // 2), dtype="Int64")
    adata.obs["viable"] = pd.array([True, None] * (adata.n_obs // 2), dtype="boolean")
    ne.tl.train(adata, space="pca", n_components=4)
    ne.tl.edit(adata, "group", **POPULATIONS, edit="shift")
    return adata


def write_study(folder, metadata, **kwargs):
    """Write a folder of FCS files, two batches with a control and a sample each, and read it."""
    folder.mkdir()
    cells = ne.datasets.simulate_batches(n_cells=40)
    channels = ["Time", *(f"Ch{i}Di" for i in range(cells.n_vars))]
    for name in cells.obs["group"].unique():
        counts = 5 * np.sinh(cells[cells.obs["group"] == name].X)
        events = np.column_stack([np.arange(len(counts)), counts]).astype("f4")
        with (folder / f"{name}.fcs").open("wb") as file:
            flowio.create_fcs(file, events.ravel(), channels, ["", *cells.var_names], metadata)
    return ne.io.read_fcs(folder, **kwargs)


def write_arcsinh(folder):
    adata = write_study(folder / "arcsinh", {"com": "without spillover"}, cofactor=5)
    adata.obs["batch"], adata.obs["role"] = adata.obs["file"].str[-5], adata.obs["file"].str[:-6]
    ne.tl.train(adata, space="pca", n_components=4)
    ne.tl.correct(adata, "batch", control_key="role", edit="shift", **QUIET)
    ne.pp.inverse_arcsinh(adata, layer="corrected", key_added="linear")
    return adata


def write_logicle(folder):
    adata = write_study(folder / "logicle", {"spill": "2,Ch0Di,Ch1Di,1,0.1,0,1"}, compensate=True)
    ne.pp.logicle(adata)
    return adata


WRITERS = {
    "edits": write_edits,
    "corrections": write_corrections,
    "controls": write_controls,
    "embedded": write_embedded,
    "comparison": write_comparison,
    "matches": write_matches,
    "combinations": write_combinations,
    "synergy": write_synergy,
    "images": write_images,
    "sparse": write_sparse,
    "arcsinh": write_arcsinh,
    "logicle": write_logicle,
}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Every AnnData as Python and as R has it, of one start of R."""
    need(rhdf5=(2, 42), Matrix=(1,))
    folder = tmp_path_factory.mktemp("r")
    for name, write in WRITERS.items():
        write(folder).write_h5ad(folder / f"{name}.h5ad")
    reader = next(code for language, code in get_blocks("The whole file with rhdf5 alone"))
    calls = [f'write_file(read_anndata("{name}.h5ad"), "{name}.leaves")' for name in WRITERS]
    run_r("\n".join([reader, WRITE_LEAVES, *calls]), folder)
    return {
        name: (anndata.read_h5ad(folder / f"{name}.h5ad"), read_leaves(folder / f"{name}.leaves")) for name in WRITERS
    }


def as_dict(adata):
    slots = {name: dict(getattr(adata, name)) for name in ("layers", "obsm", "uns")}
    return {"X": adata.X, "obs": adata.obs, "var": adata.var} | slots


@pytest.mark.parametrize("name", WRITERS)
def test_what_is_written_is_read_in_r(written, name):
    adata, in_r = written[name]
    assert_same(in_r, as_dict(adata))


def test_every_tool_that_writes_a_record_is_among_them(written):
    records = [record for adata, _ in written.values() for record in adata.uns.values() if isinstance(record, Mapping)]
    assert {record["tool"] for record in records if "tool" in record} >= set(Tool) - {Tool.TRAIN, Tool.MATCH}
    assert any("weights" in record for record in records) and "matched" in written["matches"][0].uns


# the code of the page, by package

SIMULATE_SCE = r"""
library(SingleCellExperiment)

set.seed(0)
markers <- c("CD3", "CD19", "pSTAT5", "IFNg", "DNA1")
counts <- matrix(rexp(5 * 400, 1 / 50), 5, dimnames = list(markers, NULL))
cells <- DataFrame(batch = rep(c("B1", "B2"), each = 200), role = factor(rep(c("control", "sample"), 200)))
classes <- DataFrame(marker_class = factor(c("type", "type", "state", "state", "none")))
sce <- SingleCellExperiment(list(counts = counts, exprs = asinh(counts / 5)), colData = cells, rowData = classes)
"""

SIMULATE_FLOW_SET = r"""
library(flowCore)

set.seed(0)
simulate_frame <- function() {
  events <- matrix(rexp(4 * 200, 1 / 50), 200, dimnames = list(NULL, c("Time", "Nd142Di", "Yb170Di", "Ir191Di")))
  frame <- flowFrame(events)
  markernames(frame) <- c(Nd142Di = "CD19", Yb170Di = "CD3", Ir191Di = "DNA1")
  frame
}
names <- c("control_1", "sample_1", "control_2", "sample_2")
fs <- flowSet(sapply(names, function(name) simulate_frame(), simplify = FALSE))
pData(fs)$batch <- c("B1", "B1", "B2", "B2")
pData(fs)$role <- c("control", "sample", "control", "sample")
"""


def run_section(heading, folder, monkeypatch, before="", after=""):
    """Run the code below a heading, R and command line in turn, and R code before and after it, as in one session of R."""
    monkeypatch.chdir(folder)
    blocks = [("r", before), *get_blocks(heading), ("r", WRITE_LEAVES + after)]
    libraries = []
    for language, code in blocks:
        if language == "r":
            run_r("\n".join([*libraries, code]), folder)
            libraries += re.findall(r"(?m)^library\(\w+\)$", code)
        else:
            command, *arguments = shlex.split(code)
            quick = ["--space", "pca", "--edit", "percentile", "--quiet"]
            assert command == "neuronedit" and main([*arguments, *quick]) in (0, 3, 4)


def test_from_a_single_cell_experiment_and_back(tmp_path, monkeypatch):
    need(anndataR=(0, 99), SingleCellExperiment=(1,), rhdf5=KEEPS_ORDERED)
    assays = "lapply(sapply(assayNames(sce), function(name) unname(assay(sce, name)), simplify = FALSE), as.matrix)"
    run_section("A SingleCellExperiment", tmp_path, monkeypatch, SIMULATE_SCE, f'write_file({assays}, "assays")')
    given, made = (anndata.read_h5ad(tmp_path / f"{name}.h5ad") for name in ("cells", "corrected"))
    assert list(given.var["used"]) == [True] * 4 + [False] and given.var["used"].dtype == bool
    assert_same(
        read_leaves(tmp_path / "assays"), {"exprs": given.X, **given.layers, "corrected": made.layers["corrected"]}
    )
    counts = ne.pp.inverse_arcsinh(made, layer="corrected", key_added="linear", copy=True).layers["linear"]
    is_reference = (given.obs["batch"] == "B1").to_numpy()
    np.testing.assert_allclose(counts[is_reference], given.layers["counts"][is_reference], rtol=1e-4)
    assert np.abs(made.layers["corrected"] - made.X)[~is_reference, :4].max() > 0.01


@pytest.mark.parametrize(
    ("heading", "packages", "has_cells_as_rows"),
    [
        ("The whole file with anndataR", {"anndataR": (0, 99), "rhdf5": KEEPS_ORDERED}, True),
        ("The whole file with zellkonverter", {"zellkonverter": (1, 15), "rhdf5": KEEPS_ORDERED}, False),
        ("The whole file with rhdf5 alone", {"rhdf5": (2, 42)}, False),
    ],
)
def test_whole_files(tmp_path, monkeypatch, heading, packages, has_cells_as_rows):
    need(**packages)
    adata = ne.datasets.simulate_batches(n_cells=60)
    ne.tl.train(adata, space="pca", n_components=4)
    ne.tl.correct(adata, "batch", control_key="role", edit="percentile", **QUIET)
    adata.write_h5ad(tmp_path / "corrected.h5ad")
    turn = "t" if has_cells_as_rows else "identity"
    tables = "verdict = verdict, batches = as.data.frame(batches), by_feature = as.data.frame(by_feature)"
    tables += ", cells = as.data.frame(cells), features = as.data.frame(features)"
    after = f'write_file(list(x = unname({turn}(x)), corrected = unname({turn}(corrected)), {tables}), "leaves")'
    run_section(heading, tmp_path, monkeypatch, after=after)
    record = adata.uns["corrected"]
    expected = {"x": adata.X, "corrected": adata.layers["corrected"], "cells": adata.obs, "features": adata.var}
    expected |= {"verdict": record["verdict"], "batches": record["batches"], "by_feature": record["features"]}
    assert_same(read_leaves(tmp_path / "leaves"), expected)


def test_from_a_flow_set_and_back(tmp_path, monkeypatch):
    need(flowCore=(2,))
    after = """
tables <- sapply(sampleNames(corrected), function(name) unname(t(exprs(corrected[[name]]))), simplify = FALSE)
write_file(tables, "leaves")
"""
    run_section("A flowSet", tmp_path, monkeypatch, SIMULATE_FLOW_SET, after)
    given, made = (ne.io.read_fcs(tmp_path / name, metadata=tmp_path / "samples.csv") for name in ("fcs", "corrected"))
    by_file = {name: made.X[(made.obs["file"] == name).to_numpy()] for name in made.obs["file"].unique()}
    assert len(by_file) == 4
    assert_same(read_leaves(tmp_path / "leaves"), by_file)
    changed = np.abs(made.X - given.X).max(axis=0) > 0.01
    assert list(changed) == [name in ("CD19", "CD3") for name in made.var_names]
