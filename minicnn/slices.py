"""A length cut into parts: shards of a batch, tiles of a shard, runs of images in a kernel."""

from itertools import pairwise


def even_slices(length: int, parts: int) -> list[slice]:
    """`length` cut into so many neighbouring slices, as even as possible."""
    bounds = [length * i // parts for i in range(parts + 1)]
    return [slice(a, b) for a, b in pairwise(bounds)]
