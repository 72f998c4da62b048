"""The paper's protocol on CelebA, on a small folder laid out like it."""

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
