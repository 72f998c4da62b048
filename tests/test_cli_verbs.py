"""The command line, verb by verb: exit codes, options, YAML, JSON, folders of FCS files, and what `--help` costs."""

import inspect
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
import yaml
from click.testing import CliRunner

import neuronedit as ne
from neuronedit._cli import cli, main

VERBS = ["correct", "edit", "combine", "apply", "compare", "inspect", "app", "demo"]
SMALL = ["--space", "pca", "--edit", "percentile"]
POPULATIONS = ["--groupby", "group", "--source", "control_1", "--target", "control_2", "--query", "sample_1"]
BATCHES = ["--batch-key", "batch", "--control-key", "role", "--reference", "batch_2"]
ALARMS = 4


@pytest.fixture
def folder(tmp_path, cells, monkeypatch):
    """A working folder with cells in two kinds of files."""
    del cells.layers["truth"]
    cells.write_h5ad(tmp_path / "cells.h5ad")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(*arguments):
    """Run a command line; return its exit code, and what it wrote to stdout and stderr."""
    before_8_2 = {"mix_stderr": False} if "mix_stderr" in inspect.signature(CliRunner).parameters else {}
    result = CliRunner(**before_8_2).invoke(cli, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


def read(path):
    return (anndata.read_zarr if str(path).endswith(".zarr") else anndata.read_h5ad)(path)


def names():
    return sorted(os.listdir())


# help


def test_help_loads_nothing_heavy():
    for arguments in (
        ["--help"],
        ["--version"],
        *([verb, "--help"] for verb in VERBS),
        ["corect"],
        ["edit", "--overwrit"],
    ):
        code = f"import sys\nfrom neuronedit._cli import main\nmain({arguments!r})\nprint(*sys.modules)"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        loaded = {name.split(".")[0] for name in done.stdout.splitlines()[-1].split()}
        assert not loaded & {
            "anndata",
            "h5py",
            "matplotlib",
            "numpy",
            "pandas",
            "scipy",
            "sklearn",
            "torch",
            "yaml",
            "zarr",
        }


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_a_verb(verb):
    code, out, err = call(verb, "--help")
    assert code == 0 and not err
    assert "Example:" in out and f"neuronedit {verb}" in out and "Exit codes:" in out
    headings = (
        ["Example:", "Cells:", "Run:"] if verb != "app" else ["Example:", "Run:"]
    )  # its cells are chosen on the page
    assert sorted(headings, key=out.index) == headings
    assert max(map(len, out.splitlines())) <= 110


def test_help_of_all():
    code, out, _ = call("--help")
    assert code == 0
    places = [out.index(f"\n  {verb} ") for verb in VERBS]
    assert places == sorted(places) and "130  interrupted" in out


def test_version():
    assert call("--version")[:2] == (0, f"neuronedit {ne.__version__}\n")


@pytest.mark.parametrize(("arguments", "words"), [
    (["corect"], "There is no verb 'corect'; there are correct, edit, combine, apply, compare, inspect, app, demo. Did you mean 'correct'?"),
    (["x"], "There is no verb 'x'; there are correct"),
    ([], "No verb is given; there are correct"),
    (["edit", "--soruce", "a"], "--source"),
    (["correct", "cells.h5ad"], "Missing option '--batch-key'"),
    (["edit", "cells.h5ad", "--strength", "a"], "'a' is not a valid float"),
    (["edit", "cells.h5ad", "--cofactor", "0"], "0.0 is not in the range x>0"),
    (["demo", "--threads", "0"], "0 is not in the range x>=1"),
    (["edit", "--config", "none.yaml"], "--config none.yaml cannot be read as YAML: No such file or directory"),
])  # fmt: skip
def test_usage(folder, arguments, words):
    code, out, err = call(*arguments)
    assert code == 2 and out == "" and words in err
    assert err.startswith("neuronedit: ") and err.count("\n") == 1 and err.endswith("--help.\n") | ("YAML" in err)


# verbs


@pytest.mark.parametrize("output", ["out.h5ad", "out.zarr"])
def test_correct(folder, output):
    more = [
        "--strength",
        0.5,
        "--bounds",
        0,
        10,
        "--key-added",
        "moved",
        "--save-model",
        "model.safetensors",
        "--seed",
        3,
    ]
    code, out, err = call("correct", "cells.h5ad", *BATCHES, *SMALL, *more, "-o", output)
    assert code in (0, ALARMS), err
    assert "batch_1: control to batch_2" in out and f"Wrote {output}, out.neuronedit.yaml and model.safetensors." in out
    assert names() == sorted(["cells.h5ad", "model.safetensors", "out.neuronedit.yaml", output])
    adata = read(output)
    config = json.loads(adata.uns["moved"]["config"])
    assert (config["strength"], config["bounds"], config["rng"]) == (0.5, [0, 10], 3)
    assert adata.uns["moved"]["verdict"] in out and adata.layers["moved"].min() >= 0


def test_a_store_as_input_and_over_itself(folder):
    read("cells.h5ad").write_zarr("cells.zarr")
    arguments = ["correct", "cells.zarr", *BATCHES, *SMALL, "-o", "cells.zarr"]
    assert "cells.zarr is the input; give another -o, or --overwrite" in call(*arguments)[2]
    assert call(*arguments, "--overwrite")[0] in (0, ALARMS)
    assert "corrected" in read("cells.zarr").layers
    assert names() == ["cells.h5ad", "cells.neuronedit.yaml", "cells.zarr"]


def test_a_store_that_cannot_be_written_leaves_what_was_there(folder, monkeypatch):
    read("cells.h5ad").write_zarr("out.zarr")

    def fail(self, path):
        Path(path).mkdir()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(anndata.AnnData, "write_zarr", fail)
    code, _, err = call("correct", "cells.h5ad", *BATCHES, *SMALL, "-o", "out.zarr", "--overwrite")
    assert code == 2 and "No space left on device" in err.splitlines()[-1]
    assert names() == ["cells.h5ad", "out.zarr"] and not set(read("out.zarr").layers) - {None}


def test_controls_by_value_samples_and_bridges(folder):
    adata = read("cells.h5ad")
    third = adata[adata.obs["group"] == "sample_2"].copy()
    third.obs["batch"] = "batch_3"
    adata = anndata.concat([adata, third], index_unique="-", merge="same")
    adata.obs["role"] = adata.obs["role"].astype(str).replace("control", "ctrl")
    adata.write_h5ad("three.h5ad")
    design = [*BATCHES, "--control", "ctrl", "--sample-key", "group", "--held-out-control", "cell_type=B"]
    code, out, err = call(
        "correct", "three.h5ad", *design, *SMALL, "-o", "out.h5ad", "--bridge", "batch_3=batch_1", "--json"
    )
    assert code in (0, ALARMS), err
    content = json.loads(out)
    assert [row["how"] for row in content["tables"]["batches"]] == ["control to batch_2", "reference", "as batch_1"]
    assert content["tables"]["held_out"][0]["batch"] == "batch_1"
    code, out, _ = call("correct", "three.h5ad", *design, *SMALL, "-o", "left.h5ad")
    assert code == ALARMS and out.startswith("batch_3 was left alone: no control.")


def test_edit_with_columns_instead_of_groupby(folder):
    crossed = ["--source", "batch=batch_1", "--source", "role=control", "--target", "group=control_2"]
    arguments = [
        "edit",
        "cells.h5ad",
        *crossed,
        "--query",
        "group=sample_1",
        *SMALL,
        "--biaxial",
        "a.png",
        "-o",
        "out.h5ad",
    ]
    code, out, err = call(*arguments)
    assert code == 0, err
    assert "Edited 150 of 600 cells" in out and Path("a.png").exists()


def test_strata_that_respond_against_each_other(tmp_path, monkeypatch):
    """What one type shows is the contrary of what another does: that is an exit code of its own."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    obs = pd.DataFrame({"group": np.repeat(["a", "b", "c"], 400), "type": np.tile(["v", "w", "x", "y"], 300)})
    obs.index = obs.index.astype(str)
    cells = rng.normal(size=(1200, 6)) + 3 * rng.normal(size=(4, 6))[np.tile(range(4), 300)]
    response = np.array([[2.0], [-2.0], [2.0], [-2.0]]) * np.eye(6)[[0, 0, 1, 1]]
    cells[400:800] += np.tile(response, (100, 1))
    anndata.AnnData(cells.astype("f4"), obs=obs).write_h5ad("cells.h5ad")
    groups = ["--groupby", "group", "--source", "a", "--target", "b", "--query", "c", "--strata", "type"]
    code, out, err = call("edit", "cells.h5ad", *groups, "--space", "pca", "-o", "out.h5ad", "--json")
    assert code == json.loads(out)["exit_code"] == 3, (out, err)
    verdict = json.loads(out)["verdict"]
    assert "Nothing shows that the change generalizes" in verdict and "edited" in read("out.h5ad").layers


@pytest.mark.parametrize("option", [[], ["--space", "pca"], ["--space", "identity"]])
def test_epochs_are_refused_where_nothing_is_trained(tmp_path, monkeypatch, option):
    monkeypatch.chdir(tmp_path)
    cells = np.random.default_rng(0).normal(size=(90, 61)).astype("f4")
    obs = pd.DataFrame({"group": np.repeat(["a", "b", "c"], 30)}, index=[str(i) for i in range(90)])
    anndata.AnnData(cells, obs=obs).write_h5ad("cells.h5ad")
    groups = ["--groupby", "group", "--source", "a", "--target", "b", "--query", "c"]
    code, _, err = call("edit", "cells.h5ad", *groups, *option, "--max-epochs", "3", "-o", "out.h5ad")
    assert code not in (0, ALARMS) and not Path("out.h5ad").exists()
    assert "--max-epochs is for spaces that are trained" in err and "give --space autoencoder" in err
    assert "Training" not in err


def test_combine(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ne.datasets.simulate_combination(n_cells=100).write_h5ad("drugs.h5ad")
    design = ["--groupby", "condition", "--control", "basal", "--effect", "A", "--effect", "B"]
    code, out, err = call(
        "combine", "drugs.h5ad", *design, *SMALL, "-o", "both.h5ad", "--save-model", "space.safetensors"
    )
    assert code in (0, ALARMS), err
    assert "Predicted 200 cells of 1 combinations." in out
    assert read("both.h5ad").obs["condition"].unique().tolist() == ["A+B"]
    assert list(ne.io.load_model("space.safetensors").uns) == ["neuronedit"]
    bad = {
        "is not in obs['condition']": [*design, "--effect", "Z"],
        "must be two or more values": design[:-2],
        "combine writes .h5ad files and .zarr stores": [*design, "-o", "folder/"],
    }
    for words, arguments in bad.items():
        code, out, err = call("combine", "drugs.h5ad", "-o", "other.h5ad", *arguments, *SMALL)
        assert code == 2 and words in err and err.count("\n") == 1


def test_apply(folder):
    call("correct", "cells.h5ad", *BATCHES, *SMALL, "-o", "one.h5ad", "--save-model", "correction.safetensors")
    code, out, err = call(
        "apply", "cells.h5ad", "--model", "correction.safetensors", "--key-added", "corrected", "-o", "two.h5ad"
    )
    assert code == 0, err
    assert "batch_2: the reference, which stays as it is" in out
    one, two = (read(f"{name}.h5ad").layers["corrected"] for name in ("one", "two"))
    np.testing.assert_allclose(one, two, atol=1e-5)

    call("edit", "cells.h5ad", *POPULATIONS, *SMALL, "-o", "edited.h5ad", "--save-model", "edit.safetensors")
    apply = ["apply", "cells.h5ad", "--model", "edit.safetensors"]
    assert call(*apply, "--groupby", "group", "--query", "sample_1", "-o", "again.h5ad")[0] == 0
    np.testing.assert_allclose(read("again.h5ad").layers["edited"], read("edited.h5ad").layers["edited"], atol=1e-5)
    code, out, _ = call(*apply, "--all-cells", "-o", "all.h5ad")
    assert "Edited 600 of 600 cells" in out
    for arguments, words in [
        ([*apply, "-o", "x.h5ad"], "--query is required: the cells to edit. --all-cells takes all"),
        ([*apply, "--all-cells", "-o", "edit.safetensors", "--overwrite"], "holds what is read; give another -o"),
        (["apply", "cells.h5ad", "--model", "cells.h5ad", "-o", "x.h5ad"], "cells.h5ad is not a model of neuronedit"),
        (["apply", "cells.h5ad", "--model", "none", "-o", "x.h5ad"], "none is not a file"),
    ]:
        code, out, err = call(*arguments)
        assert code == 2 and words in err and err.count("\n") == 1 and not out


def test_compare(folder):
    truth = ["--truth", "sample_2", "--n-bootstrap", 0]
    arguments = ["compare", "cells.h5ad", *POPULATIONS, *truth, "--method", "quantile", "--method", "mean_shift"]
    code, out, err = call(*arguments, "--metric", "energy_distance", "-o", "scores.csv")
    assert code == 0, err
    assert "By energy_distance the best of 2 methods is" in out and "mean_shift" in out
    assert set(pd.read_csv("scores.csv")["method"]) == {"quantile", "mean_shift"}
    code, out, _ = call(*arguments, "--json")
    assert code == 0 and len(json.loads(out)["tables"]["scores"]) == 8
    for more, words in [
        (["-o", "scores.csv"], "scores.csv exists; give another name, or --overwrite"),
        (["-o", "cells.h5ad", "--overwrite"], "cells.h5ad is read; give another -o"),
        (["--method", "x"], "--method='x' is not known; choose "),
        (["--metric", "x"], "--metric='x' is not known; choose "),
        (["--truth", "x"], "truth: 'x' is not in obs['group']"),
    ]:
        code, out, err = call(*arguments, *more)
        assert code == 2 and words in err and err.count("\n") == 1
    assert call(*arguments, "-o", "scores.csv", "--overwrite")[0] == 0


def test_compare_holds_strata_out(folder):
    groups = ["--groupby", "group", "--source", "control_1", "--target", "control_2"]
    arguments = [
        "compare",
        "cells.h5ad",
        *groups,
        "--held-out",
        "cell_type",
        "--method",
        "mean_shift",
        "--n-bootstrap",
        "0",
    ]
    code, out, _ = call(*arguments, "--baseline", "mean_shift", "-o", "scores.csv")
    table = pd.read_csv("scores.csv")
    assert code == 0 and "By energy_distance the best of 1 methods is mean_shift" in out
    assert set(table["held_out"]) == {*anndata.read_h5ad("cells.h5ad").obs["cell_type"], "all"}
    scaled = table[table["held_out"] == "all"]["scaled"].dropna()
    assert len(scaled) and scaled.eq(0).all()
    code, _, err = call(*arguments, "--query", "sample_1")
    assert code == 2 and "held_out takes query from source and target" in err
    code, _, err = call(*arguments, "--baseline", "magic")
    assert code == 2 and "--baseline='magic' is not known" in err


def test_compare_with_a_method_that_fails(folder, monkeypatch):
    def fail(source, target):
        raise ValueError("no")

    monkeypatch.setitem(ne.baselines.BASELINES, "mean_shift", fail)
    code, out, _ = call(
        "compare", "cells.h5ad", *POPULATIONS, "--method", "quantile", "--method", "mean_shift", "--json"
    )
    content = json.loads(out)
    assert code == ALARMS and content["alarms"][0]["text"] == "mean_shift: ValueError: no"
    assert content["verdict"].startswith("1 failed: mean_shift.")


def test_inspect(folder):
    code, out, _ = call("inspect", "cells.h5ad")
    assert code == 0 and "600 cells, 35 features" in out and "control_1, control_2, sample_1, sample_2" in out
    ne.datasets.simulate_batches(n_cells=300).write_h5ad("more.h5ad")
    code, out, err = call("inspect", "more.h5ad", *BATCHES, "--json")
    content = json.loads(out)
    assert code == 0, content
    assert content["tables"]["batches"][0] == {"batch": "batch_1", "n_cells": 600, "n_controls": 300, "n_samples": 300}
    assert {row["batch"] for row in content["tables"]["composition"]} == {"batch_1", "batch_2"}
    assert names() == ["cells.h5ad", "more.h5ad"]


def test_inspect_says_what_is_missing(folder):
    adata = read("cells.h5ad")
    adata.X[:, 0] = 500 * adata.X[:, 0] + 1000
    adata.obs.loc[adata.obs["batch"] == "batch_1", "role"] = "sample"
    adata.obs["type"] = np.where(adata.obs["batch"] == "batch_2", "B", "T")
    adata.write_h5ad("bad.h5ad")
    code, out, _ = call("inspect", "bad.h5ad", *BATCHES, "--strata", "type")
    assert code == ALARMS
    for words in ("batch_1 has no control", "Fewer than two batches have controls", "1 of 35 features look raw", "'CD3'",
                  "varies far more than most features", "The control of batch_2 has 150 cells"):  # fmt: skip
        assert words in out
    assert "controls were not looked for" in call("inspect", "bad.h5ad", "--batch-key", "batch")[1]
    for arguments, words in [
        (["--batch-key", "x"], "--batch-key: 'x' is not in adata.obs"),
        (["--control-key", "role"], "--control-key needs --batch-key"),
        (["--batch-key", "batch", "--strata", "x"], "--strata: 'x' is not in adata.obs"),
    ]:
        code, out, err = call("inspect", "bad.h5ad", *arguments)
        assert code == 2 and words in err and err.count("\n") == 1


# how a verb runs


def test_quiet_and_lines(folder):
    arguments = ["edit", "cells.h5ad", *POPULATIONS, *SMALL]
    _, out, err = call(*arguments, "-o", "a.h5ad")
    assert [line.split("] ")[1].split()[0] for line in err.splitlines()] == [
        "Reading",
        "Read",
        "Training",
        "Editing",
        "Writing",
    ]
    _, quiet_out, quiet_err = call(*arguments, "-o", "b.h5ad", "--quiet")
    assert quiet_err == "" and quiet_out.replace("b.", "a.") == out


def test_json(folder):
    code, out, _ = call("edit", "cells.h5ad", *POPULATIONS, *SMALL, "-o", "a.h5ad", "--json")
    content = json.loads(out)
    assert list(content) == ["exit_code", "verdict", "alarms", "tables", "files"]
    assert content["exit_code"] == code == 0 and content["files"] == ["a.h5ad", "a.neuronedit.yaml"]
    assert content["alarms"][0]["alarm"] == "no role" and len(content["tables"]["features"]) == 10
    for arguments in (["edit", "none.h5ad", *POPULATIONS, "-o", "b.h5ad", "--json"], ["edit", "--json"]):
        code, out, err = call(*arguments)
        content = json.loads(out)
        assert code == content["exit_code"] == 2 and f"neuronedit: {content['error']}\n" == err


def test_threads_and_accelerator(folder):
    more = ["--threads", 1, "--accelerator", "cpu"]
    assert call("edit", "cells.h5ad", *POPULATIONS, *SMALL, *more, "-o", "a.h5ad")[0] == 0


@pytest.mark.parametrize("verb", ["correct", "edit"])
def test_a_run_is_repeated_by_its_yaml(folder, verb):
    design = BATCHES if verb == "correct" else POPULATIONS
    key = {"correct": "corrected", "edit": "edited"}[verb]
    first = call(verb, "cells.h5ad", *design, *SMALL, "-o", "a.h5ad", "--rng", 5, "--bounds", 0, 9)[0]
    Path("elsewhere").mkdir()
    os.chdir("elsewhere")  # paths are relative to the YAML
    assert call(verb, "--config", "../a.neuronedit.yaml")[0] == 2
    assert call(verb, "--config", "../a.neuronedit.yaml", "-o", "b.h5ad")[0] == first
    a, b = read("../a.h5ad"), read("b.h5ad")
    np.testing.assert_array_equal(a.layers[key], b.layers[key])
    ours, theirs = (yaml.safe_load(Path(name).read_text()) for name in ("../a.neuronedit.yaml", "b.neuronedit.yaml"))
    assert ours["input"] == ["cells.h5ad"] and theirs["input"] == [str(folder.resolve() / "cells.h5ad")]
    assert {**ours, "input": 0, "output": 0} == {**theirs, "input": 0, "output": 0}
    assert ours["neuronedit"] == ne.__version__ and ours["command"] == verb and ours["rng"] == 5


CONFIGS = {
    "batch_key: batch": None,
    "bacth-key: batch": "bacth-key is no argument of correct; it has input, metadata",
    "command: edit": "is for neuronedit edit, not for neuronedit correct",
    "- a": "must hold arguments, one a line",
    "a: [": "cannot be read as YAML",
    "rng: [1, 2]": "rng is one value; there are 2",
    "rng: {a: 1}": "rng must be a value, or a list of values",
    "rng: many": "'many' is not a valid integer",
    "": None,
}


@pytest.mark.parametrize("text", CONFIGS)
def test_yaml(folder, text):
    Path("run.yaml").write_text(text)
    arguments = ["cells.h5ad", *BATCHES, *SMALL, "-o", "out.h5ad"]
    code, out, err = call("correct", "--config", "run.yaml", *arguments)
    words = CONFIGS[text]
    if words is None:
        assert code in (0, ALARMS), err
    else:
        assert code == 2 and words in err and err.count("\n") == 1 and names() == ["cells.h5ad", "run.yaml"]


def test_yaml_keeps_words_and_the_command_line_wins(folder):
    adata = read("cells.h5ad")
    adata.obs["batch"] = adata.obs["batch"].astype(str).replace({"batch_1": "no", "batch_2": "01"})
    adata.write_h5ad("odd.h5ad")
    Path("run.yaml").write_text(
        "input: odd.h5ad\nbatch-key: batch\ncontrol-key: role\nreference: no\nspace: pca\nedit: shift\n"
    )
    assert call("correct", "--config", "run.yaml", "-o", "a.h5ad")[0] in (0, ALARMS)
    assert json.loads(read("a.h5ad").uns["corrected"]["config"])["reference"] == "no"
    assert call("correct", "--config", "run.yaml", "--reference", "01", "-o", "b.h5ad")[0] in (0, ALARMS)
    config = json.loads(read("b.h5ad").uns["corrected"]["config"])
    assert (config["reference"], config["edit"]) == ("01", "shift")


# FCS files


def write_fcs_file(path, events, channels, markers, **more):
    """Write an FCS 3.1 file of floating point numbers, as the published standard says."""
    raw = events.astype("<f4").tobytes()
    begin, size = 4096, len(raw)
    keywords = {
        "$BEGINDATA": begin,
        "$ENDDATA": begin + size - 1,
        "$BYTEORD": "1,2,3,4",
        "$DATATYPE": "F",
        "$MODE": "L",
    }
    keywords |= {"$BEGINSTEXT": 0, "$ENDSTEXT": 0, "$BEGINANALYSIS": 0, "$ENDANALYSIS": 0, "$NEXTDATA": 0}
    keywords |= {"$PAR": len(channels), "$TOT": len(events)} | {f"${name}": value for name, value in more.items()}
    for i, (channel, marker) in enumerate(zip(channels, markers, strict=True), start=1):
        keywords |= {f"$P{i}N": channel, f"$P{i}B": 32, f"$P{i}R": 100_000, f"$P{i}E": "0,0"}
        keywords |= {f"$P{i}S": marker} if marker else {}
    text = "".join(f"|{name}|{value}" for name, value in keywords.items()) + "|"
    places = (58, 58 + len(text) - 1, begin, begin + size - 1, 0, 0)
    header = "FCS3.1    " + "".join(f"{place:>8}" for place in places)
    path.write_bytes((header + text).ljust(begin).encode() + raw)


@pytest.fixture
def study(tmp_path, monkeypatch):
    """A folder of FCS files with their tables: two batches with a control and a sample each."""
    if not hasattr(ne.io, "write_fcs"):
        pytest.skip("ne.io.write_fcs is not there yet")
    adata = ne.datasets.simulate_batches(n_cells=250)
    (tmp_path / "fcs").mkdir()
    markers = list(adata.var_names)
    channels = ["Time", *(f"Ch{i}Di" for i in range(len(markers)))]
    for name in adata.obs["group"].unique():
        counts = 5 * np.sinh(adata[adata.obs["group"] == name].X)
        events = np.column_stack([np.arange(len(counts)), counts])
        write_fcs_file(tmp_path / "fcs" / f"{name}.fcs", events, channels, ["", *markers])
    rows = [
        {"file": f"{role}_{i}.fcs", "batch": f"B{i}", "role": role} for role in ("control", "sample") for i in (1, 2)
    ]
    pd.DataFrame(rows).to_csv(tmp_path / "samples.csv", index=False)
    panel = pd.DataFrame({"channel": channels[1:], "marker": markers, "class": "lineage"})
    panel.to_csv(tmp_path / "panel.csv", index=False)
    panel.assign(cofactor=5).to_csv(tmp_path / "with_cofactor.csv", index=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


TABLES = ["--metadata", "samples.csv", "--panel", "panel.csv"]
CONTROLS = ["--batch-key", "batch", "--control-key", "role", "--reference", "B1"]


def test_fcs_to_fcs(study):
    before = {path.name: path.read_bytes() for path in Path("fcs").iterdir()}
    code, out, err = call("correct", "fcs", *TABLES, *CONTROLS, "--cofactor", 5, *SMALL, "-o", "OUT")
    assert code in (0, ALARMS), err
    assert sorted(os.listdir("OUT")) == sorted([*before, "neuronedit.yaml"])
    assert {path.name: path.read_bytes() for path in Path("fcs").iterdir()} == before
    old, new = (ne.io.read_fcs(folder, metadata="samples.csv", panel="panel.csv") for folder in ("fcs", "OUT"))
    is_reference = (old.obs["batch"] == "B1").to_numpy()
    used = old.var["used"].to_numpy(dtype=bool)
    np.testing.assert_array_equal(new.X[:, ~used], old.X[:, ~used])
    np.testing.assert_array_equal(new.X[is_reference], old.X[is_reference])  # to the bit
    assert np.abs(new.X[~is_reference][:, used] - old.X[~is_reference][:, used]).max() > 1
    # what is in the files is what the layer of an .h5ad file says
    assert call("correct", "fcs", *TABLES, *CONTROLS, "--cofactor", 5, *SMALL, "-o", "out.h5ad")[0] == code
    layer = read("out.h5ad").layers["corrected"][:, used]
    np.testing.assert_allclose(np.arcsinh(new.X[:, used] / 5), layer, atol=1e-4)
    np.testing.assert_array_equal(read("out.h5ad").X, old.X)
    # and the YAML in the folder repeats it
    assert call("correct", "--config", "OUT/neuronedit.yaml", "-o", "OUT2")[0] == code
    for name in before:
        assert Path("OUT", name).read_bytes() == Path("OUT2", name).read_bytes()
    assert call("correct", "--config", "OUT/neuronedit.yaml", "--overwrite")[0] == code


def test_fcs_edit_apply_and_back(study):
    cofactor = ["--metadata", "samples.csv", "--panel", "with_cofactor.csv"]
    groups = ["--source", "batch=B2", "--source", "role=control", "--target", "batch=B1", "--target", "role=control"]
    query = ["--query", "batch=B2", "--query", "role=sample"]
    files = ["fcs/control_1.fcs", "fcs/control_2.fcs", "fcs/sample_2.fcs"]
    Path("samples.csv").write_text(
        "\n".join(Path("samples.csv").read_text().replace("sample_1.fcs,B1,sample\n", "").splitlines())
    )
    code, out, err = call(
        "edit", *files, *cofactor, *groups, *query, *SMALL, "-o", "edited", "--save-model", "m.safetensors"
    )
    assert code in (0, ALARMS), err
    assert sorted(os.listdir("edited")) == ["control_1.fcs", "control_2.fcs", "neuronedit.yaml", "sample_2.fcs"]
    # the model says how its files were transformed; it is applied to files without a panel
    code, out, err = call("apply", *files, "--model", "m.safetensors", *TABLES, *query, "-o", "applied")
    assert code in (0, ALARMS), err
    a, b = (ne.io.read_fcs(folder) for folder in ("edited", "applied"))
    np.testing.assert_allclose(a.X, b.X, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("arguments", "words"), [
    (["fcs", *TABLES, *CONTROLS, "-o", "OUT"], "the values of FCS files look raw, and the panel has no column cofactor: give --cofactor"),
    (["fcs", *TABLES, *CONTROLS, "--cofactor", "5", "-o", "fcs", "--overwrite"], "fcs is the input; give another -o."),
    (["fcs/control_1.fcs", *TABLES, *CONTROLS, "--cofactor", "5", "-o", "fcs/"], "-o fcs holds what is read; give another -o"),
    (["fcs", "--metadata", "none.csv", *CONTROLS, "--cofactor", "5", "-o", "OUT"], "--metadata none.csv is not a file"),
    (["fcs", *TABLES, *CONTROLS, "--layer", "a", "-o", "OUT"], "FCS files have no layers"),
    (["fcs", *TABLES, *CONTROLS, "--cofactor", "5", "--reference", "B7", "-o", "OUT"], "reference: 'B7' is not in obs['batch']"),
    (["fcs", *TABLES, *CONTROLS, "--cofactor", "5", "-o", "samples.csv"], "samples.csv"),
    (["fcs", *TABLES, *CONTROLS, "--cofactor", "5", "-o", "none/OUT"], "The folder none does not exist"),
])  # fmt: skip
def test_fcs_that_is_refused(study, arguments, words):
    before = names()
    code, out, err = call("correct", *arguments)
    assert code == 2 and words in err and err.count("\n") == 1 and names() == before


def test_from_h5ad_to_fcs(study):
    """A folder for FCS files may be made of an .h5ad file that remembers its files."""
    ne.io.read_fcs("fcs", metadata="samples.csv", panel="panel.csv").write_h5ad("study.h5ad")
    code, _, err = call("correct", "study.h5ad", *CONTROLS, "--cofactor", 5, *SMALL, "-o", "OUT/")
    assert code in (0, ALARMS), err
    assert call("correct", "fcs", *TABLES, *CONTROLS, "--cofactor", 5, *SMALL, "-o", "OUT2")[0] == code
    a, b = (ne.io.read_fcs(folder).X for folder in ("OUT", "OUT2"))
    np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3)
    assert "output: ./" in Path("OUT/neuronedit.yaml").read_text()
    assert call("correct", "--config", "OUT/neuronedit.yaml", "--overwrite")[0] == code


def test_fcs_of_cells_that_are_from_none(folder):
    code, out, err = call("correct", "cells.h5ad", *BATCHES, *SMALL, "-o", "OUT/")
    assert code == 2 and "-o OUT/ is for FCS files, and the input is from none" in err and err.count("\n") == 1


def test_inspect_fcs(study):
    code, out, err = call("inspect", "fcs", *TABLES, *CONTROLS, "--cofactor", 5, "--json")
    content = json.loads(out)
    assert code == 0, content
    assert len(content["tables"]["files"]) == 4 and len(content["tables"]["panel"]) == 36
    assert [row["n_controls"] for row in content["tables"]["batches"]] == [250, 250]
    code, out, _ = call("inspect", "fcs", *TABLES)
    assert code == ALARMS and "give --cofactor" in out and "look raw" in out


@pytest.mark.parametrize(
    "option", [["--compensate"], ["--spillover", "spillover.csv"]], ids=["of the files", "a table"]
)
def test_compensation(folder, option):
    """Two channels that spill over into each other; the table and the files say by how much."""
    rng = np.random.default_rng(0)
    true, spillover = rng.gamma(2, 200, (300, 2)), np.array([[1, 0.4], [0.1, 1]])
    for name in ("a.fcs", "b.FCS"):
        write_fcs_file(Path(name), true @ spillover, ["FL1", "FL2"], ["CD3", "CD4"], SPILLOVER="2,FL1,FL2,1,0.4,0.1,1")
    pd.DataFrame(spillover, index=["FL1", "FL2"], columns=["FL1", "FL2"]).to_csv("spillover.csv")
    pd.DataFrame({"file": ["a.fcs", "b.FCS"], "batch": ["x", "y"]}).to_csv("sheet.csv", index=False)
    how = ["--metadata", "sheet.csv", "--cofactor", 150, "--space", "identity", "--edit", "shift"]
    how += ["--groupby", "file", "--source", "a.fcs", "--target", "b.FCS", "--query", "a.fcs", "-o", "out.h5ad"]
    code, _, err = call("edit", "a.fcs", "b.FCS", *option, *how)
    assert code == 0, err
    adata = read("out.h5ad")
    assert adata.uns["fcs"]["compensated"]
    np.testing.assert_allclose(adata.X, np.vstack([true, true]), rtol=1e-3, atol=1e-2)


# the installed command


DRUGS = ["--groupby", "group", "--control", "control_1", "--effect", "control_2", "--effect", "sample_1"]
TRUTH = [*POPULATIONS, "--truth", "sample_2", "--method", "mean_shift", "--method", "identity"]
STORY = [  # a command line, its exit code, and a file that it writes
    (["demo", "--n-cells", "100", "--max-epochs", "20", "-o", "demo"], {0, 3}, "demo/edited.h5ad"),
    (["inspect", "cells.h5ad", *BATCHES], {4}, None),  # few controls
    (["edit", "cells.h5ad", *POPULATIONS, *SMALL, "-o", "a.zarr", "--save-model", "m.safetensors"], {0}, "a.zarr"),
    (
        [
            "apply",
            "cells.h5ad",
            "--model",
            "m.safetensors",
            "--groupby",
            "group",
            "--query",
            "sample_1",
            "-o",
            "b.h5ad",
        ],
        {0},
        "b.h5ad",
    ),
    (["correct", "cells.h5ad", *BATCHES, *SMALL, "-o", "c.h5ad"], {0, 4}, "c.h5ad"),
    (["combine", "cells.h5ad", *DRUGS, *SMALL, "-o", "d.h5ad"], {0, 4}, "d.h5ad"),
    (["compare", "cells.h5ad", *TRUTH, "-o", "e.csv"], {0}, "e.csv"),
    (["correct", "nowhere.h5ad", *BATCHES, "-o", "f.h5ad"], {2}, None),
]


def test_every_verb_as_it_is_installed(folder):
    command = shutil.which("neuronedit", path=Path(sys.executable).parent)
    command = [command] if command else [sys.executable, "-m", "neuronedit._cli"]
    assert {arguments[0] for arguments, *_ in STORY} == set(VERBS) - {"app"}  # which serves until it is ended
    for arguments, codes, file in STORY:
        done = subprocess.run([*command, *arguments], capture_output=True, text=True)
        assert done.returncode in codes, (arguments, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        assert file is None or Path(file).exists()


def test_in_a_process_of_its_own(folder):
    command = [shutil.which("neuronedit", path=Path(sys.executable).parent) or "", "edit"]
    command = command if command[0] else [sys.executable, "-m", "neuronedit._cli", "edit"]
    arguments = ["cells.h5ad", *POPULATIONS, *SMALL, "-o", "out.h5ad", "--threads", "1"]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("Wrote out.h5ad and out.neuronedit.yaml.\n") and "Traceback" not in done.stderr
    done = subprocess.run([*command, *arguments], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (2, "neuronedit: out.h5ad exists; give another name, or --overwrite.\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux alone has a disk that is always full")
@pytest.mark.parametrize("arguments", [["--help"], ["edit", "--help"], ["--version"], ["inspect", "cells.h5ad"]])
def test_output_that_nobody_can_take(folder, arguments):
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "neuronedit._cli", *arguments]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2 and done.stderr.splitlines()[-1] == "neuronedit: [Errno 28] No space left on device"
    assert "Traceback" not in done.stderr


def test_main_returns_the_code(capsys):
    assert main(["--version"]) == 0 and main(["x"]) == 2
