"""Layers that take several inputs to one output."""

from collections.abc import Sequence
from typing import Any

from minicnn.backend import array_module
from minicnn.dtypes import wide
from minicnn.layers import arguments
from minicnn.layers.base import LAYERS, Layer
from minicnn.layers.context import Context
from minicnn.typing import Array, Shape


class _Merge(Layer):
    """What the layers here share: a list of at least two inputs."""

    def compute_output_shape(self, input_shape: Any) -> Shape:
        if not isinstance(input_shape, (list, tuple)) or not all(
            isinstance(s, (list, tuple)) for s in input_shape
        ):
            raise ValueError(
                f"{self.described} takes a list of inputs, as in {type(self).__name__}()([a, b]); "
                f"got one of shape {input_shape}"
            )
        if len(input_shape) < 2:
            raise ValueError(f"{self.described} needs at least two inputs; got {len(input_shape)}")
        return self._merged([tuple(s) for s in input_shape])

    def _merged(self, shapes: list[Shape]) -> Shape:
        """The shape of the output, from those of the inputs: by default, of one shape but for sizes
        of 1, which are broadcast."""
        sizes_along = [set(sizes) - {1} for sizes in zip(*shapes, strict=False)]
        if len({len(s) for s in shapes}) > 1 or any(len(sizes) > 1 for sizes in sizes_along):
            raise ValueError(f"{self.described} needs inputs of one shape; got {shapes}")
        return tuple(sizes.pop() if sizes else 1 for sizes in sizes_along)


@LAYERS.register()
class Add(_Merge):
    """Sum of the inputs, element by element.

    Args:
        kwargs: see `Layer`.

    Shape:
        a list of arrays of one shape to an array of that shape; sizes of 1 are broadcast.

    Raises:
        ValueError: fewer than two inputs, or shapes that do not fit.
    """

    def forward(self, x: Sequence[Array], ctx: Context) -> Array:
        ctx.save([a.shape for a in x])
        y = x[0] + x[1]
        for a in x[2:]:
            y = y + a  # not in place: a may be larger than the sum so far
        return y

    def backward(self, dy: Array, ctx: Context) -> list[Array]:
        (shapes,) = ctx.saved
        return [_unbroadcast(dy, shape) for shape in shapes]


@LAYERS.register()
class Multiply(_Merge):
    """Product of the inputs, element by element.

    Args:
        kwargs: see `Layer`.

    Shape:
        a list of arrays of one shape to an array of that shape; sizes of 1 are broadcast.

    Raises:
        ValueError: fewer than two inputs, or shapes that do not fit.
    """

    def forward(self, x: Sequence[Array], ctx: Context) -> Array:
        ctx.save(list(x))
        y = x[0] * x[1]
        for a in x[2:]:
            y = y * a
        return y

    def backward(self, dy: Array, ctx: Context) -> list[Array]:
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
        axis: -1, the channels, or another; not 0, the batch.
        kwargs: see `Layer`.

    Shape:
        a list of arrays that differ along the axis alone; their sizes there add up.

    Raises:
        ValueError: fewer than two inputs, or shapes that do not fit.
    """

    def __init__(self, axis: int = -1, **kwargs: Any):
        super().__init__(**kwargs)
        self.axis = axis

    def _merged(self, shapes: list[Shape]) -> Shape:
        first = shapes[0]
        rank = len(first)
        axis = self.axis % rank if -rank <= self.axis < rank else 0
        rest = {(len(s), *s[:axis], *s[axis + 1 :]) for s in shapes}
        if axis == 0 or len(rest) > 1:
            raise ValueError(
                f"{self.described} along axis {self.axis} needs inputs that differ there alone, "
                f"and not along the batch; got {shapes}"
            )
        size = sum(arguments.fixed_sizes(self, tuple(s[axis] for s in shapes)))
        return (*first[:axis], size, *first[axis + 1 :])

    def forward(self, x: Sequence[Array], ctx: Context) -> Array:
        ctx.save([a.shape[self.axis] for a in x])
        return array_module(x[0]).concatenate(list(x), axis=self.axis)

    def backward(self, dy: Array, ctx: Context) -> list[Array]:
        (sizes,) = ctx.saved
        gradients, start = [], 0
        index = [slice(None)] * dy.ndim
        for size in sizes:
            index[self.axis] = slice(start, start + size)
            gradients.append(dy[tuple(index)])
            start += size
        return gradients


def _unbroadcast(dy: Array, shape: tuple[int, ...]) -> Array:
    """The adjoint of broadcasting: sums over the axes along which an input was repeated."""
    axes = tuple(i for i, (a, b) in enumerate(zip(dy.shape, shape, strict=True)) if a != b)
    if not axes:
        return dy
    return dy.sum(axis=axes, dtype=wide(dy.dtype), keepdims=True).astype(dy.dtype, copy=False)


def add(inputs: Sequence[Any], **kwargs: Any) -> Any:
    """`Add` as a function.

    Args:
        inputs: symbolic tensors of a model, or arrays.
        kwargs: see `Add`.
    """
    return Add(**kwargs)(list(inputs))


def multiply(inputs: Sequence[Any], **kwargs: Any) -> Any:
    """`Multiply` as a function.

    Args:
        inputs: symbolic tensors of a model, or arrays.
        kwargs: see `Multiply`.
    """
    return Multiply(**kwargs)(list(inputs))


def concatenate(inputs: Sequence[Any], axis: int = -1, **kwargs: Any) -> Any:
    """`Concatenate` as a function.

    Args:
        inputs: symbolic tensors of a model, or arrays.
        axis, kwargs: see `Concatenate`.
    """
    return Concatenate(axis=axis, **kwargs)(list(inputs))
