"""What `ImageDataGenerator.flow` and `.flow_from_directory` return: endless batches.

`len(iterator)` batches make an epoch; after the last one the iterator starts again, in a new
order if it shuffles. `fit`, `evaluate` and `predict` ask for batches by number, so where `next` has
come to does not matter to them. Each batch has its own random generator, seeded by the iterator's
seed and by the number of batches before it. So results do not depend on who asks for batches when,
and two iterators with the same seed (images and their masks, say) transform alike.
"""

import io
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from minicnn import random
from minicnn.preprocessing import files
from minicnn.typing import Array

if TYPE_CHECKING:
    from minicnn.preprocessing.image import ImageDataGenerator

Batch = np.ndarray | tuple[np.ndarray, ...]  # x, or (x, y), or (x, y, sample_weight)

SUBSETS = ("training", "validation", None)


class Iterator:
    """Endless batches of `n` samples; subclasses say how a batch is made from indices.

    Args:
        n: how many samples there are.
        generator: what transforms and normalises the images.
        batch_size, shuffle, seed, save_to_dir, save_prefix, save_format: see
            `ImageDataGenerator.flow`.

    Raises:
        ValueError: no samples, or a `batch_size` that is not an integer above 0.
        FileNotFoundError: `save_to_dir` is not a directory.
    """

    def __init__(
        self,
        n: int,
        generator: "ImageDataGenerator",
        batch_size: int = 32,
        shuffle: bool = True,
        seed: int | None = None,
        save_to_dir: files.PathLike | None = None,
        save_prefix: str = "",
        save_format: str = "png",
    ):
        if n < 1:
            raise ValueError("there are no images to make batches of")
        if int(batch_size) != batch_size or batch_size < 1:
            raise ValueError(f"batch_size should be an integer from 1 on, not {batch_size!r}")
        if save_to_dir is not None and not os.path.isdir(save_to_dir):
            raise FileNotFoundError(f"save_to_dir {str(save_to_dir)!r} is not a directory")
        self.n = n
        self.batch_size = int(batch_size)
        self.shuffle = shuffle
        self.seed = seed
        self.image_data_generator = generator
        self.save_to_dir = save_to_dir
        self.save_prefix = save_prefix
        self.save_format = save_format
        self.batch_index = 0
        self.total_batches_seen = 0
        self._root = int(random.host_generator().integers(2**63)) if seed is None else int(seed)
        self._order: np.ndarray | None = None
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Batches in an epoch; the last may be smaller."""
        return -(-self.n // self.batch_size)

    def __iter__(self) -> "Iterator":
        return self

    def __next__(self) -> Batch:
        with self._lock:
            rng = self._next_rng()
            if self.batch_index == 0 or self._order is None:
                self._order = self._new_order(rng)
            indices = self._indices(self._order, self.batch_index)
            self.batch_index = (self.batch_index + 1) % len(self)
        return self._finish(indices, rng)

    def __getitem__(self, index: int) -> Batch:
        """Batch `index` of the current order, freshly transformed."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"batch {index} of an iterator of {len(self)} batches")
        with self._lock:
            rng = self._next_rng()
            if self._order is None:
                self._order = self._new_order(rng)
            indices = self._indices(self._order, index % len(self))
        return self._finish(indices, rng)

    def next(self) -> Batch:
        """The next batch, as `next(iterator)` gives it."""
        return next(self)

    def reset(self) -> None:
        """Start a new epoch with the next batch."""
        self.batch_index = 0

    def on_epoch_end(self) -> None:
        """After a pass over the batches by number: the next one has a new order."""
        with self._lock:
            self.batch_index, self._order = 0, None

    def _next_rng(self) -> np.random.Generator:
        rng = np.random.default_rng([self._root, self.total_batches_seen])
        self.total_batches_seen += 1
        return rng

    def _new_order(self, rng: np.random.Generator) -> np.ndarray:
        return rng.permutation(self.n) if self.shuffle else np.arange(self.n)

    def _indices(self, order: np.ndarray, batch: int) -> np.ndarray:
        return order[batch * self.batch_size : (batch + 1) * self.batch_size]

    def _finish(self, indices: np.ndarray, rng: np.random.Generator) -> Batch:
        images = self.image_data_generator.random_batch(self._images(indices), rng)
        if self.save_to_dir is not None:
            self._save(images, indices, rng)
        return self._with_targets(images, indices)

    def _save(self, images: np.ndarray, indices: np.ndarray, rng: np.random.Generator) -> None:
        for image, index in zip(images, indices, strict=True):
            name = f"{self.save_prefix}_{index}_{rng.integers(10**7)}.{self.save_format}"
            encoded = io.BytesIO()  # a new name each time: there is nothing to be replaced
            files.save_img(encoded, image, file_format=self.save_format)
            (Path(self.save_to_dir or ".") / name).write_bytes(encoded.getbuffer())

    def _images(self, indices: np.ndarray) -> np.ndarray:
        """The untransformed images (len(indices), height, width, channels), a fresh array."""
        raise NotImplementedError

    def _with_targets(self, images: np.ndarray, indices: np.ndarray) -> Batch:
        raise NotImplementedError


