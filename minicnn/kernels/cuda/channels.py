"""Sums over each channel in two kernels, and launching what treats each channel by itself."""

from typing import Any

from minicnn.backend import array_module
from minicnn.dtypes import wide
from minicnn.kernels.cuda import launch

# Blocks that share the rows between them in the first stage of a sum: four for each of the 132
# processors of an H200.
MOST_BLOCKS = 528
# Rows of which a thread reads before it sums any; see sums.cuh.
ROWS_AHEAD = 4
# Threads that `each` spreads its numbers over: as many as those processors hold with 64 registers
# each, so that none waits for its turn, and has several rows to read its channels' numbers for.
RESIDENT_THREADS = 132 * 1024


def channel_sum(x: Any) -> Any:
    """As the generic one."""
    x = array_module(x).ascontiguousarray(x)
    return totals(partial_sums("channels", "partial_sums", x, [x]), x.dtype)


def partial_sums(file: str, kernel: str, like: Any, arrays: list[Any], *numbers: Any) -> Any:
    """Two sums of each channel over as many groups of rows: (groups, 2, channels), float64.

    Args:
        file, kernel: a kernel that goes through its rows by `sum_over_rows` of sums.cuh.
        like: an array (..., channels), of the dtype of those that are `stored`.
        numbers: what the kernel takes beyond arrays and sizes.
    """
    channels = like.shape[-1]
    rows = like.size // max(1, channels)
    run = min(4, 16 // like.dtype.itemsize)  # neighbouring channels of a thread
    runs = channels // run if channels % run == 0 else channels
    lanes = min(runs, launch.THREADS_PER_BLOCK)
    chunks = -(-runs // lanes)  # of channels
    rows_of_a_block = launch.THREADS_PER_BLOCK // lanes * ROWS_AHEAD
    groups = max(1, min(MOST_BLOCKS // chunks, -(-rows // rows_of_a_block)))
    partial = array_module(like).empty((groups, 2, channels), "float64")
    launch.launch_blocks(
        file, kernel, like.dtype, groups * chunks, *arrays, partial, rows, channels, groups,
        *numbers,
    )  # fmt: skip
    return partial


def totals(partial: Any, dtype: Any) -> Any:
    """The first of two sums of each channel, (channels,), in what `dtype` is calculated with."""
    groups, _, channels = partial.shape
    sums = array_module(partial).empty(channels, wide(dtype))
    launch.launch_blocks("channels", "totals", dtype, channels, partial, sums, channels, groups)
    return sums


def launch_each(file: str, kernel: str, like: Any, *arguments: Any) -> None:
    """Run a kernel that goes through arrays such as `like` by `each` of each.cuh."""
    launch.launch_runs(file, kernel, like, *arguments, most=RESIDENT_THREADS)
