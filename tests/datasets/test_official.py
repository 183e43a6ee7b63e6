"""MNIST, Fashion-MNIST and CIFAR-100 from small files in the official layouts."""

import gzip
import hashlib
import http.server
import io
import pickle
import struct
import tarfile
import threading
import zipfile

import numpy as np
import pytest

from minicnn.datasets import DatasetUnavailable, cifar100, fashion_mnist, fetch, idx, mnist

SIZES = {"train": 6, "test": 4}
MODULES = {"mnist": mnist, "fashion_mnist": fashion_mnist, "cifar100": cifar100}
TITLES = {"mnist": "MNIST", "fashion_mnist": "Fashion-MNIST", "cifar100": "CIFAR-100"}
FOLDERS = {"mnist": "mnist", "fashion_mnist": "fashion-mnist", "cifar100": "cifar-100-binary"}


@pytest.fixture(autouse=True)
def small_and_offline(monkeypatch, tmp_path):
    """Few images, an empty cache, and addresses that do not answer."""
    monkeypatch.setattr(mnist, "_IMAGES", tuple(SIZES.values()))
    monkeypatch.setattr(fashion_mnist, "_IMAGES", tuple(SIZES.values()))
    monkeypatch.setattr(cifar100, "_IMAGES", SIZES)
    monkeypatch.setattr(fetch, "cache_directory", lambda: tmp_path / "cache")
    for name, module in MODULES.items():
        monkeypatch.setattr(module, "_URL", f"http://127.0.0.1:9/{name}/")
    monkeypatch.delenv("MINICNN_DATA_DIR", raising=False)
    for variable in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(variable, "127.0.0.1")


def data(name, seed=0, labels=10):
    """((x_train, y_train), (x_test, y_test)) of random images, and coarse labels for CIFAR-100."""
    rng = np.random.default_rng(seed)
    shape = (32, 32, 3) if name == "cifar100" else (28, 28)
    column = (1,) if name == "cifar100" else ()
    return [
        (
            rng.integers(0, 256, (n, *shape), dtype=np.uint8),
            rng.integers(0, labels, (n, *column)).astype(np.uint8),
        )
        for n in SIZES.values()
    ]


def arrays_of(splits):
    (x_train, y_train), (x_test, y_test) = splits
    return {"x_train": x_train, "y_train": y_train, "x_test": x_test, "y_test": y_test}


def as_idx(array):
    """The definition of the format, written out."""
    header = bytes([0, 0, 8, array.ndim]) + b"".join(struct.pack(">I", n) for n in array.shape)
    return header + array.tobytes()


