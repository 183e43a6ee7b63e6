"""Convolution as a matrix product whose factors are read from images and kernel as they lie there:
no matrix of windows is made.

Elements of 16 bits go through the tensor cores, the kernel rounded to them; so do those of float32
where TF32 is allowed (`minicnn.backend.enable_tensor_float_32`), rounded to that. All sums are made
in `real` numbers (see `launch`), in a fixed order.

Source: Chetlur et al., "cuDNN: efficient primitives for deep learning" (2014), arXiv:1410.0759, for
the product with implicit windows.
"""

from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

import numpy as np

from minicnn import backend
from minicnn.backend import array_module
from minicnn.dtypes import wide
from minicnn.kernels import conv_im2col
from minicnn.kernels.cuda.launch import launch_blocks
from minicnn.kernels.windows import Convolution, Window
from minicnn.typing import Array

# Blocks of 256 threads that are at work at once on the 132 multiprocessors of an H200, and more
# blocks with fewer threads; with fewer tiles the sums are made in parts.
BLOCKS = 2 * 132
# Slices of the sum, each 64 bytes deep, that a block has at least, if several share a sum.
LEAST_SLICES = 8
SLICE_BYTES = 64


class Tile(NamedTuple):
    """What a block makes of the result.

    Attributes:
        name: the end of the names of its kernels.
        rows, columns: its size.
        threads: of the block.
        more: how many times `BLOCKS` are at work at once, by the launch bounds in
            conv_implicit.cuh.
    """

    name: str
    rows: int
    columns: int
    threads: int
    more: int


LOW = Tile("low", 32, 32, 32, 8)  # of the kernel's gradient only
TILES = [
    Tile("16", 128, 16, 64, 3),
    Tile("32", 128, 32, 128, 2),
    Tile("64", 128, 64, 256, 1),
    Tile("128", 128, 128, 256, 1),
]
# What a block adds up of parts at a time, and its threads; see `sum_of_parts`.
ADDED_UP, THREADS_ADDING = 32, 512
# x may have fewer elements than this: indices into it have 32 bits, of which the sign is one.
MOST_ELEMENTS = 1 << 31

prepare = conv_im2col.prepare


class Axis(NamedTuple):
    """`Axis` of conv_implicit.cuh."""

    source: int
    results: int
    stride: int
    start: int
    step: int
    taps: int
    first_tap: int
    taps_apart: int
    kernel: int
    size: int
    first: int
    apart: int


class Geometry(NamedTuple):
    """`Geometry` of conv_implicit.cuh."""

    down: Axis
    along: Axis
    images: int
    source_channels: int
    channels: int
    result_channels: int
    columns: int
    splits: int = 1

    @property
    def positions(self) -> int:
        """Pixels of all images whose windows are read."""
        return self.images * self.down.results * self.along.results

    @property
    def in_a_window(self) -> int:
        """Elements of a window, in the channels of a group."""
        return self.down.taps * self.along.taps * self.channels


_AXIS = np.dtype([(name, np.int32) for name in Axis._fields])
_DIVISOR = np.dtype([("multiplier", np.uint32), ("shift", np.int32)])
_DIVISORS = ("down_results", "along_results", "along_taps", "of_channels")
_STRUCT = np.dtype(
    [(name, _AXIS if name in ("down", "along") else np.int32) for name in Geometry._fields]
    + [(name, _DIVISOR) for name in _DIVISORS]
)


@lru_cache(maxsize=1024)
def _as_struct(geometry: Geometry) -> np.ndarray:
    down, along, channels = geometry.down, geometry.along, geometry.channels
    divisors = map(_divisor, (down.results, along.results, along.taps, channels))
    return np.array((*geometry, *divisors), _STRUCT)


