"""A bias, one number for each channel, added with ReLU in the same pass on an NVIDIA GPU.

z is (N, ..., C), the bias (C,). The sums of `add_bias_relu_gradient` over channels belong to a
weight: they are float32 where z is of 16 bits.
"""

from typing import Any

from minicnn.kernels.activations import record_relu, recorded_relu_gradient, relu
from minicnn.kernels.channels import along_row, channel_sum
from minicnn.kernels.device import with_cuda_version


@with_cuda_version
def add_bias(z: Any, bias: Any) -> Any:
    """z + b, in place of z."""
    z += along_row(bias, z)
    return z


@with_cuda_version
def add_bias_relu(
    z: Any,
    bias: Any,
    negative_slope: float = 0.0,
    max_value: float | None = None,
    record: bool = False,
) -> tuple[Any, Any]:
    """(y = relu(z + b) in place of z, what `add_bias_relu_gradient` takes or None).

    Args:
        negative_slope, max_value: see `minicnn.kernels.activations.relu`.
        record: whether a gradient will be asked for.
    """
    add_bias(z, bias)
    if not record:
        return relu(z, negative_slope, max_value, out=z), None
    return record_relu(z, negative_slope, max_value, out=z)


@with_cuda_version
def add_bias_relu_gradient(
    dy: Any, kept: Any, negative_slope: float = 0.0, max_value: float | None = None
) -> tuple[Any, Any]:
    """(dz, the bias's gradient (C,): dz summed over everything but the channel)."""
    dz = recorded_relu_gradient(dy, kept, negative_slope, max_value)
    return dz, channel_sum(dz)
