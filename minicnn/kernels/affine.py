"""Images moved, turned and scaled: each output pixel is read where it came from.

For an output pixel (i, j) of image n the inverse map says which point of the input shows there,

    (y, x) = A_n (i, j) + b_n,    A_n (2, 2), b_n (2,), in pixels, pixel centres at whole numbers,

or, in perspective, (A_n (i, j) + b_n) / (1 + p_n (i, j)). The value at that point is interpolated
between the four pixels around it. Points outside the image are first led back to the place inside
that shows there (`minicnn.kernels.borders` has the fill modes), so that all four pixels are found
by one index:

    index          index + right
    index + down   index + down + right
"""

from typing import NamedTuple

from minicnn.backend import array_module
from minicnn.dtypes import widened
from minicnn.kernels.borders import Pads, image_chunks, pad, pad_gradient
from minicnn.typing import Array

_CHUNK_BYTES = 128 * 1024  # measured: 64 KB is no faster, at 512 KB fresh memory is needed again
_SLACK = 1e-3  # pixels: rounding must not cut off an edge that lies exactly on the border


class _Sources(NamedTuple):
    """Where the M = N*H*W output pixels come from, in padded images that lie end to end."""

    pads: Pads
    index: Array  # (M,) the upper left of the four pixels
    down: int  # from there to the pixel below
    right: int  # and to the one beside
    fy: Array  # (M,) how far the point lies below the upper row, 0 to 1
    fx: Array  # (M,)
    outside: Array | None  # (M,) whether the fill value is seen and nothing else


def affine(
    x: Array,
    matrix: Array,
    offset: Array,
    fill_mode: str = "reflect",
    fill_value: float = 0.0,
    interpolation: str = "bilinear",
    sharp_border: bool = False,
    perspective: Array | None = None,
) -> Array:
    """Each image under its own map: y[n, i, j] = x[n] at the point A_n (i, j) + b_n.

    Args:
        x: (N, H, W, C).
        matrix: (N, 2, 2), the maps' linear parts, on (row, column).
        offset: (N, 2).
        fill_mode, fill_value: see `minicnn.kernels.borders`.
        interpolation: "bilinear" or "nearest".
        sharp_border: with "constant", fill_value is seen wherever a point is not between pixels,
            as in SciPy's "constant" and Keras's ImageDataGenerator. Otherwise pixels of fill_value
            surround the image and the border fades into them, as in SciPy's "grid-constant" and
            Keras 3's layers.
        perspective: (N, 2), p on (row, column).

    Returns:
        (N, H, W, C).
    """
    y = array_module(x).empty(x.shape, x.dtype)
    for chunk in image_chunks(x, _CHUNK_BYTES):
        images = widened(x[chunk])
        sources = _sources(
            images,
            matrix[chunk],
            offset[chunk],
            fill_mode,
            interpolation,
            sharp_border,
            None if perspective is None else perspective[chunk],
        )
        padded = pad(images, sources.pads, fill_mode, fill_value)
        values = _read(padded.reshape(-1, x.shape[3]), sources, interpolation)
        if sources.outside is not None:
            values[sources.outside] = fill_value
        y[chunk] = values.reshape(images.shape)
    return y


def _read(pixels: Array, sources: _Sources, interpolation: str) -> Array:
    """The values (M, C) at the sources, from pixels (P, C)."""
    _, index, down, right, fy, fx, _ = sources
    if interpolation == "nearest":
        return pixels.take(index, axis=0)
    # (M,) -> (M, C): products of equal shapes make long runs, those broadcast over 3 channels not
    c = pixels.shape[1]
    fy, fx = fy.repeat(c).reshape(-1, c), fx.repeat(c).reshape(-1, c)

    def between_columns(first: int) -> Array:
        return _between(
            pixels[first:].take(index, axis=0), pixels[first + right :].take(index, axis=0), fx
        )

    return _between(between_columns(0), between_columns(down), fy)


def _between(a: Array, b: Array, f: Array) -> Array:
    """(1 - f) a + f b, in the memory of b."""
    b -= a
    b *= f
    b += a
    return b


