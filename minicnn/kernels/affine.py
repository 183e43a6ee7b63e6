"""Images moved, turned and scaled: each output pixel is read where it came from.

For an output pixel (i, j) of image n the inverse map says which point of the input shows there,

    (y, x) = A_n (i, j) + b_n,    A_n (2, 2), b_n (2,), in pixels, pixel centres at whole numbers,

and the value at that point is interpolated between the four pixels around it. `translate` is the
case A = 1, several times as fast since whole images are shifted at once.

What lies outside the image is filled in, as Keras calls it:

    "reflect"   d c b a | a b c d | d c b a
    "wrap"      a b c d | a b c d | a b c d
    "nearest"   a a a a | a b c d | d d d d
    "constant"  k k k k | a b c d | k k k k    with k = fill_value
"""

import math
from typing import Any

import numpy as np

from minicnn.backend import array_module

FILL_MODES = ("reflect", "wrap", "constant", "nearest")
INTERPOLATIONS = ("nearest", "bilinear")

_TILE_BYTES = 256 * 1024  # measured: 128 KB is slower, at 512 KB fresh memory is needed again
_NUMPY_PAD = {"reflect": "symmetric", "wrap": "wrap", "nearest": "edge", "constant": "constant"}


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


# Translation


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

    Returns:
        (N, H, W, C).
    """
    xp = array_module(x)
    pads, rows, columns, fy, fx = _translation(shift, bounds, interpolation)
    fy, fx = fy.astype(x.dtype, copy=False), fx.astype(x.dtype, copy=False)
    options: dict[str, Any] = {"mode": _NUMPY_PAD[fill_mode]}
    if fill_mode == "constant":
        options["constant_values"] = fill_value
    y = xp.empty(x.shape, x.dtype)
    for tile in _tiles(x):
        padded = xp.pad(x[tile], pads, **options)
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


def _tiles(x: Any) -> list[slice]:
    """The batch a few images at a time on the CPU, so that what lies between input and output stays
    in cache and needs no fresh memory, whose page faults cost more than the arithmetic. On a
    GPU, where each operation has to be launched, the whole batch at once."""
    n = x.shape[0]
    bytes_per_image = max(1, x.nbytes // max(1, n))
    step = max(1, _TILE_BYTES // bytes_per_image) if isinstance(x, np.ndarray) else max(1, n)
    return [slice(start, start + step) for start in range(0, n, step)]


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
    pads, rows, columns, fy, fx = _translation(shift, bounds, interpolation)
    (_, (top, bottom), (left, right), _) = pads
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
    return _fold(_fold(dpadded, 1, h, top, fill_mode), 2, w, left, fill_mode)


def _translation(
    shift: Any, bounds: tuple[tuple[float, float], tuple[float, float]], interpolation: str
) -> tuple[Any, Any, Any, Any, Any]:
    """Padding, the corners of the windows in the padded images, and the fractions between."""
    xp = array_module(shift)
    pads = [(0, 0)]
    corners, fractions = [], []
    for axis, (low, high) in enumerate(bounds):
        before, after = max(0, math.ceil(high)), max(0, math.ceil(-low)) + 1
        pads.append((before, after))
        start = -shift[:, axis]
        whole = xp.floor(start + 0.5 if interpolation == "nearest" else start)
        corners.append(xp.clip(whole.astype("int64") + before, 0, before + after - 1))
        fractions.append(start - whole)
    return (*pads, (0, 0)), corners[0], corners[1], fractions[0], fractions[1]


def _fold(d: Any, axis: int, size: int, before: int, fill_mode: str) -> Any:
    """Adjoint of padding along one axis: what went into the border comes back to its source."""
    xp = array_module(d)
    d = xp.moveaxis(d, axis, 0)
    folded = d[before : before + size].copy()
    if fill_mode != "constant":
        for i in (*range(before), *range(before + size, d.shape[0])):
            folded[_source(i - before, size, fill_mode)] += d[i]
    return xp.moveaxis(folded, 0, axis)


def _source(i: int, size: int, fill_mode: str) -> int:
    """Which pixel shows at place i outside 0..size-1."""
    if fill_mode == "nearest":
        return min(max(i, 0), size - 1)
    if fill_mode == "wrap":
        return i % size
    i %= 2 * size
    return i if i < size else 2 * size - 1 - i


# The general case


def affine(
    x: Any,
    matrix: Any,
    offset: Any,
    fill_mode: str = "reflect",
    fill_value: float = 0.0,
    interpolation: str = "bilinear",
) -> Any:
    """Each image under its own map: y[n, i, j] = x[n] at the point A_n (i, j) + b_n.

    Args:
        x: (N, H, W, C).
        matrix: (N, 2, 2), the maps' linear parts, on (row, column).
        offset: (N, 2).

    Returns:
        (N, H, W, C).
    """
    y = array_module(x).empty(x.shape, x.dtype)
    for tile in _tiles(x):
        y[tile] = _affine_tile(
            x[tile], matrix[tile], offset[tile], fill_mode, fill_value, interpolation
        )
    return y


def _affine_tile(
    x: Any, matrix: Any, offset: Any, fill_mode: str, fill_value: float, interpolation: str
) -> Any:
    xp = array_module(x)
    n, h, w, c = x.shape
    pixels = x.reshape(n * h * w, c)
    y = xp.zeros((c, n * h * w), x.dtype)  # by channel: products with a weight a pixel run long
    for index, weight, inside in _taps(x, matrix, offset, fill_mode, interpolation):
        values = xp.ascontiguousarray(pixels.take(index, axis=0).T)
        if inside is not None:
            values = xp.where(inside, values, xp.asarray(fill_value, x.dtype))
        if weight is not None:
            values *= weight
        y += values
    return y.T.reshape(x.shape)


def affine_gradient(
    dy: Any,
    matrix: Any,
    offset: Any,
    fill_mode: str = "reflect",
    interpolation: str = "bilinear",
) -> Any:
    """Gradient of `affine` with respect to x, (N, H, W, C)."""
    xp = array_module(dy)
    n, h, w, c = dy.shape
    dx = xp.zeros((n * h * w, c), dy.dtype)
    for index, weight, inside in _taps(dy, matrix, offset, fill_mode, interpolation):
        part = dy.reshape(n * h * w, c)
        if weight is not None:
            part = part * weight[:, None]
        if inside is not None:
            part = part * inside[:, None]
        xp.add.at(dx, index, part)
    return dx.reshape(dy.shape)


def _taps(x: Any, matrix: Any, offset: Any, fill_mode: str, interpolation: str) -> Any:
    """The pixels an output pixel is made of: (index into the N*H*W pixels, weight, inside), each
    (N*H*W,); weight None where it is 1, inside None where nothing is outside."""
    xp = array_module(x)
    n, h, w, _ = x.shape
    i = xp.arange(h, dtype=matrix.dtype).reshape(1, h, 1)
    j = xp.arange(w, dtype=matrix.dtype).reshape(1, 1, w)
    point = [
        matrix[:, a, 0].reshape(n, 1, 1) * i
        + matrix[:, a, 1].reshape(n, 1, 1) * j
        + offset[:, a].reshape(n, 1, 1)
        for a in (0, 1)
    ]
    first = xp.arange(n).reshape(n, 1, 1) * (h * w)
    if interpolation == "nearest":
        row, column = (xp.floor(p + 0.5).astype("int64") for p in point)
        index, inside = _pixel(row, column, h, w, fill_mode)
        yield (first + index).ravel(), None, inside
        return
    corner = [xp.floor(p) for p in point]
    fraction = [(p - q).astype(x.dtype, copy=False) for p, q in zip(point, corner, strict=True)]
    row, column = (q.astype("int64") for q in corner)
    for below in (0, 1):
        for right in (0, 1):
            index, inside = _pixel(row + below, column + right, h, w, fill_mode)
            weight = fraction[0] if below else 1 - fraction[0]
            weight = weight * (fraction[1] if right else 1 - fraction[1])
            yield (first + index).ravel(), weight.ravel(), inside


def _pixel(row: Any, column: Any, h: int, w: int, fill_mode: str) -> tuple[Any, Any]:
    """Number of the pixel that shows at (row, column), and whether that is inside the image."""
    xp = array_module(row)
    if fill_mode == "wrap":
        return (row % h) * w + column % w, None
    if fill_mode == "reflect":
        row, column = row % (2 * h), column % (2 * w)
        # 0 1 .. h-1 | h-1 .. 1 0 is the smaller of m and 2h-1-m
        return xp.minimum(row, 2 * h - 1 - row) * w + xp.minimum(column, 2 * w - 1 - column), None
    index = xp.clip(row, 0, h - 1) * w + xp.clip(column, 0, w - 1)
    if fill_mode == "nearest":
        return index, None
    inside = (row >= 0) & (row < h) & (column >= 0) & (column < w)
    return index, inside.ravel()
