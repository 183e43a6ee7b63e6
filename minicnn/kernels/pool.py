"""Maximum and average over windows, with gradients."""

from typing import Any

import numpy as np

from minicnn.backend import array_module
from minicnn.kernels.windows import Window, crop, pad


def max_pool(x: Any, window: Window, with_index: bool = False) -> tuple[Any, Any]:
    """(N, H, W, C) to the largest number of each window, (N, OH, OW, C).

    Padding counts as minus infinity: it is never the maximum, unlike zeros would be among
    negative numbers.

    Returns:
        (y, index): index (N, OH, OW, C) tells which tap i kw + j the maximum came from, the first
        of equals; None unless `with_index`.
    """
    xp = array_module(x)
    size = window.output_size(*x.shape[1:3])
    padded = pad(x, window.pads(*x.shape[1:3]), -np.inf)
    y = index = None
    for i, j, view in window.taps(padded, size):
        if y is None:
            y = view.copy()
            if with_index:
                index = xp.zeros(y.shape, _index_dtype(window))
            continue
        if index is not None:
            # taps come in rising order, so "this one, where it is larger" is a maximum too
            tap = index.dtype.type(i * window.size[1] + j)
            xp.maximum(index, (view > y) * tap, out=index)
        xp.maximum(y, view, out=y)
    return y, index


def max_pool_gradient(dy: Any, index: Any, x_shape: tuple[int, ...], window: Window) -> Any:
    """dx (N, H, W, C): each dy goes to the pixel its maximum came from."""
    return _scatter(dy, x_shape, window, lambda i, j: dy * (index == i * window.size[1] + j))


def average_pool(x: Any, window: Window) -> Any:
    """(N, H, W, C) to the mean of each window, (N, OH, OW, C); padding is not counted."""
    h, w = x.shape[1:3]
    y = None
    for _, _, view in window.taps(pad(x, window.pads(h, w)), window.output_size(h, w)):
        if y is None:
            y = view.copy()
        else:
            y += view
    y *= _inverse_counts(x, x.shape, window)
    return y


def average_pool_gradient(dy: Any, x_shape: tuple[int, ...], window: Window) -> Any:
    """dx (N, H, W, C): each dy is shared out evenly among the pixels of its window."""
    share = dy * _inverse_counts(dy, x_shape, window)
    return _scatter(dy, x_shape, window, lambda i, j: share)


def _scatter(dy: Any, x_shape: tuple[int, ...], window: Window, part: Any) -> Any:
    """Sum over the taps (i, j) of part(i, j) (N, OH, OW, C), each where its tap looks."""
    n, h, w, c = x_shape
    (top, bottom), (left, right) = pads = window.pads(h, w)
    dx = array_module(dy).zeros((n, h + top + bottom, w + left + right, c), dy.dtype)
    disjoint = all(k <= s for k, s in zip(window.size, window.strides, strict=True))
    for i, j, view in window.taps(dx, dy.shape[1:3]):
        if disjoint:
            view[...] = part(i, j)
        else:
            view += part(i, j)
    return crop(dx, pads)


def _inverse_counts(like: Any, x_shape: tuple[int, ...], window: Window) -> Any:
    """1 / (pixels of the image in each window): (1, OH, OW, 1), in the dtype of `like`."""
    h, w = x_shape[1:3]
    ones = array_module(like).ones((1, h, w, 1), like.dtype)
    counts: Any = None
    for _, _, view in window.taps(pad(ones, window.pads(h, w)), window.output_size(h, w)):
        counts = view.copy() if counts is None else counts + view
    return 1 / counts


def _index_dtype(window: Window) -> type:
    return np.uint8 if window.size[0] * window.size[1] <= 256 else np.int32
