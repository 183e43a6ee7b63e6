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


def nested(doublings):
    """A tuple of a tuple twice ... : a byte or five for each, and a text of 2**doublings parts."""
    return b")" + b"".join(
        b"q" + bytes([i]) + b"h" + bytes([i]) + b"\x86" for i in range(doublings)
    )


@pytest.mark.parametrize(
    "stream",
    [
        b"\x80\x02}" + nested(40) + b"K\x00s.",  # as a key
        b"\x80\x02}(" + nested(40) + b"K\x00u.",
        b"\x80\x02cnumpy\ndtype\n" + nested(40) + b"R.",  # as arguments
        b"\x80\x02cnumpy\ndtype\n" + nested(40) + b"\x85R.",
        b"\x80\x02" + nested(40) + b"U\x01aR.",  # as what is called
        b"\x80\x04" + nested(40) + b"\x8c\x01a\x93.",  # as a name
        b"\x80\x02c_codecs\nencode\n" + nested(40) + b"U\x06latin1\x86R.",
    ],
)
def test_small_files_with_large_texts_are_refused_in_few_words(tmp_path, stream):
    with pytest.raises(ValueError, match="data_batch_1 is not a CIFAR-10 batch") as error:
        read(tmp_path, stream)
    assert len(str(error.value)) < 400


@pytest.mark.parametrize(
    "stream",
    [
        b"\x80\x04\x8e" + struct.pack("<Q", 1 << 62) + b"abc.",  # BINBYTES8 of that length
        b"\x80\x02\x8b" + struct.pack("<i", (1 << 31) - 1) + b"abc.",
        b"\x80\x02U" + b"\xff" + b"abc.",
        b"S" + b"x" * 10_000 + b"\n.",
    ],
)
def test_lengths_beyond_the_file(tmp_path, stream):
    with pytest.raises(ValueError, match="data_batch_1") as error:
        read(tmp_path, stream)
    assert len(str(error.value)) < 500 + len(str(tmp_path))


def test_files_that_would_take_hours_or_all_memory(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="takes far more work than that of a batch"):
        read(tmp_path, b"\x80\x02" + b"N0" * 300_000 + b"N.")
    text = b"X" + struct.pack("<i", 1000) + b"x" * 1000
    encoded = b"c_codecs\nencode\n" + b"h\x00U\x06latin1\x86R"
    with pytest.raises(ValueError, match="takes far more work than that of a batch"):
        read(tmp_path, b"\x80\x02" + text + b"q\x00" + encoded * 200 + b".")
    monkeypatch.setattr("minicnn.datasets.python_batches._MOST_BYTES", 1000)
    with pytest.raises(ValueError, match="it has 1,001 bytes, 1,000 at most are read"):
        read(tmp_path, bytes(1001))


def test_deep_nesting_is_an_error_that_names_the_file(tmp_path):
    deep = b")" + b"\x85" * 100_000
    with pytest.raises(ValueError, match="data_batch_1 is .* has a tuple where a text belongs"):
        read(tmp_path, b"\x80\x02}" + deep + b"K\x00s.")
    with pytest.raises(ValueError, match="data_batch_1 holds a tuple, not a batch's dictionary"):
        read(tmp_path, b"\x80\x02" + deep + b".")


def test_many_names_as_bytes(tmp_path):
    pixels, labels = batch()
    names = [f"image_{i}.png".encode() for i in range(500)]  # each a call in protocol 2
    content = {b"data": pixels, b"labels": labels, b"filenames": names}
    check(read(tmp_path, pickle.dumps(content, protocol=2)), pixels, labels)
