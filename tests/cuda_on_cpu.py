"""CUDA C kernels run on the CPU: their source through a C++ compiler, one block after the other.

What a kernel computes from its indices, and where the threads of a block have to wait for each
other, can be tested like this on any machine; speed cannot. `installed()` puts it in the place of
the launches, so that the functions of `minicnn.kernels.cuda` run on NumPy arrays.

The threads of a block take turns: one runs until it has to wait for others. What the 32 threads of
a warp do together, such as a product on tensor cores, the last of them to come does for all, from
and to their variables, with numbers spread over them as the PTX ISA says (see mma.cuh).
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

from minicnn import backend
from minicnn.dtypes import is_floating
from minicnn.kernels import device
from minicnn.kernels.cuda import launch

_SHIM = r"""
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <ucontext.h>
using std::erf; using std::exp; using std::log; using std::sqrt; using std::tanh; using std::min;
struct Index { int x, y, z; };
static Index threadIdx, blockIdx, blockDim, gridDim;
struct alignas(16) uint4 { unsigned x, y, z, w; };
#define __global__
#define __launch_bounds__(...)
#define __device__
#define __shared__ static
#define __restrict__

static uint32_t bits_of_float(float value) { uint32_t b; memcpy(&b, &value, 4); return b; }
static float value_of_float(uint32_t bits) { float v; memcpy(&v, &bits, 4); return v; }
static uint16_t bits_of_half(float value)
{
    const uint32_t sign = bits_of_float(value) >> 16 & 0x8000, x = bits_of_float(fabsf(value));
    if (x > 0x7f800000) return sign | 0x7e00;   // not a number
    if (x >= 0x47800000) return sign | 0x7c00;  // 65536 and more: infinity
    // below 2^-14 the last bit is 2^-24, as that of a float from 0.5 on
    if (x < 0x38800000) return sign | (bits_of_float(fabsf(value) + 0.5f) - 0x3f000000);
    return sign | (x + 0xfff + (x >> 13 & 1) - 0x38000000) >> 13;
}
static float value_of_half(uint16_t bits)
{
    const uint32_t sign = (uint32_t)(bits & 0x8000) << 16, x = bits & 0x7fff;
    if (x < 0x400) return value_of_float(sign | bits_of_float(ldexpf(x, -24)));
    return value_of_float(sign | ((x << 13) + (x < 0x7c00 ? 0x38000000 : 0x70000000)));
}

// A thread of a block, and what it is waiting for: until `*counter` is no longer `count`.
struct Fiber {
    ucontext_t context;
    const int* counter;
    int count;
    bool done;
};
const int MOST_THREADS_OF_A_BLOCK = 1024, STACK = 1 << 17;
static Fiber fibers[MOST_THREADS_OF_A_BLOCK];
static ucontext_t scheduler;

static void wait_for(const int& counter)
{
    Fiber& self = fibers[threadIdx.x];
    self.counter = &counter;
    self.count = counter;
    swapcontext(&self.context, &scheduler);
}

// Threads that wait until all have come; the last one may do something for all of them.
struct Meeting {
    int come, over;
    template <class Work> void meet(int threads, Work work)
    {
        if (++come < threads) return wait_for(over);
        work();
        come = 0;
        ++over;
    }
};
static Meeting whole_block;
static void __syncthreads() { whole_block.meet(blockDim.x, [] {}); }

struct Warp {
    Meeting meeting;
    const void* given[32];
};
static Warp warps[MOST_THREADS_OF_A_BLOCK / 32];

// `work(given)`, once for the warp, given what each of its threads brought.
template <class Given, class Work> static void together(const Given& mine, Work work)
{
    Warp& warp = warps[threadIdx.x / 32];
    warp.given[threadIdx.x % 32] = &mine;
    warp.meeting.meet(32, [&] { work((const Given* const*)warp.given); });
}
static void __syncwarp() { together(0, [](const int* const*) {}); }

