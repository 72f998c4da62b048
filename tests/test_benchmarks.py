"""The benchmarks: their pages and frozen results, the protocol on CelebA on a small folder laid out like it, and the README's figures."""

import importlib
import itertools
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
README = BENCHMARKS.parent / "README.md"
SCRIPTS = {path.stem for path in BENCHMARKS.glob("*.py")}


@pytest.fixture(scope="module")
def benchmark():
    """Import a script of the folder by its name."""
    sys.path.insert(0, str(BENCHMARKS))
    yield importlib.import_module
    sys.path.remove(str(BENCHMARKS))
    for name in SCRIPTS & set(sys.modules):
        del sys.modules[name]


@pytest.fixture
def faces(benchmark):
    return benchmark("faces")


@pytest.fixture
def root(tmp_path):
    """Five images each of men and women with black and with blond hair: blond ones are light on top."""
    folder, generator = tmp_path / "img_align_celeba", np.random.default_rng(0)
    folder.mkdir()
    lines = ["20", "Black_Hair Blond_Hair Male"]
    for i, (male, blond) in enumerate(itertools.product([1, -1], [1, -1] * 5), start=1):
        pixels = generator.integers(60, 120, size=(218, 178, 3)).astype(np.uint8)
        pixels[:80] = 230 if blond == 1 else 20
        Image.fromarray(pixels).save(folder / f"{i:06d}.jpg")
        lines.append(f"{i:06d}.jpg {-blond:2d} {blond:2d} {male:2d}")
    (tmp_path / "list_attr_celeba.txt").write_text("\n".join(lines) + "\n")
    return tmp_path


def test_the_command_for_celeba(faces, root, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    short = ["--seeds", "1", "--steps", "2", "--slow-steps", "1", "--size", "16", "--batch-size", "4"]
    monkeypatch.setattr(sys, "argv", ["faces.py", "--celeba", str(root), *short])
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)  # as where the extra is not installed
    monkeypatch.setattr(faces.extractor, "__defaults__", (3, 0))
    faces.main()
    table = pd.read_csv("celeba.csv").set_index("method")
    assert {"neuron editing, decoded", "neuron editing, stopped early", *faces.TRAINED} <= set(table.index)
    assert np.isfinite(table["FD"]).all() and "FID" not in table
    assert table.loc["mean shift of pixels", "FD"] < table.loc["leave alone", "FD"]
    assert (tmp_path / "celeba.png").stat().st_size > 5_000
    printed = capsys.readouterr().out
    assert "pip install 'neuronedit[fid]'" in printed and "321.0" in printed  # what is missing, and the paper's figures


def test_the_page_is_made_of_the_results(faces):
    results = faces.read()
    page = faces.page(results)
    assert set(results["task"]) == {task.name for task in faces.TASKS}
    for task, rows in results.groupby("task"):
        assert f"**{task}** (3 seeds)" in page
        assert (rows.groupby("method").size() == 3).all()


@pytest.mark.parametrize(
    "name",
    [
        "paper",
        "holdout",
        "prior",
        "composition",
        "controls",
        "cytonorm_r",
        "combinations",
        "speed",
        "defaults",
        "norman",
        "scperturbench",
        "openproblems_cytometry",
    ],
)
def test_a_page_is_made_of_each_csv(benchmark, name):
    script = benchmark(name)
    table = [line for line in script.page(script.read()).splitlines() if line.startswith("|")]
    assert len(table) > 5 and "nan" not in "".join(table)


def test_the_tasks_of_the_paper_differ_between_learning_and_prediction_in_one_thing(benchmark):
    for task in benchmark("tasks").paper_tasks():
        columns = {tuple(sorted(getattr(task, role))) for role in ("source", "target", "query", "truth")}
        assert len(columns) == 1
        if len(task.source) == 2:
            change = [column for column in task.source if task.source[column] != task.target[column]]
            assert change == [column for column in task.query if task.query[column] != task.truth[column]]


def test_frozen_results_differ_in_the_last_bit(benchmark):
    frozen = benchmark("frozen")
    table = pd.DataFrame({"name": ["a", "b"], "value": [1.0, np.nan]})
    (path, values), *others = frozen.flatten({"table": table}, "part")
    assert path == "part/table/value" and not others  # names are not compared
    assert frozen.describe_difference(values, values.copy()) == ""
    assert "apart" in frozen.describe_difference(values, np.array([np.nextafter(1.0, 2), np.nan]))
    assert "missing" in frozen.describe_difference(values, None)
    assert "other" in frozen.describe_difference(values, values.astype(np.float32))


NAME_IN_README = {
    "**default**: cross-validated ensemble": "auto",
    "quantiles within cell types": "quantile_by_strata",
    "neuron editing (the paper)": "neuron_editing",
    "quantiles per marker": "quantile",
    "ComBat": "combat",
    "mean shift": "mean_shift",
    "leave the cells alone": "identity",
}


def test_the_table_in_the_readme_is_of_the_results(benchmark):
    results = pd.read_csv(BENCHMARKS / "holdout.csv")
    results = results[results["family"] != benchmark("holdout").UNTESTABLE]
    energy, wasserstein = (
        results.pivot_table(metric, "method", "family").mean(axis=1)
        for metric in ("energy_distance", "mean_wasserstein")
    )
    each = results.groupby("method")["energy_distance"]
    figures = pd.DataFrame(
        {"energy": energy, "worst": each.min(), "harm": each.agg(lambda x: (x < 0).sum()), "wasserstein": wasserstein}
    )
    rows = [line.strip("| ").split(" | ") for line in README.read_text().splitlines() if line.startswith("| ")]
    rows = {row[0]: [float(cell) for cell in row[1:]] for row in rows if row[0] in NAME_IN_README}
    assert list(rows) == sorted(NAME_IN_README, key=lambda name: -energy[NAME_IN_README[name]])
    for name, method in NAME_IN_README.items():
        assert rows[name] == pytest.approx(figures.loc[method].tolist(), abs=0.0051), name


def test_what_the_readme_says_of_the_table_is_so(benchmark):
    holdout = benchmark("holdout")
    results = pd.read_csv(BENCHMARKS / "holdout.csv")
    results = results[results["family"] != holdout.UNTESTABLE]
    closed = results.pivot_table("energy_distance", "method", "family").dropna().mean(axis=1)
    singles = closed.drop([*holdout.ENSEMBLES, *holdout.ABLATIONS], errors="ignore")
    assert closed["auto"] > singles.max()
    assert singles.idxmax() == "quantile_by_strata"  # the best single edit is in the table
    auto = results[results["method"] == "auto"]
    text = " ".join(README.read_text().split())
    n_tasks = auto["task"].groupby(auto["family"]).nunique().sum()
    assert f"Mean over nine families of data, with {n_tasks} tasks" in text and auto["family"].nunique() == 9
