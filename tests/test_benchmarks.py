"""The benchmarks: the protocol on CelebA, on a small folder laid out like it, and figures of the README that are quoted from them."""

import importlib.util
import itertools
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image


@pytest.fixture(scope="module")
def faces():
    path = Path(__file__).parents[1] / "benchmarks" / "faces.py"
    spec = importlib.util.spec_from_file_location("faces", path)
    sys.modules["faces"] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules["faces"]


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


README = Path(__file__).parents[1] / "README.md"
CALLED = {
    "GAN": "gan",
    "CycleGAN": "cyclegan",
    "leave the cells alone": "identity",
    "residual GAN": "resnet_gan",
    "MNN": "mnn",
    "mean shift": "mean_shift",
    "constant shift": "constant_shift",
    "PCA editing": "pca_edit",
    "quantiles per marker": "quantile",
    "CCA anchors": "cca",
    "ComBat": "combat",
    "**neuron editing**": "neuron_editing",
    "Gaussian optimal transport": "gaussian_ot",
    "**chosen on held-out parts** (the default)": "auto_edit",
}


def test_the_table_in_the_readme_is_of_the_results():
    results = pd.read_csv(README.parent / "benchmarks" / "paper.csv", keep_default_na=False, na_values=[""])
    own = results[(results["data"] == "cytonorm_volunteers") & (results["table"] == 2)]
    by_seed = own.groupby(["method", "seed"])[["energy_distance", "mean_wasserstein"]].mean().groupby("method")
    means, spreads = by_seed.mean().round(2), by_seed.std().round(2)
    rows = [line.strip("| ").split(" | ") for line in README.read_text().splitlines() if line.startswith("| ")]
    rows = [row for row in rows if row[0] in CALLED]
    assert [row[0] for row in rows] == sorted(CALLED, key=lambda name: means["energy_distance"][CALLED[name]])
    for name, *cells in rows:
        for metric, cell in zip(means, cells, strict=True):
            mean, _, spread = cell.partition(" ± ")
            assert float(mean) == pytest.approx(means[metric][CALLED[name]], abs=0.006), (name, metric)
            assert float(spread or 0) == pytest.approx(spreads[metric][CALLED[name]], abs=0.006), (name, metric)


def test_what_the_readme_says_of_the_choice_is_of_the_results():
    results = pd.read_csv(README.parent / "benchmarks" / "holdout.csv")
    results = results[results["family"] != "sachs one pair"]
    closed = results.pivot_table("energy_distance", "method", "family").dropna().mean(axis=1)
    auto = results[results["method"] == "auto"]
    singles = closed.drop(["auto", "auto, derived"], errors="ignore")
    agreement = np.corrcoef(auto["expected"], auto["energy_distance"])[0, 1]
    said = " ".join(README.read_text().split())
    for figure in (
        f"Over {auto['task'].groupby(auto['family']).nunique().sum()} tasks in nine families",
        f"this closes {closed['auto']:.2f} of the energy distance on average",
        f"the best single edit closes {singles.max():.2f}, neuron editing alone {closed['neuron_editing']:.2f}, ComBat {closed['combat']:.2f}",
        f"and the worst task {auto['energy_distance'].min():.2f}",
        f"correlates with what it achieves ({agreement:.2f})",
    ):
        assert figure in said, figure