struct Factors { float* sum; const unsigned* a; unsigned b[2]; };
// C (16, 8) += A (16, depth) B (depth, 8), `per` factors in a register, which `value` takes out.
template <class Value> static void
mma(float (&sum)[4], const unsigned (&a)[4], unsigned b0, unsigned b1, int per, Value value)
{
    together(Factors{sum, a, {b0, b1}}, [=](const Factors* const* given) {
        const int depth = 8 * per;
        double left[16][16], right[16][8];
        for (int lane = 0; lane < 32; ++lane) {
            const int g = lane / 4, t = lane % 4;
            for (int at = 0; at < per; ++at) {
                const int k = t * per + at;
                for (int i = 0; i < 4; ++i)
                    left[g + i % 2 * 8][k + i / 2 * 4 * per] = value(given[lane]->a[i], at);
                for (int i = 0; i < 2; ++i)
                    right[k + i * 4 * per][g] = value(given[lane]->b[i], at);
            }
        }
        for (int lane = 0; lane < 32; ++lane) {
            for (int i = 0; i < 4; ++i) {
                const int row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
                double total = given[lane]->sum[i];
                for (int k = 0; k < depth; ++k) total += left[row][k] * right[k][column];
                given[lane]->sum[i] = total;
            }
        }
    });
}
static void mma_f16(float (&sum)[4], const unsigned (&a)[4], unsigned b0, unsigned b1)
{
    mma(sum, a, b0, b1, 2, [](unsigned r, int at) { return value_of_half(r >> 16 * at); });
}
static void mma_bf16(float (&sum)[4], const unsigned (&a)[4], unsigned b0, unsigned b1)
{
    mma(sum, a, b0, b1, 2, [](unsigned r, int at) { return value_of_float(r >> 16 * at << 16); });
}
static void mma_tf32(float (&sum)[4], const unsigned (&a)[4], unsigned b0, unsigned b1)
{
    // what a GPU does with further bits of the fraction is not said
    mma(sum, a, b0, b1, 1, [](unsigned r, int) { return r & 0x1fff ? NAN : value_of_float(r); });
}

struct Rows16 { unsigned* to; const uint16_t* row; };
static void load_matrices(unsigned (&to)[4], const void* row, bool transposed)
{
    if ((size_t)row % 16) abort();
    together(Rows16{to, (const uint16_t*)row}, [=](const Rows16* const* given) {
        for (int lane = 0; lane < 32; ++lane) {
            for (int i = 0; i < 4; ++i) {
                const int g = lane / 4, t = lane % 4;
                auto number = [&](int at) -> unsigned {
                    return transposed ? given[8 * i + 2 * t + at]->row[g]
                                      : given[8 * i + g]->row[2 * t + at];
                };
                given[lane]->to[i] = number(0) | number(1) << 16;
            }
        }
    });
}
static void load_matrices(unsigned (&to)[4], const void* row) { load_matrices(to, row, false); }
static void load_matrices_transposed(unsigned (&to)[4], const void* row)
{
    load_matrices(to, row, true);
}
static unsigned two_f16(float first, float second)
{
    return bits_of_half(first) | (unsigned)bits_of_half(second) << 16;
}
static unsigned bits_of_bfloat(float value)
{
    const uint32_t bits = bits_of_float(value);
    return value == value ? (bits + 0x7fff + (bits >> 16 & 1)) >> 16 : 0x7fff;
}
static unsigned two_bf16(float first, float second)
{
    return bits_of_bfloat(first) | bits_of_bfloat(second) << 16;
}
static unsigned rounded_to_tf32(float value)
{
    const uint32_t bits = bits_of_float(value);
    return value == value ? (bits + 0x1000) & ~0x1fffu : 0x7fffe000;
}

template <class Kernel> static void enter(unsigned low, unsigned high)
{
    (*(const Kernel*)((uintptr_t)high << 32 | low))();
    fibers[threadIdx.x].done = true;
}

