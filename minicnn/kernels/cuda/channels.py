"""Sums over each channel, in two kernels."""

from typing import Any

from minicnn.backend import array_module
from minicnn.kernels.cuda import launch

# Blocks that share the rows between them in the first stage of a sum: four for each of the 132
# processors of an H200.
MOST_BLOCKS = 528


def channel_sum(x: Any) -> Any:
    """As the generic one."""
    xp = array_module(x)
    x = xp.ascontiguousarray(x)
    partial = partial_sums("channels", "partial_sums", x, [x])
    groups, _, channels = partial.shape
    sums = xp.empty(channels, x.dtype)
    launch.launch_blocks("channels", "totals", x.dtype, channels, partial, sums, channels, groups)
    return sums


def partial_sums(file: str, kernel: str, like: Any, arrays: list[Any]) -> Any:
    """Two sums of each channel over as many groups of rows: (groups, 2, channels), float64.

    Args:
        file, kernel: a kernel that goes through its rows as `share_of` in sums.cuh says.
        like: an array (..., channels), of the dtype of all.
    """
    channels = like.shape[-1]
    rows = like.size // max(1, channels)
    lanes = min(channels, launch.THREADS_PER_BLOCK)
    chunks = -(-channels // lanes)  # of channels
    rows_of_a_block = launch.THREADS_PER_BLOCK // lanes
    groups = max(1, min(MOST_BLOCKS // chunks, -(-rows // rows_of_a_block)))
    partial = array_module(like).empty((groups, 2, channels), "float64")
    launch.launch_blocks(
        file, kernel, like.dtype, groups * chunks, *arrays, partial, rows, channels, groups
    )
    return partial
