"""`ImageDataGenerator`: batches of images, normalised and randomly transformed.

Names, arguments and geometry are Keras's. Keras draws and warps image by image; here the parameters
of a whole batch are drawn at once and the batch is transformed at once (`transforms.py`).
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from minicnn import random
from minicnn.kernels.borders import FILL_MODES
from minicnn.preprocessing.dataframe import FromDataFrame
from minicnn.preprocessing.files import (
    PathLike,
    array_to_img,
    check_choice,
    img_to_array,
    load_img,
    save_img,
    smart_resize,
)
from minicnn.preprocessing.iterators import DirectoryIterator, NumpyArrayIterator
from minicnn.preprocessing.transforms import GEOMETRY, PARAMETERS, transformed
from minicnn.typing import Array

__all__ = [
    "DirectoryIterator",
    "ImageDataGenerator",
    "NumpyArrayIterator",
    "array_to_img",
    "img_to_array",
    "load_img",
    "save_img",
    "smart_resize",
]

_FIT_CHUNK = 1024  # images that `fit` reads at a time
_EPSILON = 1e-6  # added to a standard deviation before dividing by it


class ImageDataGenerator(FromDataFrame):
    """Makes batches of randomly transformed and normalised images.

    Images are (height, width, channels) or batches of them. A transformation comes first, then
    `preprocessing_function`, `rescale`, samplewise and featurewise normalisation, whitening.

    Args:
        featurewise_center: subtract the channel means of the data given to `fit`.
        samplewise_center: subtract each image's mean.
        featurewise_std_normalization: divide by the channel standard deviations of that data.
        samplewise_std_normalization: divide each image by its standard deviation.
        zca_whitening: decorrelate an image's values (Krizhevsky 2009, appendix A); needs `fit`.
        zca_epsilon: added to the singular values before dividing by them.
        rotation_range: degrees; angles are drawn from -range to range.
        width_shift_range: columns to shift by: a float below 1 is a fraction of the width, another
            float is pixels, an integer n means whole pixels from -(n-1) to n-1, a sequence lists
            the shifts, taken with either sign.
        height_shift_range: the same for rows.
        brightness_range: (low, high) of the factor on the brightness; 1 changes nothing.
        shear_range: degrees, as in `rotation_range`.
        zoom_range: (low, high) of the factor, or a float z for (1 - z, 1 + z); below 1 magnifies.
            Each axis has its own draw.
        channel_shift_range: up to this much is added to or subtracted from all values.
        fill_mode: "nearest", "constant", "reflect" or "wrap": what comes in from beyond the edge.
        cval: the value for "constant".
        horizontal_flip: mirror left and right with probability 1/2.
        vertical_flip: mirror up and down with probability 1/2.
        rescale: factor on all values, applied after the transformation.
        preprocessing_function: takes each transformed image and returns one of the same shape.
        data_format: "channels_last", or None for the same.
        validation_split: the first images, this fraction of all, are `subset="validation"`.
        dtype: of the batches, a floating-point type.

    Raises:
        ValueError: an argument out of range; the message names it.

    Different from Keras: width_shift_range moves columns and height_shift_range rows (Keras 3 has
    them the wrong way round), images that are not square rotate about their centre, too, "wrap"
    repeats with the image's full period, and a change of brightness does not round.
    """

    def __init__(
        self,
        featurewise_center: bool = False,
        samplewise_center: bool = False,
        featurewise_std_normalization: bool = False,
        samplewise_std_normalization: bool = False,
        zca_whitening: bool = False,
        zca_epsilon: float = 1e-6,
        rotation_range: float = 0,
        width_shift_range: float | Sequence[float] = 0.0,
        height_shift_range: float | Sequence[float] = 0.0,
        brightness_range: Sequence[float] | None = None,
        shear_range: float = 0.0,
        zoom_range: float | Sequence[float] = 0.0,
        channel_shift_range: float = 0.0,
        fill_mode: str = "nearest",
        cval: float = 0.0,
        horizontal_flip: bool = False,
        vertical_flip: bool = False,
        rescale: float | None = None,
        preprocessing_function: Callable[[np.ndarray], np.ndarray] | None = None,
        data_format: str | None = None,
        validation_split: float = 0.0,
        dtype: Any = "float32",
    ):
        check_choice("fill_mode", fill_mode, FILL_MODES)
        if data_format is not None:
            check_choice("data_format", data_format, ("channels_last",))
        if validation_split and not 0 < validation_split < 1:
            raise ValueError(
                f"validation_split should be between 0 and 1, not {validation_split!r}"
            )
        if np.dtype(dtype).kind != "f":
            raise ValueError(f"dtype should be a floating-point type, not {dtype!r}")
        self.samplewise_center = samplewise_center or samplewise_std_normalization
        self.samplewise_std_normalization = samplewise_std_normalization
        # Whitening needs centred data, and scales by itself.
        self.featurewise_center = (
            featurewise_center or featurewise_std_normalization or zca_whitening
        )
        self.featurewise_std_normalization = featurewise_std_normalization and not zca_whitening
        self.zca_whitening = zca_whitening
        self.zca_epsilon = zca_epsilon
        self.rotation_range = rotation_range
        self.width_shift_range = width_shift_range
        self.height_shift_range = height_shift_range
        self.brightness_range = (
            None if brightness_range is None else _pair("brightness_range", brightness_range)
        )
        self.shear_range = shear_range
        if isinstance(zoom_range, (int, float)):
            self.zoom_range = (1 - zoom_range, 1 + zoom_range)
        else:
            self.zoom_range = _pair("zoom_range", zoom_range)
        if self.zoom_range[0] <= 0:
            raise ValueError(f"zoom_range should stay above 0, {zoom_range!r} does not")
        self.channel_shift_range = channel_shift_range
        self.fill_mode = fill_mode
        self.cval = cval
        self.horizontal_flip = horizontal_flip
        self.vertical_flip = vertical_flip
        self.rescale = rescale
        self.preprocessing_function = preprocessing_function
        self.validation_split = validation_split
        self.dtype = np.dtype(dtype)

        self.mean: np.ndarray | None = None  # (channels,), as std
        self.std: np.ndarray | None = None
        self.zca_whitening_matrix: np.ndarray | None = None  # (values, values) of an image

    def flow(
        self,
        x: Array,
        y: Array | None = None,
        batch_size: int = 32,
        shuffle: bool = True,
        sample_weight: Array | None = None,
        seed: int | None = None,
        save_to_dir: PathLike | None = None,
        save_prefix: str = "",
        save_format: str = "png",
        ignore_class_split: bool = False,
        subset: str | None = None,
    ) -> NumpyArrayIterator:
        """Endless batches from arrays: x, (x, y) or (x, y, sample_weight); an epoch has `len()`.

        Args:
            x: images (n, height, width, channels), of any dtype.
            y: targets (n, ...).
            batch_size: images per batch; the last of an epoch may have fewer.
            shuffle: a new order for each epoch.
            sample_weight: (n,).
            seed: fixes order and transformations.
            save_to_dir: a directory to write every image to, for a look at them.
            save_prefix, save_format: such a file is named prefix_index_random.format.
            ignore_class_split: allow the two subsets to have different classes.
            subset: "training" or "validation", see `validation_split`; default: all.

        Raises:
            ValueError: x is not of rank 4, or lengths differ.
        """
        return NumpyArrayIterator(
            x,
            y,
            self,
            sample_weight=sample_weight,
            subset=subset,
            ignore_class_split=ignore_class_split,
            batch_size=batch_size,
            shuffle=shuffle,
            seed=seed,
            save_to_dir=save_to_dir,
            save_prefix=save_prefix,
            save_format=save_format,
        )

    def flow_from_directory(
        self,
        directory: PathLike,
        target_size: tuple[int, int] = (256, 256),
        color_mode: str = "rgb",
        classes: Sequence[str] | None = None,
        class_mode: str | None = "categorical",
        batch_size: int = 32,
        shuffle: bool = True,
        seed: int | None = None,
        save_to_dir: PathLike | None = None,
        save_prefix: str = "",
        save_format: str = "png",
        follow_links: bool = False,
        subset: str | None = None,
        interpolation: str = "nearest",
        keep_aspect_ratio: bool = False,
    ) -> DirectoryIterator:
        """Endless batches of the images in a directory with one subdirectory per class.

        Args:
            directory: its subdirectories are the classes; images may lie at any depth in them.
            target_size: (height, width) to which every image is resized.
            color_mode: "rgb", "rgba" or "grayscale".
            classes: the subdirectories in the order of their labels; default: all, sorted.
            class_mode: "categorical" for one-hot targets, "sparse" for integers, "binary" for 0.0
                and 1.0, "input" for the images themselves, None for no targets.
            batch_size, shuffle, seed, save_to_dir, save_prefix, save_format: see `flow`.
            follow_links: also enter directories that are symbolic links.
            subset: "training" or "validation", see `validation_split`; each class is split.
            interpolation, keep_aspect_ratio: see `load_img`.

        Raises:
            FileNotFoundError: no such directory.
            ValueError: it holds no images, or an argument is unknown.
        """
        return DirectoryIterator(
            directory,
            self,
            target_size=target_size,
            color_mode=color_mode,
            classes=classes,
            class_mode=class_mode,
            follow_links=follow_links,
            subset=subset,
            interpolation=interpolation,
            keep_aspect_ratio=keep_aspect_ratio,
            batch_size=batch_size,
            shuffle=shuffle,
            seed=seed,
            save_to_dir=save_to_dir,
            save_prefix=save_prefix,
            save_format=save_format,
        )

    def fit(
        self, x: Array, augment: bool = False, rounds: int = 1, seed: int | None = None
    ) -> None:
        """Take from `x` the statistics for featurewise normalisation and whitening.

        Args:
            x: images (n, height, width, channels); `rescale` is applied to them.
            augment: take the statistics of transformed images.
            rounds: how many times to go over `x` when augmenting.
            seed: fixes the transformations.

        Raises:
            ValueError: x is empty or not of rank 4.
        """
        x = np.asarray(x)
        if x.ndim != 4 or not x.size:
            raise ValueError(f"fit takes images (n, height, width, channels), not {x.shape}")
        rng = random.host_generator(seed)
        values = int(np.prod(x.shape[1:]))
        channels = x.shape[-1]
        total, squares = np.zeros(channels), np.zeros(channels)
        image_total = np.zeros(values)
        products = np.zeros((values, values)) if self.zca_whitening else None
        n = 0
        for chunk in self._chunks(x, rounds if augment else 1, rng if augment else None):
            pixels = chunk.reshape(-1, channels)
            total += pixels.sum(0)
            squares += np.einsum("pc,pc->c", pixels, pixels)
            if products is not None:
                flat = chunk.reshape(len(chunk), -1)
                image_total += flat.sum(0)
                products += flat.T @ flat  # (values, images) @ (images, values)
            n += len(chunk)
        count = n * values // channels
        mean = total / count
        if self.featurewise_center:
            self.mean = mean.astype(self.dtype)
        if self.featurewise_std_normalization:
            variance = np.maximum(squares / count - mean**2, 0)
            self.std = np.sqrt(variance).astype(self.dtype)
        if products is not None:
            # sum (x - m)(x - m)^T from the sums of x x^T and x, m repeating the channel means
            m = np.tile(mean, values // channels)
            products += n * np.outer(m, m) - np.outer(image_total, m) - np.outer(m, image_total)
            self.zca_whitening_matrix = self._whitening(products, n)

    def _chunks(
        self, x: np.ndarray, rounds: int, rng: np.random.Generator | None
    ) -> Iterator[np.ndarray]:
        """All of x in float64, a chunk at a time; transformed if there is a generator."""
        for _ in range(rounds):
            for start in range(0, len(x), _FIT_CHUNK):
                chunk = x[start : start + _FIT_CHUNK].astype(np.float64)
                if rng is not None:
                    drawn = self._draw(len(chunk), x.shape[1:], rng)
                    chunk = transformed(chunk, drawn, self.fill_mode, self.cval)
                yield chunk * self.rescale if self.rescale else chunk

    def _whitening(self, products: np.ndarray, n: int) -> np.ndarray:
        """U diag(sqrt(n) / (s + epsilon)) U^T, with s the singular values of the n centred images.

        Directions in which the data do not vary (s below a millionth of the largest) are left out:
        they hold only rounding errors.
        """
        eigenvalues, vectors = np.linalg.eigh(products)  # of X^T X: the squares of s
        s = np.sqrt(np.maximum(eigenvalues, 0))
        scale = np.where(s > 1e-6 * s.max(), np.sqrt(n) / (s + self.zca_epsilon), 0)
        return ((vectors * scale) @ vectors.T).astype(self.dtype)

    def standardize(self, x: np.ndarray) -> np.ndarray:
        """Normalise as configured; floating-point input is changed in place.

        Args:
            x: an image (height, width, channels), or a batch of them.

        Returns:
            The normalised array: `x` itself if it is of a floating-point type and there is neither
            whitening nor a `preprocessing_function`.
        """
        x = np.asarray(x)
        if x.dtype.kind != "f":
            x = x.astype(self.dtype)
        if self.preprocessing_function is not None:
            x = self._preprocessed(x)
        if self.rescale:
            x *= self.rescale
        image = (-3, -2, -1)
        if self.samplewise_center:
            x -= x.mean(axis=image, keepdims=True)
        if self.samplewise_std_normalization:
            x /= x.std(axis=image, keepdims=True) + _EPSILON
        if self.featurewise_center and self._fitted("featurewise_center", self.mean):
            x -= self.mean
        if self.featurewise_std_normalization:
            if self._fitted("featurewise_std_normalization", self.std):
                x /= self.std + self.dtype.type(_EPSILON)
        if self.zca_whitening and self._fitted("zca_whitening", self.zca_whitening_matrix):
            flat = x.reshape(-1, int(np.prod(x.shape[-3:])))
            x = (flat @ self.zca_whitening_matrix).astype(x.dtype, copy=False).reshape(x.shape)
        return x

    def _preprocessed(self, x: np.ndarray) -> np.ndarray:
        function = self.preprocessing_function
        if function is None:
            return x
        if x.ndim == 3:
            return np.asarray(function(x), dtype=x.dtype)
        return np.stack([np.asarray(function(image), dtype=x.dtype) for image in x])

    def _fitted(self, option: str, statistic: np.ndarray | None) -> bool:
        if statistic is None:
            warnings.warn(
                f"{option} is left out: this ImageDataGenerator has not seen the data; "
                "call fit(x_train) first",
                stacklevel=3,
            )
        return statistic is not None

    def get_random_transform(
        self, img_shape: Sequence[int], seed: int | None = None
    ) -> dict[str, Any]:
        """Random parameters for one image.

        Args:
            img_shape: (height, width, channels).
            seed: fixes the draw.

        Returns:
            "theta" and "shear" in degrees, shifts "tx" along the width and "ty" along the height in
            pixels, factors "zx" and "zy", "flip_horizontal" and "flip_vertical", and
            "channel_shift_intensity" and "brightness" (None without such a range).
        """
        drawn = self._draw(1, img_shape, random.host_generator(seed))
        return {k: None if v is None else v[0].item() for k, v in drawn.items()}

    def apply_transform(self, x: np.ndarray, transform_parameters: dict[str, Any]) -> np.ndarray:
        """Transform one image.

        Args:
            x: (height, width, channels); it is not changed.
            transform_parameters: as `get_random_transform` returns them; absent ones do nothing.

        Returns:
            The image in the dtype of `x` if that is a floating-point type, else in `self.dtype`.

        Raises:
            ValueError: x is not of rank 3, or a parameter is unknown.
        """
        x = np.asarray(x)
        if x.ndim != 3:
            raise ValueError(f"one image is (height, width, channels), not {x.shape}")
        unknown = set(transform_parameters) - set(PARAMETERS)
        if unknown:
            check_choice("transform parameter", sorted(unknown)[0], PARAMETERS)
        batch = x[None].astype(x.dtype if x.dtype.kind == "f" else self.dtype)
        given = {k: None if v is None else np.array([v]) for k, v in transform_parameters.items()}
        return transformed(batch, given, self.fill_mode, self.cval)[0]

    def random_transform(self, x: np.ndarray, seed: int | None = None) -> np.ndarray:
        """One image, transformed at random.

        Args:
            x: (height, width, channels).
            seed: fixes the transformation.
        """
        return self.apply_transform(x, self.get_random_transform(np.shape(x), seed))

    def random_batch(self, images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A batch of images, each transformed by its own draw, and normalised.

        Args:
            images: (n, height, width, channels); may be overwritten.
            rng: what to draw from.
        """
        drawn = self._draw(len(images), images.shape[1:], rng)
        return self.standardize(transformed(images, drawn, self.fill_mode, self.cval))

    def checked_validation_split(self) -> float:
        """`validation_split`, for a subset that needs one.

        Raises:
            ValueError: there is none.
        """
        if not self.validation_split:
            raise ValueError(
                "a subset was asked for: give ImageDataGenerator a validation_split, say 0.2"
            )
        return self.validation_split

    def _draw(
        self, n: int, shape: Sequence[int], rng: np.random.Generator
    ) -> dict[str, np.ndarray | None]:
        """The parameters of `n` transformations, each an array (n,)."""

        def between(low: float, high: float) -> np.ndarray:
            return rng.uniform(low, high, n)

        height, width = shape[0], shape[1]
        drawn: dict[str, np.ndarray | None] = {}
        if self.rotation_range:
            drawn["theta"] = between(-self.rotation_range, self.rotation_range)
        if np.any(self.height_shift_range):
            drawn["ty"] = _shifts(self.height_shift_range, height, n, rng)
        if np.any(self.width_shift_range):
            drawn["tx"] = _shifts(self.width_shift_range, width, n, rng)
        if self.shear_range:
            drawn["shear"] = between(-self.shear_range, self.shear_range)
        if self.zoom_range != (1, 1):
            drawn["zx"], drawn["zy"] = between(*self.zoom_range), between(*self.zoom_range)
        drawn = {**{k: np.full(n, float(v)) for k, v in GEOMETRY.items()}, **drawn}
        drawn["flip_horizontal"] = (rng.random(n) < 0.5) & bool(self.horizontal_flip)
        drawn["flip_vertical"] = (rng.random(n) < 0.5) & bool(self.vertical_flip)
        reach = self.channel_shift_range
        drawn["channel_shift_intensity"] = between(-reach, reach) if reach else None
        drawn["brightness"] = between(*self.brightness_range) if self.brightness_range else None
        return drawn


def _pair(name: str, value: Any) -> tuple[float, float]:
    if not isinstance(value, (tuple, list)) or len(value) != 2 or value[0] > value[1]:
        raise ValueError(f"{name} should be (low, high), not {value!r}")
    return value[0], value[1]


def _shifts(
    reach: float | Sequence[float], size: int, n: int, rng: np.random.Generator
) -> np.ndarray:
    """`n` shifts in pixels along an axis of `size` pixels."""
    if isinstance(reach, (float, np.floating)):
        shift = rng.uniform(-reach, reach, n)
    else:  # an integer means the pixels below it, a sequence its values
        shift = rng.choice(reach, n) * rng.choice([-1.0, 1.0], n)
    return shift * size if np.max(reach) < 1 else shift
