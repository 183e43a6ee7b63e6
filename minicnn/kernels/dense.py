"""Product of rows with a kernel, with both its gradients: what a dense layer computes.

Rows of 16 bits are multiplied as the matrix units of a GPU do it: the kernel is rounded to as many
bits, and sums are made in float32.
"""

from typing import Any

from minicnn.dtypes import is_half, narrowed, widened
from minicnn.kernels.device import with_cuda_version
from minicnn.typing import Array


def rounded(kernel: Array, dtype: Any) -> Array:
    """The kernel as it multiplies arrays of `dtype`: itself, unless these are of 16 bits."""
    return widened(kernel.astype(dtype, copy=False)) if is_half(dtype) else kernel


@with_cuda_version
def dense(rows: Array, kernel: Array) -> Array:
    """`rows` (N, in) times `kernel` (in, units): (N, units), in the dtype of `rows`."""
    return narrowed(widened(rows) @ rounded(kernel, rows.dtype), rows.dtype)


@with_cuda_version
def dense_gradients(
    dy: Array, rows: Array, kernel: Array, needs_dw: bool = True, needs_dx: bool = True
) -> tuple[Array, Array]:
    """(dw (in, units), dx (N, in)) of `dense`; dw is float32 if dy is of 16 bits.

    Args:
        dy: (N, units).
        rows, kernel: as `dense` took them; rows may be None without dw.
        needs_dw, needs_dx: what is not needed is None.
    """
    dw = dx = None
    if needs_dw:
        dw = widened(rows).T @ widened(dy)  # (in, N) @ (N, units) -> (in, units)
    if needs_dx:
        dx = widened(dy) @ rounded(kernel, dy.dtype).T  # (N, units) @ (units, in) -> (N, in)
        dx = narrowed(dx, dy.dtype)
    return dw, dx
