"""A training step as one CUDA graph.

To launch a kernel takes the host some microseconds, to launch a graph of hundreds of them hardly
longer; and many kernels of a small network take the GPU less than that. So a training step that has
run twice is captured: a stream notes what it is asked to do, and does it all at each launch
(CUDA C++ Programming Guide, "CUDA Graphs").

A graph holds operations on fixed addresses, with fixed numbers. Therefore
- a batch is copied to fixed arrays before each launch;
- what a training step leaves behind in new arrays, such as moving statistics and the sums of
  metrics, it copies as its last operations to where the next one looks for it (`Kept`);
- what the host does in it, it does beside each launch: it counts steps and samples, and writes the
  rates of the optimizer (`Optimizer.set_rates`);
- what the host decides in it, such as which layers learn, must be as it was (`Watched`);
- memory in between comes from a pool of the graph's own, in which nobody else may write.

A training step that waits for the device, copies from the host or uses cuBLAS cannot be captured:
there is a warning, and training goes on kernel by kernel.
"""

import gc
import os
import warnings
from collections.abc import Callable
from contextlib import suppress
from traceback import clear_frames
from typing import Any

import numpy as np

from minicnn import backend
from minicnn.training.captured_state import (
    Watched,
    components_of,
    device_sums,
    has_foreign,
    kept_arrays,
    kept_sums,
)
from minicnn.training.numbers import TrainingNumbers
from minicnn.typing import Array

EAGER_RUNS = 2  # in a row: the first compile kernels, make slots and arenas, fill caches


def graphs_are_possible() -> bool:
    """Whether the active backend is an NVIDIA GPU, and neither its kernels in CUDA C nor its graphs
    are turned off with MINICNN_CUDA_GRAPHS=0."""
    return os.environ.get("MINICNN_CUDA_GRAPHS") != "0" and backend.cuda_is_active()


class CapturedStep:
    """A training step, captured as a CUDA graph as soon as it pays and where it can be.

    Batches of another shape, such as the last one, run kernel by kernel beside the graph; several
    of them in a row become a graph in the place of the first. So they do where something that the
    graph holds has changed. Layers, losses, metrics and optimizers from elsewhere than this package
    may do anything on the host: a training step with them is never captured.

    It is called as `step` is. At the end of the context that it opens, it gives back its memory.

    Args:
        model: compiled, with `optimizer`, `metrics`, `weights`.
        step: `step(xs, y, sample_weight)` on arrays on the device.
    """

    def __init__(self, model: Any, step: Callable[[list[Array], Array, Array | None], None]):
        self._model = model
        self._step = step
        self._graph: _CapturedGraph | None = None
        self._like: Any = None  # the last batch, and how many like it ran in a row
        self._runs = 0
        self._components: list[Any] = []
        self._watched = Watched([])
        self._sums: list[tuple[Any, str, Any]] = []
        self._wanted = graphs_are_possible()

    def __enter__(self) -> "CapturedStep":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __call__(self, xs: list[Array], y: Array, sample_weight: Array | None = None) -> None:
        if not self._wanted:
            self._step(xs, y, sample_weight)
            return
        like = [(a.shape, a.dtype) for a in _arrays_of(xs, y, sample_weight)], len(xs)
        if like != self._like:
            self._like, self._runs = like, 0
        if self._graph is not None and self._graph.like == like:
            if self._graph.is_valid():
                self._graph.run(xs, y, sample_weight)
                return
            self.close()
        if self._runs >= EAGER_RUNS and self._capture(xs, y, sample_weight):
            return
        self._step(xs, y, sample_weight)
        self._runs += 1
        if self._runs >= EAGER_RUNS:
            self._look_around()

    def close(self) -> None:
        """Forget the graph, and give back the memory that it holds."""
        if self._graph is not None:
            self._graph.release()
        self._graph, self._runs = None, 0

    def _look_around(self) -> None:
        """After a training step, note what the next one has to find again to be captured."""
        self._components = components_of(self._model)
        self._wanted = not has_foreign(self._components)
        self._watched = Watched(self._components)
        self._sums = device_sums(self._model.metrics)

    def _capture(self, xs: list[Array], y: Array, sample_weight: Array | None) -> bool:
        """Capture the step and run it on this batch; False where that cannot be done."""
        self.close()
        if self._watched.changed() or not self._model.optimizer.is_settled():
            return False  # a step may have to make arenas, which has to be done before
        try:
            graph = _CapturedGraph(
                self._model,
                self._step,
                self._components,
                self._sums,
                self._like,
                (xs, y, sample_weight),
            )
        except Exception as error:  # whatever CuPy or CUDA refuses
            self._wanted = False
            clear_frames(error.__traceback__)  # they hold arrays of the graph's pool
            _give_back(None)
            warnings.warn(
                f"a training step of {self._model.described} runs kernel by kernel, since it "
                f"cannot be captured as a CUDA graph: {type(error).__name__}: {error}",
                stacklevel=2,
            )
            return False
        self._graph = graph
        graph.run(xs, y, sample_weight)
        return True


