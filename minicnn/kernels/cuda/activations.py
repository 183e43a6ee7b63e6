"""ReLU's gradient and GELU, in one kernel each."""

from typing import Any

from minicnn.backend import array_module
from minicnn.dtypes import wide
from minicnn.kernels.cuda.channels import launch_each
from minicnn.kernels.cuda.launch import launch_runs
from minicnn.typing import Array


def relu_gradient(
    dy: Array, y: Array, negative_slope: float = 0.0, max_value: float | None = None
) -> Array:
    """As the generic one (dy, y, negative_slope, max_value)."""
    xp = array_module(dy)
    dy, y = xp.ascontiguousarray(dy), xp.ascontiguousarray(y, dtype=dy.dtype)
    dz = xp.empty_like(dy)
    launch_each(
        "activations", "relu_gradient", dy, dy, y, dz, dy.size,
        *limits(dy.dtype, negative_slope, max_value),
    )  # fmt: skip
    return dz


def limits(dtype: Any, negative_slope: float, max_value: float | None) -> tuple[Any, Any]:
    """`negative_slope` and `max_value` as relu.cuh takes them for arrays of `dtype`."""
    real = wide(dtype).type
    return real(negative_slope), real("inf" if max_value is None else max_value)


def gelu(z: Array, approximate: bool = False, out: Array | None = None) -> Array:
    """As the generic one (z, approximate, out)."""
    y = array_module(z).empty_like(z) if out is None else out
    return _gelu(z, y, None, approximate)


def gelu_with_slope(z: Array, approximate: bool = False) -> tuple[Array, Array]:
    """As the generic one (z, approximate)."""
    xp = array_module(z)
    slope = xp.empty(z.shape, z.dtype)
    return _gelu(z, xp.empty(z.shape, z.dtype), slope, approximate), slope


def _gelu(z: Array, y: Array, slope: Array | None, approximate: bool) -> Array:
    xp = array_module(z)
    if not y.flags.c_contiguous:
        y[...] = _gelu(z, xp.empty(y.shape, y.dtype), slope, approximate)
        return y
    z = xp.ascontiguousarray(z)
    launch_runs("activations", "gelu", z, z, y, slope, z.size, int(approximate))
    return y
