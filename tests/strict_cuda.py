"""What `strict_backend` needs of a device: transfers that are counted, streams that capture.

`transfers` counts every crossing between host and device, so that a test can say "none in here".

`StrictCuda`, set as the module's `cuda`, stands in for `cupy.cuda` as far as a training step is
captured as a CUDA graph: what is done between `begin_capture` and `end_capture` is undone at the
end, and done again, with the same arrays, at each launch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np


@dataclass
class Transfers:
    """How often data crossed between host and device since `reset`.

    Attributes:
        to_device: arrays or lists copied from the host.
        to_host: arrays copied to the host, explicitly or by `float(x)`, `bool(x)`, `x.item()`:
            on a GPU each of them waits for everything that was launched before.
    """

    to_device: int = 0
    to_host: int = 0

    def reset(self) -> None:
        self.to_device = self.to_host = 0


transfers = Transfers()


def count_to_host() -> None:
    if StrictStream.capturing is not None:
        raise RuntimeError(
            "the current stream is capturing, so synchronous API calls are disallowed"
        )
    transfers.to_host += 1


def count_to_device(array: np.ndarray) -> None:
    if StrictStream.capturing is not None and array.ndim:  # a number is an argument of a kernel
        raise RuntimeError("the current stream is capturing, so H2D transfers are disallowed")
    transfers.to_device += 1


# Capturing


class StrictGraph:
    """What `cupy.cuda.Graph` is: operations on arrays that stay where they are."""

    def __init__(self) -> None:
        self._operations: list[tuple[Callable[[], Any], list[tuple[Any, np.ndarray]]]] = []
        self._before: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self._undo: list[Callable[[], None]] = []

    def touch(self, *values: Any) -> None:
        """Note what arrays hold before an operation may change them."""
        for array in arrays_in(values):
            while isinstance(array.base, np.ndarray):
                array = array.base
            if id(array) not in self._before:
                self._before[id(array)] = (array, array.copy())

    def add(self, operation: Callable[[], Any], result: Any, *values: Any) -> None:
        """Note an operation; what of its result is new gets the numbers of each launch."""
        given = arrays_in(values)
        new = [
            (place, array)
            for place, array in enumerate(arrays_in(result))
            if not any(np.may_share_memory(array, other) for other in given)
        ]
        self._operations.append((operation, new))

    def when_undone(self, undo: Callable[[], None]) -> None:
        """Note what else an operation changes, besides arrays: how to set that back."""
        self._undo.insert(0, undo)

    def undo(self) -> None:
        """A stream that captures does nothing."""
        for array, before in self._before.values():
            if array.flags.writeable:
                array[...] = before
        for undo in self._undo:
            undo()

    def launch(self, stream: Any = None) -> None:
        for operation, new in self._operations:
            results = arrays_in(operation())
            for place, array in new:
                array[...] = results[place]


class StrictStream:
    """What `cupy.cuda.Stream` is, as far as it captures."""

    capturing: StrictGraph | None = None

    def __init__(self, non_blocking: bool = False):
        self._non_blocking = non_blocking

    def __enter__(self) -> StrictStream:
        return self

    def __exit__(self, *error: Any) -> None:
        pass

    def begin_capture(self) -> None:
        assert self._non_blocking and StrictStream.capturing is None
        StrictStream.capturing = StrictGraph()

    def end_capture(self) -> StrictGraph:
        graph, StrictStream.capturing = StrictStream.capturing, None
        assert graph is not None
        graph.undo()
        return graph


class StrictPool:
    """What `cupy.cuda.MemoryPool` is; what a graph holds has `taken` bytes."""

    taken = 0

    def malloc(self, size: int) -> None:
        raise NotImplementedError("NumPy does that")

    def free_all_blocks(self) -> None:
        pass

    used_bytes = staticmethod(lambda: 0)

    def total_bytes(self) -> int:
        return self.taken


class StrictCuda:
    """As much of `cupy.cuda` as the capturing of a graph needs."""

    Stream = StrictStream
    MemoryPool = StrictPool
    free_bytes = 1 << 30

    def __init__(self) -> None:
        self.allocators: list[Any] = []
        self.runtime = SimpleNamespace(memGetInfo=lambda: (self.free_bytes, 1 << 30))
        self.memory = SimpleNamespace(OutOfMemoryError=type("OutOfMemoryError", (MemoryError,), {}))

    def get_current_stream(self) -> Any:
        return SimpleNamespace(synchronize=lambda: None)

    @contextmanager
    def using_allocator(self, allocator: Any) -> Iterator[None]:
        self.allocators.append(allocator)
        try:
            yield
        finally:
            self.allocators.pop()


def arrays_in(value: Any) -> list[np.ndarray]:
    if isinstance(value, np.ndarray):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return [array for v in value for array in arrays_in(v)]
    return []


def done(function: Any, *args: Any, **kwargs: Any) -> Any:
    """What a function of NumPy returns, numbers as 0-d arrays; noted where a stream captures."""

    def operation() -> Any:
        return _with_arrays(function(*args, **kwargs))

    graph = StrictStream.capturing
    if graph is None:
        return operation()
    graph.touch(args, kwargs)
    result = operation()
    graph.add(operation, result, args, kwargs)
    return result


def _with_arrays(result: Any) -> Any:
    if isinstance(result, np.generic):
        return np.asarray(result)
    if type(result) in (list, tuple):
        return type(result)(_with_arrays(r) for r in result)
    if isinstance(result, tuple):  # the named tuples of np.linalg
        return tuple(_with_arrays(r) for r in result)
    return result
