"""Attack stores of ``write_to``: kills at any moment, other work resumed, damaged files, a full disk, two writers at once.

A call runs in a process that is forked for it and dies when it is told to: after some seconds, or at its n-th change of a file. What
the same call makes of the store later is compared, file by file, with what an uninterrupted call writes.
"""

import contextlib
import importlib
import os
import pickle
import random
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from common import GOOD, Try, judge

CELLS_PER_BLOCK = 50
FORMATS = (2, 3)  # of zarr
SECONDS = 60.0  # a call
CHANGES = (
    "open",
    "os.rename",
    "os.remove",
    "os.mkdir",
    "os.rmdir",
    "shutil.rmtree",
)  # audit events that a kill may wait for


def tries(seed: int, long: bool) -> Iterator[Try]:
    """Yield kills, mixtures, damages, and what else may happen to a store."""
    generator = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="attack_stores_") as folder:
        for i in range(80 if long else 8):
            tool = ("apply", "edit")[i % 4 == 3]
            where = ("a change of a file", "some time")[i % 3 == 2]
            yield Try("store killed and resumed", f"{tool}, at {where}, {i}", kill, (folder, tool, where, 2 + i % 2, i))
        for i, name in enumerate(OTHER_WORK if long else IN_SHORT):
            yield Try("other work on a store that was begun", name, mix, (folder, name, 2 + i % 2))
        for i in range(60 if long else 4):
            state = ("begun", "finished")[i % 2]
            args = (folder, state, ("flip", "truncate", "empty", "delete", "exchange")[i % 5], FORMATS[i // 2 % 2])
            yield Try(f"file of a {state} store damaged, same call", f"{i}", damage, (*args, generator.random()))
        for i in range(20 if long else 2):
            args = (folder, ("flip", "truncate")[i % 2], FORMATS[i // 2 % 2], generator.random())
            yield Try("chunk of a finished store damaged, read", f"{i}", read_damaged, args)
        for i in range(6 if long else 1):
            yield Try("full disk", f"{i}", fill_disk, (folder, generator.random()))
        for mode in (0o555, 0o444)[: 2 if long else 1]:
            yield Try("no permission", f"folder with mode {mode:o}", forbid, (folder, mode))
        for i in range(4 if long else 1):
            yield Try("two writers at once", f"{i}", write_twice, (folder, generator.random()))


# tries


def kill(folder: str, tool: str, where: str, zarr_format: int, seed: int) -> str | None:
    """Kill a call one to three times, and let it end then."""
    generator = random.Random(seed)
    n_changes, seconds = measure(folder, tool, zarr_format)
    path = new_store(folder)
    for _ in range(generator.randint(1, 3)):
        share = generator.random()
        limits = (
            {"at_change": 1 + int(share * n_changes)} if where == "a change of a file" else {"after": share * seconds}
        )
        run(folder, path, tool, zarr_format, **limits)
    return resume(folder, path, tool, zarr_format)


def mix(folder: str, name: str, zarr_format: int) -> str | None:
    """Begin a store, go on with other work, and then with the same."""
    path = begin(folder, "apply", zarr_format)
    outcome, text = run(folder, path, "apply", zarr_format, change=OTHER_WORK[name])
    if outcome == "right":  # then it must be what this work makes of a new store
        other = new_store(folder)
        run(folder, other, "apply", zarr_format, change=OTHER_WORK[name])
        return "right" if read_files(path) == read_files(other) else "silent"
    return outcome if resume(folder, path, "apply", zarr_format) == "right" else "lost"


def damage(folder: str, state: str, how: str, zarr_format: int, share: float) -> str | None:
    """Damage one file of a store, and call again: it is mended, or refused."""
    path = begin(folder, "apply", zarr_format, finished=state == "finished")
    files = sorted(file for file in path.rglob("*") if file.is_file())
    damage_file(files[int(share * len(files))], how, random.Random(share), files)
    outcome, text = run(folder, path, "apply", zarr_format)
    if outcome == "right" and read_files(path) != read_files(reference(folder, "apply", zarr_format)):
        return "silent"
    return explain(outcome, text)


def read_damaged(folder: str, how: str, zarr_format: int, share: float) -> str | None:
    """Damage one chunk of cells of a store, and read it with anndata: an error, or the right values."""
    path = begin(folder, "apply", zarr_format, finished=True)
    chunks = [file for part in ("layers/edited", "obsm/X_neurons_edited") for file in sorted((path / part).rglob("*"))]
    chunks = [file for file in chunks if file.is_file() and "z" not in file.name]
    damage_file(chunks[int(share * len(chunks))], how, random.Random(share), chunks)

    def read() -> str:
        import anndata
        import numpy as np

        there, right = (anndata.read_zarr(one) for one in (path, reference(folder, "apply", zarr_format)))
        same = np.array_equal(there.layers["edited"], right.layers["edited"])
        return "right" if same and np.array_equal(*(x.obsm["X_neurons_edited"] for x in (there, right))) else "silent"

    outcome, _ = fork(read)
    return "silent" if outcome == "silent" else "right"


def fill_disk(folder: str, share: float) -> str | None:
    """Allow no file above some size; then the same call must end well."""
    path = new_store(folder)
    largest = max(file.stat().st_size for file in reference(folder, "apply", 2).rglob("*") if file.is_file())
    outcome, text = run(folder, path, "apply", 2, max_bytes=int(share * largest))
    if resume(folder, path, "apply", 2) != "right":
        return "lost"
    return explain(outcome, text)


def forbid(folder: str, mode: int) -> str | None:
    """Write where one may not write, or not even look."""
    path = new_store(folder)
    Path(folder).chmod(0o755)
    path.parent.chmod(mode)
    outcome, text = run(folder, path, "apply", 2, user=65534)
    path.parent.chmod(0o755)
    return explain(outcome, text)


def write_twice(folder: str, share: float) -> str | None:
    """Call while another process is at work."""
    path = new_store(folder)
    n_changes, _ = measure(folder, "apply", 2)
    outcomes: list[tuple[str, str]] = []
    first = run(
        folder,
        path,
        "apply",
        2,
        at_change=max(2, int(share * n_changes)),
        meanwhile=lambda: outcomes.append(run(folder, path, "apply", 2)),
    )
    if first[0] != "right":
        return explain(*first)
    return explain(*outcomes[0]) if resume(folder, path, "apply", 2) == "right" else "lost"


def explain(outcome: str, text: str) -> str | None:
    """Return an outcome; an error that is not clear is raised, so that its words are shown."""
    if outcome in GOOD:
        return outcome
    raise RuntimeError(f"{outcome}: {text}")


# other work: what is changed before the call


def _change_cell(cell: int | str) -> Callable[[dict[str, Any]], None]:
    def change(call: dict[str, Any]) -> None:
        import numpy as np

        row = cell if isinstance(cell, int) else list(call["adata"].obs["group"]).index(cell)
        call["adata"].X[row, 3] = np.nextafter(call["adata"].X[row, 3], np.float32(9))

    return change


def _take(rows: Any = slice(None), columns: Any = slice(None)) -> Callable[[dict[str, Any]], None]:
    def change(call: dict[str, Any]) -> None:
        call["adata"] = call["adata"][rows, columns].copy()

    return change


def _label(call: dict[str, Any]) -> None:
    group = call["adata"].obs["group"].astype(str).to_numpy()
    rows = [list(group).index(name) for name in ("control_1", "sample_1")]
    group[rows] = group[rows[::-1]]
    call["adata"].obs["group"] = group


def _rescale(call: dict[str, Any]) -> None:
    call["adata"].X *= 1.01


def _name(call: dict[str, Any]) -> None:
    names = list(call["adata"].obs_names)
    call["adata"].obs_names = [*names[:-2], names[-1], names[-2]]


def _annotate(call: dict[str, Any]) -> None:
    call["adata"].obs["cell_type"] = call["adata"].obs["cell_type"].astype(str).to_numpy()[::-1]


def _sparse(call: dict[str, Any]) -> None:
    from scipy import sparse

    call["adata"].X = sparse.csr_matrix(call["adata"].X)


def _double(call: dict[str, Any]) -> None:
    call["adata"].X = call["adata"].X.astype(float)


def _other_layer(call: dict[str, Any]) -> None:
    call["adata"].layers["same"] = call["adata"].X.copy()
    call["adata"].var["same_arcsinh_cofactor"] = call["adata"].var["X_arcsinh_cofactor"]
    call["more"]["layer"] = "same"


def _set(**more: Any) -> Callable[[dict[str, Any]], None]:
    return lambda call: call["more"].update(more)


OTHER_WORK: dict[str, Callable[[dict[str, Any]], None]] = {
    "another model under the same name": lambda call: shutil.copy(call["other_model"], call["model"]),
    "features in another order": _take(columns=slice(None, None, -1)),
    "other cells labelled query": _label,
    "a cell of a written block changed by one bit": _change_cell(1),
    "a query cell of a written block changed by one bit": _change_cell("sample_1"),
    "a cell of a later block changed by one bit": _change_cell(-1),
    "another query": _set(query=["sample_1", "sample_2"]),
    "another strength": _set(strength=0.5),
    "a path of strengths": _set(strength=[0.5, 1.0]),
    "other bounds": _set(bounds=(0, None)),
    "another scale": _rescale,
    "cells in another order": _take(slice(None, None, -1)),
    "fewer cells": _take(slice(0, -1)),
    "other names of cells": _name,
    "other annotation of cells": _annotate,
    "another layer of the same cells": _other_layer,
    "another key_added": _set(key_added="other"),
    "cells in float64": _double,
    "the same cells, sparse": _sparse,
    "the same work": lambda call: None,
}
IN_SHORT = list(OTHER_WORK)[:4]


# a call, in a process of its own


def run(
    folder: str,
    path: Path,
    tool: str,
    zarr_format: int,
    *,
    change: Callable[[dict[str, Any]], None] | None = None,
    at_change: int | None = None,
    at_block: int | None = None,
    after: float | None = None,
    max_bytes: int | None = None,
    user: int | None = None,
    meanwhile: Callable[[], None] | None = None,
) -> tuple[str, str]:
    """Edit cells into a store, and return the outcome; "killed" if it was killed, ``at_change`` or ``after`` some seconds.

    With ``meanwhile`` it is not killed at this change, but waits until something else is done.
    """
    prepare(folder)

    def call() -> str:
        import anndata

        anndata.settings.zarr_write_format = zarr_format
        call = load(folder)
        if change is not None:
            change(call)
        if max_bytes is not None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (max_bytes, max_bytes))
        if user is not None:
            edit(load(folder), tool, new_store(folder))  # loads what this user may not
            os.seteuid(user)
        if at_change is not None:
            count_changes(path, at_change, signal.SIGSTOP if meanwhile else signal.SIGKILL)
        if at_block is not None:
            count_changes(path / "layers" / "edited", at_block + 1, only_chunks=True)
        edit(call, tool, path)
        return "right"

    return fork(call, after, meanwhile)


def edit(call: dict[str, Any], tool: str, path: Path) -> None:
    """Call the tool."""
    import neuronedit as ne
    from neuronedit.engine import store

    store.MAX_CELLS_PER_BLOCK = CELLS_PER_BLOCK
    if tool == "apply":
        query = {"query": "sample_1"}
        call["adata"].uns.clear()  # the space is the model's
        ne.tl.apply(call["adata"], call["model"], "group", **(query | call["more"]), write_to=path)
    else:
        populations = {"source": "control_1", "target": "control_2", "query": "sample_1"}
        ne.tl.edit(call["adata"], "group", **populations, edit="shift", strata="cell_type", write_to=path)


def count_changes(
    path: Path, number: int = 0, send: signal.Signals = signal.SIGKILL, *, only_chunks: bool = False
) -> list[str]:
    """Return a list that grows by each change of a file below or beside a path; a signal is sent before the n-th one."""
    changes: list[str] = []

    def watch(event: str, args: tuple[Any, ...]) -> None:
        if event not in CHANGES or not str(args[0]).startswith(str(path)):
            return
        if event == "open" and not (isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)):
            return
        if only_chunks and not (event == "os.rename" and Path(args[1]).name[0].isdigit()):
            return
        changes.append(event)
        if len(changes) == number:
            os.kill(os.getpid(), send)

    sys.addaudithook(watch)
    return changes


def fork(
    function: Callable[[], str], after: float | None = None, meanwhile: Callable[[], None] | None = None
) -> tuple[str, str]:
    """Call a function in a child, and return what it returns, or how its error is judged; kill it ``after`` some seconds.

    If it stops itself, ``meanwhile`` is called, and it goes on.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            answer = function(), ""
        except BaseException as error:
            answer = judge(error), f"{type(error).__name__}: {error}"
        os.write(writer, pickle.dumps(answer))
        os._exit(0)
    os.close(writer)
    if meanwhile is not None and os.WIFSTOPPED(os.waitpid(child, os.WUNTRACED)[1]):
        meanwhile()
        os.kill(child, signal.SIGCONT)
    is_done = select.select([reader], [], [], SECONDS if after is None else after)[0]
    if not is_done:
        os.kill(child, signal.SIGKILL)
    with os.fdopen(reader, "rb") as file:
        data = file.read()
    with contextlib.suppress(ChildProcessError):
        os.waitpid(child, 0)
    if not data:
        return ("killed", "") if is_done or after is not None else ("crash", "no end")
    return pickle.loads(data)


# what is compared


def prepare(folder: str) -> None:
    """Make cells and two models, once."""
    importlib.import_module("neuronedit.tl")  # here, and not in each child
    done = Path(folder) / "prepared"
    if done.exists():
        return

    def make() -> str:
        import anndata as ad

        import neuronedit as ne

        cells = ne.datasets.simulate_batches(n_cells=150)
        ne.tl.train(cells, widths=(16, 5), max_epochs=1, progress_bar=False)
        small = ad.AnnData(
            cells.X, obs=cells.obs[["group", "cell_type"]], var=cells.var, uns=cells.uns
        )  # fast to set up
        small.write_h5ad(done.with_name("cells.h5ad"))
        populations = {"source": "control_1", "target": "control_2", "query": "sample_1"}
        for name, kind in (("model", "percentile"), ("other", "shift")):
            ne.tl.edit(cells, "group", **populations, edit=kind, strata="cell_type")
            ne.io.save_model(cells, done.with_name(f"{name}.safetensors"))
        done.touch()
        return "right"

    outcome, text = fork(make)
    assert outcome == "right", text


def load(folder: str) -> dict[str, Any]:
    """Return what a call takes: cells and model, a copy of which is its own."""
    import anndata

    own = Path(folder).resolve() / "call"
    own.mkdir(exist_ok=True)
    files = {"model": own / "model.safetensors", "other_model": own / "other.safetensors"}
    for file in files.values():
        shutil.copy(Path(folder) / file.name, file)
    adata = anndata.read_h5ad(Path(folder) / "cells.h5ad")
    return {"adata": adata, "more": {}, **files}


def new_store(folder: str) -> Path:
    """Return the name of a store that is not there yet."""
    prepare(folder)
    return Path(tempfile.mkdtemp(prefix="try_", dir=folder)).resolve() / "edited.zarr"


def begin(folder: str, tool: str, zarr_format: int, *, finished: bool = False) -> Path:
    """Return a store that was killed before its last block, or one that is finished."""
    path = new_store(folder)
    run(folder, path, tool, zarr_format, at_block=None if finished else 11)
    assert path.exists()
    return path


def resume(folder: str, path: Path, tool: str, zarr_format: int) -> str:
    """Make the call once more, to its end, and compare."""
    outcome, text = run(folder, path, tool, zarr_format)
    if outcome != "right":
        return "lost"
    if read_files(path) != read_files(reference(folder, tool, zarr_format)):
        return "silent"
    left = [file.name for file in (*path.parent.iterdir(), *path.rglob("*.partial")) if file != path]
    if left:
        raise RuntimeError(f"left behind: {left}")
    return "right"


def reference(folder: str, tool: str, zarr_format: int) -> Path:
    """Return the store of an uninterrupted call."""
    path = Path(folder).resolve() / f"right_{tool}_{zarr_format}" / "edited.zarr"
    if not path.exists():
        path.parent.mkdir()
        outcome, text = run(folder, path, tool, zarr_format)
        assert outcome == "right", text
    return path


def measure(folder: str, tool: str, zarr_format: int) -> tuple[int, float]:
    """Return how many changes of files an uninterrupted call makes, and how many seconds it takes."""
    file = Path(folder) / f"measured_{tool}_{zarr_format}"
    if not file.exists():
        path = new_store(folder)

        def count() -> str:
            import anndata

            anndata.settings.zarr_write_format = zarr_format
            call = load(folder)
            changes = count_changes(path)
            edit(call, tool, path)
            return str(len(changes))

        start = time.perf_counter()
        outcome, text = fork(count)
        assert outcome.isdigit(), f"{outcome} {text}"
        file.write_text(f"{outcome} {time.perf_counter() - start}")
    n_changes, seconds = file.read_text().split()
    return int(n_changes), float(seconds)


def read_files(path: Path) -> dict[str, bytes]:
    """Return the content of every file of a store, without those that zarr had not written to their end."""
    files = [file for file in path.rglob("*") if file.is_file() and file.suffix != ".partial"]
    return {file.relative_to(path).as_posix(): file.read_bytes() for file in files}


def damage_file(file: Path, how: str, generator: random.Random, others: list[Path]) -> None:
    """Damage a file."""
    content = bytearray(file.read_bytes())
    if how == "flip":
        content[generator.randrange(len(content))] ^= 1 << generator.randrange(8)
    elif how == "exchange":
        content = bytearray(generator.choice([other for other in others if other != file]).read_bytes())
    if how == "delete":
        file.unlink()
    else:
        file.write_bytes(content[: {"truncate": len(content) // 2, "empty": 0}.get(how, len(content))])
