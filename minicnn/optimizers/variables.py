"""An optimizer's state as a list of variables, and gradients given in lists: Keras's ways."""

import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from minicnn import backend
from minicnn.typing import Array

if TYPE_CHECKING:
    from minicnn.optimizers.base import Optimizer


class StateVariable:
    """An array or a number that an optimizer keeps.

    Args:
        name: such as "iteration", or "kernel_momentum" of a weight called "kernel".
        read: gives it.
        write: takes over an array of its shape.
    """

    def __init__(self, name: str, read: Callable[[], Any], write: Callable[[np.ndarray], None]):
        self.name = name
        self._read = read
        self._write = write

    @property
    def value(self) -> Any:
        """As it is now."""
        return self._read()

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the array; () for a number."""
        return backend.shape_of(self.value)

    def numpy(self) -> np.ndarray:
        """A copy on the host."""
        return np.array(backend.to_numpy(self.value))

    def assign(self, value: Any) -> None:
        """Take over `value`, an array of the same shape.

        Raises:
            ValueError: it has another shape.
        """
        value = np.asarray(backend.to_numpy(value))
        if value.shape != self.shape:
            raise ValueError(f"{self.name} has shape {self.shape}; got one of {value.shape}")
        self._write(value)

    def __repr__(self) -> str:
        return f"<StateVariable {self.name} shape={self.shape}>"


def variables_of(optimizer: "Optimizer") -> list[StateVariable]:
    """All that an `optimizer` keeps, in Keras's order."""

    def set_count(value: np.ndarray) -> None:
        optimizer.batches = int(value)

    found = [StateVariable("iteration", lambda: optimizer.batches, set_count)]
    if isinstance(optimizer._learning_rate, float):
        found.append(
            StateVariable(
                "learning_rate",
                lambda: optimizer._learning_rate,
                lambda value: setattr(optimizer, "learning_rate", float(value)),
            )
        )
    return found + [
        _slot_variable(optimizer, weight, name)
        for group in optimizer.slot_groups()
        for weight in optimizer._slots
        for name in group
    ]


def _slot_variable(optimizer: "Optimizer", weight: Any, name: str) -> StateVariable:
    def read() -> Array:
        return optimizer._slots_of(weight)[name]

    def write(value: np.ndarray) -> None:
        read()[...] = backend.asarray(value, read().dtype)

    return StateVariable(f"{weight.name}_{name}", read, write)


def by_weight(
    optimizer: "Optimizer", gradients: Sequence[Any], weights: Iterable[Any] | None
) -> dict[Any, Array]:
    """{weight: gradient} of `gradients` in the order of the `weights`, or of those that the
    `optimizer` was built for. Weights whose gradient is None are left out with a warning.

    Raises:
        ValueError: no weights, another number of them, one of them twice, or not one gradient.
    """
    if weights is None and not optimizer.built:
        raise ValueError(
            "gradients in a list need the weights they belong to: apply(gradients, weights), or "
            "optimizer.build(weights) before"
        )
    known = list(optimizer._slots if weights is None else weights)
    given = list(gradients)
    if len(known) != len(given) or len(set(known)) != len(known):
        raise ValueError(
            f"there is one gradient for each weight; got {len(given)} gradients for "
            f"{len(set(known))} weights"
        )
    missing = [w.name for w, g in zip(known, given, strict=True) if g is None]
    if given and len(missing) == len(given):
        raise ValueError("no gradients: all of them are None")
    if missing:
        warnings.warn(f"there are no gradients for the weights {missing}", stacklevel=3)
    return {
        w: backend.asarray(g, w.value.dtype)
        for w, g in zip(known, given, strict=True)
        if g is not None
    }
