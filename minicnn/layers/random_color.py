"""Augmentation of colours, each pixel by itself."""

from typing import Any

from minicnn.backend import array_module
from minicnn.kernels import hsv
from minicnn.layers import arguments
from minicnn.layers.augmentation import (
    RandomImageLayer,
    cut_off,
    factor_range,
    of_images,
    spread,
    value_bounds,
)
from minicnn.layers.base import LAYERS
from minicnn.layers.context import Context
from minicnn.typing import Array

_BYTE = 255  # some changes are those of images of bytes, whatever the range of values
_LUMINANCE = (0.2989, 0.587, 0.114)  # of red, green, blue (ITU-R BT.601)
_EPSILON = 1e-7


class RandomColorLayer(RandomImageLayer):
    """Base of the layers here that draw a factor.

    Args:
        factor: f for (0, f), or (lower, upper), from 0 to 1.
        value_range: smallest and largest value of a pixel.
        data_format, seed, kwargs: see `RandomImageLayer`.
    """

    def __init__(
        self,
        factor: Any,
        value_range: Any = (0, 255),
        data_format: str | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ):
        super().__init__(seed, data_format, **kwargs)
        self.factor = factor_range(self, "factor", factor, 0.0)
        self.value_range = value_bounds(self, value_range)

    def parameters(self, draws: Array, shape: tuple[int, ...]) -> tuple[Any, ...]:
        return (spread(draws[:, 0], self.factor),)


def _towards_grey(x: Array, f: Array) -> Array:
    """(1 - f) x + f grey(x)."""
    if x.shape[3] == 1:
        return x
    grey = sum(x[..., c] * weight for c, weight in enumerate(_LUMINANCE))
    return (1 - f) * x + f * grey[..., None]


def _towards_grey_gradient(dy: Array, f: Array) -> Array:
    if dy.shape[3] == 1:
        return dy
    d_grey = f[..., 0] * dy.sum(3)
    dx = (1 - f) * dy
    for c, weight in enumerate(_LUMINANCE):
        dx[..., c] += weight * d_grey
    return dx


@LAYERS.register()
class RandomGrayscale(RandomImageLayer):
    """In training, makes an image grey with probability `factor`; it keeps its channels.

    Args:
        factor: probability from 0 to 1.
        data_format, seed, kwargs: see `RandomImageLayer`.

    Shape:
        (N, H, W, C), kept; C 3 or 1.
    """

    channels = (1, 3)

    def __init__(
        self,
        factor: float = 0.5,
        data_format: str | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ):
        super().__init__(seed, data_format, **kwargs)
        self.factor = arguments.fraction(self, "factor", factor, below_one=False)

    def parameters(self, draws: Array, shape: tuple[int, ...]) -> tuple[Any, ...]:
        return (draws[:, 0] < self.factor,)

    def transform(self, x: Array, ctx: Context, *parameters: Any) -> Array:
        f = of_images(parameters[0], x)
        ctx.save(f)
        return _towards_grey(x, f)

    def gradient(self, dy: Array, ctx: Context) -> Array:
        return _towards_grey_gradient(dy, *ctx.saved)


@LAYERS.register()
class RandomColorDegeneration(RandomColorLayer):
    """In training, mixes each image with its grey self: y = (1 - f) x + f grey(x).

    Args:
        factor: f from 0 (as it is) to 1 (grey); see `RandomColorLayer`.
        value_range: the result is cut off there.
        data_format, seed, kwargs: see `RandomImageLayer`.

    Shape:
        (N, H, W, C), kept; C 3 or 1.
    """

    channels = (1, 3)

    def transform(self, x: Array, ctx: Context, *parameters: Any) -> Array:
        f = of_images(parameters[0], x)
        y, inside = cut_off(_towards_grey(x, f), self.value_range, ctx)
        ctx.save(f, inside)
        return y

    def gradient(self, dy: Array, ctx: Context) -> Array:
        f, inside = ctx.saved
        return _towards_grey_gradient(dy * inside, f)


