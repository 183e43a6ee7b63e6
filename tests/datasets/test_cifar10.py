import hashlib
import http.server
import io
import os
import pickle
import tarfile
import threading
import time

import numpy as np
import pytest

from minicnn.datasets import DatasetUnavailable, cifar10, fetch

N = 4  # images per file here; 10,000 in the real ones
FOLDER = "cifar-10-batches-bin"


@pytest.fixture(autouse=True)
def small_and_offline(monkeypatch, tmp_path):
    """Files of a few images, an empty cache, and an address that does not answer."""
    monkeypatch.setattr(cifar10, "_RECORDS", N)
    monkeypatch.setattr(fetch, "cache_directory", lambda: tmp_path / "cache")
    monkeypatch.setattr(cifar10, "_URL", "http://127.0.0.1:9/cifar.tar.gz")
    monkeypatch.delenv("MINICNN_DATA_DIR", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def images_and_labels(seed=0):
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 256, (6 * N, 32, 32, 3), dtype=np.uint8)
    return x, rng.integers(0, 10, 6 * N).astype(np.uint8)


def records(x, y):
    """The definition of the binary format, written out."""
    parts = []
    for image, label in zip(x, y, strict=True):
        red, green, blue = (image[:, :, c].tobytes() for c in range(3))
        parts.append(bytes([label]) + red + green + blue)
    return b"".join(parts)


def write_binary(root, seed=0):
    x, y = images_and_labels(seed)
    root.mkdir(parents=True, exist_ok=True)
    for i, name in enumerate(cifar10._BATCHES):
        images = slice(i * N, (i + 1) * N)
        (root / f"{name}.bin").write_bytes(records(x[images], y[images]))
    return x, y


def check(data, x, y):
    (x_train, y_train), (x_test, y_test) = data
    assert x_train.shape == (5 * N, 32, 32, 3) and y_train.shape == (5 * N, 1)
    assert x_test.shape == (N, 32, 32, 3) and y_test.shape == (N, 1)
    assert {a.dtype for a in (x_train, y_train, x_test, y_test)} == {np.dtype("uint8")}
    np.testing.assert_array_equal(np.concatenate([x_train, x_test]), x)
    np.testing.assert_array_equal(np.concatenate([y_train, y_test])[:, 0], y)


def test_directory_itself_or_its_parent(tmp_path):
    x, y = write_binary(tmp_path / FOLDER)
    check(cifar10.load_data(tmp_path), x, y)
    check(cifar10.load_data(str(tmp_path / FOLDER)), x, y)


def test_python_format(tmp_path):
    x, y = images_and_labels()
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for i, name in enumerate(cifar10._BATCHES):
        images = slice(i * N, (i + 1) * N)
        data = x[images].transpose(0, 3, 1, 2).reshape(N, -1).copy()
        content = {b"data": data, b"labels": y[images].tolist()}
        (folder / name).write_bytes(pickle.dumps(content, protocol=2))
    check(cifar10.load_data(tmp_path), x, y)
    (folder / "data_batch_3").unlink()
    with pytest.raises(FileNotFoundError, match="data_batch_3 is missing"):
        cifar10.load_data(tmp_path)


def test_order_of_search(tmp_path, monkeypatch):
    cached = write_binary(tmp_path / "cache" / FOLDER, seed=1)
    check(cifar10.load_data(), *cached)
    named = write_binary(tmp_path / "named", seed=2)
    monkeypatch.setenv("MINICNN_DATA_DIR", str(tmp_path / "named"))
    check(cifar10.load_data(), *named)
    given = write_binary(tmp_path / "given", seed=3)
    check(cifar10.load_data(tmp_path / "given"), *given)


def test_a_named_directory_without_data_is_told(tmp_path, monkeypatch):
    cached = write_binary(tmp_path / "cache" / FOLDER)
    monkeypatch.setenv("MINICNN_DATA_DIR", str(tmp_path / "elsewhere"))
    text = "MINICNN_DATA_DIR names '.*elsewhere', where there is no CIFAR-10.*in '.*cache' instead"
    with pytest.warns(UserWarning, match=text):
        check(cifar10.load_data(), *cached)


def test_a_bad_explicit_directory_is_an_error_although_the_cache_is_filled(tmp_path):
    write_binary(tmp_path / "cache" / FOLDER)
    with pytest.raises(FileNotFoundError, match="'.*absent' is not a directory"):
        cifar10.load_data(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="no CIFAR-10 in data_dir '.*empty'.*data_batch_1"):
        cifar10.load_data(tmp_path / "empty")


