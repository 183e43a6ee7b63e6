"""Files appear whole or not at all."""

import errno
import os
import signal
import stat
import subprocess
import sys

import pytest

from minicnn.files import atomic_write, make_folder


def test_writes_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "new" / "deep" / "a.txt"
    with atomic_write(path) as temporary:
        assert temporary.parent.parent == path.parent and temporary.name == path.name
        temporary.write_text("hello")
        assert not path.exists()
    assert path.read_text() == "hello"
    assert os.listdir(path.parent) == ["a.txt"]


def test_keeps_the_old_file_and_cleans_up_on_failure(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError, match="half way"), atomic_write(path) as temporary:
        temporary.write_text("ne")
        raise RuntimeError("half way")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("name", ["m.keras", "m.weights.h5", "03-0.53.safetensors", "plain"])
def test_temporary_has_the_name(tmp_path, name):
    with atomic_write(str(tmp_path / name)) as temporary:
        assert temporary.name == name
        temporary.write_text("x")
    assert (tmp_path / name).exists()


def test_replaces_what_a_link_points_to(tmp_path):
    real, link = tmp_path / "real.txt", tmp_path / "link.txt"
    real.write_text("old")
    link.symlink_to(real)
    with atomic_write(link) as temporary:
        temporary.write_text("new")
    assert link.is_symlink()
    assert real.read_text() == "new"


def test_relative_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with atomic_write("a.txt") as temporary:
        temporary.write_text("x")
    assert (tmp_path / "a.txt").read_text() == "x"


def test_permissions_are_those_of_an_ordinary_file(tmp_path):
    (tmp_path / "ordinary").write_text("")
    with atomic_write(tmp_path / "atomic") as temporary:
        temporary.write_text("")
    modes = [stat.S_IMODE((tmp_path / n).stat().st_mode) for n in ("ordinary", "atomic")]
    assert modes[0] == modes[1]


def test_folder_under_a_file_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    folder = tmp_path / "file" / "sub"
    with pytest.raises(OSError, match="cannot write into the folder") as caught:
        with atomic_write(folder / "a.txt"):
            pass
    assert str(folder) in str(caught.value)
    with pytest.raises(OSError, match="that you may write to"):
        make_folder(folder)


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs a /proc")
def test_folder_that_exists_but_takes_no_files():
    with pytest.raises(OSError, match="cannot write into the folder '/proc/.*Give a path"):
        with atomic_write("/proc/self/a.txt"):
            pass


def test_path_that_is_a_folder(tmp_path):
    with pytest.raises(IsADirectoryError, match="is a folder; give the name of a file"):
        with atomic_write(tmp_path):
            pass


def test_permissions_of_a_replaced_file_are_kept(tmp_path):
    path = tmp_path / "secret"
    path.write_text("old")
    path.chmod(0o600)
    with atomic_write(path) as temporary:
        temporary.write_text("new")
    assert path.read_text() == "new" and stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_read_only_file_is_refused_before_anything_is_done(tmp_path):
    path = tmp_path / "kept"
    path.write_text("old")
    path.chmod(0o444)
    with pytest.raises(PermissionError, match="kept': the file there is read-only; make it writ"):
        with atomic_write(path):
            pytest.fail("the block ran")
    assert path.read_text() == "old"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
def test_a_pipe_is_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="pipe': it is no file but a device or a pipe"):
        with atomic_write(tmp_path / "pipe"):
            pass
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


@pytest.mark.parametrize("length", [246, 255])
def test_long_names(tmp_path, length):
    path = tmp_path / ("n" * length)
    with atomic_write(path) as temporary:
        temporary.write_text("x")
    assert os.listdir(tmp_path) == [path.name]


def test_a_name_that_is_too_long_is_named(tmp_path):
    with pytest.raises(OSError, match=f"cannot write .*{'n' * 256}': .*too long"):
        with atomic_write(tmp_path / ("n" * 256)):
            pass
    assert not os.listdir(tmp_path)


def test_what_cannot_be_written_is_named_and_keeps_its_kind(tmp_path):
    with pytest.raises(PermissionError, match=r"cannot write '.*a\.txt': no") as caught:
        with atomic_write(tmp_path / "a.txt"):
            raise PermissionError(errno.EACCES, "no")
    assert caught.value.errno == errno.EACCES and not os.listdir(tmp_path)


def test_the_file_is_on_the_disk_before_it_takes_the_place(tmp_path, monkeypatch):
    path, order = tmp_path / "a.txt", []
    fsync, replace = os.fsync, os.replace

    def synced(handle):
        order.append("folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file")
        fsync(handle)

    def replaced(*names):
        order.append("rename")
        replace(*names)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    with atomic_write(path) as temporary:
        temporary.write_text("x")
    assert order == ["file", "rename", "folder"]


KILLED = """
import os, signal, sys
from minicnn.files import atomic_write
with atomic_write(sys.argv[1]) as temporary:
    temporary.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_what_a_killed_write_left_is_removed_by_the_next(tmp_path):
    pytest.importorskip("fcntl")
    path, other = tmp_path / "a.txt", tmp_path / "b.txt"
    for target in (path, other):
        subprocess.run([sys.executable, "-c", KILLED, str(target)], check=False)
    assert len(os.listdir(tmp_path)) == 2 and not path.exists()
    with atomic_write(path) as temporary:
        temporary.write_text("whole")
    left = sorted(os.listdir(tmp_path))
    assert len(left) == 2 and left[1] == "a.txt" and (tmp_path / left[0] / "b.txt").exists()


def test_writes_to_one_path_at_the_same_time_leave_each_other_alone(tmp_path):
    path = tmp_path / "a.txt"
    with atomic_write(path) as first:
        first.write_text("first")
        with atomic_write(path) as second:
            second.write_text("second")
        assert path.read_text() == "second" and first.exists()
    assert path.read_text() == "first" and os.listdir(tmp_path) == ["a.txt"]
