"""Files appear whole or not at all."""

import os
import stat

import pytest

from minicnn.files import atomic_write, make_folder


def test_writes_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "new" / "deep" / "a.txt"
    with atomic_write(path) as temporary:
        assert temporary.parent == path.parent
        assert temporary != path
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
def test_temporary_name_has_every_suffix(tmp_path, name):
    with atomic_write(str(tmp_path / name)) as temporary:
        assert temporary.name.endswith(name)
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
