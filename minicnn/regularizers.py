"""Penalties on weights, added to the loss during training."""

from typing import Any

import numpy as np

from minicnn.backend import array_module
from minicnn.registry import Configurable, Registry
from minicnn.typing import Array

REGULARIZERS = Registry("regularizer")


class Regularizer(Configurable):
    """Base class. Your own defines `__call__` and `gradient`."""

    def __call__(self, w: Array) -> Array:
        """The penalty on the weight `w`, a 0-d array."""
        raise NotImplementedError(f"{type(self).__name__} does not define __call__(w)")

    def gradient(self, w: Array) -> Array:
        """d penalty / d `w`, of its shape and dtype."""
        raise NotImplementedError(f"{type(self).__name__} does not define gradient(w)")


def _factor(name: str, value: float) -> float:
    value = float(value)
    if not 0 <= value < float("inf"):
        raise ValueError(f"the {name} factor must be a finite number, 0 or above; got {value!r}")
    return value


def _sum_of_squares(w: Array) -> Array:
    # no dot product on a GPU: cuBLAS refuses to make one while a CUDA graph is captured
    return np.vdot(w, w) if type(w) is np.ndarray else (w * w).sum()


@REGULARIZERS.register("l1_l2")
class L1L2(Regularizer):
    """l1 · sum |w| + l2 · sum w²; gradient l1 · sign(w) + 2 · l2 · w.

    Args:
        l1, l2: factors, 0 or above.

    Raises:
        ValueError: a factor that is negative or not finite.
    """

    def __init__(self, l1: float = 0.0, l2: float = 0.0):
        self.l1 = _factor("l1", l1)
        self.l2 = _factor("l2", l2)

    def __call__(self, w: Array) -> Array:
        xp = array_module(w)
        penalty = xp.zeros((), w.dtype)
        if self.l1:
            penalty = penalty + self.l1 * xp.abs(w).sum()
        if self.l2:
            penalty = penalty + self.l2 * _sum_of_squares(w)
        return penalty

    def gradient(self, w: Array) -> Array:
        xp = array_module(w)
        gradient = w * (2 * self.l2)
        if self.l1:
            gradient += self.l1 * xp.sign(w)
        return gradient


@REGULARIZERS.register()
class L1(Regularizer):
    """l1 · sum |w|: draws weights to exactly 0. Gradient l1 · sign(w), 0 at 0.

    Args:
        l1: factor, 0 or above.

    Raises:
        ValueError: a factor that is negative or not finite.
    """

    def __init__(self, l1: float = 0.01):
        self.l1 = _factor("l1", l1)

    def __call__(self, w: Array) -> Array:
        return self.l1 * array_module(w).abs(w).sum()

    def gradient(self, w: Array) -> Array:
        return self.l1 * array_module(w).sign(w)


@REGULARIZERS.register()
class L2(Regularizer):
    """l2 · sum w², without the factor 1/2 found in some books. Gradient 2 · l2 · w.

    Args:
        l2: factor, 0 or above.

    Raises:
        ValueError: a factor that is negative or not finite.
    """

    def __init__(self, l2: float = 0.01):
        self.l2 = _factor("l2", l2)

    def __call__(self, w: Array) -> Array:
        return self.l2 * _sum_of_squares(w)

    def gradient(self, w: Array) -> Array:
        return w * (2 * self.l2)


def l1(l1: float = 0.01) -> L1:
    """`L1` with the factor `l1`: Keras's lower-case name."""
    return L1(l1)


def l2(l2: float = 0.01) -> L2:
    """`L2` with the factor `l2`: Keras's lower-case name."""
    return L2(l2)


def l1_l2(l1: float = 0.01, l2: float = 0.01) -> L1L2:
    """`L1L2` with the factors `l1` and `l2`, whose defaults are not 0 here, as in Keras."""
    return L1L2(l1, l2)


def get(identifier: Any) -> Regularizer | None:
    """A regularizer.

    Args:
        identifier: its name, configuration or class, or an instance; None stays None. The name
            "l1_l2" alone means both factors 0.01.

    Raises:
        ValueError: an unknown name; the message lists the near matches.
        TypeError: something else.
    """
    if identifier in ("l1_l2", "L1L2", "l1l2"):
        return l1_l2()
    return REGULARIZERS.get(identifier)
