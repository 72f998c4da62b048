"""The command line: full disks, kills, bad paths, odd keys. The input is never lost, and what goes wrong is one line.

Each try runs the command in a process that is forked from one that has loaded the package, and that ends as processes do:
what C libraries do at the exit is seen as well.
"""

import ctypes
import functools
import os
import resource
import select
import signal
import stat
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from common import Try

HOW = ["--groupby", "group", "--source", "control_1", "--target", "control_2", "--query", "sample_1"]
HOW += ["--space", "pca", "--edit", "percentile"]
SECONDS = 60.0
DONE = (0, 3, 4)  # exit codes of runs that have written their output; 4: the cells of one sample have no role


@functools.cache
def example() -> bytes:
    """Return the bytes of an .h5ad file."""
    import neuronedit as ne
    from neuronedit._cli import main

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "in.h5ad"
        ne.datasets.simulate_batches(n_cells=100).write_h5ad(path)
        data = path.read_bytes()
        main(call(Path(folder)))  # loads whatever a run needs, before any process is forked
        return data


def tries(seed: int, long: bool) -> Iterator[Try]:
    """Yield what can go wrong."""
    rng = np.random.default_rng(seed)
    for name in BAD:
        yield Try("bad paths and keys of the command line", name, bad, (name,))
    limits = np.linspace(0, 1.05, 40 if long else 5)
    for share in limits:
        for overwrite in (False, True):
            yield Try(
                "full disk",
                f"{share:.2f} of the file{', over the input' * overwrite}",
                full_disk,
                (float(share), overwrite),
            )
    for number in (signal.SIGKILL, signal.SIGINT, signal.SIGTERM):
        for share in rng.uniform(0, 1.1, 40 if long else 3):
            yield Try("kills", f"{number.name} at {share:.2f}", killed, (number, float(share)))
    for kind in KEPT:
        yield Try("files that are replaced", kind, kept, (kind,))


def run(arguments: list[str], *, file_size: int | None = None, kill: int = 0, after: float = 0.0) -> tuple[int, str]:
    """Run the command; return its exit code, below 0 for a signal, and what it wrote to stderr."""
    reader, writer = os.pipe()  # a file would have a limit as well
    process = os.fork()
    if not process:
        os.dup2(writer, 1)
        os.dup2(writer, 2)
        code = 1
        try:
            sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
            signal.signal(signal.SIGINT, signal.default_int_handler)
            if file_size is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, file_size))
            from neuronedit._cli import main

            code = main(arguments)
            sys.stdout.flush(), sys.stderr.flush()
        except BaseException as error:  # as the interpreter would
            code = error.code if isinstance(error, SystemExit) else 1
            if not isinstance(error, SystemExit):
                os.write(2, traceback.format_exc().encode())
        finally:
            ctypes.CDLL(None).exit(code)
    os.close(writer)
    if kill:
        time.sleep(after)
        os.kill(process, kill)
    words, end = b"", time.monotonic() + SECONDS
    while select.select([reader], [], [], max(0.0, end - time.monotonic()))[0] and (part := os.read(reader, 65_536)):
        words += part
    os.close(reader)
    if time.monotonic() > end:
        os.kill(process, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), words.decode(errors="replace")


def call(folder: Path, output: str = "out.h5ad", *more: str) -> list[str]:
    """Return the arguments for the input in a folder."""
    return ["edit", str(folder / "in.h5ad"), *HOW, "-o", str(folder / output), *more]


def judge_words(words: str) -> str:
    """Say whether what was written is one line of ours; the verdict and a progress bar may stand above it."""
    lines = [line for line in words.replace("\r", "\n").splitlines() if line.strip()]
    ours = [i for i, line in enumerate(lines) if line.startswith("neuronedit: ")]
    is_one = len(ours) == 1 and ours[0] == len(lines) - 1 and "Traceback" not in words
    return "clear" if is_one else "raw"


def list_left(folder: Path) -> list[str]:
    """Return the names in a folder besides those that a run may leave with its output."""
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".neuronedit.yaml"))


def is_whole(path: Path) -> bool:
    """Return whether a file is an AnnData that was edited."""
    import anndata

    return "edited" in anndata.read_h5ad(path).layers


def look(folder: Path, output: str = "out.h5ad") -> str:
    """Say whether the input is as it was, or edited whole, and the output whole or not there."""
    data = (folder / "in.h5ad").read_bytes()
    if data != example() and not (output == "in.h5ad" and is_whole(folder / output)):
        return "lost"
    return "silent" if (folder / output).exists() and output != "in.h5ad" and not is_whole(folder / output) else ""


