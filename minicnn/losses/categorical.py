"""Cross-entropy of classes that exclude each other."""

from typing import Any

import numpy as np

from minicnn import backend
from minicnn.backend import array_module
from minicnn.kernels import cross_entropy
from minicnn.losses.base import LOSSES, each, fits, legend
from minicnn.losses.probabilities import EPSILON, OfProbabilities, check_smoothing
from minicnn.typing import Array, Shape

ONE_OUTPUT = (
    "; one output is the probability of one class: use BinaryCrossentropy and a sigmoid, or as "
    "many outputs as there are classes"
)


class _CrossEntropy(OfProbabilities):
    """-sum_c t_c log p_c, with targets t from `_targets`."""

    closing = "softmax"

    def _targets(self, y_true: Array, y_pred: Array) -> Array:
        """Targets (..., C), smoothed."""
        raise NotImplementedError

    def per_sample(self, y_true: Array, y_pred: Array) -> tuple[Array, Any]:
        xp = array_module(y_pred)
        targets = self._targets(y_true, y_pred)
        if self.from_logits:
            return cross_entropy.of_logits(y_pred, targets)
        total = y_pred.sum(axis=-1, keepdims=True)
        p = y_pred / total
        log_p = xp.log(xp.clip(p, EPSILON, 1 - EPSILON))
        return -(targets * log_p).sum(axis=-1), (targets, p, total)

    def per_sample_gradient(self, kept: Any, scale: Any) -> Array:
        """On logits z: p · sum(t) - t.

        On values x with p = x / s, s = sum(x): with g = -t / p, 0 where p was clipped,
        dL/dx = (g - sum(g · p)) / s.
        """
        if self.from_logits:
            log_p, targets = kept
            return cross_entropy.of_logits_gradient(log_p, targets, scale)
        targets, p, total = kept
        xp = array_module(p)
        gradient = targets / xp.clip(p, EPSILON, 1 - EPSILON)
        gradient *= (p >= EPSILON) & (p <= 1 - EPSILON)
        inner = (gradient * p).sum(axis=-1, keepdims=True)
        gradient = (inner - gradient) / total
        gradient *= scale
        return gradient


@LOSSES.register()
class SparseCategoricalCrossentropy(_CrossEntropy):
    """-log p[label]: labels are class numbers (N,) or (N, 1), predictions (N, C).

    Predictions may have more axes, (N, ..., C) with labels (N, ...): one class per pixel.

    Args:
        from_logits: predictions are logits; else probabilities, which are divided by their sum
            and clipped to [1e-7, 1 - 1e-7].
        label_smoothing: the target is (1 - label_smoothing) one-hot + label_smoothing / C
            (Szegedy et al. 2015, arXiv:1512.00567, section 7).
        reduction, name: see `Loss`.

    Raises:
        ValueError: label_smoothing outside 0 to 1, or another reduction.
    """

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        reduction: str = "sum_over_batch_size",
        name: str | None = "sparse_categorical_crossentropy",
    ):
        super().__init__(reduction, name)
        self.from_logits = from_logits
        self.label_smoothing = check_smoothing(label_smoothing)

    def _targets(self, y_true: Array, y_pred: Array) -> Array:
        xp = array_module(y_pred)
        labels = y_true.astype(xp.int64, copy=False).reshape(-1)
        targets = cross_entropy.one_hot(
            labels, y_pred.shape[-1], self.label_smoothing, y_pred.dtype
        )
        return targets.reshape(y_pred.shape)

    def check_targets(self, y: Array, output_shape: Shape) -> None:
        y = backend.to_numpy(y)
        classes = output_shape[-1]
        shape = y.shape
        if y.ndim == len(output_shape) and y.shape[-1] == 1:
            shape = y.shape[:-1]
        if not fits(shape, output_shape[:-1]):
            hint = (
                "; one-hot targets belong to CategoricalCrossentropy"
                if fits(y.shape, output_shape)
                else ""
            )
            raise ValueError(
                f"SparseCategoricalCrossentropy with a model of output shape {output_shape} takes "
                f"class numbers of shape {legend(output_shape[:-1])}; got targets of shape "
                f"{y.shape}{hint}"
            )
        if y.size == 0:
            return
        if y.dtype.kind not in "iub" and not (y.dtype.kind == "f" and (y == np.floor(y)).all()):
            wrong = y[y != np.floor(y)] if y.dtype.kind == "f" else y.reshape(-1)
            raise ValueError(
                f"labels are whole numbers from 0 to {_last(classes)}; got {y.dtype} values "
                f"such as {wrong[0].item()!r}"
            )
        low, high = int(y.min()), int(y.max())
        if low < 0 or (classes is not None and high >= classes):
            raise ValueError(
                f"labels lie between {low} and {high}, but a model with {classes} outputs "
                f"takes labels from 0 to {_last(classes)}{ONE_OUTPUT if classes == 1 else ''}"
            )


def _last(classes: int | None) -> int | str:
    return "C - 1" if classes is None else classes - 1


@LOSSES.register()
class CategoricalCrossentropy(_CrossEntropy):
    """-sum_c t_c log p_c: targets are one-hot or other probabilities (N, C).

    Args:
        from_logits: predictions are logits; else probabilities, which are divided by their sum
            and clipped to [1e-7, 1 - 1e-7].
        label_smoothing: the target is (1 - label_smoothing) t + label_smoothing / C.
        reduction, name: see `Loss`.

    Raises:
        ValueError: label_smoothing outside 0 to 1, or another reduction.
    """

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        reduction: str = "sum_over_batch_size",
        name: str | None = "categorical_crossentropy",
    ):
        super().__init__(reduction, name)
        self.from_logits = from_logits
        self.label_smoothing = check_smoothing(label_smoothing)

    def _targets(self, y_true: Array, y_pred: Array) -> Array:
        targets = y_true.astype(y_pred.dtype, copy=False)
        if self.label_smoothing:
            smoothing = self.label_smoothing
            targets = targets * (1.0 - smoothing) + smoothing / y_pred.shape[-1]
        return targets

    def check_targets(self, y: Array, output_shape: Shape) -> None:
        shape = backend.shape_of(y)
        if output_shape[-1] == 1:
            raise ValueError(
                f"CategoricalCrossentropy needs two outputs or more; the model's output shape is "
                f"{legend(output_shape)}{ONE_OUTPUT}"
            )
        if fits(shape, output_shape):
            return
        hint = ""
        labels = shape[:-1] if shape and shape[-1] == 1 and len(shape) > 1 else shape
        if fits(labels, output_shape[:-1]):
            hint = (
                "; class numbers belong to SparseCategoricalCrossentropy, or go through "
                "minicnn.utils.to_categorical"
            )
        raise ValueError(
            f"CategoricalCrossentropy takes targets of the model's output shape "
            f"{legend(output_shape)}; got shape {shape}{hint}"
        )


def sparse_categorical_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, label_smoothing: float = 0.0
) -> Array:
    """-log p[label] of each prediction.

    Args:
        y_true: labels (N,) or (N, 1).
        y_pred: predictions (N, C).
        from_logits, label_smoothing: see `SparseCategoricalCrossentropy`.
    """
    return each(SparseCategoricalCrossentropy(from_logits, label_smoothing), y_true, y_pred)


def categorical_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, label_smoothing: float = 0.0
) -> Array:
    """-sum_c t_c log p_c of each prediction.

    Args:
        y_true: targets t, one-hot (N, C).
        y_pred: predictions (N, C).
        from_logits, label_smoothing: see `CategoricalCrossentropy`.
    """
    return each(CategoricalCrossentropy(from_logits, label_smoothing), y_true, y_pred)
