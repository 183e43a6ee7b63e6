"""A length cut into slices: the shards of a batch, the chunks of a few images that go together."""

from collections.abc import Callable
from itertools import pairwise


def even_slices(length: int, parts: int) -> list[slice]:
    """`length` cut into `parts` neighbouring slices, as even as possible."""
    bounds = [length * i // parts for i in range(parts + 1)]
    return [slice(a, b) for a, b in pairwise(bounds)]


def chunks(length: int, bytes_each: int, most_bytes: int) -> list[slice]:
    """`length` images (or rows) cut into chunks, each as large as fits; the last one is the rest.

    Args:
        length: how many images.
        bytes_each: bytes per image.
        most_bytes: of a chunk; one image goes alone where it has more.
    """
    images = max(1, most_bytes // max(1, bytes_each))
    return [slice(i, min(i + images, length)) for i in range(0, length, images)]


def even_chunks(
    length: int,
    bytes_each: int,
    chunk_bytes: int,
    rounding: Callable[[float], int] = round,
) -> list[slice]:
    """`length` images (or rows) cut into chunks of about `chunk_bytes`, as even as possible.

    Args:
        length: how many images.
        bytes_each: bytes per image.
        chunk_bytes: of a chunk.
        rounding: of the number of chunks; with math.floor they are rather larger than smaller.

    Returns:
        At least one slice, and with a length above 0 no empty one.
    """
    count = rounding(length * bytes_each / max(1, chunk_bytes))
    return even_slices(length, max(1, min(length, count)))