@LAYERS.register()
class RandomHue(RandomColorLayer):
    """In training, turns the hue of each image, one way or the other, by half a turn at most.

    Args:
        factor: from 0 (none) to 1 (half a turn), or down to -1 in a tuple; see `RandomColorLayer`.
        value_range: the result is cut off there.
        data_format, seed, kwargs: see `RandomImageLayer`.

    Shape:
        (N, H, W, 3), kept.
    """

    channels = (3,)
    draws = 2

    def __init__(
        self,
        factor: Any,
        value_range: Any = (0, 255),
        data_format: str | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ):
        super().__init__(0.0, value_range, data_format, seed, **kwargs)
        low = -1.0 if isinstance(factor, (tuple, list)) else 0.0
        self.factor = factor_range(self, "factor", factor, low)

    def parameters(self, draws: Array, shape: tuple[int, ...]) -> tuple[Any, ...]:
        sign = array_module(draws).where(draws[:, 0] > 0.5, -1, 1).astype(draws.dtype)
        return (0.5 * sign * spread(draws[:, 1], self.factor),)

    def transform(self, x: Array, ctx: Context, *parameters: Any) -> Array:
        turn = of_images(parameters[0], x)[..., 0]
        y, inside = cut_off(hsv.turn_hue(x, turn), self.value_range, ctx)
        ctx.save(x, turn, inside)
        return y

    def gradient(self, dy: Array, ctx: Context) -> Array:
        x, turn, inside = ctx.saved
        return hsv.turn_hue_gradient(dy * inside, x, turn)


@LAYERS.register()
class RandomSaturation(RandomColorLayer):
    """In training, multiplies the saturation of each image by f / (1 - f).

    As in Keras the saturation, from 0 to 1, is cut off at `value_range` and the values are not: of
    pixels in (0, 255) some become negative where f > 0.5. With (0, 1) they do not.

    Args:
        factor: f from 0 (grey) by 0.5 (as it is) to 1 (fully saturated); see `RandomColorLayer`.
        value_range, data_format, seed, kwargs: see `RandomColorLayer`.

    Shape:
        (N, H, W, 3), kept.
    """

    channels = (3,)

    def parameters(self, draws: Array, shape: tuple[int, ...]) -> tuple[Any, ...]:
        f = spread(draws[:, 0], self.factor)
        return (f / (1 - f + _EPSILON),)

    def transform(self, x: Array, ctx: Context, *parameters: Any) -> Array:
        factor = of_images(parameters[0], x)[..., 0]
        ctx.save(x, factor)
        return hsv.scale_saturation(x, factor, *self.value_range)

    def gradient(self, dy: Array, ctx: Context) -> Array:
        x, factor = ctx.saved
        return hsv.scale_saturation_gradient(dy, x, factor, *self.value_range)


