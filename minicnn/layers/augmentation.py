"""Augmentation: the base of its layers; flips, crops, brightness and contrast.

In training each image is changed in its own way, and so it is where a layer, or a model of such
layers, is called on arrays without saying `training=`; otherwise none is. The gradient goes back
through the change, for the few models in which something before it learns.

A layer says how many uniform numbers it draws for an image (`draws`), what these mean
(`parameters`), how a batch is changed by them (`transform`), and its gradient. All numbers of an
image are drawn together and image after image, so that they do not depend on how a batch is cut up.
Numbers that hold for the whole batch are those of its first image, in layers of the `whole_batch`.
"""

from numbers import Real
from typing import Any

from minicnn.backend import array_module, asarray
from minicnn.dtypes import widened
from minicnn.kernels.shift import windows, windows_gradient
from minicnn.layers import arguments
from minicnn.layers.base import LAYERS, Layer, require_rank
from minicnn.layers.context import Context
from minicnn.layers.nodes import SymbolicTensor
from minicnn.layers.seeded import SeededLayer
from minicnn.registry import near_matches
from minicnn.typing import Array, Shape


class RandomImageLayer(SeededLayer):
    """Base of the augmentation layers: images (N, H, W, C) in, images out. Called on arrays, they
    also take a single image (H, W, C), or a dict {"images": ..., "labels": ...} (labels stay).

    Args:
        seed: see `SeededLayer`.
        data_format: "channels_last".
        kwargs: see `Layer`.

    Attributes:
        draws: how many numbers are drawn for an image.
        widens: whether images of 16 bits are changed as ones of 32.
        channels: how many an image may have; any number, if there are none.
    """

    draws = 1
    widens = True
    channels: tuple[int, ...] = ()

    def __init__(self, seed: int | None = None, data_format: str | None = None, **kwargs: Any):
        super().__init__(seed, **kwargs)
        self.data_format = arguments.channels_last(self, data_format)

    # What a layer defines

    def parameters(self, draws: Array, shape: tuple[int, ...]) -> tuple[Any, ...]:
        """What `transform` is given, from uniform numbers.

        Args:
            draws: (N, draws_for(shape)), from 0 to 1, in float32.
            shape: of the images, (N, H, W, C).
        """
        return ()

    def transform(self, x: Array, ctx: Context, *parameters: Any) -> Array:
        """Images x, changed by `parameters`; what `gradient` needs, which is something, goes to
        `ctx.save`."""
        raise NotImplementedError(f"{type(self).__name__} does not define transform(x, ctx, ...)")

    def gradient(self, dy: Array, ctx: Context) -> Array:
        """dx from dy, after a `transform` with the same `ctx`."""
        raise NotImplementedError(f"{type(self).__name__} does not define gradient(dy, ctx)")

    # What follows from it

    def augments(self, ctx: Context) -> bool:
        """Whether the call of `ctx` changes images: in training, and where nobody said whether."""
        return ctx.training or ctx.training is None

    def draws_for(self, shape: tuple[int, ...]) -> int:
        """How many numbers are drawn for each image of a batch of this `shape`."""
        return self.draws

    def drawn(self, shape: tuple[int, ...], ctx: Context) -> tuple[Any, ...]:
        """The parameters for images of this `shape`, drawn in the call of `ctx`."""
        return self.parameters(self.draw(ctx, shape[0], self.draws_for(shape)), shape)

    def forward(self, x: Array, ctx: Context) -> Array:
        if not self.augments(ctx):
            return x
        wide = widened(x) if self.widens else x
        y = self.transform(wide, ctx, *self.drawn(x.shape, ctx))
        return y.astype(x.dtype, copy=False)

    def backward(self, dy: Array, ctx: Context) -> Array:
        if not ctx.saved:
            return dy
        wide = widened(dy) if self.widens else dy
        return self.gradient(wide, ctx).astype(dy.dtype, copy=False)

    def __call__(
        self, x: SymbolicTensor | Array | dict[str, Any], training: bool | None = None
    ) -> Any:
        if isinstance(x, SymbolicTensor):
            return super().__call__(x, training)
        if isinstance(x, dict):
            if "images" not in x or set(x) - {"images", "labels"}:
                raise ValueError(
                    f'{self.described} takes a dict of "images" and, where there are any, '
                    f'"labels", not of {list(x)}: boxes and masks are not supported'
                )
            return self._call_on_dict(x, training)
        x = asarray(x)
        if x.ndim == 3:
            return super().__call__(x[None], training)[0]
        return super().__call__(x, training)

    def _call_on_dict(self, data: dict[str, Any], training: bool | None) -> dict[str, Any]:
        return {**data, "images": self(data["images"], training)}

    def build(self, input_shape: Shape) -> None:
        self.compute_output_shape(input_shape)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        require_rank(self, input_shape, 4, "(N, height, width, channels)")
        if self.channels and input_shape[3] not in self.channels:
            raise ValueError(
                f"{self.described} changes images of {' or '.join(map(str, self.channels))} "
                f"channels; got shape {tuple(input_shape)}"
            )
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        """The arguments, without a seed where nothing is drawn."""
        config = super().get_config()
        if not self.draws:
            del config["seed"]
        return config


