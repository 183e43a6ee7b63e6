"""What the kernels that move images share: what is seen outside an image, and working in chunks.

What lies outside is filled in, as Keras calls it:

    "reflect"   d c b a | a b c d | d c b a
    "wrap"      a b c d | a b c d | a b c d
    "nearest"   a a a a | a b c d | d d d d
    "constant"  k k k k | a b c d | k k k k    with k = fill_value
"""

import numpy as np

from minicnn.backend import array_module
from minicnn.parallel.slices import chunks
from minicnn.typing import Array

FILL_MODES = ("reflect", "wrap", "constant", "nearest")
INTERPOLATIONS = ("nearest", "bilinear")

Pads = tuple[tuple[int, int], tuple[int, int]]  # pixels above and below, left and right

_NUMPY_PAD = {"reflect": "symmetric", "wrap": "wrap", "nearest": "edge", "constant": "constant"}


def pad(x: Array, pads: Pads, fill_mode: str, fill_value: float) -> Array:
    """Images x (N, H, W, C) with what is seen around them; x itself if there is nothing to add.

    Args:
        pads: how far to add pixels on each side.
        fill_mode, fill_value: see above.
    """
    if pads == ((0, 0), (0, 0)):
        return x
    options = {"constant_values": fill_value} if fill_mode == "constant" else {}
    widths = ((0, 0), *pads, (0, 0))
    return array_module(x).pad(x, widths, mode=_NUMPY_PAD[fill_mode], **options)


def pad_gradient(d: Array, pads: Pads, fill_mode: str) -> Array:
    """Gradient of `pad` with respect to x: what went into the border comes back to its source.

    Args:
        d: gradient with respect to the padded images.
        pads, fill_mode: as for `pad`.
    """
    for axis, (before, after) in ((1, pads[0]), (2, pads[1])):
        d = _fold(d, axis, before, d.shape[axis] - before - after, fill_mode)
    return d


def _fold(d: Array, axis: int, before: int, size: int, fill_mode: str) -> Array:
    if d.shape[axis] == size:
        return d
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


def image_chunks(x: Array, chunk_bytes: int) -> list[slice]:
    """Chunks of the images x, of at most `chunk_bytes` on the CPU, so that what lies between input
    and output stays in cache and needs no fresh memory, whose page faults cost more than the
    arithmetic. On a GPU, where each operation has to be launched, one chunk of all images."""
    n = x.shape[0]
    if not isinstance(x, np.ndarray):
        return chunks(n, 1, n)
    return chunks(n, x.nbytes // max(1, n), chunk_bytes)
