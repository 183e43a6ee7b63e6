"""Product of rows with a kernel, with both its gradients: what a dense layer computes.

Rows of 16 bits are multiplied as the matrix units of a GPU do it: with the kernel rounded to as
many bits, the sums made in float32.
"""

from typing import Any

from minicnn.dtypes import is_half, narrowed, widened
from minicnn.kernels.device import with_cuda_version


def rounded(kernel: Any, dtype: Any) -> Any:
    """The kernel as it is multiplied with numbers of `dtype`: itself, unless these have 16 bits."""
    return widened(kernel.astype(dtype, copy=False)) if is_half(dtype) else kernel


@with_cuda_version
def dense(rows: Any, kernel: Any) -> Any:
    """(N, in) and (in, units) to (N, units), in the dtype of `rows`."""
    return narrowed(widened(rows) @ rounded(kernel, rows.dtype), rows.dtype)


@with_cuda_version
def dense_gradients(
    dy: Any, rows: Any, kernel: Any, needs_dw: bool = True, needs_dx: bool = True
) -> tuple[Any, Any]:
    """(dw (in, units), dx (N, in)) of `dense` from dy (N, units); None for what is not needed.

    With dy of 16 bits dw is float32.
    """
    dw = dx = None
    if needs_dw:
        dw = widened(rows).T @ widened(dy)  # (in, N) @ (N, units) -> (in, units)
    if needs_dx:
        dx = widened(dy) @ rounded(kernel, dy.dtype).T  # (N, units) @ (units, in) -> (N, in)
        dx = narrowed(dx, dy.dtype)
    return dw, dx
