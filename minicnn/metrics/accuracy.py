"""The share of predictions that are right."""

import math
from collections.abc import Callable
from numbers import Real
from typing import Any

from minicnn.backend import array_module
from minicnn.losses.functions import function_of
from minicnn.metrics.base import METRICS, MeanMetric, beside, class_numbers
from minicnn.typing import Array


class _Accuracy(MeanMetric):
    direction = "up"


@METRICS.register()
class Accuracy(_Accuracy):
    """How often a prediction equals its target: labels against labels, any equal shapes.

    Args:
        name, dtype: see `Metric`.
    """

    def __init__(self, name: str = "accuracy", dtype: Any = None):
        super().__init__(name, dtype)

    def values(self, y_true: Array, y_pred: Array) -> Array:
        if y_true.shape != y_pred.shape:
            raise ValueError(
                f"Accuracy compares element by element, but y_true has shape {tuple(y_true.shape)} "
                f"and y_pred {tuple(y_pred.shape)}; use SparseCategoricalAccuracy for class "
                "numbers against probabilities"
            )
        return y_true == y_pred


@METRICS.register()
class BinaryAccuracy(_Accuracy):
    """How often an output lies on its target's side of a threshold; targets 0 or 1.

    Args:
        name, dtype: see `Metric`.
        threshold: an output above it stands for 1; for logits 0.

    Raises:
        ValueError: a threshold that is no finite number.
    """

    def __init__(self, name: str = "binary_accuracy", dtype: Any = None, threshold: Any = 0.5):
        super().__init__(name, dtype)
        if not isinstance(threshold, Real) or not math.isfinite(threshold):
            raise ValueError(f"threshold must be a finite number, not {threshold!r}")
        self.threshold = float(threshold)

    def values(self, y_true: Array, y_pred: Array) -> Array:
        return y_true.reshape(y_pred.shape) == (y_pred > self.threshold)


@METRICS.register()
class SparseCategoricalAccuracy(_Accuracy):
    """How often the likeliest class is the target: targets (N,) or (N, 1), outputs (N, C).

    Args:
        name, dtype: see `Metric`.
    """

    order_only = True

    def __init__(self, name: str = "sparse_categorical_accuracy", dtype: Any = None):
        super().__init__(name, dtype)

    def values(self, y_true: Array, y_pred: Array) -> Array:
        return y_pred.argmax(axis=-1) == class_numbers(y_true, y_pred)


@METRICS.register()
class CategoricalAccuracy(_Accuracy):
    """How often the likeliest class is the target: one-hot targets (N, C), outputs (N, C).

    Args:
        name, dtype: see `Metric`.
    """

    order_only = True

    def __init__(self, name: str = "categorical_accuracy", dtype: Any = None):
        super().__init__(name, dtype)

    def values(self, y_true: Array, y_pred: Array) -> Array:
        return y_pred.argmax(axis=-1) == _from_one_hot(y_true, y_pred)


@METRICS.register()
class SparseTopKCategoricalAccuracy(_Accuracy):
    """How often the target is among the k likeliest classes: targets (N,) or (N, 1).

    Args:
        k: number of classes, at least 1.
        name, dtype: see `Metric`.
        from_sorted_ids: the outputs are class numbers, the likeliest first, in place of scores.

    Raises:
        ValueError: another k.
    """

    order_only = True

    def __init__(
        self, k: int = 5, name: str = "sparse_top_k_categorical_accuracy", dtype: Any = None,
        from_sorted_ids: bool = False,
    ):  # fmt: skip
        super().__init__(name, dtype)
        self.k = _checked_k(k)
        self.from_sorted_ids = from_sorted_ids

    def values(self, y_true: Array, y_pred: Array) -> Array:
        if self.from_sorted_ids:
            return (y_pred[..., : self.k] == class_numbers(y_true, y_pred)[..., None]).any(axis=-1)
        return in_top_k(class_numbers(y_true, y_pred), y_pred, self.k)


@METRICS.register()
class TopKCategoricalAccuracy(_Accuracy):
    """How often the target is among the k likeliest classes: one-hot targets (N, C).

    Args:
        k: number of classes, at least 1.
        name, dtype: see `Metric`.

    Raises:
        ValueError: another k.
    """

    order_only = True

    def __init__(self, k: int = 5, name: str = "top_k_categorical_accuracy", dtype: Any = None):
        super().__init__(name, dtype)
        self.k = _checked_k(k)

    def values(self, y_true: Array, y_pred: Array) -> Array:
        return in_top_k(_from_one_hot(y_true, y_pred), y_pred, self.k)


def in_top_k(labels: Array, y_pred: Array, k: int) -> Array:
    """Whether fewer than k classes score higher than the target, (N,) bool.

    No sort is needed; classes that tie with the target do not push it out (TensorFlow's
    `in_top_k`). A target whose score is not finite does not count.

    Args:
        labels: targets, class numbers (N,).
        y_pred: scores (N, C).
        k: the target's score is among the k highest.
    """
    xp = array_module(y_pred)
    score = xp.take_along_axis(y_pred, labels[..., None], axis=-1)
    ahead = (y_pred > score).sum(axis=-1)
    return (ahead < k) & xp.isfinite(score[..., 0])


def _from_one_hot(y_true: Array, y_pred: Array) -> Array:
    if y_true.shape != y_pred.shape:
        raise ValueError(
            f"one-hot targets have the shape of the predictions, {tuple(y_pred.shape)}; got "
            f"{tuple(y_true.shape)}. For class numbers use the Sparse... metric"
        )
    return y_true.argmax(axis=-1)


def _checked_k(k: int) -> int:
    if int(k) != k or k < 1:
        raise ValueError(f"k must be a whole number of at least 1, got {k!r}")
    return int(k)


def _function(cls: type, name: str) -> Callable[..., Array]:
    def values(metric: MeanMetric, y_true: Any, y_pred: Array) -> Array:
        found = metric.values(beside(y_true, y_pred), y_pred)
        return found.astype(y_pred.dtype, copy=False)

    return function_of(cls, name, values)


binary_accuracy = _function(BinaryAccuracy, "binary_accuracy")
categorical_accuracy = _function(CategoricalAccuracy, "categorical_accuracy")
sparse_categorical_accuracy = _function(SparseCategoricalAccuracy, "sparse_categorical_accuracy")
top_k_categorical_accuracy = _function(TopKCategoricalAccuracy, "top_k_categorical_accuracy")
sparse_top_k_categorical_accuracy = _function(
    SparseTopKCategoricalAccuracy, "sparse_top_k_categorical_accuracy"
)
