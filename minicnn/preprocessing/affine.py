"""Affine warps of a whole batch of images, each by its own matrix, in plain NumPy.

An output pixel looks up where it comes from: p_in = M p_out, with points (x, y) measured from the
centre of the image, x to the right and y downward. So a matrix that enlarges the coordinates
shrinks the picture, and a positive shift moves the picture to the left or up. Angles, order of
the product and these signs are those of Keras's `ImageDataGenerator`.
"""

import numpy as np

FILL_MODES = ("nearest", "constant", "reflect", "wrap")

_CHUNK_VALUES = 1 << 15  # values warped at once: the passes over them then stay in cache


def affine_matrices(
    theta: np.ndarray,
    tx: np.ndarray,
    ty: np.ndarray,
    shear: np.ndarray,
    zx: np.ndarray,
    zy: np.ndarray,
) -> np.ndarray:
    """The products rotation @ shift @ shear @ zoom, (n, 2, 3), for n images.

    Args:
        theta: rotation, degrees (n,).
        tx, ty: shift along x (columns) and y (rows), pixels.
        shear: shear angle, degrees.
        zx, zy: zoom along x and y; below 1 magnifies.
    """
    n = len(theta)

    def matrix(entries: dict[tuple[int, int], np.ndarray]) -> np.ndarray:
        result = np.broadcast_to(np.eye(3), (n, 3, 3)).copy()
        for (i, j), value in entries.items():
            result[:, i, j] = value
        return result

    t, s = np.deg2rad(theta), np.deg2rad(shear)
    rotation = {(0, 0): np.cos(t), (0, 1): -np.sin(t), (1, 0): np.sin(t), (1, 1): np.cos(t)}
    product = (
        matrix(rotation)
        @ matrix({(0, 2): tx, (1, 2): ty})
        @ matrix({(0, 1): -np.sin(s), (1, 1): np.cos(s)})
        @ matrix({(0, 0): zx, (1, 1): zy})
    )
    return product[:, :2]


def warp(
    images: np.ndarray, matrices: np.ndarray, fill_mode: str = "nearest", cval: float = 0.0
) -> np.ndarray:
    """Images warped with bilinear interpolation; shape and dtype (floating) are kept.

    Args:
        images: (n, height, width, channels).
        matrices: (n, 2, 3), from `affine_matrices`.
        fill_mode: what lies beyond the edge of a row abcd: "nearest" aaaa|abcd|dddd, "constant"
            kkkk|abcd|kkkk with k = `cval`, "reflect" dcba|abcd|dcba, "wrap" abcd|abcd|abcd.
        cval: the value for "constant".
    """
    out = np.empty_like(images)
    step = max(1, _CHUNK_VALUES // max(1, images[0].size)) if len(images) else 1
    for start in range(0, len(images), step):
        part = slice(start, start + step)
        out[part] = _warp_chunk(images[part], matrices[part], fill_mode, cval)
    return out


def _warp_chunk(
    images: np.ndarray, matrices: np.ndarray, fill_mode: str, cval: float
) -> np.ndarray:
    n, height, width, channels = images.shape
    dtype = images.dtype
    cy, cx = (height - 1) / 2, (width - 1) / 2
    y = (np.arange(height) - cy).astype(dtype)[:, None]  # (height, 1)
    x = (np.arange(width) - cx).astype(dtype)  # (width,)
    m = matrices.astype(dtype)[:, :, :, None, None]  # (n, 2, 3, 1, 1)
    col = m[:, 0, 0] * x + m[:, 0, 1] * y + (m[:, 0, 2] + dtype.type(cx))  # (n, height, width)
    row = m[:, 1, 0] * x + m[:, 1, 1] * y + (m[:, 1, 2] + dtype.type(cy))

    outside = None
    if fill_mode == "constant":
        slack = 1e-3  # rounding must not cut off an edge that lies exactly on the border
        outside = (row < -slack) | (row > height - 1 + slack)
        outside |= (col < -slack) | (col > width - 1 + slack)

    row0, row1, down = _neighbours(row, height, fill_mode)
    col0, col1, right = _neighbours(col, width, fill_mode)
    row0, row1 = row0 * width, row1 * width
    first = (np.arange(n) * (height * width))[:, None, None]
    row0 += first
    row1 += first

    # (n * height * width, channels) gathered four times. The weights are repeated for each channel
    # because broadcasting over a last axis of 3 is much slower in NumPy than a long flat product.
    pixels = images.reshape(-1, channels)
    shape = images.shape
    right = np.repeat(right.reshape(-1), channels).reshape(shape)
    down = np.repeat(down.reshape(-1), channels).reshape(shape)

    def between(row_index: np.ndarray) -> np.ndarray:
        left_value = pixels.take(row_index + col0, axis=0)
        value = pixels.take(row_index + col1, axis=0)
        value -= left_value
        value *= right
        value += left_value
        return value

    upper, lower = between(row0), between(row1)
    lower -= upper
    lower *= down
    lower += upper
    if outside is not None:
        lower[outside] = cval
    return lower


def _neighbours(
    position: np.ndarray, size: int, fill_mode: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The pixels before and after each position on an axis, and how far it is past the former."""
    if fill_mode in ("nearest", "constant"):
        position = np.clip(position, 0, size - 1)
    floor = np.floor(position)
    fraction = position - floor
    before = floor.astype(np.intp)
    after = before + 1
    if fill_mode == "wrap":
        return before % size, after % size, fraction
    if fill_mode == "reflect":
        return _reflected(before, size), _reflected(after, size), fraction
    return before, np.minimum(after, size - 1), fraction


def _reflected(index: np.ndarray, size: int) -> np.ndarray:
    index = index % (2 * size)
    return np.minimum(index, 2 * size - 1 - index)
