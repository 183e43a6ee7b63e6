"""Augmentation of colours, each pixel by itself."""

from typing import Any

from minicnn.backend import array_module
from minicnn.kernels import hsv
from minicnn.layers import arguments
from minicnn.layers.augmentation import RandomColorLayer, factor_range, happens, spread
from minicnn.layers.base import LAYERS
from minicnn.typing import Array

_LUMINANCE = (0.2989, 0.587, 0.114)  # of red, green, blue (ITU-R BT.601)


def to_bytes(x: Array, value_range: tuple[float, float]) -> Array:
    """Pixels x in `value_range` from 0 to 255, as some changes are defined."""
    low, high = value_range
    return (x - low) / (high - low) * 255


def from_bytes(y: Array, value_range: tuple[float, float]) -> Array:
    """What `to_bytes` made y from; the same `value_range`."""
    low, high = value_range
    return y / 255 * (high - low) + low


@LAYERS.register()
class RandomColorDegeneration(RandomColorLayer):
    """In training, mixes each image with its grey self: y = (1 - f) x + f grey(x).

    Args:
        factor: f from 0 (as it is) to 1 (grey); see `RandomColorLayer`.
        value_range, data_format, seed, kwargs: see `RandomColorLayer`.

    Shape: (N, H, W, C), kept; C 3 or 1.
    """

    channels = (1, 3)
    lowest = -1.0

    def change(self, x: Array, *parameters: Array) -> Array:
        if x.shape[3] == 1:
            return x
        f = parameters[0]
        grey = sum(x[..., c] * weight for c, weight in enumerate(_LUMINANCE))
        return (1 - f) * x + f * grey[..., None]

    def change_gradient(self, dy: Array, x: Array, *parameters: Array) -> Array:
        if x.shape[3] == 1:
            return dy
        f = parameters[0]
        dx = (1 - f) * dy
        for c, weight in enumerate(_LUMINANCE):
            dx[..., c] += weight * f[..., 0] * dy.sum(3)
        return dx


@LAYERS.register()
class RandomGrayscale(RandomColorDegeneration):
    """In training, makes an image grey with probability `factor`; it keeps its channels.

    Args:
        factor: probability from 0 to 1.
        data_format, seed, kwargs: see `RandomImageLayer`.

    Shape: (N, H, W, C), kept; C 3 or 1.
    """

    cuts = False

    def __init__(
        self, factor: float = 0.5, data_format: str | None = None, seed: int | None = None,
        **kwargs: Any,
    ):  # fmt: skip
        super().__init__(0.0, data_format=data_format, seed=seed, **kwargs)
        self.factor = arguments.fraction(self, "factor", factor, below_one=False)
        del self.value_range  # is no argument

    def parameters(self, draws: Array, shape: tuple[int, ...]) -> tuple[Any, ...]:
        return (draws[:, 0] < self.factor,)


@LAYERS.register()
class RandomHue(RandomColorLayer):
    """In training, turns the hue of each image, one way or the other, by half a turn at most.

    Args:
        factor: from 0 (none) to 1 (half a turn); see `RandomColorLayer`.
        value_range, data_format, seed, kwargs: see `RandomColorLayer`.

    Shape: (N, H, W, 3), kept.
    """

    channels = (3,)
    draws = 2
    lowest = -1.0

    def parameters(self, draws: Array, shape: tuple[int, ...]) -> tuple[Any, ...]:
        turn = 0.5 * spread(draws[:, 1], self.factor)
        return (array_module(draws).where(draws[:, 0] > 0.5, -turn, turn),)

    def change(self, x: Array, *parameters: Array) -> Array:
        return hsv.turn_hue(x, parameters[0])

    def change_gradient(self, dy: Array, x: Array, *parameters: Array) -> Array:
        return hsv.turn_hue_gradient(dy, x, parameters[0])


@LAYERS.register()
class RandomSaturation(RandomColorLayer):
    """In training, multiplies the saturation of each image by f / (1 - f).

    As in Keras it is the saturation, from 0 to 1, that is cut off at `value_range`, not the values:
    of pixels in (0, 255) some become negative where f > 0.5. With (0, 1) they do not.

    Args:
        factor: f from 0 (grey) by 0.5 (as it is) to 1 (fully saturated); see `RandomColorLayer`.
        value_range, data_format, seed, kwargs: see `RandomColorLayer`.

    Shape: (N, H, W, 3), kept.
    """

    channels = (3,)
    cuts = False
    lowest = -1.0

    def parameters(self, draws: Array, shape: tuple[int, ...]) -> tuple[Any, ...]:
        f = spread(draws[:, 0], self.factor)
        return (f / (1 - f + 1e-7),)

    def change(self, x: Array, *parameters: Array) -> Array:
        return hsv.scale_saturation(x, parameters[0], self.value_range)

    def change_gradient(self, dy: Array, x: Array, *parameters: Array) -> Array:
        return hsv.scale_saturation_gradient(dy, x, parameters[0], self.value_range)


