"""A bias, one value per channel, added with ReLU in the same pass on an NVIDIA GPU.

z and dy are (N, ..., C), the bias (C,). Its gradient belongs to a weight: it is float32 if dy is of
16 bits.
"""

from minicnn.kernels.activations import record_relu, recorded_relu_gradient, relu
from minicnn.kernels.channels import along_row, channel_sum
from minicnn.kernels.device import with_cuda_version
from minicnn.typing import Array


@with_cuda_version
def add_bias(z: Array, bias: Array) -> Array:
    """z + bias, in place of z."""
    z += along_row(bias, z)
    return z


@with_cuda_version
def add_bias_relu(
    z: Array,
    bias: Array,
    negative_slope: float = 0.0,
    max_value: float | None = None,
    record: bool = False,
) -> tuple[Array, Array | None]:
    """(y = relu(z + bias) in place of z, what `add_bias_relu_gradient` takes or None).

    Args:
        negative_slope, max_value: see `minicnn.kernels.activations.relu`.
        record: whether the gradient will be needed.
    """
    add_bias(z, bias)
    if not record:
        return relu(z, negative_slope, max_value, out=z), None
    return record_relu(z, negative_slope, max_value, out=z)


@with_cuda_version
def add_bias_relu_gradient(
    dy: Array, kept: Array, negative_slope: float = 0.0, max_value: float | None = None
) -> tuple[Array, Array]:
    """(dz, the bias's gradient (C,): dz summed over everything but the channel).

    Args:
        dy: (N, ..., C).
        kept: from `add_bias_relu`.
        negative_slope, max_value: as there.
    """
    dz = recorded_relu_gradient(dy, kept, negative_slope, max_value)
    return dz, channel_sum(dz)
