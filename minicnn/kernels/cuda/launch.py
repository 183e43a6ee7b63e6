"""Kernels in CUDA C: compiled when they are first used, once per dtype, and launched.

A kernel is written for two number types: `stored`, in which large arrays lie in memory, and `real`,
in which it calculates and in which what belongs to channels or weights is kept. Both are float, or
both double; only numbers of 16 bits are calculated in float. The threads of a kernel stride over
its elements, each by the number of all threads, so results do not depend on how many there are.
"""

import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from minicnn.backend import array_module
from minicnn.typing import Array

THREADS_PER_BLOCK = 256
# More blocks than this are not needed to fill any GPU of today (an H200 runs 132 x 8 of them at a
# time); a thread then has more than one element to work on.
MOST_BLOCKS = 1 << 14

# dtype: (stored, real)
_TYPES = {
    "float32": ("float", "float"),
    "float64": ("double", "double"),
    "float16": ("half_number", "float"),
    "bfloat16": ("bfloat_number", "float"),
}


def source(name: str, dtype: str) -> str:
    """The text of NAME.cu, with what it includes, for arrays of `dtype`; `name` is NAME."""
    stored, real = _TYPES[dtype]
    seen: set[str] = set()
    texts = [_with_includes("numbers.cuh", seen), f"typedef {stored} stored;",
             f"typedef {real} real;", _with_includes(f"{name}.cu", seen)]  # fmt: skip
    # one name for one function, as `launch` asks for it
    return "\n".join(texts).replace("__global__", 'extern "C" __global__')


def _with_includes(file: str, seen: set[str]) -> str:
    """The text of a file with those it includes, each once."""

    def included(match: re.Match[str]) -> str:
        name = match.group(1)
        return "" if name in seen else _with_includes(name, seen)

    seen.add(file)
    text = (Path(__file__).parent / file).read_text()
    return re.sub(r'#include "(\w+\.cuh)"', included, text)


@cache
def _module(xp: Any, file: str, dtype: str) -> Any:
    return xp.RawModule(code=source(file, dtype), options=("-std=c++14",))


@cache
def _function(xp: Any, file: str, kernel: str, dtype: str) -> Any:
    return _module(xp, file, dtype).get_function(kernel)


def launch(file: str, kernel: str, dtype: Any, threads: int, *arguments: Any) -> None:
    """Run a kernel on at least `threads` threads, or on the most that pay.

    Args:
        file, kernel: a source file, without its .cu, and the name of the kernel in it.
        dtype: of the arrays that are `stored`.
        threads: elements, or runs of them, to work on.
        arguments: see `launch_blocks`.
    """
    blocks = max(1, min(MOST_BLOCKS, -(-threads // THREADS_PER_BLOCK)))
    launch_blocks(file, kernel, dtype, blocks, *arguments)


def launch_runs(
    file: str, kernel: str, like: Array, *arguments: Any, most: int | None = None
) -> None:
    """Run a kernel on one thread per 16 bytes of `like`, as run.cuh moves them, or on the `most`
    that pay; not at all if `like` is empty.

    Args:
        file, kernel: as for `launch`.
        like: of the dtype of the arrays that are `stored`.
        arguments: see `launch_blocks`.
    """
    if like.size:
        runs = -(-like.size * like.dtype.itemsize // 16)
        launch(file, kernel, like.dtype, runs if most is None else min(runs, most), *arguments)


def launch_blocks(
    file: str,
    kernel: str,
    dtype: Any,
    blocks: int,
    *arguments: Any,
    threads_per_block: int | None = None,
) -> None:
    """Run a kernel on `blocks` blocks.

    Args:
        file, kernel: as for `launch`.
        dtype: of the arrays that are `stored`.
        arguments: arrays on the device; integers, which are 32 bits wide there; numbers of
            type `real` as NumPy scalars; None for a null pointer; a struct as a NumPy array
            without axes, of a structured dtype.
        threads_per_block: default: `THREADS_PER_BLOCK`.
    """
    xp = next(array_module(a) for a in arguments if hasattr(a, "shape") and a.shape != ())
    function = _function(xp, file, kernel, str(np.dtype(dtype)))
    threads = (threads_per_block or THREADS_PER_BLOCK,)
    function((blocks,), threads, tuple(map(_argument, arguments)))


def _argument(value: Any) -> Any:
    if value is None:
        return np.intp(0)
    return np.int32(value) if isinstance(value, int) else value
