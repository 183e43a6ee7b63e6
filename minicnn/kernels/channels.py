"""One value per channel: added to images, or summed over them."""

import numpy as np

from minicnn.backend import array_module
from minicnn.dtypes import widened
from minicnn.kernels.device import with_cuda_version
from minicnn.typing import Array


@with_cuda_version
def channel_sum(x: Array) -> Array:
    """x (..., C) to (C,): the sum over everything but the channel.

    Adding up a long column element by element in float32 loses digits (the error grows with its
    length), so it is done in two stages of about the square root of the length each. The sum of
    an array of 16 bits is float32.
    """
    xp = array_module(x)
    x = widened(x).reshape(-1, x.shape[-1])
    rows = x.shape[0]
    block = 1 << max(0, (rows.bit_length() + 1) // 2)
    if rows <= 2 * block:
        return xp.ones(rows, x.dtype) @ x
    whole = rows - rows % block
    # (blocks, block, C) -> (blocks, C) -> (C,)
    total = xp.matmul(xp.ones(block, x.dtype), x[:whole].reshape(-1, block, x.shape[-1])).sum(0)
    return total if whole == rows else total + x[whole:].sum(0)


def along_row(values: Array, images: Array) -> Array:
    """`values` (C,) repeated along a row of `images` (N, ..., W, C), to (W, C), to be combined
    with them.

    NumPy works run by run, each with its own start, and the channels of one pixel make short runs;
    whole rows take half to a third of the time. On a GPU that makes no difference.
    """
    if images.ndim < 3 or type(images) is not np.ndarray:
        return values
    row = np.empty((images.shape[-2], *values.shape), values.dtype)
    row[...] = values  # a fifth of the time of `np.tile`, which is written in Python
    return row
