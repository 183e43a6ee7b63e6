"""Convolution of every kind by tiled im2col, with both gradients.

A few images at a time are unrolled into a matrix that fits the processor's cache, and multiplied
with the kernel there; unrolling a whole batch would write and read back 9 times the batch for a
3x3 kernel. A 1x1 kernel needs no unrolling: it is a product as it stands.

Source: Chellapilla, Puri, Simard, "High performance convolutional neural networks for document
processing" (2006), for im2col.

Images of 16 bits are calculated with in float32, the kernel rounded to as many bits; its gradient
is float32.
"""

from collections.abc import Callable, Iterator
from typing import Any

from minicnn.backend import array_module
from minicnn.dtypes import widened
from minicnn.kernels.dense import rounded
from minicnn.kernels.device import with_cuda_version
from minicnn.kernels.windows import Pair, Window, col2im, im2col, pad

# Bytes of the unrolled matrix of one tile. Measured on a core with 512 KB of L2 cache and its
# share of a 32 MB L3: flat between 0.5 and 2 MB, falling on both sides.
TILE_BYTES = 1 << 20


class Group:
    """The channels and filters of one group."""

    def __init__(self, index: int, count: int, channels: int, filters: int):
        self.n_channels, self.n_filters = channels // count, filters // count
        self.channels = slice(index * self.n_channels, (index + 1) * self.n_channels)
        self.filters = slice(index * self.n_filters, (index + 1) * self.n_filters)


def channel_groups(channels: int, filters: int, groups: int) -> list[Group]:
    return [Group(i, groups, channels, filters) for i in range(groups)]


# For a group, a few images at a time: (slice of the batch, their im2col matrix).
Tiles = Callable[[Group], Iterator[tuple[slice, Any]]]


def prepare(kernel: Any, dtype: Any = None) -> Any:
    """What `forward` and `gradients` take for the kernel: the kernel itself."""
    return kernel


@with_cuda_version
def forward(
    x: Any, kernel: Any, window: Window, groups: int = 1, keep: bool = False
) -> tuple[Any, Any]:
    """(N, H, W, C) and (kh, kw, C / groups, F) to (N, OH, OW, F).

    Args:
        groups: channels and filters are cut into so many independent parts.
        keep: whether the kernel's gradient will be asked for.

    Returns:
        (y, what `gradients` needs to know of x: x itself; None unless `keep`).
    """
    images, kernel = widened(x), rounded(kernel, x.dtype)
    if _in_pairs(x.shape, window, groups):
        padded = pad(images, window.pads(*x.shape[1:3]))
        # (N, OH, OW / 2, 2 F), which is (N, OH, OW, F) in memory
        y = _convolve(padded, _pair_kernel(kernel), _pair_window(window), 1)
        y = y.reshape(*y.shape[:2], -1, kernel.shape[-1])
    else:
        y = _convolve(images, kernel, window, groups)
    return y.astype(x.dtype, copy=False), x if keep else None


@with_cuda_version
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
    """(dw (kh, kw, C / groups, F), dx (N, H, W, C)) of `forward`; None for what is not needed.

    Args:
        dy: (N, OH, OW, F).
        x: as `forward` returned it; None without `needs_dw`.
    """
    dtype = dy.dtype
    dy, kernel = widened(dy), rounded(kernel, dtype)
    dw = dx = None
    if needs_dw:
        x = widened(x)
    if needs_dw and _in_pairs(x_shape, window, groups):
        padded = pad(x, window.pads(*x_shape[1:3]))
        kh, kw, channels, filters = kernel.shape
        dy_pairs = dy.reshape(*dy.shape[:2], -1, 2 * filters)
        shape = (kh, kw + 1, channels, 2 * filters)
        dw = _from_pairs(_kernel_gradient(padded, dy_pairs, shape, _pair_window(window), 1))
    elif needs_dw:
        dw = _kernel_gradient(x, dy, kernel.shape, window, groups)
    if needs_dx:
        # With stride 1 dx is itself a convolution: of dy, padded by what the window reaches over,
        # with the kernel turned by 180 degrees and its channel axes exchanged. Otherwise each row
        # of dy @ w^T is added where im2col read it.
        by_convolution = window.strides == (1, 1)
        compute = _input_gradient_by_convolution if by_convolution else _input_gradient_by_scatter
        dx = compute(dy, kernel, x_shape, window, groups).astype(dtype, copy=False)
    return dw, dx


# Few channels, such as the three colours of a first layer, make short rows, which copy and multiply
# slowly. Two neighbouring outputs at once read windows one pixel wider, two pixels apart: a third
# more products, with zeros, but half as many rows. For 3 channels a quarter faster in all; with
# 16 channels nothing is gained.
_MOST_NUMBERS_IN_PAIRS = 16  # kw C of the kernel


def _in_pairs(x_shape: tuple[int, ...], window: Window, groups: int) -> bool:
    _, h, w, channels = x_shape
    return (
        window.strides == window.dilation == (1, 1)
        and groups == 1
        and window.size[1] > 1
        and window.size[1] * channels <= _MOST_NUMBERS_IN_PAIRS
        and window.output_size(h, w)[1] % 2 == 0
    )


def _pair_window(window: Window) -> Window:
    return Window((window.size[0], window.size[1] + 1), strides=(1, 2))


def _pair_kernel(kernel: Any) -> Any:
    """(kh, kw, C, F) to (kh, kw + 1, C, 2 F): for the left output and for the right one."""
    kh, kw, channels, filters = kernel.shape
    wide = array_module(kernel).zeros((kh, kw + 1, channels, 2 * filters), kernel.dtype)
    wide[:, :kw, :, :filters] = kernel
    wide[:, 1:, :, filters:] = kernel
    return wide


