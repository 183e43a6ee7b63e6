"""Weights whose values come later: a model from a file costs no more than what the file holds."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

from minicnn import backend
from minicnn.backend import array_module
from minicnn.initializers import Initializer
from minicnn.layers.weight import Weight
from minicnn.typing import Array


class _Waiting:
    """Weights without values.

    Args:
        most_bytes: that their values may take together.

    Attributes:
        weights: {weight: (what stands for its value, its initializer)}.
        left: bytes.
    """

    def __init__(self, most_bytes: int):
        self.weights: dict[Weight, tuple[Array, Initializer]] = {}
        self.most_bytes = self.left = most_bytes

    def stand_in(self, owner: str, shape: tuple[int, ...], dtype: str) -> Array:
        """An array of the shape and dtype, of which one element stands for all."""
        self.left -= math.prod(shape) * np.dtype(dtype).itemsize
        if self.left < 0:
            raise ValueError(
                f"the weights up to {owner}, with its {shape}, take more than {self.most_bytes:,} "
                f"bytes: more than can have come from there"
            )
        element = backend.asarray(np.zeros(1, dtype))
        strided: Array = array_module(element).lib.stride_tricks.as_strided(
            element, shape, (0,) * len(shape)
        )
        return strided

    def fill(self) -> None:
        """Run the initializers of weights that have not been assigned: those of layers that your
        own layers keep for themselves are in no file."""
        for weight, (stand_in, initializer) in self.weights.items():
            if weight.value is stand_in:
                weight.value = _initial(initializer, weight.shape, weight.dtype)


_waiting: ContextVar[_Waiting | None] = ContextVar("waiting", default=None)


@contextmanager
def values_follow(most_bytes: int) -> Iterator[None]:
    """Weights that are made in the block take no memory and run no initializer until they are
    assigned, which is to be done in the block; what is not gets its first values at the end.

    Args:
        most_bytes: that the weights may take together.

    Raises:
        ValueError: a weight that would take more.
    """
    waiting = _Waiting(most_bytes)
    token = _waiting.set(waiting)
    try:
        yield
    finally:
        _waiting.reset(token)
    waiting.fill()


def new_weight(
    name: str,
    shape: tuple[int, ...],
    dtype: str,
    layer: Any,
    initializer: Initializer,
    **options: Any,
) -> Weight:
    """A weight with the first values of its initializer.

    Args:
        name, layer: see `Weight`.
        shape, dtype: of the array.
        initializer: what makes them.
        options: further arguments of `Weight`.
    """
    waiting = _waiting.get()
    if waiting is None:
        return Weight(name, _initial(initializer, shape, dtype), layer, **options)
    stand_in = waiting.stand_in(f"{layer.described}: {name!r}", shape, dtype)
    weight = Weight(name, stand_in, layer, **options)
    waiting.weights[weight] = stand_in, initializer
    return weight


def _initial(initializer: Initializer, shape: tuple[int, ...], dtype: Any) -> Array:
    return backend.asarray(initializer(shape, dtype=dtype))
