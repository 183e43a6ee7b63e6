"""How a batch is split: a communicator between its shards, and threads that run them."""

from minicnn.parallel.communicator import SOLO, Communicator
from minicnn.parallel.threads import (
    num_threads,
    one_blas_thread,
    run_shards,
    set_num_threads,
    shard_count,
    split_work,
)

__all__ = [
    "SOLO", "Communicator", "num_threads", "one_blas_thread", "run_shards", "set_num_threads",
    "shard_count", "split_work",
]  # fmt: skip
