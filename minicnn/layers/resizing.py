"""Images at another size: UpSampling2D, Resizing, CenterCrop."""

from typing import Any

from minicnn import backend
from minicnn.dtypes import wide
from minicnn.kernels.resampling import INTERPOLATIONS, Axis, resample, resample_gradient
from minicnn.kernels.windows import Pads, crop, pad
from minicnn.layers import arguments
from minicnn.layers.base import LAYERS, Layer, require_rank
from minicnn.layers.context import Context
from minicnn.typing import Array, Shape

_IMAGES = "(batch, height, width, channels)"


@LAYERS.register()
class UpSampling2D(Layer):
    """Rows and columns become more by whole factors.

    Args:
        size: (rows, columns), or one integer for both: the factors.
        data_format: "channels_last".
        interpolation: "nearest", which repeats pixels, "bilinear", "bicubic", "lanczos3" or
            "lanczos5"; see `kernels.resampling.Axis`.
        kwargs: see `Layer`.

    Shape:
        (N, H, W, C) to (N, rows H, columns W, C).

    Raises:
        ValueError: a bad argument.
    """

    def __init__(
        self,
        size: Any = (2, 2),
        data_format: str | None = None,
        interpolation: str = "nearest",
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.size = arguments.pair(self, "size", size)
        self.data_format = arguments.channels_last(self, data_format)
        self.interpolation = arguments.one_of(
            self, "interpolation", str(interpolation).lower(), INTERPOLATIONS
        )

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        require_rank(self, input_shape, 4, _IMAGES)
        sizes = arguments.each_size(lambda size, k: size * k, input_shape[1:3], self.size)
        return (input_shape[0], *sizes, input_shape[-1])

    def forward(self, x: Array, ctx: Context) -> Array:
        rows, columns = self.size
        if self.interpolation == "nearest":
            return x.repeat(rows, axis=1).repeat(columns, axis=2)
        axes = [
            Axis(self.interpolation, size, size * k)
            for size, k in zip(x.shape[1:3], self.size, strict=True)
        ]
        ctx.save(*axes)
        return resample(x, *axes)

    def backward(self, dy: Array, ctx: Context) -> Array:
        if ctx.saved:
            return resample_gradient(dy, *ctx.saved)
        (n, height, width, c), (rows, columns) = dy.shape, self.size
        copies = dy.reshape(n, height // rows, rows, width // columns, columns, c)
        return copies.sum(axis=(2, 4), dtype=wide(dy.dtype)).astype(dy.dtype, copy=False)


class _SizedImages(Layer):
    """Images of any size to `height` rows and `width` columns: some are left out around them, or
    added, and the rest is resampled. Arrays may be single images (H, W, C)."""

    interpolation = "bilinear"
    antialias = False
    fill_value = 0.0

    def __init__(self, height: int, width: int, data_format: str | None, **kwargs: Any):
        super().__init__(**kwargs)
        self.height = arguments.positive_int(self, "height", height)
        self.width = arguments.positive_int(self, "width", width)
        self.data_format = arguments.channels_last(self, data_format)

    def border(self, height: int, width: int) -> Pads:
        """Rows and columns to add around images of `height` and `width`, less than 0 to leave
        out."""
        raise NotImplementedError

    def __call__(self, x: Array, training: bool | None = None) -> Any:
        if len(getattr(x, "shape", ())) != 3 or isinstance(x, (list, tuple)):
            return super().__call__(x, training)
        return super().__call__(backend.asarray(x)[None], training)[0]

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        require_rank(self, input_shape, 4, _IMAGES)
        return (input_shape[0], self.height, self.width, input_shape[-1])

    def forward(self, x: Array, ctx: Context) -> Array:
        pads = self.border(*x.shape[1:3])
        images = pad(x, pads, self.fill_value)
        axes = [
            Axis(self.interpolation, size, outputs, self.antialias)
            for size, outputs in zip(images.shape[1:3], (self.height, self.width), strict=True)
        ]
        ctx.save(pads, axes)
        return resample(images, *axes)

    def backward(self, dy: Array, ctx: Context) -> Array:
        pads, axes = ctx.saved
        return crop(resample_gradient(dy, *axes), pads)

    def _of_one_shape(self, height: int, width: int, larger: bool) -> Pads:
        """The border that makes images of the shape wanted, by adding to them if `larger`, else by
        leaving out."""
        wanted = int(width * self.height / self.width), int(height * self.width / self.height)
        pads = []
        for size, other in zip((height, width), wanted, strict=True):
            if larger:
                before = (max(size, other) - size) // 2
                pads.append((before, before))  # as in Keras: one row less where they are odd
            else:
                left = max(min(size, other), 1)
                before = (size - left) // 2
                pads.append((-before, before + left - size))
        return pads[0], pads[1]


@LAYERS.register()
class Resizing(_SizedImages):
    """Images of any size to one size, by interpolation between pixels.

    Args:
        height, width: of what comes out.
        interpolation: "nearest", "bilinear", "bicubic", "lanczos3" or "lanczos5"; see
            `kernels.resampling.Axis`.
        crop_to_aspect_ratio: whether images are first cut to the shape of what comes out, so that
            they are not stretched.
        pad_to_aspect_ratio: whether they are first made larger to that end.
        fill_mode, fill_value: what is added then: "constant", that number.
        antialias: whether filters are stretched where images get smaller.
        data_format: "channels_last".
        kwargs: see `Layer`.

    Shape:
        (N, H, W, C) to (N, height, width, C); also (H, W, C) to (height, width, C).

    Raises:
        ValueError: a bad argument.
    """

    def __init__(
        self,
        height: int,
        width: int,
        interpolation: str = "bilinear",
        crop_to_aspect_ratio: bool = False,
        pad_to_aspect_ratio: bool = False,
        fill_mode: str = "constant",
        fill_value: float = 0.0,
        antialias: bool = False,
        data_format: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(height, width, data_format, **kwargs)
        self.interpolation = arguments.one_of(self, "interpolation", interpolation, INTERPOLATIONS)
        self.crop_to_aspect_ratio, self.pad_to_aspect_ratio = (
            bool(crop_to_aspect_ratio), bool(pad_to_aspect_ratio)
        )  # fmt: skip
        if self.crop_to_aspect_ratio and self.pad_to_aspect_ratio:
            raise ValueError(
                f"{self.described}: only one of crop_to_aspect_ratio and pad_to_aspect_ratio can "
                f"be True"
            )
        self.fill_mode = arguments.one_of(self, "fill_mode", fill_mode, ("constant",))
        self.fill_value = arguments.finite_numbers(self, "fill_value", fill_value)
        self.antialias = bool(antialias)

    def border(self, height: int, width: int) -> Pads:
        if self.crop_to_aspect_ratio or self.pad_to_aspect_ratio:
            return self._of_one_shape(height, width, larger=self.pad_to_aspect_ratio)
        return (0, 0), (0, 0)


@LAYERS.register()
class CenterCrop(_SizedImages):
    """The middle of each image. One that is smaller is cut to the shape of what comes out, and
    resized.

    Args:
        height, width: of what comes out.
        data_format: "channels_last".
        kwargs: see `Layer`.

    Shape:
        (N, H, W, C) to (N, height, width, C); also (H, W, C) to (height, width, C).

    Raises:
        ValueError: a bad argument.
    """

    def __init__(self, height: int, width: int, data_format: str | None = None, **kwargs: Any):
        super().__init__(height, width, data_format, **kwargs)

    def border(self, height: int, width: int) -> Pads:
        rows, columns = height - self.height, width - self.width
        if rows < 0 or columns < 0:
            return self._of_one_shape(height, width, larger=False)
        top, left = rows // 2, columns // 2
        return (-top, top - rows), (-left, left - columns)
