"""Cells out: whole or not at all, read back, and with the YAML that repeats the run."""

import io
import os
import shutil
import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from ._config import format_config
from ._input import ZARR_MARKS, FileKind, InputFiles, list_besides
from ._screen import Screen
from ._verb import refuse

KIND_OF_ENDING = {".h5ad": FileKind.H5AD, ".zarr": FileKind.ZARR}


@dataclass(frozen=True)
class Goal:
    """Where cells will be written, once it is known that they may be."""

    path: Path
    kind: FileKind
    config_path: Path
    overwrite: bool

    def check_cells(self, adata: Any) -> None:
        """Refuse to write FCS files of cells that were read from none."""
        from .. import _slots

        if self.kind is FileKind.FCS and not ({"file", "event"} <= set(adata.obs) and _slots.FCS in adata.uns):
            needed = "obs['file'], obs['event'] and uns['fcs'], as ne.io.read_fcs leaves them"
            refuse(f"-o {self.path}/ is for FCS files, and the input is from none: it lacks {needed}.")

    def write(self, adata: Any, settings: Any, screen: Screen) -> list[Path]:
        """Write the cells and the YAML that repeats the run; return what was written."""
        from ..io._atomic import replacing

        screen.step(f"Writing {self.path}.")
        WRITERS[self.kind](adata, self, settings)
        text = format_config(settings.command, settings, self.config_path, self.path.parent)
        with replacing(self.config_path) as temporary:
            temporary.write_text(text, encoding="utf-8")
        return [self.path, self.config_path]


def find_goal(
    settings: Any, files: InputFiles, others: Sequence[tuple[str, Path | None]] = (), *, fcs: bool = True
) -> Goal:
    """Return where cells go; refuse, before any work, what may not be written or would be written twice.

    ``others`` are the files that are written besides, with the options that name them. ``fcs=False``: the result is no events of files.
    """
    path, name = Path(settings.output), settings.output
    kind = FileKind.FCS if name.endswith(("/", os.sep)) else KIND_OF_ENDING.get(path.suffix.lower(), files.kind)
    if kind is FileKind.FCS and not fcs:
        refuse(f"-o {name}: {settings.command.name} writes .h5ad files and .zarr stores; give such a name.")
    config = path / "neuronedit.yaml" if kind is FileKind.FCS else path.with_name(f"{path.stem}.neuronedit.yaml")
    tables = list_besides(settings)
    _check_replaced(path, kind, files, tables, settings.overwrite)
    written = [("-o", path)]
    if kind is not FileKind.FCS:
        others = [*others, (f"{config}, which repeats the run,", config)]
    for label, other in others:
        if other is None:
            continue
        if same := next((what for what, one in written if _is_same(one, other)), None):
            refuse(f"{label} {other} is the input or the output: {same} names it as well; give another name.")
        if any(_is_same(one, other) for one in (*files.paths, *tables)):
            refuse(f"{label} {other} is the input or the output; give another name.")
        check_file(other, overwrite=settings.overwrite)
        written.append((label, other))
    return Goal(path, kind, config, settings.overwrite)


def check_output_files(outputs: Sequence[tuple[str, Path | None]], files: InputFiles, settings: Any) -> None:
    """Refuse files that may not be written, that are read, or that are written twice; each comes with its option."""
    written: list[tuple[str, Path]] = []
    for label, path in outputs:
        if path is None:
            continue
        if any(_is_same(path, one) for one in (*files.paths, *list_besides(settings))):
            refuse(f"{path} is read; give another {label}.")
        if same := next((what for what, one in written if _is_same(one, path)), None):
            refuse(f"{label} {path}: {same} names it as well; give another name.")
        check_file(path, overwrite=settings.overwrite)
        written.append((label, path))


def check_file(path: Path, *, overwrite: bool) -> None:
    """Refuse a file that may not be written, or that exists and is not to be replaced."""
    from ..io._atomic import check_goal

    check_goal(path)
    if path.exists() and not overwrite:
        refuse(f"{path} exists; give another name, or --overwrite.")


def _check_replaced(path: Path, kind: FileKind, files: InputFiles, tables: Sequence[Path], overwrite: bool) -> None:
    """Refuse an output that would replace what is read, and one that exists, unless that is asked for."""
    is_input = any(_is_same(path, one) for one in files.paths)
    may_replace = is_input and kind is files.kind and kind is not FileKind.FCS  # FCS files stay as they were recorded
    if is_input and not (may_replace and overwrite):
        refuse(f"{path} is the input; give another -o{', or --overwrite' if may_replace else ''}.")
    if not is_input and any(_holds(path, one) for one in (*files.paths, *tables)):
        refuse(f"-o {path} holds what is read; give another -o.")
    if kind is FileKind.H5AD:
        check_file(path, overwrite=overwrite)
    else:
        _check_folder(path, kind, overwrite)


