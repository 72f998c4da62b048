"""`neuronedit edit`: what it writes, one line with exit code 2 on bad input, and files that are never lost."""

import json
import os
import signal
from pathlib import Path

import anndata
import numpy as np
import pytest
from scipy import sparse

import neuronedit as ne
from neuronedit._cli import main

POPULATIONS = ["--groupby", "group", "--source", "control_1", "--target", "control_2", "--query", "sample_1"]
FAST = ["--max-epochs", "1", "--edit", "percentile"]
DONE = 0


@pytest.fixture
def file(tmp_path, cells):
    del cells.layers["truth"]
    cells.write_h5ad(tmp_path / "cells.h5ad")
    return tmp_path / "cells.h5ad"


def test_edit(file, tmp_path, capsys):
    png, out = tmp_path / "plot.png", tmp_path / "out.h5ad"
    arguments = [str(file), *POPULATIONS, "--max-epochs", "1", "-o", str(out), "--biaxial", str(png)]
    assert main(["edit", *arguments]) in (DONE, 3)
    adata = anndata.read_h5ad(out)
    assert adata.layers["edited"].shape == adata.shape
    assert "Edited 150 of 600 cells" in capsys.readouterr().out
    assert png.read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "cells.h5ad",
        "out.h5ad",
        "out.neuronedit.yaml",
        "plot.png",
    ]
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
    assert main(["edit", str(file), *POPULATIONS, *FAST, "-o", str(tmp_path / "out.h5ad"), *how]) == DONE
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
    "an odd key": (["none.h5ad", *POPULATIONS, "--key-added", "../x", "-o", "out.h5ad"], "cannot be kept in h5ad"),
    "no key": (["none.h5ad", *POPULATIONS, "--key-added", "", "-o", "out.h5ad"], "cannot be kept in h5ad"),
    "no folder for the image": (
        ["cells.h5ad", *POPULATIONS, "-o", "out.h5ad", "--biaxial", "none/a.png"],
        "The folder none does not exist",
    ),
    "no image": (
        ["cells.h5ad", *POPULATIONS, "-o", "out.h5ad", "--biaxial", "a.xyz"],
        "'xyz' is no kind of image; choose ",
    ),
    "the image over the input": (
        ["cells.h5ad", *POPULATIONS, "-o", "out.h5ad", "--biaxial", "cells.h5ad"],
        "--biaxial cells.h5ad: 'h5ad' is no kind of image",
    ),
    "a folder": (["cells.h5ad", *POPULATIONS, "-o", "folder.h5ad"], "folder.h5ad exists and is no file"),
    "bad strata": (
        ["cells.h5ad", *POPULATIONS, "--strata", "donor", "-o", "out.h5ad"],
        "strata: 'donor' is not in adata.obs",
    ),
    "bad edit": (["cells.h5ad", *POPULATIONS, "--edit", "x", "-o", "out.h5ad"], "edit='x' is not known"),
    "bad space": (["cells.h5ad", *POPULATIONS, "--space", "x", "-o", "out.h5ad"], "space='x' is not known"),
    "bad marker": (["cells.h5ad", *POPULATIONS, "--x", "CD0", "-o", "out.h5ad"], "'CD0' is not in adata.var_names"),
    "not h5ad": (["words.h5ad", *POPULATIONS, "-o", "out.h5ad"], "words.h5ad cannot be read as .h5ad: "),
    "exists": (
        ["cells.h5ad", *POPULATIONS, "-o", "words.h5ad"],
        "words.h5ad exists; give another name, or --overwrite",
    ),
    "two inputs": (
        ["cells.h5ad", "words.h5ad", *POPULATIONS, "-o", "out.h5ad"],
        "is no FCS file: only of those several",
    ),
    "metadata": (
        ["cells.h5ad", *POPULATIONS, "--metadata", "words.h5ad", "-o", "out.h5ad"],
        "--metadata is for FCS files",
    ),
    "an empty folder": (["folder.h5ad", *POPULATIONS, "-o", "out.h5ad"], "is a folder without FCS files"),
    "no column": (["cells.h5ad", *POPULATIONS[2:], "-o", "out.h5ad"], "give --groupby, or --source COLUMN=VALUE"),
    "the model over the output": (
        ["cells.h5ad", *POPULATIONS, "-o", "out.h5ad", "--save-model", "out.h5ad"],
        "is the input or the output",
    ),
    "the model over the config": (
        ["cells.h5ad", *POPULATIONS, "-o", "out.h5ad", "--save-model", "out.neuronedit.yaml"],
        "is the input or the output",
    ),
    "no such accelerator": (["cells.h5ad", *POPULATIONS, "--accelerator", "x", "-o", "out.h5ad"], "is not available"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(file, monkeypatch, capsys, name):
    monkeypatch.chdir(file.parent)
    (file.parent / "words.h5ad").write_text("words")
    (file.parent / "folder.h5ad").mkdir()
    before = file.read_bytes()
    arguments, message = BAD[name]
    assert main(["edit", *arguments]) == 2
    captured = capsys.readouterr()
    assert message in captured.err and captured.err.count("\n") == 1
    assert file.read_bytes() == before
    assert sorted(os.listdir()) == ["cells.h5ad", "folder.h5ad", "words.h5ad"]


def test_bad_usage(capsys):
    assert main(["edit", "cells.h5ad"]) == 2
    assert capsys.readouterr().err == "neuronedit: Missing option '--source'. See neuronedit edit --help.\n"


def test_overwrite(file):
    assert main(["edit", str(file), *POPULATIONS, *FAST, "-o", str(file), "--overwrite"]) == DONE
    assert "edited" in anndata.read_h5ad(file).layers


def list_files(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(("error", "code", "words"), [
    (OSError(28, "No space left on device"), 2, "No space left on device"),
    (MemoryError(), 2, "there is not enough memory"),
    (KeyboardInterrupt(), 130, "interrupted; no file was changed"),
    (signal.SIGTERM, 130, "interrupted; no file was changed"),
])  # fmt: skip
def test_what_cannot_be_written_is_one_line_and_leaves_what_was_there(file, capsys, monkeypatch, error, code, words):
    def fail(path, data):
        with open(path, "wb") as half:
            half.write(bytes(data)[:1000])
        if isinstance(error, signal.Signals):
            os.kill(os.getpid(), error)
        raise error

    before, handler = file.read_bytes(), signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(Path, "write_bytes", fail)
    assert main(["edit", str(file), *POPULATIONS, *FAST, "-o", str(file), "--overwrite"]) == code
    captured = capsys.readouterr().err.splitlines()
    assert words in captured[-1] and captured[-1].startswith("neuronedit: ")
    assert signal.getsignal(signal.SIGTERM) is handler
    assert not any("Traceback" in line for line in captured)
    assert file.read_bytes() == before and list_files(file.parent) == ["cells.h5ad"]


def test_a_file_that_lost_a_layer_replaces_nothing(file, capsys, monkeypatch):
    real = anndata.io.write_elem

    def lose(group, name, adata, **options):
        adata = adata.copy()
        del adata.layers["edited"]
        real(group, name, adata, **options)

    before = file.read_bytes()
    monkeypatch.setattr(anndata.io, "write_elem", lose)
    assert main(["edit", str(file), *POPULATIONS, *FAST, "-o", str(file), "--overwrite"]) == 2
    assert "would not be what was written, and was left as it was: layers has other names" in capsys.readouterr().err
    assert file.read_bytes() == before


def test_ctrl_c_in_the_training_ends_the_command(file, capsys, monkeypatch):
    real = ne.spaces.Autoencoder.fit

    def stop(cells, training, **how):
        space = real(cells, training, **how)
        space.history["interrupted"] = True
        return space

    monkeypatch.setattr(ne.spaces.Autoencoder, "fit", stop)
    out = file.with_name("out.h5ad")
    assert main(["edit", str(file), *POPULATIONS, *FAST, "-o", str(out)]) == 130
    assert list_files(file.parent) == ["cells.h5ad"]


def test_mode_and_link_are_kept(file, tmp_path):
    file.chmod(0o600)
    link = tmp_path / "link.h5ad"
    link.symlink_to(file.name)
    assert main(["edit", str(file), *POPULATIONS, *FAST, "-o", str(link), "--overwrite"]) == DONE
    assert link.is_symlink() and file.stat().st_mode & 0o777 == 0o600
    assert "edited" in anndata.read_h5ad(file).layers


def test_sparse_and_missing_values_are_no_difference(file, tmp_path):
    adata = anndata.read_h5ad(file)
    adata.layers["sparse"] = sparse.csr_matrix(adata.X)
    adata.layers["missing"] = np.full(adata.shape, np.nan)
    adata.obs["donor"] = "a"
    adata.write_h5ad(file)
    out = tmp_path / "out.h5ad"
    assert main(["edit", str(file), *POPULATIONS, *FAST, "-o", str(out)]) == DONE
    assert set(anndata.read_h5ad(out).layers) - {None} == {"edited", "sparse", "missing"}


def test_demo(tmp_path, capsys):
    assert main(["demo", "--n-cells", "100", "--max-epochs", "20", "-o", str(tmp_path / "demo")]) in (DONE, 3)
    out = capsys.readouterr().out
    for row in (
        "cells left alone",
        "mean shift",
        "quantiles",
        "neuron editing",
        "ensemble (default)",
    ):
        assert row in out
    adata = anndata.read_h5ad(tmp_path / "demo" / "edited.h5ad")
    assert set(adata.layers) - {None} == {"edited", "truth"} and set(adata.uns) == {"neuronedit", "edited"}
    assert (tmp_path / "demo" / "biaxial.png").stat().st_size > 10_000
