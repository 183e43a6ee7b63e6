"""Layers that take several inputs to one output."""

from collections.abc import Sequence
from typing import Any

from minicnn.backend import array_module
from minicnn.dtypes import wide
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
        common = _common(shapes, broadcast=True)
        if common is None:
            raise ValueError(f"{self.described} needs inputs of one shape; got {shapes}")
        return common


def _common(shapes: list[Shape], broadcast: bool = False) -> Shape | None:
    """The shape that all `shapes` have where they say a size, None along an axis where one is open;
    sizes of 1 fit all where they are `broadcast`. None if there is no such shape."""
    common: list[int | None] = []
    for axis, sizes in enumerate(zip(*shapes, strict=False)):
        fixed = set(sizes) - {None} - ({1} if broadcast and axis else set())
        if len(fixed) > 1:
            return None
        # the batch is as long as one of them says
        is_open = None in sizes and (axis or not fixed)
        common.append(None if is_open else fixed.pop() if fixed else 1)
    return tuple(common) if len({len(s) for s in shapes}) == 1 else None


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
        return [unbroadcast(dy, shape) for shape in shapes]


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
            gradients.append(unbroadcast(dx, a.shape))
        return gradients


@LAYERS.register()
class Average(Add):
    """Mean of the inputs, element by element.

    Args:
        kwargs: see `Layer`.

    Shape:
        a list of arrays of one shape to an array of that shape; sizes of 1 are broadcast.

    Raises:
        ValueError: fewer than two inputs, or shapes that do not fit.
    """

    def forward(self, x: Sequence[Array], ctx: Context) -> Array:
        return super().forward(x, ctx) / len(x)

    def backward(self, dy: Array, ctx: Context) -> list[Array]:
        return super().backward(dy / len(ctx.saved[0]), ctx)


@LAYERS.register()
class Subtract(_Merge):
    """The first input less the second, element by element.

    Args:
        kwargs: see `Layer`.

    Shape:
        a list of two arrays of one shape to an array of that shape; sizes of 1 are broadcast.

    Raises:
        ValueError: not two inputs, or shapes that do not fit.
    """

    def _merged(self, shapes: list[Shape]) -> Shape:
        if len(shapes) != 2:
            raise ValueError(f"{self.described} takes exactly two inputs; got {len(shapes)}")
        return super()._merged(shapes)

    def forward(self, x: Sequence[Array], ctx: Context) -> Array:
        ctx.save([a.shape for a in x])
        return x[0] - x[1]

    def backward(self, dy: Array, ctx: Context) -> list[Array]:
        first, second = ctx.saved[0]
        return [unbroadcast(dy, first), unbroadcast(-dy, second)]


@LAYERS.register()
class Maximum(_Merge):
    """The largest of the inputs, element by element. Of two that are equal each gets half of the
    gradient.

    Args:
        kwargs: see `Layer`.

    Shape:
        a list of arrays of one shape to an array of that shape; sizes of 1 are broadcast.

    Raises:
        ValueError: fewer than two inputs, or shapes that do not fit.
    """

    _further = "maximum"

    def forward(self, x: Sequence[Array], ctx: Context) -> Array:
        further = getattr(array_module(x[0]), self._further)
        so_far = [x[0]]
        for a in x[1:]:
            so_far.append(further(so_far[-1], a))
        ctx.save(list(x), so_far)
        return so_far[-1]

    def backward(self, dy: Array, ctx: Context) -> list[Array]:
        xs, so_far = ctx.saved
        gradients = []
        for a, before, y in reversed(list(zip(xs[1:], so_far, so_far[1:], strict=False))):
            share = dy * ((a == y) * (1 - 0.5 * (before == y))).astype(dy.dtype)
            gradients.append(unbroadcast(share, a.shape))
            dy = unbroadcast(dy - share, before.shape)
        return [dy, *reversed(gradients)]


@LAYERS.register()
class Minimum(Maximum):
    """The smallest of the inputs, element by element. Of two that are equal each gets half of the
    gradient.

    Args:
        kwargs: see `Layer`.

    Shape:
        a list of arrays of one shape to an array of that shape; sizes of 1 are broadcast.

    Raises:
        ValueError: fewer than two inputs, or shapes that do not fit.
    """

    _further = "minimum"


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
        rank = len(shapes[0])
        axis = self.axis % rank if -rank <= self.axis < rank else 0
        first = _common([(*s[:axis], None, *s[axis + 1 :]) for s in shapes])
        if axis == 0 or first is None:
            raise ValueError(
                f"{self.described} along axis {self.axis} needs inputs that differ there alone, "
                f"and not along the batch; got {shapes}"
            )
        along = [s[axis] for s in shapes]
        size = None if None in along else sum(s or 0 for s in along)
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


def unbroadcast(dy: Array, shape: tuple[int, ...]) -> Array:
    """The adjoint of broadcasting: the sum of dy over the axes along which an input of `shape` was
    repeated."""
    axes = tuple(i for i, (a, b) in enumerate(zip(dy.shape, shape, strict=True)) if a != b)
    if not axes:
        return dy
    return dy.sum(axis=axes, dtype=wide(dy.dtype), keepdims=True).astype(dy.dtype, copy=False)


def add(inputs: Sequence[Any], **kwargs: Any) -> Any:
    """`Add` of `inputs`, symbolic tensors of a model or arrays; `kwargs` as for `Add`."""
    return Add(**kwargs)(list(inputs))


def average(inputs: Sequence[Any], **kwargs: Any) -> Any:
    """`Average` of `inputs`, symbolic tensors of a model or arrays; `kwargs` as for `Average`."""
    return Average(**kwargs)(list(inputs))


def maximum(inputs: Sequence[Any], **kwargs: Any) -> Any:
    """`Maximum` of `inputs`, symbolic tensors of a model or arrays; `kwargs` as for `Maximum`."""
    return Maximum(**kwargs)(list(inputs))


def minimum(inputs: Sequence[Any], **kwargs: Any) -> Any:
    """`Minimum` of `inputs`, symbolic tensors of a model or arrays; `kwargs` as for `Minimum`."""
    return Minimum(**kwargs)(list(inputs))


def multiply(inputs: Sequence[Any], **kwargs: Any) -> Any:
    """`Multiply` of `inputs`, symbolic tensors of a model or arrays; `kwargs` as for `Multiply`."""
    return Multiply(**kwargs)(list(inputs))


def subtract(inputs: Sequence[Any], **kwargs: Any) -> Any:
    """`Subtract` of `inputs`, symbolic tensors of a model or arrays; `kwargs` as for `Subtract`."""
    return Subtract(**kwargs)(list(inputs))


def concatenate(inputs: Sequence[Any], axis: int = -1, **kwargs: Any) -> Any:
    """`Concatenate` of `inputs`, symbolic tensors of a model or arrays, along `axis`; `kwargs` as
    for `Concatenate`."""
    return Concatenate(axis=axis, **kwargs)(list(inputs))
