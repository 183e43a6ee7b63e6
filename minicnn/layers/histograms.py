"""Images whose values are spread over all that there are: AutoContrast, Equalization."""

from typing import Any

from minicnn.backend import array_module
from minicnn.layers import arguments
from minicnn.layers.augmentation import RandomImageLayer, over_pixels, value_bounds
from minicnn.layers.base import LAYERS
from minicnn.layers.context import Context
from minicnn.typing import Array


@LAYERS.register()
class AutoContrast(RandomImageLayer):
    """Stretches each channel of each image so that it reaches from end to end of value_range, in
    training and outside: y = low + (x - min) / (max - min) * (high - low).

    A channel of a single value stays.

    Args:
        value_range: (low, high), smallest and largest value of a pixel.
        kwargs: see `RandomImageLayer`; there is no seed.

    Shape: (N, H, W, C), kept.
    """

    draws = 0

    def __init__(self, value_range: Any = (0, 255), **kwargs: Any):
        super().__init__(**kwargs)
        self.value_range = value_bounds(self, value_range)

    def augments(self, ctx: Context) -> bool:
        return True

    def transform(self, x: Array, ctx: Context, *parameters: Any) -> Array:
        xp = array_module(x)
        low, high = self.value_range
        least, most = over_pixels("min", x), over_pixels("max", x)
        flat = least == most
        width = xp.where(flat, 1, most - least)
        scale = xp.where(flat, 1, (high - low) / width)
        ctx.save(x, least, most, width, scale, flat)
        return xp.where(flat, x, (x - least) * scale + low)

    def gradient(self, dy: Array, ctx: Context) -> Array:
        x, least, most, width, scale, flat = ctx.saved
        share = (x - least) / width  # of the way from min to max
        dx = dy * scale
        # y moves with both ends, too, and each is the mean of the pixels that are equal to it
        for end, part in ((least, 1 - share), (most, share)):
            here = (x == end).astype(dy.dtype)
            moved = over_pixels("sum", dy * part) * scale * ~flat
            dx -= here * (moved / over_pixels("sum", here))
        return dx


@LAYERS.register()
class Equalization(RandomImageLayer):
    """In training, replaces values so that each becomes about as frequent as any other; no gradient
    passes.

    With the number c(v) of pixels up to a bin v, the new value is (c(v) - c_min) / (c_max - c_min),
    rounded to a byte. As in Keras, each channel is counted over all images of the batch. A channel
    that fills a single bin stays.

    Args:
        value_range: smallest and largest value of a pixel.
        bins: of the histogram.
        data_format, kwargs: see `RandomImageLayer`; there is no seed.

    Shape: (N, H, W, C), kept.
    """

    draws = 0
    whole_batch = True

    def __init__(
        self, value_range: Any = (0, 255), bins: int = 256, data_format: str | None = None,
        **kwargs: Any,
    ):  # fmt: skip
        super().__init__(data_format=data_format, **kwargs)
        self.value_range = value_bounds(self, value_range)
        self.bins = arguments.positive_int(self, "bins", bins)

    def transform(self, x: Array, ctx: Context, *parameters: Any) -> Array:
        xp = array_module(x)
        channels, last = x.shape[3], self.bins - 1
        first = xp.arange(channels) * self.bins  # the bins of all channels stand in one row
        low, high = self.value_range
        scale = 255 / (high - low)
        byte = x * scale - low * scale
        counted = xp.clip(byte * last / 255, 0, last).astype("int64") + first
        counts = xp.zeros(channels * self.bins, "int64")
        xp.add.at(counts, counted.ravel(), 1)
        counts = counts.reshape(channels, self.bins)
        up_to = counts.cumsum(1)
        lowest = xp.where(up_to > 0, up_to, up_to[:, -1:]).min(1, keepdims=True)
        # in float32, as Keras divides: what is rounded may lie half-way between two numbers
        above = ((up_to - lowest) * 255).astype("float32")
        table = xp.round(above / xp.maximum(up_to[:, -1:] - lowest, 1).astype("float32"))
        # Keras looks up with a rounding of its own, by which some values fall into the bin below
        looked_up = xp.clip(byte / 255 * last, 0, last).astype("int64") + first
        y = table.astype(x.dtype).ravel().take(looked_up) / scale + low
        flat = (counts > 0).sum(1) <= 1  # (C,)
        ctx.save(flat)
        return xp.where(flat, x, y)

    def gradient(self, dy: Array, ctx: Context) -> Array:
        return dy * ctx.saved[0]