class _CapturedGraph:
    """A graph and all that lies around it.

    Args:
        components: see `components_of`.
        sums: (metric, key, an array like the sum) of the sums a step adds to on the device.
        like: what a batch has to be like.
        batch: (xs, y, sample weights) to capture with; nothing is computed.
    """

    def __init__(
        self, model: Any, step: Any, components: list[Any], sums: Any, like: Any, batch: Any
    ):
        self.like = like
        self._xp = backend.current_module()
        self._optimizer = model.optimizer
        self._numbers = TrainingNumbers.of(model)
        self._metrics = model.metrics
        self._batch = tuple(_copied(part) for part in batch)
        self._kept = [*kept_arrays(model, components), *kept_sums(sums)]
        self._watched = Watched(components)
        self._optimizer.set_rates()
        self._counts: list[tuple[Any, dict[str, Any]]] = []
        self._pool = self._xp.cuda.MemoryPool()
        # what steps have freed would be missing in the pool of the graph
        self._xp.get_default_memory_pool().free_all_blocks()
        before = [dict(metric._sums) for metric in self._metrics]
        steps = self._optimizer.iterations, self._numbers.step
        try:
            self._graph = self._captured(lambda: step(*self._batch))
            self._check(before)
        except BaseException:
            self._graph = None
            self.release()
            raise
        finally:
            for metric, sums_before in zip(self._metrics, before, strict=True):
                metric._sums = sums_before
            self._optimizer.iterations, self._numbers.step = steps
            self._watched.restore()
            for kept in self._kept:
                kept.put_back()

    def _captured(self, work: Callable[[], None]) -> Any:
        cuda = self._xp.cuda
        stream = cuda.Stream(non_blocking=True)  # the default stream cannot capture
        with cuda.using_allocator(self._pool.malloc), stream:
            stream.begin_capture()
            try:
                work()
                for kept in self._kept:
                    kept.copy_back()
            except BaseException:
                with suppress(Exception):  # an invalid capture has to be ended all the same
                    stream.end_capture()
                raise
            return stream.end_capture()

    def _check(self, before: list[dict[str, Any]]) -> None:
        """Take down what the host counts in a step; refuse what it must not do.

        Raises:
            RuntimeError: the step leaves something behind that a launch would not; the graph takes
                more than half of the memory that is free.
        """
        changed = self._watched.changed()
        if changed:
            raise RuntimeError(f"each step changes {changed} on the host")
        known = {(id(kept.place()), kept.key) for kept in self._kept}
        for metric, old in zip(self._metrics, before, strict=True):
            counts = {}
            for key, new in metric._sums.items():
                if backend.array_module(new) is np:
                    counts[key] = new - old.get(key, 0)
                elif (id(metric._sums), key) not in known:
                    raise RuntimeError(f"the metric {metric.name!r} has a new sum, {key!r}")
            self._counts.append((metric, counts))
        held = self._pool.total_bytes()
        free, _ = self._xp.cuda.runtime.memGetInfo()
        if held > free:
            raise RuntimeError(
                f"the graph holds {held:,} bytes of memory and leaves {free:,} for all else"
            )

    def is_valid(self) -> bool:
        """Whether a launch would do what the step would do now. Arrays that were assigned since the
        last launch are copied to where the graph looks for them."""
        return not self._watched.changed() and all(kept.settle() for kept in self._kept)

    def run(self, *batch: Any) -> None:
        """The step, on a batch that is like the one it was captured with."""
        rows = zip(_arrays_of(*self._batch), _arrays_of(*batch), strict=True)
        for fixed, given in rows:
            fixed[...] = given
        self._optimizer.set_rates()
        self._graph.launch()
        self._optimizer.iterations += 1
        self._numbers.step += 1
        for metric, counts in self._counts:
            for key, count in counts.items():
                metric._sums[key] = metric._sums.get(key, 0) + count
            metric._read.clear()

    def release(self) -> None:
        """Give back the memory of the graph, once it has done what it was asked to."""
        self._xp.cuda.get_current_stream().synchronize()
        self._graph = None
        _give_back(self._pool)


_pools_in_use: list[Any] = []


def _give_back(pool: Any) -> None:
    """Give back the memory of a graph; later, where arrays of it are still in use: those of CuPy do
    not keep their pool. A pool that is forgotten without `free_all_blocks` keeps its memory."""
    if pool is not None:
        _pools_in_use.append(pool)
    if any(pool.used_bytes() for pool in _pools_in_use):
        gc.collect()
    for pool in _pools_in_use:
        pool.free_all_blocks()
    _pools_in_use[:] = [pool for pool in _pools_in_use if pool.used_bytes()]


def _arrays_of(xs: list[Array], y: Array, sample_weight: Array | None) -> list[Array]:
    """The arrays of a batch, without sample weights that are None."""
    return [a for a in (*xs, y, sample_weight) if a is not None]


def _copied(part: Any) -> Any:
    if isinstance(part, list):
        return [_copied(a) for a in part]
    return None if part is None else part.copy()
