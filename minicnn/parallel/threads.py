"""A batch split over threads, each with one shard and one BLAS thread.

NumPy releases the interpreter's lock in its loops and products, so threads do run at the same
time. A thread with its own shard of the batch keeps its data in its own core's cache; BLAS's
threads share each small product and mostly wait for each other.
"""

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from functools import cache, reduce
from operator import add
from typing import Any, TypeVar

from threadpoolctl import ThreadpoolController

from minicnn import backend
from minicnn.parallel.communicator import SOLO, Communicator
from minicnn.parallel.slices import even_slices

T = TypeVar("T")

# A second thread has to be woken, and the two wait for each other at Python's interpreter lock if
# both do little at a time. Measured on fully connected and convolutional networks of 3 to 75 steps:
# with this much work per step, counted as in `Graph.work`, two threads are about as fast as one,
# with three times as much 1.3 to 1.5 times as fast, with a quarter half as fast.
MIN_IMAGES_PER_SHARD = 8
MIN_WORK_PER_SHARD = 20_000_000

_chosen: int | None = None


def set_num_threads(threads: int | None) -> None:
    """Set how many worker threads there are.

    Args:
        threads: how many; None goes back to MINICNN_NUM_THREADS, or all cores.

    Raises:
        ValueError: not an integer above 0.
    """
    if threads is not None and (
        isinstance(threads, bool) or not isinstance(threads, int) or threads < 1
    ):
        raise ValueError(f"threads must be an integer above 0, or None, not {threads!r}")
    global _chosen
    _chosen = threads


def num_threads() -> int:
    """How many worker threads there are: as `set_num_threads` says, else MINICNN_NUM_THREADS, else
    one per core that this process may use.

    Raises:
        ValueError: the variable is not an integer above 0.
    """
    if _chosen is not None:
        return _chosen
    given = os.environ.get("MINICNN_NUM_THREADS")
    if given:
        if not given.isdigit() or int(given) < 1:
            raise ValueError(f"MINICNN_NUM_THREADS must be an integer above 0, not {given!r}")
        return int(given)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def shard_count(images: int, work: int) -> int:
    """How many shards a batch is cut into; 1 on a GPU.

    Args:
        images: how many are in the batch.
        work: per image, of an average step of the schedule, counted as in `Graph.work`.
    """
    if backend.get_backend() != "numpy":
        return 1
    enough = min(images // MIN_IMAGES_PER_SHARD, images * work // MIN_WORK_PER_SHARD)
    return max(1, min(num_threads(), enough))


@cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController()


def one_blas_thread() -> AbstractContextManager[Any]:
    """Within the context BLAS uses one thread; afterwards as many as before."""
    if backend.get_backend() != "numpy" or num_threads() == 1 and os.cpu_count() == 1:
        return nullcontext()
    return _blas().limit(limits=1, user_api="blas")


class _Exchange:
    """What the threads of one run share: a barrier, and a place per thread for its contribution.

    There are two sets of places, used in turn: a thread that writes into one again has passed the
    barrier of the exchange between, which all others enter only when they have read the first. So
    one barrier per exchange is enough.
    """

    def __init__(self, size: int):
        self.barrier = threading.Barrier(size)
        self.slots: tuple[list[Any], list[Any]] = [None] * size, [None] * size


class ThreadCommunicator(Communicator):
    """The communicator of the thread `rank` among `size`; all of them share an `exchange`."""

    def __init__(self, rank: int, size: int, exchange: _Exchange):
        self.rank = rank
        self.size = size
        self._exchange = exchange
        self._turn = 0

    def _gather(self, x: Any) -> list[Any]:
        """The x of every rank, on every rank."""
        slots = self._exchange.slots[self._turn]
        self._turn = 1 - self._turn
        slots[self.rank] = x
        self.barrier()
        return slots

    def allreduce(self, x: Any) -> Any:
        of_ranks = self._gather(x)
        if isinstance(x, tuple):
            return tuple(reduce(add, summands) for summands in zip(*of_ranks, strict=True))
        return reduce(add, of_ranks)

    def broadcast(self, x: Any) -> Any:
        return self._gather(x)[0]

    def barrier(self) -> None:
        self._exchange.barrier.wait()


# One run at a time in the workers: of two runs, whose shards wait for each other at barriers, each
# could hold threads that the other needs to go on.
_workers_taken = threading.Lock()


@cache
def _executor(workers: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(workers, thread_name_prefix="minicnn")


def run_shards(shards: int, work: Callable[[Communicator], T]) -> list[T]:
    """Call `work(communicator)` once per shard, at the same time; the results by rank.

    The caller's thread runs rank 0. An error in one shard stops the others at their next exchange
    and is raised here.

    Args:
        shards: how many.
        work: what each one does.
    """
    if shards == 1:
        return [work(SOLO)]
    exchange = _Exchange(shards)

    def run(rank: int) -> T:
        try:
            return work(ThreadCommunicator(rank, shards, exchange))
        except BaseException:
            exchange.barrier.abort()
            raise

    results: list[T] = []
    errors: list[BaseException] = []
    with _workers_taken:
        futures = [_executor(shards - 1).submit(run, rank) for rank in range(1, shards)]
        try:
            results.append(work(ThreadCommunicator(0, shards, exchange)))
        except BaseException as error:
            exchange.barrier.abort()
            errors.append(error)
        for future in futures:
            try:
                results.append(future.result())
            except BaseException as error:
                errors.append(error)
    if errors:
        # a broken barrier is only the echo of the error that another shard met
        raise next(
            (e for e in errors if not isinstance(e, threading.BrokenBarrierError)), errors[0]
        )
    return results


# Elements a thread must have for its start to pay: 256 K floats are 0.1 ms of a pass over memory.
_MIN_ELEMENTS_PER_THREAD = 1 << 18


def split_work(length: int, work: Callable[[slice], None]) -> None:
    """Call `work` with neighbouring slices of `length` elements, on several threads if these are
    many.

    For work that treats each element alike, whichever slice it is in. Not within `run_shards`.
    """
    threads = 1
    if backend.get_backend() == "numpy":
        threads = max(1, min(num_threads(), length // _MIN_ELEMENTS_PER_THREAD))
    slices = even_slices(length, threads)
    run_shards(threads, lambda comm: work(slices[comm.rank]))
