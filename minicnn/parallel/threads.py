"""A batch split over threads, each with one shard and one BLAS thread.

NumPy releases the interpreter's lock in its loops and products, so threads do run at the same
time. A thread with its own shard of the batch keeps its data in its own core's cache; BLAS's
threads share each small product and mostly wait for each other.
"""

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import nullcontext
from functools import partial, reduce
from operator import add
from queue import SimpleQueue
from typing import Any, TypeVar

from minicnn import backend
from minicnn.parallel.blas import limit_this_thread
from minicnn.parallel.communicator import SOLO, Communicator
from minicnn.parallel.counts import num_threads
from minicnn.parallel.slices import even_slices

T = TypeVar("T")


class _Exchange:
    """What the threads of one run share: a barrier, and a place per thread for its contribution.

    There are two sets of places, used in turn: a thread that writes into one again has passed the
    barrier of the exchange between, which all others enter only when they have read the first. So
    one barrier per exchange is enough.

    There may be more shards than threads that are wanted. So each shard takes one of as many turns
    as there are threads, and gives it back while it waits for the others.
    """

    def __init__(self, size: int, at_once: int):
        self.barrier = threading.Barrier(size)
        self.slots: tuple[list[Any], list[Any]] = [None] * size, [None] * size
        self.turns: Any = threading.Semaphore(at_once) if size > at_once else nullcontext()


class ThreadCommunicator(Communicator):
    """The communicator of the thread `rank` among `size`; all of them share an `exchange`."""

    def __init__(self, rank: int, size: int, exchange: _Exchange):
        self.rank = rank
        self.size = size
        self._exchange = exchange
        self._turn = 0

    def allgather(self, x: Any) -> list[Any]:
        slots = self._exchange.slots[self._turn]
        self._turn = 1 - self._turn
        slots[self.rank] = x
        self.barrier()
        return slots

    def allreduce(self, x: Any) -> Any:
        of_ranks = self.allgather(x)
        if isinstance(x, tuple):
            return tuple(reduce(add, summands) for summands in zip(*of_ranks, strict=True))
        return reduce(add, of_ranks)

    def broadcast(self, x: Any) -> Any:
        return self.allgather(x)[0]

    def barrier(self) -> None:
        turns = self._exchange.turns
        turns.__exit__(None, None, None)
        try:
            self._exchange.barrier.wait()
        finally:
            turns.__enter__()


class _Worker(threading.Thread):
    """A thread that does one task after the other, and waits for the next in between."""

    def __init__(self) -> None:
        super().__init__(name="minicnn", daemon=True)
        self._tasks: SimpleQueue[Callable[[], None]] = SimpleQueue()

    def submit(self, task: Callable[[], T]) -> Future[T]:
        """Have `task` done; what it returns or raises is in the future."""
        future: Future[T] = Future()

        def do() -> None:
            try:
                future.set_result(task())
            except BaseException as error:
                future.set_exception(error)

        self._tasks.put(do)
        return future

    def run(self) -> None:
        """Work, until the process ends."""
        limit_this_thread()
        while True:
            self._tasks.get()()


class _Pool:
    """The workers that have nothing to do.

    A run takes as many as it needs, new ones where these are too few. So it never waits for
    another run, which may be waiting for it: a loss may ask another model.
    """

    def __init__(self) -> None:
        self.begin_anew()

    def begin_anew(self) -> None:
        """In a forked child, which has none of the threads, and may have the lock as held."""
        self._lock = threading.Lock()
        self._idle: list[_Worker] = []

    def take(self, count: int) -> list[_Worker]:
        """So many workers, or as many as can be started."""
        with self._lock:
            taken, self._idle = self._idle[:count], self._idle[count:]
        try:
            while len(taken) < count:
                worker = _Worker()
                worker.start()
                taken.append(worker)
        except RuntimeError:  # the limit of the system, or the interpreter is about to end
            pass
        return taken

    def give_back(self, workers: list[_Worker]) -> None:
        """Make workers that are done free for others."""
        with self._lock:
            self._idle += workers


_pool = _Pool()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.begin_anew)


def run_shards(
    shards: int,
    work: Callable[[Communicator], T],
    independent: bool = False,
    threads: int | None = None,
) -> list[T]:
    """Call `work(communicator)` once per shard, at the same time; the results by rank.

    The caller's thread runs rank 0. An error in one shard stops the others at their next exchange
    and is raised here.

    Args:
        shards: how many.
        work: what each one does.
        independent: whether shards do not talk to each other. Then those for which no thread can be
            started run one after the other in the caller's.
        threads: how many shards are at work at once; default: `num_threads`.

    Raises:
        RuntimeError: no thread can be started.
    """
    if shards == 1:
        return [work(SOLO)]
    exchange = _Exchange(shards, threads or num_threads())

    def run(rank: int) -> T:
        try:
            with exchange.turns:
                return work(ThreadCommunicator(rank, shards, exchange))
        except BaseException:
            exchange.barrier.abort()
            raise

    workers = _pool.take(shards - 1)
    if len(workers) < shards - 1 and not independent:
        _pool.give_back(workers)
        raise RuntimeError(
            f"a batch is cut into {shards} shards, which need {shards - 1} threads beside this "
            f"one; {len(workers)} could be started. Use fewer: minicnn.set_num_threads(1), or "
            f"MINICNN_NUM_THREADS=1"
        )
    futures = [worker.submit(partial(run, rank)) for rank, worker in enumerate(workers, 1)]
    results: list[T] = []
    errors: list[BaseException] = []
    for rank in range(shards):
        try:
            if 0 < rank <= len(futures):
                results.append(futures[rank - 1].result())
            else:
                with exchange.turns:
                    results.append(work(ThreadCommunicator(rank, shards, exchange)))
        except BaseException as error:
            exchange.barrier.abort()
            errors.append(error)
    # one may still be at work where waiting for it was interrupted
    _pool.give_back([w for w, f in zip(workers, futures, strict=True) if f.done()])
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
    run_shards(threads, lambda comm: work(slices[comm.rank]), independent=True)
