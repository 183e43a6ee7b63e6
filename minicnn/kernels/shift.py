"""Windows cut out of images, and images shifted by numbers of pixels that need not be whole.

A shift is the map of `minicnn.kernels.affine` that neither turns nor scales. It is several times as
fast, since whole rows are copied at once: the image is padded and a window cut out of it.
"""

import math
from typing import Any

from minicnn.backend import array_module
from minicnn.dtypes import wide, widened
from minicnn.kernels.borders import Pads, pad, pad_gradient, tiles

_TILE_BYTES = 256 * 1024  # measured: 128 KB is slower, at 512 KB fresh memory is needed again


def windows(x: Any, rows: Any, columns: Any, height: int, width: int) -> Any:
    """From each image its own window of `height` x `width` pixels.

    Args:
        x: (N, H, W, C), contiguous.
        rows, columns: (N,) integers, the upper left corners; the windows lie inside the images.

    Returns:
        (N, height, width, C).
    """
    xp = array_module(x)
    n, _, _, c = x.shape
    cut = _all_windows(x, height, width)[xp.arange(n), rows, columns * c]
    return cut.reshape(n, height, width, c)


def windows_gradient(
    dy: Any, x_shape: tuple[int, ...], rows: Any, columns: Any, height: int, width: int
) -> Any:
    """Gradient of `windows`: dy goes back to where it was cut out."""
    xp = array_module(dy)
    n, _, _, c = x_shape
    dx = xp.zeros(x_shape, dy.dtype)
    # the windows of different images do not overlap, so each number is assigned once
    view = _all_windows(dx, height, width)
    view[xp.arange(n), rows, columns * c] = dy.reshape(n, height, width * c)
    return dx


def _all_windows(x: Any, height: int, width: int) -> Any:
    """(N, H, W, C) -> (N, H-height+1, (W-width)C+1, height, width C), a writable view: rows of a
    window are contiguous, so that copying one is a copy of long runs."""
    xp = array_module(x)
    n, h, w, c = x.shape
    s = x.dtype.itemsize
    return xp.lib.stride_tricks.as_strided(
        x,
        (n, h - height + 1, (w - width) * c + 1, height, width * c),
        (h * w * c * s, w * c * s, s, w * c * s, s),
    )


def translate(
    x: Any,
    shift: Any,
    bounds: tuple[tuple[float, float], tuple[float, float]],
    fill_mode: str = "reflect",
    fill_value: float = 0.0,
    interpolation: str = "bilinear",
) -> Any:
    """Each image shifted by its own number of pixels: y[n, i, j] = x[n, i - sy, j - sx].

    Args:
        x: (N, H, W, C).
        shift: (N, 2) pixels, down and to the right; need not be whole.
        bounds: smallest and largest shift down, and to the right: known on the host, they say
            how far to pad without asking the device.
        fill_mode, fill_value: see `minicnn.kernels.borders`.
        interpolation: "bilinear" or "nearest".

    Returns:
        (N, H, W, C).
    """
    xp = array_module(x)
    pads, rows, columns, fy, fx = _translation(shift, bounds, interpolation)
    real = wide(x.dtype)
    fy, fx = fy.astype(real, copy=False), fx.astype(real, copy=False)
    y = xp.empty(x.shape, x.dtype)
    for tile in tiles(x, _TILE_BYTES):
        padded = pad(widened(x[tile]), pads, fill_mode, fill_value)
        if interpolation == "nearest":
            y[tile] = windows(padded, rows[tile], columns[tile], *x.shape[1:3])
        else:
            _between(padded, rows[tile], columns[tile], fy[tile], fx[tile], y[tile])
    return y


def _between(padded: Any, rows: Any, columns: Any, fy: Any, fx: Any, y: Any) -> None:
    """Into y (n, H, W, C) the windows at (rows + fy, columns + fx)."""
    n, h, w, c = y.shape
    cut = windows(padded, rows, columns, h + 1, w + 1).reshape(n, h + 1, (w + 1) * c)
    # (1 - f) a + f b = a + f (b - a), first between rows, then between columns
    a = cut[:, 1:] - cut[:, :-1]
    a *= fy.reshape(n, 1, 1)
    a += cut[:, :-1]
    b = a[:, :, c:] - a[:, :, :-c]
    b *= fx.reshape(n, 1, 1)
    xp = array_module(y)
    xp.add(a[:, :, :-c], b, out=y.reshape(n, h, w * c))


def translate_gradient(
    dy: Any,
    shift: Any,
    bounds: tuple[tuple[float, float], tuple[float, float]],
    fill_mode: str = "reflect",
    interpolation: str = "bilinear",
) -> Any:
    """Gradient of `translate` with respect to x, (N, H, W, C)."""
    xp = array_module(dy)
    n, h, w, c = dy.shape
    dtype, dy = dy.dtype, widened(dy)
    pads, rows, columns, fy, fx = _translation(shift, bounds, interpolation)
    (top, bottom), (left, right) = pads
    padded_shape = (n, top + h + bottom, left + w + right, c)
    if interpolation == "nearest":
        dpadded = windows_gradient(dy, padded_shape, rows, columns, h, w)
    else:
        fy = fy.astype(dy.dtype, copy=False).reshape(n, 1, 1, 1)
        fx = fx.astype(dy.dtype, copy=False).reshape(n, 1, 1, 1)
        d = xp.zeros((n, h, w + 1, c), dy.dtype)
        d[:, :, :-1] += (1 - fx) * dy
        d[:, :, 1:] += fx * dy
        dwindow = xp.zeros((n, h + 1, w + 1, c), dy.dtype)
        dwindow[:, :-1] += (1 - fy) * d
        dwindow[:, 1:] += fy * d
        dpadded = windows_gradient(dwindow, padded_shape, rows, columns, h + 1, w + 1)
    return pad_gradient(dpadded, pads, fill_mode).astype(dtype, copy=False)


def _translation(
    shift: Any, bounds: tuple[tuple[float, float], tuple[float, float]], interpolation: str
) -> tuple[Pads, Any, Any, Any, Any]:
    """Padding, the corners of the windows in the padded images, and the fractions between."""
    xp = array_module(shift)
    pads, corners, fractions = [], [], []
    for axis, (low, high) in enumerate(bounds):
        before, after = max(0, math.ceil(high)), max(0, math.ceil(-low)) + 1
        pads.append((before, after))
        start = -shift[:, axis]
        whole = xp.floor(start + 0.5 if interpolation == "nearest" else start)
        corners.append(xp.clip(whole.astype("int64") + before, 0, before + after - 1))
        fractions.append(start - whole)
    return (pads[0], pads[1]), corners[0], corners[1], fractions[0], fractions[1]
