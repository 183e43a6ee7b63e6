"""Rescaling of pixel values."""

from typing import Any

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
        xp = array_module(x)
        y = x * xp.asarray(self.scale, dtype=x.dtype)
        y += xp.asarray(self.offset, dtype=x.dtype)
        return y

    def backward(self, dy: Any, ctx: Context) -> Any:
        return dy * array_module(dy).asarray(self.scale, dtype=dy.dtype)
