"""`Pipeline`: layers for images one after the other, as a layer."""

from collections.abc import Sequence
from typing import Any

from minicnn.layers.base import LAYERS, Layer
from minicnn.layers.context import Context
from minicnn.layers.nodes import SymbolicTensor
from minicnn.typing import Array, Shape


@LAYERS.register()
class Pipeline(Layer):
    """Layers without weights, such as those of augmentation, one after the other.

    Called on arrays without `training=` it does as in training, Dropout included. It is called on
    a dict of images and labels as its layers are.

    Args:
        layers: a list of layers.
        name, kwargs: see `Layer`.

    Shape:
        that of the last layer.
    """

    def __init__(self, layers: Sequence[Layer], name: str | None = None, **kwargs: Any):
        super().__init__(name=name, **kwargs)
        self.layers = list(layers)
        for layer in self.layers:
            if not isinstance(layer, Layer):
                raise TypeError(f"{self.described} is made of layers; got {layer!r}")

    @property
    def whole_batch(self) -> bool:  # type: ignore[override]
        """Whether one of the layers looks across images."""
        return any(layer.whole_batch for layer in self.layers)

    def __call__(
        self,
        x: SymbolicTensor | Array | dict[str, Any],
        training: bool | None = None,
    ) -> Any:
        if isinstance(x, SymbolicTensor):
            return super().__call__(x, training)
        for layer in self.layers:
            x = layer(x, training=True if training is None else training)
        return x

    def build(self, input_shape: Shape) -> None:
        for layer in self.layers:
            layer.build_for(input_shape)
            if layer.weights:
                raise ValueError(
                    f"{self.described} holds layers without weights; {layer.described} has some: "
                    f"use a Sequential"
                )
            input_shape = layer.compute_output_shape(input_shape)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        for layer in self.layers:
            input_shape = layer.compute_output_shape(input_shape)
        return input_shape

    def forward(self, x: Array, ctx: Context) -> Array:
        for k, layer in enumerate(self.layers):
            x = layer.forward(x, ctx.child(k, training=ctx.training is not False))
        return x

    def backward(self, dy: Array, ctx: Context) -> Array | None:
        for k, layer in reversed(list(enumerate(self.layers))):
            dx = layer.backward(dy, ctx.child(k))
            if dx is None:
                return None
            dy = dx
        return dy

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Pipeline":
        """A pipeline from what `get_config` returned."""
        layers = [c if isinstance(c, Layer) else LAYERS.get(c) for c in config["layers"]]
        return cls(**{**config, "layers": layers})
