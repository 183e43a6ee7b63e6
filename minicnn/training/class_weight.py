"""Weights of samples from weights of their classes."""

from typing import Any

import numpy as np

from minicnn import backend
from minicnn.training.data_checks import check_finite, largest_of

_LARGEST = largest_of("float32")


def weighed(
    y: Any,
    sample_weight: Any,
    class_weight: dict[int, float],
    dtype: Any,
    classes: int | None = None,
) -> np.ndarray:
    """The weight of each sample times that of its class.

    Args:
        y, class_weight, classes: as for `class_weights`.
        sample_weight: (N, ...), or None for 1.
        dtype: of the products.
    """
    by_class = class_weights(y, class_weight, classes).astype(dtype, copy=False)
    if sample_weight is None:
        return by_class
    weights = backend.to_numpy(sample_weight).astype(dtype, copy=False)
    with np.errstate(over="ignore"):
        weights = weights * by_class.reshape(-1, *(1,) * (weights.ndim - 1))
    check_finite(weights, "sample_weight times class_weight")
    return weights


def class_weights(y: Any, class_weight: dict[int, float], classes: int | None = None) -> np.ndarray:
    """The weight of each sample from that of its class; classes not named weigh 1.

    Args:
        y: labels (N,) or (N, 1), or one-hot rows (N, classes).
        class_weight: {label: weight}.
        classes: how many there are; None if labels alone do not say.

    Raises:
        TypeError: class_weight is no dict.
        ValueError: a key that is no class, a weight that is no finite number, or other targets.
    """
    if not isinstance(class_weight, dict):
        raise TypeError(f"class_weight is {{label: weight}}, not {class_weight!r}")
    y = backend.to_numpy(y)
    if y.ndim > 2:
        raise ValueError(
            f"class_weight is for one class per image, targets (n,), (n, 1) or (n, classes); got "
            f"targets of shape {y.shape}: pass sample_weight"
        )
    one_hot = y.ndim > 1 and y.shape[-1] > 1
    labels = y.argmax(-1) if one_hot else y.reshape(-1)
    _check(class_weight, y.shape[-1] if one_hot else classes)
    weights = np.ones(len(labels), "float32")
    for label, weight in class_weight.items():
        weights[labels == label] = weight
    return weights


def _check(class_weight: dict[int, float], classes: int | None) -> None:
    """Raise a ValueError unless the keys are classes and the values finite numbers."""
    for label, weight in class_weight.items():
        if not hasattr(label, "__index__") and not (isinstance(label, float) and label % 1 == 0):
            raise ValueError(
                f"class_weight has the key {label!r} of type {type(label).__name__}; its keys are "
                f"class numbers, integers from 0"
            )
        if label < 0 or (classes is not None and label >= classes):
            known = (
                "" if classes is None else f" to {classes - 1}, since there are {classes} classes"
            )
            raise ValueError(
                f"class_weight has the key {label!r}; its keys are class numbers, from 0{known}"
            )
        try:
            is_finite = abs(float(weight)) <= _LARGEST and not isinstance(weight, str)
        except (TypeError, ValueError, OverflowError):
            is_finite = False
        if not is_finite:
            raise ValueError(
                f"class_weight of class {label} must be a finite number, not {weight!r}"
            )
