"""Layers that take several inputs to one output."""

from collections.abc import Sequence
from typing import Any

from minicnn.backend import array_module
from minicnn.context import Context
from minicnn.dtypes import wide
from minicnn.layers.base import LAYERS, Layer


class _Merge(Layer):
    """Several inputs, number by number; sizes of 1 are broadcast.

    Shape:
        a list of arrays of one shape to an array of that shape.

    Raises:
        ValueError: fewer than two inputs, or shapes that do not fit.
    """

    def compute_output_shape(self, input_shape: Any) -> Any:
        shapes = self._shapes(input_shape)
        ranks = {len(s) for s in shapes}
        merged = []
        for sizes in zip(*shapes, strict=False):
            largest = {s for s in sizes if s != 1}
            if len(largest) > 1 or len(ranks) > 1:
                break
            merged.append(largest.pop() if largest else 1)
        if len(ranks) > 1 or len(merged) != len(shapes[0]):
            raise ValueError(
                f"{self.described} needs inputs of one shape; got {[tuple(s) for s in shapes]}"
            )
        return tuple(merged)

    def _shapes(self, input_shape: Any) -> list[Any]:
        if not isinstance(input_shape, (list, tuple)) or not all(
            isinstance(s, (list, tuple)) for s in input_shape
        ):
            raise ValueError(
                f"{self.described} takes a list of inputs, as in {type(self).__name__}()([a, b]); "
                f"got one of shape {input_shape}"
            )
        if len(input_shape) < 2:
            raise ValueError(f"{self.described} needs at least two inputs; got {len(input_shape)}")
        return list(input_shape)


@LAYERS.register()
class Add(_Merge):
    __doc__ = "Sum of the inputs.\n\n" + str(_Merge.__doc__).split("\n\n", 1)[1]

    def forward(self, x: Sequence[Any], ctx: Context) -> Any:
        ctx.save([a.shape for a in x])
        y = x[0] + x[1]
        for a in x[2:]:
            y = y + a  # not in place: a may be larger than the sum so far
        return y

    def backward(self, dy: Any, ctx: Context) -> list[Any]:
        (shapes,) = ctx.saved
        return [_unbroadcast(dy, shape) for shape in shapes]


@LAYERS.register()
class Multiply(_Merge):
    __doc__ = "Product of the inputs.\n\n" + str(_Merge.__doc__).split("\n\n", 1)[1]

    def forward(self, x: Sequence[Any], ctx: Context) -> Any:
        ctx.save(list(x))
        y = x[0] * x[1]
        for a in x[2:]:
            y = y * a
        return y

    def backward(self, dy: Any, ctx: Context) -> list[Any]:
        (x,) = ctx.saved
        gradients = []
        for i, a in enumerate(x):
            dx = dy
            for j, other in enumerate(x):
                if j != i:
                    dx = dx * other
            gradients.append(_unbroadcast(dx, a.shape))
        return gradients


@LAYERS.register()
class Concatenate(_Merge):
    """The inputs side by side along an axis.

    Args:
        axis: -1, the channels; not 0, the batch.

    Shape:
        a list of arrays that differ along the axis alone; their sizes there add up.
    """

    def __init__(self, axis: int = -1, **kwargs: Any):
        super().__init__(**kwargs)
        self.axis = axis

    def compute_output_shape(self, input_shape: Any) -> Any:
        shapes = self._shapes(input_shape)
        rank = len(shapes[0])
        axis = self.axis % rank if -rank <= self.axis < rank else 0
        rest = {(len(s), *s[:axis], *s[axis + 1 :]) for s in shapes}
        if axis == 0 or len(rest) > 1:
            raise ValueError(
                f"{self.described} along axis {self.axis} needs inputs that differ there alone, "
                f"and not along the batch; got {[tuple(s) for s in shapes]}"
            )
        merged = list(shapes[0])
        merged[axis] = sum(s[axis] for s in shapes)
        return tuple(merged)

    def forward(self, x: Sequence[Any], ctx: Context) -> Any:
        ctx.save([a.shape[self.axis] for a in x])
        return array_module(x[0]).concatenate(list(x), axis=self.axis)

    def backward(self, dy: Any, ctx: Context) -> list[Any]:
        (sizes,) = ctx.saved
        parts, start = [], 0
        index = [slice(None)] * dy.ndim
        for size in sizes:
            index[self.axis] = slice(start, start + size)
            parts.append(dy[tuple(index)])
            start += size
        return parts


def _unbroadcast(dy: Any, shape: tuple[int, ...]) -> Any:
    """The adjoint of broadcasting: sums over the axes along which an input was repeated."""
    axes = tuple(i for i, (a, b) in enumerate(zip(dy.shape, shape, strict=True)) if a != b)
    if not axes:
        return dy
    return dy.sum(axis=axes, dtype=wide(dy.dtype), keepdims=True).astype(dy.dtype, copy=False)


def add(inputs: Sequence[Any], **kwargs: Any) -> Any:
    """`Add` as a function."""
    return Add(**kwargs)(list(inputs))


def multiply(inputs: Sequence[Any], **kwargs: Any) -> Any:
    """`Multiply` as a function."""
    return Multiply(**kwargs)(list(inputs))


def concatenate(inputs: Sequence[Any], axis: int = -1, **kwargs: Any) -> Any:
    """`Concatenate` as a function."""
    return Concatenate(axis=axis, **kwargs)(list(inputs))
