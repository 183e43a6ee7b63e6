"""A bias, and ReLU after it, in one kernel; backwards in two."""

from typing import Any

from minicnn.backend import array_module
from minicnn.dtypes import widened
from minicnn.kernels.cuda.activations import limits
from minicnn.kernels.cuda.channels import launch_each, partial_sums, totals
from minicnn.typing import Array


def add_bias(z: Array, bias: Array) -> Array:
    """As the generic one (z, bias)."""
    return _in_place("add_bias", z, bias)


def add_bias_relu(
    z: Array,
    bias: Array,
    negative_slope: float = 0.0,
    max_value: float | None = None,
    record: bool = False,
) -> tuple[Array, Array | None]:
    """As the generic one (z, bias, negative_slope, max_value, record); what is kept is y."""
    y = _in_place("add_bias_relu", z, bias, *limits(z.dtype, negative_slope, max_value))
    return y, y if record else None


def add_bias_relu_gradient(
    dy: Array, y: Array, negative_slope: float = 0.0, max_value: float | None = None
) -> tuple[Array, Array]:
    """As the generic one (dy, negative_slope, max_value), from the y that `add_bias_relu` kept."""
    xp = array_module(dy)
    dy, y = xp.ascontiguousarray(dy), xp.ascontiguousarray(y, dtype=dy.dtype)
    dz = xp.empty_like(dy)
    scalars = limits(dy.dtype, negative_slope, max_value)
    partial = partial_sums("bias", "relu_gradient_sums", dy, [dy, y, dz], *scalars)
    return dz, totals(partial, dy.dtype)


def _in_place(kernel: str, z: Array, bias: Array, *scalars: Any) -> Array:
    if not z.flags.c_contiguous:
        z[...] = _in_place(kernel, array_module(z).ascontiguousarray(z), bias, *scalars)
        return z
    channels = z.shape[-1]
    launch_each("bias", kernel, z, z, widened(bias), z.size // channels, channels, *scalars)
    return z
