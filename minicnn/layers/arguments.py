"""Checks that several layers share, of constructor arguments and of sizes."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minicnn import activations, backend, constraints, initializers, regularizers
from minicnn.dtypes import dtype_of, wide
from minicnn.kernels.windows import Pads, Pair, Window
from minicnn.layers.activation import Activation
from minicnn.layers.base import Layer
from minicnn.typing import Shape


def positive_int(layer: Layer, argument: str, value: Any) -> int:
    """`value` if it is an integer above 0; `layer` and `argument` are named in the error."""
    if isinstance(value, bool) or not hasattr(value, "__index__") or int(value) < 1:
        raise ValueError(f"{layer.described}: {argument} must be an integer above 0, not {value!r}")
    return int(value)


def pair(layer: Layer, argument: str, value: Any) -> Pair:
    """(rows, columns) from a `value` of one integer or two.

    Args:
        layer, argument: named in the error.
        value: what the user gave.
    """
    values = tuple(value) if isinstance(value, (list, tuple)) else (value, value)
    if len(values) != 2:
        raise ValueError(
            f"{layer.described}: {argument} must be an integer or two of them (rows, columns), "
            f"not {value!r}"
        )
    return positive_int(layer, argument, values[0]), positive_int(layer, argument, values[1])


def sides(layer: Layer, argument: str, value: Any) -> Pads:
    """((top, bottom), (left, right)) from a `value` of one integer for all sides, of (rows,
    columns), or of all four; `layer` and `argument` are named in the error."""
    pairs = tuple(two(side) for side in two(value))
    if len(pairs) != 2 or any(
        len(pair) != 2 or any(not isinstance(v, int) or v < 0 for v in pair) for pair in pairs
    ):
        raise ValueError(
            f"{layer.described}: {argument} must be an integer, (rows, columns) or "
            f"((top, bottom), (left, right)), none below 0; not {value!r}"
        )
    return pairs


def two(value: Any) -> tuple[Any, ...]:
    """One `value` for both sides, or the values given."""
    return tuple(value) if isinstance(value, (tuple, list)) else (value, value)


def activation_function(value: Any) -> activations.Activation:
    """The function of `value`: what `activations.get` takes, or a layer such as LeakyReLU(0.1)."""
    return value.activation if isinstance(value, Activation) else activations.get(value)


def set_weight_arguments(layer: Layer, **given: Any) -> None:
    """Set the arguments that say how a layer's weights begin, what is penalized and constrained.

    Args:
        layer: gets an attribute for each of them: an object, or None.
        given: names, configurations or objects by the name of the argument, such as
            kernel_initializer="glorot_uniform", bias_regularizer=None.
    """
    for argument, value in given.items():
        kind = argument.rpartition("_")[2]
        setattr(layer, argument, _WEIGHT_ARGUMENTS[kind](value))


_WEIGHT_ARGUMENTS = {
    "constraint": constraints.get, "initializer": initializers.get,
    "regularizer": regularizers.get,
}  # fmt: skip


def one_of(layer: Layer, argument: str, value: Any, choices: tuple[Any, ...]) -> Any:
    """`value` if it is one of `choices`; `layer` and `argument` are named in the error."""
    if value not in choices:
        raise ValueError(
            f"{layer.described}: {argument} must be one of "
            f"{', '.join(map(repr, choices))}, not {value!r}"
        )
    return value


def padding_name(layer: Layer, value: Any) -> str:
    """`value` in lower case if it is "valid" or "same"; `layer` is named in the error."""
    name = value.lower() if isinstance(value, str) else value
    if name not in ("valid", "same"):
        raise ValueError(f"{layer.described}: padding must be 'valid' or 'same', not {value!r}")
    return name


def channels_last(layer: Layer, value: Any) -> str:
    """The one data format there is, if `value` asks for it; `layer` is named in the error."""
    if value not in (None, "channels_last"):
        raise ValueError(
            f"{layer.described}: images are (N, height, width, channels), so data_format must be "
            f"'channels_last' or None, not {value!r}; transpose the images instead"
        )
    return "channels_last"


def fraction(layer: Layer, argument: str, value: Any, below_one: bool = True) -> float:
    """`value` if it is at least 0 and below 1 (or at most 1, unless `below_one`); `layer` and
    `argument` are named in the error."""
    number = isinstance(value, (int, float, np.floating)) and not isinstance(value, bool)
    if not number or not 0 <= value <= 1 or (value == 1 and below_one):
        bound = "below 1" if below_one else "at most 1"
        raise ValueError(
            f"{layer.described}: {argument} must be at least 0 and {bound}, not {value!r}"
        )
    return float(value)


def finite_numbers(layer: Layer, argument: str, value: Any, least: float = -math.inf) -> Any:
    """`value` if it is a number, or several, that the dtype of `layer` can hold, none below
    `least`; `layer` and `argument` are named in the error."""
    numbers = backend.to_numpy(value) if backend.is_array(value) else np.asarray(value)
    largest = float(np.finfo(wide(dtype_of(layer.dtype))).max)
    low = max(least, -largest)
    if numbers.dtype.kind not in "fiu" or not ((numbers >= low) & (numbers <= largest)).all():
        bound = "" if least == -math.inf else f" of at least {least:g}"
        raise ValueError(
            f"{layer.described}: {argument} must be a finite number{bound}, not {value!r}"
        )
    return value


def check_noise_shape(layer: Layer, mask: Shape | None, input_shape: Shape) -> None:
    """Raise a ValueError unless a `mask` of this shape can be broadcast to inputs of
    `input_shape`; `layer` is named in it."""
    if mask is not None and (
        len(mask) != len(input_shape)
        or any(m not in (None, 1, s) for m, s in zip(mask[1:], input_shape[1:], strict=True))
    ):
        raise ValueError(
            f"{layer.described}: noise_shape {mask} does not fit inputs of shape "
            f"{tuple(input_shape)}; each of its sizes is 1, None or the input's own"
        )


def full_noise_shape(mask: Shape | None, x_shape: tuple[int, ...]) -> tuple[int, ...]:
    """`mask` with the sizes of an input of `x_shape` where it has None; `x_shape` for None."""
    return x_shape if mask is None else tuple(m or s for m, s in zip(mask, x_shape, strict=True))


def each_size(
    function: Callable[..., int], sizes: Shape, *others: Sequence[Any]
) -> tuple[int | None, ...]:
    """`function` of each of the `sizes` and what belongs to it in `others`; None where the size is
    open."""
    return tuple(
        None if size is None else function(size, *more)
        for size, *more in zip(sizes, *others, strict=True)
    )


def product(sizes: Shape) -> int | None:
    """Of all `sizes`; None where one is open."""
    return None if None in sizes else math.prod(size or 0 for size in sizes)


def fixed_sizes(layer: Layer, sizes: Shape) -> tuple[int, ...]:
    """`sizes` of axes of an input if none is None; `layer` is named in the error."""
    fixed = tuple(size for size in sizes if size is not None)
    if len(fixed) != len(sizes):
        raise ValueError(
            f"{layer.described} needs inputs of fixed sizes, but for the batch; got None in "
            f"{tuple(sizes)}"
        )
    return fixed


def window_output_size(
    layer: Layer, window: Window, height: int | None, width: int | None
) -> tuple[int | None, int | None]:
    """(rows, columns) of what a sliding window makes of an image; None for what is open.

    Args:
        layer: named in the error.
        window: its geometry.
        height, width: of the image.

    Raises:
        ValueError: the image is smaller than the window.
    """
    eh, ew = window.extent
    oh, ow = window.output_size(height or eh, width or ew)  # sizes that will do for open ones
    if oh < 1 or ow < 1:
        raise ValueError(
            f"{layer.described} would shrink an image of {height}x{width} pixels below 1 pixel: "
            f"its window covers {eh}x{ew}; use padding='same', a smaller window, or fewer pooling "
            f"layers before it"
        )
    return height and oh, width and ow
