"""Dropout: some elements become 0, drawn anew at each call; the others grow to keep the mean."""

from typing import Any

from minicnn.dtypes import wide, widened
from minicnn.kernels.device import with_cuda_version
from minicnn.typing import Array


@with_cuda_version
def dropout(
    x: Array, rate: float, mask_shape: tuple[int, ...], generator: Any
) -> tuple[Array, Any]:
    """y = x · m with m = 0 where a uniform random number is below `rate`, else 1 / (1 - rate).

    Args:
        x: of any shape.
        rate: probability, at least 0 and below 1.
        mask_shape: of m, with as many axes as x; each size is that of x, or 1 where elements are
            dropped together.
        generator: its `random` draws the uniform numbers.

    Returns:
        (y, what `dropout_gradient` needs).
    """
    kept = generator.random(mask_shape, dtype="float32") >= rate
    mask = kept.astype(wide(x.dtype))
    mask *= 1 / (1 - rate)
    return dropout_gradient(x, mask), mask


@with_cuda_version
def dropout_gradient(dy: Array, mask: Any) -> Array:
    """dx = dy · m, with the `mask` that `dropout` kept."""
    return (widened(dy) * mask).astype(dy.dtype, copy=False)
