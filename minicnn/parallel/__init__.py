"""How a batch is split: a communicator between its shards, and threads that run them."""

from minicnn.parallel.blas import one_blas_thread
from minicnn.parallel.communicator import SOLO, Communicator
from minicnn.parallel.counts import num_threads, set_num_threads, set_shards, shard_count
from minicnn.parallel.threads import run_shards, split_work

__all__ = [
    "SOLO", "Communicator", "num_threads", "one_blas_thread", "run_shards", "set_num_threads",
    "set_shards", "shard_count", "split_work",
]  # fmt: skip
