"""`max_pool` and its gradient in one kernel each; what they are is told in `kernels/pool.py`."""

from typing import Any

from minicnn.backend import array_module, is_array
from minicnn.kernels import pool
from minicnn.kernels.cuda.launch import launch
from minicnn.kernels.windows import Window


def max_pool(x: Any, window: Window, with_index: bool = False) -> tuple[Any, Any]:
    """As the generic one; the index is the number of a window's tap, (N, OH, OW, C) of int16."""
    xp = array_module(x)
    n, h, w, c = x.shape
    oh, ow = window.output_size(h, w)
    (top, _), (left, _) = pads = window.pads(h, w)
    side_by_side = window.size == window.strides and pads == ((0, 0), (0, 0))
    y = xp.empty((n, oh, ow, c), x.dtype)
    tap = xp.empty(y.shape, "int16") if with_index else None
    launch(
        "pool", "max_pool", x.dtype, y.size, xp.ascontiguousarray(x), y, tap, y.size,
        h, w, c, oh, ow, *window.size, *window.strides, top, left, int(side_by_side),
    )  # fmt: skip
    return y, tap


def max_pool_gradient(dy: Any, tap: Any, x_shape: tuple[int, ...], window: Window) -> Any:
    """As the generic one, from the taps of `max_pool`."""
    if not is_array(tap) or tap.dtype != "int16":  # there were more numbers than indices
        generic = pool.max_pool_gradient.__wrapped__  # type: ignore[attr-defined]
        return generic(dy, tap, x_shape, window)
    xp = array_module(dy)
    _, h, w, c = x_shape
    (top, _), (left, _) = window.pads(h, w)
    dx = xp.empty(x_shape, dy.dtype)
    launch(
        "pool", "max_pool_gradient", dy.dtype, dx.size, xp.ascontiguousarray(dy), tap, dx, dx.size,
        h, w, c, *dy.shape[1:3], *window.size, *window.strides, top, left,
    )  # fmt: skip
    return dx
