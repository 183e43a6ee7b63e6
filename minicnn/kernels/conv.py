"""Convolution by tiled im2col, with both gradients.

    y[n, p, q, f] = sum_{i, j, c} x[n, p sh + i dh, q sw + j dw, c] w[i, j, c, f] + b[f]

(cross-correlation, as all deep-learning libraries define it). A few images at a time are unrolled
into a matrix that fits the processor's cache, and multiplied with the kernel there; unrolling a
whole batch would write and read back 9 times the batch for a 3x3 kernel.
Source: Chellapilla, Puri, Simard, "High performance convolutional neural networks for document
processing" (2006), for im2col.
"""

from collections.abc import Iterator
from typing import Any

from minicnn.backend import array_module
from minicnn.kernels.reduce import channel_sum
from minicnn.kernels.windows import Pair, Window, col2im, im2col, pad

# Bytes of the unrolled matrix of one tile. Measured on a core with 512 KB of L2 cache and its
# share of a 32 MB L3: flat between 0.5 and 2 MB, falling on both sides.
TILE_BYTES = 1 << 20


def conv2d(x: Any, kernel: Any, bias: Any, window: Window, groups: int = 1) -> Any:
    """(N, H, W, C) and (kh, kw, C / groups, F) to (N, OH, OW, F).

    Args:
        bias: (F,), or None.
        groups: channels and filters are cut into so many independent parts.
    """
    xp = array_module(x)
    n, h, w, _ = x.shape
    filters = kernel.shape[-1]
    oh, ow = output_size = window.output_size(h, w)
    y = xp.empty((n, oh, ow, filters), x.dtype)
    for group in _groups(x.shape[-1], filters, groups):
        matrix = xp.ascontiguousarray(kernel[..., group.filters]).reshape(-1, group.n_filters)
        for images, columns in _tiles(x[..., group.channels], window, output_size):
            part = y[images]
            # (n OH OW, kh kw C) @ (kh kw C, F) -> (n OH OW, F)
            if groups == 1:
                part = part.reshape(-1, filters)
                xp.matmul(columns, matrix, out=part)
            else:
                part[..., group.filters] = (columns @ matrix).reshape(*part.shape[:3], -1)
            if bias is not None and group.is_last:
                part += bias  # while the tile is still in cache
    return y


def conv2d_kernel_gradient(
    x: Any, dy: Any, kernel_shape: tuple[int, ...], window: Window, groups: int = 1
) -> Any:
    """dw of `conv2d`.

    dw[i, j, c, f] = sum_{n, p, q} x[n, p sh + i dh, q sw + j dw, c] dy[n, p, q, f]

    Args:
        x: (N, H, W, C).
        dy: (N, OH, OW, F).
        kernel_shape: (kh, kw, C / groups, F).
    """
    xp = array_module(x)
    filters = kernel_shape[-1]
    dw = xp.empty(kernel_shape, x.dtype)
    for group in _groups(x.shape[-1], filters, groups):
        total: Any = None
        for images, columns in _tiles(x[..., group.channels], window, dy.shape[1:3]):
            dy_rows = dy[images][..., group.filters].reshape(-1, group.n_filters)
            # (kh kw C, n OH OW) @ (n OH OW, F) -> (kh kw C, F)
            part = columns.T @ dy_rows
            total = part if total is None else xp.add(total, part, out=total)
        dw[..., group.filters] = total.reshape(*kernel_shape[:3], group.n_filters)
    return dw


def conv2d_input_gradient(
    dy: Any, kernel: Any, x_shape: tuple[int, ...], window: Window, groups: int = 1
) -> Any:
    """dx of `conv2d`, (N, H, W, C).

    With stride 1 it is itself a convolution: of dy, padded by what the window reaches over, with
    the kernel turned by 180 degrees and its channel axes exchanged. Otherwise each row of
    dy @ w^T is added where im2col read it.
    """
    if window.strides == (1, 1):
        return _input_gradient_by_convolution(dy, kernel, x_shape, window, groups)
    return _input_gradient_by_scatter(dy, kernel, x_shape, window, groups)


def conv2d_bias_gradient(dy: Any) -> Any:
    """db[f] = sum_{n, p, q} dy[n, p, q, f]."""
    return channel_sum(dy)