def affine_gradient(
    dy: Array,
    matrix: Array,
    offset: Array,
    fill_mode: str = "reflect",
    interpolation: str = "bilinear",
    sharp_border: bool = False,
    perspective: Array | None = None,
) -> Array:
    """Gradient of `affine` with respect to x, (N, H, W, C).

    Args:
        dy: (N, H, W, C).
        matrix, offset, fill_mode, interpolation, sharp_border, perspective: as for `affine`.
    """
    xp = array_module(dy)
    n, h, w, c = dy.shape
    dtype, dy = dy.dtype, widened(dy)
    pads, index, down, right, fy, fx, outside = _sources(
        dy, matrix, offset, fill_mode, interpolation, sharp_border, perspective
    )
    (top, bottom), (left, beyond) = pads
    dpadded = xp.zeros((n, top + h + bottom, left + w + beyond, c), dy.dtype)
    dpixels = dpadded.reshape(-1, c)
    dvalues = dy.reshape(-1, c)
    if outside is not None:
        dvalues = dvalues * ~outside[:, None]
    if interpolation == "nearest":
        xp.add.at(dpixels, index, dvalues)
    else:
        for row, weight_row in ((0, 1 - fy), (down, fy)):
            for column, weight in ((0, 1 - fx), (right, fx)):
                weights = (weight_row * weight)[:, None]
                xp.add.at(dpixels, index + (row + column), weights * dvalues)
    return pad_gradient(dpadded, pads, fill_mode).astype(dtype, copy=False)


def _sources(
    x: Array,
    matrix: Array,
    offset: Array,
    fill_mode: str,
    interpolation: str,
    sharp_border: bool,
    perspective: Array | None,
) -> _Sources:
    xp = array_module(x)
    n, h, w, _ = x.shape
    fades = fill_mode == "constant" and not sharp_border
    # what is needed beyond the border: a pixel of the fill value to fade into; the first pixel
    # again, where a row goes on from the last to the first
    before, after = (1, 1) if fades else (0, 1) if fill_mode == "wrap" else (0, 0)
    width = before + w + after
    i, j = xp.arange(h, dtype=matrix.dtype), xp.arange(w, dtype=matrix.dtype)
    corners, fractions, outside = [], [], None
    for axis, size in ((0, h), (1, w)):
        # (n, h, 1) + (n, 1, w) -> (n, h, w)
        along_rows = matrix[:, axis, 1:] * j
        along_columns = matrix[:, axis, :1] * i + offset[:, axis : axis + 1]
        point = along_columns[:, :, None] + along_rows[:, None, :]
        if perspective is not None:
            depth = 1 + perspective[:, :1, None] * i[:, None] + perspective[:, 1:, None] * j
            point /= xp.where(depth == 0, 1e-6, depth)  # on the horizon: far away, but no NaN
        if fill_mode == "constant" and sharp_border:
            beyond = (point < -_SLACK) | (point > size - 1 + _SLACK)
            outside = beyond if outside is None else outside | beyond
        if interpolation == "nearest":
            point += 0.5
            xp.floor(point, out=point)
        point = _led_inside(point, size, fill_mode)
        point += before
        padded_size = before + size + after
        xp.clip(point, 0, padded_size - 1, out=point)
        corner = xp.floor(point)
        if interpolation == "bilinear":
            # the last pixel is the end of the last gap, not the start of one more
            xp.minimum(corner, max(0, padded_size - 2), out=corner)
            point -= corner
        corners.append(corner.astype("int64"))
        fractions.append(point.astype(x.dtype, copy=False).reshape(-1))
    index, column = corners
    index *= width
    index += column
    index += (xp.arange(n) * ((before + h + after) * width))[:, None, None]
    return _Sources(
        pads=((before, after), (before, after)),
        index=index.reshape(-1),
        down=width if before + h + after > 1 else 0,
        right=1 if width > 1 else 0,
        fy=fractions[0],
        fx=fractions[1],
        outside=None if outside is None else outside.reshape(-1),
    )


def _led_inside(point: Array, size: int, fill_mode: str) -> Array:
    """The coordinates inside 0..size-1, or less than a pixel beyond, that show the same as
    `point`, whose memory is used. Those of "nearest" and "constant" are left to be cut off."""
    xp = array_module(point)
    if fill_mode == "wrap":
        turns = point / size
        xp.floor(turns, out=turns)
        turns *= size
        point -= turns
    elif fill_mode == "reflect":
        # measured from the mirror at -1/2: the distance from the nearest multiple of 2 size
        point += 0.5
        turns = point / (2 * size)
        xp.rint(turns, out=turns)
        turns *= 2 * size
        point -= turns
        xp.abs(point, out=point)
        point -= 0.5
    return point
