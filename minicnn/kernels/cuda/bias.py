"""A bias, and ReLU after it, in one kernel; backwards in two."""

from typing import Any

from minicnn.backend import array_module
from minicnn.dtypes import widened
from minicnn.kernels.cuda.activations import limits
from minicnn.kernels.cuda.channels import launch_each, partial_sums, totals


def add_bias(z: Any, bias: Any) -> Any:
    """As the generic one."""
    return _in_place("add_bias", z, bias)


def add_bias_relu(
    z: Any,
    bias: Any,
    negative_slope: float = 0.0,
    max_value: float | None = None,
    record: bool = False,
) -> tuple[Any, Any]:
    """As the generic one; what is kept is y."""
    y = _in_place("add_bias_relu", z, bias, *limits(z.dtype, negative_slope, max_value))
    return y, y if record else None


def add_bias_relu_gradient(
    dy: Any, y: Any, negative_slope: float = 0.0, max_value: float | None = None
) -> tuple[Any, Any]:
    """As the generic one, from the y that `add_bias_relu` kept."""
    xp = array_module(dy)
    dy, y = xp.ascontiguousarray(dy), xp.ascontiguousarray(y, dtype=dy.dtype)
    dz = xp.empty_like(dy)
    numbers = limits(dy.dtype, negative_slope, max_value)
    partial = partial_sums("bias", "relu_gradient_sums", dy, [dy, y, dz], *numbers)
    return dz, totals(partial, dy.dtype)


def _in_place(kernel: str, z: Any, bias: Any, *numbers: Any) -> Any:
    if not z.flags.c_contiguous:
        z[...] = _in_place(kernel, array_module(z).ascontiguousarray(z), bias, *numbers)
        return z
    channels = z.shape[-1]
    launch_each("bias", kernel, z, z, widened(bias), z.size // channels, channels, *numbers)
    return z
