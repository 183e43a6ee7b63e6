"""The same work on a GPU and on NumPy, and how close the results have to be."""

from collections.abc import Callable
from typing import Any

import numpy as np

from minicnn import backend
from minicnn.dtypes import widened

# Of the largest number of an array: sums are taken in another order on a GPU. In 16 bits a number
# that lies between two of them may then be rounded to either.
TOLERANCE = {"bfloat16": 2**-7, "float16": 2**-10, "float32": 1e-5, "float64": 1e-12}


class HostNumbers:
    """A random generator that draws with NumPy, so that every backend gets the same numbers."""

    def __init__(self, seed: Any):
        self._host = np.random.default_rng(seed)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        draw = getattr(self._host, name)
        return lambda *args, **kwargs: backend.asarray(draw(*args, **kwargs))


def on_both(run: Callable[[], Any]) -> tuple[Any, Any]:
    """What `run` returns with CuPy active, and with NumPy."""
    results = []
    for name in ("cupy", "numpy"):
        backend.set_backend(name)
        results.append(run())
    return results[0], results[1]


def close(ours: Any, expected: Any, tolerance: float | None = None) -> None:
    """Of the same shape and dtype, and nowhere further apart than `tolerance` times the largest
    number; default: `TOLERANCE` of the dtype."""
    ours, expected = backend.to_numpy(ours), backend.to_numpy(expected)
    assert ours.shape == expected.shape and ours.dtype == expected.dtype
    if tolerance is None:
        tolerance = TOLERANCE[str(expected.dtype)]
    ours, expected = widened(ours), widened(expected)
    largest = np.abs(expected).max(initial=0.0)
    np.testing.assert_allclose(ours, expected, rtol=0, atol=tolerance * largest)
