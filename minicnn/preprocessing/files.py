"""Image files: read, resize, write, and list by class. Pillow does the decoding."""

import io
import os
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from minicnn import backend
from minicnn.files import atomic_write
from minicnn.registry import near_matches
from minicnn.typing import Array

PathLike = str | os.PathLike[str]

IMAGE_SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".bmp", ".gif", ".ppm", ".tif", ".tiff", ".webp",
)  # fmt: skip

DATA_FORMATS = ("channels_last", "channels_first", None)
CHANNELS = {"rgb": 3, "rgba": 4, "grayscale": 1}
_MODES = {"rgb": "RGB", "rgba": "RGBA", "grayscale": "L"}
RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "hamming": Image.Resampling.HAMMING,
    "box": Image.Resampling.BOX,
    "lanczos": Image.Resampling.LANCZOS,
    "area": Image.Resampling.BOX,  # these two are Keras's names
    "lanczos3": Image.Resampling.LANCZOS,
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

    Of grey images with more than 8 bits, "grayscale" keeps the values, as Keras does. "rgb" and
    "rgba" have 8 bits: they take the upper 8 of 16, and other values only if they fit as they are.

    A picture of more pixels than `PIL.Image.MAX_IMAGE_PIXELS` (89 million) is refused, before it
    takes memory, unless it is a JPEG that `target_size` lets be decoded at a smaller scale.

    Args:
        path: the file, or its bytes in a BytesIO.
        color_mode: "rgb", "rgba" or "grayscale"; the image is converted to it.
        target_size: (height, width) to resize to; default: the size of the file's image.
        interpolation: "nearest", "bilinear", "bicubic", "hamming", "box" or "lanczos".
        keep_aspect_ratio: crop to the centre first, to the target's proportions.

    Raises:
        FileNotFoundError: no such file.
        OSError: a device, a pipe, or a file that may not be read.
        ValueError: not a readable image, one of too many pixels, or of values that `color_mode`
            cannot hold; an unknown `color_mode` or `interpolation`.
    """
    fit = "crop" if keep_aspect_ratio else "stretch"
    return _load(path, color_mode, target_size, interpolation, fit)


def _load(
    path: PathLike | io.BytesIO,
    color_mode: str,
    target_size: tuple[int, int] | None,
    interpolation: str,
    fit: str,
    eight_bits: bool = False,
) -> Image.Image:
    """The same as `load_img`, with the arguments of `read_batch`."""
    check_choice("color_mode", color_mode, _MODES)
    check_choice("interpolation", interpolation, RESAMPLING)
    size = None if target_size is None else image_size("target_size", target_size)[::-1]
    source = path if isinstance(path, io.BytesIO) else _bytes_of(Path(path))
    try:
        with Image.open(source) as opened:
            if opened.format == "EPS":  # Pillow would have Ghostscript run it
                raise ValueError("it is PostScript, which is a program; convert it to PNG first")
            _limit_pixels(opened, size)
            wide = opened.mode in ("I", "F") or opened.mode.startswith("I;16")
            if wide and (eight_bits or color_mode != "grayscale"):
                image = _with_8_bits(opened).convert(_MODES[color_mode])
            elif wide:
                image = opened.convert("F" if opened.mode == "F" else "I")
            else:
                image = opened.convert(_MODES[color_mode])
        if size is None or image.size == size:
            return image
        if fit == "pad":
            return _padded(image, size, RESAMPLING[interpolation])
        box = _centre_box(image.size, size) if fit == "crop" else None
        return image.resize(size, RESAMPLING[interpolation], box=box)
    except Exception as error:  # Pillow's decoders raise nearly anything
        name = "the given bytes" if path is source else str(path)
        reason = str(error) or type(error).__name__
        if isinstance(error, UnidentifiedImageError):  # its own text names our BytesIO
            reason = "Pillow does not know its format"
        raise ValueError(f"{name} cannot be read as an image: {reason}") from error


def _bytes_of(path: Path) -> io.BytesIO:
    if not path.is_file() and not path.is_dir() and path.exists():  # which may never end
        raise OSError(f"{str(path)!r} is a device or a pipe; give an image file, or its bytes")
    return io.BytesIO(path.read_bytes())


def image_size(argument: str, value: Any) -> tuple[int, int]:
    """(height, width) from what the user gave.

    Args:
        argument: its name, for the message.
        value: what was given.

    Raises:
        ValueError: not two integers above 0.
    """
    pair = value if isinstance(value, (tuple, list)) else ()
    if len(pair) != 2 or not all(int(v) == v and v > 0 for v in pair):
        raise ValueError(
            f"{argument} is (height, width), two integers from 1 on, such as (32, 32); got "
            f"{value!r}"
        )
    return int(pair[0]), int(pair[1])


def _limit_pixels(image: Image.Image, size: tuple[int, int] | None) -> None:
    """Raise a ValueError for more pixels than Pillow's limit; JPEGs are first set to be decoded at
    a scale near `size`."""
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and size is not None and image.width * image.height > limit:
        image.draft(None, size)
    if limit is not None and image.width * image.height > limit:
        raise ValueError(
            f"its {image.width:,} x {image.height:,} pixels are more than the limit of {limit:,}, "
            f"which is there against files made to fill the memory; make it smaller, or set "
            f"PIL.Image.MAX_IMAGE_PIXELS, if you trust it"
        )


def _with_8_bits(image: Image.Image) -> Image.Image:
    """A grey image of mode I;16, I or F as one of mode L: never cut off, never rounded."""
    values = np.asarray(image)
    scaled = image.mode == "I" and image.format == "PPM"  # by Pillow, to 16 bits
    if scaled or image.mode.startswith("I;16"):
        return Image.fromarray((values >> 8).astype(np.uint8))
    levels = np.clip(np.nan_to_num(values), 0, 255).astype(np.uint8)
    if not np.array_equal(levels, values):
        raise ValueError(
            f"its pixels are numbers from {values.min():g} to {values.max():g}, which do not fit "
            f"the 8 bits, 0 to 255, of this color_mode; load_img(..., color_mode='grayscale') "
            f"keeps them: bring them to 0 to 255 and save them again"
        )
    return Image.fromarray(levels)


def _centre_box(size: tuple[int, int], target: tuple[int, int]) -> tuple[int, int, int, int]:
    """The largest centred (left, upper, right, lower) in `size` with the proportions of `target`,
    both (width, height)."""
    width, height = size
    box_width = max(1, min(width, height * target[0] // target[1]))
    box_height = max(1, min(height, width * target[1] // target[0]))
    left, upper = (width - box_width) // 2, (height - box_height) // 2
    return left, upper, left + box_width, upper + box_height


def _padded(image: Image.Image, size: tuple[int, int], resample: Image.Resampling) -> Image.Image:
    """The whole image in its proportions in the middle of a black one of `size`."""
    shrunk = max(image.width / size[0], image.height / size[1])
    inner = [max(1, int(length / shrunk)) for length in image.size]
    canvas = Image.new(image.mode, size, 0)
    left, upper = ((whole - part) // 2 for whole, part in zip(size, inner, strict=True))
    canvas.paste(image.resize((inner[0], inner[1]), resample), (left, upper))
    return canvas


def img_to_array(img: Image.Image, data_format: str | None = None, dtype: Any = None) -> np.ndarray:
    """A Pillow image as an array (height, width, channels), values unchanged (0 to 255).

    Args:
        img: the image.
        data_format: "channels_first" for (channels, height, width); default: "channels_last".
        dtype: of the array; default: `backend.floatx()`.

    Raises:
        ValueError: the array would not have 2 or 3 axes, or an integer `dtype` cannot hold the
            image's values.
    """
    check_choice("data_format", data_format, DATA_FORMATS)
    values = np.asarray(img)
    x = np.array(values, dtype=backend.floatx() if dtype is None else dtype)
    if x.dtype.kind in "iu" and not np.array_equal(x, values):
        raise ValueError(
            f"the image's values, {values.min():g} to {values.max():g}, do not fit into dtype "
            f"{x.dtype}; take float32"
        )
    if x.ndim not in (2, 3):
        raise ValueError(f"an image has 2 or 3 axes, this one has shape {x.shape}")
    x = x[..., None] if x.ndim == 2 else x
    return x.transpose(2, 0, 1) if data_format == "channels_first" else x


def array_to_img(
    x: Array, data_format: str | None = None, scale: bool = True, dtype: Any = None
) -> Image.Image:
    """An array (height, width, 1, 3 or 4 channels) as a Pillow image of 8 bits per channel.

    Args:
        x: the pixels.
        data_format: as for `img_to_array`.
        scale: stretch the values so that the smallest becomes 0 and the largest 255; without it
            they are levels from 0 to 255, and what lies outside is clipped.
        dtype: in which to compute; default: `backend.floatx()`.

    Raises:
        ValueError: the shape is not that of an image.
    """
    check_choice("data_format", data_format, DATA_FORMATS)
    x = np.asarray(x, dtype=backend.floatx() if dtype is None else dtype)
    if data_format == "channels_first" and x.ndim == 3:
        x = x.transpose(1, 2, 0)
    if x.ndim != 3 or x.shape[-1] not in (1, 3, 4):
        raise ValueError(f"an image is (height, width, 1, 3 or 4 channels), not {x.shape}")
    if scale:
        x = x - x.min()
        x = x / (x.max() or 1) * 255
    levels = np.clip(x, 0, 255).astype(np.uint8)
    return Image.fromarray(levels[..., 0] if x.shape[-1] == 1 else levels)


def smart_resize(
    x: Array,
    size: tuple[int, int],
    interpolation: str = "bilinear",
    data_format: str | None = "channels_last",
    backend_module: Any = None,
) -> np.ndarray:
    """The largest centred part of an image in the proportions of `size`, resized to it.

    Args:
        x: (height, width, channels), or (n, height, width, channels). Integers become numbers of
            floating point.
        size: (height, width).
        interpolation: "nearest", "bilinear", "bicubic", "lanczos3" or "lanczos5", between pixels:
            what becomes smaller is not averaged over.
        data_format: "channels_first" for (channels, height, width), or "channels_last".
        backend_module: not used: the result is a NumPy array.

    Raises:
        ValueError: x is no image.
    """
    from minicnn.kernels.resampling import INTERPOLATIONS, Axis, resample

    check_choice("interpolation", interpolation, INTERPOLATIONS)
    check_choice("data_format", data_format, DATA_FORMATS)
    target = image_size("size", size)
    x = backend.to_numpy(x)
    if x.ndim not in (3, 4):
        raise ValueError(f"an image has 3 axes and a batch of them 4, this has shape {x.shape}")
    if data_format == "channels_first":
        return np.moveaxis(smart_resize(np.moveaxis(x, -3, -1), size, interpolation), -1, -3)
    height, width = x.shape[-3:-1]
    left, upper, right, lower = _centre_box((width, height), target[::-1])
    x = x[..., upper:lower, left:right, :]
    batch = x if x.ndim == 4 else x[None]
    axes = [Axis(interpolation, n, out) for n, out in zip(batch.shape[1:3], target, strict=True)]
    y = resample(batch if x.dtype.kind == "f" else batch.astype(backend.floatx()), *axes)
    return y if x.ndim == 4 else y[0]


def save_img(
    path: PathLike | io.BytesIO,
    x: Array,
    data_format: str | None = None,
    file_format: str | None = None,
    scale: bool = True,
    **kwargs: Any,
) -> None:
    """Write an array (height, width, channels) as an image file.

    Args:
        path: the file, or a file object such as a BytesIO (which needs `file_format`). A file that
            is there already is replaced by the whole new one or stays as it is.
        x, data_format, scale: see `array_to_img`.
        file_format: "png", "jpeg" ...; default: the suffix of the file's name.
        **kwargs: passed on to Pillow's `Image.save`, for example `quality=90`.

    Raises:
        OSError: the file cannot be written; one that was there stays.
    """
    image = array_to_img(x, data_format, scale)
    if file_format is None and not hasattr(path, "write"):
        file_format = Path(path).suffix[1:]
    if file_format is not None and file_format.lower() in ("jpg", "jpeg"):
        file_format = "jpeg"
        if image.mode == "RGBA":
            warnings.warn("JPEG has no transparency: saved as RGB", stacklevel=2)
            image = image.convert("RGB")
    if hasattr(path, "write"):
        image.save(path, format=file_format, **kwargs)
        return
    with atomic_write(path) as temporary:
        image.save(temporary, format=file_format, **kwargs)


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
    """All image files under `directory`, at any depth, sorted by path. Pipes and devices are none.

    Args:
        directory: where to look.
        follow_links: also enter directories that are symbolic links; each directory once.
    """
    entered: set[tuple[int, int]] = set()
    found: list[tuple[str, str]] = []
    folders = [os.fspath(directory)]
    for folder in folders:
        if follow_links:  # which may lead back to where they came from
            status = os.stat(folder)
            if (status.st_dev, status.st_ino) in entered:
                continue
            entered.add((status.st_dev, status.st_ino))
        with os.scandir(folder) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                if entry.is_dir(follow_symlinks=follow_links):
                    folders.append(entry.path)
                elif entry.name.lower().endswith(IMAGE_SUFFIXES):
                    # a broken link is listed: reading it says so
                    if entry.is_file() or not os.path.exists(entry.path):
                        found.append((folder, entry.name))
    return [Path(folder) / name for folder, name in sorted(found)]


def read_batch(
    paths: Sequence[Path],
    size: tuple[int, int],
    color_mode: str,
    dtype: Any,
    interpolation: str,
    fit: str = "stretch",
    eight_bits: bool = False,
) -> np.ndarray:
    """Image files as one array (n, height, width, channels).

    Args:
        paths: n files.
        size: (height, width) to which each image is resized.
        color_mode, interpolation: see `load_img`.
        dtype: of the array.
        fit: what becomes of other proportions: "stretch", "crop" to the centre, or "pad" in black.
        eight_bits: have grey images of more bits brought to 0 to 255, as those in colour are.
    """
    batch = np.empty((len(paths), *size, CHANNELS[color_mode]), dtype)
    for i, path in enumerate(paths):
        image = _load(path, color_mode, size, interpolation, fit, eight_bits)
        batch[i] = img_to_array(image, dtype=dtype)
    return batch
