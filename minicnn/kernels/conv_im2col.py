"""Convolution of every kind by im2col in chunks, with both gradients.

A few images at a time are unrolled into a matrix that fits the processor's cache, and multiplied
with the kernel there; unrolling a whole batch would write and read back 9 times the batch for a
3x3 kernel. A 1x1 kernel needs no unrolling: it is a product as it stands.

Source: Chellapilla, Puri, Simard, "High performance convolutional neural networks for document
processing" (2006), for im2col.

Images of 16 bits are calculated with in float32, the kernel rounded to as many bits; its gradient
is float32.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypeAlias

from minicnn.backend import array_module
from minicnn.dtypes import widened
from minicnn.kernels.dense import rounded
from minicnn.kernels.windows import Convolution, Pads, Pair, Window, col2im, crop, im2col, pad
from minicnn.parallel.slices import chunks
from minicnn.typing import Array

# Bytes of the unrolled matrix of one chunk. Measured on a core with 512 KB of L2 cache and its
# share of a 32 MB L3: flat between 0.5 and 2 MB, falling on both sides.
CHUNK_BYTES = 1 << 20


class Group:
    """The channels and filters that belong together.

    Args:
        index: which group.
        count: how many groups there are.
        channels, filters: those of all groups.

    Attributes:
        n_channels, n_filters: how many the group has.
        channels, filters: where they are among all.
    """

    def __init__(self, index: int, count: int, channels: int, filters: int):
        self.n_channels, self.n_filters = channels // count, filters // count
        self.channels = slice(index * self.n_channels, (index + 1) * self.n_channels)
        self.filters = slice(index * self.n_filters, (index + 1) * self.n_filters)


def channel_groups(channels: int, filters: int, groups: int) -> list[Group]:
    """All `groups` that `channels` and `filters` are cut into."""
    return [Group(i, groups, channels, filters) for i in range(groups)]


# For a group, chunk by chunk: (slice of the batch, its im2col matrix).
Unrolled: TypeAlias = Callable[[Group], Iterator[tuple[slice, Array]]]


def prepare(kernel: Array, dtype: Any = None) -> Array:
    """What `forward` and `gradients` take for the kernel: the kernel itself, whatever the `dtype`
    of the images."""
    return kernel


def forward(
    x: Array, kernel: Array, convolution: Convolution, keep: bool = False
) -> tuple[Array, Array | None]:
    """(N, H, W, C) to (N, OH, OW, F).

    Args:
        x: images (N, H, W, C).
        kernel: (kh, kw, C / groups, F).
        convolution: how the kernel is applied.
        keep: whether the kernel's gradient will be asked for.

    Returns:
        (y, what `gradients` needs to know of x: x itself; None unless `keep`).
    """
    n, h, w, channels = x.shape
    convolution, taps = convolution.within(h, w)
    images, kernel = widened(x), rounded(kernel[taps], x.dtype)
    size, pads = convolution.output_size(h, w), convolution.pads(h, w)
    y = out = array_module(x).empty((n, *size, kernel.shape[-1]), images.dtype)
    if _in_pairs(x.shape, convolution):
        kernel, convolution = _pair_kernel(kernel), _pair_convolution(convolution)
        out = y.reshape(n, size[0], size[1] // 2, kernel.shape[-1])  # (N, OH, OW / 2, 2 F)
    groups = convolution.groups
    unrolled = _unrolled(images, convolution, pads, out.shape[1:3], channels // groups)
    multiply(kernel, groups, out, unrolled)
    return y.astype(x.dtype, copy=False), x if keep else None


def gradients(
    dy: Array,
    x: Array | None,
    kernel: Array,
    x_shape: tuple[int, ...],
    convolution: Convolution,
    needs_dw: bool = True,
    needs_dx: bool = True,
) -> tuple[Array | None, Array | None]:
    """(dw (kh, kw, C / groups, F), dx (N, H, W, C)) of `forward`; None for what is not needed.

    Args:
        dy: (N, OH, OW, F).
        x: as `forward` returned it; None without `needs_dw`.
        kernel: (kh, kw, C / groups, F).
        x_shape: (N, H, W, C).
        convolution: as `forward` was given it.
        needs_dw, needs_dx: what is needed.
    """
    dtype = dy.dtype
    convolution, taps = convolution.within(*x_shape[1:3])
    whole = kernel.shape
    dy, kernel = widened(dy), rounded(kernel[taps], dtype)
    dw = dx = None
    if needs_dw:
        dw = _kernel_gradient(dy, widened(x), kernel.shape, convolution)
        if kernel.shape != whole:
            seen, dw = dw, array_module(dw).zeros(whole, dw.dtype)
            dw[taps] = seen
    if needs_dx:
        # With stride 1 dx is itself a convolution: of dy, padded by what the window reaches over,
        # with the kernel turned by 180 degrees and its channel axes exchanged. Otherwise each row
        # of dy @ w^T is added where im2col read it.
        by_convolution = convolution.strides == (1, 1)
        compute = _input_gradient_by_convolution if by_convolution else _input_gradient_by_scatter
        dx = compute(dy, kernel, x_shape, convolution).astype(dtype, copy=False)
    return dw, dx


def multiply(kernel: Array, groups: int, y: Array, unrolled: Unrolled) -> None:
    """Write the product of unrolled images and a kernel into y.

    Args:
        kernel: (kh, kw, C / groups, F).
        groups: how many there are.
        y: (N, OH, OW, F).
        unrolled: for a group, chunk by chunk: (slice of the batch, its im2col matrix).
    """
    xp = array_module(y)
    for group in channel_groups(kernel.shape[2] * groups, y.shape[-1], groups):
        matrix = xp.ascontiguousarray(kernel[..., group.filters]).reshape(-1, group.n_filters)
        for chunk, columns in unrolled(group):
            y_chunk = y[chunk]
            # (n OH OW, kh kw C) @ (kh kw C, F) -> (n OH OW, F)
            if groups == 1:
                xp.matmul(columns, matrix, out=y_chunk.reshape(-1, y_chunk.shape[-1]))
            else:
                y_chunk[..., group.filters] = (columns @ matrix).reshape(*y_chunk.shape[:3], -1)


def kernel_gradient(
    dy: Array, kernel_shape: tuple[int, ...], groups: int, unrolled: Unrolled
) -> Array:
    """dw[i, j, c, f] = sum_{n, p, q} x[n, p sh + i dh, q sw + j dw, c] dy[n, p, q, f].

    Args:
        dy: (N, OH, OW, F).
        kernel_shape: (kh, kw, C / groups, F).
        groups: how many there are.
        unrolled: of x, as for `multiply`.
    """
    xp = array_module(dy)
    dw = xp.empty(kernel_shape, dy.dtype)
    for group in channel_groups(kernel_shape[2] * groups, kernel_shape[-1], groups):
        total: Any = None if len(dy) else xp.zeros(dw[..., group.filters].shape, dw.dtype)
        for chunk, columns in unrolled(group):
            dy_rows = dy[chunk][..., group.filters].reshape(-1, group.n_filters)
            # (kh kw C, n OH OW) @ (n OH OW, F) -> (kh kw C, F)
            part = columns.T @ dy_rows
            total = part if total is None else xp.add(total, part, out=total)
        dw[..., group.filters] = total.reshape(*kernel_shape[:3], group.n_filters)
    return dw


def flipped(kernel: Array, groups: int) -> Array:
    """A kernel turned by 180 degrees, its filters become channels within each of the `groups`.

    (kh, kw, C / g, F) to (kh, kw, F / g, C).
    """
    kh, kw, per_group, filters = kernel.shape
    turned = kernel[::-1, ::-1].reshape(kh, kw, per_group, groups, filters // groups)
    # (kh, kw, C/g, g, F/g) -> (kh, kw, F/g, g, C/g)
    turned = array_module(kernel).ascontiguousarray(turned.transpose(0, 1, 4, 3, 2))
    return turned.reshape(kh, kw, filters // groups, per_group * groups)


def _kernel_gradient(
    dy: Array, x: Array, kernel_shape: tuple[int, ...], convolution: Convolution
) -> Array:
    (kh, kw, channels, filters), pads = kernel_shape, convolution.pads(*x.shape[1:3])
    if not _in_pairs(x.shape, convolution):
        unrolled = _unrolled(x, convolution, pads, dy.shape[1:3], channels)
        return kernel_gradient(dy, kernel_shape, convolution.groups, unrolled)
    dy = dy.reshape(*dy.shape[:2], dy.shape[2] // 2, 2 * filters)
    unrolled = _unrolled(x, _pair_convolution(convolution), pads, dy.shape[1:3], channels)
    return _from_pairs(kernel_gradient(dy, (kh, kw + 1, channels, 2 * filters), 1, unrolled))


def _input_gradient_by_convolution(
    dy: Array, kernel: Array, x_shape: tuple[int, ...], convolution: Convolution
) -> Array:
    _, h, w, _ = x_shape
    (top, _), (left, _) = convolution.pads(h, w)
    (eh, ew), (oh, ow) = convolution.extent, dy.shape[1:3]
    # dx[r] = sum_i dy[r + top - i d] w[i]: rows of dy from top - (eh - 1) to h - 1 + top
    above, before = eh - 1 - top, ew - 1 - left
    below, after = h + top - oh, w + left - ow
    pads = (above, below), (before, after)
    dx = array_module(dy).empty(x_shape, dy.dtype)
    unrolled = _unrolled(dy, convolution, pads, (h, w), dy.shape[-1])
    multiply(flipped(kernel, convolution.groups), convolution.groups, dx, unrolled)
    return dx


def _input_gradient_by_scatter(
    dy: Array, kernel: Array, x_shape: tuple[int, ...], convolution: Convolution
) -> Array:
    xp = array_module(dy)
    n, h, w, channels = x_shape
    output_size = dy.shape[1:3]
    (top, bottom), (left, right) = pads = convolution.pads(h, w)
    dx = xp.empty(x_shape, dy.dtype)
    for group in channel_groups(channels, kernel.shape[-1], convolution.groups):
        matrix = xp.ascontiguousarray(kernel[..., group.filters]).reshape(-1, group.n_filters)
        size = unrolled_bytes(convolution, output_size, group.n_channels, dy.dtype.itemsize)
        for chunk in chunks(n, size, CHUNK_BYTES):
            dy_rows = dy[chunk][..., group.filters].reshape(-1, group.n_filters)
            images = chunk.stop - chunk.start
            padded = (images, h + top + bottom, w + left + right, group.n_channels)
            # (n OH OW, F) @ (F, kh kw C) -> (n OH OW, kh kw C)
            part = col2im(dy_rows @ matrix.T, padded, convolution, output_size)
            dx[chunk, :, :, group.channels] = crop(part, pads)
    return dx


def unrolled_bytes(window: Window, output_size: Pair, channels: int, itemsize: int) -> int:
    """Bytes per image of the im2col matrix of `channels` elements of `itemsize` bytes per pixel,
    for outputs of `output_size`, each of which reads a `window`."""
    (oh, ow), (kh, kw) = output_size, window.size
    return oh * ow * kh * kw * channels * itemsize


def _unrolled(x: Array, window: Window, pads: Pads, output_size: Pair, channels: int) -> Unrolled:
    """The windows of x with `pads` around it, in chunks; of each `channels` fit in CHUNK_BYTES."""
    size = unrolled_bytes(window, output_size, channels, x.dtype.itemsize)
    cut = chunks(x.shape[0], size, CHUNK_BYTES)
    return partial(_each_chunk, x, window, pads, output_size, cut)


def _each_chunk(
    x: Array, window: Window, pads: Pads, output_size: Pair, cut: list[slice], group: Group
) -> Iterator[tuple[slice, Array]]:
    """(slice of the batch, its im2col matrix) for each chunk.

    The matrix is the same buffer each time: use it before asking for the next.
    """
    xp = array_module(x)
    x = x[..., group.channels]
    if window.is_pointwise:  # a product as it stands: nothing to unroll
        for chunk in cut:
            yield chunk, xp.ascontiguousarray(x[chunk]).reshape(-1, group.n_channels)
        return
    (oh, ow), (kh, kw) = output_size, window.size
    largest = max((chunk.stop - chunk.start for chunk in cut), default=0)
    buffer = xp.empty((largest * oh * ow, kh * kw * group.n_channels), x.dtype)
    for chunk in cut:
        rows = buffer[: (chunk.stop - chunk.start) * oh * ow]
        yield chunk, im2col(pad(x[chunk], pads), window, output_size, out=rows)


# Few channels, such as the three colours of a first layer, make short rows, which copy and multiply
# slowly. Two neighbouring outputs at once read windows one pixel wider, two pixels apart: a third
# more products, with zeros, but half as many rows. For 3 channels a quarter faster in all; with
# 16 channels nothing is gained.
_MOST_ELEMENTS_IN_PAIRS = 16  # kw C of the kernel


def _in_pairs(x_shape: tuple[int, ...], convolution: Convolution) -> bool:
    _, h, w, channels = x_shape
    return (
        convolution.strides == convolution.dilation == (1, 1)
        and convolution.groups == 1
        and convolution.size[1] > 1
        and convolution.size[1] * channels <= _MOST_ELEMENTS_IN_PAIRS
        and convolution.output_size(h, w)[1] % 2 == 0
    )


def _pair_convolution(convolution: Convolution) -> Convolution:
    return Convolution((convolution.size[0], convolution.size[1] + 1), strides=(1, 2))


def _pair_kernel(kernel: Array) -> Array:
    """(kh, kw, C, F) to (kh, kw + 1, C, 2 F): for the left output and for the right one."""
    kh, kw, channels, filters = kernel.shape
    wide = array_module(kernel).zeros((kh, kw + 1, channels, 2 * filters), kernel.dtype)
    wide[:, :kw, :, :filters] = kernel
    wide[:, 1:, :, filters:] = kernel
    return wide


def _from_pairs(wide: Array) -> Array:
    """Adjoint of `_pair_kernel`."""
    kw, filters = wide.shape[1] - 1, wide.shape[-1] // 2
    return wide[:, :kw, :, :filters] + wide[:, 1:, :, filters:]
