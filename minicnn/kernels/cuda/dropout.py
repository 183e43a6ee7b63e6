"""Dropout in one launch each way; the mask is made again for backward instead of being kept."""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from minicnn.backend import array_module
from minicnn.dtypes import wide
from minicnn.kernels import dropout as generic
from minicnn.kernels.cuda.launch import launch
from minicnn.typing import Array

_MOST_AXES = 4  # of `dropout_together`


class Mask(NamedTuple):
    """How to make a mask again.

    Attributes:
        axes: see `_axes`.
        threshold: an element is kept if its random bits, an integer below 2^24, reach this.
        scale: what elements that are kept are multiplied by.
        draw: `CounterGenerator.next_draw` of the random numbers.
    """

    axes: list[tuple[int, bool]]
    threshold: int
    scale: float
    draw: tuple[Any, ...]


def dropout(
    x: Array, rate: float, mask_shape: tuple[int, ...], generator: Any
) -> tuple[Array, Any]:
    """As the generic one (x, rate, mask_shape, generator), which does the work if the generator
    cannot make numbers again, or axes that share numbers alternate too often with those that do
    not."""
    axes = _axes(zip(x.shape, mask_shape, strict=True))
    if not hasattr(generator, "next_draw") or len(axes) > _MOST_AXES:
        return generic.dropout.__wrapped__(x, rate, mask_shape, generator)  # type: ignore
    # the same elements are kept as by u >= rate with u = bits / 2^24 in float32
    threshold = math.ceil(float(np.float32(rate)) * 2**24)
    mask = Mask(axes, threshold, 1 / (1 - rate), generator.next_draw())
    return _masked(x, mask), mask


def dropout_gradient(dy: Array, mask: Any) -> Array:
    """As the generic one (dy, mask)."""
    if not isinstance(mask, Mask):
        return generic.dropout_gradient.__wrapped__(dy, mask)  # type: ignore[attr-defined]
    return _masked(dy, mask)


def _axes(sizes: Iterable[tuple[int, int]]) -> list[tuple[int, bool]]:
    """[(size, whether each place along it has its own mask element)] from (size of x, size of the
    mask): neighbours that are alike become one axis, those of size 1 are left out."""
    axes: list[tuple[int, bool]] = []
    for size, of_mask in sizes:
        own = of_mask != 1
        if size == 1:
            continue
        if axes and axes[-1][1] == own:
            size *= axes.pop()[0]
        axes.append((size, own))
    return axes


def _masked(x: Array, mask: Mask) -> Array:
    xp = array_module(x)
    x = xp.ascontiguousarray(x)
    y = xp.empty_like(x)
    rest = (mask.threshold, wide(x.dtype).type(mask.scale), *mask.draw)
    if all(own for _, own in mask.axes):
        launch("dropout", "dropout", x.dtype, -(-x.size // 4), x, y, x.size, *rest)
        return y
    axes = [(1, False)] * (_MOST_AXES - len(mask.axes)) + mask.axes
    strides, stride = [], 1
    for size, own in reversed(axes):
        strides.append(stride if own else 0)
        stride *= size if own else 1
    launch(
        "dropout", "dropout_together", x.dtype, x.size, x, y, x.size,
        *(size for size, _ in axes[1:]), *reversed(strides), *rest,
    )  # fmt: skip
    return y
