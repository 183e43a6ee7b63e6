"""Losses: what training makes small.

The functions are Keras's. As a model's loss each stands for the class of the same name.
"""

import inspect
from typing import Any

from minicnn import registry
from minicnn.losses.base import LOSSES, Loss
from minicnn.losses.binary import BinaryCrossentropy, BinaryFocalCrossentropy
from minicnn.losses.categorical import (
    CategoricalCrossentropy,
    CategoricalFocalCrossentropy,
    CategoricalGeneralizedCrossEntropy,
    SparseCategoricalCrossentropy,
)
from minicnn.losses.divergence import KLDivergence, Poisson
from minicnn.losses.hinge import CategoricalHinge, Hinge, SquaredHinge
from minicnn.losses.regression import (
    CosineSimilarity,
    Huber,
    LogCosh,
    MeanAbsoluteError,
    MeanAbsolutePercentageError,
    MeanSquaredError,
    MeanSquaredLogarithmicError,
)

from minicnn.losses.functions import (  # isort: skip  # of the classes above
    BCE, KLD, MAE, MAPE, MSE, MSLE, bce, binary_crossentropy, binary_focal_crossentropy,
    categorical_crossentropy, categorical_focal_crossentropy,
    categorical_generalized_cross_entropy, categorical_hinge, cosine_similarity, hinge, huber,
    kl_divergence, kld, kullback_leibler_divergence, log_cosh, logcosh, mae, mape,
    mean_absolute_error, mean_absolute_percentage_error, mean_squared_error,
    mean_squared_logarithmic_error, mse, msle, poisson, sparse_categorical_crossentropy,
    squared_hinge,
)  # fmt: skip

__all__ = [
    "BCE", "KLD", "LOSSES", "MAE", "MAPE", "MSE", "MSLE", "BinaryCrossentropy",
    "BinaryFocalCrossentropy", "CategoricalCrossentropy", "CategoricalFocalCrossentropy",
    "CategoricalGeneralizedCrossEntropy", "CategoricalHinge", "CosineSimilarity", "Hinge", "Huber",
    "KLDivergence", "LogCosh", "Loss", "MeanAbsoluteError", "MeanAbsolutePercentageError",
    "MeanSquaredError", "MeanSquaredLogarithmicError", "Poisson", "SparseCategoricalCrossentropy",
    "SquaredHinge", "bce", "binary_crossentropy", "binary_focal_crossentropy",
    "categorical_crossentropy", "categorical_focal_crossentropy",
    "categorical_generalized_cross_entropy", "categorical_hinge", "cosine_similarity",
    "deserialize", "get", "hinge", "huber", "kl_divergence", "kld", "kullback_leibler_divergence",
    "log_cosh", "logcosh", "mae", "mape", "mean_absolute_error", "mean_absolute_percentage_error",
    "mean_squared_error", "mean_squared_logarithmic_error", "mse", "msle", "poisson", "serialize",
    "sparse_categorical_crossentropy", "squared_hinge",
]  # fmt: skip

LOSSES.leave_out("is for segmentation, which minicnn does not do", "Dice", "Tversky")
LOSSES.leave_out("is for sequences, which minicnn does not do", "CTC")
LOSSES.leave_out("compares the images of a batch, of which each thread has a part", "Circle")


def get(identifier: Any) -> Loss | None:
    """A loss.

    Args:
        identifier: its name, configuration or class, an instance, or one of this package's
            functions; None stays None.

    Raises:
        ValueError: an unknown name; the message lists the near matches.
        TypeError: something else.
    """
    if inspect.isfunction(identifier) and registry.is_library_code(identifier):
        return LOSSES.get(identifier.__name__)
    if inspect.isfunction(identifier):
        raise TypeError(
            f"the function {identifier.__name__} has no gradient that training could follow: write "
            f"it as a subclass of minicnn.losses.Loss with per_sample and per_sample_gradient"
        )
    return LOSSES.get(identifier)


def serialize(loss: Any) -> Any:
    """The configuration of a `loss`, as `get` takes it; of a function its name."""
    return loss.__name__ if inspect.isfunction(loss) else registry.serialize(loss)


def deserialize(name: Any, custom_objects: dict[str, type] | None = None) -> Any:
    """A loss from what `serialize` gave.

    Args:
        name: the configuration, or a name.
        custom_objects: your own classes by name, which come first.
    """
    if isinstance(name, dict) and name["class_name"] == "function":  # as Keras writes them
        return get(name["config"])
    if isinstance(name, dict) and custom_objects:
        cls: Any = LOSSES.find(name["class_name"], custom_objects)
        return cls.from_config(name["config"])
    return get(name)


__getattr__ = LOSSES.module_getattr(__name__)