@pytest.mark.parametrize("change", [-1, +1, -3073])
def test_file_of_another_size(tmp_path, change):
    write_binary(tmp_path)
    path = tmp_path / "data_batch_2.bin"
    os.truncate(path, N * 3073 + change)
    with pytest.raises(ValueError) as error:
        cifar10.load_data(tmp_path)
    for part in (str(path), f"{N * 3073 + change:,}", f"{N * 3073:,}"):
        assert part in str(error.value)


def test_real_size_is_the_official_one(tmp_path, monkeypatch):
    monkeypatch.setattr(cifar10, "_RECORDS", 10_000)
    (tmp_path / "data_batch_1.bin").write_bytes(b"abc")
    with pytest.raises(ValueError, match="3 bytes, 30,730,000 were expected"):
        cifar10.load_data(tmp_path)


def test_missing_file(tmp_path):
    write_binary(tmp_path)
    (tmp_path / "test_batch.bin").unlink()
    with pytest.raises(FileNotFoundError, match="test_batch.bin is missing"):
        cifar10.load_data(tmp_path)


def test_label_above_9(tmp_path):
    write_binary(tmp_path)
    path = tmp_path / "data_batch_1.bin"
    content = bytearray(path.read_bytes())
    content[3073 * 2] = 10
    path.write_bytes(content)
    with pytest.raises(ValueError, match="data_batch_1.bin: label 10 of image 2 is not in 0 to 9"):
        cifar10.load_data(tmp_path)


def test_unavailable(tmp_path, monkeypatch):
    monkeypatch.setenv("MINICNN_DATA_DIR", str(tmp_path / "named"))
    with (
        pytest.warns(UserWarning, match="MINICNN_DATA_DIR names '.*named', where there is no"),
        pytest.raises(DatasetUnavailable) as error,
    ):
        cifar10.load_data()
    assert isinstance(error.value, OSError)
    message = str(error.value)
    for part in (str(tmp_path / "named"), str(tmp_path / "cache"), "data_dir", "MINICNN_DATA_DIR"):
        assert part in message
    assert "\n" not in message
    assert list((tmp_path / "cache").iterdir()) == []  # nothing half done is left behind


class Archive(http.server.BaseHTTPRequestHandler):
    content = b""
    cut = 0  # bytes promised but not sent
    may_answer = threading.Event()

    def do_GET(self):
        self.may_answer.wait()
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.content) + self.cut))
        self.end_headers()
        self.wfile.write(self.content)

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    """Serves what `serve(bytes)` is given, as the official archive."""
    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Archive)
    thread = threading.Thread(target=httpd.serve_forever, args=(0.01,))
    thread.start()
    monkeypatch.setattr(cifar10, "_URL", f"http://127.0.0.1:{httpd.server_port}/cifar.tar.gz")

    Archive.may_answer.set()

    def serve(content, cut=0, md5=None):
        monkeypatch.setattr(Archive, "content", content)
        monkeypatch.setattr(Archive, "cut", cut)
        monkeypatch.setattr(cifar10, "_MD5", md5 or hashlib.md5(content).hexdigest())

    yield serve
    httpd.shutdown()
    thread.join()
    httpd.server_close()


def archive_of(source, extra=()):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for path in sorted(source.iterdir()):
            tar.add(path, f"{FOLDER}/{path.name}")
        for member, content in extra:
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def test_download_takes_only_what_belongs_to_it(tmp_path, server, capfd):
    x, y = write_binary(tmp_path / "source")
    link = tarfile.TarInfo(f"{FOLDER}/link")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc"
    extra = [
        (tarfile.TarInfo("../escaped.bin"), b"x"),
        (tarfile.TarInfo(f"{FOLDER}/../../escaped.bin"), b"x"),
        (link, b""),
        (tarfile.TarInfo(f"{FOLDER}/readme.html"), b"x"),
    ]
    server(archive_of(tmp_path / "source", extra))
    check(cifar10.load_data(), x, y)
    assert [p.name for p in (tmp_path / "cache").iterdir()] == [FOLDER]
    names = sorted(p.name for p in (tmp_path / "cache" / FOLDER).iterdir())
    assert names == sorted(f"{n}.bin" for n in cifar10._BATCHES)
    assert not list(tmp_path.rglob("escaped.bin"))
    assert "%|" not in capfd.readouterr().err  # no progress bar: this is not a terminal
    server(b"")
    check(cifar10.load_data(), x, y)  # from the cache now


