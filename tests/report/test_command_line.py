"""``--report`` and ``--anonymize`` of every verb: written beside the output, and refused before any work."""

import json
import os
import re

import pytest
from click.testing import CliRunner

import neuronedit as ne
from neuronedit._cli import cli

SMALL = ["--space", "pca", "--edit", "percentile"]
POPULATIONS = ["--groupby", "group", "--source", "control_1", "--target", "control_2", "--query", "sample_1"]
REPORT = ["--report", "report.html"]
BAD_INPUT = 2


@pytest.fixture
def folder(tmp_path, cells, monkeypatch):
    """A folder with cells, treated cells and a saved correction."""
    del cells.layers["truth"]
    cells.write_h5ad(tmp_path / "cells.h5ad")
    ne.datasets.simulate_combination(n_cells=100).write_h5ad(tmp_path / "drugs.h5ad")
    ne.tl.train(cells, space="pca")
    ne.tl.correct(cells, "batch", control_key="role", edit="percentile")
    ne.io.save_model(cells, tmp_path / "batch.safetensors")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(*arguments):
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


VERBS = {
    "correct": ["cells.h5ad", "--batch-key", "batch", "--control-key", "role", *SMALL, "-o", "out.h5ad"],
    "edit": ["cells.h5ad", *POPULATIONS, *SMALL, "-o", "out.zarr"],
    "combine": ["drugs.h5ad", "--groupby", "condition", "--control", "basal", "--effect", "A", "--effect", "B", *SMALL, "-o", "out.h5ad"],
    "apply": ["cells.h5ad", "--model", "batch.safetensors", "-o", "out.h5ad"],
    "compare": ["cells.h5ad", *POPULATIONS, "--truth", "sample_2", "--method", "mean_shift", "--n-bootstrap", "2", "-o", "scores.csv"],
    "demo": ["--n-cells", "120", "--max-epochs", "1", "-o", "demo"],
}  # fmt: skip
TITLES = {
    "correct": "Batches corrected",
    "apply": "Batches corrected",
    "combine": "Combinations predicted",
    "compare": "Methods compared",
}


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_writes_a_report(folder, verb):
    result = call(verb, *VERBS[verb], *REPORT, "--json")
    outcome = json.loads(result.stdout)
    assert outcome["exit_code"] != BAD_INPUT, outcome
    assert outcome["files"][-1] == "report.html"
    text = (folder / "report.html").read_text()
    assert TITLES.get(verb, "A change applied to a query") in text
    assert f"command: {verb}" in text and str(folder) not in text
    assert ("input:" in text) == (verb != "demo")


def test_the_settings_of_a_report_hold_names_of_files_alone(folder):
    os.mkdir("jdoe")
    os.rename("cells.h5ad", "jdoe/cells.h5ad")
    arguments = [folder / "jdoe" / "cells.h5ad", *VERBS["correct"][1:-1], folder / "jdoe" / "out.h5ad"]
    assert call("correct", *arguments, *REPORT).exit_code != BAD_INPUT
    text = (folder / "report.html").read_text()
    assert "- cells.h5ad" in text and "output: out.h5ad" in text and "jdoe" not in text


def test_anonymized(folder):
    call("edit", *VERBS["edit"], *REPORT, "--anonymize")
    text = (folder / "report.html").read_text()
    assert "control_1" not in text and "cells.h5ad" not in text
    assert re.search(r"source:\n- group \d\n", text)  # of the options, too


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--report", "report.txt"], "a report is an HTML file; give a name that ends in .html"),
        (["--report", "no/report.html"], "The folder no does not exist"),
        (["--report", "there.html"], "there.html exists; give another name, or --overwrite"),
        (["--anonymize"], "--anonymize is of a report: name its file with --report"),
        (["--report", "cells.html", "-o", "cells.html"], "names it as well; give another name"),
    ],
)
@pytest.mark.parametrize("verb", ["correct", "edit", "combine", "apply", "compare"])
def test_what_is_wrong_is_said_before_any_work(folder, verb, arguments, text):
    (folder / "there.html").write_text("mine")
    before = sorted(os.listdir())
    result = call(verb, *VERBS[verb], *arguments)
    assert result.exit_code == BAD_INPUT and text in result.stderr and len(result.stderr.splitlines()) == 1
    assert sorted(os.listdir()) == before and (folder / "there.html").read_text() == "mine"


def test_overwrite_replaces_a_report(folder):
    (folder / "report.html").write_text("mine")
    assert call("edit", *VERBS["edit"], *REPORT, "--overwrite").exit_code != BAD_INPUT
    assert (folder / "report.html").read_text().startswith("<!DOCTYPE html>")


def test_a_run_is_repeated_with_its_report(folder):
    call("correct", *VERBS["correct"], *REPORT)
    text = (folder / "report.html").read_text()
    os.remove("report.html")
    call("correct", "--config", "out.neuronedit.yaml", "--overwrite")
    assert (folder / "report.html").read_text() == text
