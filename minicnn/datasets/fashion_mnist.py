"""Fashion-MNIST: 70,000 grey images of 28x28 pixels of clothes in 10 classes (Xiao, Rasul and
Vollgraf, "Fashion-MNIST: a novel image dataset for benchmarking machine learning algorithms", 2017;
https://github.com/zalandoresearch/fashion-mnist).
"""

from pathlib import Path

from minicnn.datasets import fetch, idx
from minicnn.datasets.official import DataDir, find

CLASS_NAMES = [
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag",
    "Ankle boot",
]  # fmt: skip

_URL = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/"
# The hashes in the README of the data set's repository
_MD5 = {
    "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
    "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
    "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
}
_IMAGES = (60_000, 10_000)
_FOLDER = "fashion-mnist"


def load_data(data_dir: DataDir = None) -> tuple[idx.Split, idx.Split]:
    """Fashion-MNIST as ((x_train, y_train), (x_test, y_test)), all uint8.

    x_train (60000, 28, 28), y_train (60000,), x_test (10000, 28, 28), y_test (10000,). Pixels are
    0 to 255, labels 0 to 9 in the order of `CLASS_NAMES`.

    Args:
        data_dir: the only directory to look in: the four official files, or a folder
            `fashion-mnist` with them. Default: the directory that the environment variable
            MINICNN_DATA_DIR names, then the user's cache, into which the files (31 MB) are
            downloaded if neither has them.

    Raises:
        FileNotFoundError: no Fashion-MNIST in `data_dir`, or one of its files is missing.
        ValueError: a file is damaged, or another.
        DatasetUnavailable: it is not on disk and cannot be downloaded.
    """

    def look(directory: Path) -> Path | None:
        own = directory if directory.name == _FOLDER else directory / _FOLDER
        if data_dir is not None and idx.is_in(directory):  # MNIST's files have the same names
            return directory
        return own if idx.is_in(own) else None

    def download(cache: Path) -> None:
        files = {name: (_URL + name, f"md5:{md5}") for name, md5 in _MD5.items()}
        fetch.download_files(files, cache / _FOLDER, 40 << 20)

    contents = f"{', '.join(idx.FILES)}, or a folder {_FOLDER} with them"
    name = f"folder {_FOLDER}"
    found = find("Fashion-MNIST", data_dir, look, name, contents, _URL, download)
    return idx.read_splits("Fashion-MNIST", found, _IMAGES)
