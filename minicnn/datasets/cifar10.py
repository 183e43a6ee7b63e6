"""CIFAR-10: 60,000 colour images of 32x32 pixels in 10 classes (Krizhevsky, "Learning multiple
layers of features from tiny images", 2009; https://www.cs.toronto.edu/~kriz/cifar.html).
"""

import os
import warnings
from pathlib import Path

import numpy as np

from minicnn.datasets import fetch
from minicnn.datasets.fetch import DatasetUnavailable
from minicnn.datasets.python_batches import read_batch

CLASS_NAMES = [
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
]  # fmt: skip

Split = tuple[np.ndarray, np.ndarray]

_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
_MD5 = "c32a1d4ab5d03f1284b67883e8d87530"
_BINARY_FOLDER = "cifar-10-batches-bin"
_PYTHON_FOLDER = "cifar-10-batches-py"
_BATCHES = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]
_RECORDS = 10_000  # images in each of the six files
_RECORD_BYTES = 1 + 3 * 32 * 32  # the label, then the red, green and blue planes


def load_data(data_dir: str | os.PathLike[str] | None = None) -> tuple[Split, Split]:
    """CIFAR-10 as ((x_train, y_train), (x_test, y_test)), all uint8.

    x_train (50000, 32, 32, 3), y_train (50000, 1), x_test (10000, 32, 32, 3), y_test (10000, 1).
    Pixels are 0 to 255, labels 0 to 9 in the order of `CLASS_NAMES`.

    Args:
        data_dir: the only directory to look in: the official folder itself (binary or python
            format), or one that holds it. Default: the directory that the environment variable
            MINICNN_DATA_DIR names, then the user's cache; a warning says when the former has none.
            If neither has it, the official binary archive (170 MB) is downloaded into the cache.

    Raises:
        FileNotFoundError: no CIFAR-10 in `data_dir`, or one of its files is missing.
        ValueError: a file has the wrong size, or a label is above 9.
        DatasetUnavailable: it is not on disk and cannot be downloaded.
    """
    folder = _explicit(Path(data_dir)) if data_dir is not None else _search()
    x_train, y_train = _empty(5 * _RECORDS)
    x_test, y_test = _empty(_RECORDS)
    for i, name in enumerate(_BATCHES[:-1]):
        images = slice(i * _RECORDS, (i + 1) * _RECORDS)
        _read_into(folder, name, x_train[images], y_train[images])
    _read_into(folder, _BATCHES[-1], x_test, y_test)
    return (x_train, y_train), (x_test, y_test)


def _empty(count: int) -> Split:
    return np.empty((count, 32, 32, 3), np.uint8), np.empty((count, 1), np.uint8)


def _explicit(directory: Path) -> Path:
    if not directory.is_dir():
        raise FileNotFoundError(f"data_dir {str(directory)!r} is not a directory")
    folder = _official_folder(directory)
    if folder is None:
        raise FileNotFoundError(
            f"no CIFAR-10 in data_dir {str(directory)!r}: it should hold data_batch_1.bin to "
            f"test_batch.bin (or data_batch_1 to test_batch), or a folder {_BINARY_FOLDER} or "
            f"{_PYTHON_FOLDER} with them"
        )
    return folder


def _search() -> Path:
    """The official folder, from disk or downloaded."""
    cache = fetch.cache_directory()
    named = os.environ.get("MINICNN_DATA_DIR")
    places = ([Path(named)] if named else []) + [cache]
    for place in places:
        folder = _official_folder(place)
        if folder is not None:
            return folder
        if place is not cache:
            warnings.warn(
                f"MINICNN_DATA_DIR names {named!r}, where there is no CIFAR-10 (no folder "
                f"{_BINARY_FOLDER}); it is looked for in {str(cache)!r} instead",
                stacklevel=3,
            )
    sizes = {f"{name}.bin": _RECORDS * _RECORD_BYTES for name in _BATCHES}
    try:
        fetch.download_archive(_URL, _MD5, cache / _BINARY_FOLDER, sizes)
    except (OSError, ValueError) as error:
        reason = str(error).split("\n")[0][:200]
        raise DatasetUnavailable(
            f"CIFAR-10 is not in {' or '.join(str(p) for p in places)} and could not be downloaded "
            f"from {_URL} ({reason}); give load_data(data_dir=...) or "
            f"MINICNN_DATA_DIR a directory that holds {_BINARY_FOLDER}"
        ) from error
    return cache / _BINARY_FOLDER


def _official_folder(directory: Path) -> Path | None:
    """`directory` or the folder in it that holds at least one batch file; None if neither does."""
    for folder in (directory, directory / _BINARY_FOLDER, directory / _PYTHON_FOLDER):
        if any((folder / f"{n}.bin").is_file() or (folder / n).is_file() for n in _BATCHES):
            return folder
    return None


def _read_into(folder: Path, name: str, x: np.ndarray, y: np.ndarray) -> None:
    """Fill x (n, 32, 32, 3) and y (n, 1) from one batch file of either format."""
    binary = folder / f"{name}.bin"
    # A folder has one format: a missing test_batch is named as its neighbours are.
    is_binary = any((folder / f"{n}.bin").is_file() for n in _BATCHES)
    path = binary if is_binary else folder / name
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing; {folder} should hold all of "
            f"{', '.join(n + '.bin' * is_binary for n in _BATCHES)}"
        )
    labels, pixels = _read_binary(path) if is_binary else read_batch(path)
    if len(labels) != _RECORDS:
        raise ValueError(f"{path} holds {len(labels):,} images, {_RECORDS:,} were expected")
    if labels.max() > 9:
        raise ValueError(
            f"{path}: label {labels.max()} of image {labels.argmax()} is not in 0 to 9; "
            "the file is damaged or not CIFAR-10"
        )
    y[:, 0] = labels
    planes = pixels.reshape(-1, 3, 32, 32)
    x[...] = planes.transpose(0, 2, 3, 1)


def _read_binary(path: Path) -> Split:
    size, expected = path.stat().st_size, _RECORDS * _RECORD_BYTES
    if size != expected:
        raise ValueError(
            f"{path} has {size:,} bytes, {expected:,} were expected; "
            "the file is truncated or not a CIFAR-10 batch: delete it and get it again"
        )
    records = np.fromfile(path, np.uint8).reshape(_RECORDS, _RECORD_BYTES)
    return records[:, 0], records[:, 1:]
