"""What the shards of one batch say to each other."""

from typing import Any


class Communicator:
    """A group of one: the whole batch is here, and nothing has to be exchanged.

    Groups of several shards (threads, processes, GPUs) override the operations; every shard of a
    group calls them in the same order.

    Attributes:
        rank: which shard this is, from 0.
        size: how many shards there are.
    """

    rank = 0
    size = 1

    def allgather(self, x: Any) -> list[Any]:
        """The `x` of every shard, in the order of their ranks, on every shard; to be read before
        the next exchange."""
        return [x]

    def allreduce(self, x: Any) -> Any:
        """The sum of `x` over all shards, added in the order of their ranks, on every shard.

        Args:
            x: an array or a number, or a tuple of them, each of which is summed by itself.
        """
        return x

    def broadcast(self, x: Any) -> Any:
        """The `x` of rank 0, on every shard."""
        return x

    def barrier(self) -> None:
        """Wait for all shards."""


SOLO = Communicator()
