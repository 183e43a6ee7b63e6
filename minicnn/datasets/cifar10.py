"""CIFAR-10: 60,000 colour images of 32x32 pixels in 10 classes (Krizhevsky, "Learning multiple
layers of features from tiny images", 2009; https://www.cs.toronto.edu/~kriz/cifar.html).
"""

from pathlib import Path

import numpy as np

from minicnn.datasets import fetch
from minicnn.datasets.official import DataDir, check_labels, find, from_planes, read_records
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


def load_data(data_dir: DataDir = None) -> tuple[Split, Split]:
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
    contents = (
        f"data_batch_1.bin to test_batch.bin (or data_batch_1 to test_batch), or a folder "
        f"{_BINARY_FOLDER} or {_PYTHON_FOLDER} with them"
    )
    name = f"folder {_BINARY_FOLDER}"
    folder = find("CIFAR-10", data_dir, _official_folder, name, contents, _URL, _download)
    x_train, y_train = _empty(5 * _RECORDS)
    x_test, y_test = _empty(_RECORDS)
    for i, name in enumerate(_BATCHES[:-1]):
        images = slice(i * _RECORDS, (i + 1) * _RECORDS)
        _read_into(folder, name, x_train[images], y_train[images])
    _read_into(folder, _BATCHES[-1], x_test, y_test)
    return (x_train, y_train), (x_test, y_test)


def _empty(count: int) -> Split:
    return np.empty((count, 32, 32, 3), np.uint8), np.empty((count, 1), np.uint8)


def _download(cache: Path) -> None:
    sizes = {f"{name}.bin": _RECORDS * (1 + 3072) for name in _BATCHES}
    fetch.download_archive(_URL, _MD5, cache / _BINARY_FOLDER, sizes)


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
    if is_binary:
        first, pixels = read_records("CIFAR-10", path, _RECORDS, labels=1)
        labels = first[:, 0]
    else:
        labels, pixels = read_batch(path)
    if len(labels) != _RECORDS:
        raise ValueError(f"{path} holds {len(labels):,} images, {_RECORDS:,} were expected")
    check_labels("CIFAR-10", path, labels, 10)
    y[:, 0] = labels
    x[...] = from_planes(pixels)
