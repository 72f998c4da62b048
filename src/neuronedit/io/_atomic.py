"""Write a file, or several of a folder, whole or not at all."""

import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

MARK = ".neuronedit-unfinished-"  # in the names of files that are not whole yet, before the number of their process

_being_written: set[Path] = set()  # by this process


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a name beside the file to write under; it takes the file's place when the block ends well, and is gone otherwise.

    The mode of a file that is replaced, and as far as possible its owner, are kept. Of a link what it leads to is replaced.
    What an interrupted process has left beside the same file is removed.
    """
    goal = check_goal(path)
    _remove_unfinished(goal)
    temporary = _name_beside(goal)
    before = goal.stat() if goal.exists() else None
    _being_written.add(temporary)
    try:
        mode = 0o666 if before is None else stat.S_IMODE(before.st_mode) & 0o700  # its group is not set yet
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode | 0o200))
        yield temporary
        _sync(temporary)
        if before is not None:
            _keep_owner(temporary, before)
        os.replace(temporary, goal)
        _sync(goal.parent)
    finally:
        temporary.unlink(missing_ok=True)
        _being_written.discard(temporary)


@contextmanager
def filling(folder: Path) -> Iterator[Path]:
    """Give a folder to write files into; they take their places in ``folder`` when the block ends well, and are gone otherwise.

    A new folder appears whole. In one that is there, each file takes the place of one of its name, with the others untouched.
    """
    goal = Path(os.path.realpath(folder))
    beside = goal / goal.name if goal.exists() else goal  # on the same disk as the goal
    _remove_unfinished(beside)
    temporary = _name_beside(beside)
    _being_written.add(temporary)
    try:
        temporary.mkdir()
        yield temporary
        written = sorted(temporary.iterdir())
        for path in written:
            _sync(path)
        if goal.exists():
            for path in written:
                os.replace(path, goal / path.name)
        else:
            os.replace(temporary, goal)
        _sync(goal)
        _sync(goal.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        _being_written.discard(temporary)


def check_goal(path: Path) -> Path:
    """Return where a file will be written, past all links, once it is known that it may be."""
    goal = Path(os.path.realpath(path))
    if not goal.parent.is_dir():
        raise FileNotFoundError(f"The folder {path.parent} does not exist.")
    if goal.exists() and not goal.is_file():
        raise OSError(f"{path} exists and is no file.")
    if not os.access(goal if goal.exists() else goal.parent, os.W_OK) or not os.access(goal.parent, os.W_OK):
        raise PermissionError(f"{path} may not be written.")
    return goal


def check_folder(folder: Path) -> None:
    """Refuse a folder that cannot be made or written."""
    parent = folder.resolve().parent
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"{folder} exists and is no folder.")
    if not folder.exists() and not parent.is_dir():
        raise FileNotFoundError(f"The folder {parent} does not exist.")
    if not os.access(folder if folder.exists() else parent, os.W_OK):
        raise PermissionError(f"{folder} may not be written.")


def _name_beside(goal: Path) -> Path:
    """Return a name that is free, in the same folder."""
    return goal.with_name(f".{goal.name}{MARK}{os.getpid()}-{uuid4().hex[:8]}{goal.suffix}")


def _remove_unfinished(goal: Path) -> None:
    """Remove what processes that have ended left beside a file or a folder."""
    start = f".{goal.name}{MARK}"
    with suppress(OSError):  # it is no harm if it stays
        for path in goal.parent.iterdir():
            number = path.name.removeprefix(start).partition("-")[0]
            if path.name.startswith(start) and number.isdigit() and not _is_running(int(number), path):
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def _is_running(process: int, path: Path) -> bool:
    """Return whether the process that writes a file is there; where that cannot be told, it is."""
    if process == os.getpid():  # numbers are used again
        return path in _being_written
    if os.name != "posix":
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def _keep_owner(path: Path, before: os.stat_result) -> None:
    """Give a file the owner, the group and the mode of another; without its group, that group's rights are left out."""
    mode = stat.S_IMODE(before.st_mode)
    if hasattr(os, "chown"):
        with suppress(OSError):
            os.chown(path, before.st_uid, -1)
        with suppress(OSError):
            os.chown(path, -1, before.st_gid)
        mode &= 0o7777 if path.stat().st_gid == before.st_gid else 0o7707
    os.chmod(path, mode)


def _sync(path: Path) -> None:
    """Wait until a file or a folder is on the disk, where the system can."""
    is_folder = path.is_dir()
    if is_folder and os.name != "posix":
        return
    handle = os.open(path, os.O_RDONLY if is_folder else os.O_RDWR)
    try:
        os.fsync(handle)
    except OSError:
        if not is_folder:  # some file systems cannot
            raise
    finally:
        os.close(handle)
