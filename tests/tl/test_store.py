"""A store of ``write_to``: resumed from any moment, by the same work and no other, and verified."""

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import warnings

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import neuronedit as ne
from neuronedit._data.reader import CellReader
from neuronedit._data.store_files import Progress, StoreFiles, digest_cells
from neuronedit._data.work_folder import WorkFolder
from neuronedit.engine import store

POPULATIONS = {"source": "control_1", "target": "control_2", "query": "sample_1"}
SHIFT = POPULATIONS | {"edit": "shift", "strata": "cell_type"}
OTHER_WORK = "holds another edit, or one of other cells"

pytestmark = pytest.mark.filterwarnings("ignore:zarr v3 will become")  # anndata 0.13: format 2 will go


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    monkeypatch.setattr("neuronedit.engine.store.MAX_CELLS_PER_BLOCK", 130)


def set_format(number):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of anndata 0.13: format 2 will go
        anndata.settings.zarr_write_format = number


@pytest.fixture(autouse=True)
def _format_2():
    """What tests that look into files expect, unless they ask for another."""
    before = anndata.settings.zarr_write_format
    set_format(2)
    yield
    set_format(before)


@pytest.fixture(params=[2, 3])
def zarr_format(request, _format_2):
    set_format(request.param)
    return request.param


@pytest.fixture
def model(trained, tmp_path):
    """A file with an edit, and cells to which it is applied."""
    ne.tl.edit(trained, "group", **SHIFT)
    ne.io.save_model(trained, tmp_path / "model.safetensors", edit="edited")
    return tmp_path / "model.safetensors"


@pytest.fixture
def cells():
    return ne.datasets.simulate_batches(n_cells=150, rng=1)


def apply(cells, model, path, **more):
    ne.tl.apply(cells, model, "group", **({"query": "sample_1"} | more), write_to=path)


def interrupt(patch, at_block):
    """Stop a call before it writes a block."""
    write_block = store.EditStore._write_block

    def write(self, number, *arguments):
        if number == at_block:
            raise KeyboardInterrupt
        return write_block(self, number, *arguments)

    patch.setattr(store.EditStore, "_write_block", write)


def begin(monkeypatch, cells, model, path, at_block=3):
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        interrupt(patch, at_block)
        apply(cells, model, path)


def read_files(path):
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def chunk(path, zarr_format, number, array="layers/edited"):
    n_dims = 2 if "/X_" in f"/{array}" or array.startswith("layers") else 1
    key = ".".join(map(str, (number, 0)[:n_dims])) if zarr_format == 2 else f"c/{number}" + "/0" * (n_dims - 1)
    return path / array / key


# resumed by the same work


def test_a_resumed_store_has_the_bits_of_an_uninterrupted_one(cells, model, tmp_path, monkeypatch, zarr_format):
    apply(cells, model, tmp_path / "right.zarr")
    path = tmp_path / "edited.zarr"
    for at_block in (0, 1, 4):
        begin(monkeypatch, cells, model, path, at_block)
        assert Progress.read(path).done == 130 * at_block
        assert not (tmp_path / "edited.zarr.neuronedit").exists()
    apply(cells, model, path)
    assert read_files(path) == read_files(tmp_path / "right.zarr")
    apply(cells, model, path)  # there is nothing left to do
    assert read_files(path) == read_files(tmp_path / "right.zarr")