def _check_folder(path: Path, kind: FileKind, overwrite: bool) -> None:
    """Refuse a folder that may not be written, or that exists and is not to be replaced."""
    from ..io._atomic import check_goal

    if not path.exists():
        check_goal(path)
        return
    if not path.is_dir():
        raise OSError(f"{path} exists and is no folder.")
    if not os.access(path, os.W_OK) or not os.access(path.absolute().parent, os.W_OK):
        raise PermissionError(f"{path} may not be written.")
    is_empty = not any(path.iterdir())
    if kind is FileKind.ZARR and not is_empty and not any((path / mark).exists() for mark in ZARR_MARKS):
        refuse(f"{path} exists and is no .zarr store; give another name.")
    if not overwrite and not is_empty:
        refuse(f"{path} exists; give another name, or --overwrite.")


def _holds(folder: Path, path: Path) -> bool:
    """Return whether a path is a folder's own or lies in it."""
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def _is_same(one: Path, other: Path) -> bool:
    return os.path.realpath(one) == os.path.realpath(other) or (one.exists() and other.exists() and one.samefile(other))


def _write_h5ad(adata: Any, goal: Goal, settings: Any) -> None:
    """Write a file whole or not at all, and read it back.

    It is made in memory first: HDF5 cannot close a file whose disk is full, and ends the process when that exits.
    """
    import anndata
    import h5py

    from ..io._atomic import replacing

    adata.strings_to_categoricals()
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        anndata.io.write_elem(file, "/", adata, dataset_kwargs={"compression": "gzip"})
    with replacing(goal.path) as temporary:
        temporary.write_bytes(content.getbuffer())
        _read_back(adata, temporary, anndata.read_h5ad, goal.path)


def _write_zarr(adata: Any, goal: Goal, settings: Any) -> None:
    """Write a store beside its goal, read it back, and put it in its place; a former one goes when the new one is there."""
    import anndata

    path = Path(os.path.realpath(goal.path))
    beside = path.with_name(f".{path.name}.neuronedit-unfinished-{os.getpid()}-{uuid4().hex[:8]}")
    former = beside.with_name(f"{beside.name}-former")
    adata.strings_to_categoricals()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Writing zarr v2 data")
            adata.write_zarr(beside)
        _read_back(adata, beside, anndata.read_zarr, goal.path)
        if path.exists():
            os.rename(path, former)
        os.rename(beside, path)
    finally:
        if former.exists() and not path.exists():
            os.rename(former, path)
        for left in (beside, former):
            with suppress(OSError):
                shutil.rmtree(left)


def _write_fcs(adata: Any, goal: Goal, settings: Any) -> None:
    """Write the changed events as FCS files, in the units in which they were recorded."""
    import neuronedit as ne

    ne.io.write_fcs(adata, goal.path, layer=settings.key_added, overwrite=goal.overwrite)


WRITERS = {FileKind.H5AD: _write_h5ad, FileKind.ZARR: _write_zarr, FileKind.FCS: _write_fcs}


def _read_back(adata: Any, written: Path, read: Any, path: Path) -> None:
    """Refuse a file or store that is not what was to be written."""
    try:
        difference = _find_difference(adata, read(written))
    except (KeyError, OSError, RuntimeError, TypeError, ValueError) as error:
        difference = f"it cannot be read: {error}"
    if difference:
        raise OSError(f"{path} would not be what was written, and was left as it was: {difference}.")


def _find_difference(adata: Any, written: Any) -> str:
    """Name what differs between cells and the file that was written of them; "" if nothing does."""
    import numpy as np

    if not written.obs_names.equals(adata.obs_names) or not written.var_names.equals(adata.var_names):
        return "its cells or features are others"
    for slot in ("obs", "var", "uns", "obsm", "varm", "obsp", "varp", "layers"):
        if set(getattr(adata, slot)) - {None} != set(getattr(written, slot)) - {None}:
            return f"{slot} has other names"
    names = [name for name in adata.layers if name is not None]  # anndata 0.13 lists X among the layers
    matrices = {f"layers[{name!r}]": (adata.layers[name], written.layers[name]) for name in names}
    for name, (ours, theirs) in ({"X": (adata.X, written.X)} | matrices).items():
        if ours is None:
            continue
        parts = [(x.data, x.indices, x.indptr) if hasattr(x, "indptr") else (x,) for x in (ours, theirs)]
        is_number = ours.dtype.kind == "f"
        if not all(np.array_equal(x, y, equal_nan=is_number) for x, y in zip(*parts, strict=True)):
            return f"{name} differs"
    return ""
