"""ReLU's gradient and GELU, in one kernel each."""

from typing import Any

from minicnn.backend import array_module
from minicnn.dtypes import wide
from minicnn.kernels.cuda.channels import launch_each
from minicnn.kernels.cuda.launch import launch_runs


def relu_gradient(
    dy: Any, y: Any, negative_slope: float = 0.0, max_value: float | None = None
) -> Any:
    """As the generic one."""
    xp = array_module(dy)
    dy, y = xp.ascontiguousarray(dy), xp.ascontiguousarray(y, dtype=dy.dtype)
    dz = xp.empty_like(dy)
    launch_each(
        "activations", "relu_gradient", dy, dy, y, dz, dy.size,
        *limits(dy.dtype, negative_slope, max_value),
    )  # fmt: skip
    return dz


def limits(dtype: Any, negative_slope: float, max_value: float | None) -> tuple[Any, Any]:
    """The arguments of ReLU as relu.cuh takes them."""
    real = wide(dtype).type
    return real(negative_slope), real("inf" if max_value is None else max_value)


def gelu(z: Any, approximate: bool = False, out: Any = None) -> Any:
    """As the generic one."""
    y = array_module(z).empty_like(z) if out is None else out
    return _gelu(z, y, None, approximate)


def gelu_with_slope(z: Any, approximate: bool = False) -> tuple[Any, Any]:
    """As the generic one."""
    xp = array_module(z)
    slope = xp.empty(z.shape, z.dtype)
    return _gelu(z, xp.empty(z.shape, z.dtype), slope, approximate), slope


def _gelu(z: Any, y: Any, slope: Any, approximate: bool) -> Any:
    xp = array_module(z)
    if not y.flags.c_contiguous:
        y[...] = _gelu(z, xp.empty(y.shape, y.dtype), slope, approximate)
        return y
    z = xp.ascontiguousarray(z)
    launch_runs("activations", "gelu", z, z, y, slope, z.size, int(approximate))
    return y
