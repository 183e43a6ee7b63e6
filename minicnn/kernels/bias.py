"""One number added to each channel."""

from typing import Any

from minicnn.backend import array_module


def add_bias(z: Any, bias: Any) -> Any:
    """z (N, ..., C) + bias (C,), written over z.

    NumPy adds row by row, and the channels of one pixel make short rows. With the bias repeated
    along a row of the image, it is two or three times faster.
    """
    if z.ndim > 2:
        bias = array_module(z).tile(bias, (z.shape[-2], 1))
    z += bias
    return z