KILLED = """
import os, signal, sys, warnings, anndata, neuronedit as ne
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    anndata.settings.zarr_write_format = 2
from neuronedit.engine import store
store.MAX_CELLS_PER_BLOCK = 130
number = [int(sys.argv[3])]
def watch(event, args):
    if event in ("os.rename", "os.mkdir", "os.remove") and str(args[0]).startswith(sys.argv[2]):
        number[0] -= 1
        if not number[0]:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(watch)
cells = ne.datasets.simulate_batches(n_cells=150, rng=1)
ne.tl.apply(cells, sys.argv[1], "group", query="sample_1", write_to=sys.argv[2])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="nobody is killed like this on Windows")
@pytest.mark.parametrize("change", [5, 260, 100_000])  # of a file: while it is set up, while it is written, never
def test_a_store_whose_writer_was_killed_is_resumed(cells, model, tmp_path, change):
    apply(cells, model, tmp_path / "right.zarr")
    path = tmp_path / "killed.zarr"
    run = subprocess.run([sys.executable, "-c", KILLED, str(model), str(path), str(change)], capture_output=True)
    assert run.returncode in (-signal.SIGKILL, 0), run.stderr
    assert WorkFolder(path).path.exists() == (run.returncode != 0)
    apply(cells, model, path)
    assert read_files(path) == read_files(tmp_path / "right.zarr")
    assert not WorkFolder(path).path.exists()


def test_what_zarr_had_not_written_to_its_end_is_removed(cells, model, tmp_path, monkeypatch, zarr_format):
    apply(cells, model, tmp_path / "right.zarr")
    path = tmp_path / "edited.zarr"
    begin(monkeypatch, cells, model, path)
    left = chunk(path, zarr_format, 3)
    left.parent.mkdir(exist_ok=True)
    left.with_name("3.0123456789abcdef.partial").write_bytes(b"half")
    left.write_bytes(b"half of a chunk")
    apply(cells, model, path)
    assert read_files(path) == read_files(tmp_path / "right.zarr")


def test_the_same_cells_stored_otherwise_are_the_same_work(cells, model, tmp_path, monkeypatch):
    path = tmp_path / "edited.zarr"
    begin(monkeypatch, cells, model, path)
    cells.X = sparse.csr_matrix(cells.X)
    apply(cells, model, path)


def test_progress_is_written_whole_or_not_at_all(cells, model, tmp_path, monkeypatch, zarr_format):
    path = tmp_path / "edited.zarr"
    begin(monkeypatch, cells, model, path)
    before, file = Progress.read(path), path / ("zarr.json" if zarr_format == 3 else ".zattrs")
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", lambda *names: (_ for _ in ()).throw(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            before.with_block(3, ["a", "b"], None).write(path, tmp_path / "progress")
    assert Progress.read(path) == before
    file.write_text(file.read_text().replace('"of": 600', '"of": 601'))
    with pytest.raises(ValueError, match="cannot be resumed: its record of progress is damaged"):
        apply(cells, model, path)


# not by other work


def other_model(cells, model):
    trained = ne.datasets.simulate_batches(n_cells=150)
    ne.tl.train(trained, widths=(24, 6), max_epochs=1)
    ne.tl.edit(trained, "group", **SHIFT)
    ne.io.save_model(trained, model, edit="edited")


def relabel(cells, model):
    groups = cells.obs["group"].astype(str).to_numpy()
    groups[np.flatnonzero(groups == "sample_1")[0]] = "sample_2"
    cells.obs["group"] = groups


def change_one_bit(cells, model):
    cells.X[7, 7] = np.nextafter(cells.X[7, 7], np.float32(9))


def rename(cells, model):
    cells.obs_names = [*cells.obs_names[:-1], "another"]


def change_type(cells, model):
    cells.X = cells.X.astype(float)


OTHER = {
    "the fitted edit, the trained space": other_model,
    "obs, the query": relabel,
    "of cells 0 to 129 some have changed": change_one_bit,
    "the names of the cells": rename,
    "what was asked for": change_type,
    "strength": {"strength": 0.5},
    "bounds": {"bounds": (0, None)},
    "query": {"query": "sample_2"},
    "features": lambda cells, model: cells[:, ::-1].copy(),
    "order": lambda cells, model: cells[::-1].copy(),
    "fewer": lambda cells, model: cells[:-1].copy(),
}


@pytest.mark.parametrize("what", OTHER)
def test_a_store_is_resumed_by_no_other_work(cells, model, tmp_path, monkeypatch, what):
    path, change = tmp_path / "edited.zarr", OTHER[what]
    begin(monkeypatch, cells, model, path)
    before = read_files(path)
    more = change if isinstance(change, dict) else {}
    others = cells if isinstance(change, dict) else change(cells, model) or cells
    with pytest.raises(ValueError, match=OTHER_WORK + (f".*{what}" if " " in what else "")):
        apply(others, model, path, **more)
    assert read_files(path) == before


def test_cells_that_are_not_written_yet_may_change(cells, model, tmp_path, monkeypatch):
    path = tmp_path / "edited.zarr"
    begin(monkeypatch, cells, model, path)
    cells.X[599, 0] += 0.1
    apply(cells, model, path)
    apply(cells, model, tmp_path / "right.zarr")
    assert read_files(path) == read_files(tmp_path / "right.zarr")


def test_a_function_of_the_callers_own_is_not_resumed(trained, tmp_path):
    own = {"edit": lambda source, target: lambda z: z + 1}
    ne.tl.edit(trained, "group", **POPULATIONS, **own, write_to=tmp_path / "edited.zarr")
    with pytest.raises(ValueError, match=OTHER_WORK):
        ne.tl.edit(trained, "group", **POPULATIONS, **own, write_to=tmp_path / "edited.zarr")


def test_a_digest_sees_every_value_and_not_how_it_is_stored():
    cells = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    digests = {digest_cells(cells), digest_cells(cells.astype(float)), digest_cells(cells.reshape(25, 6))}
    for i in range(cells.size):
        changed = cells.copy()
        changed.flat[i] = np.nextafter(changed.flat[i], np.float32(9))
        digests.add(digest_cells(changed))
    assert len(digests) == 3 + cells.size
    assert digest_cells(CellReader(sparse.csr_matrix(cells)).dense_copy()) == digest_cells(cells)


def test_a_table_is_what_its_columns_hold():
    n = 4
    columns = {"text": ["a", None] * 2, "mixed": [1, "a"] * 2, "time": pd.date_range("2020", periods=n)}
    columns["whole"] = pd.array([1, None] * 2, dtype="Int64")
    table = pd.DataFrame(columns)
    digests = {store._digest_table(table), store._digest_table(table[["text"]]), store._digest_table(table[[]])}
    digests |= {store._digest_table(table.iloc[::-1]), store._digest_table(table.rename(columns={"text": "other"}))}
    assert len(digests) == 5
    assert store._digest_table(table.astype({"text": "category"})) in digests


def test_cells_without_annotation_are_written(cells, model, tmp_path):
    cells.obs = cells.obs[[]]
    ne.tl.apply(cells, model, query=cells.obs_names[:50], write_to=tmp_path / "edited.zarr")


# verified


def flip(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def truncate(file):
    file.write_bytes(file.read_bytes()[:-10])


DAMAGES = {"flipped": flip, "truncated": truncate, "missing": lambda file: file.unlink()}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("is_finished", [False, True])
def test_a_damaged_block_is_written_again(
    cells, model, tmp_path, monkeypatch, zarr_format, damage, is_finished, caplog
):
    apply(cells, model, tmp_path / "right.zarr")
    path = tmp_path / "edited.zarr"
    apply(cells, model, path) if is_finished else begin(monkeypatch, cells, model, path)
    DAMAGES[damage](chunk(path, zarr_format, 1))
    DAMAGES[damage](chunk(path, zarr_format, 2, "obsm/X_neurons_edited"))
    with caplog.at_level(logging.WARNING, "neuronedit"):
        apply(cells, model, path)
    assert "2 blocks of" in caplog.text and "were changed or damaged; they are written again" in caplog.text
    assert read_files(path) == read_files(tmp_path / "right.zarr")


def test_a_block_that_is_damaged_while_others_are_written_is_found_at_the_end(cells, model, tmp_path, monkeypatch):
    apply(cells, model, tmp_path / "right.zarr")
    path, write_block = tmp_path / "edited.zarr", store.EditStore._write_block

    def write(self, number, *arguments):
        write_block(self, number, *arguments)
        if number == 3:
            flip(path / "layers/edited/1.0")

    monkeypatch.setattr(store.EditStore, "_write_block", write)
    apply(cells, model, path)
    assert read_files(path) == read_files(tmp_path / "right.zarr")


def test_a_disk_that_keeps_nothing_is_refused(cells, model, tmp_path, monkeypatch):
    path, verify_block = tmp_path / "edited.zarr", store.EditStore._verify_block

    def verify(self, number, *arguments):
        verify_block(self, number, *arguments)
        truncate(self.path / self._name_files(number)[0])

    monkeypatch.setattr(store.EditStore, "_verify_block", verify)
    with pytest.raises(OSError, match="does not keep what is written into it"):
        apply(cells, model, path)


@pytest.mark.parametrize("part", ["obs", "var", "layers", "attributes"])
def test_other_files_that_have_changed_are_refused_by_name(cells, model, tmp_path, monkeypatch, part):
    path = tmp_path / "edited.zarr"
    begin(monkeypatch, cells, model, path)
    if part == "attributes":
        text = (path / ".zattrs").read_text()
        (path / ".zattrs").write_text(text.replace('"encoding-version": "0.1.0"', '"encoding-version": "0.1.1"'))
    else:
        where, name = {"obs": ("obs/_index", "0"), "var": ("var/_index", "0"), "layers": ("layers/edited", ".zarray")}[
            part
        ]
        flip(next((path / where).rglob(name)))  # anndata 0.13 keeps words a folder deeper
    with pytest.raises(
        ValueError, match=f"was changed since it was set up, in {part}; what is in it cannot be trusted"
    ):
        apply(cells, model, path)


@pytest.mark.parametrize("damage", ["flipped", "truncated"])
def test_nobody_reads_a_damaged_chunk_of_a_finished_store_without_an_error(cells, model, tmp_path, zarr_format, damage):
    apply(cells, model, tmp_path / "edited.zarr")
    DAMAGES[damage](chunk(tmp_path / "edited.zarr", zarr_format, 1))
    with pytest.raises(Exception, match="."):
        anndata.read_zarr(tmp_path / "edited.zarr")


def test_a_damaged_record_is_written_again(cells, model, tmp_path):
    for name in ("right.zarr", "edited.zarr"):
        apply(cells, model, tmp_path / name)
    flip(tmp_path / "edited.zarr/uns/edited/verdict/.zarray")
    apply(cells, model, tmp_path / "edited.zarr")
    assert read_files(tmp_path / "edited.zarr") == read_files(tmp_path / "right.zarr")


def test_a_file_is_read_once_unless_it_changes(tmp_path):
    (tmp_path / "chunk").write_bytes(b"1234")
    files = StoreFiles(tmp_path)
    first = files.digest(["chunk", "another"])
    assert files.digest(["another", "chunk"]) == first and len(files._digests) == 1
    (tmp_path / "new").write_bytes(b"1235")
    os.replace(tmp_path / "new", tmp_path / "chunk")
    assert files.digest(["chunk", "another"]) != first


# one writer


def test_a_second_writer_is_refused_as_long_as_the_first_one_lives(cells, model, tmp_path):
    path = tmp_path / "edited.zarr"
    with WorkFolder(path).use(), pytest.raises(OSError, match=f"is being written by process {os.getpid()} on"):
        apply(cells, model, path)
    assert not path.exists()
    apply(cells, model, path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["edited.zarr", "model.safetensors"]


def test_what_a_killed_writer_has_left_is_removed(cells, model, tmp_path):
    folder = WorkFolder(tmp_path / "edited.zarr")
    folder.setup.mkdir(parents=True)
    (folder.setup / "half").write_text("half")
    folder.progress.write_text("half")
    folder.lock.write_text(f"1 {socket.gethostname()}")
    apply(cells, model, tmp_path / "edited.zarr")
    assert not folder.path.exists()


def test_a_writer_on_another_machine_counts_as_gone_after_a_while(tmp_path):
    folder = WorkFolder(tmp_path / "edited.zarr")
    folder.path.mkdir()
    folder.lock.write_text("12 elsewhere")
    with (
        pytest.raises(OSError, match="by process 12 on elsewhere, last seen .* s ago; if that was killed, delete"),
        folder.use(),
    ):
        pass
    os.utime(folder.lock, (0, 0))
    with folder.use():
        assert folder.lock.read_text().startswith(f"{os.getpid()} ")
    assert not folder.path.exists()


def test_a_folder_of_somebody_else_stays(tmp_path, cells, model):
    other = tmp_path / "edited.zarr.neuronedit" / "mine"
    other.mkdir(parents=True)
    apply(cells, model, tmp_path / "edited.zarr")
    assert other.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege on Windows")
def test_a_link_leads_to_the_store(cells, model, tmp_path):
    (tmp_path / "far").mkdir()
    (tmp_path / "edited.zarr").symlink_to(tmp_path / "far" / "store.zarr")
    apply(cells, model, tmp_path / "edited.zarr")
    assert (tmp_path / "edited.zarr").is_symlink() and (tmp_path / "far" / "store.zarr").is_dir()
    with WorkFolder(tmp_path / "far" / "store.zarr").use(), pytest.raises(OSError, match="is being written"):
        apply(cells, model, tmp_path / "edited.zarr")


# a full disk, no permission

FULL = """
import resource, signal, sys, neuronedit as ne
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
cells = ne.datasets.simulate_batches(n_cells=150, rng=1)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), -1))
try:
    ne.tl.apply(cells, sys.argv[1], "group", query="sample_1", write_to=sys.argv[2])