class RandomColorLayer(RandomImageLayer):
    """Base of layers that change values of pixels where they are: by a factor, if they say no more.

    Args:
        factor: f for (0, f), or (lower, upper), from 0 to 1.
        value_range: smallest and largest value of a pixel; results are cut off there.
        data_format, seed, kwargs: see `RandomImageLayer`.

    Attributes:
        cuts: whether results are cut off.
        lowest: what may stand in a tuple, as in files of Keras for some layers.
    """

    cuts = True
    lowest = 0.0

    def __init__(
        self, factor: Any, value_range: Any = (0, 255), data_format: str | None = None,
        seed: int | None = None, **kwargs: Any,
    ):  # fmt: skip
        super().__init__(seed, data_format, **kwargs)
        low = self.lowest if isinstance(factor, (tuple, list)) else 0.0
        self.factor: Any = factor_range(self, "factor", factor, low)
        self.value_range = value_bounds(self, value_range)

    def parameters(self, draws: Array, shape: tuple[int, ...]) -> tuple[Any, ...]:
        return (spread(draws[:, 0], self.factor),)

    def change(self, x: Array, *parameters: Array) -> Array:
        """Images x, changed by `parameters` of shape (N, 1, 1, 1), before results are cut off."""
        raise NotImplementedError(f"{type(self).__name__} does not define change(x, ...)")

    def change_gradient(self, dy: Array, x: Array, *parameters: Array) -> Array:
        """dx from dy, for a `change` of `x` by `parameters`."""
        raise NotImplementedError(f"{type(self).__name__} does not define change_gradient(dy, ...)")

    def transform(self, x: Array, ctx: Context, *parameters: Any) -> Array:
        fitting = [p.reshape(-1, 1, 1, 1).astype(x.dtype, copy=False) for p in parameters]
        y, inside = self.change(x, *fitting), True
        if self.cuts:
            y, inside = cut_off(y, self.value_range, ctx)
        ctx.save(inside, x, *fitting)
        return y

    def gradient(self, dy: Array, ctx: Context) -> Array:
        inside, x, *parameters = ctx.saved
        return self.change_gradient(dy * inside, x, *parameters)


def over_pixels(reduction: str, x: Array) -> Array:
    """(N, 1, 1, C): the `reduction` "min", "max", "mean" or "sum" over the pixels of images x."""
    n, h, w, c = x.shape
    columns = getattr(x.reshape(n, h, w * c), reduction)(1)  # long rows: several times as fast
    return getattr(columns.reshape(n, w, c), reduction)(1).reshape(n, 1, 1, c)


def spread(u: Array, bounds: tuple[float, float]) -> Array:
    """Numbers between the `bounds` from numbers u between 0 and 1."""
    return bounds[0] + (bounds[1] - bounds[0]) * u


def happens(draws: Array, bounds: tuple[float, float]) -> Array:
    """(N,) booleans from `draws` (N, 2): the first is for a probability inside the `bounds`."""
    return draws[:, 1] < spread(draws[:, 0], bounds)


def cut_off(y: Array, bounds: tuple[float, float], ctx: Context) -> tuple[Array, Any]:
    """y inside the `bounds`, and where it was, if in `ctx` a gradient will ask for it."""
    low, high = bounds
    inside = (y >= low) & (y <= high) if ctx.record and ctx.needs_dx else None
    return array_module(y).clip(y, low, high), inside


