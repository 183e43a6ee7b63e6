"""How a layer computes its products, and how many it makes that way."""

from typing import Any

from minicnn.kernels import conv
from minicnn.layers.base import Layer
from minicnn.layers.conv import Conv2D


def algorithm_of(layer: Layer, input_shape: Any) -> str:
    """The algorithm of a layer's products, such as "im2col"; empty if it has no choice.

    Args:
        layer: any layer.
        input_shape: of the input, (None, height, width, channels) for images.
    """
    return layer.algorithm_for(input_shape) if isinstance(layer, Conv2D) else ""


def multiply_adds_made(layer: Layer, input_shape: Any, results: int = 1) -> float:
    """Multiply-adds per image that the layer's algorithm makes: those of the definition, except by
    Winograd.

    Args:
        layer: any layer.
        input_shape: of the input, or a list for several inputs.
        results: 1 for forward, or for one gradient; 2 for both gradients in one pass; 0.
    """
    defined = layer.multiply_adds(input_shape)
    if results and isinstance(layer, Conv2D) and layer.algorithm_for(input_shape) == "winograd":
        images = (input_shape[0] or 128, *input_shape[1:])
        return conv.winograd_effort(layer.window, images, layer.filters, results) * defined
    return float(results * defined)
