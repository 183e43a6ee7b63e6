"""Fixtures for all tests."""

from collections.abc import Iterator

import pytest
import strict_backend

from minicnn import backend


@pytest.fixture
def strict() -> Iterator[strict_backend.Transfers]:
    """The strict stand-in for CuPy is the active backend; the value counts its transfers."""
    before = backend.get_backend()
    backend.set_backend("strict")
    strict_backend.transfers.reset()
    try:
        yield strict_backend.transfers
    finally:
        backend.set_backend(before)
