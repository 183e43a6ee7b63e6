"""`Weight`: an array that a layer owns; and what is done with all weights of a layer or model."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from minicnn import backend
from minicnn.constraints import Constraint
from minicnn.regularizers import Regularizer
from minicnn.typing import Array

if TYPE_CHECKING:
    from minicnn.layers.base import Layer


class Weight:
    """An array that a layer owns.

    Args:
        name: such as "kernel"; each weight of a layer has its own.
        value: the array, on the backend it was built on; attribute `value`.
        layer: the layer it belongs to.
        learned: whether training ever changes it by gradients (moving averages: no).
        regularizer: penalty on it, or None.
        constraint: what leads it back to where it may be after each step of training, or None.
    """

    def __init__(
        self,
        name: str,
        value: Array,
        layer: "Layer",
        learned: bool,
        regularizer: Regularizer | None,
        constraint: Constraint | None = None,
    ):
        self.name = name
        self.value = value
        self.layer = layer
        self.learned = learned
        self.regularizer = regularizer
        self.constraint = constraint

    @property
    def trainable(self) -> bool:
        """Whether it learns now: `layer.trainable` is read at every training step."""
        return self.learned and self.layer.trainable

    @property
    def path(self) -> str:
        """The layer's name and its own: conv2d/kernel."""
        return f"{self.layer.name}/{self.name}"

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the array."""
        return tuple(self.value.shape)

    @property
    def dtype(self) -> Any:
        """Of the array."""
        return self.value.dtype

    def numpy(self) -> np.ndarray:
        """A copy on the host."""
        return np.array(backend.to_numpy(self.value))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self.numpy(), dtype)

    def assign(self, value: Any) -> "Weight":
        """Take over `value`, keeping this weight's dtype, and return the weight.

        Args:
            value: an array of the weight's shape, or nested lists of numbers.

        Raises:
            ValueError: the shape differs.
        """
        value = backend.asarray(value, self.value.dtype)
        if value.shape != self.value.shape:
            raise ValueError(
                f"{self.path} has shape {self.shape}; cannot assign an array of shape "
                f"{tuple(value.shape)}"
            )
        self.value = value.copy()
        return self

    def __repr__(self) -> str:
        return f"<Weight {self.path} shape={self.shape} dtype={self.dtype}>"


class WeightOwner:
    """What layers and models do with all their weights at once.

    Attributes:
        weights: all of them, in the order in which they were made.
        described: how error messages call the owner.
    """

    @property
    def weights(self) -> list[Weight]:
        """All weights, in the order in which they were made."""
        raise NotImplementedError

    @property
    def described(self) -> str:
        """How error messages call the owner."""
        raise NotImplementedError

    @property
    def trainable_weights(self) -> list[Weight]:
        """Those that learn now."""
        return [w for w in self.weights if w.trainable]

    @property
    def non_trainable_weights(self) -> list[Weight]:
        """Those that do not learn now."""
        return [w for w in self.weights if not w.trainable]

    @property
    def variables(self) -> list[Weight]:
        """Keras's other name for `weights`."""
        return self.weights

    @property
    def trainable_variables(self) -> list[Weight]:
        """Keras's other name for `trainable_weights`."""
        return self.trainable_weights

    @property
    def non_trainable_variables(self) -> list[Weight]:
        """Keras's other name for `non_trainable_weights`."""
        return self.non_trainable_weights

    def get_weights(self) -> list[np.ndarray]:
        """Copies of all weights as NumPy arrays."""
        return [w.numpy() for w in self.weights]

    def set_weights(self, values: Sequence[Any]) -> None:
        """Assign `values`, what `get_weights` returned.

        Raises:
            ValueError: another number of arrays, or another shape; nothing is assigned then.
        """
        weights = self.weights
        if len(values) != len(weights):
            raise ValueError(
                f"{self.described} has {len(weights)} weights; got {len(values)} arrays"
            )
        for weight, value in zip(weights, values, strict=True):
            if backend.shape_of(value) != weight.shape:
                raise ValueError(
                    f"{weight.path} has shape {weight.shape}; got an array of shape "
                    f"{backend.shape_of(value)}"
                )
        for weight, value in zip(weights, values, strict=True):
            weight.assign(value)

    def count_params(self) -> int:
        """Elements of all weights together."""
        return sum(int(np.prod(w.shape)) for w in self.weights)
