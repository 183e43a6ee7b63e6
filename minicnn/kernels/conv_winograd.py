"""3x3 convolution with stride 1 by Winograd's minimal filtering F(4x4, 3x3), with both gradients.

Four outputs of a 3-tap filter need 12 multiplications as they stand, but 6 after a change of basis:
y = A^T ((G w) * (B^T d)), d the 6 inputs that 4 outputs see and * the product element by element.
In two dimensions a tile of 4x4 outputs reads 6x6 inputs and needs 36 multiplications instead of
144. Flattened, each change of basis is one product with a Kronecker square, over all tiles and
channels at once:

    D[36, T, C]  the 6x6 inputs of each of the T tiles
    V[k] = sum_l (B ⊗ B)^T[k, l] D[l]                                (36, 36) @ (36, T C)
    U[k] = sum_l (G ⊗ G)[k, l] w[l]                                  (36, 9)  @ (9, C F)
    M[k] = V[k] U[k], the sum over channels                      36 x (T, C)  @ (C, F)
    Y[l] = sum_k (A ⊗ A)^T[l, k] M[k]                                (16, 36) @ (36, T F)

Every step is linear in x and in w, so the gradients are the same steps transposed:

    dM = (A ⊗ A) dY      dU[k] = V[k]^T dM[k]      dw = (G ⊗ G)^T dU
                         dV[k] = dM[k] U[k]^T      dD = (B ⊗ B) dV, added where tiles overlap

Images of 16 bits are calculated with in float32, the kernel rounded to as many bits; its gradient
is float32.

The changes of basis reach 36,000 times as far as their result, and would overflow for numbers from
5e36 on. On the CPU, results that are not finite are therefore calculated again from images, or from
dy, 2^64 times smaller, in which all steps are linear; so only numbers below 1e-18 are rounded more.

Sources: Winograd, "Arithmetic complexity of computations" (1980); Lavin, Gray, "Fast algorithms for
convolutional neural networks" (2015), arXiv:1509.09308, for the nested form and the matrices.
"""

from functools import cache
from math import floor
from typing import Any, NamedTuple

import numpy as np

from minicnn.backend import array_module
from minicnn.dtypes import widened
from minicnn.kernels.dense import rounded
from minicnn.kernels.overflow import Watch, watched
from minicnn.kernels.windows import Convolution, Pair, Window, pad
from minicnn.parallel.slices import even_chunks
from minicnn.typing import Array

# The polynomials are evaluated at 0, 1, -1, 2, -2 and infinity.
_B_T: list[list[float]] = [
    [4, 0, -5, 0, 1, 0],
    [0, -4, -4, 1, 1, 0],
    [0, 4, -4, -1, 1, 0],
    [0, -2, -1, 2, 1, 0],
    [0, 2, -1, -2, 1, 0],
    [0, 4, 0, -5, 0, 1],
]
_G: list[list[float]] = [
    [1 / 4, 0, 0],
    [-1 / 6, -1 / 6, -1 / 6],
    [-1 / 6, 1 / 6, -1 / 6],
    [1 / 24, 1 / 12, 1 / 6],
    [1 / 24, -1 / 12, 1 / 6],
    [0, 0, 1],
]
_A_T: list[list[float]] = [
    [1, 1, 1, 1, 1, 0],
    [0, 1, -1, 2, -2, 0],
    [0, 1, 1, 4, 4, 0],
    [0, 1, -1, 8, -8, 1],
]

# Bytes of the transformed inputs and products of a chunk of images; at least as many as the
# transformed kernel has, which is read once per chunk. Measured as for im2col, on ten shapes: 2 MB
# is the fastest or within 3 % of it, 0.5 and 16 MB up to 30 % slower.
CHUNK_BYTES = 1 << 21


# What is calculated again is scaled by this: see above.
_SMALLER = 2.0**-64


class Transformed(NamedTuple):
    """What the gradients read in place of x.

    Attributes:
        chunks: V (36, T, C) of each chunk of images.
        scale: what x was multiplied by before.
    """

    chunks: list[Array]
    scale: float


def supports(convolution: Convolution) -> bool:
    """Whether a `convolution` is one that this file computes."""
    return convolution == Convolution((3, 3), padding=convolution.padding)


