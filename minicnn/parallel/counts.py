"""How many threads work, and into how many shards a batch is cut."""

import os
from typing import Any

from minicnn import backend

# A second thread has to be woken, and the two wait for each other at Python's interpreter lock if
# both do little at a time. Measured on fully connected and convolutional networks of 3 to 75 steps:
# with this much work per step, counted as in `Graph.work`, two threads are about as fast as one,
# with three times as much 1.3 to 1.5 times as fast, with a quarter half as fast.
MIN_IMAGES_PER_SHARD = 8
MIN_WORK_PER_SHARD = 20_000_000

_chosen: dict[str, int | None] = {"threads": None, "shards": None}


def set_num_threads(threads: int | None) -> None:
    """Set how many worker threads there are.

    Args:
        threads: how many; None goes back to MINICNN_NUM_THREADS, or all cores.

    Raises:
        ValueError: not an integer above 0.
    """
    _choose("threads", threads)


def num_threads() -> int:
    """How many worker threads there are: as `set_num_threads` says, else MINICNN_NUM_THREADS, else
    one per core that this process may use.

    Raises:
        ValueError: the variable is not an integer above 0.
    """
    given = _given("threads", "MINICNN_NUM_THREADS")
    if given is not None:
        return given
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def set_shards(shards: int | None) -> None:
    """Cut every batch into so many shards, whatever the number of threads: the same seed then gives
    the same weights, bit for bit, on any number of them.

    Args:
        shards: how many; None goes back to MINICNN_SHARDS, or to as many as there are threads.

    Raises:
        ValueError: not an integer above 0.
    """
    _choose("shards", shards)


def number_of_shards() -> int:
    """Into how many shards a large batch is cut, see `shard_count`."""
    return shard_count(1 << 30, 1 << 30)


def shard_count(images: int, work: int) -> int:
    """How many shards a batch is cut into; 1 on a GPU.

    Args:
        images: how many are in the batch.
        work: per image, of an average step of the schedule, counted as in `Graph.work`.

    Raises:
        ValueError: MINICNN_SHARDS is not an integer above 0.
    """
    if backend.get_backend() != "numpy":
        return 1
    given = _given("shards", "MINICNN_SHARDS")
    if given is not None:
        return max(1, min(given, images))
    enough = min(images // MIN_IMAGES_PER_SHARD, images * work // MIN_WORK_PER_SHARD)
    return max(1, min(num_threads(), enough))


def _choose(what: str, value: Any) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise ValueError(f"{what} must be an integer above 0, or None, not {value!r}")
    _chosen[what] = value


def _given(what: str, variable: str) -> int | None:
    """What was chosen, else what the environment says, else None."""
    if _chosen[what] is not None:
        return _chosen[what]
    text = os.environ.get(variable)
    if not text:
        return None
    if not text.isdigit() or int(text) < 1:
        raise ValueError(f"{variable} must be an integer above 0, not {text!r}")
    return int(text)
