"""Maximum and average over windows, with gradients."""

from collections.abc import Callable
from typing import Any

import numpy as np

from minicnn.backend import array_module
from minicnn.dtypes import wide, widened
from minicnn.kernels.device import with_cuda_version
from minicnn.kernels.windows import Window, crop, pad
from minicnn.typing import Array


@with_cuda_version
def max_pool(x: Array, window: Window, with_index: bool = False) -> tuple[Array, Any]:
    """x (N, H, W, C) to the largest element of each window, (N, OH, OW, C).

    Padding counts as minus infinity: it is never the maximum, as zeros would be among negative
    elements.

    Returns:
        (y, index): index is what `max_pool_gradient` needs, which element was the maximum of each
        window; None unless `with_index`. Of equal ones it is the first in reading order, or, if
        windows lie side by side, the topmost of the first column.
    """
    if _is_grid(window, x.shape):
        return _grid_max_pool(x, window, with_index)
    xp = array_module(x)
    window, _ = window.within(*x.shape[1:3])
    size = window.output_size(*x.shape[1:3])
    padded = pad(x, window.pads(*x.shape[1:3]), -np.inf)
    return _running_maximum([view for _, _, view in window.taps(padded, size)], xp, with_index)


@with_cuda_version
def max_pool_gradient(dy: Array, index: Any, x_shape: tuple[int, ...], window: Window) -> Array:
    """dx of `x_shape` (N, H, W, C): each dy (N, OH, OW, C) goes to the pixel of its window that
    `index` says was the maximum."""
    if _is_grid(window, x_shape):
        return _grid_max_pool_gradient(dy, index, x_shape, window)
    window, _ = window.within(*x_shape[1:3])
    return _scatter(dy, x_shape, window, lambda i, j: dy * (index == i * window.size[1] + j))


def _running_maximum(views: list[Array], xp: Any, with_index: bool) -> tuple[Array, Array | None]:
    """The largest of several arrays, element by element, and the first of them that has it."""
    if len(views) == 1:
        return views[0].copy(), xp.zeros(views[0].shape, np.uint8) if with_index else None
    y = xp.maximum(views[0], views[1])
    index = (views[1] > views[0]).view(np.uint8) if with_index else None
    for number, view in enumerate(views[2:], start=2):
        if with_index:
            # `number` rises, so "this one, where it is larger" is a maximum too
            dtype = np.uint8 if number < 256 else np.int32
            index = xp.maximum(index, (view > y) * dtype(number))
        xp.maximum(y, view, out=y)
    return y, index


def _is_grid(window: Window, x_shape: tuple[int, ...]) -> bool:
    """Whether windows lie side by side without padding, as those of most networks do."""
    no_padding = ((0, 0), (0, 0))
    return window.size == window.strides and window.pads(*x_shape[1:3]) == no_padding


def _grid_max_pool(x: Array, window: Window, with_index: bool) -> tuple[Array, Any]:
    """`max_pool` down columns first, which compares whole rows of the image, then along rows."""
    xp = array_module(x)
    (kh, kw), (oh, ow) = window.size, window.output_size(*x.shape[1:3])
    rows = [x[:, i : oh * kh : kh, : ow * kw] for i in range(kh)]
    y, row = _running_maximum(rows, xp, with_index)  # (N, OH, OW kw, C)
    y, column = _running_maximum([y[:, :, j::kw] for j in range(kw)], xp, with_index)
    return y, (row, column) if with_index else None


def _grid_max_pool_gradient(
    dy: Array, index: Any, x_shape: tuple[int, ...], window: Window
) -> Array:
    xp = array_module(dy)
    row, column = index
    (kh, kw), (oh, ow) = window.size, dy.shape[1:3]
    drows = xp.empty(row.shape, dy.dtype)
    _deal_out(dy, column, [drows[:, :, j::kw] for j in range(kw)], xp)
    covered = x_shape[1:3] == (oh * kh, ow * kw)
    dx = (xp.empty if covered else xp.zeros)(x_shape, dy.dtype)
    _deal_out(drows, row, [dx[:, i : oh * kh : kh, : ow * kw] for i in range(kh)], xp)
    return dx


def _deal_out(dy: Array, index: Array, views: list[Array], xp: Any) -> None:
    """Adjoint of `_running_maximum`: each dy to the array the maximum came from, zero to others."""
    for number, view in enumerate(views[1:], start=1):
        xp.multiply(dy, index == number, out=view)
    rest = dy
    for view in views[1:]:  # what none of the others took is the first one's
        rest = xp.subtract(rest, view, out=views[0])
    if len(views) == 1:
        views[0][...] = dy


def average_pool(x: Array, window: Window) -> Array:
    """x (N, H, W, C) to the mean of each window, (N, OH, OW, C); padding is not counted."""
    h, w = x.shape[1:3]
    window, _ = window.within(h, w)
    y: Array = None
    padded = pad(widened(x), window.pads(h, w))
    for _, _, view in window.taps(padded, window.output_size(h, w)):
        if y is None:
            y = view.copy()
        else:
            y += view
    y *= _inverse_counts(x, x.shape, window)
    return y.astype(x.dtype, copy=False)


def average_pool_gradient(dy: Array, x_shape: tuple[int, ...], window: Window) -> Array:
    """dx of `x_shape` (N, H, W, C): each dy is shared evenly among the pixels of its window."""
    window, _ = window.within(*x_shape[1:3])
    share = widened(dy) * _inverse_counts(dy, x_shape, window)
    return _scatter(dy, x_shape, window, lambda i, j: share)


def _scatter(
    dy: Array, x_shape: tuple[int, ...], window: Window, share: Callable[[int, int], Array]
) -> Array:
    """Sum over the taps (i, j) of share(i, j) (N, OH, OW, C), each where its tap looks."""
    n, h, w, c = x_shape
    (top, bottom), (left, right) = pads = window.pads(h, w)
    padded_shape = n, h + top + bottom, w + left + right, c
    disjoint = all(k <= s for k, s in zip(window.size, window.strides, strict=True))
    dx = array_module(dy).zeros(padded_shape, dy.dtype if disjoint else wide(dy.dtype))
    for i, j, view in window.taps(dx, dy.shape[1:3]):
        if disjoint:
            view[...] = share(i, j)
        else:
            view += share(i, j)
    return crop(dx, pads).astype(dy.dtype, copy=False)


def _inverse_counts(like: Array, x_shape: tuple[int, ...], window: Window) -> Array:
    """1 / (pixels of the image in each window): (1, OH, OW, 1), in the dtype that `like` is
    calculated in."""
    h, w = x_shape[1:3]
    ones = array_module(like).ones((1, h, w, 1), wide(like.dtype))
    counts: Array = None
    for _, _, view in window.taps(pad(ones, window.pads(h, w)), window.output_size(h, w)):
        counts = view.copy() if counts is None else counts + view
    return 1 / counts