@LAYERS.register()
class RandomInvert(RandomColorLayer):
    """In training, makes a negative of some images: y = largest value - x.

    Args:
        factor: range of the probability, which is drawn for each image; see `RandomColorLayer`.
        value_range, seed, data_format, kwargs: see `RandomColorLayer`.

    Shape: (N, H, W, C), kept.
    """

    draws = 2
    cuts = False

    def __init__(
        self, factor: Any = 1.0, value_range: Any = (0, 255), seed: int | None = None,
        data_format: str | None = None, **kwargs: Any,
    ):  # fmt: skip
        super().__init__(factor, value_range, data_format, seed, **kwargs)

    def parameters(self, draws: Array, shape: tuple[int, ...]) -> tuple[Any, ...]:
        return (happens(draws, self.factor),)

    def change(self, x: Array, *parameters: Array) -> Array:
        inverted = parameters[0]
        return inverted * self.value_range[1] + (1 - 2 * inverted) * x

    def change_gradient(self, dy: Array, x: Array, *parameters: Array) -> Array:
        return (1 - 2 * parameters[0]) * dy


@LAYERS.register()
class RandomPosterization(RandomColorLayer):
    """In training, leaves the pixels of each image b of the 8 bits of a byte; no gradient passes.

    Args:
        factor: b is drawn from 1 to factor - 1, or with (lower, upper) from lower to upper - 1;
            where the two are equal it is that number. Integers from 1 to 8.
        value_range: what become the bytes 0 and 255.
        data_format, seed, kwargs: see `RandomColorLayer`.

    Shape: (N, H, W, C), kept.
    """

    cuts = False

    def __init__(
        self, factor: Any, value_range: Any = (0, 255), data_format: str | None = None,
        seed: int | None = None, **kwargs: Any,
    ):  # fmt: skip
        super().__init__(0.0, value_range, data_format, seed, **kwargs)
        lower, upper = factor_range(self, "factor", factor, 1, 8)
        if lower != int(lower) or upper != int(upper):
            raise ValueError(f"{self.described}: factor is a number of bits; got {factor!r}")
        self.factor = int(lower), int(upper)

    def parameters(self, draws: Array, shape: tuple[int, ...]) -> tuple[Any, ...]:
        return (array_module(draws).floor(spread(draws[:, 0], self.factor)),)

    def change(self, x: Array, *parameters: Array) -> Array:
        xp = array_module(x)
        step = 2 ** (8 - parameters[0])
        kept = xp.floor(xp.clip(to_bytes(x, self.value_range), 0, 255) / step) * step
        return from_bytes(kept, self.value_range)

    def change_gradient(self, dy: Array, x: Array, *parameters: Array) -> Array:
        return array_module(dy).zeros_like(dy)


@LAYERS.register()
class Solarization(RandomColorLayer):
    """In training, adds a number to each image and inverts its pixels above a threshold.

    Args:
        addition_factor: f for (0, f), or (lower, upper), from 0 to 1: what is added, as a fraction
            of the width of value_range.
        threshold_factor: the same for the threshold; at 0 all pixels are inverted.
        value_range: smallest and largest value of a pixel; sums are cut off there.
        seed, kwargs: see `RandomImageLayer`.

    Shape: (N, H, W, C), kept.
    """

    draws = 2
    cuts = False

    def __init__(
        self, addition_factor: Any = 0.0, threshold_factor: Any = 0.0,
        value_range: Any = (0, 255), seed: int | None = None, **kwargs: Any,
    ):  # fmt: skip
        super().__init__(0.0, value_range, seed=seed, **kwargs)
        self.addition_factor = factor_range(self, "addition_factor", addition_factor, 0.0)
        self.threshold_factor = factor_range(self, "threshold_factor", threshold_factor, 0.0)
        del self.factor  # is no argument

    def parameters(self, draws: Array, shape: tuple[int, ...]) -> tuple[Any, ...]:
        addition = spread(draws[:, 0], self.addition_factor)
        return 255 * addition, 255 * spread(draws[:, 1], self.threshold_factor)

    def change(self, x: Array, *parameters: Array) -> Array:
        xp = array_module(x)
        addition, threshold = parameters
        byte = xp.clip(to_bytes(x, self.value_range) + addition, 0, 255)
        return from_bytes(xp.where(byte < threshold, byte, 255 - byte), self.value_range)

    def change_gradient(self, dy: Array, x: Array, *parameters: Array) -> Array:
        addition, threshold = parameters
        byte = to_bytes(x, self.value_range) + addition
        inside = (byte >= 0) & (byte <= 255)
        return array_module(dy).where(byte < threshold, dy, -dy) * inside
