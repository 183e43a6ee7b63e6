"""Files that may not grow: what a full disk does, on any disk."""

import contextlib
from collections.abc import Iterator

import pytest


@contextlib.contextmanager
def files_end_at(size: int) -> Iterator[None]:
    """Writes beyond `size` bytes of a file fail in the block, as on a full disk."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
