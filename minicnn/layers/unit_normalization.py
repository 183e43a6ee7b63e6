"""Vectors of length 1."""

from collections.abc import Sequence
from typing import Any

from minicnn.backend import array_module
from minicnn.dtypes import narrowed, widened
from minicnn.layers.base import LAYERS, Layer
from minicnn.layers.context import Context
from minicnn.typing import Array, Shape

_SHORTEST = 1e-12


@LAYERS.register()
class UnitNormalization(Layer):
    """y = x / max(n, 1e-12) with n = sqrt(sum x²) along an axis, or several.

    Args:
        axis: that, an integer or several; not the batch.
        kwargs: see `Layer`.

    Shape:
        any, kept.

    Raises:
        TypeError: an axis that is neither an integer nor a list of them.
        ValueError: an axis that inputs do not have, or the batch.
    """

    def __init__(self, axis: int | Sequence[int] = -1, **kwargs: Any):
        super().__init__(**kwargs)
        if not isinstance(axis, (int, list, tuple)):
            raise TypeError(
                f"{self.described}: axis must be an integer or a list of them, not {axis!r}"
            )
        self.axis = axis if isinstance(axis, int) else list(axis)

    @property
    def _axes(self) -> tuple[int, ...]:
        return (self.axis,) if isinstance(self.axis, int) else tuple(self.axis)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        rank = len(input_shape)
        if any(not -rank <= axis < rank or axis % rank == 0 for axis in self._axes):
            raise ValueError(
                f"{self.described}: axis {self.axis} of inputs of shape {tuple(input_shape)} is "
                f"the batch, or not there; choose axes within an image, such as -1"
            )
        return tuple(input_shape)

    def forward(self, x: Array, ctx: Context) -> Array:
        wide = widened(x)
        norms = array_module(x).sqrt((wide * wide).sum(axis=self._axes, keepdims=True))
        y = wide / norms.clip(_SHORTEST)
        ctx.save(y, norms)
        return narrowed(y, x.dtype)

    def backward(self, dy: Array, ctx: Context) -> Array:
        """dx = (dy - y sum(dy y)) / n; a vector that is too short is divided by a constant."""
        y, norms = ctx.saved
        wide = widened(dy)
        along = (wide * y).sum(axis=self._axes, keepdims=True) * (norms > _SHORTEST)
        return narrowed((wide - y * along) / norms.clip(_SHORTEST), dy.dtype)
