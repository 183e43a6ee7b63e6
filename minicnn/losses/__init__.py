"""Losses: what training makes small.

The functions are Keras's. As a model's loss each stands for the class of the same name.
"""

import inspect
from typing import Any

from minicnn.losses.base import LOSSES, Loss
from minicnn.losses.binary import BinaryCrossentropy, binary_crossentropy
from minicnn.losses.categorical import (
    CategoricalCrossentropy,
    SparseCategoricalCrossentropy,
    categorical_crossentropy,
    sparse_categorical_crossentropy,
)
from minicnn.losses.mean_squared_error import MeanSquaredError, mean_squared_error

__all__ = [
    "LOSSES", "BinaryCrossentropy", "CategoricalCrossentropy", "Loss", "MeanSquaredError",
    "SparseCategoricalCrossentropy", "binary_crossentropy", "categorical_crossentropy", "get",
    "mean_squared_error", "sparse_categorical_crossentropy",
]  # fmt: skip


def get(identifier: Any) -> Loss | None:
    """A loss.

    Args:
        identifier: its name, configuration or class, an instance, or one of this package's
            functions; None stays None.

    Raises:
        ValueError: an unknown name; the message lists the near matches.
        TypeError: something else.
    """
    if inspect.isfunction(identifier) and identifier.__module__.startswith(f"{__name__}."):
        return LOSSES.get(identifier.__name__)
    if inspect.isfunction(identifier):
        raise TypeError(
            f"the function {identifier.__name__} has no gradient that training could follow: write "
            f"it as a subclass of minicnn.losses.Loss with per_sample and per_sample_gradient"
        )
    return LOSSES.get(identifier)