def _input_gradient_by_convolution(
    dy: Any, kernel: Any, x_shape: tuple[int, ...], window: Window, groups: int
) -> Any:
    xp = array_module(dy)
    _, h, w, channels = x_shape
    kh, kw, per_group, filters = kernel.shape
    (top, _), (left, _) = window.pads(h, w)
    (eh, ew), (oh, ow) = window.extent, dy.shape[1:3]
    # dx[r] = sum_i dy[r + top - i d] w[i]: rows of dy from top - (eh - 1) to h - 1 + top
    above, before = eh - 1 - top, ew - 1 - left
    below, after = h + top - oh, w + left - ow
    flipped = kernel[::-1, ::-1].reshape(kh, kw, per_group, groups, filters // groups)
    # (kh, kw, C/g, g, F/g) -> (kh, kw, F/g, g, C/g): filters become channels, group by group
    flipped = xp.ascontiguousarray(flipped.transpose(0, 1, 4, 3, 2))
    flipped = flipped.reshape(kh, kw, filters // groups, channels)
    reach = Window(window.size, dilation=window.dilation)
    return _padded_conv2d(dy, flipped, reach, ((above, below), (before, after)), groups)


def _padded_conv2d(
    x: Any, kernel: Any, window: Window, pads: tuple[Pair, Pair], groups: int
) -> Any:
    """`conv2d` with explicit padding, padded a tile at a time."""
    xp = array_module(x)
    n, h, w, c = x.shape
    (top, bottom), (left, right) = pads
    height, width = h + top + bottom, w + left + right
    oh, ow = window.output_size(height, width)
    y = xp.empty((n, oh, ow, kernel.shape[-1]), x.dtype)
    step = _images_per_tile(window, (oh, ow), c, x.dtype.itemsize)
    for start in range(0, n, step):
        part = pad(x[start : start + step], pads)
        y[start : start + step] = conv2d(part, kernel, None, window, groups)
    return y


def _input_gradient_by_scatter(
    dy: Any, kernel: Any, x_shape: tuple[int, ...], window: Window, groups: int
) -> Any:
    xp = array_module(dy)
    n, h, w, channels = x_shape
    output_size = dy.shape[1:3]
    (top, bottom), (left, right) = window.pads(h, w)
    dx = xp.empty(x_shape, dy.dtype)
    for group in _groups(channels, kernel.shape[-1], groups):
        matrix = xp.ascontiguousarray(kernel[..., group.filters]).reshape(-1, group.n_filters)
        step = _images_per_tile(window, output_size, group.n_channels, dy.dtype.itemsize)
        for start in range(0, n, step):
            dy_rows = dy[start : start + step][..., group.filters].reshape(-1, group.n_filters)
            images = min(step, n - start)
            padded = (images, h + top + bottom, w + left + right, group.n_channels)
            # (n OH OW, F) @ (F, kh kw C) -> (n OH OW, kh kw C)
            part = col2im(dy_rows @ matrix.T, padded, window, output_size)
            dx[start : start + step, :, :, group.channels] = part[:, top : top + h, left : left + w]
    return dx


class _Group:
    """The channels and filters of one group."""

    def __init__(self, index: int, count: int, channels: int, filters: int):
        self.n_channels, self.n_filters = channels // count, filters // count
        self.channels = slice(index * self.n_channels, (index + 1) * self.n_channels)
        self.filters = slice(index * self.n_filters, (index + 1) * self.n_filters)
        self.is_last = index == count - 1


def _groups(channels: int, filters: int, groups: int) -> list[_Group]:
    return [_Group(i, groups, channels, filters) for i in range(groups)]


def _images_per_tile(window: Window, output_size: Pair, channels: int, itemsize: int) -> int:
    (oh, ow), (kh, kw) = output_size, window.size
    return max(1, TILE_BYTES // max(1, oh * ow * kh * kw * channels * itemsize))


def _tiles(x: Any, window: Window, output_size: Pair) -> Iterator[tuple[slice, Any]]:
    """(slice of the batch, its im2col matrix) for a few images at a time.

    The matrix is the same buffer each time: use it before asking for the next.
    """
    xp = array_module(x)
    n, h, w, c = x.shape
    (oh, ow), (kh, kw) = output_size, window.size
    pads = window.pads(h, w)
    if window.is_pointwise:  # a product as it stands: nothing to unroll
        step = max(1, TILE_BYTES // max(1, h * w * c * x.dtype.itemsize))
        for start in range(0, n, step):
            images = slice(start, min(start + step, n))
            yield images, xp.ascontiguousarray(x[images]).reshape(-1, c)
        return
    step = min(n, _images_per_tile(window, output_size, c, x.dtype.itemsize))
    buffer = xp.empty((step * oh * ow, kh * kw * c), x.dtype)
    for start in range(0, n, step):
        images = slice(start, min(start + step, n))
        rows = (images.stop - start) * oh * ow
        yield images, im2col(pad(x[images], pads), window, output_size, out=buffer[:rows])