def factor_range(
    layer: Layer, argument: str, value: Any, low: float = -1.0, high: float = 1.0
) -> tuple[float, float]:
    """(lower, upper) from a number f, for (-f, f) or, if that is higher, (low, f); or from two.

    Args:
        layer, argument: named in the error.
        value: what the user gave.
        low, high: bounds of what is allowed.

    Raises:
        ValueError: not one or two numbers from `low` to `high`.
    """
    values = value if isinstance(value, (tuple, list)) else (value, value)
    numbers = all(isinstance(v, Real) for v in values)
    if len(values) != 2 or not (numbers and all(low <= v <= high for v in values)):
        raise ValueError(
            f"{layer.described}: {argument} is a number, or a tuple (lower, upper), from "
            f"{low:g} to {high:g}; got {value!r}"
        )
    if values is not value:
        values = max(-abs(value), low), abs(value)
    return float(min(values)), float(max(values))


def value_bounds(layer: Layer, value_range: Any) -> tuple[float, float]:
    """(smallest, largest) value of a pixel from the user's `value_range`; `layer` is named in the
    error."""
    values = tuple(value_range) if isinstance(value_range, (tuple, list)) else ()
    if len(values) != 2 or not values[0] < values[1]:
        raise ValueError(
            f"{layer.described}: value_range is (smallest, largest) value of a pixel, such as "
            f"(0, 255) or (0, 1); got {value_range!r}"
        )
    return float(values[0]), float(values[1])


