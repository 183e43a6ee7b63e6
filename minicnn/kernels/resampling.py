"""Images at another size: rows of y are weighted sums of rows of x, and so are its columns.

    y[n, p, q, c] = sum_{r, s} A[p, r] B[q, s] x[n, r, s, c],    A (OH, H), B (OW, W)

A and B hold few elements that are not 0: the taps. An `Axis` says what they are.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from minicnn.backend import array_module
from minicnn.dtypes import wide, widened
from minicnn.typing import Array

# Pixels that a filter reaches to either side
_RADIUS = {"bilinear": 1, "bicubic": 2, "lanczos3": 3, "lanczos5": 5}
INTERPOLATIONS = ("nearest", *_RADIUS)


@dataclass(frozen=True)
class Axis:
    """How rows, or columns, of an image become others.

    Attributes:
        method: one of `INTERPOLATIONS`, or "mean": windows as even as possible, which cover the
            image, each to its mean.
        size, outputs: how many there are before and after.
        antialias: whether the filter is stretched where there are fewer afterwards, so that each
            pixel counts. Means nothing to "nearest" and "mean".
    """

    method: str
    size: int
    outputs: int
    antialias: bool = False

    def matrix(self) -> np.ndarray:
        """(outputs, size) in float64, rows of sum 1.

        Output p lies at x = (p + 1/2) size / outputs - 1/2, and pixel r of the input counts as
        f(|x - r|), with the filter f of the method. What a filter sees beyond the border is the
        outermost pixel, as in PyTorch; stretched filters and Lanczos's are cut off there.
        """
        places = np.arange(self.outputs)
        matrix = np.zeros((self.outputs, self.size))
        if self.method == "nearest":
            matrix[places, (2 * places + 1) * self.size // (2 * self.outputs)] = 1
            return matrix
        if self.method == "mean":
            for p, (start, stop) in enumerate(windows(self.size, self.outputs)):
                matrix[p, start:stop] = 1 / (stop - start)
            return matrix
        scale = self.size / self.outputs
        stretch = max(scale, 1.0) if self.antialias else 1.0
        reach = math.ceil(_RADIUS[self.method] * stretch) + 1
        pixels = np.arange(-reach, self.size + reach)
        distances = np.abs(((places + 0.5) * scale - 0.5)[:, None] - pixels) / stretch
        weights = _filter(self.method, distances, self.antialias)
        if self.antialias or self.method.startswith("lanczos"):
            matrix = weights[:, reach:-reach]
        else:
            np.add.at(matrix.T, pixels.clip(0, self.size - 1), weights.T)
        return matrix / matrix.sum(axis=1, keepdims=True)


def _filter(method: str, d: np.ndarray, antialias: bool) -> np.ndarray:
    """The weight of a pixel at the distance d, 0 or above.

    bilinear: 1 - d up to 1. lanczos: sinc(d) sinc(d / radius) up to its radius.
    bicubic: Keys (1981), with a = -1/2 where stretched and -3/4 otherwise, as in PyTorch.
    """
    if method == "bilinear":
        return np.maximum(0, 1 - d)
    radius = _RADIUS[method]
    if method != "bicubic":
        return np.where(d < radius, np.sinc(d) * np.sinc(d / radius), 0)
    a = -0.5 if antialias else -0.75
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = a * (((d - 5) * d + 8) * d - 4)
    return np.where(d <= 1, near, np.where(d < 2, far, 0))


def windows(size: int, outputs: int) -> list[tuple[int, int]]:
    """Where window p of so many `outputs` starts and stops in a row of `size`: floor(p size /
    outputs) to ceil((p + 1) size / outputs)."""
    return [(p * size // outputs, -(-(p + 1) * size // outputs)) for p in range(outputs)]


def resample(x: Array, rows: Axis, columns: Axis) -> Array:
    """x (N, H, W, C) to (N, OH, OW, C).

    Args:
        x: images.
        rows, columns: what becomes of them.
    """
    return _both(x, rows, columns, transposed=False)


def resample_gradient(dy: Array, rows: Axis, columns: Axis) -> Array:
    """dx (N, H, W, C) of `resample` from dy (N, OH, OW, C), with the same `rows`, `columns`."""
    return _both(dy, rows, columns, transposed=True)


def _both(x: Array, rows: Axis, columns: Axis, transposed: bool) -> Array:
    y = widened(x)
    for place, axis in ((1, rows), (2, columns)):
        if axis.size != axis.outputs:  # else each is its own
            y = _along(y, place, axis, transposed)
    return y.astype(x.dtype, copy=False)


def _along(x: Array, place: int, axis: Axis, transposed: bool) -> Array:
    """The weighted sums along axis `place` of x, tap by tap."""
    xp = array_module(x)
    indices, weights = _taps(axis, transposed, xp, str(wide(x.dtype)))
    y = None
    for index, weight in zip(indices, weights, strict=True):
        part = x.take(index, axis=place)
        if place == 1:
            part *= weight[:, None, None]
        else:  # whole rows, see `kernels.channels.along_row`
            part *= weight.repeat(x.shape[-1]).reshape(-1, x.shape[-1])
        y = part if y is None else xp.add(y, part, out=y)
    return y


@lru_cache(maxsize=256)
def _taps(axis: Axis, transposed: bool, xp: Any, dtype: str) -> tuple[Array, Array]:
    """(where each tap looks, its weights), both (taps, outputs); those of a row of the matrix that
    has fewer look at its first one again, with weight 0."""
    matrix = axis.matrix().T if transposed else axis.matrix()
    count = max(1, int((matrix != 0).sum(axis=1).max()))
    # the taps of each row first, in their order
    order = np.argsort(matrix == 0, axis=1, kind="stable")[:, :count]
    weights = np.take_along_axis(matrix, order, axis=1)
    indices = np.where(weights != 0, order, order[:, :1])
    return xp.asarray(indices.T.copy()), xp.asarray(weights.T.astype(dtype))


def adaptive_max_pool(x: Array, size: tuple[int, int]) -> tuple[Array, Any]:
    """x (N, H, W, C) to the largest element of each window, (N, *size, C); see `windows`.

    Down columns first, then along rows, a window at a time.

    Returns:
        (y, what `adaptive_max_pool_gradient` needs).
    """
    y, row = _window_maxima(x, 1, size[0])
    y, column = _window_maxima(y, 2, size[1])
    return y, (row, column)


def adaptive_max_pool_gradient(dy: Array, index: Any, x_shape: tuple[int, ...]) -> Array:
    """dx of `x_shape` (N, H, W, C) from dy: each goes to the first largest element of its window.

    Args:
        dy: (N, OH, OW, C).
        index: from `adaptive_max_pool`.
        x_shape: that.
    """
    row, column = index
    drows = _window_maxima_gradient(widened(dy), column, 2, x_shape[2])
    return _window_maxima_gradient(drows, row, 1, x_shape[1]).astype(dy.dtype, copy=False)


def _window_maxima(x: Array, place: int, outputs: int) -> tuple[Array, Array]:
    """The maxima of windows along axis `place`, and where in its window each is."""
    xp = array_module(x)
    parts = [_part(x, place, *window) for window in windows(x.shape[place], outputs)]
    index = xp.stack([part.argmax(axis=place) for part in parts], axis=place)
    return xp.stack([part.max(axis=place) for part in parts], axis=place), index


def _window_maxima_gradient(dy: Array, index: Array, place: int, size: int) -> Array:
    xp = array_module(dy)
    dx = xp.zeros((*dy.shape[:place], size, *dy.shape[place + 1 :]), dy.dtype)
    for p, (start, stop) in enumerate(windows(size, dy.shape[place])):
        of_window = xp.arange(stop - start).reshape(-1, *[1] * (dy.ndim - place - 1))
        largest = of_window == _part(index, place, p, p + 1)
        part = _part(dx, place, start, stop)
        part += _part(dy, place, p, p + 1) * largest
    return dx


def _part(x: Array, place: int, start: int, stop: int) -> Array:
    return x[(slice(None),) * place + (slice(start, stop),)]
