"""Where the official files of a data set are: on disk, or to be downloaded into the user's cache.

Each data set has `load_data(data_dir=...)`: a directory named there is the only one looked in;
else the one that the environment variable MINICNN_DATA_DIR names, the cache, and the network.
"""

import os
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

from minicnn.datasets import fetch
from minicnn.datasets.fetch import DatasetUnavailable

DataDir = str | os.PathLike[str] | None


def find(
    title: str,
    data_dir: DataDir,
    look: Callable[[Path], Path | None],
    name: str,
    contents: str,
    url: str,
    download: Callable[[Path], object],
) -> Path:
    """What `look` finds in the first place that has it.

    Args:
        title, url, contents: of the data set, where it is, what its directory holds: for messages.
        data_dir: as `load_data` was given it.
        look: the file or folder of the data set in a directory; None if there is none.
        name: of that file or folder.
        download: gets it into the cache, a directory.

    Raises:
        FileNotFoundError: `data_dir` has none.
        DatasetUnavailable: it is not on disk and cannot be downloaded.
    """
    if data_dir is not None:
        directory = Path(data_dir)
        if not directory.is_dir():
            raise FileNotFoundError(f"data_dir {str(directory)!r} is not a directory")
        found = look(directory)
        if found is None:
            raise FileNotFoundError(
                f"no {title} in data_dir {str(directory)!r}: it should hold {contents}"
            )
        return found
    cache = fetch.cache_directory()
    named = os.environ.get("MINICNN_DATA_DIR")
    places = ([Path(named)] if named else []) + [cache]
    for place in places:
        found = look(place)
        if found is not None:
            return found
        if place is not cache:
            warnings.warn(
                f"MINICNN_DATA_DIR names {named!r}, where there is no {title} (no {name}); "
                f"it is looked for in {str(cache)!r} instead",
                stacklevel=3,
            )
    try:
        download(cache)
    except (OSError, ValueError) as error:
        reason = str(error).split("\n")[0][:200]
        raise DatasetUnavailable(
            f"{title} is not in {' or '.join(str(p) for p in places)} and could not be downloaded "
            f"from {url} ({reason}); give load_data(data_dir=...) or "
            f"MINICNN_DATA_DIR a directory that holds {name}"
        ) from error
    found = look(cache)
    if found is None:
        raise DatasetUnavailable(f"{title} was downloaded, but is not in {cache}")
    return found


def check_labels(title: str, path: Path, labels: np.ndarray, classes: int) -> None:
    """Raise a ValueError unless `labels` (n,), from the file at `path`, are below `classes`; it
    calls the data set by its `title`."""
    if labels.max() >= classes:
        raise ValueError(
            f"{path}: label {labels.max()} of image {labels.argmax()} is not in 0 to "
            f"{classes - 1}; the file is damaged or not {title}"
        )


def read_records(title: str, path: Path, records: int, labels: int) -> tuple[np.ndarray, ...]:
    """The labels (n, labels) and pixels (n, 3072) of the `records`, n, in a file of CIFAR's binary
    format at `path`; a ValueError calls the data set by its `title`."""
    size, expected = path.stat().st_size, records * (labels + 3072)
    if size != expected:
        raise ValueError(
            f"{path} has {size:,} bytes, {expected:,} were expected; "
            f"the file is truncated or not a {title} batch: delete it and get it again"
        )
    whole = np.fromfile(path, np.uint8).reshape(records, labels + 3072)
    return whole[:, :labels], whole[:, labels:]


def from_planes(pixels: np.ndarray) -> np.ndarray:
    """Images (n, 32, 32, 3) from their red, green and blue planes, `pixels` (n, 3072)."""
    return pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
