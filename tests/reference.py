"""The oracle: what the layers compute, as the loops a textbook would write, in float64.

Nothing here comes from the library. Images are (N, H, W, C). All window operations go through
`reads`, which lists every pair (output pixel, input pixel) that a window connects.
"""

import math
from collections.abc import Callable, Iterator

import numpy as np


def output_length(length: int, k: int, stride: int, padding: str, dilation: int) -> int:
    """Number of places of a window along one axis, by trying them out."""
    if padding == "same":
        return math.ceil(length / stride)
    places = 0
    while places * stride + (k - 1) * dilation < length:
        places += 1
    return places


def pad_before(length: int, k: int, stride: int, padding: str, dilation: int) -> int:
    """Rows of padding above (or columns to the left), as TensorFlow documents "SAME"."""
    if padding == "valid":
        return 0
    extent = (k - 1) * dilation + 1
    left_over = length % stride
    total = max(extent - (stride if left_over == 0 else left_over), 0)
    return total // 2


def reads(
    height: int, width: int, size, strides=(1, 1), padding="valid", dilation=(1, 1)
) -> Iterator[tuple[int, int, int, int, int, int]]:
    """(p, q, i, j, r, s): output pixel (p, q) sees input pixel (r, s) through tap (i, j)."""
    (kh, kw), (sh, sw), (dh, dw) = size, strides, dilation
    top = pad_before(height, kh, sh, padding, dh)
    left = pad_before(width, kw, sw, padding, dw)
    for p in range(output_length(height, kh, sh, padding, dh)):
        for q in range(output_length(width, kw, sw, padding, dw)):
            for i in range(kh):
                for j in range(kw):
                    r, s = p * sh + i * dh - top, q * sw + j * dw - left
                    if 0 <= r < height and 0 <= s < width:
                        yield p, q, i, j, r, s


def output_size(height, width, size, strides=(1, 1), padding="valid", dilation=(1, 1)):
    """(OH, OW)."""
    return tuple(
        output_length(*axis, padding, d)
        for *axis, d in zip((height, width), size, strides, dilation, strict=True)
    )


def conv2d(x, w, b=None, strides=(1, 1), padding="valid", dilation=(1, 1), groups=1):
    """x (N, H, W, C), w (kh, kw, C / groups, F), b (F,) to y (N, OH, OW, F)."""
    n, height, width, channels = x.shape
    geometry = (height, width, w.shape[:2], strides, padding, dilation)
    filters, per_group = w.shape[3], channels // groups
    y = np.zeros((n, *output_size(*geometry), filters))
    for p, q, i, j, r, s in reads(*geometry):
        for f in range(filters):
            first = f // (filters // groups) * per_group  # first channel of the filter's group
            for c in range(per_group):
                y[:, p, q, f] += x[:, r, s, first + c] * w[i, j, c, f]
    return y if b is None else y + b


def conv2d_gradients(x, w, dy, strides=(1, 1), padding="valid", dilation=(1, 1), groups=1):
    """(dx, dw) of `conv2d`: every product x w in it hands dy to both its factors."""
    filters, per_group = w.shape[3], x.shape[3] // groups
    dx, dw = np.zeros(x.shape), np.zeros(w.shape)
    for p, q, i, j, r, s in reads(*x.shape[1:3], w.shape[:2], strides, padding, dilation):
        for f in range(filters):
            first = f // (filters // groups) * per_group
            for c in range(per_group):
                dx[:, r, s, first + c] += dy[:, p, q, f] * w[i, j, c, f]
                dw[i, j, c, f] += (dy[:, p, q, f] * x[:, r, s, first + c]).sum()
    return dx, dw


def depthwise_conv2d(x, w, strides=(1, 1), padding="valid", dilation=(1, 1)):
    """x (N, H, W, C), w (kh, kw, C, M) to y (N, OH, OW, C M)."""
    n, height, width, channels = x.shape
    geometry = (height, width, w.shape[:2], strides, padding, dilation)
    multiplier = w.shape[3]
    y = np.zeros((n, *output_size(*geometry), channels * multiplier))
    for p, q, i, j, r, s in reads(*geometry):
        for c in range(channels):
            for m in range(multiplier):
                y[:, p, q, c * multiplier + m] += x[:, r, s, c] * w[i, j, c, m]
    return y


def depthwise_conv2d_gradients(x, w, dy, strides=(1, 1), padding="valid", dilation=(1, 1)):
    """(dx, dw) of `depthwise_conv2d`."""
    channels, multiplier = w.shape[2:]
    dx, dw = np.zeros(x.shape), np.zeros(w.shape)
    for p, q, i, j, r, s in reads(*x.shape[1:3], w.shape[:2], strides, padding, dilation):
        for c in range(channels):
            for m in range(multiplier):
                d = dy[:, p, q, c * multiplier + m]
                dx[:, r, s, c] += d * w[i, j, c, m]
                dw[i, j, c, m] += (d * x[:, r, s, c]).sum()
    return dx, dw


