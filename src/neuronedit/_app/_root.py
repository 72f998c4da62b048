"""The folder that was opened: nothing outside of it is read or written."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

from .._cli._input import FCS_ENDINGS, ZARR_MARKS

SHEET_ENDINGS = (".csv", ".tsv", ".xlsx")
MAX_ENTRIES = 2_000  # of a folder that are listed


class FieldError(ValueError):
    """What is wrong with a field of the page, in one sentence."""

    def __init__(self, field: str, text: str) -> None:
        super().__init__(text)
        self.field = field


@dataclass(frozen=True)
class Root:
    """The folder that was opened, with all links in its own path followed."""

    folder: Path

    @classmethod
    def open(cls, folder: Path) -> "Root":
        """Open a folder; refuse what is none, or what may not be read."""
        if not folder.is_dir():
            raise FileNotFoundError(f"--root {folder} is not a folder.")
        if not os.access(folder, os.R_OK | os.X_OK):
            raise PermissionError(f"--root {folder} may not be read.")
        return cls(Path(os.path.realpath(folder)))

    def find(self, name: str, field: str) -> Path:
        """Return the path that a name leads to, past all links; refuse one that leads out of the folder.

        Names are relative. What lies outside is refused alike, whether it exists or not.
        """
        is_absolute = PurePosixPath(name).is_absolute() or bool(
            PureWindowsPath(name).anchor or PureWindowsPath(name).drive
        )
        if not name or "\0" in name or is_absolute:
            raise FieldError(field, "Give a name inside the folder that was opened.")
        path = Path(os.path.realpath(self.folder / name))
        if not path.is_relative_to(self.folder):
            raise FieldError(field, f"{name} leads out of the folder that was opened.")
        return path

    def find_existing(self, name: str, field: str) -> Path:
        """Return the path of something that is there and may be read."""
        path = self.find(name, field)
        if not path.exists():
            raise FieldError(field, f"{name} does not exist.")
        if not os.access(path, os.R_OK):
            raise FieldError(field, f"{name} may not be read.")
        return path

    def check_links(self, path: Path, field: str) -> None:
        """Refuse a folder of cells with a link in it that leads out."""
        for link in _list_links(path):
            if not Path(os.path.realpath(link)).is_relative_to(self.folder):
                raise FieldError(field, f"{self.name(link)} leads out of the folder that was opened.")

    def name(self, path: Path) -> str:
        """Return the name of a path inside of the folder; "." is the folder itself."""
        return path.relative_to(self.folder).as_posix()

    def shorten(self, text: str) -> str:
        """Return a text with the names of paths inside of the folder, instead of the whole paths."""
        return text.replace(f"{self.folder}{os.sep}", "").replace(
            str(self.folder), self.folder.name or str(self.folder)
        )


def _list_links(path: Path) -> Iterator[Path]:
    """Yield the links in a folder: in all of a .zarr store, among the FCS files of another folder."""
    if is_store(path):
        for folder, folders, files in os.walk(path):
            yield from (Path(folder, name) for name in [*folders, *files] if os.path.islink(Path(folder, name)))
    elif path.is_dir():
        yield from (child for child in path.iterdir() if is_fcs(child) and child.is_symlink())


def is_fcs(path: Path) -> bool:
    """Return whether a name is that of an FCS file."""
    return path.name.lower().endswith(FCS_ENDINGS)


def is_store(path: Path) -> bool:
    """Return whether a folder is a .zarr store."""
    return path.is_dir() and any((path / mark).exists() for mark in ZARR_MARKS)


def find_kind(path: Path) -> str:
    """Return which cells a path holds, in words; "" if it holds none."""
    if is_store(path):
        return ".zarr store"
    if path.is_dir():
        n_files = sum(is_fcs(child) for child in path.iterdir())
        return f"{n_files} FCS file{'s' * (n_files != 1)}" if n_files else ""
    return ".h5ad file" if path.suffix.lower() == ".h5ad" else ""


def list_folder(root: Root, name: str) -> dict[str, object]:
    """Return what may be chosen in a folder: folders and files of cells. Hidden names and links that lead out are left out."""
    folder = root.find_existing(name, "input")
    if not folder.is_dir():
        raise FieldError("input", f"{name} is no folder.")
    entries = []
    for path in sorted(folder.iterdir(), key=lambda one: one.name.lower())[:MAX_ENTRIES]:
        is_inside = Path(os.path.realpath(path)).is_relative_to(root.folder)
        if path.name.startswith(".") or not is_inside or not os.access(path, os.R_OK):
            continue
        holds = find_kind(path)
        if holds or path.is_dir():
            entries.append({"name": path.name, "path": root.name(path), "holds": holds, "is_folder": path.is_dir()})
    parent = None if folder == root.folder else root.name(folder.parent)
    return {"path": root.name(folder), "parent": parent, "holds": find_kind(folder), "entries": entries}
