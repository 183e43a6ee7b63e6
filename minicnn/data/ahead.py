"""Work that is done ahead in threads and comes out in order.

Nothing is begun before the first element is asked for, and no more is made than was allowed. When
whoever takes the elements stops, the threads end after what they are at.
"""

import contextlib
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from minicnn.parallel.blas import limit_this_thread

_NAME = "minicnn-data"  # of the threads
_PATIENCE = 1.0  # seconds that a thread may take to end before nobody waits for it any longer


def mapped_ahead(
    function: Callable[[Any], Any], items: Iterable[Any], threads: int, most: int
) -> Iterator[Any]:
    """`function(item)` for each of the items, in their order.

    An error is raised where its item would have come.

    Args:
        function: called in the threads.
        items: taken in the thread of whoever asks for results.
        threads: how many calls there are at the same time.
        most: calls that are begun or done before their result is asked for.
    """
    pool = ThreadPoolExecutor(threads, _NAME, initializer=limit_this_thread)
    waiting: deque[Future[Any]] = deque()
    source, failure, ended = iter(items), None, False
    try:
        while True:
            while not ended and len(waiting) < most:
                try:
                    waiting.append(pool.submit(function, next(source)))
                except StopIteration:
                    ended = True
                except Exception as error:
                    failure, ended = error, True
            if not waiting:
                break
            yield waiting.popleft().result()
        if failure is not None:
            raise failure
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def prefetched(items: Iterable[Any], most: int) -> Iterator[Any]:
    """The items, made ahead in one thread.

    Args:
        items: taken in that thread only.
        most: how many may wait.
    """
    waiting: deque[tuple[bool, Any]] = deque()  # (True, item), and at the end (False, error)
    changed = threading.Condition()
    stopped = False

    def fill() -> None:
        limit_this_thread()
        end = None
        try:
            for item in items:
                with changed:
                    waiting.append((True, item))
                    del item
                    changed.notify_all()
                    changed.wait_for(lambda: stopped or len(waiting) < most)
                    if stopped:
                        break
        except BaseException as error:
            end = error
        with contextlib.suppress(Exception):
            items.close()  # type: ignore[attr-defined]
        with changed:
            waiting.append((False, end))
            changed.notify_all()

    thread = threading.Thread(target=fill, name=_NAME, daemon=True)
    thread.start()
    try:
        while True:
            with changed:
                changed.wait_for(lambda: waiting)
                is_item, item = waiting.popleft()
                changed.notify_all()
            if not is_item:
                if item is not None:
                    raise item
                return
            yield item
            del item
    finally:
        with changed:
            stopped = True
            changed.notify_all()
        thread.join(_PATIENCE)


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
