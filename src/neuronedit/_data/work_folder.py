"""A folder beside a store that its writer uses alone, so that no two processes write into one store."""

import os
import shutil
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

MAX_TRIES = 100  # to lock what others leave at this moment
SIGN_OF_LIFE = 600.0  # seconds after which a writer that this machine cannot see counts as gone


class WorkFolder:
    """The folder ``edited.zarr.neuronedit`` of the store ``edited.zarr``: there while somebody writes, or was killed writing."""

    def __init__(self, store: Path) -> None:
        self.store = store
        self.path = Path(f"{store}.neuronedit")
        self.lock = self.path / "lock"  # held by the writer, with its process and machine as text
        self.setup = self.path / "setup"  # a store, or a part of one, that is moved into its place once it is whole
        self.progress = self.path / "progress"  # likewise

    def check_free(self) -> None:
        """Refuse a store that another process writes."""
        if self.path.exists():
            with self.use():
                pass

    @contextmanager
    def use(self) -> Iterator[None]:
        """Keep others away, and remove what a writer that was killed has left; at the end nothing is left."""
        file = self._acquire()
        try:
            self._clear()
            with explain_os_errors(self.store):
                file.truncate(0)
                file.write(f"{os.getpid()} {socket.gethostname()}".encode())
            yield
        finally:
            self._clear()
            with suppress(OSError):
                self.lock.unlink()
            file.close()
            with suppress(OSError):
                self.path.rmdir()

    def show_life(self) -> None:
        """Tell writers on other machines that this one is at work."""
        with suppress(OSError):
            os.utime(self.lock)

    def _acquire(self) -> IO[bytes]:
        """Return the lock: the system frees it when the file is closed, or the process dies."""
        for _ in range(MAX_TRIES):
            with explain_os_errors(self.store):
                self.path.mkdir(parents=True, exist_ok=True)
            try:
                file = self.lock.open("a+b", buffering=0)
            except FileNotFoundError:  # another writer has just left, with the folder
                continue
            except OSError as error:
                raise _explain(error, self.store) from None
            try:
                is_locked = _try_lock(file)
                if is_locked is False or self._is_current(file):
                    self._check_alone(file, is_locked)
                    return file
            except BaseException:
                file.close()
                raise
            file.close()  # of a writer that has just left
        raise OSError(f"{self.lock} cannot be locked: other processes keep taking the lock.")

    def _is_current(self, file: IO[bytes]) -> bool:
        try:
            return os.path.samestat(os.fstat(file.fileno()), self.lock.stat())
        except FileNotFoundError:
            return False

    def _check_alone(self, file: IO[bytes], is_locked: bool | None) -> None:
        """Refuse where another process holds the lock, or may: some file systems do not show locks to other machines."""
        file.seek(0)
        pid, _, host = file.read().decode(errors="replace").partition(" ")
        who = f"{self.store} is being written by process {pid or '?'} on {host or '?'}"
        if is_locked is False:
            raise OSError(f"{who}; wait for it, or choose another write_to.")
        is_out_of_sight = bool(host) and (is_locked is None or host != socket.gethostname())
        age = time.time() - os.fstat(file.fileno()).st_mtime
        if is_out_of_sight and age < SIGN_OF_LIFE:
            raise OSError(f"{who}, last seen {age:.0f} s ago; if that was killed, delete {self.lock} and call again.")

    def _clear(self) -> None:
        shutil.rmtree(self.setup, ignore_errors=True)
        with suppress(OSError):
            self.progress.unlink()


@contextmanager
def explain_os_errors(path: Path) -> Iterator[None]:
    """Say of an error of the system, such as a full disk, what could not be written, and that nothing is lost."""
    try:
        yield
    except OSError as error:
        if error.errno is None:  # one of ours
            raise
        raise _explain(error, path) from None


def _explain(error: OSError, path: Path) -> OSError:
    text = f"{path} cannot be written: {error.strerror}. What was written is kept; repeat the call to go on"
    return OSError(error.errno, text)


def _try_lock(file: IO[bytes]) -> bool | None:
    """Lock an open file. `False`: another process has locked it; `None`: files cannot be locked here."""
    try:
        if sys.platform == "win32":
            import msvcrt

            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        return None
    return True
