"""Layers that only move numbers: Flatten, Reshape, ZeroPadding2D."""

from collections.abc import Sequence
from math import prod
from typing import Any

from minicnn.context import Context
from minicnn.kernels.windows import crop, pad
from minicnn.layers import arguments
from minicnn.layers.base import LAYERS, Layer, require_rank


@LAYERS.register()
class Flatten(Layer):
    """Every image to one row.

    Shape:
        (N, ...) to (N, product of the rest).
    """

    def __init__(self, data_format: str | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.data_format = arguments.channels_last(self, data_format)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (input_shape[0], prod(input_shape[1:]))

    def forward(self, x: Any, ctx: Context) -> Any:
        ctx.save(x.shape)
        return x.reshape(x.shape[0], -1)

    def backward(self, dy: Any, ctx: Context) -> Any:
        (x_shape,) = ctx.saved
        return dy.reshape(x_shape)


@LAYERS.register()
class Reshape(Layer):
    """Each image to another shape of as many numbers.

    Args:
        target_shape: without the batch; one -1 stands for what is left.

    Shape:
        (N, ...) to (N, *target_shape).
    """

    def __init__(self, target_shape: Sequence[int], **kwargs: Any):
        super().__init__(**kwargs)
        self.target_shape = tuple(int(s) for s in target_shape)
        if self.target_shape.count(-1) > 1 or any(s < -1 or s == 0 for s in self.target_shape):
            raise ValueError(
                f"{self.described}: target_shape holds sizes above 0 and at most one -1, "
                f"not {self.target_shape}"
            )

    def compute_output_shape(self, input_shape: Any) -> Any:
        total, known = prod(input_shape[1:]), prod(s for s in self.target_shape if s != -1)
        shape = tuple(total // known if s == -1 else s for s in self.target_shape)
        if prod(shape) != total:
            raise ValueError(
                f"{self.described}: cannot reshape {tuple(input_shape[1:])} ({total} numbers) to "
                f"{self.target_shape}"
            )
        return (input_shape[0], *shape)

    def forward(self, x: Any, ctx: Context) -> Any:
        ctx.save(x.shape)
        return x.reshape(self.compute_output_shape(x.shape))

    def backward(self, dy: Any, ctx: Context) -> Any:
        (x_shape,) = ctx.saved
        return dy.reshape(x_shape)


@LAYERS.register()
class ZeroPadding2D(Layer):
    """Rows and columns of zeros around each image.

    Args:
        padding: one integer for all sides, (rows, columns), or ((top, bottom), (left, right)).
        data_format: "channels_last".

    Shape:
        (N, H, W, C) to (N, H + top + bottom, W + left + right, C).
    """

    def __init__(self, padding: Any = (1, 1), data_format: str | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        sides = tuple(_two(s) for s in _two(padding))
        if len(sides) != 2 or any(
            len(s) != 2 or any(not isinstance(v, int) or v < 0 for v in s) for s in sides
        ):
            raise ValueError(
                f"{self.described}: padding must be an integer, (rows, columns) or "
                f"((top, bottom), (left, right)), none below 0; not {padding!r}"
            )
        self.padding = sides
        self.data_format = arguments.channels_last(self, data_format)

    def compute_output_shape(self, input_shape: Any) -> Any:
        require_rank(self, input_shape, 4, "(batch, height, width, channels)")
        batch, height, width, channels = input_shape
        return (batch, height + sum(self.padding[0]), width + sum(self.padding[1]), channels)

    def forward(self, x: Any, ctx: Context) -> Any:
        return pad(x, self.padding)

    def backward(self, dy: Any, ctx: Context) -> Any:
        return crop(dy, self.padding)


def _two(value: Any) -> tuple[Any, ...]:
    """One value for both sides, or the values given."""
    return tuple(value) if isinstance(value, (tuple, list)) else (value, value)
