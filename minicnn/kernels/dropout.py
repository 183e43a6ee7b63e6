"""Dropout: some numbers become 0, drawn anew at each call; the others grow to keep the mean."""

from typing import Any

from minicnn.dtypes import wide, widened
from minicnn.kernels.device import with_cuda_version


@with_cuda_version
def dropout(x: Any, rate: float, mask_shape: tuple[int, ...], generator: Any) -> tuple[Any, Any]:
    """y = x · m with m = 0 where a uniform number is below `rate`, else 1 / (1 - rate).

    Args:
        rate: probability, at least 0 and below 1.
        mask_shape: of m, as many axes as x; the sizes are those of x, or 1 for numbers that fall
            together.
        generator: its `random` draws the uniform numbers.

    Returns:
        (y, what `dropout_gradient` needs).
    """
    kept = generator.random(mask_shape, dtype="float32") >= rate
    mask = kept.astype(wide(x.dtype))
    mask *= 1 / (1 - rate)
    return dropout_gradient(x, mask), mask


@with_cuda_version
def dropout_gradient(dy: Any, mask: Any) -> Any:
    """dx = dy · m."""
    return (widened(dy) * mask).astype(dy.dtype, copy=False)
