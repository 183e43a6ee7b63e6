"""Rescaling of pixel values."""

from typing import Any

import numpy as np

from minicnn.backend import array_module
from minicnn.layers import arguments
from minicnn.layers.base import LAYERS, Layer
from minicnn.layers.context import Context
from minicnn.typing import Array, Shape


@LAYERS.register()
class Rescaling(Layer):
    """y = scale x + offset; Rescaling(1 / 255) takes bytes to [0, 1].

    Args:
        scale, offset: a number, or one per channel.
        kwargs: see `Layer`.

    Shape:
        any, kept.

    Raises:
        ValueError: a scale or offset that is not finite.
    """

    def __init__(self, scale: Any, offset: Any = 0.0, **kwargs: Any):
        super().__init__(**kwargs)
        self.scale = arguments.finite_numbers(self, "scale", scale)
        self.offset = arguments.finite_numbers(self, "offset", offset)
        self._on_device: dict[tuple[str, str, str], tuple[Any, Array]] = {}

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        for name, value in (("scale", self.scale), ("offset", self.offset)):
            size = len(value) if isinstance(value, (list, tuple)) else getattr(value, "size", 1)
            if size not in (1, input_shape[-1]):
                raise ValueError(
                    f"{self.described}: {name} has {size} values for {input_shape[-1]} "
                    f"channels, inputs of shape {tuple(input_shape)}"
                )
        return tuple(input_shape)

    def forward(self, x: Array, ctx: Context) -> Array:
        y = x * self._beside("scale", x)
        if np.ndim(self.offset) or self.offset:
            y += self._beside("offset", x)
        return y

    def backward(self, dy: Array, ctx: Context) -> Array:
        return dy * self._beside("scale", dy)

    def _beside(self, argument: str, x: Array) -> Any:
        """The argument in the dtype of x; one per channel as an array on the device of x, which is
        copied there once."""
        value = getattr(self, argument)
        if not np.ndim(value):
            return x.dtype.type(value)
        xp = array_module(x)
        copied, array = self._on_device.get((xp.__name__, str(x.dtype), argument), (None, None))
        if copied is not value:
            array = xp.asarray(value, dtype=x.dtype)
            self._on_device[xp.__name__, str(x.dtype), argument] = value, array
        return array
