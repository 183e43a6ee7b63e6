"""The one place randomness is seeded from.

Initial weights, shuffles and every generator handed to dropout or augmentation descend from one
host generator, so `set_random_seed(0)` at the top of a script fixes the whole run.
"""

import random
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from numbers import Integral
from typing import Any

import numpy as np

from minicnn import backend
from minicnn.kernels.cuda.random import CounterGenerator

_generator = np.random.default_rng()
_here = threading.local()  # in `at_place`: the place, then its generator


def set_random_seed(seed: int) -> None:
    """Seed everything random in the library (and NumPy's and Python's global generators).

    Args:
        seed: an integer from 0 to 2**32 - 1.

    Raises:
        ValueError: another seed.
    """
    global _generator
    if not isinstance(seed, Integral) or not 0 <= seed < 2**32:
        raise ValueError(f"a seed is an integer from 0 to 2**32 - 1, not {seed!r}")
    _generator = np.random.default_rng(int(seed))
    np.random.seed(int(seed))
    random.seed(int(seed))


def host_generator(seed: int | None = None) -> np.random.Generator:
    """A new NumPy generator with this `seed`; default: the library's own."""
    if seed is not None:
        return np.random.default_rng(seed)
    here = getattr(_here, "generator", None)
    if isinstance(here, tuple):  # nobody has drawn in this place yet
        here = _here.generator = np.random.default_rng(here)
    return _generator if here is None else here


@contextmanager
def at_place(*numbers: int) -> Iterator[None]:
    """Within the context this thread draws from a generator of its own, which follows from the
    `numbers`, such as a seed and the place of an image in a data set."""
    before = getattr(_here, "generator", None)
    _here.generator = numbers
    try:
        yield
    finally:
        _here.generator = before


def device_generator() -> Any:
    """A new generator on the active backend, seeded from the library's own."""
    return backend.random_generator(int(host_generator().integers(2**63)))


def next_pass(generators: Iterable[Any]) -> None:
    """Begin a training step: those `generators` that number their passes go on to the next one,
    the others have nothing to do."""
    for generator in generators:
        if isinstance(generator, CounterGenerator):
            generator.next_pass()
