"""Batch normalization in training, each channel to mean 0 and variance 1, with its gradient.

    xhat = (x - m) / sqrt(v + epsilon)        y = gamma xhat + beta

m and v are the mean and variance over everything but the channel, of all shards of the batch.
Images are (N, ..., C), what belongs to a channel is (C,), and float32 where images are of 16 bits.

Source: Ioffe and Szegedy (2015), arXiv:1502.03167, with the gradient of its section 3.
"""

from typing import Any

from minicnn.backend import array_module
from minicnn.dtypes import narrowed, widened
from minicnn.kernels.channels import along_row, channel_sum
from minicnn.kernels.device import with_cuda_version
from minicnn.parallel.communicator import SOLO, Communicator


@with_cuda_version
def normalize(
    x: Any,
    gamma: Any,
    beta: Any,
    moving_mean: Any,
    moving_variance: Any,
    momentum: float,
    epsilon: float,
    comm: Communicator = SOLO,
) -> tuple[Any, Any, Any, Any]:
    """With the statistics of the batch.

    Args:
        gamma, beta: (C,), or None for 1 and 0.

    Returns:
        (y; the moving mean and variance with those of the batch taken in, momentum old +
        (1 - momentum) new; what `normalize_gradient` needs).
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
    dy: Any, saved: Any, comm: Communicator = SOLO, needs_dx: bool = True
) -> tuple[Any, Any, Any]:
    """(dgamma, dbeta, dx) of this shard; dx None unless `needs_dx`.

    dx = gamma / sqrt(v + eps) (dy - mean(dy) - xhat mean(dy xhat)), means over all shards
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
def scale_and_shift(x: Any, factor: Any, shift: Any) -> Any:
    """factor x + shift, channel by channel: with the moving statistics."""
    y = widened(x) * along_row(factor, x)
    y += along_row(shift, y)
    return narrowed(y, x.dtype)
