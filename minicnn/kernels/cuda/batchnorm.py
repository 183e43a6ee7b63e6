"""Batch normalization: two passes over x forward, two over x and dy backward."""

from typing import Any

from minicnn.backend import array_module, is_array
from minicnn.dtypes import wide, widened
from minicnn.kernels import batchnorm
from minicnn.kernels.cuda import launch
from minicnn.kernels.cuda.channels import launch_each, partial_sums
from minicnn.parallel.communicator import SOLO, Communicator
from minicnn.typing import Array


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
    """As the generic one (x, gamma, beta, moving_mean, moving_variance, momentum, epsilon, comm),
    which does the work if the batch lies on several devices."""
    if comm.size > 1:
        generic = batchnorm.normalize.__wrapped__  # type: ignore[attr-defined]
        return generic(x, gamma, beta, moving_mean, moving_variance, momentum, epsilon, comm)
    xp = array_module(x)
    x = xp.ascontiguousarray(x)
    channels = x.shape[-1]
    rows = x.size // channels
    partial = partial_sums("batchnorm", "sums_of_squares", x, [x])
    mean, inverse, factor, new_mean, new_variance = xp.empty((5, channels), wide(x.dtype))
    real = wide(x.dtype).type
    launch.launch_blocks(
        "batchnorm", "statistics", x.dtype, channels, x, partial, _real(gamma), _real(moving_mean),
        _real(moving_variance), mean, inverse, factor, new_mean, new_variance, rows, channels,
        len(partial), real(momentum), real(epsilon),
    )  # fmt: skip
    return _scaled(x, mean, factor, beta), new_mean, new_variance, (x, mean, inverse, factor)


def normalize_gradient(
    dy: Array, saved: Any, comm: Communicator = SOLO, needs_dx: bool = True
) -> tuple[Array, Array, Array]:
    """As the generic one (dy, saved, comm, needs_dx)."""
    if not is_array(saved[-1]):  # the number of rows, which the generic version has saved
        generic = batchnorm.normalize_gradient.__wrapped__  # type: ignore[attr-defined]
        return generic(dy, saved, comm, needs_dx)
    x, mean, inverse, factor = saved
    xp = array_module(dy)
    dy = xp.ascontiguousarray(dy, dtype=x.dtype)
    channels = x.shape[-1]
    rows = dy.size // channels
    partial = partial_sums("batchnorm", "sums_of_products", dy, [dy, x, mean])
    dgamma, dbeta, mean_dy, slope = xp.empty((4, channels), wide(dy.dtype))
    launch.launch_blocks(
        "batchnorm", "coefficients", dy.dtype, channels, partial, inverse, dgamma, dbeta, mean_dy,
        slope, rows, channels, len(partial),
    )  # fmt: skip
    if not needs_dx:
        return dgamma, dbeta, None
    dx = xp.empty_like(dy)
    launch_each(
        "batchnorm", "input_gradient", dy, dy, x, mean, factor, mean_dy, slope, dx, rows, channels
    )
    return dgamma, dbeta, dx


def scale_and_shift(x: Array, factor: Array, shift: Array) -> Array:
    """As the generic one (x, factor, shift)."""
    return _scaled(array_module(x).ascontiguousarray(x), None, factor, shift)


def _scaled(x: Array, mean: Array | None, factor: Array, beta: Array | None) -> Array:
    """factor (x - mean) + beta; mean and beta may be None, for 0."""
    y = array_module(x).empty_like(x)
    channels = x.shape[-1]
    launch_each(
        "batchnorm", "scale_and_shift", x, x, mean, _real(factor), _real(beta), y,
        x.size // channels, channels,
    )  # fmt: skip
    return y


def _real(values: Array | None) -> Array | None:
    """What belongs to channels, widened if it is of 16 bits, as kernels take it; None as it is."""
    return None if values is None else widened(values)
