"""What Keras scripts look for in `keras.utils`."""

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from minicnn.backend import clear_session
from minicnn.custom_objects import (
    CustomObjectScope,
    custom_object_scope,
    get_custom_objects,
    get_registered_name,
    get_registered_object,
    register_keras_serializable,
)
from minicnn.datasets.folder import image_dataset_from_directory
from minicnn.preprocessing.image import (
    array_to_img,
    img_to_array,
    load_img,
    save_img,
    smart_resize,
)  # fmt: skip
from minicnn.progress import (
    disable_interactive_logging,
    enable_interactive_logging,
    is_interactive_logging_enabled,
)
from minicnn.random import set_random_seed
from minicnn.saving.objects import deserialize_keras_object, serialize_keras_object
from minicnn.utils.batches import (
    pack_x_y_sample_weight,
    split_dataset,
    unpack_x_y_sample_weight,
)
from minicnn.utils.download import get_file
from minicnn.utils.model_plot import plot_model
from minicnn.utils.progbar import Progbar


def to_categorical(x: Any, num_classes: int | None = None) -> np.ndarray:
    """Class numbers to one-hot rows (N, num_classes), float32.

    Args:
        x: whole numbers (N,) or (N, 1).
        num_classes: default: the largest number plus one.

    Raises:
        ValueError: a number that is below 0, not below num_classes, or not whole.
    """
    labels = np.asarray(x)
    if labels.ndim > 1 and labels.shape[-1] == 1:
        labels = labels[..., 0]
    if labels.dtype.kind == "f" and (labels == np.floor(labels)).all():
        labels = labels.astype("int64")
    if labels.dtype.kind not in "iub":
        raise ValueError(f"class numbers are integers; got dtype {labels.dtype}")
    if labels.size == 0 and num_classes is None:
        raise ValueError("no class numbers were given; say num_classes for an empty array")
    classes = int(labels.max()) + 1 if num_classes is None else num_classes
    if labels.size and (labels.min() < 0 or labels.max() >= classes):
        raise ValueError(
            f"class numbers lie between {labels.min()} and {labels.max()}; with num_classes="
            f"{classes} they must be from 0 to {classes - 1}"
        )
    return np.eye(classes, dtype="float32")[labels.astype("int64")]


def normalize(x: Any, axis: int = -1, order: int = 2) -> np.ndarray:
    """`x` divided by its norm along an axis; rows of zeros stay.

    Args:
        x: an array.
        axis: the axis, or two for the norm of matrices.
        order: of the norm: 2 is the Euclidean one.
    """
    x = np.asarray(x)
    norm = np.linalg.norm(x, order, axis, keepdims=True)
    return x / np.where(norm == 0, 1, norm)


class PyDataset:
    """Batches by number, for `fit`. A subclass defines `__len__` and `__getitem__`:

        class Faces(PyDataset):
            def __len__(self):
                return math.ceil(len(self.paths) / 32)

            def __getitem__(self, index):
                return x, y  # batch number `index`

    `on_epoch_begin` is called before and `on_epoch_end` after each pass, for instance to shuffle.
    Keras's older name is `Sequence`.

    Args:
        workers: with more than one, so many threads make the next batches while one is trained on;
            they come in their order.
        use_multiprocessing: a warning says that threads are used, not processes.
        max_queue_size: how many batches may be made ahead.
    """

    workers, use_multiprocessing, max_queue_size = 1, False, 10  # without super().__init__()

    def __init__(
        self, workers: int = 1, use_multiprocessing: bool = False, max_queue_size: int = 10
    ):
        if use_multiprocessing:
            warnings.warn(
                "use_multiprocessing: batches are made in threads of this process, as many as "
                "workers says",
                stacklevel=2,
            )
        self.workers = workers
        self.use_multiprocessing = use_multiprocessing
        self.max_queue_size = max_queue_size

    def __len__(self) -> int:
        raise NotImplementedError(f"{type(self).__name__} does not define __len__")

    def __getitem__(self, index: int) -> Any:
        raise NotImplementedError(f"{type(self).__name__} does not define __getitem__(index)")

    @property
    def num_batches(self) -> int:
        """The same as its length."""
        return len(self)

    def on_epoch_begin(self) -> None:
        """Before each pass over the batches."""

    def on_epoch_end(self) -> None:
        """After each pass over the batches."""

    def __iter__(self) -> Iterator[Any]:
        for index in range(len(self)):
            yield self[index]


Sequence = PyDataset

__all__ = [
    "CustomObjectScope", "Progbar", "PyDataset", "Sequence", "array_to_img", "clear_session",
    "custom_object_scope", "deserialize_keras_object", "disable_interactive_logging",
    "enable_interactive_logging", "get_custom_objects", "get_file", "get_registered_name",
    "get_registered_object", "image_dataset_from_directory", "img_to_array",
    "is_interactive_logging_enabled", "load_img", "normalize", "pack_x_y_sample_weight",
    "plot_model", "register_keras_serializable", "save_img", "serialize_keras_object",
    "set_random_seed", "smart_resize", "split_dataset", "to_categorical",
    "unpack_x_y_sample_weight",
]  # fmt: skip
