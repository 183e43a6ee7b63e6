"""Arrays of random numbers, as `keras.random` makes them.

In each function `seed` is a whole number, with which every call gives the same, a `SeedGenerator`,
which goes on from call to call, or None for the library's own generator; `dtype` is by default
`backend.floatx()`. Numbers are drawn on the host and are the same on a GPU; they are not those that
Keras draws from the same seed.
"""

from collections.abc import Sequence
from numbers import Integral
from typing import Any

import numpy as np

from minicnn import backend
from minicnn.dtypes import dtype_of
from minicnn.random.seeding import host_generator
from minicnn.typing import Array

Size = Sequence[int]


class SeedGenerator:
    """Gives each draw that it is the `seed` of other numbers.

    Args:
        seed: a whole number, from which all follows; default: drawn from the library's generator.
        name: kept.

    Raises:
        ValueError: another seed.
    """

    def __init__(self, seed: int | None = None, name: str | None = None):
        if seed is None:
            seed = int(host_generator().integers(2**31))
        if isinstance(seed, bool) or not isinstance(seed, Integral) or seed < 0:
            raise ValueError(f"seed is a whole number of at least 0, not {seed!r}")
        self.seed: int = int(seed)
        self.name = name
        self.rng: np.random.Generator = np.random.default_rng(self.seed)

    def get_config(self) -> dict[str, Any]:
        """What an equal generator, at its beginning, is made with."""
        return {"seed": self.seed}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "SeedGenerator":
        """A generator from the `config` that `get_config` gave."""
        return cls(**config)


def normal(
    shape: Size, mean: Any = 0.0, stddev: Any = 1.0, dtype: Any = None, seed: Any = None
) -> Array:
    """Normally distributed numbers of this `mean` and `stddev`.

    Args:
        shape, dtype, seed: of the array, see the module.
        mean, stddev: of the distribution.
    """
    return _made(mean + stddev * _generator(seed).standard_normal(_size(shape)), dtype)


def truncated_normal(
    shape: Size, mean: Any = 0.0, stddev: Any = 1.0, dtype: Any = None, seed: Any = None
) -> Array:
    """As `normal`, but what lies more than two `stddev` from `mean` is drawn again.

    Args:
        shape, mean, stddev, dtype, seed: as for `normal`.
    """
    return _made(mean + stddev * standard_truncated_normal(_generator(seed), _size(shape)), dtype)


def standard_truncated_normal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Standard normal values; those beyond two standard deviations (4.6 %) are drawn again.

    Args:
        rng: draws them.
        shape: of the array.
    """
    values = rng.standard_normal(shape)
    flat = values.reshape(-1)
    outside = np.flatnonzero(np.abs(flat) > 2)
    while outside.size:
        flat[outside] = rng.standard_normal(outside.size)
        outside = outside[np.abs(flat[outside]) > 2]
    return flat.reshape(shape)


def uniform(
    shape: Size, minval: Any = 0.0, maxval: Any = 1.0, dtype: Any = None, seed: Any = None
) -> Array:
    """Numbers evenly distributed over [`minval`, `maxval`); whole ones for a `dtype` of integers.

    Args:
        shape, dtype, seed: of the array, see the module.
        minval, maxval: the bounds.
    """
    if dtype is not None and np.dtype(dtype).kind in "iu":
        return randint(shape, minval, maxval, dtype, seed)
    return _made(_generator(seed).uniform(minval, maxval, _size(shape)), dtype)


def randint(shape: Size, minval: Any, maxval: Any, dtype: Any = "int32", seed: Any = None) -> Array:
    """Whole numbers from `minval` to `maxval` - 1.

    Args:
        shape, dtype, seed: of the array, see the module.
        minval, maxval: the bounds.
    """
    return _made(_generator(seed).integers(minval, maxval, _size(shape)), dtype)


def categorical(logits: Any, num_samples: int, dtype: Any = "int32", seed: Any = None) -> Array:
    """Class numbers (N, num_samples), each as probable as the softmax of its row says.

    argmax(logits + g) has that distribution for g of Gumbel's.

    Args:
        logits: (N, classes).
        num_samples: drawn for each row.
        dtype, seed: see the module.
    """
    logits = backend.to_numpy(logits)[:, None]  # (N, 1, classes)
    noise = _generator(seed).gumbel(size=(len(logits), num_samples, logits.shape[-1]))
    return _made((logits + noise).argmax(-1), dtype)


def shuffle(x: Any, axis: int = 0, seed: Any = None) -> Array:
    """`x` in another order along `axis`.

    Args:
        x: an array.
        axis: along which.
        seed: see the module.
    """
    x = x if backend.is_array(x) else backend.asarray(x)
    return backend.asarray(_generator(seed).permutation(backend.to_numpy(x), axis))


def dropout(
    inputs: Any, rate: float, noise_shape: Sequence[int | None] | None = None, seed: Any = None
) -> Array:
    """`inputs` with elements at random 0 and the others divided by 1 - `rate`.

    Args:
        inputs: an array of floating-point numbers.
        rate: probability of 0, at least 0 and below 1.
        noise_shape: of the mask: 1 where elements are dropped together; None where it is that of
            the inputs.
        seed: see the module.

    Raises:
        ValueError: another rate.
    """
    if not 0 <= rate < 1:
        raise ValueError(f"rate is a probability, at least 0 and below 1, not {rate!r}")
    x = inputs if backend.is_array(inputs) else backend.asarray(inputs, backend.floatx())
    sizes = zip(noise_shape or x.shape, x.shape, strict=True)
    mask = _generator(seed).random([s if n is None else n for n, s in sizes]) >= rate
    return x * backend.array_module(x).asarray(mask / (1 - rate), x.dtype)


def _generator(seed: Any) -> np.random.Generator:
    if isinstance(seed, SeedGenerator):
        return seed.rng
    if seed is None:
        return host_generator()
    if isinstance(seed, bool) or not isinstance(seed, Integral):
        raise TypeError(f"seed is a whole number, a SeedGenerator or None, not {seed!r}")
    return np.random.default_rng(int(seed))


def _size(shape: Any) -> tuple[int, ...]:
    return (int(shape),) if isinstance(shape, Integral) else tuple(shape)


def _made(values: Any, dtype: Any) -> Array:
    name = backend.floatx() if dtype is None else dtype
    return backend.asarray(np.asarray(values), dtype_of(name) if isinstance(name, str) else name)
