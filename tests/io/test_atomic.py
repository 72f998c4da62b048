"""A file is written whole or not at all, and what a killed process left is removed."""

import os
import subprocess
import sys

import pytest

from neuronedit.io._atomic import MARK, check_goal, replacing

posix = pytest.mark.skipif(os.name != "posix", reason="modes and links of posix")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def write(path, text="new"):
    with replacing(path) as temporary:
        assert temporary.parent == path.resolve().parent
        temporary.write_text(text)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt(), MemoryError()])
def test_an_error_leaves_what_was_there(tmp_path, error):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(type(error)), replacing(path) as temporary:
        temporary.write_text("half")
        raise error
    assert path.read_text() == "old" and names(tmp_path) == ["a.txt"]


@posix
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664, 0o755])
def test_the_mode_is_kept(tmp_path, mode):
    path = tmp_path / "a.txt"
    path.write_text("old")
    path.chmod(mode)
    with replacing(path) as temporary:
        assert temporary.stat().st_mode & 0o077 == 0  # nobody else reads it meanwhile
        temporary.write_text("new")
    assert path.read_text() == "new" and path.stat().st_mode & 0o777 == mode


@posix
def test_a_new_file_has_the_mode_of_any_new_file(tmp_path):
    write(tmp_path / "a.txt")
    (tmp_path / "b.txt").write_text("")
    assert (tmp_path / "a.txt").stat().st_mode == (tmp_path / "b.txt").stat().st_mode


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="only root may give files away")
def test_the_owner_is_kept(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    os.chown(path, 1234, 2345)
    path.chmod(0o640)
    write(path)
    after = path.stat()
    assert (after.st_uid, after.st_gid, after.st_mode & 0o777) == (1234, 2345, 0o640)


@posix
@pytest.mark.parametrize("exists", [True, False])
def test_a_link_is_written_through(tmp_path, exists):
    (tmp_path / "there").mkdir()
    goal, link = tmp_path / "there" / "a.txt", tmp_path / "link"
    if exists:
        goal.write_text("old")
    link.symlink_to("there/a.txt")
    write(link)
    assert link.is_symlink() and goal.read_text() == "new" and names(tmp_path / "there") == ["a.txt"]


def test_what_was_left_is_removed_once_its_process_is_gone(tmp_path):
    process = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    gone, other = int(process.stdout), os.getppid()
    kept = [f".a.txt{MARK}{other}-12345678.txt", f".b.txt{MARK}{gone}-12345678.txt", f".a.txt{MARK}x.txt"]
    for name in (*kept, f".a.txt{MARK}{gone}-12345678.txt", f".a.txt{MARK}{os.getpid()}-12345678.txt"):
        (tmp_path / name).write_text("half")
    write(tmp_path / "a.txt")
    assert names(tmp_path) == sorted([*kept, "a.txt"])


def test_two_may_write_the_same_file_at_once(tmp_path):
    path = tmp_path / "a.txt"
    with replacing(path) as first:
        first.write_text("first")
        write(path, "second")
        assert path.read_text() == "second"
    assert path.read_text() == "first" and names(tmp_path) == ["a.txt"]


def test_goals_that_cannot_be_written(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        check_goal(tmp_path / "none" / "a.txt")
    with pytest.raises(OSError, match="exists and is no file"):
        check_goal(tmp_path)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(OSError, match="exists and is no file"):
            check_goal(tmp_path / "pipe")


@posix
@pytest.mark.skipif(hasattr(os, "getuid") and os.getuid() == 0, reason="root may write anywhere")
@pytest.mark.parametrize("what", ["file", "folder"])
def test_no_permission(tmp_path, what):
    path = tmp_path / "a.txt"
    path.write_text("old")
    (path if what == "file" else tmp_path).chmod(0o500)
    with pytest.raises(PermissionError, match="may not be written"):
        check_goal(path)
    tmp_path.chmod(0o700)
