"""Layers that only move elements: Identity, Permute, Cropping2D, RepeatVector."""

from collections.abc import Sequence
from typing import Any

from minicnn.dtypes import wide
from minicnn.kernels.windows import crop, pad
from minicnn.layers import arguments
from minicnn.layers.base import LAYERS, Layer, require_rank
from minicnn.layers.context import Context
from minicnn.regularizers import L1L2
from minicnn.typing import Array, Shape


@LAYERS.register()
class Identity(Layer):
    """y = x, an array or a list of them.

    Args:
        kwargs: see `Layer`.

    Shape:
        any, kept.
    """

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape

    def forward(self, x: Array | list[Array], ctx: Context) -> Array | list[Array]:
        return x

    def backward(self, dy: Array | list[Array], ctx: Context) -> Array | list[Array]:
        return dy


@LAYERS.register()
class ActivityRegularization(Identity):
    """y = x, with the penalty (l1 sum |x| + l2 sum x²) / N on a batch of N images.

    Args:
        l1, l2: factors, 0 or above.
        kwargs: see `Layer`.

    Shape:
        any, kept.

    Raises:
        ValueError: a factor that is negative or not finite.
    """

    def __init__(self, l1: float = 0.0, l2: float = 0.0, **kwargs: Any):
        super().__init__(activity_regularizer=L1L2(l1, l2), **kwargs)
        self.l1, self.l2 = l1, l2

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["activity_regularizer"]
        return config


@LAYERS.register()
class Permute(Layer):
    """The axes of each image in another order.

    Args:
        dims: the axes, counted from 1, in their new order: (2, 1, 3) exchanges rows and columns.
        kwargs: see `Layer`.

    Shape:
        (N, d1, d2, ...) to (N, d of dims[0], d of dims[1], ...).

    Raises:
        ValueError: dims that are not the numbers 1, 2 ... in some order; inputs of another number
            of axes.
    """

    def __init__(self, dims: Sequence[int], **kwargs: Any):
        super().__init__(**kwargs)
        self.dims = tuple(dims)
        if sorted(self.dims) != list(range(1, len(self.dims) + 1)):
            raise ValueError(
                f"{self.described}: dims must be the axes 1 to {len(self.dims)} in some order, "
                f"not {dims!r}"
            )

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        require_rank(self, input_shape, len(self.dims) + 1, f"the batch and {len(self.dims)} more")
        return (input_shape[0], *(input_shape[axis] for axis in self.dims))

    def forward(self, x: Array, ctx: Context) -> Array:
        return x.transpose(0, *self.dims)

    def backward(self, dy: Array, ctx: Context) -> Array:
        places = (self.dims.index(axis) + 1 for axis in range(1, len(self.dims) + 1))
        return dy.transpose(0, *places)


@LAYERS.register()
class Cropping2D(Layer):
    """Each image without rows and columns at its sides.

    Args:
        cropping: one integer for all sides, (rows, columns), or ((top, bottom), (left, right)).
        data_format: "channels_last".
        kwargs: see `Layer`.

    Shape:
        (N, H, W, C) to (N, H - top - bottom, W - left - right, C).

    Raises:
        ValueError: a bad argument; an image of which nothing would be left.
    """

    def __init__(
        self, cropping: Any = ((0, 0), (0, 0)), data_format: str | None = None, **kwargs: Any
    ):
        super().__init__(**kwargs)
        self.cropping = arguments.sides(self, "cropping", cropping)
        self.data_format = arguments.channels_last(self, data_format)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        require_rank(self, input_shape, 4, "(batch, height, width, channels)")
        sizes = arguments.each_size(
            lambda size, pair: size - sum(pair), input_shape[1:3], self.cropping
        )
        if any(size is not None and size < 1 for size in sizes):
            raise ValueError(
                f"{self.described}: nothing would be left of images of shape "
                f"{tuple(input_shape[1:])}; cropping is {self.cropping}"
            )
        return (input_shape[0], *sizes, input_shape[-1])

    def forward(self, x: Array, ctx: Context) -> Array:
        return crop(x, self.cropping)

    def backward(self, dy: Array, ctx: Context) -> Array:
        return pad(dy, self.cropping)


@LAYERS.register()
class RepeatVector(Layer):
    """Each row n times: y[:, i] = x.

    Args:
        n: how often, above 0.
        kwargs: see `Layer`.

    Shape:
        (N, features) to (N, n, features).

    Raises:
        ValueError: a bad n; inputs that are not rows.
    """

    def __init__(self, n: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.n = arguments.positive_int(self, "n", n)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        require_rank(self, input_shape, 2, "(batch, features)")
        return (input_shape[0], self.n, input_shape[1])

    def forward(self, x: Array, ctx: Context) -> Array:
        return x[:, None].repeat(self.n, axis=1)

    def backward(self, dy: Array, ctx: Context) -> Array:
        return dy.sum(axis=1, dtype=wide(dy.dtype)).astype(dy.dtype, copy=False)
