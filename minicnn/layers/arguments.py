"""Checks of constructor arguments that several layers share."""

from typing import Any

from minicnn import activations
from minicnn.kernels.windows import Pair, Window
from minicnn.layers.activation import Activation
from minicnn.layers.base import Layer


def positive_int(layer: Layer, argument: str, value: Any) -> int:
    """`value` if it is a whole number above 0."""
    if isinstance(value, bool) or not hasattr(value, "__index__") or int(value) < 1:
        raise ValueError(f"{layer.described}: {argument} must be an integer above 0, not {value!r}")
    return int(value)


def pair(layer: Layer, argument: str, value: Any) -> Pair:
    """An integer, or two, as (rows, columns)."""
    values = tuple(value) if isinstance(value, (list, tuple)) else (value, value)
    if len(values) != 2:
        raise ValueError(
            f"{layer.described}: {argument} must be an integer or two of them (rows, columns), "
            f"not {value!r}"
        )
    return positive_int(layer, argument, values[0]), positive_int(layer, argument, values[1])


def activation_function(value: Any) -> activations.Activation:
    """From what `activations.get` takes, or a layer such as `LeakyReLU(0.1)`."""
    return value.activation if isinstance(value, Activation) else activations.get(value)


def one_of(layer: Layer, argument: str, value: Any, choices: tuple[Any, ...]) -> Any:
    """`value` if it is one of `choices`."""
    if value not in choices:
        raise ValueError(
            f"{layer.described}: {argument} must be one of "
            f"{', '.join(map(repr, choices))}, not {value!r}"
        )
    return value


def padding_name(layer: Layer, value: Any) -> str:
    name = value.lower() if isinstance(value, str) else value
    if name not in ("valid", "same"):
        raise ValueError(f"{layer.described}: padding must be 'valid' or 'same', not {value!r}")
    return name


def channels_last(layer: Layer, value: Any) -> str:
    """The one data format there is."""
    if value not in (None, "channels_last"):
        raise ValueError(
            f"{layer.described}: images are (N, height, width, channels), so data_format must be "
            f"'channels_last' or None, not {value!r}; transpose the images instead"
        )
    return "channels_last"


def fraction(layer: Layer, argument: str, value: Any) -> float:
    """A number from 0 up to, not including, 1."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1:
        raise ValueError(
            f"{layer.described}: {argument} must be at least 0 and below 1, not {value!r}"
        )
    return float(value)


def window_output_size(layer: Layer, window: Window, height: int, width: int) -> Pair:
    """Output size of a sliding window.

    Raises:
        ValueError: the image is smaller than the window.
    """
    oh, ow = window.output_size(height, width)
    if oh < 1 or ow < 1:
        eh, ew = window.extent
        raise ValueError(
            f"{layer.described} would shrink an image of {height}x{width} pixels below 1 pixel: "
            f"its window covers {eh}x{ew}; use padding='same', a smaller window, or fewer pooling "
            f"layers before it"
        )
    return oh, ow