@LAYERS.register()
class RandomFlip(RandomImageLayer):
    """In training, mirrors each image with probability 1/2.

    With "horizontal_and_vertical" the two directions are drawn independently.

    Args:
        mode: "horizontal" (left and right swap), "vertical" or "horizontal_and_vertical".
        seed, data_format, kwargs: see `RandomImageLayer`.

    Shape:
        (N, H, W, C), kept.
    """

    draws = 2
    widens = False
    MODES = ("horizontal", "vertical", "horizontal_and_vertical")

    def __init__(
        self,
        mode: str = "horizontal_and_vertical",
        seed: int | None = None,
        data_format: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(seed, data_format, **kwargs)
        if mode not in self.MODES:
            raise ValueError(
                f"{self.described}: unknown mode {mode!r}; {near_matches(mode, self.MODES)}"
            )
        self.mode = mode

    def parameters(self, draws: Array, shape: tuple[int, ...]) -> tuple[Any, ...]:
        return (self._pixels(shape, draws < 0.5),)

    def transform(self, x: Array, ctx: Context, *parameters: Any) -> Array:
        ctx.save(*parameters)
        return _gather(x, *parameters)

    def gradient(self, dy: Array, ctx: Context) -> Array:
        return _gather(dy, *ctx.saved)  # a flip is its own inverse

    def _pixels(self, shape: tuple[int, ...], draws: Array) -> Array:
        """For each pixel the index, among all N H W, of the one that takes its place."""
        xp = array_module(draws)
        n, h, w, _ = shape
        rows = xp.arange(h)
        if self.mode != "horizontal":
            rows = xp.where(draws[:, :1], h - 1 - rows, rows)  # (N, H)
        columns = xp.arange(w)
        if self.mode != "vertical":
            columns = xp.where(draws[:, 1:], w - 1 - columns, columns)  # (N, W)
        first = xp.arange(0, n * h * w, h * w).reshape(n, 1, 1)
        return first + rows.reshape(-1, h, 1) * w + columns.reshape(-1, 1, w)


def _gather(x: Array, index: Array) -> Array:
    """Pixels of x (N, H, W, C) by their indices (N, H, W)."""
    return x.reshape(-1, x.shape[-1]).take(index.ravel(), axis=0).reshape(x.shape)


@LAYERS.register()
class RandomCrop(RandomImageLayer):
    """In training, cuts a window out of each image at a random place; else out of the middle.

    After `ZeroPadding2D(4)` it is the usual "pad and crop" of CIFAR-10.

    Args:
        height, width: size of the window, at most that of the image.
        seed, data_format, kwargs: see `RandomImageLayer`.

    Shape:
        (N, H, W, C) to (N, height, width, C).
    """

    def __init__(
        self,
        height: int,
        width: int,
        seed: int | None = None,
        data_format: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(seed, data_format, **kwargs)
        self.height = arguments.positive_int(self, "height", height)
        self.width = arguments.positive_int(self, "width", width)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        n, h, w, c = super().compute_output_shape(input_shape)
        if h is not None and h < self.height or w is not None and w < self.width:
            raise ValueError(
                f"{self.described} cannot cut {self.height}x{self.width} pixels out of an image "
                f"of {h}x{w}; pad it first (ZeroPadding2D) or ask for less"
            )
        return (n, self.height, self.width, c)

    def forward(self, x: Array, ctx: Context) -> Array:
        n, h, w, _ = x.shape
        down, right = h - self.height, w - self.width  # places for the window, less one
        if not self.augments(ctx):
            top, left = down // 2, right // 2
            ctx.save(x.shape, top, left)
            return x[:, top : top + self.height, left : left + self.width]
        draws = self.draw(ctx, n, 2)
        rows = (draws[:, 0] * (down + 1)).astype("int64")
        columns = (draws[:, 1] * (right + 1)).astype("int64")
        ctx.save(x.shape, rows, columns)
        x = array_module(x).ascontiguousarray(x)
        return windows(x, rows, columns, self.height, self.width)

    def backward(self, dy: Array, ctx: Context) -> Array:
        x_shape, rows, columns = ctx.saved
        if ctx.training:
            return windows_gradient(dy, x_shape, rows, columns, self.height, self.width)
        dx = array_module(dy).zeros(x_shape, dy.dtype)
        dx[:, rows : rows + self.height, columns : columns + self.width] = dy
        return dx


@LAYERS.register()
class RandomBrightness(RandomColorLayer):
    """In training, adds to each image a number drawn from factor times the width of value_range.

    Args:
        factor: f for (-f, f), or (lower, upper), from -1 (black) to 1 (white).
        value_range: smallest and largest value of a pixel; the result is cut off there.
        seed, kwargs: see `RandomImageLayer`.

    Shape:
        (N, H, W, C), kept.
    """

    def __init__(
        self, factor: Any, value_range: Any = (0, 255), seed: int | None = None, **kwargs: Any
    ):
        super().__init__(0.0, value_range, seed=seed, **kwargs)
        self.factor = factor_range(self, "factor", factor)

    def parameters(self, draws: Array, shape: tuple[int, ...]) -> tuple[Any, ...]:
        low, high = self.value_range
        lower, upper = (f * (high - low) for f in self.factor)
        return (spread(draws[:, 0], (lower, upper)),)

    def change(self, x: Array, *parameters: Array) -> Array:
        return x + parameters[0]

    def change_gradient(self, dy: Array, x: Array, *parameters: Array) -> Array:
        return dy


@LAYERS.register()
class RandomContrast(RandomColorLayer):
    """In training, spreads each image around the mean of each of its channels:
    y = (x - mean) * f + mean.

    Args:
        factor: f is drawn from 1 - lower to 1 + upper; (lower, upper), or one number for both,
            from 0 to 1.
        value_range: smallest and largest value of a pixel; the result is cut off there.
        seed, kwargs: see `RandomImageLayer`.

    Shape:
        (N, H, W, C), kept.
    """

    def __init__(
        self, factor: Any, value_range: Any = (0, 255), seed: int | None = None, **kwargs: Any
    ):
        super().__init__(factor, value_range, seed=seed, **kwargs)
        lower, upper = factor if isinstance(factor, (tuple, list)) else (factor, factor)
        self.factor = (float(lower), float(upper))

    def parameters(self, draws: Array, shape: tuple[int, ...]) -> tuple[Any, ...]:
        lower, upper = self.factor
        return (spread(draws[:, 0], (1 - lower, 1 + upper)),)

    def change(self, x: Array, *parameters: Array) -> Array:
        mean = over_pixels("mean", x)
        return (x - mean) * parameters[0] + mean

    def change_gradient(self, dy: Array, x: Array, *parameters: Array) -> Array:
        # dx = f dy + (1 - f) mean(dy): the mean reads every pixel of the channel
        f = parameters[0]
        return f * dy + (1 - f) * over_pixels("mean", dy)
