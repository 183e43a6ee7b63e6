"""Blur: each pixel becomes a weighted sum of its neighbours, with zeros outside the image.

The weights are products of one number for the row and one for the column, so that a blur is two
products with band matrices, y = R x C: R (H, H) mixes the rows, C (W, W) the columns. Bands are
symmetric, so a blur is its own adjoint.
"""

from minicnn.backend import array_module
from minicnn.typing import Array


def gaussian(sigma: Array, taps: int) -> Array:
    """Weights exp(-d^2 / (2 sigma^2)), d = 0, 1 ..., of a window of `taps`, whose sum is 1.

    Args:
        sigma: (1,), its dtype that of the weights.
        taps: odd.

    Returns:
        (taps // 2 + 1,).
    """
    d = array_module(sigma).arange(taps // 2 + 1, dtype=sigma.dtype)
    weights = array_module(sigma).exp(-0.5 * (d / sigma) ** 2)
    return weights / (2 * weights.sum() - weights[0])


def band(size: int, weights: Array) -> Array:
    """The matrix (size, size) that has weights[d], or 0, at distance d from the diagonal."""
    xp = array_module(weights)
    i = xp.arange(size)
    padded = xp.concatenate([weights, xp.zeros(1, weights.dtype)])
    return padded[xp.minimum(xp.abs(i[:, None] - i), len(weights))]


def blur(x: Array, rows: Array, columns: Array) -> Array:
    """y = R x C for every channel of images x (N, H, W, C); R `rows`, C `columns`."""
    xp = array_module(x)
    n, h, w, c = x.shape
    y = xp.matmul(rows, x.reshape(n, h, w * c)).reshape(n, h, w, c)
    y = xp.ascontiguousarray(y.transpose(0, 1, 3, 2)).reshape(-1, w) @ columns
    return y.reshape(n, h, c, w).transpose(0, 1, 3, 2)
