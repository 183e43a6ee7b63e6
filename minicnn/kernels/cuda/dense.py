"""Rows times kernel as the convolution of images of one pixel.

Not by CuPy's own product: CuPy does not call cuBLAS while a CUDA graph is recorded.
"""

from typing import Any

from minicnn.kernels.cuda import conv_implicit
from minicnn.kernels.windows import Window

_POINT = Window((1, 1))


def dense(rows: Any, kernel: Any) -> Any:
    """As the generic one."""
    y, _ = conv_implicit.forward(_as_images(rows), kernel[None, None], _POINT)
    return y.reshape(-1, kernel.shape[1])


def dense_gradients(
    dy: Any, rows: Any, kernel: Any, needs_dw: bool = True, needs_dx: bool = True
) -> tuple[Any, Any]:
    """As the generic one."""
    x_shape = (dy.shape[0], 1, 1, kernel.shape[0])
    dw, dx = conv_implicit.gradients(
        _as_images(dy), _as_images(rows) if needs_dw else None, kernel[None, None], x_shape, _POINT,
        needs_dw=needs_dw, needs_dx=needs_dx,
    )  # fmt: skip
    return dw[0, 0] if needs_dw else None, dx.reshape(dy.shape[0], -1) if needs_dx else None


def _as_images(rows: Any) -> Any:
    return rows[:, None, None]
