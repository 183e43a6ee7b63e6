"""Convolution by im2col, which lays out windows, padding included, in one kernel.

As many images at a time as make a matrix of `MATRIX_BYTES`: in one go, on most GPUs and networks.
"""

from collections.abc import Iterator
from typing import Any

from minicnn.backend import array_module
from minicnn.kernels.cuda.launch import launch
from minicnn.kernels.windows import Pair, Window

# The unrolled matrix of as many images as are worked on at a time.
MATRIX_BYTES = 1 << 29


def forward(
    x: Any, kernel: Any, window: Window, groups: int = 1, keep: bool = False
) -> tuple[Any, Any]:
    """As the generic one."""
    n, h, w, _ = x.shape
    (top, _), (left, _) = window.pads(h, w)
    size = window.output_size(h, w)
    y = array_module(x).empty((n, *size, kernel.shape[-1]), x.dtype)
    _convolve(_in_order(x), kernel, window, (top, left), groups, y)
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
    dw = _kernel_gradient(_in_order(x), dy, kernel.shape, window, groups) if needs_dw else None
    dx = None
    if needs_dx and window.strides == (1, 1):
        dx = _by_convolution(dy, kernel, x_shape, window, groups)
    elif needs_dx:
        dx = _by_gathering(dy, kernel, x_shape, window, groups)
    return dw, dx


def _convolve(x: Any, kernel: Any, window: Window, start: Pair, groups: int, y: Any) -> None:
    """Into y (N, OH, OW, F), from windows of which the first begins `start` rows and columns
    outside the image."""
    xp = array_module(x)
    for channels, filters in _groups(x.shape[-1], y.shape[-1], groups):
        matrix = xp.ascontiguousarray(kernel[..., filters])
        matrix = matrix.reshape(-1, matrix.shape[-1])
        for images, columns in _tiles(x, window, start, y.shape[1:3], channels):
            part = y[images]
            # (n OH OW, kh kw C) @ (kh kw C, F) -> (n OH OW, F)
            if groups == 1:
                xp.matmul(columns, matrix, out=part.reshape(-1, part.shape[-1]))
            else:
                part[..., filters] = (columns @ matrix).reshape(*part.shape[:3], -1)


def _kernel_gradient(
    x: Any, dy: Any, kernel_shape: tuple[int, ...], window: Window, groups: int
) -> Any:
    xp = array_module(x)
    (top, _), (left, _) = window.pads(*x.shape[1:3])
    dw = xp.empty(kernel_shape, x.dtype)
    for channels, filters in _groups(x.shape[-1], dy.shape[-1], groups):
        total: Any = None
        for images, columns in _tiles(x, window, (top, left), dy.shape[1:3], channels):
            rows = _in_order(dy[images][..., filters])
            # (kh kw C, n OH OW) @ (n OH OW, F) -> (kh kw C, F)
            part = columns.T @ rows.reshape(-1, rows.shape[-1])
            total = part if total is None else total + part
        dw[..., filters] = total.reshape(*kernel_shape[:3], -1)
    return dw


def _by_convolution(
    dy: Any, kernel: Any, x_shape: tuple[int, ...], window: Window, groups: int
) -> Any:
    """dx of stride 1: dy convolved with the kernel turned by 180 degrees."""
    xp = array_module(dy)
    _, h, w, channels = x_shape
    kh, kw, per_group, filters = kernel.shape
    (top, _), (left, _) = window.pads(h, w)
    (eh, ew) = window.extent
    flipped = kernel[::-1, ::-1].reshape(kh, kw, per_group, groups, filters // groups)
    # (kh, kw, C/g, g, F/g) -> (kh, kw, F/g, g, C/g): filters become channels, group by group
    flipped = xp.ascontiguousarray(flipped.transpose(0, 1, 4, 3, 2))
    flipped = flipped.reshape(kh, kw, filters // groups, channels)
    dx = xp.empty(x_shape, dy.dtype)
    reach = Window(window.size, dilation=window.dilation)
    _convolve(dy, flipped, reach, (eh - 1 - top, ew - 1 - left), groups, dx)
    return dx


def _by_gathering(
    dy: Any, kernel: Any, x_shape: tuple[int, ...], window: Window, groups: int
) -> Any:
    """dx of any stride: the rows of dy @ w^T, gathered pixel by pixel."""
    xp = array_module(dy)
    n, h, w, channels = x_shape
    oh, ow = dy.shape[1:3]
    (top, _), (left, _) = window.pads(h, w)
    dx = xp.empty(x_shape, dy.dtype)
    for part, filters in _groups(channels, dy.shape[-1], groups):
        matrix = xp.ascontiguousarray(kernel[..., filters])
        matrix = matrix.reshape(-1, matrix.shape[-1])
        count = part.stop - part.start
        step = _images_at_a_time(window, (oh, ow), count, dy.dtype.itemsize)
        for start in range(0, n, step):
            rows = _in_order(dy[start : start + step][..., filters])
            # (n OH OW, F) @ (F, kh kw C) -> (n OH OW, kh kw C)
            columns = rows.reshape(-1, rows.shape[-1]) @ matrix.T
            images = dx[start : start + step]
            numbers = images.size // channels * count
            launch(
                "conv_im2col", "col2im", dy.dtype, numbers, _in_order(columns), images, numbers,
                h, w, channels, part.start, count, oh, ow, *window.size, *window.strides,
                *window.dilation, top, left,
            )  # fmt: skip
    return dx


def _tiles(
    x: Any, window: Window, start: Pair, output_size: Pair, channels: slice
) -> Iterator[tuple[slice, Any]]:
    """(slice of the batch, the matrix of its windows), as many images as `MATRIX_BYTES` allows.

    The matrix is the same memory each time: use it before asking for the next.
    """
    xp = array_module(x)
    n, h, w, all_channels = x.shape
    (oh, ow), (kh, kw) = output_size, window.size
    count = channels.stop - channels.start
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
            h, w, all_channels, channels.start, count, oh, ow, kh, kw, *window.strides,
            *window.dilation, *start,
        )  # fmt: skip
        yield images, columns


def _images_at_a_time(window: Window, output_size: Pair, channels: int, itemsize: int) -> int:
    (oh, ow), (kh, kw) = output_size, window.size
    return max(1, MATRIX_BYTES // max(1, oh * ow * kh * kw * channels * itemsize))


def _groups(channels: int, filters: int, groups: int) -> list[tuple[slice, slice]]:
    """(channels, filters) of each group."""
    c, f = channels // groups, filters // groups
    return [(slice(i * c, (i + 1) * c), slice(i * f, (i + 1) * f)) for i in range(groups)]


def _in_order(x: Any) -> Any:
    return array_module(x).ascontiguousarray(x)
