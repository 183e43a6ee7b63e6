"""Your own images: a directory with one subdirectory of image files per class."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from minicnn import random
from minicnn.data import AUTOTUNE, Dataset
from minicnn.preprocessing import files


class ImageFolder(Dataset):
    """Batches (x, y) of image files, or x alone; each pass has an order of its own if it shuffles.

    x is float32 (batch, height, width, channels), 0 to 255; of 16 bits the upper 8. Threads read
    images ahead, two batches wait at most. The arguments up to `color_mode` are attributes, too.

    Args:
        file_paths: the image files.
        labels: the class of each file, (n,); None for images alone.
        class_names: the classes in the order of their labels.
        label_mode, batch_size, image_size, color_mode, shuffle, seed, data_format: see
            `image_dataset_from_directory`.
        reading: `interpolation` and `fit` of `files.read_batch`.
    """

    def __init__(
        self,
        file_paths: Sequence[Path],
        labels: np.ndarray | None,
        class_names: list[str] | None,
        label_mode: str | None,
        batch_size: int | None,
        image_size: tuple[int, int],
        color_mode: str,
        shuffle: bool = False,
        seed: int | None = None,
        data_format: str | None = None,
        **reading: Any,
    ):
        self.file_paths = list(file_paths)
        self.labels = labels
        self.class_names = class_names
        self.label_mode = label_mode
        self.batch_size = batch_size
        self.image_size = image_size
        self.color_mode = color_mode
        self._data_format = data_format
        self._reading = reading
        numbers = Dataset.range(len(self.file_paths))
        if shuffle:
            numbers = numbers.shuffle(len(self.file_paths), seed)
        images = numbers.map(self._read, AUTOTUNE)
        batches = images if batch_size is None else images.batch(batch_size)
        made = batches.map(self._finished).prefetch(AUTOTUNE)
        super().__init__(made._begin, len(made), [made])

    def _read(self, number: int) -> Any:
        """One image, in bytes, and its class."""
        path = self.file_paths[number]
        (x,) = files.read_batch(
            [path], self.image_size, self.color_mode, np.uint8, **self._reading, eight_bits=True
        )
        return x if self.labels is None else (x, self.labels[number])

    def _finished(self, x: np.ndarray, y: np.ndarray | None = None) -> Any:
        """The same for a batch, or for one image, as the user gets it."""
        x = x.astype(np.float32)
        if self._data_format == "channels_first":
            x = np.moveaxis(x, -1, -3)
        if y is None:
            return x
        if self.label_mode == "binary":
            return x, np.asarray(y, np.float32)[..., None]
        if self.label_mode == "categorical":
            one_hot = np.arange(len(self.class_names or ())) == np.asarray(y)[..., None]
            return x, one_hot.astype(np.float32)
        return x, y


def image_dataset_from_directory(
    directory: files.PathLike,
    labels: str | Sequence[int] | None = "inferred",
    label_mode: str | None = "int",
    class_names: Sequence[str] | None = None,
    color_mode: str = "rgb",
    batch_size: int | None = 32,
    image_size: int | tuple[int, int] = (256, 256),
    shuffle: bool = True,
    seed: int | None = None,
    validation_split: float | None = None,
    subset: str | None = None,
    interpolation: str = "bilinear",
    follow_links: bool = False,
    crop_to_aspect_ratio: bool = False,
    pad_to_aspect_ratio: bool = False,
    data_format: str | None = None,
    format: str = "tf",
    verbose: bool = True,
) -> ImageFolder | tuple[ImageFolder, ImageFolder]:
    """Batches of the images in `directory`, like `keras.utils.image_dataset_from_directory`.

    Args:
        directory: holds one subdirectory per class, with image files at any depth.
        labels: "inferred" from the subdirectories; or one integer per file, in sorted order; or
            None for images alone, in whichever subdirectories.
        label_mode: "int" (int32 (n,)), "categorical" (one-hot (n, classes)), "binary" ((n, 1), two
            classes) or None for images alone.
        class_names: the subdirectories to use, in the order of their labels; default: all, sorted.
        color_mode: "rgb", "rgba" or "grayscale".
        batch_size: images per batch; the last may have fewer. None for images one by one.
        image_size: (height, width) to which every image is resized, or one number for both.
        shuffle: a new order for each epoch.
        seed: fixes the order and the split.
        validation_split: the fraction of the files that is kept back; drawn at random if `shuffle`.
        subset: "training" or "validation", one side of the split; "both" for the pair of them.
        interpolation: as in `load_img`; images that become smaller are averaged over.
        follow_links: also enter directories that are symbolic links.
        crop_to_aspect_ratio: crop to the centre instead of distorting.
        pad_to_aspect_ratio: put black bars on two sides instead.
        data_format: "channels_first" for (batch, channels, height, width); default: channels last.
        format: "tf", for this library's `Dataset`; "grain" is not supported.
        verbose: print how many files were found.

    Returns:
        An `ImageFolder`, or two for subset="both".

    Raises:
        FileNotFoundError: no such directory.
        ValueError: no images, or arguments that do not fit; the message says which.
    """
    files.check_choice("label_mode", label_mode, ("int", "categorical", "binary", None))
    files.check_choice("color_mode", color_mode, files.CHANNELS)
    interpolation = interpolation.lower()
    files.check_choice("interpolation", interpolation, files.RESAMPLING)
    files.check_choice("data_format", data_format, files.DATA_FORMATS)
    files.check_choice("format", format, ("tf",))
    if batch_size is not None and (int(batch_size) != batch_size or batch_size < 1):
        raise ValueError(f"batch_size should be an integer from 1 on, not {batch_size!r}")
    if crop_to_aspect_ratio and pad_to_aspect_ratio:
        raise ValueError("give crop_to_aspect_ratio or pad_to_aspect_ratio, not both")
    both = isinstance(image_size, int)
    size = files.image_size("image_size", (image_size, image_size) if both else image_size)
    if label_mode is None:
        labels = None
    _check_split(validation_split, subset, shuffle, seed)
    paths, targets, names = _indexed(directory, labels, class_names, follow_links)
    if label_mode == "binary" and names is not None and len(names) != 2:
        raise ValueError(f"label_mode 'binary' is for 2 classes, found {len(names)}: {names}")
    if verbose:
        classes = "" if names is None else f" belonging to {len(names)} classes"
        print(f"Found {len(paths)} files{classes}.")

    order = np.arange(len(paths))
    if shuffle and subset is not None:  # each pass has an order of its own in any case
        order = random.host_generator(seed).permutation(order)

    def folder_of(chosen: np.ndarray, side: str = "", shuffle: bool = shuffle) -> ImageFolder:
        if not len(chosen):
            raise ValueError(
                f"validation_split={validation_split} of {len(paths)} files leaves no image for "
                "training or none for validation"
            )
        if verbose and side:
            print(f"Using {len(chosen)} files for {side}.")
        return ImageFolder(
            [paths[i] for i in chosen],
            None if targets is None else targets[chosen],
            names,
            None if targets is None else label_mode,
            batch_size and int(batch_size),
            size,
            color_mode,
            shuffle,
            seed,
            data_format,
            interpolation=interpolation,
            fit="crop" if crop_to_aspect_ratio else "pad" if pad_to_aspect_ratio else "stretch",
        )

    if subset is None:
        return folder_of(order)
    cut = len(paths) - int((validation_split or 0) * len(paths))
    if subset == "both":  # of which, as in Keras, the second keeps its order
        return folder_of(order[:cut], "training"), folder_of(order[cut:], "validation", False)
    return folder_of(order[:cut] if subset == "training" else order[cut:], subset)


def _check_split(
    validation_split: float | None, subset: str | None, shuffle: bool, seed: int | None
) -> None:
    files.check_choice("subset", subset, ("training", "validation", "both", None))
    if (validation_split is None) != (subset is None):
        raise ValueError(
            f"validation_split={validation_split!r} and subset={subset!r}: give both or neither"
        )
    if validation_split is not None and not 0 < validation_split < 1:
        raise ValueError(f"validation_split should be between 0 and 1, not {validation_split!r}")
    if subset in ("training", "validation") and shuffle and seed is None:
        raise ValueError(
            "give a seed: without one the training and the validation images would be drawn "
            "separately and overlap"
        )


def _indexed(
    directory: files.PathLike,
    labels: str | Sequence[int] | None,
    class_names: Sequence[str] | None,
    follow_links: bool,
) -> tuple[list[Path], np.ndarray | None, list[str] | None]:
    """All files, the label of each, the class names."""
    if isinstance(labels, str):
        files.check_choice("labels", labels, ("inferred", None))
        names, by_class = files.list_class_files(directory, class_names, follow_links)
        counts = [len(paths) for paths in by_class]
        targets = np.repeat(np.arange(len(names), dtype=np.int32), counts)
        return [path for paths in by_class for path in paths], targets, names
    if class_names is not None:
        raise ValueError("class_names is only for labels='inferred'")
    if not Path(directory).is_dir():
        raise FileNotFoundError(f"{str(directory)!r} is not a directory")
    paths = files.list_images(directory, follow_links)
    if not paths:
        raise ValueError(f"no image files in {str(directory)!r}")
    if labels is None:
        return paths, None, None
    if len(labels) != len(paths):
        raise ValueError(f"{len(labels)} labels were given for {len(paths)} files in {directory}")
    targets = np.asarray(labels)
    if targets.ndim != 1 or targets.dtype.kind not in "iu" or targets.min() < 0:
        raise ValueError("labels should be a flat list of integers from 0 on, one per file")
    return paths, targets.astype(np.int32), [str(v) for v in range(targets.max() + 1)]
