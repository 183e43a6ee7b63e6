"""`LearningRate`: what `optimizer.learning_rate` gives, a number that can be assigned."""

import operator
from collections.abc import Callable
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from minicnn.optimizers.base import Optimizer


class LearningRate:
    """The learning rate of an optimizer as it is whenever it is read; it counts as a float.

    Like Keras's variable it follows the optimizer: what is to be kept, such as the rate of an
    epoch, is `float(optimizer.learning_rate)`. A copy, also by pickle, is a float.

    Args:
        optimizer: whose.
    """

    __array_priority__ = 100.0  # of array · rate: the product is made here, with a float

    def __init__(self, optimizer: "Optimizer"):
        self._optimizer = optimizer

    def assign(self, value: Any) -> None:
        """Set it to `value`, as `optimizer.learning_rate = value` does."""
        self._optimizer.learning_rate = value

    def numpy(self) -> np.float64:
        """As a number of NumPy."""
        return np.float64(float(self))

    def __float__(self) -> float:
        return self._optimizer._rate_now()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(float(self), dtype)

    def __reduce__(self) -> tuple[type, tuple[float]]:
        return float, (float(self),)

    def __deepcopy__(self, memo: Any) -> float:
        return float(self)


def _count_as_float(name: str, function: Callable[..., Any], reflected: bool = False) -> None:
    setattr(LearningRate, f"__{name}__", lambda self, *others: function(float(self), *others))
    if reflected:
        setattr(LearningRate, f"__r{name}__", lambda self, other: function(other, float(self)))


for _name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow"):
    _count_as_float(_name, getattr(operator, _name), reflected=True)
for _name in ("lt", "le", "gt", "ge", "eq", "ne", "neg", "pos", "abs"):
    _count_as_float(_name, getattr(operator, _name))
for _builtin in (repr, format, round, bool):
    _count_as_float(_builtin.__name__, _builtin)
Real.register(LearningRate)
