"""The files of a zarr store: how far it has got, and whether they are what was written."""

import hashlib
import json
import os
import zlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np

PROGRESS = "neuronedit"  # attribute of a store that says how far it has got
BYTES_PER_READ, SYNCS_AT_ONCE = 2**18, 8  # bytes that fit in a processor's cache; files


@dataclass(frozen=True)
class Progress:
    """How far a store has got, and what it takes to go on with the same work and no other."""

    job: dict[str, str]  # digests of all that makes the work what it is
    of: int  # cells
    n_rows: int  # cells of a block
    frame: dict[str, str]  # digests of the files that are there from the start, by folder
    blocks: list[list[str]]  # of each block that is written: the digests of its cells before the edit, and of its files
    so_far: dict[str, Any] = field(default_factory=dict)  # what each edit did to these cells
    record: str | None = None  # digest of the files of the record: all is written

    @property
    def done(self) -> int:
        """Return how many cells are written."""
        return min(len(self.blocks) * self.n_rows, self.of)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read it from a store."""
        try:
            stored = dict(_read_attributes(path)[1][PROGRESS])
        except (KeyError, OSError, TypeError, ValueError, RecursionError):
            raise ValueError(f"{path} exists and is no store of ne.tl.edit; choose another write_to.") from None
        digest = stored.pop("digest", None)
        stored.pop("done", None)
        if digest != _digest_json(stored) or set(stored) != set(cls.__dataclass_fields__):
            reason = "its record of progress is damaged, or of another version of neuronedit"
            raise ValueError(f"{path} cannot be resumed: {reason}. Delete it, or choose another write_to.")
        return cls(**stored)

    def write(self, path: Path, scratch: Path) -> None:
        """Write it into a store, whole or not at all."""
        file, attributes, whole = _read_attributes(path)
        stored = dict(vars(self))
        attributes[PROGRESS] = {"digest": _digest_json(stored), "done": self.done} | stored
        with scratch.open("w") as new:
            new.write(json.dumps(whole))
            new.flush()
            os.fsync(new.fileno())
        os.replace(scratch, file)

    def with_block(self, number: int, digests: list[str], so_far: dict[str, Any]) -> Self:
        """Return it with a block that was written, the next one or one of those before it again."""
        if number < len(self.blocks):
            return replace(self, blocks=[*self.blocks[:number], digests, *self.blocks[number + 1 :]])
        return replace(self, blocks=[*self.blocks, digests], so_far=so_far)


class StoreFiles:
    """The files of a store by their names within it, and their digests; a file is read again where it has changed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._digests: dict[tuple[str, int, int, int], str] = {}

    def digest(self, names: Iterable[str]) -> str:
        """Return the digest of some files; that a file is missing is a part of it."""
        lines = (f"{name} {self._digest_file(name)}" for name in sorted(names))
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:32]

    def digest_frame(self, arrays: Iterable[str], record: str) -> dict[str, str]:
        """Return digests of the files of each folder, without the chunks of these arrays and the files of the record."""
        folders: dict[str, list[str]] = {}
        chunks = tuple(f"{array}/" for array in arrays)
        for name in self.names():
            is_chunk = name.startswith(chunks) and not name.endswith((".zarray", ".zattrs", "zarr.json"))
            if not is_chunk and not name.startswith(f"{record}/") and name not in (".zattrs", "zarr.json"):
                folders.setdefault(name.partition("/")[0], []).append(name)
        _, attributes, whole = _read_attributes(self.path)
        attributes.pop(PROGRESS, None)
        digests = {folder: self.digest(names) for folder, names in sorted(folders.items())}
        return digests | {"attributes": _digest_json(whole)}

    def names(self, under: str = "") -> Iterator[str]:
        """Yield the names of all files, or those of a folder."""
        for folder, _, files in os.walk(self.path / under):
            place = Path(folder).relative_to(self.path)
            yield from ((place / name).as_posix() for name in files)

    def remove(self, names: Iterable[str]) -> None:
        """Remove files, where they are there."""
        for name in names:
            (self.path / name).unlink(missing_ok=True)

    def remove_partial(self) -> None:
        """Remove files that zarr had not written to their end."""
        self.remove([name for name in self.names() if name.endswith(".partial")])

    def sync(self) -> None:
        """Wait until all files are on the disk."""
        with ThreadPoolExecutor(SYNCS_AT_ONCE) as pool:
            list(pool.map(self._sync_file, self.names()))

    def _sync_file(self, name: str) -> None:
        handle = os.open(self.path / name, os.O_RDWR)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def _digest_file(self, name: str) -> str:
        """Return the size and the CRC-32 of a file, computed again where the file is not the one that was read before."""
        try:
            with (self.path / name).open("rb", buffering=0) as file:
                state = os.fstat(file.fileno())
                key = (name, state.st_ino, state.st_size, state.st_mtime_ns)
                if key not in self._digests:
                    crc, buffer = 0, memoryview(bytearray(BYTES_PER_READ))
                    while n := file.readinto(buffer):
                        crc = zlib.crc32(buffer[:n], crc)
                    self._digests[key] = f"{state.st_size} {crc:08x}"
                return self._digests[key]
        except FileNotFoundError:
            return "missing"


def digest_cells(cells: np.ndarray) -> str:
    """Return the digest of a block of cells: of every value, its type and the shape."""
    sha = hashlib.sha1(f"{cells.dtype.str} {cells.shape}".encode(), usedforsecurity=False)  # twice as fast as SHA-256
    sha.update(np.ascontiguousarray(cells).data)
    return sha.hexdigest()[:32]


def _read_attributes(path: Path) -> tuple[Path, dict[str, Any], dict[str, Any]]:
    """Return the file with the attributes of a store, the attributes, and the whole that they are a part of."""
    file = path / "zarr.json"  # of zarr format 3
    if not file.exists():
        attributes = json.loads((path / ".zattrs").read_text())
        return path / ".zattrs", attributes, attributes
    whole = json.loads(file.read_text())
    whole.pop("consolidated_metadata", None)  # a copy of what is about to change
    return file, whole["attributes"], whole


def _digest_json(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:32]


def drop_consolidated(path: Path) -> None:
    """Remove the copy of all metadata that is in the root of a store: it is of before what is about to be written."""
    (path / ".zmetadata").unlink(missing_ok=True)  # of zarr format 2
    root = path / "zarr.json"
    if root.exists():
        metadata = json.loads(root.read_text())
        metadata.pop("consolidated_metadata", None)
        root.write_text(json.dumps(metadata))
