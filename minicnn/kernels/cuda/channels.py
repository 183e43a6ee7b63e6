"""Sums over each channel in two kernels, and the launch of what treats each channel by itself."""

from typing import Any

from minicnn.backend import array_module
from minicnn.dtypes import wide
from minicnn.kernels.cuda import launch
from minicnn.typing import Array

# Blocks that share the rows between them in the first stage of a sum: four for each of the 132
# processors of an H200.
MOST_BLOCKS = 528
# Rows that a thread reads before it sums any; see sums.cuh.
ROWS_AHEAD = 4
# Threads that `each` spreads its elements over: as many as those processors hold with 64 registers
# each, so that none waits for its turn, and each has several rows to read its channels' values for.
RESIDENT_THREADS = 132 * 1024


def channel_sum(x: Array) -> Array:
    """As the generic one (x)."""
    x = array_module(x).ascontiguousarray(x)
    return totals(partial_sums("channels", "partial_sums", x, [x]), x.dtype)


def partial_sums(file: str, kernel: str, like: Array, arrays: list[Array], *scalars: Any) -> Array:
    """Two sums per channel and group of rows: (groups, 2, channels), float64.

    Args:
        file, kernel: a kernel that goes through its rows by `sum_over_rows` of sums.cuh.
        like: an array (..., channels), of the dtype of those that are `stored`.
        arrays: what the kernel takes first.
        scalars: what it takes after arrays and sizes.
    """
    channels = like.shape[-1]
    rows = like.size // max(1, channels)
    run = min(4, 16 // like.dtype.itemsize)  # neighbouring channels of a thread
    runs = channels // run if channels % run == 0 else channels
    lanes = min(runs, launch.THREADS_PER_BLOCK)
    chunks = -(-runs // lanes)  # of channels
    rows_per_block = launch.THREADS_PER_BLOCK // lanes * ROWS_AHEAD
    groups = max(1, min(MOST_BLOCKS // chunks, -(-rows // rows_per_block)))
    partial = array_module(like).empty((groups, 2, channels), "float64")
    launch.launch_blocks(
        file, kernel, like.dtype, groups * chunks, *arrays, partial, rows, channels, groups,
        *scalars,
    )  # fmt: skip
    return partial


def totals(partial: Array, dtype: Any) -> Array:
    """The first of two sums per channel, (channels,), in the dtype that `dtype` is calculated in.

    Args:
        partial: from `partial_sums`.
    """
    groups, _, channels = partial.shape
    sums = array_module(partial).empty(channels, wide(dtype))
    launch.launch_blocks("channels", "totals", dtype, channels, partial, sums, channels, groups)
    return sums


def launch_each(file: str, kernel: str, like: Array, *arguments: Any) -> None:
    """Run a kernel that goes through arrays such as `like` by `each` of each.cuh.

    Args:
        file, kernel, arguments: see `launch_runs`.
    """
    launch.launch_runs(file, kernel, like, *arguments, most=RESIDENT_THREADS)