def _divisor(by: int) -> tuple[int, int]:
    """`Divisor` of conv_implicit.cuh: n // by = n multiplier // 2^shift for 0 <= n < 2^31.

    With 2^s the first power that is not below `by`, shift = 31 + s and multiplier = 2^shift / by
    rounded up, by less than 1: n times that is below 2^shift / by, too little to reach the next
    whole number. The multiplier is below 2^32. There may be 0 taps, by which nobody divides.
    """
    by = max(1, by)
    shift = 31 + (by - 1).bit_length()
    return -(-(1 << shift) // by), shift


def forward(
    x: Array, kernel: Array, convolution: Convolution, keep: bool = False
) -> tuple[Array, Array | None]:
    """As that of `conv_im2col`.

    Args:
        x, kernel, convolution, keep: as there.
    """
    n, h, w, _ = x.shape
    x = array_module(x).ascontiguousarray(x)
    y = array_module(x).empty((n, *convolution.output_size(h, w), kernel.shape[-1]), x.dtype)
    of_windows = _of_windows(x.shape, y.shape, convolution)
    _multiply("forward", x, _real(kernel, x.dtype), y, of_windows, convolution.groups)
    return y, x if keep else None


def gradients(
    dy: Array,
    x: Array | None,
    kernel: Array,
    x_shape: tuple[int, ...],
    convolution: Convolution,
    needs_dw: bool = True,
    needs_dx: bool = True,
) -> tuple[Array | None, Array | None]:
    """As those of `conv_im2col`, which does the work where x has too many elements.

    Args:
        dy, x, kernel, x_shape, convolution, needs_dw, needs_dx: as there.
    """
    if prod(x_shape) >= MOST_ELEMENTS:
        return conv_im2col.gradients(dy, x, kernel, x_shape, convolution, needs_dw, needs_dx)
    xp, groups = array_module(dy), convolution.groups
    dy = xp.ascontiguousarray(dy)
    dw = dx = None
    if needs_dw:
        dw = xp.empty(kernel.shape, wide(dy.dtype))
        of_windows = _of_windows(x_shape, dy.shape, convolution)
        _multiply("kernel_gradient", xp.ascontiguousarray(x), dy, dw, of_windows, groups)
    if needs_dx:
        dx = xp.empty(x_shape, dy.dtype)
        kernel = _real(kernel, dy.dtype)
        for down in _axes_of_pixels(0, x_shape, dy.shape, convolution):
            for along in _axes_of_pixels(1, x_shape, dy.shape, convolution):
                of_pixels = Geometry(
                    down, along, x_shape[0], dy.shape[-1], dy.shape[-1] // groups,
                    x_shape[-1], x_shape[-1] // groups,
                )  # fmt: skip
                _multiply("input_gradient", dy, kernel, dx, of_pixels, groups)
    return dw, dx


def _real(kernel: Array, dtype: Any) -> Array:
    return array_module(kernel).ascontiguousarray(kernel.astype(wide(dtype), copy=False))


@lru_cache(maxsize=1024)  # the same in every training step
def _of_windows(
    x_shape: tuple[int, ...], y_shape: tuple[int, ...], convolution: Convolution
) -> Geometry:
    """Windows of x for all pixels of y: row p sh - top + i dh is p stride + start + i step."""
    pads, size, groups = convolution.pads(*x_shape[1:3]), convolution.size, convolution.groups
    down, along = (
        Axis(
            x_shape[1 + a], y_shape[1 + a], convolution.strides[a], -pads[a][0],
            convolution.dilation[a], size[a], 0, 1, size[a], y_shape[1 + a], 0, 1,
        )
        for a in (0, 1)
    )  # fmt: skip
    n, _, _, channels = x_shape
    filters = y_shape[-1]
    return Geometry(down, along, n, channels, channels // groups, filters, filters // groups)


@lru_cache(maxsize=1024)
def _axes_of_pixels(
    a: int, x_shape: tuple[int, ...], y_shape: tuple[int, ...], window: Window
) -> list[Axis]:
    """Where in dy the windows are that saw the pixels first, first + stride, ... of x in direction
    a, for each first.

    Window p = (r + before - i d) / stride saw pixel r with tap i, if that is a whole number. So
    pixels `stride` apart have the same taps, which are `apart` from each other, and for pixel
    r = first + u stride and tap i = i0 + t apart it is
    p = u + (first + before - i0 d) / stride - t apart d / stride.
    """
    size, stride, dilation = x_shape[1 + a], window.strides[a], window.dilation[a]
    before = window.pads(*x_shape[1:3])[a][0]
    axes = []
    for first in range(min(stride, size)):
        taps = [i for i in range(window.size[a]) if (first + before - i * dilation) % stride == 0]
        i0, apart = (taps[0] if taps else 0), (taps[1] - taps[0] if len(taps) > 1 else 1)
        axes.append(
            Axis(
                y_shape[1 + a], -(-(size - first) // stride), 1,
                (first + before - i0 * dilation) // stride, -apart * dilation // stride,
                len(taps), i0, apart, window.size[a], size, first, stride,
            )
        )  # fmt: skip
    return axes


def _multiply(
    product: str, left: Array, right: Array, result: Array, geometry: Geometry, groups: int
) -> None:
    """Launch `product` (forward, input_gradient or kernel_gradient), and what adds up the parts of
    the sums if there are several."""
    of_kernel = product == "kernel_gradient"
    rows, depth = geometry.positions, geometry.in_a_window
    if of_kernel:
        rows, depth = depth, rows
    if rows == 0:
        return
    dtype = left.dtype
    slices = -(-depth * dtype.itemsize // SLICE_BYTES)
    tile, tiles = _tiling(rows, geometry.columns, slices, groups, of_kernel)
    splits = max(1, min(tile.more * BLOCKS // tiles, slices // LEAST_SLICES))
    geometry = geometry._replace(splits=splits)
    struct = _as_struct(geometry)
    partial = None
    if splits > 1:
        shape = (splits, rows, geometry.result_channels)
        partial = array_module(left).empty(shape, wide(dtype))
    in_tf32 = dtype == np.float32 and backend.tensor_float_32_enabled()
    file = "conv_implicit_tf32" if in_tf32 else "conv_implicit"
    launch_blocks(
        file, f"{product}_{tile.name}", dtype, tiles * splits, left, right, result, partial, struct,
        threads_per_block=tile.threads,
    )  # fmt: skip
    if partial is not None:
        launch_blocks(
            file, "add_up_kernel" if of_kernel else "add_up_images", dtype,
            -(-prod(shape[1:]) // ADDED_UP), partial, result, struct,
            threads_per_block=THREADS_ADDING,
        )  # fmt: skip


def _tiling(
    rows: int, columns: int, slices: int, groups: int, of_kernel: bool = False
) -> tuple[Tile, int]:
    """(the tile, how many there are): wide tiles read memory less often, but there have to be
    enough of them, or parts of the sum."""

    def count(tile: Tile) -> int:
        return -(-rows // tile.rows) * -(-columns // tile.columns) * groups

    tile = next((tile for tile in TILES if columns <= tile.columns), TILES[-1])
    if tile is TILES[-1] and count(tile) < BLOCKS and slices < BLOCKS * LEAST_SLICES:
        tile = TILES[-2]
    if of_kernel and rows <= LOW.rows and columns <= LOW.columns:
        tile = LOW
    return tile, count(tile)
