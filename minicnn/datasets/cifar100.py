"""CIFAR-100: 60,000 colour images of 32x32 pixels in 100 classes, which form 20 groups (Krizhevsky,
"Learning multiple layers of features from tiny images", 2009;
https://www.cs.toronto.edu/~kriz/cifar.html).
"""

from pathlib import Path

import numpy as np

from minicnn.datasets import fetch
from minicnn.datasets.official import DataDir, check_labels, find, from_planes, read_records
from minicnn.datasets.python_batches import read_batch
from minicnn.preprocessing.files import check_choice

CLASS_NAMES = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly
camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup
dinosaur dolphin elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower
leopard lion lizard lobster man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid
otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray
road rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar
sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle
wardrobe whale willow_tree wolf woman worm
""".split()
COARSE_CLASS_NAMES = """
aquatic_mammals fish flowers food_containers fruit_and_vegetables household_electrical_devices
household_furniture insects large_carnivores large_man-made_outdoor_things
large_natural_outdoor_scenes large_omnivores_and_herbivores medium_mammals non-insect_invertebrates
people reptiles small_mammals trees vehicles_1 vehicles_2
""".split()

Split = tuple[np.ndarray, np.ndarray]

_URL = "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz"
_MD5 = "03b5dce01913d631647c71ecec9e9cb8"  # as that page says
_FOLDER, _PYTHON_FOLDER = "cifar-100-binary", "cifar-100-python"
_IMAGES = {"train": 50_000, "test": 10_000}


def load_data(label_mode: str = "fine", data_dir: DataDir = None) -> tuple[Split, Split]:
    """CIFAR-100 as ((x_train, y_train), (x_test, y_test)), all uint8.

    x_train (50000, 32, 32, 3), y_train (50000, 1), x_test (10000, 32, 32, 3), y_test (10000, 1).
    Pixels are 0 to 255.

    Args:
        label_mode: "fine" for labels 0 to 99 in the order of `CLASS_NAMES`, "coarse" for 0 to 19 in
            that of `COARSE_CLASS_NAMES`.
        data_dir: the only directory to look in: the official folder itself (binary or python
            format), or one that holds it. Default: the directory that the environment variable
            MINICNN_DATA_DIR names, then the user's cache, into which the official binary archive
            (161 MB) is downloaded if neither has it.

    Raises:
        FileNotFoundError: no CIFAR-100 in `data_dir`, or one of its files is missing.
        ValueError: a file has the wrong size or labels; another `label_mode`.
        DatasetUnavailable: it is not on disk and cannot be downloaded.
    """
    check_choice("label_mode", label_mode, ("fine", "coarse"))

    def look(directory: Path) -> Path | None:
        folders = (directory, directory / _FOLDER, directory / _PYTHON_FOLDER)
        return next((f for f in folders if _file(f, "train") or _file(f, "test")), None)

    def download(cache: Path) -> None:
        sizes = {f"{part}.bin": n * (2 + 3072) for part, n in _IMAGES.items()}
        fetch.download_archive(_URL, _MD5, cache / _FOLDER, sizes)

    contents = (
        f"train.bin and test.bin (or train and test), or a folder {_FOLDER} or {_PYTHON_FOLDER} "
        f"with them"
    )
    name = f"folder {_FOLDER}"
    folder = find("CIFAR-100", data_dir, look, name, contents, _URL, download)
    return _read(folder, "train", label_mode), _read(folder, "test", label_mode)


def _file(folder: Path, part: str) -> Path | None:
    """The file of a part in either format."""
    # "train" is a common name: only in the folder of the python format does it say anything
    names = [f"{part}.bin"] + [part] * (folder.name == _PYTHON_FOLDER)
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _read(folder: Path, part: str, label_mode: str) -> Split:
    path = _file(folder, part)
    if path is None:
        raise FileNotFoundError(f"{folder} lacks {part}.bin; it should hold train.bin and test.bin")
    if path.suffix == ".bin":
        both, pixels = read_records("CIFAR-100", path, _IMAGES[part], labels=2)
        labels = both[:, int(label_mode == "fine")]  # the group comes first
    else:
        labels, pixels = read_batch(path, f"{label_mode}_labels")
    if len(labels) != _IMAGES[part]:
        raise ValueError(f"{path} holds {len(labels):,} images, {_IMAGES[part]:,} were expected")
    names = CLASS_NAMES if label_mode == "fine" else COARSE_CLASS_NAMES
    check_labels("CIFAR-100", path, labels, len(names))
    return np.ascontiguousarray(from_planes(pixels)), labels[:, None].copy()
