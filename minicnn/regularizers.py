"""Penalties on weights, added to the loss during training."""

from typing import Any

import numpy as np

from minicnn.backend import array_module
from minicnn.kernels.dense import dense
from minicnn.registry import Configurable, Registry, serialize_object
from minicnn.typing import Array

REGULARIZERS = Registry("regularizer")


class Regularizer(Configurable):
    """Base class. Your own defines `__call__` and `gradient`."""

    def __call__(self, w: Array) -> Array:
        """The penalty on the weight `w`, a 0-d array."""
        raise NotImplementedError(f"{type(self).__name__} does not define __call__(w)")

    def gradient(self, w: Array) -> Array:
        """d penalty / d `w`, of its shape and dtype."""
        raise NotImplementedError(
            f"{type(self).__name__} does not define gradient(w), which nothing here derives by "
            f"itself"
        )


def _factor(name: str, value: float | None, default: float) -> float:
    value = default if value is None else float(value)
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
        self.l1 = _factor("l1", l1, 0.0)
        self.l2 = _factor("l2", l2, 0.0)

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
        self.l1 = _factor("l1", l1, 0.01)

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
        self.l2 = _factor("l2", l2, 0.01)

    def __call__(self, w: Array) -> Array:
        return self.l2 * _sum_of_squares(w)

    def gradient(self, w: Array) -> Array:
        return w * (2 * self.l2)


@REGULARIZERS.register()
class OrthogonalRegularizer(Regularizer):
    """factor · mean |cos| of the angles between the rows of a matrix, or its columns.

    With N the rows divided by their lengths and S = sign(N Nᵀ), 0 on its diagonal, the gradient is
    G = factor / pairs · S N, without what of it points along a row, divided by the lengths.

    Args:
        factor: 0 or above.
        mode: "rows" or "columns".

    Raises:
        ValueError: a factor that is negative or not finite, another mode, or, when it is called, a
            weight that is not a matrix.
    """

    def __init__(self, factor: float = 0.01, mode: str = "rows"):
        self.factor = _factor("orthogonal", factor, 0.01)
        if mode not in ("rows", "columns"):
            raise ValueError(f"mode must be 'rows' or 'columns', not {mode!r}")
        self.mode = mode

    def _directions(self, w: Array) -> tuple[Array, Array, Array, float]:
        """(N, the lengths, N Nᵀ with 0 on its diagonal, the factor of each pair)."""
        if w.ndim != 2:
            raise ValueError(f"OrthogonalRegularizer takes matrices; got shape {tuple(w.shape)}")
        xp, rows = array_module(w), w if self.mode == "rows" else w.T
        lengths = xp.sqrt((rows * rows).sum(1, keepdims=True))
        lengths += lengths == 0  # a row of zeros is orthogonal to all others
        directions = rows / lengths
        cosines = dense(directions, xp.ascontiguousarray(directions.T))
        cosines *= 1 - xp.eye(len(rows), dtype=w.dtype)
        pairs = len(rows) * (len(rows) - 1) / 2
        return directions, lengths, cosines, self.factor / max(1.0, pairs)

    def __call__(self, w: Array) -> Array:
        _, _, cosines, factor = self._directions(w)
        return 0.5 * factor * array_module(w).abs(cosines).sum()

    def gradient(self, w: Array) -> Array:
        directions, lengths, cosines, factor = self._directions(w)
        gradient = dense(array_module(w).sign(cosines), directions) * factor
        gradient -= directions * (directions * gradient).sum(1, keepdims=True)
        gradient /= lengths
        return gradient if self.mode == "rows" else gradient.T


# Keras has each class under its lower-case name too: regularizers.l2(0.01).
l1, l2, l1_l2, orthogonal_regularizer = L1, L2, L1L2, OrthogonalRegularizer


def get(identifier: Any) -> Regularizer | None:
    """A regularizer.

    Args:
        identifier: its name, configuration or class, or an instance; None stays None. The name
            "l1_l2" alone means both factors 0.01.

    Raises:
        ValueError: an unknown name; the message lists the near matches.
        TypeError: something else, such as a function whose gradient the library does not know.
    """
    return deserialize(identifier)


def deserialize(config: Any, custom_objects: dict[str, type] | None = None) -> Regularizer | None:
    """A regularizer from what `serialize` returned.

    Args:
        config: that, or what else `get` takes.
        custom_objects: your own classes by name.
    """
    if config in ("l1_l2", "L1L2", "l1l2"):
        return L1L2(0.01, 0.01)
    return REGULARIZERS.deserialize(config, custom_objects)


def serialize(regularizer: Regularizer) -> dict[str, Any]:
    """A `regularizer` as a configuration, for `deserialize`."""
    return serialize_object(regularizer, "keras.regularizers")
