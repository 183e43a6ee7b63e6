"""Random numbers on what passes through, in training alone."""

import math
from collections.abc import Sequence
from typing import Any

from minicnn.backend import array_module
from minicnn.dtypes import narrowed, wide, widened
from minicnn.layers import arguments
from minicnn.layers.base import LAYERS, require_rank
from minicnn.layers.context import Context
from minicnn.layers.dropout import Dropout
from minicnn.layers.seeded import SeededLayer
from minicnn.typing import Array, Shape


@LAYERS.register()
class SpatialDropout2D(Dropout):
    """`Dropout` of whole channels: neighbouring pixels say nearly the same.

    Args:
        rate: probability, at least 0 and below 1.
        data_format: "channels_last".
        seed: see `SeededLayer`.
        kwargs: see `Layer`.

    Shape:
        (N, H, W, C), kept.

    Source: Tompson et al., "Efficient object localization using convolutional networks" (2015).
    """

    def __init__(
        self, rate: float, data_format: str | None = None, seed: int | None = None, **kwargs: Any
    ):
        super().__init__(rate, (None, 1, 1, None), seed, **kwargs)
        self.data_format = arguments.channels_last(self, data_format)

    @classmethod
    def _argument_names(cls) -> list[str]:
        return [name for name in super()._argument_names() if name != "noise_shape"]

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["noise_shape"]
        return config

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        require_rank(self, input_shape, 4, "(batch, height, width, channels)")
        return tuple(input_shape)


class _Noise(SeededLayer):
    """What the layers share that let everything pass outside training: y = x f + s there, where f
    and s are random, or None for 1 and 0."""

    def factor_and_shift(self, x: Array, ctx: Context) -> tuple[Any, Any]:
        """(f, s), of the shape of x or to be broadcast to it; None where nothing is done."""
        raise NotImplementedError

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return tuple(input_shape)

    def forward(self, x: Array, ctx: Context) -> Array:
        factor, shift = self.factor_and_shift(x, ctx) if ctx.training else (None, None)
        ctx.save(factor)
        y = x if factor is None else widened(x) * factor
        return narrowed(y if shift is None else widened(y) + shift, x.dtype)

    def backward(self, dy: Array, ctx: Context) -> Array:
        (factor,) = ctx.saved or (None,)
        return dy if factor is None else narrowed(widened(dy) * factor, dy.dtype)

    def _normal(self, x: Array, ctx: Context, stddev: float) -> Array:
        """Normal numbers for the elements of x, of mean 0.

        sqrt(-2 log(1 - u)) cos(2 pi v), with u and v uniform, is one: Box and Muller (1958).
        """
        xp = array_module(x)
        u, v = self.draw(ctx, *x.shape), self.draw(ctx, *x.shape)
        z = xp.sqrt(-2 * stddev**2 * xp.log1p(-u)) * xp.cos(2 * math.pi * v)
        return z.astype(wide(x.dtype), copy=False)


@LAYERS.register()
class GaussianNoise(_Noise):
    """In training a normal random number is added to each element.

    Args:
        stddev: its standard deviation, 0 to 1.
        seed: see `SeededLayer`.
        kwargs: see `Layer`.

    Shape:
        any, kept.
    """

    def __init__(self, stddev: float, seed: int | None = None, **kwargs: Any):
        super().__init__(seed, **kwargs)
        self.stddev = arguments.fraction(self, "stddev", stddev, below_one=False)

    def factor_and_shift(self, x: Array, ctx: Context) -> tuple[Any, Any]:
        return None, self._normal(x, ctx, self.stddev) if self.stddev else None


@LAYERS.register()
class GaussianDropout(_Noise):
    """In training each element is multiplied by a normal random number of mean 1 and of the
    variance that `Dropout` would have, rate / (1 - rate).

    Args:
        rate: at least 0 and below 1.
        seed: see `SeededLayer`.
        kwargs: see `Layer`.

    Shape:
        any, kept.

    Source: Srivastava et al., "Dropout" (2014), section 10.
    """

    def __init__(self, rate: float, seed: int | None = None, **kwargs: Any):
        super().__init__(seed, **kwargs)
        self.rate = arguments.fraction(self, "rate", rate)

    def factor_and_shift(self, x: Array, ctx: Context) -> tuple[Any, Any]:
        if not self.rate:
            return None, None
        return 1 + self._normal(x, ctx, math.sqrt(self.rate / (1 - self.rate))), None


@LAYERS.register()
class AlphaDropout(_Noise):
    """`Dropout` for networks of `selu`, which keeps mean 0 and variance 1 as they are.

    With q = 1 - rate, each element becomes, with probability rate, SELU's value at minus infinity,
    -s a = -1.758; then y = x A + B with A = (q (1 + rate (s a)²))^-1/2 and B = A rate s a.

    Args:
        rate: probability, at least 0 and below 1.
        noise_shape: see `Dropout`.
        seed: see `SeededLayer`.
        kwargs: see `Layer`.

    Shape:
        any, kept.

    Source: Klambauer et al., "Self-normalizing neural networks" (2017), arXiv:1706.02515.
    """

    def __init__(
        self,
        rate: float,
        noise_shape: Sequence[int | None] | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ):
        super().__init__(seed, **kwargs)
        self.rate = arguments.fraction(self, "rate", rate)
        self.noise_shape = None if noise_shape is None else tuple(noise_shape)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        arguments.check_noise_shape(self, self.noise_shape, input_shape)
        return tuple(input_shape)

    def factor_and_shift(self, x: Array, ctx: Context) -> tuple[Any, Any]:
        if not self.rate:
            return None, None
        shape = arguments.full_noise_shape(self.noise_shape, x.shape)
        kept = (self.draw(ctx, *shape) >= self.rate).astype(wide(x.dtype))
        lowest = -1.6732632423543772 * 1.0507009873554805  # of SELU
        scale = ((1 - self.rate) * (1 + self.rate * lowest**2)) ** -0.5
        # scale (x kept + lowest (1 - kept)) - scale lowest rate
        return scale * kept, scale * lowest * (1 - self.rate - kept)