def pool(x, reduce: Callable, size, strides, padding="valid"):
    """`reduce` (max, or the mean) over the pixels of the image in each window."""
    n, height, width, channels = x.shape
    geometry = (height, width, size, strides, padding)
    oh, ow = output_size(*geometry)
    seen: dict[tuple[int, int], list] = {}
    for p, q, _, _, r, s in reads(*geometry):
        seen.setdefault((p, q), []).append(x[:, r, s])  # (N, C)
    y = np.zeros((n, oh, ow, channels))
    for (p, q), pixels in seen.items():
        y[:, p, q] = reduce(np.stack(pixels), axis=0)
    return y


def max_pool_gradient(x, dy, size, strides, padding="valid"):
    """Each dy to the first of the largest pixels in its window."""
    dx = np.zeros(x.shape)
    n, height, width, channels = x.shape
    best: dict[tuple[int, int, int, int], tuple[int, int]] = {}
    for p, q, _, _, r, s in reads(height, width, size, strides, padding):
        for image in range(n):
            for c in range(channels):
                at = best.get((image, p, q, c))
                if at is None or x[image, r, s, c] > x[image, at[0], at[1], c]:
                    best[image, p, q, c] = (r, s)
    for (image, p, q, c), (r, s) in best.items():
        dx[image, r, s, c] += dy[image, p, q, c]
    return dx


def average_pool_gradient(x_shape, dy, size, strides, padding="valid"):
    """Each dy in equal parts to the pixels of its window."""
    dx = np.zeros(x_shape)
    count = np.zeros(dy.shape[1:3])
    for p, q, *_ in reads(*x_shape[1:3], size, strides, padding):
        count[p, q] += 1
    for p, q, _, _, r, s in reads(*x_shape[1:3], size, strides, padding):
        dx[:, r, s] += dy[:, p, q] / count[p, q]
    return dx


def batch_statistics(x):
    """Mean and (population) variance of each channel."""
    channels = range(x.shape[-1])
    return (
        np.array([x[..., c].mean() for c in channels]),
        np.array([((x[..., c] - x[..., c].mean()) ** 2).mean() for c in channels]),
    )


def batch_norm(x, gamma, beta, mean, variance, epsilon):
    """(x - mean) / sqrt(variance + epsilon), scaled and shifted, channel by channel."""
    y = np.zeros(x.shape)
    for c in range(x.shape[-1]):
        y[..., c] = (x[..., c] - mean[c]) / math.sqrt(variance[c] + epsilon) * gamma[c] + beta[c]
    return y


def group_norm(x, groups, gamma, beta, epsilon):
    """Each group of neighbouring channels of each image by itself."""
    y = np.empty_like(x)
    size = x.shape[-1] // groups
    for n in range(len(x)):
        for start in range(0, x.shape[-1], size):
            group = x[n, ..., start : start + size]
            y[n, ..., start : start + size] = (group - group.mean()) / np.sqrt(
                group.var() + epsilon
            )
    return gamma * y + beta


def layer_norm(x, gamma, beta, epsilon):
    """Over the trailing axes that gamma has, for every place of the others by itself."""
    leading = x.shape[: x.ndim - gamma.ndim]
    y = np.zeros(x.shape)
    for place in np.ndindex(leading):
        row = x[place]
        variance = ((row - row.mean()) ** 2).mean()
        y[place] = (row - row.mean()) / math.sqrt(variance + epsilon) * gamma + beta
    return y


def zero_pad(x, padding):
    """Zeros around each image; padding ((top, bottom), (left, right))."""
    (top, bottom), (left, right) = padding
    n, height, width, channels = x.shape
    y = np.zeros((n, top + height + bottom, left + width + right, channels))
    for r in range(height):
        for s in range(width):
            y[:, top + r, left + s] = x[:, r, s]
    return y


def philox(counter, key):
    """Philox4x32-10 of Salmon et al. 2011, section 3.3: counter (..., 4) and key (2,) of 32 bits
    each, to words (..., 4)."""
    words = np.moveaxis(np.asarray(counter, np.uint64), -1, 0)
    low = np.uint64(0xFFFFFFFF)
    for _ in range(10):
        first, second = words[0] * np.uint64(0xD2511F53), words[2] * np.uint64(0xCD9E8D57)
        words = [(second >> np.uint64(32)) ^ words[1] ^ np.uint64(key[0]), second & low,
                 (first >> np.uint64(32)) ^ words[3] ^ np.uint64(key[1]), first & low]  # fmt: skip
        key = (key[0] + 0x9E3779B9) % 2**32, (key[1] + 0xBB67AE85) % 2**32
    return np.stack(words, axis=-1)


def uniform_numbers(count, key, passes, draw, dtype):
    """The numbers of one draw (count,): of the words of 32 neighbouring counters first the first
    ones, then the second ones ...; a float takes 24 bits of a word, a double 53 of two."""
    counters = np.arange(-(-count // 64) * 32)  # enough for two a counter
    blank = np.zeros_like(counters)
    counter = [counters, blank + draw, blank + passes % 2**32, blank + passes // 2**32]
    words = philox(np.stack(counter, axis=-1), key)
    if dtype == "float32":
        u = (words >> np.uint64(8)) / 2**24
    else:
        u = ((words[:, ::2] << np.uint64(32) | words[:, 1::2]) >> np.uint64(11)) / 2**53
    u = u.reshape(-1, 32, u.shape[-1]).swapaxes(1, 2)
    return u.ravel()[:count].astype(dtype)