except OSError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no limit of this kind on Windows")
@pytest.mark.parametrize("n_bytes", [200, 20_000])
def test_a_full_disk_ends_in_one_error_and_loses_nothing(cells, model, tmp_path, monkeypatch, n_bytes):
    monkeypatch.setattr("neuronedit.engine.store.MAX_CELLS_PER_BLOCK", 32_768)
    path = tmp_path / "edited.zarr"
    run = subprocess.run(
        [sys.executable, "-c", FULL, str(model), str(path), str(n_bytes)], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    assert f"{path} cannot be written: File too large. What was written is kept; repeat the call to go on" in run.stdout
    apply(cells, model, path)


def test_where_nobody_may_write_one_error_says_so(cells, model, tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "edited.zarr", "/proc/none/edited.zarr"):
        with pytest.raises(OSError, match="cannot be written: "):
            apply(cells, model, path)
    with pytest.raises(ValueError, match="exists and is no store of ne.tl.edit"):
        apply(cells, model, "/")


def test_a_store_of_before_is_named(cells, model, tmp_path):
    path = tmp_path / "edited.zarr"
    cells.write_zarr(path)
    attributes = json.loads((path / ".zattrs").read_text())
    attributes["neuronedit"] = {"job": "0", "done": 0, "of": 600, "so_far": None}
    (path / ".zattrs").write_text(json.dumps(attributes))
    with pytest.raises(ValueError, match="or of another version of neuronedit"):
        apply(cells, model, path)
