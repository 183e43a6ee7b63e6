"""Rescaling of pixel values."""

from typing import Any

import numpy as np

from minicnn.backend import array_module
from minicnn.context import Context
from minicnn.layers.base import LAYERS, Layer


@LAYERS.register()
class Rescaling(Layer):
    """y = scale x + offset; Rescaling(1 / 255) takes bytes to [0, 1].

    Args:
        scale, offset: a number, or one for each channel.

    Shape:
        any, kept.
    """

    def __init__(self, scale: Any, offset: Any = 0.0, **kwargs: Any):
        super().__init__(**kwargs)
        self.scale = scale
        self.offset = offset
        self._on_device: dict[tuple[str, str, str], tuple[Any, Any]] = {}

    def compute_output_shape(self, input_shape: Any) -> Any:
        for name, value in (("scale", self.scale), ("offset", self.offset)):
            size = len(value) if isinstance(value, (list, tuple)) else getattr(value, "size", 1)
            if size not in (1, input_shape[-1]):
                raise ValueError(
                    f"{self.described}: {name} has {size} values for {input_shape[-1]} "
                    f"channels, inputs of shape {tuple(input_shape)}"
                )
        return tuple(input_shape)

    def forward(self, x: Any, ctx: Context) -> Any:
        y = x * self._beside("scale", x)
        if np.ndim(self.offset) or self.offset:
            y += self._beside("offset", x)
        return y

    def backward(self, dy: Any, ctx: Context) -> Any:
        return dy * self._beside("scale", dy)

    def _beside(self, name: str, x: Any) -> Any:
        """The argument in the dtype of x; of one for each channel, an array on the device of x,
        which is copied there once."""
        value = getattr(self, name)
        if not np.ndim(value):
            return x.dtype.type(value)
        xp = array_module(x)
        copied, array = self._on_device.get((xp.__name__, str(x.dtype), name), (None, None))
        if copied is not value:
            array = xp.asarray(value, dtype=x.dtype)
            self._on_device[xp.__name__, str(x.dtype), name] = value, array
        return array
