"""Batch normalization in training, each channel to mean 0 and variance 1, with its gradient.

    xhat = (x - m) / sqrt(v + epsilon)        y = gamma xhat + beta

m and v are the mean and variance over everything but the channel, of all shards of the batch.
Images are (N, ..., C), what belongs to channels is (C,), and float32 if images are of 16 bits.

Source: Ioffe and Szegedy (2015), arXiv:1502.03167, with the gradient of its section 3.
"""

from typing import Any

from minicnn.backend import array_module
from minicnn.dtypes import narrowed, widened
from minicnn.kernels.channels import along_row, channel_sum
from minicnn.kernels.device import with_cuda_version
from minicnn.parallel.communicator import SOLO, Communicator
from minicnn.typing import Array


@with_cuda_version
def normalize(
    x: Array,
    gamma: Array | None,
    beta: Array | None,
    moving_mean: Array,
    moving_variance: Array,
    momentum: float,
    epsilon: float,
    comm: Communicator = SOLO,
) -> tuple[Array, Array, Array, Any]:
    """y with the statistics of the batch.

    Args:
        x: (N, ..., C), the images of this shard.
        gamma, beta: (C,), or None for 1 and 0.
        moving_mean, moving_variance: (C,), not changed.
        momentum: how much of them the new ones keep.
        epsilon: added to v.
        comm: joins the shards of the batch.

    Returns:
        (y; the new moving mean and variance, momentum old + (1 - momentum) of the batch; what
        `normalize_gradient` needs).
    """
    total, count = comm.allreduce((channel_sum(x), x.size // x.shape[-1]))
    mean = total / count
    centered = widened(x) - along_row(mean, x)
    variance = comm.allreduce(channel_sum(centered * centered)) / count
    inverse = 1 / (variance + epsilon) ** 0.5
    factor = inverse if gamma is None else inverse * gamma
    y = centered * along_row(factor, x)
    if beta is not None:
        y += along_row(beta, y)
    y = narrowed(y, x.dtype)
    new_mean = momentum * moving_mean + (1 - momentum) * mean
    new_variance = momentum * moving_variance + (1 - momentum) * variance
    return y, new_mean, new_variance, (centered, inverse, factor, count)


@with_cuda_version
def normalize_gradient(
    dy: Array, saved: Any, comm: Communicator = SOLO, needs_dx: bool = True
) -> tuple[Array, Array, Array]:
    """(dgamma, dbeta, dx) of this shard; dx is None unless `needs_dx`.

    dx = gamma / sqrt(v + eps) (dy - mean(dy) - xhat mean(dy xhat)), means over all shards

    Args:
        dy: (N, ..., C).
        saved: what `normalize` kept.
        comm: joins the shards of the batch.
    """
    centered, inverse, factor, count = saved
    scratch = dy * centered
    dbeta = channel_sum(dy)
    dgamma = channel_sum(scratch) * inverse
    if not needs_dx:
        return dgamma, dbeta, None
    all_dbeta, all_dgamma = comm.allreduce((dbeta, dgamma))
    mean_dy, mean_dy_xhat = all_dbeta / count, all_dgamma / count
    xp = array_module(dy)
    dx = xp.multiply(centered, along_row(-mean_dy_xhat * inverse, dy), out=scratch)
    dx += dy
    dx -= along_row(mean_dy, dy)
    dx *= along_row(factor, dy)
    return dgamma, dbeta, narrowed(dx, dy.dtype)


@with_cuda_version
def scale_and_shift(x: Array, factor: Array, shift: Array) -> Array:
    """factor x + shift, both (C,): normalization with the moving statistics."""
    y = widened(x) * along_row(factor, x)
    y += along_row(shift, y)
    return narrowed(y, x.dtype)
