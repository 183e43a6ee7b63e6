"""Random numbers of an NVIDIA GPU, each of which follows from its place alone."""

import math
from numbers import Integral
from typing import Any

import numpy as np

from minicnn import backend
from minicnn.kernels.cuda.launch import launch
from minicnn.typing import Array


@backend.register_cuda_generator
class CounterGenerator:
    """The random generator of an NVIDIA GPU: each number follows from its place (`philox.cuh`).

    A place is the seed, the number of the pass, the number of the draw within the pass, and the
    position within the draw. So numbers can be made again where they are needed, and do not depend
    on how many threads make them.

    The number of the pass lies on the device, where `next_pass` adds 1 to it; kernels get all else
    by value. A training step that begins with `next_pass` can thus be captured as a CUDA graph:
    each replay draws new numbers. Without any `next_pass` the draws go on from call to call.

    Args:
        seed: an integer or several, as `numpy.random.SeedSequence` takes them, or one of these.
    """

    _MOST_NUMBERS = 2**31 - 1  # of one draw: positions in it are 32 bits wide

    def __init__(self, seed: Any):
        if not isinstance(seed, np.random.SeedSequence):
            seed = np.random.SeedSequence(seed)
        key = seed.generate_state(2, np.uint32)
        self._key: list[int] = key.view(np.int32).tolist()
        self._passes = backend.current_module().zeros(1, "uint64")
        self._draws = 0

    def next_pass(self) -> None:
        """Go on to the numbers of the next training step. Dropout masks of the last one
        (`kernels/cuda/dropout.py`) cannot be made again after this."""
        self._passes += 1
        self._draws = 0

    def go_to(self, epoch: int, step: int) -> None:
        """Go to the numbers of one training step, from wherever the generator is; in the middle of
        a step it goes on with the draw that comes next.

        Args:
            epoch: number of the pass over the data, below 2**32.
            step: within it, below 2**32.
        """
        self._passes.fill((epoch << 32) + step)

    def next_draw(self) -> tuple[int, int, Array, int]:
        """What a kernel needs to make the numbers of one more draw, as often as it likes until
        `next_pass`: two words of the key, the number of the pass (1,) on the device, that of the
        draw."""
        self._draws += 1
        return (self._key[0], self._key[1], self._passes, self._draws - 1)

    def random(self, size: Any = None, dtype: Any = "float64") -> Array:
        """Uniform numbers u, 0 <= u < 1, like those of NumPy's generators.

        Args:
            size: shape of the array, as an integer or several; default: a single number, shape ().
            dtype: float32 or float64.

        Raises:
            TypeError: another dtype.
        """
        dtype = np.dtype(dtype)
        if dtype not in (np.float32, np.float64):
            raise TypeError(f"random numbers are drawn in float32 or float64, not in {dtype}")
        shape = () if size is None else (size,) if isinstance(size, Integral) else tuple(size)
        u = backend.array_module(self._passes).empty(math.prod(shape), dtype)
        for start in range(0, u.size, self._MOST_NUMBERS):
            chunk = u[start : start + self._MOST_NUMBERS]
            counters = -(-chunk.size * dtype.itemsize // 16)
            launch("uniform", "uniform", dtype, counters, chunk, chunk.size, *self.next_draw())
        return u.reshape(shape)
