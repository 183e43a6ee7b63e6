"""`Variable`: what a metric of your own counts in."""

from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from minicnn.backend import to_numpy


class Variable(NDArrayOperatorsMixin):
    """An array on the host that can be assigned; it counts as an array of NumPy.

    Args:
        value: the array; its dtype stays.
        name: for readers alone.
    """

    def __init__(self, value: Any, name: str | None = None):
        self.value = np.array(value)
        self.name = name

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the array."""
        return self.value.shape

    @property
    def dtype(self) -> Any:
        """Of the array."""
        return self.value.dtype

    def assign(self, value: Any) -> "Variable":
        """Take over `value`, which broadcasts to the variable's shape."""
        self.value[...] = to_numpy(value)  # from a GPU, too
        return self

    def assign_add(self, value: Any) -> "Variable":
        """Add `value`."""
        return self.assign(self.value + to_numpy(value))

    def assign_sub(self, value: Any) -> "Variable":
        """Take `value` off."""
        return self.assign(self.value - to_numpy(value))

    def numpy(self) -> np.ndarray:
        """A copy."""
        return self.value.copy()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.value, dtype)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        arrays = [x.value if isinstance(x, Variable) else x for x in inputs]
        return getattr(ufunc, method)(*arrays, **options)

    def __getitem__(self, index: Any) -> Any:
        return self.value[index]

    def __float__(self) -> float:
        return float(self.value)

    def __int__(self) -> int:
        return int(self.value)

    def __repr__(self) -> str:
        return f"<Variable {self.name or ''} {self.value!r}>"
