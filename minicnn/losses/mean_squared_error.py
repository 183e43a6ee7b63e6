"""Squared distance."""

from typing import Any

from minicnn.losses.base import LOSSES, Loss, check_same_shape, each
from minicnn.typing import Array, Shape


@LOSSES.register("mse")
class MeanSquaredError(Loss):
    """Mean over the last axis of (y_pred - y_true)².

    Args:
        reduction, name: see `Loss`.
    """

    def __init__(
        self,
        reduction: str = "sum_over_batch_size",
        name: str | None = "mean_squared_error",
    ):
        super().__init__(reduction, name)

    def per_sample(self, y_true: Array, y_pred: Array) -> tuple[Array, Array]:
        difference = y_pred - y_true.astype(y_pred.dtype, copy=False).reshape(y_pred.shape)
        return (difference * difference).mean(axis=-1), difference

    def per_sample_gradient(self, kept: Array, scale: Any) -> Array:
        """2 (y_pred - y_true) / C."""
        gradient = kept * (2.0 / kept.shape[-1])
        gradient *= scale
        return gradient

    def check_targets(self, y: Array, output_shape: Shape) -> None:
        check_same_shape(self, y, output_shape)


def mean_squared_error(y_true: Any, y_pred: Any) -> Array:
    """Mean over the last axis of (y_pred - y_true)², one value per prediction."""
    return each(MeanSquaredError(), y_true, y_pred)
