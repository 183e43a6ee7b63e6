"""Work that is done ahead in threads and comes out in order.

Nothing is begun before the first element is asked for, and no more is made than was allowed. When
whoever takes the elements stops, the threads end after what they are at.
"""

import itertools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from minicnn.parallel.blas import limit_this_thread

_END = object()


def mapped_ahead(
    function: Callable[[Any], Any], items: Iterable[Any], threads: int, most: int
) -> Iterator[Any]:
    """`function(item)` for each of the items, in their order.

    An error is raised where its item would have come.

    Args:
        function: called in the threads.
        items: taken in the thread of whoever asks for results.
        threads: how many calls there are at the same time.
        most: calls that are begun or done while the result before them is in use.
    """
    pool = ThreadPoolExecutor(threads, "minicnn-data", initializer=limit_this_thread)

    def begun() -> Iterator[Future[Any]]:
        try:
            for item in items:
                yield pool.submit(function, item)
        except Exception as error:
            failed: Future[Any] = Future()
            failed.set_exception(error)
            yield failed

    waiting: deque[Future[Any]] = deque()
    try:
        for result in begun():
            waiting.append(result)
            if len(waiting) > most:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def prefetched(items: Iterable[Any], most: int) -> Iterator[Any]:
    """The items, made ahead in one thread.

    Args:
        items: taken in that thread only.
        most: how many may wait.
    """
    iterator = iter(items)
    taken = mapped_ahead(lambda _: next(iterator, _END), itertools.repeat(None), 1, most)
    return itertools.takewhile(lambda item: item is not _END, taken)


class Pass:
    """One pass over a data set, an iterator; `next` has two more names, as in TensorFlow.

    Args:
        elements: of the pass.
        form: what the user gets of each.
    """

    def __init__(self, elements: Iterator[Any], form: Callable[[Any], Any]):
        self._elements = elements
        self._form = form
        self._process = os.getpid()

    def __iter__(self) -> "Pass":
        return self

    def __next__(self) -> Any:
        if os.getpid() != self._process:  # whose threads are not here to wait for
            raise RuntimeError(
                "this pass over a data set was begun in another process; begin a new one here "
                "with iter(dataset)"
            )
        return self._form(next(self._elements))

    next = get_next = __next__