def _from_pairs(wide: Any) -> Any:
    """Adjoint of `_pair_kernel`."""
    kw, filters = wide.shape[1] - 1, wide.shape[-1] // 2
    return wide[:, :kw, :, :filters] + wide[:, 1:, :, filters:]


def _convolve(x: Any, kernel: Any, window: Window, groups: int) -> Any:
    xp = array_module(x)
    n, h, w, _ = x.shape
    filters = kernel.shape[-1]
    output_size = window.output_size(h, w)
    y = xp.empty((n, *output_size, filters), x.dtype)
    multiply(kernel, groups, y, lambda group: _tiles(x[..., group.channels], window, output_size))
    return y


def multiply(kernel: Any, groups: int, y: Any, tiles: Tiles) -> None:
    """Into y (N, OH, OW, F), the product of unrolled images and the kernel (kh, kw, C / groups, F).

    Args:
        tiles: for a group, (slice of the batch, its im2col matrix) of a few images at a time.
    """
    xp = array_module(y)
    for group in channel_groups(kernel.shape[2] * groups, y.shape[-1], groups):
        matrix = xp.ascontiguousarray(kernel[..., group.filters]).reshape(-1, group.n_filters)
        for images, columns in tiles(group):
            part = y[images]
            # (n OH OW, kh kw C) @ (kh kw C, F) -> (n OH OW, F)
            if groups == 1:
                xp.matmul(columns, matrix, out=part.reshape(-1, part.shape[-1]))
            else:
                part[..., group.filters] = (columns @ matrix).reshape(*part.shape[:3], -1)


def _kernel_gradient(
    x: Any, dy: Any, kernel_shape: tuple[int, ...], window: Window, groups: int
) -> Any:
    size = dy.shape[1:3]
    return kernel_gradient(
        dy, kernel_shape, groups, lambda group: _tiles(x[..., group.channels], window, size)
    )


def kernel_gradient(dy: Any, kernel_shape: tuple[int, ...], groups: int, tiles: Tiles) -> Any:
    """dw[i, j, c, f] = sum_{n, p, q} x[n, p sh + i dh, q sw + j dw, c] dy[n, p, q, f].

    Args:
        tiles: of x, as for `multiply`.
    """
    xp = array_module(dy)
    dw = xp.empty(kernel_shape, dy.dtype)
    for group in channel_groups(kernel_shape[2] * groups, kernel_shape[-1], groups):
        total: Any = None
        for images, columns in tiles(group):
            dy_rows = dy[images][..., group.filters].reshape(-1, group.n_filters)
            # (kh kw C, n OH OW) @ (n OH OW, F) -> (kh kw C, F)
            part = columns.T @ dy_rows
            total = part if total is None else xp.add(total, part, out=total)
        dw[..., group.filters] = total.reshape(*kernel_shape[:3], group.n_filters)
    return dw


def _input_gradient_by_convolution(
    dy: Any, kernel: Any, x_shape: tuple[int, ...], window: Window, groups: int
) -> Any:
    _, h, w, _ = x_shape
    (top, _), (left, _) = window.pads(h, w)
    (eh, ew), (oh, ow) = window.extent, dy.shape[1:3]
    # dx[r] = sum_i dy[r + top - i d] w[i]: rows of dy from top - (eh - 1) to h - 1 + top
    above, before = eh - 1 - top, ew - 1 - left
    below, after = h + top - oh, w + left - ow
    reach = Window(window.size, dilation=window.dilation)
    pads = (above, below), (before, after)
    return _padded_conv2d(dy, flipped(kernel, groups), reach, pads, groups)


def flipped(kernel: Any, groups: int) -> Any:
    """The kernel (kh, kw, C / g, F) turned by 180 degrees, its filters become channels, group by
    group: (kh, kw, F / g, C)."""
    kh, kw, per_group, filters = kernel.shape
    turned = kernel[::-1, ::-1].reshape(kh, kw, per_group, groups, filters // groups)
    # (kh, kw, C/g, g, F/g) -> (kh, kw, F/g, g, C/g)
    turned = array_module(kernel).ascontiguousarray(turned.transpose(0, 1, 4, 3, 2))
    return turned.reshape(kh, kw, filters // groups, per_group * groups)


def _padded_conv2d(
    x: Any, kernel: Any, window: Window, pads: tuple[Pair, Pair], groups: int
) -> Any:
    """Convolution with explicit padding, padded a tile at a time."""
    xp = array_module(x)
    n, h, w, c = x.shape
    (top, bottom), (left, right) = pads
    height, width = h + top + bottom, w + left + right
    oh, ow = window.output_size(height, width)
    y = xp.empty((n, oh, ow, kernel.shape[-1]), x.dtype)
    step = _images_per_tile(window, (oh, ow), c, x.dtype.itemsize)
    for start in range(0, n, step):
        part = pad(x[start : start + step], pads)
        y[start : start + step] = _convolve(part, kernel, window, groups)
    return y


def _input_gradient_by_scatter(
    dy: Any, kernel: Any, x_shape: tuple[int, ...], window: Window, groups: int
) -> Any:
    xp = array_module(dy)
    n, h, w, channels = x_shape
    output_size = dy.shape[1:3]
    (top, bottom), (left, right) = window.pads(h, w)
    dx = xp.empty(x_shape, dy.dtype)
    for group in channel_groups(channels, kernel.shape[-1], groups):
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
