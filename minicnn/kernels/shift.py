"""Windows cut out of images, and images shifted by numbers of pixels that need not be whole.

A shift is the map of `minicnn.kernels.affine` that neither turns nor scales. It is several times as
fast, since whole rows are copied at once: the image is padded and a window cut out of it.
"""

import math

from minicnn.backend import array_module
from minicnn.dtypes import wide, widened
from minicnn.kernels.borders import Pads, image_chunks, pad, pad_gradient
from minicnn.typing import Array

_CHUNK_BYTES = 256 * 1024  # measured: 128 KB is slower, at 512 KB fresh memory is needed again


def windows(x: Array, rows: Array, columns: Array, height: int, width: int) -> Array:
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
    dy: Array, x_shape: tuple[int, ...], rows: Array, columns: Array, height: int, width: int
) -> Array:
    """Gradient of `windows` with respect to x: dy goes back to where it was cut out.

    Args:
        dy: (N, height, width, C).
        x_shape: (N, H, W, C).
        rows, columns, height, width: as for `windows`.
    """
    xp = array_module(dy)
    n, _, _, c = x_shape
    dx = xp.zeros(x_shape, dy.dtype)
    # the windows of different images do not overlap, so each element is assigned once
    view = _all_windows(dx, height, width)
    view[xp.arange(n), rows, columns * c] = dy.reshape(n, height, width * c)
    return dx


def _all_windows(x: Array, height: int, width: int) -> Array:
    """(N, H, W, C) -> (N, H-height+1, (W-width)C+1, height, width C), a writable view: the rows of
    a window are contiguous, so that copying it is a copy of long runs."""
    xp = array_module(x)
    n, h, w, c = x.shape
    s = x.dtype.itemsize
    return xp.lib.stride_tricks.as_strided(
        x,
        (n, h - height + 1, (w - width) * c + 1, height, width * c),
        (h * w * c * s, w * c * s, s, w * c * s, s),
    )


def translate(
    x: Array,
    shift: Array,
    bounds: tuple[tuple[float, float], tuple[float, float]],
    fill_mode: str = "reflect",
    fill_value: float = 0.0,
    interpolation: str = "bilinear",
) -> Array:
    """Each image shifted by its own number of pixels: y[n, i, j] = x[n, i - sy, j - sx].

    Args:
        x: (N, H, W, C).
        shift: (N, 2) in pixels, down and to the right; need not be whole.
        bounds: smallest and largest shift down, and to the right; known on the host, so that the
            padding need not be read from the device.
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
    for chunk in image_chunks(x, _CHUNK_BYTES):
        padded = pad(widened(x[chunk]), pads, fill_mode, fill_value)
        if interpolation == "nearest":
            y[chunk] = windows(padded, rows[chunk], columns[chunk], *x.shape[1:3])
        else:
            _between(padded, rows[chunk], columns[chunk], fy[chunk], fx[chunk], y[chunk])
    return y


def _between(padded: Array, rows: Array, columns: Array, fy: Array, fx: Array, y: Array) -> None:
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
    dy: Array,
    shift: Array,
    bounds: tuple[tuple[float, float], tuple[float, float]],
    fill_mode: str = "reflect",
    interpolation: str = "bilinear",
) -> Array:
    """Gradient of `translate` with respect to x, (N, H, W, C).

    Args:
        dy: (N, H, W, C).
        shift, bounds, fill_mode, interpolation: as for `translate`.
    """
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
    shift: Array, bounds: tuple[tuple[float, float], tuple[float, float]], interpolation: str
) -> tuple[Pads, Array, Array, Array, Array]:
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
