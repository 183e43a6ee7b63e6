"""An optimizer's state as a list of variables, and gradients given in lists: Keras's ways."""

import warnings
from collections.abc import Iterable, Sequence
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
        place: the dict it lies in.
        key: its key there.
    """

    def __init__(self, name: str, place: dict[str, Any], key: str):
        self.name = name
        self._place = place
        self._key = key

    @property
    def value(self) -> Any:
        """As it is now."""
        return self._place[self._key]

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the array; () for a number."""
        return backend.shape_of(self.value)

    def numpy(self) -> np.ndarray:
        """A copy on the host."""
        return np.array(backend.to_numpy(self.value))

    def assign(self, value: Any) -> None:
        """Take over `value`, an array of the same shape, or else raise a ValueError."""
        value, present = np.asarray(backend.to_numpy(value)), self.value
        if value.shape != self.shape:
            raise ValueError(f"{self.name} has shape {self.shape}; got one of {value.shape}")
        if backend.is_array(present):
            present[...] = backend.asarray(value, present.dtype)
        else:
            self._place[self._key] = type(present)(value)

    def __repr__(self) -> str:
        return f"<StateVariable {self.name} shape={self.shape}>"


def variables_of(optimizer: "Optimizer") -> list[StateVariable]:
    """All that an `optimizer` keeps, in Keras's order."""
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    numbers = {"iteration": "batches", "learning_rate": "_learning_rate"}
    if not isinstance(optimizer._learning_rate, float):
        del numbers["learning_rate"]
    found = [StateVariable(name, vars(optimizer), key) for name, key in numbers.items()]
    return found + [
        StateVariable(f"{weight.name}_{slot}", slots, slot)
        for group in optimizer.slot_groups()
        for weight, slots in optimizer._slots.items()
        for slot in group
    ]


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
