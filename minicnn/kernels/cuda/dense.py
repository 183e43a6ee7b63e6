"""Rows times kernel as the convolution of images of one pixel.

Not by CuPy's own product: CuPy does not call cuBLAS while a CUDA graph is recorded.
"""

from minicnn.kernels.cuda import conv_implicit
from minicnn.kernels.windows import Convolution
from minicnn.typing import Array

_POINT = Convolution((1, 1))


def dense(rows: Array, kernel: Array) -> Array:
    """As the generic one (rows, kernel)."""
    y, _ = conv_implicit.forward(_as_images(rows), kernel[None, None], _POINT)
    return y.reshape(-1, kernel.shape[1])


def dense_gradients(
    dy: Array, rows: Array, kernel: Array, needs_dw: bool = True, needs_dx: bool = True
) -> tuple[Array, Array]:
    """As the generic one (dy, rows, kernel, needs_dw, needs_dx)."""
    x_shape = (dy.shape[0], 1, 1, kernel.shape[0])
    dw, dx = conv_implicit.gradients(
        _as_images(dy), _as_images(rows) if needs_dw else None, kernel[None, None], x_shape, _POINT,
        needs_dw=needs_dw, needs_dx=needs_dx,
    )  # fmt: skip
    return None if dw is None else dw[0, 0], None if dx is None else dx.reshape(dy.shape[0], -1)


def _as_images(rows: Array) -> Array:
    return rows[:, None, None]
