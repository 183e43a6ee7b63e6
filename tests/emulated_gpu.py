"""A whole GPU on the CPU: arrays of the stand-in for CuPy, kernels in CUDA C run by `cuda_on_cpu`,
training steps captured and replayed.

`pytest --backend emulated` runs the suite on it: the code takes the ways that it takes on an NVIDIA
GPU, in whole models.
"""

import os
import time
from threading import Lock

import cuda_on_cpu
import strict_backend
import strict_cuda

from minicnn import backend
from minicnn.kernels.cuda import launch

_one_at_a_time = Lock()  # as there is one set of threads to imitate a GPU's


class _Event:
    """What `cupy.cuda.Event` is, where all work is done as soon as it is asked for."""

    def record(self):
        self.time = time.perf_counter()

    def synchronize(self):
        pass


class _Cuda(strict_cuda.StrictCuda):
    Event = _Event

    @staticmethod
    def get_elapsed_time(start, end):
        return 1e3 * (end.time - start.time)


def install() -> None:
    """For the rest of the process. The kernels need a C++ compiler.

    Raises:
        RuntimeError: there is none.
    """
    if cuda_on_cpu.compiler() is None:
        raise RuntimeError("there is no C++ compiler, nor the package ziglang")
    strict_backend.module.cuda = _Cuda()
    backend._has_cuda = _has_cuda
    launch._function = _function
    launch.MOST_BLOCKS, launch.THREADS_PER_BLOCK = cuda_on_cpu.MOST_BLOCKS, cuda_on_cpu.THREADS


def _has_cuda(module):
    on = os.environ.get("MINICNN_CUDA_KERNELS") != "0"
    return on and module is strict_backend.module


def _function(xp, file, kernel, dtype):
    """What `cupy.RawModule.get_function` is to `launch`; a stream that captures notes a launch."""
    run = cuda_on_cpu.function(xp, file, kernel, dtype)

    def launched(blocks, threads, given):
        arrays = [a._data if isinstance(a, strict_backend.StrictArray) else a for a in given]
        with _one_at_a_time:
            strict_cuda.done(run, blocks, threads, arrays)

    return launched