@LAYERS.register()
class RandomInvert(RandomColorLayer):
    """In training, makes a negative of some images: y = largest value - x.

    Args:
        factor: range of the probability, which is drawn for each image; see `RandomColorLayer`.
        value_range, seed, data_format, kwargs: see `RandomColorLayer`.

    Shape:
        (N, H, W, C), kept.
    """

    draws = 2

    def __init__(
        self,
        factor: Any = 1.0,
        value_range: Any = (0, 255),
        seed: int | None = None,
        data_format: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(factor, value_range, data_format, seed, **kwargs)

    def parameters(self, draws: Array, shape: tuple[int, ...]) -> tuple[Any, ...]:
        return (draws[:, 1] < spread(draws[:, 0], self.factor),)

    def transform(self, x: Array, ctx: Context, *parameters: Any) -> Array:
        inverted = of_images(parameters[0], x)
        ctx.save(1 - 2 * inverted)
        return inverted * self.value_range[1] + (1 - 2 * inverted) * x

    def gradient(self, dy: Array, ctx: Context) -> Array:
        return dy * ctx.saved[0]


@LAYERS.register()
class RandomPosterization(RandomColorLayer):
    """In training, leaves the pixels of each image b of the 8 bits of a byte; no gradient passes.

    Args:
        factor: b is drawn from 1 to factor - 1, or with (lower, upper) from lower to upper - 1;
            where the two are equal it is that number. Integers from 1 to 8.
        value_range: what becomes the bytes 0 and 255.
        data_format, seed, kwargs: see `RandomImageLayer`.

    Shape:
        (N, H, W, C), kept.

    Source: Cubuk et al., "AutoAugment" (2019).
    """

    def __init__(
        self,
        factor: Any,
        value_range: Any = (0, 255),
        data_format: str | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ):
        super().__init__(0.0, value_range, data_format, seed, **kwargs)
        self.factor = factor_range(self, "factor", factor, 1, 8)
        if any(f != int(f) for f in self.factor):
            raise ValueError(f"{self.described}: factor is a number of bits; got {factor!r}")
        self.factor = int(self.factor[0]), int(self.factor[1])

    def parameters(self, draws: Array, shape: tuple[int, ...]) -> tuple[Any, ...]:
        return (array_module(draws).floor(spread(draws[:, 0], self.factor)),)

    def transform(self, x: Array, ctx: Context, *parameters: Any) -> Array:
        xp = array_module(x)
        low, high = self.value_range
        step = 2 ** (8 - of_images(parameters[0], x))
        ctx.save(())
        byte = xp.clip((x - low) / (high - low) * _BYTE, 0, _BYTE)
        return xp.floor(byte / step) * step / _BYTE * (high - low) + low

    def gradient(self, dy: Array, ctx: Context) -> Array:
        return array_module(dy).zeros_like(dy)


@LAYERS.register()
class Solarization(RandomImageLayer):
    """In training, adds a number to each image and inverts its pixels above a threshold.

    Args:
        addition_factor: f for (0, f), or (lower, upper), from 0 to 1: what is added, as a fraction
            of the width of value_range.
        threshold_factor: the same for the threshold; at 0 all pixels are inverted.
        value_range: smallest and largest value of a pixel; sums are cut off there.
        seed, kwargs: see `RandomImageLayer`.

    Shape:
        (N, H, W, C), kept.

    Source: Cubuk et al., "AutoAugment" (2019).
    """

    draws = 2

    def __init__(
        self,
        addition_factor: Any = 0.0,
        threshold_factor: Any = 0.0,
        value_range: Any = (0, 255),
        seed: int | None = None,
        **kwargs: Any,
    ):
        super().__init__(seed, **kwargs)
        self.addition_factor = factor_range(self, "addition_factor", addition_factor, 0.0)
        self.threshold_factor = factor_range(self, "threshold_factor", threshold_factor, 0.0)
        self.value_range = value_bounds(self, value_range)

    def parameters(self, draws: Array, shape: tuple[int, ...]) -> tuple[Any, ...]:
        addition = spread(draws[:, 0], self.addition_factor)
        return _BYTE * addition, _BYTE * spread(draws[:, 1], self.threshold_factor)

    def transform(self, x: Array, ctx: Context, *parameters: Any) -> Array:
        low, high = self.value_range
        addition, threshold = (of_images(p, x) for p in parameters)
        byte = (x - low) / (high - low) * _BYTE + addition
        byte, inside = cut_off(byte, (0, _BYTE), ctx)
        kept = byte < threshold
        ctx.save(kept, inside)
        byte = array_module(x).where(kept, byte, _BYTE - byte)
        return byte / _BYTE * (high - low) + low

    def gradient(self, dy: Array, ctx: Context) -> Array:
        kept, inside = ctx.saved
        return array_module(dy).where(kept, dy, -dy) * inside
