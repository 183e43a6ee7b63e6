"""Images whose values are spread over all that there are: AutoContrast, Equalization."""

from typing import Any

from minicnn.backend import array_module
from minicnn.layers import arguments
from minicnn.layers.augmentation import ImageLayer, value_bounds
from minicnn.layers.base import LAYERS
from minicnn.layers.context import Context
from minicnn.typing import Array


@LAYERS.register()
class AutoContrast(ImageLayer):
    """Stretches each channel of each image so that it reaches from end to end of value_range, in
    training and outside: y = low + (x - min) / (max - min) * (high - low).

    A channel of a single value stays.

    Args:
        value_range: (low, high), smallest and largest value of a pixel.
        kwargs: see `ImageLayer`.

    Shape:
        (N, H, W, C), kept.
    """

    def __init__(self, value_range: Any = (0, 255), **kwargs: Any):
        super().__init__(**kwargs)
        self.value_range = value_bounds(self, value_range)

    def augments(self, ctx: Context) -> bool:
        return True

    def transform(self, x: Array, ctx: Context, *parameters: Any) -> Array:
        xp = array_module(x)
        low, high = self.value_range
        least, most = x.min((1, 2), keepdims=True), x.max((1, 2), keepdims=True)
        flat = least == most
        scale = xp.where(flat, 1, (high - low) / xp.where(flat, 1, most - least))
        y = xp.where(flat, x, (x - least) * scale + low)
        ctx.save(x, least, most, flat, scale)
        return y

    def gradient(self, dy: Array, ctx: Context) -> Array:
        x, least, most, flat, scale = ctx.saved
        xp = array_module(dy)
        along = dy * ~flat
        share = (x - least) / xp.where(flat, 1, most - least)  # of the way from min to max
        dx = dy * scale
        # y = share (high - low) + low moves with both ends, which equal pixels share
        for end, part in ((least, 1 - share), (most, share)):
            here = x == end
            moved = (along * part).sum((1, 2), keepdims=True) * scale
            dx -= here * (moved / here.sum((1, 2), keepdims=True)).astype(dx.dtype)
        return dx


@LAYERS.register()
class Equalization(ImageLayer):
    """In training, replaces values so that each becomes about as frequent as any other; no gradient
    passes.

    As in Keras, each channel is counted over all images of the batch. With the number c(v) of
    pixels up to a bin v, the new value is (c(v) - c_min) / (c_max - c_min), rounded to a byte. A
    channel that fills a single bin stays.

    Args:
        value_range: smallest and largest value of a pixel.
        bins: of the histogram.
        data_format, kwargs: see `ImageLayer`.

    Shape:
        (N, H, W, C), kept.
    """

    whole_batch = True

    def __init__(
        self,
        value_range: Any = (0, 255),
        bins: int = 256,
        data_format: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(data_format, **kwargs)
        self.value_range = value_bounds(self, value_range)
        self.bins = arguments.positive_int(self, "bins", bins)

    def transform(self, x: Array, ctx: Context, *parameters: Any) -> Array:
        xp = array_module(x)
        low, high = self.value_range
        c, bins = x.shape[3], self.bins
        byte = (x - low) / (high - low) * 255
        first = xp.arange(0, c * bins, bins)  # bins of all channels stand in one row
        last = bins - 1

        counted = xp.clip(byte * last / 255, 0, last).astype("int64") + first
        counts = xp.zeros(c * bins, "int64")
        xp.add.at(counts, counted.ravel(), 1)
        counts = counts.reshape(c, bins)
        up_to = counts.cumsum(1)
        lowest = xp.where(up_to > 0, up_to, up_to[:, -1:]).min(1, keepdims=True)
        # in float32, as Keras divides: what is rounded after it may lie between two bytes
        above, all_above = (
            a.astype("float32")
            for a in ((up_to - lowest) * 255, xp.maximum(up_to[:, -1:] - lowest, 1))
        )
        table = xp.clip(xp.round(above / all_above), 0, 255).astype(x.dtype)

        # Keras looks up by a rounding of its own, by which some values fall into the bin below
        looked_up = xp.clip(byte / 255 * last, 0, last).astype("int64") + first
        flat = (counts > 0).sum(1) <= 1  # (C,)
        y = table.ravel().take(looked_up) / 255 * (high - low) + low
        ctx.save(flat)
        return xp.where(flat, x, y)

    def gradient(self, dy: Array, ctx: Context) -> Array:
        return dy * ctx.saved[0]
