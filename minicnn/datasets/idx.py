"""The format of MNIST's and Fashion-MNIST's files: http://yann.lecun.com/exdb/mnist/.

Two zero bytes, the type (8: uint8), the number of axes, the length of each axis in four bytes with
the largest first, then the values.
"""

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np

from minicnn.datasets.official import check_labels

Split = tuple[np.ndarray, np.ndarray]

FILES = [
    f"{part}-{kind}-ubyte.gz"
    for part in ("train", "t10k")
    for kind in ("images-idx3", "labels-idx1")
]


def path_of(folder: Path, name: str) -> Path:
    """The file `name` of FILES in a `folder`, or the same without its compression."""
    compressed = folder / name
    return compressed if compressed.is_file() else compressed.with_suffix("")


def is_in(folder: Path) -> bool:
    """Whether a `folder` has at least one of the FILES."""
    return any(path_of(folder, name).is_file() for name in FILES)


def read_splits(title: str, folder: Path, images: tuple[int, int]) -> tuple[Split, Split]:
    """((x_train, y_train), (x_test, y_test)), x (n, 28, 28) and y (n,).

    Args:
        title: of the data set, for messages; those of errors name the file.
        folder: with the four FILES.
        images: n of both splits.
    """
    paths = [path_of(folder, name) for name in FILES]
    for path, name in zip(paths, FILES, strict=True):
        if not path.is_file():
            raise FileNotFoundError(
                f"{folder / name} is missing; {folder} should hold all of {', '.join(FILES)}"
            )
    splits = []
    for n, x_path, y_path in zip(images, paths[::2], paths[1::2], strict=True):
        x, y = read(x_path, (n, 28, 28)), read(y_path, (n,))
        check_labels(title, y_path, y, 10)
        splits.append((x, y))
    return splits[0], splits[1]


def read(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """The array (uint8) of the file at `path`, compressed if it ends in .gz; a ValueError if it is
    damaged or has another `shape`."""
    header = struct.pack(f">HBB{len(shape)}I", 0, 8, len(shape), *shape)
    size = math.prod(shape)
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
            begin, content = file.read(len(header)), file.read(size + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path} cannot be read, delete it and get it again: {error}") from error
    if begin != header or len(content) != size:
        raise ValueError(
            f"{path} is not an IDX file of {size:,} bytes in shape {shape} (its header is "
            f"{begin.hex()}, {header.hex()} was expected); it is truncated or another one: delete "
            f"it and get it again"
        )
    return np.frombuffer(content, np.uint8).reshape(shape).copy()  # which may be written to
