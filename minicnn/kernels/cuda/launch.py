"""Kernels in CUDA C: compiled when they are first used, once for each dtype, and launched.

A kernel is written for a number type `real`, float or double. It goes through its numbers in
steps of the whole grid, so that it gives the same with any number of threads.
"""

import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from minicnn.backend import array_module

THREADS_PER_BLOCK = 256
# More blocks than this are not needed to fill any GPU of today (an H200 runs 132 x 8 of them at a
# time); a thread then has more than one number to work on.
MOST_BLOCKS = 1 << 14

_REAL = {"float32": "float", "float64": "double"}


def source(name: str, dtype: str) -> str:
    """The text of NAME.cu with what it includes, and with `real` as the type of `dtype`."""
    folder = Path(__file__).parent
    text = (folder / f"{name}.cu").read_text()
    for included in re.findall(r'#include "(\w+\.cuh)"', text):
        text = text.replace(f'#include "{included}"', (folder / included).read_text())
    # one name for one function, as `launch` asks for it
    return f"typedef {_REAL[dtype]} real;\n{text}".replace("__global__", 'extern "C" __global__')


@cache
def _module(xp: Any, file: str, dtype: str) -> Any:
    return xp.RawModule(code=source(file, dtype), options=("-std=c++14",))


@cache
def _function(xp: Any, file: str, kernel: str, dtype: str) -> Any:
    return _module(xp, file, dtype).get_function(kernel)


def launch(file: str, kernel: str, dtype: Any, threads: int, *arguments: Any) -> None:
    """Run `kernel` of FILE.cu on at least as many threads, or on the most that pay.

    Args:
        dtype: what `real` is.
        threads: numbers to work on.
        arguments: see `launch_blocks`.
    """
    blocks = max(1, min(MOST_BLOCKS, -(-threads // THREADS_PER_BLOCK)))
    launch_blocks(file, kernel, dtype, blocks, *arguments)


def launch_blocks(file: str, kernel: str, dtype: Any, blocks: int, *arguments: Any) -> None:
    """Run `kernel` of FILE.cu on so many blocks of `THREADS_PER_BLOCK`.

    Args:
        arguments: arrays on the device; integers, which are 32 bits wide there; numbers of
            `dtype` as NumPy scalars; None for a null pointer.
    """
    xp = next(array_module(a) for a in arguments if hasattr(a, "shape") and a.shape != ())
    function = _function(xp, file, kernel, str(np.dtype(dtype)))
    function((blocks,), (THREADS_PER_BLOCK,), tuple(map(_argument, arguments)))


def _argument(value: Any) -> Any:
    if value is None:
        return np.intp(0)
    return np.int32(value) if isinstance(value, int) else value
