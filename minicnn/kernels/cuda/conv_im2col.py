"""Convolution by im2col, which lays out windows, padding included, in one kernel.

As many images at a time as make a matrix of `MATRIX_BYTES`: in one go, on most GPUs and networks.

Images of 16 bits and the kernel, rounded to as many, are multiplied as they are where the product
is the result; a GPU sums it in float32. What is summed further, the kernel's gradient and what
pixels get from several windows, is calculated in float32.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

from minicnn.backend import array_module
from minicnn.dtypes import widened
from minicnn.kernels.conv_im2col import Group, channel_groups, flipped, kernel_gradient, multiply
from minicnn.kernels.cuda.launch import launch
from minicnn.kernels.windows import Pair, Window

# The unrolled matrix of as many images as are worked on at a time.
MATRIX_BYTES = 1 << 29


def forward(
    x: Any, kernel: Any, window: Window, groups: int = 1, keep: bool = False
) -> tuple[Any, Any]:
    """As the generic one."""
    n, h, w, _ = x.shape
    size = window.output_size(h, w)
    y = array_module(x).empty((n, *size, kernel.shape[-1]), x.dtype)
    tiles = partial(_tiles, _in_order(x), window, _start(window, h, w), size)
    multiply(kernel.astype(x.dtype, copy=False), groups, y, tiles)
    return y, x if keep else None


def gradients(
    dy: Any,
    x: Any,
    kernel: Any,
    x_shape: tuple[int, ...],
    window: Window,
    groups: int = 1,
    needs_dw: bool = True,
    needs_dx: bool = True,
) -> tuple[Any, Any]:
    """As the generic one."""
    dy = _in_order(dy)
    dw = dx = None
    if needs_dw:
        start = _start(window, *x_shape[1:3])
        tiles = partial(_tiles, _in_order(widened(x)), window, start, dy.shape[1:3])
        dw = kernel_gradient(widened(dy), kernel.shape, groups, tiles)
    if needs_dx:
        kernel = kernel.astype(dy.dtype, copy=False)
        if window.strides == (1, 1):
            dx = _by_convolution(dy, kernel, x_shape, window, groups)
        else:
            dx = _by_gathering(widened(dy), widened(kernel), x_shape, window, groups)
            dx = dx.astype(dy.dtype, copy=False)
    return dw, dx


def _by_convolution(
    dy: Any, kernel: Any, x_shape: tuple[int, ...], window: Window, groups: int
) -> Any:
    """dx of stride 1: dy convolved with the kernel turned by 180 degrees."""
    _, h, w, _ = x_shape
    (top, left), (eh, ew) = _start(window, h, w), window.extent
    reach = Window(window.size, dilation=window.dilation)
    dx = array_module(dy).empty(x_shape, dy.dtype)
    start = eh - 1 - top, ew - 1 - left
    tiles = partial(_tiles, dy, reach, start, (h, w))
    multiply(flipped(kernel, groups), groups, dx, tiles)
    return dx


def _by_gathering(
    dy: Any, kernel: Any, x_shape: tuple[int, ...], window: Window, groups: int
) -> Any:
    """dx of any stride: the rows of dy @ w^T, gathered pixel by pixel."""
    xp = array_module(dy)
    n, h, w, channels = x_shape
    oh, ow = dy.shape[1:3]
    dx = xp.empty(x_shape, dy.dtype)
    for group in channel_groups(channels, dy.shape[-1], groups):
        matrix = xp.ascontiguousarray(kernel[..., group.filters]).reshape(-1, group.n_filters)
        count = group.n_channels
        step = _images_at_a_time(window, (oh, ow), count, dy.dtype.itemsize)
        for first in range(0, n, step):
            rows = dy[first : first + step][..., group.filters].reshape(-1, group.n_filters)
            # (n OH OW, F) @ (F, kh kw C) -> (n OH OW, kh kw C)
            columns = _in_order(rows @ matrix.T)
            images = dx[first : first + step]
            numbers = images.size // channels * count
            launch(
                "conv_im2col", "col2im", dy.dtype, numbers, columns, images, numbers,
                h, w, channels, group.channels.start, count, oh, ow, *window.size,
                *window.strides, *window.dilation, *_start(window, h, w),
            )  # fmt: skip
    return dx


def _tiles(
    x: Any, window: Window, start: Pair, output_size: Pair, group: Group
) -> Iterator[tuple[slice, Any]]:
    """(slice of the batch, the matrix of its windows), as many images as `MATRIX_BYTES` allows.

    Args:
        start: how many rows and columns outside the image the first window begins.

    The matrix is the same memory each time: use it before asking for the next.
    """
    xp = array_module(x)
    n, h, w, all_channels = x.shape
    (oh, ow), (kh, kw) = output_size, window.size
    count = group.n_channels
    if window.is_pointwise and count == all_channels:  # the matrix as it stands
        yield slice(0, n), x.reshape(-1, count)
        return
    step = min(n, _images_at_a_time(window, output_size, count, x.dtype.itemsize))
    buffer = xp.empty((step * oh * ow, kh * kw * count), x.dtype)
    for first in range(0, n, step):
        images = slice(first, min(first + step, n))
        columns = buffer[: (images.stop - first) * oh * ow]
        launch(
            "conv_im2col", "im2col", x.dtype, columns.size, x[images], columns, columns.size,
            h, w, all_channels, group.channels.start, count, oh, ow, kh, kw, *window.strides,
            *window.dilation, *start,
        )  # fmt: skip
        yield images, columns


def _images_at_a_time(window: Window, output_size: Pair, channels: int, itemsize: int) -> int:
    (oh, ow), (kh, kw) = output_size, window.size
    return max(1, MATRIX_BYTES // max(1, oh * ow * kh * kw * channels * itemsize))


def _start(window: Window, height: int, width: int) -> Pair:
    (top, _), (left, _) = window.pads(height, width)
    return top, left


def _in_order(x: Any) -> Any:
    return array_module(x).ascontiguousarray(x)
