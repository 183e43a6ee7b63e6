"""Noticing that a number has become too large, without a look at every result.

The processor notes it when an operation overflows, or makes NaN of numbers that are none (0 times
infinity), and NumPy asks it after each function. That costs nothing, while to look at results takes
a convolution 2 % longer. Other threads' notes are not seen, so a matrix product that BLAS splits
over several may overflow unnoticed; nor are those of a BLAS that works on another unit of the
processor.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from math import isfinite

import numpy as np

from minicnn.parallel.blas import has_one_thread, libraries
from minicnn.typing import Array


class Watch:
    """What has been noticed.

    Attributes:
        suspicious: whether results have to be looked at: something was noticed, or could not be.
    """

    def __init__(self, suspicious: bool):
        self.suspicious = suspicious

    def __call__(self, kind: str, flag: int) -> None:
        """What NumPy calls where the processor has noted something of a `kind`, or several by
        `flag`."""
        self.suspicious = True

    def is_finite(self, a: Array) -> bool:
        """Whether a contiguous array that was just written holds neither NaN nor infinity: a dot
        product with itself, the quickest look there is. True on a device, where each look would
        wait.

        Args:
            a: floating-point numbers.
        """
        if not self.suspicious or type(a) is not np.ndarray:
            return True
        flat = a.reshape(-1)
        with np.errstate(over="ignore", invalid="ignore"):
            return isfinite(flat.dot(flat)) or bool(np.isfinite(flat).all())


@contextmanager
def watched() -> Iterator[Watch]:
    """Within the context a `Watch` notices what overflows in this thread, and NumPy does not warn
    of it."""
    watch = Watch(not (has_one_thread() and _notes_are_seen(tuple(libraries()))))
    with np.errstate(over="call", invalid="call", call=watch):
        yield watch


@lru_cache(maxsize=8)
def _notes_are_seen(libraries: tuple[object, ...]) -> bool:
    """Whether NumPy sees a product overflow, with these BLAS `libraries`, which have one thread."""
    seen = []
    for dtype in (np.float32, np.float64):
        large = np.full((64, 64), np.finfo(dtype).max, dtype)
        watch = Watch(False)
        with np.errstate(over="call", invalid="call", call=watch):
            np.matmul(large, large)
        seen.append(watch.suspicious)
    return all(seen)