class NumpyArrayIterator(Iterator):
    """Batches from arrays in memory. Images stay in their dtype (uint8, say) until a batch is made.

    Args:
        x, y, sample_weight, subset, ignore_class_split: see `ImageDataGenerator.flow`.
        generator, options: see `Iterator`.
    """

    def __init__(
        self,
        x: Array,
        y: Array | None,
        generator: "ImageDataGenerator",
        sample_weight: Array | None = None,
        subset: str | None = None,
        ignore_class_split: bool = False,
        **options: Any,
    ):
        x = np.asarray(x)
        if x.ndim != 4:
            raise ValueError(f"images should be (n, height, width, channels), not {x.shape}")
        y = None if y is None else np.asarray(y)
        weight = None if sample_weight is None else np.asarray(sample_weight)
        for name, values in (("y", y), ("sample_weight", weight)):
            if values is not None and len(values) != len(x):
                raise ValueError(f"x has {len(x)} images, but {name} has length {len(values)}")
        if weight is not None and y is None:
            raise ValueError("sample_weight was given without y")
        files.check_choice("subset", subset, SUBSETS)
        if subset is not None:
            cut = int(len(x) * generator.checked_validation_split())
            if y is not None and not ignore_class_split:
                if not np.array_equal(np.unique(y[:cut], axis=0), np.unique(y[cut:], axis=0)):
                    raise ValueError(
                        "training and validation would not have the same classes: the first "
                        f"{cut} of {len(x)} samples are for validation; shuffle the arrays, or "
                        "pass ignore_class_split=True"
                    )
            chosen = slice(cut) if subset == "validation" else slice(cut, None)
            x, y = x[chosen], None if y is None else y[chosen]
            weight = None if weight is None else weight[chosen]
        self.x, self.y, self.sample_weight = x, y, weight
        super().__init__(len(x), generator, **options)

    def _images(self, indices: np.ndarray) -> np.ndarray:
        return self.x[indices].astype(self.image_data_generator.dtype, copy=False)

    def _with_targets(self, images: np.ndarray, indices: np.ndarray) -> Batch:
        if self.y is None:
            return images
        if self.sample_weight is None:
            return images, self.y[indices]
        return images, self.y[indices], self.sample_weight[indices]