def contents(name, splits):
    """{file: bytes} as the official ones are."""
    files = {}
    if name == "mnist":
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays_of(splits))
        return {"mnist.npz": buffer.getvalue()}
    if name == "fashion_mnist":
        for part, (x, y) in zip(("train", "t10k"), splits, strict=True):
            files[f"{part}-images-idx3-ubyte.gz"] = gzip.compress(as_idx(x))
            files[f"{part}-labels-idx1-ubyte.gz"] = gzip.compress(as_idx(y))
        return files
    for part, (x, y) in zip(("train", "test"), splits, strict=True):
        records = []
        for image, (fine,) in zip(x, y, strict=True):
            planes = [image[:, :, channel].tobytes() for channel in range(3)]
            records.append(bytes([fine // 5, fine]) + b"".join(planes))
        files[f"{part}.bin"] = b"".join(records)
    return files


def write(name, folder, splits):
    folder.mkdir(parents=True, exist_ok=True)
    for file, content in contents(name, splits).items():
        (folder / file).write_bytes(content)
    return splits


def check(found, expected):
    for (x, y), (x_expected, y_expected) in zip(found, expected, strict=True):
        np.testing.assert_array_equal(x, x_expected)
        np.testing.assert_array_equal(y, y_expected)
        assert x.dtype == y.dtype == np.uint8 and x.flags.writeable and y.flags.writeable


every = pytest.mark.parametrize("name", MODULES)


@every
def test_directory_itself_or_its_parent_then_the_variable_then_the_cache(
    name, tmp_path, monkeypatch
):
    load = MODULES[name].load_data
    cached = write(name, tmp_path / "cache" / FOLDERS[name], data(name, 1))
    check(load(), cached)
    named = write(name, tmp_path / "named" / FOLDERS[name], data(name, 2))
    monkeypatch.setenv("MINICNN_DATA_DIR", str(tmp_path / "named"))
    check(load(), named)
    check(load(data_dir=tmp_path / "named" / FOLDERS[name]), named)
    check(load(data_dir=str(tmp_path / "cache")), cached)
    monkeypatch.setenv("MINICNN_DATA_DIR", str(tmp_path))
    with pytest.warns(UserWarning, match=f"names '.*', where there is no {TITLES[name]}"):
        check(load(), cached)


@every
def test_a_directory_without_the_data_is_told(name, tmp_path):
    load = MODULES[name].load_data
    with pytest.raises(FileNotFoundError, match="absent' is not a directory"):
        load(data_dir=tmp_path / "absent")
    with pytest.raises(FileNotFoundError, match=f"no {TITLES[name]} in data_dir .* should hold"):
        load(data_dir=tmp_path)


@every
def test_unavailable(name, tmp_path):
    with pytest.raises(DatasetUnavailable) as error:
        MODULES[name].load_data()
    for part in (TITLES[name], str(tmp_path / "cache"), "MINICNN_DATA_DIR", "127.0.0.1:9"):
        assert part in str(error.value)
    assert "\n" not in str(error.value) and list((tmp_path / "cache").iterdir()) == []


@pytest.fixture
def server():
    """Serves a dictionary {path: bytes}; gives it and the address."""
    served = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200 if self.path in served else 404)
            self.end_headers()
            self.wfile.write(served.get(self.path, b""))

        def log_message(self, *args):
            pass

    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever, args=(0.01,))
    thread.start()
    yield served, f"http://127.0.0.1:{httpd.server_port}"
    httpd.shutdown()
    thread.join()
    httpd.server_close()


def serve(name, files, server, monkeypatch):
    """Have the official files in these bytes, with the hashes of `files`."""
    served, address = server
    module = MODULES[name]
    if name == "mnist":
        (content,) = files.values()
        served["/mnist.npz"] = content
        monkeypatch.setattr(module, "_URL", f"{address}/mnist.npz")
        monkeypatch.setattr(module, "_HASH", f"sha256:{hashlib.sha256(content).hexdigest()}")
    elif name == "fashion_mnist":
        served.update({f"/{file}": content for file, content in files.items()})
        monkeypatch.setattr(module, "_URL", f"{address}/")
        hashes = {file: hashlib.md5(content).hexdigest() for file, content in files.items()}
        monkeypatch.setattr(module, "_MD5", hashes)
    else:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
            for file, content in {**files, "fine_label_names.txt": b"apple"}.items():
                member = tarfile.TarInfo(f"cifar-100-binary/{file}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
        served["/c.tar.gz"] = buffer.getvalue()
        monkeypatch.setattr(module, "_URL", f"{address}/c.tar.gz")
        monkeypatch.setattr(module, "_MD5", hashlib.md5(buffer.getvalue()).hexdigest())
    return served


@every
def test_download_then_from_the_cache(name, tmp_path, server, monkeypatch):
    expected = data(name)
    files = contents(name, expected)
    served = serve(name, files, server, monkeypatch)
    check(MODULES[name].load_data(), expected)
    assert [p.name for p in (tmp_path / "cache").iterdir()] == [FOLDERS[name]]
    assert sorted(p.name for p in (tmp_path / "cache" / FOLDERS[name]).iterdir()) == sorted(files)
    served.clear()
    check(MODULES[name].load_data(), expected)


@every
def test_a_download_with_another_hash_leaves_nothing_behind(name, tmp_path, server, monkeypatch):
    served = serve(name, contents(name, data(name)), server, monkeypatch)
    last = list(served)[-1]
    served[last] += b"x"
    with pytest.raises(DatasetUnavailable, match="hash"):
        MODULES[name].load_data()
    del served[last]
    with pytest.raises(DatasetUnavailable, match="404"):
        MODULES[name].load_data()
    assert list((tmp_path / "cache").iterdir()) == []


@every
def test_damaged_and_missing_files_are_named(name, tmp_path):
    folder = tmp_path / FOLDERS[name]
    write(name, folder, data(name))
    for file in sorted(contents(name, data(name))):
        whole = (folder / file).read_bytes()
        for damaged in (whole[:-20], whole[: len(whole) // 2], b"", b"text"):
            (folder / file).write_bytes(damaged)
            with pytest.raises(ValueError, match=f"{file} .*(get it again)"):
                MODULES[name].load_data(data_dir=tmp_path)
        (folder / file).write_bytes(whole)
    if name != "mnist":
        (folder / file).unlink()
        with pytest.raises(FileNotFoundError, match=file):
            MODULES[name].load_data(data_dir=tmp_path)


@every
def test_labels_of_another_data_set(name, tmp_path):
    write(name, tmp_path, data(name, labels=200))
    text = f"label [0-9]+ of image [0-5] is not in 0 to .*not {TITLES[name]}"
    with pytest.raises(ValueError, match=text):
        MODULES[name].load_data(data_dir=tmp_path)


def test_arrays_of_another_shape_are_not_mnist(tmp_path):
    for change in ({"x_test": np.zeros((4, 28, 27), "uint8")}, {"y_test": np.zeros(4)},
                   {"x_train": np.zeros((6000, 28, 28), "uint8")}):  # fmt: skip
        arrays = arrays_of(data("mnist")) | change
        np.savez(tmp_path / "mnist.npz", **arrays)
        with pytest.raises(ValueError, match=f"mnist.npz is not MNIST.*{list(change)[0]} should"):
            mnist.load_data(data_dir=tmp_path)
    np.savez(tmp_path / "mnist.npz", x_train=np.zeros(1))
    with pytest.raises(ValueError, match="not MNIST"):
        mnist.load_data(data_dir=tmp_path)


def test_mnist_runs_nothing_that_a_file_holds(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (pytest.fail, ("a pickle was run",))

    write("mnist", tmp_path, data("mnist"))
    with zipfile.ZipFile(tmp_path / "mnist.npz") as archive:
        members = {n: archive.read(n) for n in archive.namelist()}
    header = io.BytesIO()
    described = {"descr": "|O", "fortran_order": False, "shape": (6,)}
    np.lib.format.write_array_header_1_0(header, described)
    members["y_train.npy"] = header.getvalue() + pickle.dumps([Bomb()])
    with zipfile.ZipFile(tmp_path / "mnist.npz", "w") as archive:
        for member, content in members.items():
            archive.writestr(member, content)
    with pytest.raises(ValueError, match="is not MNIST"):
        mnist.load_data(data_dir=tmp_path)


def test_mnist_from_a_file_and_from_the_original_four(tmp_path):
    expected = write("mnist", tmp_path / "a", data("mnist"))
    check(mnist.load_data(str(tmp_path / "a" / "mnist.npz")), expected)
    with pytest.raises(FileNotFoundError, match="there is no file '.*b/mnist.npz'"):
        mnist.load_data(str(tmp_path / "b" / "mnist.npz"))
    (tmp_path / "a" / "mnist.npz").rename(tmp_path / "a" / "digits.npz")
    check(mnist.load_data("digits.npz", data_dir=tmp_path / "a"), expected)
    check(mnist.load_data(data_dir=_idx_folder(tmp_path / "b", expected)), expected)


def _idx_folder(folder, splits):
    write("fashion_mnist", folder, splits)
    first = folder / idx.FILES[0]
    first.with_suffix("").write_bytes(gzip.decompress(first.read_bytes()))
    first.unlink()  # one of them is not compressed
    return folder


def test_neither_mnist_is_taken_for_the_other(tmp_path, monkeypatch):
    for name, other in ((mnist, "fashion-mnist"), (fashion_mnist, "mnist"), (fashion_mnist, "x")):
        expected = write("fashion_mnist", tmp_path / other, data("fashion_mnist"))
        monkeypatch.setenv("MINICNN_DATA_DIR", str(tmp_path / other))
        with pytest.warns(UserWarning, match="there is no"), pytest.raises(DatasetUnavailable):
            name.load_data()
    monkeypatch.setenv("MINICNN_DATA_DIR", str(tmp_path / "fashion-mnist"))
    check(fashion_mnist.load_data(), expected)


@pytest.mark.parametrize("mode", ["fine", "coarse"])
@pytest.mark.parametrize("python", [False, True])
def test_cifar100_labels(tmp_path, mode, python):
    splits = data("cifar100", labels=100)
    if not python:
        write("cifar100", tmp_path, splits)
    for part, (x, y) in zip(("train", "test"), splits, strict=True):
        content = {
            "filenames": [f"{i}.png" for i in range(len(x))],
            "fine_labels": y[:, 0].tolist(), "coarse_labels": (y[:, 0] // 5).tolist(),
            "data": x.transpose(0, 3, 1, 2).reshape(len(x), -1).copy(),
        }  # fmt: skip
        folder = tmp_path / "cifar-100-python"
        folder.mkdir(exist_ok=True)
        (folder / part).write_bytes(pickle.dumps(content, protocol=2))
    expected = [(x, y if mode == "fine" else y // 5) for x, y in splits]
    check(cifar100.load_data(mode, tmp_path), expected)
    with pytest.raises(ValueError, match="unknown label_mode 'corse'; did you mean 'coarse'"):
        cifar100.load_data("corse")


def test_class_names():
    assert [len(m.CLASS_NAMES) for m in MODULES.values()] == [10, 10, 100]
    assert cifar100.CLASS_NAMES == sorted(cifar100.CLASS_NAMES)
    assert cifar100.COARSE_CLASS_NAMES == sorted(cifar100.COARSE_CLASS_NAMES)
    assert len(cifar100.COARSE_CLASS_NAMES) == 20


def test_the_official_sizes():
    assert fashion_mnist._MD5.keys() == set(idx.FILES)
    assert len(mnist._HASH) == 64 + 7 and len(cifar100._MD5) == 32
