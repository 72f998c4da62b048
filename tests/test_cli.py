"""The command line: what it writes, and one line with exit code 2 on bad input."""

import json
import os

import anndata
import numpy as np
import pytest

import neuronedit as ne
from neuronedit._cli import main

POPULATIONS = ["--groupby", "group", "--source", "control_1", "--target", "control_2", "--query", "sample_1"]
FAST = ["--max-epochs", "1", "--edit", "percentile"]


@pytest.fixture
def file(tmp_path, cells):
    del cells.layers["truth"]
    cells.write_h5ad(tmp_path / "cells.h5ad")
    return tmp_path / "cells.h5ad"


def test_edit(file, tmp_path, capsys):
    png, out = tmp_path / "plot.png", tmp_path / "out.h5ad"
    arguments = [str(file), *POPULATIONS, "--max-epochs", "1", "-o", str(out), "--biaxial", str(png)]
    assert main(["edit", *arguments]) == 0
    adata = anndata.read_h5ad(out)
    assert adata.layers["edited"].shape == adata.shape
    assert "Edited 150 of 600 cells" in capsys.readouterr().out
    assert png.read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cells.h5ad", "out.h5ad", "plot.png"]
    assert out.stat().st_mode & 0o777 == 0o644


def test_it_does_what_the_functions_do(file, tmp_path):
    main(["edit", str(file), *POPULATIONS, *FAST, "-o", str(tmp_path / "out.h5ad"), "--edit", "local", "--rng", "3"])
    adata = anndata.read_h5ad(file)
    ne.tl.train(adata, max_epochs=1, rng=3)
    ne.tl.edit(adata, "group", source="control_1", target="control_2", query="sample_1", edit="local")
    written = anndata.read_h5ad(tmp_path / "out.h5ad")
    np.testing.assert_allclose(written.layers["edited"], adata.layers["edited"], atol=1e-5)


def test_axes_and_strata(file, tmp_path):
    how = ["--edit", "percentile", "--axes", "principal", "--strata", "cell_type", "--key-added", "moved"]
    assert main(["edit", str(file), *POPULATIONS, *FAST, "-o", str(tmp_path / "out.h5ad"), *how]) == 0
    config = json.loads(anndata.read_h5ad(tmp_path / "out.h5ad").uns["moved"]["config"])
    assert config["edit_params"] == {"axes": "principal"} and config["strata"] == "cell_type"


def test_numbers_and_cofactor(file, tmp_path):
    adata = anndata.read_h5ad(file)
    adata.obs["batch"] = np.repeat([1, 2, 1, 3], 150)
    adata.X = 5 * np.sinh(adata.X)
    del adata.var["X_arcsinh_cofactor"]
    adata.write_h5ad(file)
    out = tmp_path / "out.h5ad"
    arguments = ["--groupby", "batch", "--source", "1", "--target", "2", "--query", "3", "--cofactor", "5", *FAST]
    assert main(["edit", str(file), *arguments, "-o", str(out)]) == 0
    assert anndata.read_h5ad(out).X.max() < 10


BAD = {
    "no file": (["none.h5ad", *POPULATIONS, "-o", "out.h5ad"], "none.h5ad is not a file"),
    "no folder": (["cells.h5ad", *POPULATIONS, "-o", "none/out.h5ad"], "The folder none does not exist"),
    "over the input": (
        ["cells.h5ad", *POPULATIONS, "-o", "./cells.h5ad"],
        "is the input; give another -o, or --overwrite",
    ),
    "bad column": (["cells.h5ad", *POPULATIONS, "--groupby", "grp", "-o", "out.h5ad"], "'grp' is not in adata.obs"),
    "bad value": (["cells.h5ad", *POPULATIONS, "--source", "x", "-o", "out.h5ad"], "'x' is not in obs['group']"),
    "no query": (
        ["cells.h5ad", *POPULATIONS[:-2], "-o", "out.h5ad"],
        "query is required: the cells to edit. obs['group'] has besides source, target 'sample_1', 'sample_2'.",
    ),
    "bad name": (
        ["cells.h5ad", *POPULATIONS, "--key-added", "a/b", "-o", "out.h5ad"],
        "--key-added='a/b' cannot be kept in h5ad",
    ),
    "axes": (
        ["cells.h5ad", *POPULATIONS, "--axes", "principal", "-o", "out.h5ad"],
        "'axes' needs an edit of its own, such as edit='percentile'",
    ),
    "bad strata": (
        ["cells.h5ad", *POPULATIONS, "--strata", "donor", "-o", "out.h5ad"],
        "strata: 'donor' is not in adata.obs",
    ),
    "bad edit": (["cells.h5ad", *POPULATIONS, "--edit", "x", "-o", "out.h5ad"], "edit='x' is not known"),
    "bad space": (["cells.h5ad", *POPULATIONS, "--space", "x", "-o", "out.h5ad"], "space='x' is not known"),
    "bad marker": (["cells.h5ad", *POPULATIONS, "--x", "CD0", "-o", "out.h5ad"], "'CD0' is not in adata.var_names"),
    "not h5ad": (["words.h5ad", *POPULATIONS, "-o", "out.h5ad"], "neuronedit: "),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(file, monkeypatch, capsys, name):
    monkeypatch.chdir(file.parent)
    (file.parent / "words.h5ad").write_text("words")
    before = file.read_bytes()
    arguments, message = BAD[name]
    assert main(["edit", *arguments]) == 2
    captured = capsys.readouterr()
    assert message in captured.err and captured.err.count("\n") == 1
    assert file.read_bytes() == before
    assert sorted(os.listdir()) == ["cells.h5ad", "words.h5ad"]


def test_bad_usage(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["edit", "cells.h5ad"])
    assert stopped.value.code == 2


def test_overwrite(file):
    assert main(["edit", str(file), *POPULATIONS, *FAST, "-o", str(file), "--overwrite"]) == 0
    assert "edited" in anndata.read_h5ad(file).layers


def test_an_interrupted_write_leaves_no_half_file(file, tmp_path, monkeypatch):
    def fail(self, path, **kwargs):
        with open(path, "w") as half:
            half.write("half")
        raise OSError("disk full")

    monkeypatch.setattr(anndata.AnnData, "write_h5ad", fail)
    out = tmp_path / "out.h5ad"
    assert main(["edit", str(file), *POPULATIONS, *FAST, "-o", str(out)]) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cells.h5ad"]


def test_demo(tmp_path, capsys):
    assert main(["demo", "--n-cells", "100", "-o", str(tmp_path / "demo")]) == 0
    out = capsys.readouterr().out
    for row in (
        "leave the cells alone",
        "mean shift",
        "quantiles per marker",
        "neuron editing",
        "ensemble, the default",
    ):
        assert row in out
    adata = anndata.read_h5ad(tmp_path / "demo" / "edited.h5ad")
    assert set(adata.layers) - {None} == {"edited", "truth"} and set(adata.uns) == {"neuronedit", "edited"}
    assert (tmp_path / "demo" / "biaxial.png").stat().st_size > 10_000
