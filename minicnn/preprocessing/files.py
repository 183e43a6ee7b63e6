"""Image files: read, resize, write, and list by class. Pillow does the decoding."""

import io
import os
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from minicnn.registry import near_matches
from minicnn.typing import Array

PathLike = str | os.PathLike[str]

IMAGE_SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".bmp", ".gif", ".ppm", ".tif", ".tiff", ".webp",
)  # fmt: skip

CHANNELS = {"rgb": 3, "rgba": 4, "grayscale": 1}
_MODES = {"rgb": "RGB", "rgba": "RGBA", "grayscale": "L"}
RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "hamming": Image.Resampling.HAMMING,
    "box": Image.Resampling.BOX,
    "lanczos": Image.Resampling.LANCZOS,
}


def check_choice(argument: str, value: Any, known: Iterable[Any]) -> None:
    """Raise ValueError, with the near matches, unless `value` is one of `known`.

    Args:
        argument: its name, for the message.
        value: what was given.
        known: all that it may be; None among them is allowed, too.
    """
    known = list(known)
    if value not in known:
        names = [k for k in known if k is not None]
        also = " or None" if None in known else ""
        raise ValueError(f"unknown {argument} {value!r}; {near_matches(str(value), names)}{also}")


def load_img(
    path: PathLike | io.BytesIO,
    color_mode: str = "rgb",
    target_size: tuple[int, int] | None = None,
    interpolation: str = "nearest",
    keep_aspect_ratio: bool = False,
) -> Image.Image:
    """Read an image file as a Pillow image.

    Args:
        path: the file, or its bytes in a BytesIO.
        color_mode: "rgb", "rgba" or "grayscale"; the image is converted to it.
        target_size: (height, width) to resize to; default: the size of the file's image.
        interpolation: "nearest", "bilinear", "bicubic", "hamming", "box" or "lanczos".
        keep_aspect_ratio: crop to the centre first, to the target's proportions.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a readable image, or an unknown `color_mode` or `interpolation`.
    """
    check_choice("color_mode", color_mode, _MODES)
    check_choice("interpolation", interpolation, RESAMPLING)
    source = path if isinstance(path, io.BytesIO) else io.BytesIO(Path(path).read_bytes())
    try:
        with Image.open(source) as opened:
            image = opened.convert(_MODES[color_mode])
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        name = "the given bytes" if path is source else str(path)
        unknown = isinstance(error, UnidentifiedImageError)  # its own text names our BytesIO
        reason = "Pillow does not know its format" if unknown else error
        raise ValueError(f"{name} cannot be read as an image: {reason}") from error
    if target_size is None:
        return image
    height, width = target_size
    if image.size == (width, height):
        return image
    box = _centre_box(image.size, (width, height)) if keep_aspect_ratio else None
    return image.resize((width, height), RESAMPLING[interpolation], box=box)


