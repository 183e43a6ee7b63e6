"""Convolution by im2col, which lays out windows, padding included, in one kernel.

As many images at a time as make a matrix of `MATRIX_BYTES`: in one go, on most GPUs and networks.

Images of 16 bits and the kernel, rounded to as many, are multiplied as they are where the product
is the result; a GPU sums it in float32. What is summed further, the kernel's gradient and what
pixels get from several windows, is calculated in float32.
"""

from collections.abc import Iterator
from functools import partial

from minicnn.backend import array_module
from minicnn.dtypes import widened
from minicnn.kernels import conv_im2col
from minicnn.kernels.conv_im2col import (
    Group,
    channel_groups,
    flipped,
    kernel_gradient,
    multiply,
    unrolled_bytes,
)
from minicnn.kernels.cuda.launch import launch
from minicnn.kernels.windows import Convolution, Pair, Window
from minicnn.parallel.slices import chunks
from minicnn.typing import Array

# The unrolled matrix of as many images as are worked on at a time.
MATRIX_BYTES = 1 << 29

prepare = conv_im2col.prepare


def forward(
    x: Array, kernel: Array, convolution: Convolution, keep: bool = False
) -> tuple[Array, Array | None]:
    """As the generic one.

    Args:
        x, kernel, convolution, keep: as there.
    """
    n, h, w, _ = x.shape
    size = convolution.output_size(h, w)
    y = array_module(x).empty((n, *size, kernel.shape[-1]), x.dtype)
    unrolled = partial(_unrolled, _in_order(x), convolution, _start(convolution, h, w), size)
    multiply(kernel.astype(x.dtype, copy=False), convolution.groups, y, unrolled)
    return y, x if keep else None


def gradients(
    dy: Array,
    x: Array | None,
    kernel: Array,
    x_shape: tuple[int, ...],
    convolution: Convolution,
    needs_dw: bool = True,
    needs_dx: bool = True,
) -> tuple[Array | None, Array | None]:
    """As the generic one.

    Args:
        dy, x, kernel, x_shape, convolution, needs_dw, needs_dx: as there.
    """
    dy = _in_order(dy)
    dw = dx = None
    if needs_dw:
        x, start = _in_order(widened(x)), _start(convolution, *x_shape[1:3])
        unrolled = partial(_unrolled, x, convolution, start, dy.shape[1:3])
        dw = kernel_gradient(widened(dy), kernel.shape, convolution.groups, unrolled)
    if needs_dx:
        kernel = kernel.astype(dy.dtype, copy=False)
        if convolution.strides == (1, 1):
            dx = _by_convolution(dy, kernel, x_shape, convolution)
        else:
            dx = _by_gathering(widened(dy), widened(kernel), x_shape, convolution)
            dx = dx.astype(dy.dtype, copy=False)
    return dw, dx


def _by_convolution(
    dy: Array, kernel: Array, x_shape: tuple[int, ...], convolution: Convolution
) -> Array:
    """dx of stride 1: dy convolved with the kernel turned by 180 degrees."""
    _, h, w, _ = x_shape
    (top, left), (eh, ew) = _start(convolution, h, w), convolution.extent
    dx = array_module(dy).empty(x_shape, dy.dtype)
    start = eh - 1 - top, ew - 1 - left
    unrolled = partial(_unrolled, dy, convolution, start, (h, w))
    multiply(flipped(kernel, convolution.groups), convolution.groups, dx, unrolled)
    return dx


def _by_gathering(
    dy: Array, kernel: Array, x_shape: tuple[int, ...], convolution: Convolution
) -> Array:
    """dx of any stride: the rows of dy @ w^T, gathered pixel by pixel."""
    xp = array_module(dy)
    n, h, w, channels = x_shape
    oh, ow = dy.shape[1:3]
    dx = xp.empty(x_shape, dy.dtype)
    for group in channel_groups(channels, dy.shape[-1], convolution.groups):
        matrix = xp.ascontiguousarray(kernel[..., group.filters]).reshape(-1, group.n_filters)
        count = group.n_channels
        size = unrolled_bytes(convolution, (oh, ow), count, dy.dtype.itemsize)
        for chunk in chunks(n, size, MATRIX_BYTES):
            rows = dy[chunk][..., group.filters].reshape(-1, group.n_filters)
            # (n OH OW, F) @ (F, kh kw C) -> (n OH OW, kh kw C)
            columns = _in_order(rows @ matrix.T)
            images = dx[chunk]
            elements = images.size // channels * count
            launch(
                "conv_im2col", "col2im", dy.dtype, elements, columns, images, elements,
                h, w, channels, group.channels.start, count, oh, ow, *convolution.size,
                *convolution.strides, *convolution.dilation, *_start(convolution, h, w),
            )  # fmt: skip
    return dx


def _unrolled(
    x: Array, window: Window, start: Pair, output_size: Pair, group: Group
) -> Iterator[tuple[slice, Array]]:
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
    cut = chunks(n, unrolled_bytes(window, output_size, count, x.dtype.itemsize), MATRIX_BYTES)
    largest = max((chunk.stop - chunk.start for chunk in cut), default=0)
    buffer = xp.empty((largest * oh * ow, kh * kw * count), x.dtype)
    for chunk in cut:
        columns = buffer[: (chunk.stop - chunk.start) * oh * ow]
        launch(
            "conv_im2col", "im2col", x.dtype, columns.size, x[chunk], columns, columns.size,
            h, w, all_channels, group.channels.start, count, oh, ow, kh, kw, *window.strides,
            *window.dilation, *start,
        )  # fmt: skip
        yield chunk, columns


def _start(window: Window, height: int, width: int) -> Pair:
    (top, _), (left, _) = window.pads(height, width)
    return top, left


def _in_order(x: Array) -> Array:
    return array_module(x).ascontiguousarray(x)