def test_damaged_downloads_leave_nothing_behind(tmp_path, server):
    write_binary(tmp_path / "source")
    whole = archive_of(tmp_path / "source")
    half = whole[: len(whole) // 2]
    (tmp_path / "source" / "data_batch_5.bin").write_bytes(b"short")
    another_size = archive_of(tmp_path / "source")
    (tmp_path / "source" / "data_batch_5.bin").unlink()
    lacking = archive_of(tmp_path / "source")
    wrong_md5 = "0" * 32
    for content, cut, md5, text in [
        (whole, 0, wrong_md5, "hash"),
        (half, len(whole) - len(half), None, "the connection broke off"),
        (half, 0, None, "not a readable"),
        (another_size, 0, None, "data_batch_5.bin"),
        (lacking, 0, None, "lacks .*data_batch_5.bin"),
    ]:
        server(content, cut, md5)
        with pytest.raises(DatasetUnavailable, match=text):
            cifar10.load_data()
        assert list((tmp_path / "cache").iterdir()) == []


def test_the_checksum_at_the_end_of_an_archive_counts(tmp_path, server):
    write_binary(tmp_path / "source")
    content = bytearray(archive_of(tmp_path / "source"))
    content[-6] ^= 1  # in the CRC-32; the 4 bytes behind it are the length
    server(bytes(content))
    with pytest.raises(
        DatasetUnavailable, match="not a readable .tar.gz archive: CRC check failed"
    ):
        cifar10.load_data()
    content = bytearray(archive_of(tmp_path / "source"))
    content[len(content) // 2] ^= 255
    (tmp_path / "a.tar.gz").write_bytes(content)
    sizes = {f"{name}.bin": N * 3073 for name in cifar10._BATCHES}
    with pytest.raises(ValueError, match="a.tar.gz is not a readable .tar.gz archive"):
        fetch.extract_members(tmp_path / "a.tar.gz", tmp_path / FOLDER, sizes)


def test_a_download_that_does_not_end_is_given_up(tmp_path, server, monkeypatch):
    write_binary(tmp_path / "source")
    server(archive_of(tmp_path / "source"))
    monkeypatch.setattr(fetch, "LONGEST", 0.2)
    Archive.may_answer.clear()
    with pytest.raises(DatasetUnavailable, match="the download was not done after 0.2 s"):
        cifar10.load_data()
    assert list((tmp_path / "cache").iterdir()) == []
    Archive.may_answer.set()
    for thread in threading.enumerate():
        if thread.name == "minicnn-download":
            thread.join()


def test_more_bytes_than_the_data_set_has_are_not_taken(tmp_path, server):
    write_binary(tmp_path / "source")
    server(bytes((1 << 20) + 6 * N * 3073 + 1))
    with pytest.raises(DatasetUnavailable, match="sent more than the 1,122,328 bytes expected"):
        cifar10.load_data()
    assert list((tmp_path / "cache").iterdir()) == []


def test_what_killed_downloads_left_is_removed(tmp_path, server):
    write_binary(tmp_path / "source")
    server(archive_of(tmp_path / "source"))
    old, new = (tmp_path / "cache" / f".download-{k}" for k in ("old", "new"))
    for folder in (old, new):
        folder.mkdir(parents=True)
        (folder / "archive.tar.gz").write_bytes(b"half")
    past = time.time() - 3 * fetch.LONGEST
    os.utime(old, (past, past))
    cifar10.load_data()
    assert not old.exists() and new.exists()  # the other may be at work


def test_a_link_in_place_of_a_batch_is_refused(tmp_path, server):
    write_binary(tmp_path / "source")
    (tmp_path / "source" / "test_batch.bin").unlink()
    link = tarfile.TarInfo(f"{FOLDER}/test_batch.bin")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    server(archive_of(tmp_path / "source", [(link, b"")]))
    with pytest.raises(DatasetUnavailable, match="test_batch.bin .*not the regular file"):
        cifar10.load_data()


def test_class_names():
    assert cifar10.CLASS_NAMES[0] == "airplane" and cifar10.CLASS_NAMES[9] == "truck"
    assert len(cifar10.CLASS_NAMES) == 10