def _centre_box(size: tuple[int, int], target: tuple[int, int]) -> tuple[int, int, int, int]:
    """The largest centred (left, upper, right, lower) in `size` with the proportions of `target`,
    both (width, height)."""
    width, height = size
    box_width = min(width, height * target[0] // target[1])
    box_height = min(height, width * target[1] // target[0])
    left, upper = (width - box_width) // 2, (height - box_height) // 2
    return left, upper, left + box_width, upper + box_height


def img_to_array(img: Image.Image, dtype: Any = "float32") -> np.ndarray:
    """A Pillow image as an array (height, width, channels), values unchanged (0 to 255).

    Args:
        img: the image.
        dtype: of the array.

    Raises:
        ValueError: the array would not have 2 or 3 axes.
    """
    x = np.array(img, dtype=dtype)
    if x.ndim == 2:
        return x[..., None]
    if x.ndim != 3:
        raise ValueError(f"an image has 2 or 3 axes, this one has shape {x.shape}")
    return x


def array_to_img(x: Array, scale: bool = True) -> Image.Image:
    """An array (height, width, 1, 3 or 4 channels) as a Pillow image of 8 bits per channel.

    Args:
        x: the pixels.
        scale: stretch the values so that the smallest becomes 0 and the largest 255; without it
            they are levels from 0 to 255, and what lies outside is clipped.

    Raises:
        ValueError: the shape is not that of an image.
    """
    x = np.asarray(x, dtype="float32")
    if x.ndim != 3 or x.shape[-1] not in (1, 3, 4):
        raise ValueError(f"an image is (height, width, 1, 3 or 4 channels), not {x.shape}")
    if scale:
        x = x - x.min()
        x *= 255 / (x.max() or 1.0)
    levels = np.clip(x, 0, 255).astype(np.uint8)
    return Image.fromarray(levels[..., 0] if x.shape[-1] == 1 else levels)


def save_img(
    path: PathLike | io.BytesIO,
    x: Array,
    file_format: str | None = None,
    scale: bool = True,
    **kwargs: Any,
) -> None:
    """Write an array (height, width, channels) as an image file.

    Args:
        path: the file, or a BytesIO (which needs `file_format`).
        x, scale: see `array_to_img`.
        file_format: "png", "jpeg" ...; default: the suffix of the file's name.
        **kwargs: passed on to Pillow's `Image.save`, for example `quality=90`.
    """
    image = array_to_img(x, scale=scale)
    if file_format is None and not isinstance(path, io.BytesIO):
        file_format = Path(path).suffix[1:]
    if file_format is not None and file_format.lower() in ("jpg", "jpeg"):
        file_format = "jpeg"
        if image.mode == "RGBA":
            warnings.warn("JPEG has no transparency: saved as RGB", stacklevel=2)
            image = image.convert("RGB")
    image.save(path, format=file_format, **kwargs)


def list_class_files(
    directory: PathLike, class_names: Sequence[str] | None = None, follow_links: bool = False
) -> tuple[list[str], list[list[Path]]]:
    """The class names (names of subdirectories) and, for each, its image files in sorted order.

    Args:
        directory: holds one subdirectory per class, with image files at any depth.
        class_names: these subdirectories, in this order; default: all, sorted.
        follow_links: also enter directories that are symbolic links.

    Raises:
        FileNotFoundError: no such directory.
        ValueError: no subdirectories, no images in any, or a class without a subdirectory.
    """
    root = Path(directory)
    if not root.is_dir():
        raise FileNotFoundError(f"{str(root)!r} is not a directory")
    found = sorted(p.name for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    if not found:
        raise ValueError(f"{str(root)!r} has no subdirectories: one per class is needed")
    names = list(class_names) if class_names else found
    for name in names:
        check_choice(f"class (each needs a subdirectory of {str(root)!r})", name, found)
    files = [list_images(root / name, follow_links) for name in names]
    if not any(files):
        raise ValueError(
            f"no image files in the subdirectories of {str(root)!r}; "
            f"looked for names ending in {', '.join(IMAGE_SUFFIXES)}"
        )
    return names, files


def list_images(directory: PathLike, follow_links: bool = False) -> list[Path]:
    """All image files under `directory`, at any depth, sorted by path.

    Args:
        directory: where to look.
        follow_links: also enter directories that are symbolic links.
    """
    return [
        Path(folder) / name
        for folder, _, names in sorted(os.walk(directory, followlinks=follow_links))
        for name in sorted(names)
        if name.lower().endswith(IMAGE_SUFFIXES)
    ]


def read_batch(
    paths: Sequence[Path], size: tuple[int, int], color_mode: str, dtype: Any, **options: Any
) -> np.ndarray:
    """Image files as one array (n, height, width, channels).

    Args:
        paths: n files.
        size: (height, width) to which each image is resized.
        color_mode, options: see `load_img`.
        dtype: of the array.
    """
    batch = np.empty((len(paths), *size, CHANNELS[color_mode]), dtype)
    for i, path in enumerate(paths):
        batch[i] = img_to_array(load_img(path, color_mode, size, **options), dtype)
    return batch


def one_hot(labels: np.ndarray, classes: int, dtype: Any) -> np.ndarray:
    """Labels (n,) as rows (n, classes) with a single 1.

    Args:
        labels: integers below `classes`.
        classes: how many there are.
        dtype: of the rows.
    """
    rows = np.zeros((len(labels), classes), dtype)
    rows[np.arange(len(labels)), labels] = 1
    return rows
