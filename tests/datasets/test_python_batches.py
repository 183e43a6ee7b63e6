import os
import pickle
import struct

import numpy as np
import pytest

from minicnn.datasets.python_batches import read_batch

N = 5


def batch(seed=0):
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (N, 3072), dtype=np.uint8)
    return pixels, rng.integers(0, 10, N).tolist()


def read(tmp_path, stream):
    path = tmp_path / "data_batch_1"
    path.write_bytes(stream)
    return read_batch(path)


def check(result, pixels, labels):
    found_labels, found_pixels = result
    assert found_labels.dtype == found_pixels.dtype == np.uint8
    np.testing.assert_array_equal(found_pixels, pixels)
    np.testing.assert_array_equal(found_labels, labels)


@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize("as_bytes", [False, True])
@pytest.mark.parametrize("order", ["C", "F"])
def test_written_by_python_3(tmp_path, protocol, as_bytes, order):
    pixels, labels = batch()
    content = {
        "batch_label": "training batch 1 of 5",
        "labels": labels,
        "data": np.asarray(pixels, order=order),
        "filenames": [f"image_{i}.png" for i in range(N)],
        "number": 123456789,
    }
    if as_bytes:
        content = {key.encode(): value for key, value in content.items()}
    check(read(tmp_path, pickle.dumps(content, protocol=protocol)), pixels, labels)


def python_2_stream(pixels, labels, module=b"numpy.core.multiarray"):
    """The stream that Python 2's cPickle wrote for the official files, opcode by opcode."""

    def string(text):
        return b"U" + bytes([len(text)]) + text

    data = pixels.tobytes()
    return b"".join(
        [
            b"\x80\x02}q\x01(",
            string(b"batch_label") + b"q\x02" + string(b"training batch 1 of 5") + b"q\x03",
            string(b"labels")
            + b"q\x04]q\x05("
            + b"".join(b"K" + bytes([v]) for v in labels)
            + b"e",
            string(b"data") + b"q\x06",
            b"c" + module + b"\n_reconstruct\nq\x07cnumpy\nndarray\nq\x08K\x00\x85",
            string(b"b") + b"\x87Rq\t(K\x01M" + struct.pack("<H", len(pixels)) + b"M\x00\x0c\x86",
            b"cnumpy\ndtype\nq\n" + string(b"u1") + b"K\x00K\x01\x87Rq\x0b(K\x03",
            string(b"|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89",
            b"T" + struct.pack("<i", len(data)) + data + b"tb",
            string(b"filenames") + b"q\x0c]q\r(" + string(b"a.png") + string(b"b.png") + b"e",
            b"u.",
        ]
    )


def test_written_by_python_2(tmp_path):
    pixels, labels = batch()
    stream = python_2_stream(pixels, labels)
    check(read(tmp_path, stream), pixels, labels)
    if hasattr(np, "core"):  # the oracle: what pickle itself makes of the stream
        content = pickle.loads(stream, encoding="bytes")
        np.testing.assert_array_equal(content[b"data"], pixels)


class Malicious:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.mkdir, (self.target,)


@pytest.mark.parametrize("protocol", range(5))
def test_malicious_pickles_are_refused_and_not_run(tmp_path, protocol):
    target = str(tmp_path / "pwned")
    pixels, labels = batch()
    content = {"data": pixels, "labels": labels, "x": Malicious(target)}
    with pytest.raises(
        ValueError, match="data_batch_1 is not a CIFAR-10 batch.*nothing in it was run"
    ):
        read(tmp_path, pickle.dumps(content, protocol=protocol))
    assert not os.path.exists(target)


@pytest.mark.parametrize(
    "stream, text",
    [
        (b"\x80\x02cposix\nsystem\nU\x02ls\x85R.", "posix.system"),
        (b"\x80\x02cnumpy\nndarray\nU\x02ls\x85R.", "calls numpy ndarray"),
        (b"\x80\x02cnumpy\ndtype\nU\x01O\x85R.", "calls numpy dtype"),
        (b"\x80\x02cnumpy\nndarray\n}b.", "sets the state"),
        (b"(S'ls'\nios\nsystem\n.", "uses"),
        (b"\x80\x02cnumpy\nndarray\n)\x81.", "NEWOBJ"),
        (b"\x80\x02}]a.", "treats a dict as a list"),
    ],
)
def test_unknown_names_and_opcodes(tmp_path, stream, text):
    with pytest.raises(ValueError, match=text):
        read(tmp_path, stream)


def test_truncated_at_any_place(tmp_path):
    stream = python_2_stream(*batch())
    for length in [0, 1, 10, 200, len(stream) // 2, len(stream) - 1]:
        with pytest.raises(ValueError, match=rf"data_batch_1 \({length:,} bytes\).*31,035,000"):
            read(tmp_path, stream[:length])


@pytest.mark.parametrize(
    "change, text",
    [
        ({"labels": [1, 2]}, "2 labels for 5 images"),
        ({"labels": "12345"}, "list of small integers"),
        ({"labels": [0, 1, 2, 3, 300]}, "list of small integers"),
        ({"data": np.zeros((N, 30), np.uint8)}, r"\(n, 3072\), found shape \(5, 30\)"),
        ({"data": "x"}, "found no array"),
        ({"data": np.zeros((N, 3072), np.float32)}, "numpy dtype"),
    ],
)
def test_wrong_content(tmp_path, change, text):
    pixels, labels = batch()
    with pytest.raises(ValueError, match=text):
        read(tmp_path, pickle.dumps({"data": pixels, "labels": labels, **change}, protocol=2))


def test_missing_entries_and_file(tmp_path):
    with pytest.raises(ValueError, match=r"has no \['data'\]"):
        read(tmp_path, pickle.dumps({"labels": [1]}, protocol=2))
    with pytest.raises(ValueError, match="holds a list"):
        read(tmp_path, pickle.dumps([1], protocol=2))
    with pytest.raises(FileNotFoundError):
        read_batch(tmp_path / "absent")
