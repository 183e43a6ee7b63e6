"""`get_file`: from a server on this machine into a cache, whole and checked or not at all."""

import hashlib
import io
import os
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from minicnn.utils import get_file

DATA = b"some weights" * 1000


def tar_of(members):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return file.getvalue()


def zip_of(members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


MEMBERS = {"cats/1.txt": b"meow", "dogs/1.txt": b"woof"}
FILES = {
    "/weights.bin": DATA,
    "/pets.tar.gz": tar_of(MEMBERS),
    "/pets.zip": zip_of(MEMBERS),
    "/evil.tar.gz": tar_of({"../outside.txt": b"no"}),
    "/evil.zip": zip_of({"../../outside.txt": b"no"}),
}


@pytest.fixture
def server():
    """(its address, the paths that were asked for)."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            data = FILES.get(self.path)
            self.send_response(200 if data is not None else 404)
            self.send_header("Content-Length", str(len(data or b"")))
            self.end_headers()
            self.wfile.write(data or b"")

        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}", asked
        http.shutdown()


def fetch(server, path, tmp_path, **options):
    return get_file(origin=server[0] + path, cache_dir=tmp_path, **options)


MD5, SHA = hashlib.md5(DATA).hexdigest(), hashlib.sha256(DATA).hexdigest()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"file_hash": SHA},
        {"file_hash": MD5.upper()},
        {"md5_hash": MD5},
        {"file_hash": SHA, "hash_algorithm": "sha256"},
    ],
)
def test_a_file_once(options, server, tmp_path):
    path = fetch(server, "/weights.bin", tmp_path, **options)
    assert path == str(tmp_path / "datasets" / "weights.bin")
    assert Path(path).read_bytes() == DATA
    assert fetch(server, "/weights.bin", tmp_path, **options) == path and len(server[1]) == 1
    fetch(server, "/weights.bin", tmp_path, force_download=True, **options)
    assert len(server[1]) == 2


def test_names_and_folders(server, tmp_path, monkeypatch):
    path = fetch(server, "/weights.bin", tmp_path, fname="w", cache_subdir="m")
    assert path == str(tmp_path / "m" / "w")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "home"))
    assert get_file("a", server[0] + "/weights.bin") == str(tmp_path / "home" / "datasets" / "a")


def test_a_wrong_hash_leaves_nothing(server, tmp_path):
    with pytest.raises(ValueError, match="hash"):
        fetch(server, "/weights.bin", tmp_path, file_hash="0" * 64)
    assert not list((tmp_path / "datasets").iterdir())


def test_a_damaged_file_is_downloaded_again(server, tmp_path):
    path = Path(fetch(server, "/weights.bin", tmp_path, file_hash=SHA))
    path.write_bytes(DATA[:100])
    assert Path(fetch(server, "/weights.bin", tmp_path, file_hash=SHA)).read_bytes() == DATA
    path.write_bytes(DATA[:100])
    fetch(server, "/weights.bin", tmp_path)
    assert path.read_bytes() == DATA[:100]  # nobody said what it should be


@pytest.mark.parametrize("name", ["pets.tar.gz", "pets.zip"])
@pytest.mark.parametrize(
    "fname, folder, archive",
    [
        (None, "{name}", "{name}_archive"),
        ("p.bin", "p_extracted", "p.bin"),
        ("p", "p", "p_archive"),
    ],
)
def test_archives(name, fname, folder, archive, server, tmp_path):
    path = fetch(server, f"/{name}", tmp_path, fname=fname, extract=True)
    assert path == str(tmp_path / "datasets" / folder.format(name=name))
    for member, data in MEMBERS.items():
        assert (Path(path) / member).read_bytes() == data
    names = {folder.format(name=name), archive.format(name=name)}
    assert set(os.listdir(tmp_path / "datasets")) == names
    fetch(server, f"/{name}", tmp_path, fname=fname, extract=True)
    assert len(server[1]) == 1


def test_untar(server, tmp_path):
    path = fetch(server, "/pets.tar.gz", tmp_path, fname="pets", untar=True)
    assert (Path(path) / "cats" / "1.txt").exists()
    with pytest.raises(ValueError, match="is no archive of the format 'tar'"):
        fetch(server, "/pets.zip", tmp_path, fname="zipped", untar=True)
    with pytest.raises(ValueError, match="is no archive of the format 'zip'"):
        fetch(server, "/weights.bin", tmp_path, extract=True, archive_format="zip")


@pytest.mark.parametrize("name", ["evil.tar.gz", "evil.zip"])
def test_nothing_lands_outside(name, server, tmp_path):
    try:
        path = fetch(server, f"/{name}", tmp_path, extract=True)
    except ValueError as error:
        assert "was not unpacked" in str(error)
    else:
        assert (Path(path) / "outside.txt").exists()
    places = [p for p in tmp_path.rglob("outside.txt") if "evil" not in str(p.parent)]
    assert not places and not (tmp_path.parent / "outside.txt").exists()


@pytest.mark.parametrize("fname", ["a/b.txt", "..", "/etc/passwd"])
def test_paths_as_names(fname, server, tmp_path):
    with pytest.raises(ValueError, match="the name of a file, without folders"):
        fetch(server, "/weights.bin", tmp_path, fname=fname)


def test_errors(server, tmp_path):
    with pytest.raises(ValueError, match="needs origin="):
        get_file("a")
    with pytest.raises(ValueError, match="'auto', 'md5' or 'sha256', not 'sha1'"):
        fetch(server, "/weights.bin", tmp_path, file_hash="a", hash_algorithm="sha1")
    with pytest.raises(OSError, match="404"):
        fetch(server, "/missing.bin", tmp_path)
    with pytest.raises(OSError, match="no connection"):
        get_file(origin="http://127.0.0.1:9/a", cache_dir=tmp_path)
    assert not list((tmp_path / "datasets").iterdir())
