"""The one place randomness is seeded from.

Initial weights, shuffles and every generator handed to dropout or augmentation descend from one
host generator, so `set_random_seed(0)` at the top of a script fixes the whole run.
"""

import math
import random
from collections.abc import Iterable
from numbers import Integral
from typing import Any

import numpy as np

from minicnn import backend
from minicnn.kernels.cuda.launch import launch

_generator = np.random.default_rng()


def set_random_seed(seed: int) -> None:
    """Seed everything random in the library (and NumPy's and Python's global generators)."""
    global _generator
    if not isinstance(seed, Integral) or not 0 <= seed < 2**32:
        raise ValueError(f"a seed is an integer from 0 to 2**32 - 1, not {seed!r}")
    _generator = np.random.default_rng(int(seed))
    np.random.seed(int(seed))
    random.seed(int(seed))


def host_generator(seed: int | None = None) -> np.random.Generator:
    """The library's NumPy generator, or one of its own for a given `seed`."""
    return _generator if seed is None else np.random.default_rng(seed)


def device_generator() -> Any:
    """A new generator on the active backend, seeded from the library's own."""
    return backend.random_generator(int(_generator.integers(2**63)))


@backend.register_cuda_generator
class CounterGenerator:
    """The random numbers of an NVIDIA GPU: each follows from its place alone (`philox.cuh`).

    A place is the seed, the number of the pass, the number of the draw within the pass, and the
    position in what is drawn. So numbers can be made again where they are needed, and do not depend
    on how many threads make them.

    The number of the pass lies on the device, where `next_pass` adds 1 to it; all else goes to
    kernels by value. A training step that begins with `next_pass` can thus be captured as a CUDA
    graph: each replay draws new numbers. Without any `next_pass` the draws go on from call to call.

    Args:
        seed: an integer or several, as `numpy.random.SeedSequence` takes them.
    """

    _MOST_NUMBERS = 2**31 - 1  # of one draw: positions in it are 32 bits wide

    def __init__(self, seed: Any):
        key = np.random.SeedSequence(seed).generate_state(2, np.uint32)
        self._key: list[int] = key.view(np.int32).tolist()
        self._passes = backend.current_module().zeros(1, "uint64")
        self._draws = 0

    def next_pass(self) -> None:
        """Go on to the numbers of the next training step. Masks of the last one that were not kept
        (`kernels/cuda/dropout.py`) cannot be made again after this."""
        self._passes += 1
        self._draws = 0

    def next_draw(self) -> tuple[int, int, Any, int]:
        """What a kernel needs to make the numbers of one more draw, as often as it likes until
        `next_pass`: two words of the key, the number of the pass (1,) on the device, that of the
        draw."""
        self._draws += 1
        return (self._key[0], self._key[1], self._passes, self._draws - 1)

    def random(self, size: Any = None, dtype: Any = "float64") -> Any:
        """Uniform numbers u, 0 <= u < 1, as of NumPy's generators.

        Raises:
            TypeError: a dtype other than float32 and float64.
        """
        dtype = np.dtype(dtype)
        if dtype not in (np.float32, np.float64):
            raise TypeError(f"random numbers are drawn in float32 or float64, not in {dtype}")
        shape = () if size is None else (size,) if isinstance(size, Integral) else tuple(size)
        u = backend.array_module(self._passes).empty(math.prod(shape), dtype)
        for start in range(0, u.size, self._MOST_NUMBERS):
            part = u[start : start + self._MOST_NUMBERS]
            counters = -(-part.size * dtype.itemsize // 16)
            launch("uniform", "uniform", dtype, counters, part, part.size, *self.next_draw())
        return u.reshape(shape)


def next_pass(generators: Iterable[Any]) -> None:
    """Begin a training step: generators that number their passes go on to the next one, others have
    nothing to do."""
    for generator in generators:
        if isinstance(generator, CounterGenerator):
            generator.next_pass()