def tiles_of(outputs: int) -> int:
    """Tiles of 4 that cover a row (or column) of `outputs`."""
    return -(-outputs // 4)


def prepare(kernel: Array, dtype: Any = None) -> Array:
    """U (36, C, F).

    Args:
        kernel: (3, 3, C, F).
        dtype: of the images; default: that of the kernel.
    """
    _, _, c, f = kernel.shape
    kernel = rounded(kernel, dtype or kernel.dtype)
    _, g, _ = _matrices(array_module(kernel), kernel.dtype)
    return (g @ kernel.reshape(9, c * f)).reshape(36, c, f)


def forward(
    x: Array, prepared: Array, convolution: Convolution, keep: bool = False
) -> tuple[Array, Transformed | None]:
    """(N, H, W, C) to (N, OH, OW, F).

    Args:
        x: images (N, H, W, C).
        prepared: U of `prepare`.
        convolution: one that this file `supports`.
        keep: whether the kernel's gradient will be asked for.

    Returns:
        (y, what `gradients` reads in place of x, or None unless `keep`).
    """
    dtype, x = x.dtype, widened(x)
    scale = 1.0
    with watched() as watch:
        y, chunks, is_finite = _forward(x, prepared, convolution, watch)
        if not is_finite:
            scale = _SMALLER
            y, chunks, _ = _forward(x * scale, prepared, convolution, watch)
            y *= 1 / scale
        return y.astype(dtype, copy=False), Transformed(chunks, scale) if keep else None


def _forward(
    x: Array, prepared: Array, convolution: Convolution, watch: Watch
) -> tuple[Array, list[Array], bool]:
    """(y, V of each chunk, whether y is finite, as far as it was looked at)."""
    xp = array_module(x)
    n, h, w, c = x.shape
    filters = prepared.shape[-1]
    b, _, a = _matrices(xp, x.dtype)
    output_size = convolution.output_size(h, w)
    y = xp.empty((n, *output_size, filters), x.dtype)
    kept, is_finite = [], True
    for chunk in _chunks(n, c, filters, output_size, x.dtype.itemsize):
        tiles = _gather(x[chunk], convolution)
        shape = tiles.shape[2:5]  # (n, TY, TX)
        v = (b @ tiles.reshape(36, -1)).reshape(36, -1, c)
        m = xp.matmul(v, prepared)
        _place((a @ m.reshape(36, -1)).reshape(4, 4, *shape, filters), y[chunk])
        kept.append(v)
        is_finite = is_finite and watch.is_finite(y[chunk])
    return y, kept, is_finite


def gradients(
    dy: Array,
    kept: Transformed | None,
    prepared: Array,
    x_shape: tuple[int, ...],
    convolution: Convolution,
    needs_dw: bool = True,
    needs_dx: bool = True,
) -> tuple[Array | None, Array | None]:
    """(dw (3, 3, C, F), dx (N, H, W, C)) of `forward`; None for what is not needed.

    Args:
        dy: (N, OH, OW, F).
        kept: as `forward` returned it; None without `needs_dw`.
        prepared: U of `prepare`.
        x_shape: (N, H, W, C).
        convolution: as `forward` was given it.
        needs_dw, needs_dx: what is needed.
    """
    dtype, dy = dy.dtype, widened(dy)
    chunks, scale = kept or Transformed([], 1.0)
    with watched() as watch:
        given = chunks, prepared, x_shape, convolution, needs_dw, needs_dx, watch
        dw, dx, is_finite = _gradients(dy, *given)
        dy_scale = 1.0
        if not is_finite:
            dy_scale = _SMALLER
            dw, dx, _ = _gradients(dy * dy_scale, *given)
        if dw is not None and scale * dy_scale != 1:
            dw = dw * (1 / scale) * (1 / dy_scale)
        if dx is not None and dy_scale != 1:
            dx *= 1 / dy_scale
        return dw, None if dx is None else dx.astype(dtype, copy=False)


def _gradients(
    dy: Array,
    kept: list[Array],
    prepared: Array,
    x_shape: tuple[int, ...],
    convolution: Convolution,
    needs_dw: bool,
    needs_dx: bool,
    watch: Watch,
) -> tuple[Array | None, Array | None, bool]:
    """(dw, dx, whether they are finite, as far as they were looked at)."""
    xp = array_module(dy)
    n, _, _, c = x_shape
    filters = dy.shape[-1]
    b, g, a = _matrices(xp, dy.dtype)
    du: Any = None
    dx: Any = xp.empty(x_shape, dy.dtype) if needs_dx else None
    is_finite = True
    chunks = _chunks(n, c, filters, dy.shape[1:3], dy.dtype.itemsize)
    for chunk, v in zip(chunks, kept if needs_dw else [None] * len(chunks), strict=True):
        dm = (a.T @ _output_tiles(dy[chunk]).reshape(16, -1)).reshape(36, -1, filters)
        if needs_dw:
            part = xp.matmul(v.transpose(0, 2, 1), dm)
            du = part if du is None else xp.add(du, part, out=du)
        if needs_dx:
            dv = xp.matmul(dm, prepared.transpose(0, 2, 1))
            _scatter(b.T @ dv.reshape(36, -1), dx[chunk], convolution)
            is_finite = is_finite and watch.is_finite(dx[chunk])
    dw = (g.T @ du.reshape(36, c * filters)).reshape(3, 3, c, filters) if needs_dw else None
    return dw, dx, is_finite and (dw is None or watch.is_finite(dw))


def _chunks(n: int, c: int, filters: int, output_size: Pair, itemsize: int) -> list[slice]:
    """The batch cut into chunks of a few images."""
    tiles = tiles_of(output_size[0]) * tiles_of(output_size[1])
    kernel_bytes = 36 * c * filters * itemsize
    image_bytes = 36 * tiles * (c + filters) * itemsize
    return even_chunks(n, image_bytes, max(CHUNK_BYTES, kernel_bytes), rounding=floor)


def _gather(x: Array, window: Window) -> Array:
    """(n, H, W, C) to (6, 6, n, TY, TX, C): the inputs of each tile, zeros outside the image."""
    xp = array_module(x)
    n, h, w, c = x.shape
    ty, tx = (tiles_of(size) for size in window.output_size(h, w))
    height, width = 4 * ty + 2, 4 * tx + 2
    (top, _), (left, _) = window.pads(h, w)
    if (h, w) != (height, width):
        padded = xp.zeros((n, height, width, c), x.dtype)
        # "valid" leaves out the last rows where no window fits; there are none with stride 1
        padded[:, top : top + h, left : left + w] = x
        x = padded
    x = xp.ascontiguousarray(x)
    s = x.strides
    view = xp.lib.stride_tricks.as_strided(
        x, (6, 6, n, ty, tx, c), (s[1], s[2], s[0], 4 * s[1], 4 * s[2], s[3])
    )
    return xp.ascontiguousarray(view)


def _scatter(tiles: Array, dx: Array, window: Window) -> None:
    """Adjoint of `_gather`, into dx (n, H, W, C): neighbouring tiles share two rows or columns."""
    n, h, w, c = dx.shape
    ty, tx = (tiles_of(size) for size in window.output_size(h, w))
    tiles = tiles.reshape(6, 6, n, ty, tx, c)
    tiles[:2, :, :, 1:] += tiles[4:, :, :, :-1]
    tiles[:, :2, :, :, 1:] += tiles[:, 4:, :, :, :-1]
    # rows and columns in groups of four; the last group of each, beyond the last tile, has two
    padded = array_module(dx).empty((n, ty + 1, 4, tx + 1, 4, c), dx.dtype)
    padded[:, :ty, :, :tx] = tiles[:4, :4].transpose(2, 3, 0, 4, 1, 5)
    padded[:, ty, :2, :tx] = tiles[4:, :4, :, -1].transpose(2, 0, 3, 1, 4)
    padded[:, :ty, :, tx, :2] = tiles[:4, 4:, :, :, -1].transpose(2, 3, 0, 1, 4)
    padded[:, ty, :2, tx, :2] = tiles[4:, 4:, :, -1, -1].transpose(2, 0, 1, 3)
    (top, _), (left, _) = window.pads(h, w)
    images = padded.reshape(n, 4 * (ty + 1), 4 * (tx + 1), c)
    dx[...] = images[:, top : top + h, left : left + w]


def _place(tiles: Array, y: Array) -> None:
    """(4, 4, n, TY, TX, F) into y (n, OH, OW, F); what reaches over its edges is dropped."""
    _, _, n, ty, tx, filters = tiles.shape
    tiles = tiles.transpose(2, 3, 0, 4, 1, 5)
    if y.shape[1:3] == (4 * ty, 4 * tx):
        y.reshape(n, ty, 4, tx, 4, filters)[...] = tiles
    else:
        images = tiles.reshape(n, 4 * ty, 4 * tx, filters)
        y[...] = images[:, : y.shape[1], : y.shape[2]]


def _output_tiles(dy: Array) -> Array:
    """(n, OH, OW, F) to (4, 4, n, TY, TX, F), zeros where tiles reach over the edges."""
    n, oh, ow, filters = dy.shape
    ty, tx = tiles_of(oh), tiles_of(ow)
    dy = pad(dy, ((0, 4 * ty - oh), (0, 4 * tx - ow)))
    tiles = dy.reshape(n, ty, 4, tx, 4, filters).transpose(2, 4, 0, 1, 3, 5)
    return array_module(dy).ascontiguousarray(tiles)


@cache
def _matrices(xp: Any, dtype: Any) -> tuple[Array, ...]:
    """The Kronecker squares (36, 36) of B^T, (36, 9) of G and (16, 36) of A^T."""
    return tuple(xp.asarray(np.kron(m, m).astype(dtype)) for m in (_B_T, _G, _A_T))
