"""Clocks for work on the active backend, and how fast that does the two simplest things: a large
matrix product, and a large copy.

A GPU works through a queue: a function that launches kernels returns before they have run. Its own
clock is therefore read by events, marks in the queue whose time it notes when it reaches them.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from threadpoolctl import threadpool_limits

from minicnn import backend
from minicnn.dtypes import dtype_of, wide
from minicnn.typing import Array

# Many times a GPU's cache (60 MB on an H200), so that a copy measures its memory.
COPY_BYTES = 1 << 29


class WallClock:
    """Time on the host, read when the device has finished all work."""

    def mark(self) -> Any:
        """A point in time."""
        backend.synchronize()
        return time.perf_counter()

    def seconds(self, start: Any, end: Any) -> float:
        """The time from the mark `start` to the mark `end`."""
        return end - start


class EventClock(WallClock):
    """Time on a GPU. The host does not wait at a mark.

    If the GPU is idle between two marks because the host has not launched the work yet, that counts
    as well: see `Copies.keep_busy`.

    Args:
        cuda: `cupy.cuda`, or another object with its `Event` and `get_elapsed_time`.
    """

    def __init__(self, cuda: Any):
        self._cuda = cuda

    def mark(self) -> Any:
        """An event in the GPU's queue."""
        event = self._cuda.Event()
        event.record()
        return event

    def seconds(self, start: Any, end: Any) -> float:
        """The time from the mark `start` to the mark `end`; waits for the GPU to reach `end`."""
        end.synchronize()
        return self._cuda.get_elapsed_time(start, end) / 1e3  # from milliseconds


def current_clock() -> WallClock:
    """The best clock for the active backend."""
    cuda = getattr(backend.current_module(), "cuda", None)
    return WallClock() if cuda is None else EventClock(cuda)


@dataclass(frozen=True)
class Span:
    """The time between two marks of a clock.

    Args:
        clock: where the marks are from.
        start, end: the marks.
        launch_seconds: the host's time for it, without waiting for a GPU.
    """

    clock: WallClock
    start: Any
    end: Any
    launch_seconds: float

    @property
    def seconds(self) -> float:
        """From start to end."""
        return self.clock.seconds(self.start, self.end)


def timed(clock: WallClock, function: Callable[..., Any], *arguments: Any) -> tuple[Any, Span]:
    """What a function returns, and its span.

    Args:
        clock: what to measure with.
        function, arguments: the call.
    """
    start = clock.mark()
    called = time.perf_counter()
    result = function(*arguments)
    launch_seconds = time.perf_counter() - called
    return result, Span(clock, start, clock.mark(), launch_seconds)


def product_peak(dtype: str = "float32", threads: int = 1, seconds: float = 0.2) -> float:
    """GFLOP/s of a large square matrix product: the best of those done in `seconds`.

    The products get larger, n = 512, 1024 ..., until one (2 n^3 operations) takes a twentieth of
    that time.

    Args:
        dtype: "float32", "float64", or on a GPU also "float16" or "bfloat16". Products of float32
            are made in TF32 if `backend.enable_tensor_float_32` says so.
        threads: BLAS threads; without effect on a GPU.
        seconds: how long to measure.
    """
    xp, clock = backend.current_module(), current_clock()
    generator = backend.random_generator(0)
    element_type = dtype_of(dtype)
    best, spent, n, large_enough = 0.0, 0.0, 256, False
    with threadpool_limits(limits=threads, user_api="blas"), _float32_as_asked(xp):
        while spent < seconds:
            if not large_enough:
                n *= 2
                a, b = (
                    generator.random((n, n), dtype=wide(element_type)).astype(
                        element_type, copy=False
                    )
                    for _ in range(2)
                )
                c = xp.matmul(a, b)  # the first product of a size waits for memory
            _, span = timed(clock, lambda a, b, c: xp.matmul(a, b, out=c), a, b, c)
            took = span.seconds
            large_enough = took >= seconds / 20
            best = max(best, 2 * n**3 / took / 1e9)
            spent += took
    return best


@contextmanager
def _float32_as_asked(xp: Any) -> Iterator[None]:
    """Have CuPy make its own products of float32 in TF32 or not, as the backend is told; otherwise
    it follows CUPY_TF32."""
    linalg = getattr(getattr(xp, "_core", None), "_routines_linalg", None)
    if linalg is None or xp.cuda.runtime.is_hip:
        yield
        return
    before = linalg.get_compute_type("float32")
    in_tf32 = backend.tensor_float_32_enabled()
    wanted = linalg.COMPUTE_TYPE_TF32 if in_tf32 else linalg.COMPUTE_TYPE_DEFAULT
    linalg.set_compute_type("float32", wanted)
    try:
        yield
    finally:
        linalg.set_compute_type("float32", before)


class Copies:
    """Copies of one large array of the active backend to another.

    Args:
        repeats: copies to measure.

    Attributes:
        seconds: the time of the quickest.
    """

    def __init__(self, repeats: int = 20):
        elements = COPY_BYTES // 4
        self._source: Array = backend.random_generator(0).random(elements, dtype="float32")
        self._target: Array = self._source.copy()
        clock = current_clock()
        self.seconds = min(timed(clock, self._copy)[1].seconds for _ in range(repeats))

    def _copy(self) -> None:
        backend.current_module().copyto(self._target, self._source)

    @property
    def bandwidth(self) -> float:
        """GB/s, read and written bytes together."""
        return 2 * self._source.nbytes / self.seconds / 1e9

    def keep_busy(self, seconds: float) -> None:
        """Give a GPU work for so many `seconds`, in which the host can launch what comes next."""
        for _ in range(math.ceil(seconds / self.seconds)):
            self._copy()