template <class Kernel> static void run_block(const Kernel& kernel)
{
    static const std::unique_ptr<char[]> stacks(new char[(size_t)MOST_THREADS_OF_A_BLOCK * STACK]);
    for (int t = 0; t < blockDim.x; ++t) {
        ucontext_t& context = fibers[t].context;
        getcontext(&context);
        context.uc_stack.ss_sp = stacks.get() + (size_t)t * STACK;
        context.uc_stack.ss_size = STACK;
        context.uc_link = &scheduler;
        const uintptr_t at = (uintptr_t)&kernel;
        makecontext(&context, (void (*)())enter<Kernel>, 2, (unsigned)at, (unsigned)(at >> 32));
        fibers[t].counter = nullptr;
        fibers[t].done = false;
    }
    for (bool left = true; left;) {
        bool any = left = false;
        for (int t = 0; t < blockDim.x; ++t) {
            Fiber& fiber = fibers[t];
            if (fiber.done) continue;
            left = true;
            if (fiber.counter && *fiber.counter == fiber.count) continue;
            any = true;
            threadIdx.x = t;
            swapcontext(&scheduler, &fiber.context);
        }
        if (left && !any) {
            fprintf(stderr, "threads of a block wait for others that have ended\n");
            abort();
        }
    }
}

template <class Kernel> static void run(int blocks, int threads, bool at_once, Kernel kernel)
{
    static std::mutex one_at_a_time;
    const std::lock_guard<std::mutex> lock(one_at_a_time);
    gridDim.x = blocks;
    blockDim.x = threads;
    for (blockIdx.x = 0; blockIdx.x < blocks; ++blockIdx.x) {
        if (at_once)
            run_block(kernel);
        else
            for (threadIdx.x = 0; threadIdx.x < threads; ++threadIdx.x) kernel();
    }
}
"""
# Fewer than on a GPU, so that a thread has several numbers to work on, and no powers of two.
MOST_BLOCKS, THREADS = 3, 5


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
    """NumPy arrays of floating-point numbers count as lying on a GPU, and kernels run on the CPU;
    so do those that make the numbers of random generators."""
    with (
        mock.patch.dict(os.environ, MINICNN_CUDA_GRAPHS="0"),
        mock.patch.object(launch, "_function", function),
        mock.patch.object(launch, "MOST_BLOCKS", MOST_BLOCKS),
        mock.patch.object(launch, "THREADS_PER_BLOCK", THREADS),
        mock.patch.object(device, "on_cuda", lambda x: is_floating(x.dtype)),
        mock.patch.object(backend, "cuda_is_active", lambda: backend.get_backend() == "numpy"),
    ):
        yield


def function(xp, file, kernel, dtype):
    """What `cupy.RawModule.get_function` is to `launch`."""
    run = getattr(_library(file, dtype), f"run_{kernel}")
    return lambda blocks, threads, given: run(*blocks, *threads, *map(_as_c, given))


def _as_c(value):
    if isinstance(value, np.ndarray) and value.shape:
        assert value.flags.c_contiguous, "a kernel takes what lies in memory in order"
        return ctypes.c_void_p(value.ctypes.data)
    if isinstance(value, np.ndarray):
        return _as_struct(value.dtype).from_buffer_copy(value.tobytes())
    types = {np.int32: ctypes.c_int, np.intp: ctypes.c_void_p,
             np.float32: ctypes.c_float, np.float64: ctypes.c_double}  # fmt: skip
    return types[type(value)](value.item())


@cache
def _as_struct(dtype):
    """The class of a struct, passed by value, whose members are integers of 32 bits."""
    fields = [(f"member_{i}", ctypes.c_int) for i in range(dtype.itemsize // 4)]
    return type("Struct", (ctypes.Structure,), {"_fields_": fields})


@cache
def _library(name: str, dtype: str) -> ctypes.CDLL:
    text = launch.source(name, dtype)
    at_once = "true" if "__sync" in text else "false"
    declared = r"__global__ (?:__launch_bounds__\([^)]*\) )?void (\w+)\(([^)]*)\)"
    for kernel, parameters in re.findall(declared, text):
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
        # a GPU reads 16 bytes at a time from multiples of 16 only; what does otherwise ends here
        aligned = ["-fsanitize=alignment", "-fsanitize-undefined-trap-on-error"]
        command = [*compiler(), "-std=c++14", "-O1", "-Wall", "-Wno-unknown-pragmas", *aligned,
                   "-shared", "-fPIC", "-pthread", str(written), "-o", str(built)]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        built.replace(made)  # several test processes may build it at once
        written.unlink()
    return ctypes.CDLL(str(made))
