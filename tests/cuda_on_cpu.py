"""CUDA C kernels run on the CPU: their source through a C++ compiler, one block after the other.

What a kernel computes from its indices, and where the threads of a block have to wait for each
other, can be tested like this on any machine; speed cannot. `installed()` puts it in the place of
the launches, so that the functions of `minicnn.kernels.cuda` run on NumPy arrays.
"""

import ctypes
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from unittest import mock

import numpy as np

from minicnn.kernels import device
from minicnn.kernels.cuda import launch

_SHIM = """
#include <cmath>
#include <cstdint>
#include <pthread.h>
#include <thread>
#include <vector>
using std::erf; using std::exp; using std::log; using std::sqrt; using std::tanh;
struct Index { int x, y, z; };
static thread_local Index threadIdx, blockIdx, blockDim, gridDim;
static pthread_barrier_t barrier;
static void __syncthreads() { pthread_barrier_wait(&barrier); }
#define __global__
#define __device__ static
#define __shared__ static
#define __restrict__

template <class Kernel> static void run(int blocks, int threads, bool at_once, Kernel kernel)
{
    auto one = [&](int block, int thread) {
        gridDim.x = blocks, blockDim.x = threads, blockIdx.x = block, threadIdx.x = thread;
        kernel();
    };
    pthread_barrier_init(&barrier, 0, threads);
    for (int block = 0; block < blocks; ++block) {
        if (at_once) {
            std::vector<std::thread> all;
            for (int t = 0; t < threads; ++t) all.emplace_back(one, block, t);
            for (auto& thread : all) thread.join();
        } else {
            for (int t = 0; t < threads; ++t) one(block, t);
        }
    }
    pthread_barrier_destroy(&barrier);
}
"""
# Fewer than on a GPU, so that a thread has several numbers to work on, and no powers of two.
_MOST_BLOCKS, _THREADS = 3, 5


def compiler() -> list[str] | None:
    """The command of a C++ compiler, or None where there is none."""
    for name in ("c++", "g++", "clang++"):
        if shutil.which(name):
            return [name]
    if find_spec("ziglang"):
        return [sys.executable, "-m", "ziglang", "c++"]
    return None


@contextmanager
def installed() -> Iterator[None]:
    """NumPy arrays of floats count as lying on a GPU, and kernels run on the CPU."""
    with (
        mock.patch.object(launch, "_function", _function),
        mock.patch.object(launch, "MOST_BLOCKS", _MOST_BLOCKS),
        mock.patch.object(launch, "THREADS_PER_BLOCK", _THREADS),
        mock.patch.object(device, "on_cuda", lambda x: x.dtype in (np.float32, np.float64)),
    ):
        yield


def _function(xp, file, kernel, dtype):
    """What `cupy.RawModule.get_function` is to `launch`."""
    run = getattr(_library(file, dtype), f"run_{kernel}")
    return lambda blocks, threads, given: run(*blocks, *threads, *map(_as_c, given))


def _as_c(value):
    if isinstance(value, np.ndarray) and value.shape:
        assert value.flags.c_contiguous, "a kernel takes what lies in memory in order"
        return ctypes.c_void_p(value.ctypes.data)
    types = {np.int32: ctypes.c_int, np.intp: ctypes.c_void_p,
             np.float32: ctypes.c_float, np.float64: ctypes.c_double}  # fmt: skip
    return types[type(value)](value.item())


@cache
def _library(name: str, dtype: str) -> ctypes.CDLL:
    text = launch.source(name, dtype)
    at_once = "true" if "__syncthreads" in text else "false"
    for kernel, parameters in re.findall(r"__global__ void (\w+)\(([^)]*)\)", text):
        names = ", ".join(re.findall(r"(\w+)\s*(?:,|$)", parameters))
        text += f"""
        extern "C" void run_{kernel}(int blocks, int threads, {parameters}) {{
            run(blocks, threads, {at_once}, [=] {{ {kernel}({names}); }});
        }}"""
    text = _SHIM + text
    folder = Path(tempfile.gettempdir()) / f"minicnn-cuda-on-cpu-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    made = folder / f"{name}-{dtype}-{hashlib.sha256(text.encode()).hexdigest()[:16]}.so"
    if not made.exists():
        written = made.with_suffix(f".{os.getpid()}.cpp")
        written.write_text(text)
        built = written.with_suffix(".so")
        command = [*compiler(), "-std=c++14", "-O1", "-Wall", "-Wno-unknown-pragmas",
                   "-shared", "-fPIC", "-pthread", str(written), "-o", str(built)]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        built.replace(made)  # several test processes may build it at once
        written.unlink()
    return ctypes.CDLL(str(made))
