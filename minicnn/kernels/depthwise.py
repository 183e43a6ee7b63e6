"""Depthwise convolution: every channel has filters of its own.

    y[n, p, q, c M + m] = sum_{i, j} x[n, p sh + i dh, q sw + j dw, c] w[i, j, c, m]

There is no sum over channels, so no matrix product: kh kw multiply-adds of whole images, a few
images at a time so that they stay in cache. Images of 16 bits are calculated with in float32; the
kernel's gradient stays so.
"""

from typing import Any

from minicnn.backend import array_module
from minicnn.dtypes import wide, widened
from minicnn.kernels.channels import channel_sum
from minicnn.kernels.windows import Window, crop, pad

TILE_BYTES = 1 << 18  # of the output; half of a 512 KB L2 cache, the input takes the rest


def depthwise_conv2d(x: Any, kernel: Any, window: Window) -> Any:
    """(N, H, W, C) and (kh, kw, C, M) to (N, OH, OW, C M)."""
    xp = array_module(x)
    n, h, w, c = x.shape
    multiplier = kernel.shape[-1]
    oh, ow = window.output_size(h, w)
    y = xp.empty((n, oh, ow, c, multiplier), wide(x.dtype))
    step = _images_per_tile(y)
    for start in range(0, n, step):
        part = y[start : start + step]
        padded = pad(widened(x[start : start + step]), window.pads(h, w))
        for i, j, view in window.taps(padded, (oh, ow)):
            if i == j == 0:
                xp.multiply(view[..., None], kernel[i, j], out=part)
            else:
                part += view[..., None] * kernel[i, j]
    return y.reshape(n, oh, ow, c * multiplier).astype(x.dtype, copy=False)


def depthwise_kernel_gradient(
    x: Any, dy: Any, kernel_shape: tuple[int, ...], window: Window
) -> Any:
    """dw[i, j, c, m] = sum_{n, p, q} x[n, p sh + i dh, q sw + j dw, c] dy[n, p, q, c M + m]."""
    xp = array_module(x)
    n, h, w, c = x.shape
    oh, ow = dy.shape[1:3]
    dy = dy.reshape(n, oh, ow, c, -1)
    dw = xp.zeros(kernel_shape, wide(x.dtype))
    step = _images_per_tile(dy)
    for start in range(0, n, step):
        part = widened(dy[start : start + step])
        padded = pad(widened(x[start : start + step]), window.pads(h, w))
        for i, j, view in window.taps(padded, (oh, ow)):
            products = (view[..., None] * part).reshape(-1, c * part.shape[-1])
            dw[i, j] += channel_sum(products).reshape(dw.shape[2:])
    return dw


def depthwise_input_gradient(dy: Any, kernel: Any, x_shape: tuple[int, ...], window: Window) -> Any:
    """dx, (N, H, W, C): every tap's share is added where the tap read."""
    xp = array_module(dy)
    n, h, w, c = x_shape
    oh, ow = dy.shape[1:3]
    dy = dy.reshape(n, oh, ow, c, -1)
    (top, bottom), (left, right) = pads = window.pads(h, w)
    dx = xp.empty(x_shape, dy.dtype)
    step = _images_per_tile(dy)
    for start in range(0, n, step):
        part = widened(dy[start : start + step])
        padded = xp.zeros((part.shape[0], h + top + bottom, w + left + right, c), part.dtype)
        for i, j, view in window.taps(padded, (oh, ow)):
            if part.shape[-1] == 1:
                view += part[..., 0] * kernel[i, j, :, 0]
            else:
                view += (part * kernel[i, j]).sum(-1)
        dx[start : start + step] = crop(padded, pads)
    return dx


def _images_per_tile(y: Any) -> int:
    return max(1, TILE_BYTES // max(1, y[0].size * y.dtype.itemsize)) if y.shape[0] else 1
