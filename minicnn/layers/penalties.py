"""Penalties on what layers give, which `activity_regularizer=` asks for."""

from typing import TYPE_CHECKING

from minicnn.dtypes import narrowed, widened
from minicnn.regularizers import L1, L1L2, L2
from minicnn.typing import Array

if TYPE_CHECKING:
    from minicnn.layers.base import Layer


class Penalties:
    """Those of one pass over a shard of a batch: for each layer r(y) / N, the sum over its calls.

    Args:
        images: N, of the whole batch.
        scale: what gradients are multiplied by, see `LossScaleOptimizer`; None for nothing.

    Attributes:
        of_layers: {layer: penalty}.
    """

    def __init__(self, images: int, scale: Array | None = None):
        self.images = max(1, images)
        self.scale = scale
        self.of_layers: dict[Layer, Array] = {}

    def add(self, layer: "Layer", y: Array | list[Array]) -> None:
        """Add the penalty on `y`, an array that `layer` gives, or a list of them."""
        for a in y if isinstance(y, (list, tuple)) else [y]:
            penalty = layer.activity_regularizer(widened(a)) / self.images
            present = self.of_layers.get(layer)
            self.of_layers[layer] = penalty if present is None else present + penalty

    def with_gradient(self, layer: "Layer", dy: Array | None, y: Array) -> Array:
        """`dy`, None for 0, and the gradient of the penalty on `y`, which `layer` gave."""
        gradient = layer.activity_regularizer.gradient(widened(y)) / self.images
        if self.scale is not None:
            gradient = gradient * self.scale
        return narrowed(gradient if dy is None else dy + gradient, y.dtype)

    def total(self, loss: Array) -> Array:
        """The `loss` and all penalties."""
        return sum(self.of_layers.values(), start=loss)


def looks_across(layer: "Layer") -> bool:
    """Whether the penalty on what `layer` gives may be other than the sum of those on its images:
    only of the library's own is that known."""
    return type(layer.activity_regularizer) not in (type(None), L1, L2, L1L2)