class FilesIterator(Iterator):
    """Batches read from image files.

    Args:
        filenames: of the images, below `directory`.
        directory: where they are; None for the current one.
        classes: the label of each image, or a list of its labels; None without classes.
        class_indices: {name of a class: its label}.
        generator, options: see `Iterator`.
        target_size, color_mode, class_mode, interpolation, keep_aspect_ratio: see
            `ImageDataGenerator.flow_from_directory`.
        targets: for class modes "raw" and "multi_output": arrays (n, ...).
        sample_weight: (n,) or None.

    Attributes:
        filepaths, filenames, classes: path, path below `directory`, and label of each sample.
        labels: the same as `classes`, or what stands in their place.
    """

    def __init__(
        self,
        filenames: Sequence[str],
        directory: files.PathLike | None,
        classes: Any,
        class_indices: dict[str, int],
        generator: "ImageDataGenerator",
        target_size: tuple[int, int] = (256, 256),
        color_mode: str = "rgb",
        class_mode: str | None = "categorical",
        interpolation: str = "nearest",
        keep_aspect_ratio: bool = False,
        targets: Any = None,
        sample_weight: np.ndarray | None = None,
        **options: Any,
    ):
        files.check_choice("color_mode", color_mode, files.CHANNELS)
        self.directory = directory
        self.filenames = list(filenames)
        self.filepaths = [Path(directory or "") / name for name in filenames]
        self.samples = len(self.filepaths)
        self.target_size = files.image_size("target_size", target_size)
        self.image_shape = (*self.target_size, files.CHANNELS[color_mode])
        self.color_mode = color_mode
        self.class_mode = class_mode
        self.class_indices = class_indices
        self.num_classes = len(class_indices)
        self.classes = classes
        self.labels = classes if targets is None else targets
        self.sample_weight = sample_weight
        fit = "crop" if keep_aspect_ratio else "stretch"
        self._reading: dict[str, Any] = {"interpolation": interpolation, "fit": fit}
        super().__init__(self.samples, generator, **options)

    def _images(self, indices: np.ndarray) -> np.ndarray:
        paths = [self.filepaths[i] for i in indices]
        dtype = self.image_data_generator.dtype
        return files.read_batch(paths, self.target_size, self.color_mode, dtype, **self._reading)

    def _with_targets(self, images: np.ndarray, indices: np.ndarray) -> Batch:
        dtype = self.image_data_generator.dtype
        targets: Any
        match self.class_mode:
            case None:
                return images
            case "input":
                targets = images.copy()
            case "sparse" | "raw":
                targets = self.labels[indices]
            case "binary":
                targets = self.labels[indices].astype(dtype)
            case "multi_output":
                targets = [of_output[indices] for of_output in self.labels]
            case _:
                targets = np.zeros((len(indices), self.num_classes), dtype)
                for row, index in zip(targets, indices, strict=True):
                    row[self.labels[index]] = 1  # one label or a list of them
        if self.sample_weight is None:
            return images, targets
        return images, targets, self.sample_weight[indices]


class DirectoryIterator(FilesIterator):
    """Batches read from a directory with one subdirectory of image files per class.

    Args:
        directory, classes, class_mode, follow_links, subset: see
            `ImageDataGenerator.flow_from_directory`.
        generator, options: see `FilesIterator`.
    """

    def __init__(
        self,
        directory: files.PathLike,
        generator: "ImageDataGenerator",
        classes: Sequence[str] | None = None,
        class_mode: str | None = "categorical",
        follow_links: bool = False,
        subset: str | None = None,
        **options: Any,
    ):
        modes = ("categorical", "binary", "sparse", "input", None)
        files.check_choice("class_mode", class_mode, modes)
        files.check_choice("subset", subset, SUBSETS)
        names, by_class = files.list_class_files(directory, classes, follow_links)
        if class_mode == "binary" and len(names) != 2:
            raise ValueError(f"class_mode 'binary' is for 2 classes, {directory} has {len(names)}")
        if subset is not None:
            split = generator.checked_validation_split()
            cuts = [int(split * len(paths)) for paths in by_class]
            by_class = [
                paths[:cut] if subset == "validation" else paths[cut:]
                for paths, cut in zip(by_class, cuts, strict=True)
            ]
        labels = np.repeat(np.arange(len(names), dtype=np.int32), [len(p) for p in by_class])
        filenames = [os.path.relpath(path, directory) for paths in by_class for path in paths]
        indices = {name: label for label, name in enumerate(names)}
        super().__init__(
            filenames, directory, labels, indices, generator, class_mode=class_mode, **options
        )
        print(f"Found {self.samples} images belonging to {self.num_classes} classes.")