def bad(name: str) -> str:
    """Call it with something that cannot be done."""
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        (folder / "in.h5ad").write_bytes(example())
        (folder / "folder.h5ad").mkdir()
        os.mkfifo(folder / "pipe.h5ad")
        (folder / "words.h5ad").write_text("words")
        (folder / "half.h5ad").write_bytes(example()[: len(example()) // 2])
        code, words = run([part.replace("FOLDER", text) for part in BAD[name]])
        left = sorted(path.name for path in folder.iterdir() if path.name != "pipe.h5ad" or path.is_fifo())
        if found := look(folder):
            return found
        if left != ["folder.h5ad", "half.h5ad", "in.h5ad", "pipe.h5ad", "words.h5ad"] or code in DONE:
            return "silent"
        return "crash" if code < 0 else judge_words(words)


def _bad(*more: str, source: str = "in.h5ad", output: str = "out.h5ad") -> list[str]:
    return ["edit", f"FOLDER/{source}", *HOW, "-o", f"FOLDER/{output}", *more]


BAD = {
    **{f"over the input, key {key!r}": _bad("--overwrite", "--key-added", key, output="in.h5ad") for key in
       ("a/b", "", "../../x", "__x", ".", "_index", "\u2028", "neuronedit")},
    "no input": _bad(source="none.h5ad"),
    "input is a folder": _bad(source="folder.h5ad"),
    "input is text": _bad(source="words.h5ad"),
    "input is cut": _bad(source="half.h5ad"),
    "no folder": _bad(output="none/out.h5ad"),
    "output is a folder": _bad(output="folder.h5ad"),
    "output is a pipe": _bad(output="pipe.h5ad"),
    "no folder for the image": _bad("--biaxial", "FOLDER/none/a.png"),
    "an image of no kind": _bad("--biaxial", "FOLDER/a.xyz"),
    "the image over the input": _bad("--biaxial", "FOLDER/in.h5ad"),
    "the image over the output": _bad("--biaxial", "FOLDER/out.h5ad"),
    "a long name": _bad(output="x" * 300),
    "no such marker": _bad("--x", "none"),
    "a cofactor below zero": _bad("--cofactor", "-1"),
    "no epochs": _bad("--space", "autoencoder", "--max-epochs", "0"),
    "no such layer": _bad("--layer", "none"),
    "no such strata": _bad("--strata", "none"),
    "no such edit": _bad("--edit", "none"),
}  # fmt: skip


@functools.cache
def measure() -> tuple[float, int]:
    """Return the seconds of a run that is left alone, and the bytes that it writes."""
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        (folder / "in.h5ad").write_bytes(example())
        start = time.perf_counter()
        code, words = run(call(folder))
        assert code in DONE and is_whole(folder / "out.h5ad"), words
        return time.perf_counter() - start, (folder / "out.h5ad").stat().st_size


def full_disk(share: float, overwrite: bool) -> str:
    """Allow no file to be larger than a share of what would be written."""
    output = "in.h5ad" if overwrite else "out.h5ad"
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        (folder / "in.h5ad").write_bytes(example())
        code, words = run(
            call(folder, output, *["--overwrite"] * overwrite), file_size=int(share * measure()[1]) + 4096
        )
        if found := look(folder, output):
            return found
        if code in DONE:
            return "right" if is_whole(folder / output) else "silent"
        if code < 0:
            return "crash"
        return judge_words(words) if list_left(folder) == ["in.h5ad"] else "lost"


def killed(number: int, share: float) -> str:
    """Kill it at some moment while it writes over its input, and run it again: that removes what was left."""
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        (folder / "in.h5ad").write_bytes(example())
        code, words = run(call(folder, "in.h5ad", "--overwrite"), kill=number, after=share * measure()[0])
        if found := look(folder, "in.h5ad"):
            return found
        is_early = code == -number and not words  # before the command began
        if number == signal.SIGINT and code not in DONE and not is_early and judge_words(words) != "clear":
            return "raw"
        again, _ = run(call(folder, "in.h5ad", "--overwrite"))
        whole = again in DONE and is_whole(folder / "in.h5ad")
        return "right" if whole and list_left(folder) == ["in.h5ad"] else "lost"


def kept(kind: str) -> str:
    """Write over an input whose mode, owner or link must be kept."""
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        (folder / "in.h5ad").write_bytes(example())
        goal: Any = folder / "in.h5ad"
        KEPT[kind](goal)
        before, name = goal.stat(), "in.h5ad"
        if kind == "a link":
            name = "link.h5ad"
        code, words = run(call(folder, name, "--overwrite"))
        after = goal.stat()
        same = (stat.S_IMODE(before.st_mode), before.st_uid, before.st_gid) == (
            stat.S_IMODE(after.st_mode),
            after.st_uid,
            after.st_gid,
        )
        is_link = kind != "a link" or (folder / name).is_symlink()
        return "right" if code in DONE and same and is_link and is_whole(goal) else "lost"


KEPT = {
    "0600": lambda path: path.chmod(0o600),
    "0640": lambda path: path.chmod(0o640),
    "another owner": lambda path: os.getuid() == 0 and os.chown(path, 12345, 12345),
    "a link": lambda path: (path.parent / "link.h5ad").symlink_to(path.name),
}
