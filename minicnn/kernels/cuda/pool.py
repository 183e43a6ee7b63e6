"""`max_pool` and its gradient in one kernel each."""

from functools import lru_cache

import numpy as np

from minicnn.backend import array_module, is_array
from minicnn.kernels import pool
from minicnn.kernels.cuda.launch import launch_runs
from minicnn.kernels.windows import Window
from minicnn.typing import Array

# `Pool` of pool.cu.
_POOL = np.dtype(
    [
        (name, np.int32)
        for name in (
            "height", "width", "channels", "out_height", "out_width", "kh", "kw", "sh", "sw",
            "top", "left",
        )
    ]
)  # fmt: skip


def max_pool(x: Array, window: Window, with_index: bool = False) -> tuple[Array, Array]:
    """As the generic one (x, window, with_index); the index is the number of a window's tap,
    (N, OH, OW, C) of int16."""
    xp = array_module(x)
    n, h, w, c = x.shape
    window, _ = window.within(h, w)
    oh, ow = window.output_size(h, w)
    side_by_side = window.size == window.strides and window.pads(h, w) == ((0, 0), (0, 0))
    y = xp.empty((n, oh, ow, c), x.dtype)
    tap = xp.empty(y.shape, "int16") if with_index else None
    launch_runs(
        "pool", "max_pool", y, xp.ascontiguousarray(x), y, tap, y.size,
        _as_struct(x.shape[1:], (oh, ow), window), int(side_by_side),
    )  # fmt: skip
    return y, tap


def max_pool_gradient(dy: Array, tap: Array, x_shape: tuple[int, ...], window: Window) -> Array:
    """As the generic one (dy, tap, x_shape, window), from the taps of `max_pool`."""
    if not is_array(tap) or tap.dtype != "int16":  # there were more elements than indices
        generic = pool.max_pool_gradient.__wrapped__  # type: ignore[attr-defined]
        return generic(dy, tap, x_shape, window)
    xp = array_module(dy)
    window, _ = window.within(*x_shape[1:3])
    dx = xp.empty(x_shape, dy.dtype)
    launch_runs(
        "pool", "max_pool_gradient", dx, xp.ascontiguousarray(dy), tap, dx, dx.size,
        _as_struct(x_shape[1:], dy.shape[1:3], window),
    )  # fmt: skip
    return dx


@lru_cache(maxsize=1024)  # the same at every training step
def _as_struct(image: tuple[int, ...], output: tuple[int, ...], window: Window) -> np.ndarray:
    (top, _), (left, _) = window.pads(*image[:2])
    return np.array((*image, *output, *window.size, *window.strides, top, left), _POOL)
