"""Depthwise convolution: every channel has its own filters.

    y[n, p, q, c M + m] = sum_{i, j} x[n, p sh + i dh, q sw + j dw, c] w[i, j, c, m]

There is no sum over channels, so no matrix product: kh kw multiply-adds of whole images, a few
images at a time so that they stay in cache. Images of 16 bits are calculated with in float32; the
kernel's gradient stays so.
"""

from minicnn.backend import array_module
from minicnn.dtypes import wide, widened
from minicnn.kernels.channels import channel_sum
from minicnn.kernels.windows import Window, crop, pad
from minicnn.parallel.slices import chunks
from minicnn.typing import Array

CHUNK_BYTES = 1 << 18  # of the output; half of a 512 KB L2 cache, the input takes the rest


def depthwise_conv2d(x: Array, kernel: Array, window: Window) -> Array:
    """(N, H, W, C) to (N, OH, OW, C M).

    Args:
        x: images (N, H, W, C).
        kernel: (kh, kw, C, M).
        window: how the kernel is applied.
    """
    xp = array_module(x)
    n, h, w, c = x.shape
    window, taps = window.within(h, w)
    kernel, multiplier = kernel[taps], kernel.shape[-1]
    oh, ow = window.output_size(h, w)
    y = xp.empty((n, oh, ow, c, multiplier), wide(x.dtype))
    for chunk in _chunks(y):
        y_chunk = y[chunk]
        padded = pad(widened(x[chunk]), window.pads(h, w))
        for i, j, view in window.taps(padded, (oh, ow)):
            if i == j == 0:
                xp.multiply(view[..., None], kernel[i, j], out=y_chunk)
            else:
                y_chunk += view[..., None] * kernel[i, j]
    return y.reshape(n, oh, ow, c * multiplier).astype(x.dtype, copy=False)


def depthwise_kernel_gradient(
    x: Array, dy: Array, kernel_shape: tuple[int, ...], window: Window
) -> Array:
    """dw[i, j, c, m] = sum_{n, p, q} x[n, p sh + i dh, q sw + j dw, c] dy[n, p, q, c M + m].

    Args:
        x, window: as forward was given them.
        dy: (N, OH, OW, C M).
        kernel_shape: (kh, kw, C, M).
    """
    xp = array_module(x)
    n, h, w, c = x.shape
    oh, ow = dy.shape[1:3]
    dy = dy.reshape(n, oh, ow, c, kernel_shape[-1])
    window, taps = window.within(h, w)
    dw = xp.zeros(kernel_shape, wide(x.dtype))
    seen = dw[taps]
    for chunk in _chunks(dy):
        dy_chunk = widened(dy[chunk])
        padded = pad(widened(x[chunk]), window.pads(h, w))
        for i, j, view in window.taps(padded, (oh, ow)):
            products = (view[..., None] * dy_chunk).reshape(-1, c * kernel_shape[-1])
            seen[i, j] += channel_sum(products).reshape(dw.shape[2:])
    return dw


def depthwise_input_gradient(
    dy: Array, kernel: Array, x_shape: tuple[int, ...], window: Window
) -> Array:
    """dx, (N, H, W, C): every tap's share is added where the tap read.

    Args:
        dy: (N, OH, OW, C M).
        kernel, window: as forward was given them.
        x_shape: (N, H, W, C).
    """
    xp = array_module(dy)
    n, h, w, c = x_shape
    oh, ow = dy.shape[1:3]
    dy = dy.reshape(n, oh, ow, c, kernel.shape[-1])
    window, taps = window.within(h, w)
    kernel = kernel[taps]
    (top, bottom), (left, right) = pads = window.pads(h, w)
    dx = xp.empty(x_shape, dy.dtype)
    for chunk in _chunks(dy):
        dy_chunk = widened(dy[chunk])
        padded = xp.zeros((len(dy_chunk), h + top + bottom, w + left + right, c), dy_chunk.dtype)
        for i, j, view in window.taps(padded, (oh, ow)):
            if dy_chunk.shape[-1] == 1:
                view += dy_chunk[..., 0] * kernel[i, j, :, 0]
            else:
                view += (dy_chunk * kernel[i, j]).sum(-1)
        dx[chunk] = crop(padded, pads)
    return dx


def _chunks(y: Array) -> list[slice]:
    n = y.shape[0]
    return chunks(n, y.nbytes // max(1, n), CHUNK_BYTES)
