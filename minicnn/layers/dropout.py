"""Dropout."""

from collections.abc import Sequence
from typing import Any

from minicnn.kernels.dropout import dropout, dropout_gradient
from minicnn.layers import arguments
from minicnn.layers.base import LAYERS
from minicnn.layers.context import Context
from minicnn.layers.seeded import SeededLayer
from minicnn.typing import Array, Shape


@LAYERS.register()
class Dropout(SeededLayer):
    """In training, each element is zeroed with probability `rate`, the others divided by 1 - rate.

    The mean stays, so nothing has to be done outside training.

    Args:
        rate: probability, at least 0 and below 1.
        noise_shape: shape of the mask, which is broadcast: 1 along an axis where elements fall
            together ((None, 1, 1, None) drops whole channels), None for the input's own size;
            default: each element by itself.
        seed: see `SeededLayer`.
        kwargs: see `Layer`.

    Shape:
        any, kept.

    Source: Srivastava et al., "Dropout" (2014).
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

    def forward(self, x: Array, ctx: Context) -> Array:
        if not ctx.training or self.rate == 0:
            return x
        shape = arguments.full_noise_shape(self.noise_shape, x.shape)
        y, mask = dropout(x, self.rate, shape, self.generator(ctx))
        ctx.save(mask)
        return y

    def backward(self, dy: Array, ctx: Context) -> Array:
        return dropout_gradient(dy, ctx.saved[0]) if ctx.saved else dy
