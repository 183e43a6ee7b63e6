"""Fixtures and settings for all tests.

`pytest --backend cupy` runs them on a GPU: new arrays are made there, and what is compared is
copied back. Left out, with the reason, are what is marked `cpu_only` and the folders listed here,
and what runs on the stand-in for CuPy, which is the same on any backend.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import emulated_gpu
import numpy as np
import pytest
import strict_backend  # noqa: F401 - it registers itself as a backend
import strict_cuda
from hypothesis import settings

from minicnn import backend
from minicnn.parallel import counts

# The small models of the tests are cut into shards as if they were large ones.
counts.MIN_WORK_PER_SHARD = 1

# Folders in which no array of a GPU is met.
CPU_ONLY = {
    "campaigns": "about files, threads and memory of the host",
    "data": "elements are made on the host",
    "datasets": "data sets are read on the host",
    "kernels": "the kernels are given NumPy arrays; tests/gpu has those for a GPU",
    "parallel": "about threads and memory of the CPU",
    "parity": "compares NumPy with PyTorch and Keras",
    "preprocessing": "images are read on the host",
}

# The same examples in every run, few enough for every push; HYPOTHESIS_PROFILE=thorough draws
# new ones, many more.
settings.register_profile("quick", deadline=None, derandomize=True, max_examples=25)
settings.register_profile("thorough", deadline=None, max_examples=500)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--backend", choices=("numpy", "cupy", "strict", "emulated"),
        default=backend.get_backend(),
        help="where the arrays of the tests are made; 'strict' is the stand-in for CuPy, "
        "'emulated' the same with the kernels in CUDA C, run on the CPU",
    )  # fmt: skip


def pytest_configure(config: pytest.Config) -> None:
    name = config.getoption("--backend")
    try:
        if name == "emulated":
            emulated_gpu.install()
            name = config.option.backend = "strict"
        backend.set_backend(name)
    except RuntimeError as error:
        raise pytest.UsageError(f"--backend {name}: {error}") from error
    if name != "numpy":
        _let_comparisons_copy()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--backend") == "numpy":
        return
    for item in items:
        marker = item.get_closest_marker("cpu_only")
        folder = item.path.relative_to(Path(__file__).parent).parts[0]
        reason = marker.args[0] if marker is not None else CPU_ONLY.get(folder)
        if "strict" in getattr(item, "fixturenames", ()):
            reason = "on the stand-in for CuPy, not on a GPU"
        if reason is not None:
            item.add_marker(pytest.mark.skip(reason=reason))


def _let_comparisons_copy() -> None:
    """`np.testing.assert_...` take arrays of the device, too."""
    for name in ("assert_array_equal", "assert_allclose", "assert_array_less"):
        compare = getattr(np.testing, name)

        def on_the_host(*arrays: Any, _compare: Any = compare, **kwargs: Any) -> None:
            host = [backend.to_numpy(a) if backend.is_array(a) else a for a in arrays]
            _compare(*host, **kwargs)

        setattr(np.testing, name, on_the_host)


@pytest.fixture(autouse=True)
def chosen_backend(request: pytest.FixtureRequest) -> None:
    """Every test begins on the backend that was asked for, wherever the one before has ended."""
    backend.set_backend(request.config.getoption("--backend"))


@pytest.fixture
def strict() -> Iterator[strict_cuda.Transfers]:
    """The strict stand-in for CuPy is the active backend; the value counts its transfers."""
    before = backend.get_backend()
    backend.set_backend("strict")
    strict_cuda.transfers.reset()
    try:
        yield strict_cuda.transfers
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
