"""Losses as functions: one value per prediction, not reduced."""

import inspect
from collections.abc import Callable
from typing import Any

from minicnn import backend
from minicnn.losses.base import LOSSES, Loss, float_array
from minicnn.typing import Array


def _function(name: str) -> Callable[..., Array]:
    """The function called `name`, of the class that is called so, with its arguments in their
    order."""
    cls: type[Loss] = LOSSES.find(name)
    y = [
        inspect.Parameter(n, inspect.Parameter.POSITIONAL_OR_KEYWORD) for n in ("y_true", "y_pred")
    ]
    own = [
        parameter
        for parameter in inspect.signature(cls).parameters.values()
        if parameter.name not in ("reduction", "name", "dtype")
    ]
    signature = inspect.Signature([*y, *own])

    def function(*args: Any, **kwargs: Any) -> Array:
        """The loss of each prediction, as the class of the same name computes it.

        Args:
            y_true: targets.
            y_pred: predictions (N, ..., C).
            others: see the class.
        """
        arguments = signature.bind(*args, **kwargs).arguments
        y_true, y_pred = arguments.pop("y_true"), float_array(arguments.pop("y_pred"))
        loss = cls(**arguments)
        loss.check_targets(y_true, tuple(y_pred.shape))
        return loss.per_sample(backend.asarray(y_true), y_pred)[0]

    function.__name__ = function.__qualname__ = name
    function.__signature__ = signature  # type: ignore[attr-defined]
    return function


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
