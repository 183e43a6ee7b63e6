"""Layers that only move elements: Flatten, Reshape, ZeroPadding2D."""

from collections.abc import Sequence
from math import prod
from typing import Any

from minicnn.kernels.windows import crop, pad
from minicnn.layers import arguments
from minicnn.layers.base import LAYERS, Layer, require_rank
from minicnn.layers.context import Context
from minicnn.typing import Array, Shape


@LAYERS.register()
class Flatten(Layer):
    """Each image to one row.

    Args:
        data_format: "channels_last".
        kwargs: see `Layer`.

    Shape:
        (N, ...) to (N, product of the rest).
    """

    def __init__(self, data_format: str | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.data_format = arguments.channels_last(self, data_format)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (input_shape[0], arguments.product(input_shape[1:]))

    def forward(self, x: Array, ctx: Context) -> Array:
        ctx.save(x.shape)
        return x.reshape(x.shape[0], prod(x.shape[1:]))

    def backward(self, dy: Array, ctx: Context) -> Array:
        (x_shape,) = ctx.saved
        return dy.reshape(x_shape)


@LAYERS.register()
class Reshape(Layer):
    """Each image to another shape of as many elements.

    Args:
        target_shape: without the batch; one -1 stands for what is left.
        kwargs: see `Layer`.

    Shape:
        (N, ...) to (N, *target_shape).

    Raises:
        ValueError: a bad target_shape, or an input of another number of elements.
    """

    def __init__(self, target_shape: Sequence[int], **kwargs: Any):
        super().__init__(**kwargs)
        self.target_shape = tuple(int(s) for s in target_shape)
        if self.target_shape.count(-1) > 1 or any(s < -1 or s == 0 for s in self.target_shape):
            raise ValueError(
                f"{self.described}: target_shape holds sizes above 0 and at most one -1, "
                f"not {self.target_shape}"
            )

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        total = arguments.product(input_shape[1:])
        if total is None:
            return (input_shape[0], *(None if s == -1 else s for s in self.target_shape))
        known = prod(s for s in self.target_shape if s != -1)
        shape = tuple(total // known if s == -1 else s for s in self.target_shape)
        if prod(shape) != total:
            raise ValueError(
                f"{self.described}: cannot reshape {tuple(input_shape[1:])} ({total} elements) to "
                f"{self.target_shape}"
            )
        return (input_shape[0], *shape)

    def forward(self, x: Array, ctx: Context) -> Array:
        ctx.save(x.shape)
        return x.reshape(self.compute_output_shape(x.shape))

    def backward(self, dy: Array, ctx: Context) -> Array:
        (x_shape,) = ctx.saved
        return dy.reshape(x_shape)


@LAYERS.register()
class ZeroPadding2D(Layer):
    """Rows and columns of zeros around each image.

    Args:
        padding: one integer for all sides, (rows, columns), or ((top, bottom), (left, right)).
        data_format: "channels_last".
        kwargs: see `Layer`.

    Shape:
        (N, H, W, C) to (N, H + top + bottom, W + left + right, C).
    """

    def __init__(self, padding: Any = (1, 1), data_format: str | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.padding = arguments.sides(self, "padding", padding)
        self.data_format = arguments.channels_last(self, data_format)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        require_rank(self, input_shape, 4, "(batch, height, width, channels)")
        sizes = arguments.each_size(
            lambda size, pair: size + sum(pair), input_shape[1:3], self.padding
        )
        return (input_shape[0], *sizes, input_shape[-1])

    def forward(self, x: Array, ctx: Context) -> Array:
        return pad(x, self.padding)

    def backward(self, dy: Array, ctx: Context) -> Array:
        return crop(dy, self.padding)
