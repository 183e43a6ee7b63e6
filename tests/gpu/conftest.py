"""Tests on a GPU: `pytest -m gpu`. Where there is none they are skipped, for the reason that
`set_backend` gives."""

from collections.abc import Iterator

import pytest

from minicnn import backend


@pytest.fixture(scope="session")
def gpu_found() -> None:
    before = backend.get_backend()
    try:
        backend.set_backend("cupy")
    except RuntimeError as error:
        pytest.skip(str(error))
    backend.set_backend(before)


@pytest.fixture
def gpu(gpu_found: None) -> Iterator[None]:
    """CuPy is the active backend."""
    before = backend.get_backend()
    backend.set_backend("cupy")
    yield
    backend.set_backend(before)
