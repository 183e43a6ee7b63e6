"""Fixtures and settings for all tests."""

import os
from collections.abc import Iterator

import pytest
import strict_backend
from hypothesis import settings

from minicnn import backend
from minicnn.parallel import threads

# The small models of the tests are cut into shards as if they were large ones.
threads.MIN_WORK_PER_SHARD = 1

# The same examples in every run, few enough for every push; HYPOTHESIS_PROFILE=thorough draws
# new ones, many more.
settings.register_profile("quick", deadline=None, derandomize=True, max_examples=25)
settings.register_profile("thorough", deadline=None, max_examples=500)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


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


@pytest.fixture
def float64() -> Iterator[None]:
    """Layers compute in float64 where they are not told otherwise."""
    backend.set_floatx("float64")
    try:
        yield
    finally:
        backend.set_floatx("float32")
