"""Pooling to an output of a given size, whatever the image's."""

from typing import Any

from minicnn.kernels import resampling
from minicnn.kernels.resampling import Axis
from minicnn.layers import arguments
from minicnn.layers.base import LAYERS, Layer, require_rank
from minicnn.layers.context import Context
from minicnn.typing import Array, Shape


class _AdaptivePooling2D(Layer):
    """What both layers share: windows as even as possible, which cover the image."""

    def __init__(self, output_size: Any, data_format: str | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.output_size = arguments.pair(self, "output_size", output_size)
        self.data_format = arguments.channels_last(self, data_format)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        require_rank(self, input_shape, 4, "(batch, height, width, channels)")
        return (input_shape[0], *self.output_size, input_shape[-1])


@LAYERS.register()
class AdaptiveAveragePooling2D(_AdaptivePooling2D):
    """The mean of each of OH x OW windows: rows floor(p H / OH) to ceil((p + 1) H / OH), columns
    likewise.

    Args:
        output_size: (OH, OW), or one integer for both.
        data_format: "channels_last".
        kwargs: see `Layer`.

    Shape:
        (N, H, W, C) to (N, OH, OW, C).
    """

    def forward(self, x: Array, ctx: Context) -> Array:
        (oh, ow), (h, w) = self.output_size, x.shape[1:3]
        axes = Axis("mean", h, oh), Axis("mean", w, ow)
        ctx.save(*axes)
        return resampling.resample(x, *axes)

    def backward(self, dy: Array, ctx: Context) -> Array:
        return resampling.resample_gradient(dy, *ctx.saved)


@LAYERS.register()
class AdaptiveMaxPooling2D(_AdaptivePooling2D):
    """The largest element of each of OH x OW windows, those of `AdaptiveAveragePooling2D`.

    Args:
        output_size: (OH, OW), or one integer for both.
        data_format: "channels_last".
        kwargs: see `Layer`.

    Shape:
        (N, H, W, C) to (N, OH, OW, C).
    """

    def forward(self, x: Array, ctx: Context) -> Array:
        y, index = resampling.adaptive_max_pool(x, self.output_size)
        ctx.save(index, x.shape)
        return y

    def backward(self, dy: Array, ctx: Context) -> Array:
        return resampling.adaptive_max_pool_gradient(dy, *ctx.saved)
