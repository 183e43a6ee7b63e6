"""One BLAS thread, for as long as anybody asks for it.

How many threads BLAS uses is a setting of the whole process. Two fits, or a fit and a prediction
beside it, overlap: the first to come sets the limit, the last to leave lifts it.
"""

import os
import sys
import threading
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from threadpoolctl import ThreadpoolController

from minicnn import backend
from minicnn.parallel.counts import num_threads


class _Limit:
    """The limit of the process.

    Attributes:
        lock: held while it is set or lifted.
        users: how many contexts are open, in all threads.
        own: how many of them the current thread has opened.
        before: {library: threads} to be given back; empty where no limit is set.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.users = 0
        self.own = threading.local()
        self.before: dict[Any, int] = {}

    def enter(self) -> None:
        """Set the limit unless somebody has."""
        with self.lock:
            self.users += 1
            self.own.count = getattr(self.own, "count", 0) + 1
            if self.users == 1:
                self.before = {library: library.num_threads for library in libraries()}
                _set(dict.fromkeys(self.before, 1))

    def leave(self) -> None:
        """Lift it if nobody else wants it."""
        with self.lock:
            self.users -= 1
            self.own.count -= 1
            if self.users == 0:
                before, self.before = self.before, {}
                _set(before)

    def begin_anew(self) -> None:
        """In a forked child, which has only the thread that forked: the others are gone, and with
        them what they wanted."""
        self.lock = threading.Lock()
        self.users = getattr(self.own, "count", 0)
        if self.users == 0:
            before, self.before = self.before, {}
            _set(before)


_limit = _Limit()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_limit.begin_anew)


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Within the context BLAS uses one thread; afterwards, when no other thread of the process
    wants one either, as many as before."""
    if backend.get_backend() != "numpy" or num_threads() == 1 and os.cpu_count() == 1:
        yield
        return
    _limit.enter()
    try:
        yield
    finally:
        _limit.leave()


def has_one_thread() -> bool:
    """Whether BLAS has one thread now, since somebody asked for it."""
    return _limit.users > 0


def limit_this_thread() -> None:
    """Set the limit for this thread alone, if there is a BLAS that counts by thread (one that runs
    on OpenMP); for workers, which have nothing else to do."""
    _set({lib: 1 for lib in libraries() if getattr(lib, "threading_layer", "") == "openmp"})


def libraries() -> list[Any]:
    """Every BLAS of the process; NumPy's is not the only one where SciPy is imported."""
    return _libraries_in(_files_of_blas(len(sys.modules)))


@lru_cache(maxsize=1)
def _files_of_blas(modules: int) -> Hashable:
    """The files of BLAS in memory, while there are as many `modules`: only a further one brings
    another. Where the system does not list them, the number of modules says as much."""
    try:
        lines = Path("/proc/self/maps").read_text(errors="replace").splitlines()
    except OSError:
        return modules
    names = {os.path.basename(line) for line in lines}
    return frozenset(n for n in names if any(word in n for word in ("blas", "mkl", "blis")))


@lru_cache(maxsize=1)
def _libraries_in(files: Hashable) -> list[Any]:
    """The same while there are the same `files`. To look takes 2 ms and, on Linux, the lock of the
    loader, for which another thread may wait with Python's: as seldom as can be, and first when
    this module is imported."""
    controllers = ThreadpoolController().lib_controllers
    return [library for library in controllers if library.user_api == "blas"]


libraries()


def _set(threads: dict[Any, int]) -> None:
    for library, count in threads.items():
        # `set_num_threads` of newer versions of threadpoolctl does nothing in a thread other than
        # the one that set a limit first; here the last to leave lifts it, whichever that is
        getattr(library, "_real_set_num_threads", library.set_num_threads)(count)
