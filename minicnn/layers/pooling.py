"""Pooling: a window, or a whole channel, to one element."""

from typing import Any

from minicnn.backend import array_module
from minicnn.dtypes import wide, widened
from minicnn.kernels import pool
from minicnn.kernels.windows import Window
from minicnn.layers import arguments
from minicnn.layers.base import LAYERS, Layer, require_rank
from minicnn.layers.context import Context
from minicnn.typing import Array, Shape

_IMAGES = "(batch, height, width, channels)"


class Pooling2D(Layer):
    """Base of the layers that slide a window over each channel by itself.

    Args:
        pool_size: (kh, kw), or one integer for both.
        strides: (sh, sw), or one integer for both; default: the pool size.
        padding: "valid" or "same".
        data_format: "channels_last".
        kwargs: see `Layer`.

    Attributes:
        window: their geometry, a `kernels.windows.Window`.
    """

    def __init__(
        self,
        pool_size: Any = (2, 2),
        strides: Any = None,
        padding: str = "valid",
        data_format: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.pool_size = arguments.pair(self, "pool_size", pool_size)
        self.strides = arguments.pair(
            self, "strides", self.pool_size if strides is None else strides
        )
        self.padding = arguments.padding_name(self, padding)
        self.data_format = arguments.channels_last(self, data_format)
        self.window = Window(self.pool_size, self.strides, self.padding)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        require_rank(self, input_shape, 4, _IMAGES)
        size = arguments.window_output_size(self, self.window, *input_shape[1:3])
        return (input_shape[0], *size, input_shape[-1])


@LAYERS.register("MaxPool2D")
class MaxPooling2D(Pooling2D):
    """The largest element of each window; padding is never the largest.

    y[n, p, q, c] = max_{i, j} x[n, p sh + i, q sw + j, c]

    Args:
        pool_size: (kh, kw), or one integer for both.
        strides: (sh, sw), or one integer for both; default: the pool size.
        padding: "valid" or "same".
        data_format: "channels_last".
        kwargs: see `Layer`.

    Shape:
        (N, H, W, C) to (N, OH, OW, C).

    Raises:
        ValueError: a bad argument; an image that is smaller than the window.
    """

    def forward(self, x: Array, ctx: Context) -> Array:
        y, index = pool.max_pool(x, self.window, with_index=ctx.record)
        ctx.save(x.shape, index)
        return y

    def backward(self, dy: Array, ctx: Context) -> Array:
        x_shape, index = ctx.saved
        return pool.max_pool_gradient(dy, index, x_shape, self.window)


@LAYERS.register("AvgPool2D")
class AveragePooling2D(Pooling2D):
    """The mean of each window; padding is not counted.

    y[n, p, q, c] = mean_{i, j} x[n, p sh + i, q sw + j, c]

    Args:
        pool_size: (kh, kw), or one integer for both.
        strides: (sh, sw), or one integer for both; default: the pool size.
        padding: "valid" or "same".
        data_format: "channels_last".
        kwargs: see `Layer`.

    Shape:
        (N, H, W, C) to (N, OH, OW, C).

    Raises:
        ValueError: a bad argument; an image that is smaller than the window.
    """

    def forward(self, x: Array, ctx: Context) -> Array:
        ctx.save(x.shape)
        return pool.average_pool(x, self.window)

    def backward(self, dy: Array, ctx: Context) -> Array:
        (x_shape,) = ctx.saved
        return pool.average_pool_gradient(dy, x_shape, self.window)


class _GlobalPooling2D(Layer):
    """What the layers share that take each channel as one window."""

    def __init__(self, data_format: str | None = None, keepdims: bool = False, **kwargs: Any):
        super().__init__(**kwargs)
        self.data_format = arguments.channels_last(self, data_format)
        self.keepdims = keepdims

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        require_rank(self, input_shape, 4, _IMAGES)
        batch, _, _, channels = input_shape
        return (batch, 1, 1, channels) if self.keepdims else (batch, channels)


@LAYERS.register("GlobalAvgPool2D")
class GlobalAveragePooling2D(_GlobalPooling2D):
    """The mean of each channel: y[n, c] = sum_{h, w} x[n, h, w, c] / (H W).

    Args:
        data_format: "channels_last".
        keepdims: keep the two axes as (N, 1, 1, C).
        kwargs: see `Layer`.

    Shape:
        (N, H, W, C) to (N, C).

    Source: Lin, Chen, Yan, "Network in network" (2013), arXiv:1312.4400.
    """

    def forward(self, x: Array, ctx: Context) -> Array:
        ctx.save(x.shape)
        mean = x.mean(axis=(1, 2), dtype=wide(x.dtype), keepdims=self.keepdims)
        return mean.astype(x.dtype, copy=False)

    def backward(self, dy: Array, ctx: Context) -> Array:
        (x_shape,) = ctx.saved
        n, h, w, c = x_shape
        dx = array_module(dy).empty(x_shape, dy.dtype)
        dx[...] = widened(dy).reshape(n, 1, 1, c) / (h * w)  # a float16 ends at 65504
        return dx


@LAYERS.register("GlobalMaxPool2D")
class GlobalMaxPooling2D(_GlobalPooling2D):
    """The largest element of each channel: y[n, c] = max_{h, w} x[n, h, w, c].

    Args:
        data_format: "channels_last".
        keepdims: keep the two axes as (N, 1, 1, C).
        kwargs: see `Layer`.

    Shape:
        (N, H, W, C) to (N, C).
    """

    def forward(self, x: Array, ctx: Context) -> Array:
        n, h, w, c = x.shape
        index = x.reshape(n, h * w, c).argmax(axis=1)  # the first of equals
        ctx.save(x.shape, index)
        return x.max(axis=(1, 2), keepdims=self.keepdims)

    def backward(self, dy: Array, ctx: Context) -> Array:
        x_shape, index = ctx.saved
        n, h, w, c = x_shape
        pixels = array_module(dy).arange(h * w).reshape(1, h * w, 1)
        dx = dy.reshape(n, 1, c) * (pixels == index[:, None])
        return dx.reshape(x_shape)
