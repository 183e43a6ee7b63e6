"""Losses as functions: one value per prediction, not reduced."""

import inspect
from collections.abc import Callable
from typing import Any

from minicnn import backend
from minicnn.losses.base import LOSSES, Loss, float_array
from minicnn.typing import Array


def function_of(
    cls: type, name: str, compute: Callable[[Any, Array, Array], Array]
) -> Callable[..., Array]:
    """A function of targets, predictions and the arguments of a class, in its order.

    Args:
        cls: of a loss or a metric.
        name: of the function.
        compute: `compute(loss, y_true, y_pred)`.
    """
    y = [
        inspect.Parameter(n, inspect.Parameter.POSITIONAL_OR_KEYWORD) for n in ("y_true", "y_pred")
    ]
    parameters = inspect.signature(cls).parameters.values()
    own = [p for p in parameters if p.name not in ("reduction", "name", "dtype")]
    signature = inspect.Signature([*y, *own])

    def function(*args: Any, **kwargs: Any) -> Array:
        """What the class of the same name computes, for each prediction.

        Args:
            y_true: targets.
            y_pred: predictions (N, ..., C).
            others: see the class.
        """
        arguments = signature.bind(*args, **kwargs).arguments
        y_true, y_pred = arguments.pop("y_true"), float_array(arguments.pop("y_pred"))
        return compute(cls(**arguments), y_true, y_pred)

    function.__name__ = function.__qualname__ = name
    function.__signature__ = signature  # type: ignore[attr-defined]
    return function


def _function(name: str) -> Callable[..., Array]:
    """The function of the loss that is called `name`."""

    def checked(loss: Loss, y_true: Any, y_pred: Array) -> Array:
        loss.check_targets(y_true, tuple(y_pred.shape))
        return loss.per_sample(backend.asarray(y_true), y_pred)[0]

    return function_of(LOSSES.find(name), name, checked)


mean_squared_error = mse = MSE = _function("mean_squared_error")
mean_absolute_error = mae = MAE = _function("mean_absolute_error")
mean_absolute_percentage_error = mape = MAPE = _function("mean_absolute_percentage_error")
mean_squared_logarithmic_error = msle = MSLE = _function("mean_squared_logarithmic_error")
huber = _function("huber")
log_cosh = logcosh = _function("log_cosh")
cosine_similarity = _function("cosine_similarity")
hinge = _function("hinge")
squared_hinge = _function("squared_hinge")
categorical_hinge = _function("categorical_hinge")
kl_divergence = kld = KLD = kullback_leibler_divergence = _function("kl_divergence")
poisson = _function("poisson")
binary_crossentropy = bce = BCE = _function("binary_crossentropy")
binary_focal_crossentropy = _function("binary_focal_crossentropy")
categorical_crossentropy = _function("categorical_crossentropy")
categorical_focal_crossentropy = _function("categorical_focal_crossentropy")
categorical_generalized_cross_entropy = _function("categorical_generalized_cross_entropy")
sparse_categorical_crossentropy = _function("sparse_categorical_crossentropy")
