"""MNIST: 70,000 grey images of 28x28 pixels of handwritten digits (LeCun, Cortes and Burges;
http://yann.lecun.com/exdb/mnist/), in the one file that Keras uses.
"""

import os
import zipfile
import zlib
from pathlib import Path

import numpy as np

from minicnn.datasets import fetch, idx
from minicnn.datasets.official import DataDir, check_labels, find

CLASS_NAMES = [str(digit) for digit in range(10)]

Split = tuple[np.ndarray, np.ndarray]

_URL = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz"
# The hash in keras/src/datasets/mnist.py of Keras 3
_HASH = "sha256:731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1"
_IMAGES = (60_000, 10_000)
_FOLDER = "mnist"


def load_data(path: str = "mnist.npz", data_dir: DataDir = None) -> tuple[Split, Split]:
    """MNIST as ((x_train, y_train), (x_test, y_test)), all uint8.

    x_train (60000, 28, 28), y_train (60000,), x_test (10000, 28, 28), y_test (10000,). Pixels are
    0 to 255, labels 0 to 9.

    Args:
        path: name of the file; or, with a directory in it, the file itself.
        data_dir: the only directory to look in, for the file, for the four original ones
            (train-images-idx3-ubyte.gz ...), or for a folder `mnist` with them. Default: the
            directory that the environment variable MINICNN_DATA_DIR names, then the user's cache,
            into which the file (11 MB) is downloaded if neither has it.

    Raises:
        FileNotFoundError: there is none where `path` or `data_dir` say.
        ValueError: a file is damaged, or not MNIST.
        DatasetUnavailable: it is not on disk and cannot be downloaded.
    """
    if os.path.dirname(path):
        found = Path(path)
        if not found.is_file():
            raise FileNotFoundError(f"there is no file {path!r}")
    else:

        def look(directory: Path) -> Path | None:
            for folder in (directory, directory / _FOLDER):
                if (folder / path).is_file():
                    return folder / path
                # Fashion-MNIST's files have the same names
                if idx.is_in(folder) and (data_dir is not None or folder.name == _FOLDER):
                    return folder
            return None

        def download(cache: Path) -> None:
            fetch.download_files({path: (_URL, _HASH)}, cache / _FOLDER, 20 << 20)

        contents = f"{path}, or {', '.join(idx.FILES)}, or a folder {_FOLDER} with them"
        found = find("MNIST", data_dir, look, path, contents, _URL, download)
    return _read(found) if found.is_file() else idx.read_splits("MNIST", found, _IMAGES)


def _read(path: Path) -> tuple[Split, Split]:
    splits = []
    try:
        with zipfile.ZipFile(path) as archive, np.load(path, allow_pickle=False) as arrays:
            for part, n in zip(("train", "test"), _IMAGES, strict=True):
                split = []
                for name, shape in ((f"x_{part}", (n, 28, 28)), (f"y_{part}", (n,))):
                    size = archive.getinfo(f"{name}.npy").file_size  # before memory is taken
                    array = arrays[name] if size <= np.prod(shape) + 4096 else np.empty(0)
                    if array.shape != shape or array.dtype != np.uint8:
                        raise ValueError(f"{name} should be uint8 of shape {shape}, and is another")
                    split.append(array)
                splits.append((split[0], split[1]))
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(
            f"{path} is not MNIST, or is damaged ({error}): delete it and get it again"
        ) from error
    for _, labels in splits:
        check_labels("MNIST", path, labels, 10)
    return splits[0], splits[1]
