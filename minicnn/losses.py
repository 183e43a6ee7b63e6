"""What training makes small: the distance between predictions and targets.

A loss gives one value per prediction (`per_sample`); over a batch these are weighted, summed and
divided by the number of predictions, whatever the weights, as in Keras:

    value = sum_i weight_i · loss_i / total
"""

import copy
import inspect
import math
from typing import Any

import numpy as np

from minicnn import backend
from minicnn.backend import array_module
from minicnn.dtypes import is_floating, widened
from minicnn.kernels import cross_entropy
from minicnn.registry import Configurable, Registry
from minicnn.typing import Array, Shape

LOSSES = Registry("loss")

EPSILON = 1e-7  # probabilities are kept between EPSILON and 1 - EPSILON, as in Keras


class Loss(Configurable):
    """Base class. Your own defines `per_sample` and `per_sample_gradient`; predictions of 16 bits
    reach them in float32.

    Args:
        reduction: "sum_over_batch_size" divides the sum by the number of predictions, "sum" does
            not.
        name: for reports.

    Raises:
        ValueError: another reduction.
    """

    def __init__(self, reduction: str = "sum_over_batch_size", name: str | None = None):
        if reduction not in ("sum_over_batch_size", "sum"):
            raise ValueError(f"reduction must be 'sum_over_batch_size' or 'sum', not {reduction!r}")
        self.reduction = reduction
        self.name = name

    def per_sample(self, y_true: Array, y_pred: Array) -> tuple[Array, Any]:
        """Losses of shape y_pred.shape[:-1], and whatever the gradient needs.

        Args:
            y_true: targets, on the device of y_pred.
            y_pred: predictions (N, ..., C).
        """
        raise NotImplementedError(f"{type(self).__name__} does not define per_sample")

    def per_sample_gradient(self, kept: Any, scale: Any) -> Array:
        """d (sum of scale · losses) / d y_pred.

        Args:
            kept: what `per_sample` returned for it.
            scale: a number, or an array (..., 1).
        """
        raise NotImplementedError(f"{type(self).__name__} does not define per_sample_gradient")

    def check_targets(self, y: Array, output_shape: Shape) -> None:
        """See whether targets can belong to a model.

        Args:
            y: targets, on the host or on a device.
            output_shape: of the model, (None, ..., C).

        Raises:
            ValueError: they cannot.
        """

    def forward(
        self,
        y_true: Array,
        y_pred: Array,
        sample_weight: Array | None = None,
        total: int | None = None,
    ) -> tuple[Array, Any]:
        """The loss over a batch, a 0-d array, and the state `backward` reads.

        Args:
            y_true: targets, on the device of y_pred.
            y_pred: predictions (N, ..., C); of those of 16 bits the loss is float32.
            sample_weight: (N,), or one weight for each of (N, ...).
            total: number of samples to divide by, where these are a shard of the batch;
                default: N.
        """
        losses, kept = self.per_sample(y_true, widened(y_pred))
        scale: float | Array = 1.0
        if self.reduction == "sum_over_batch_size":
            samples = losses.shape[0] if total is None else total
            scale = 1.0 / max(1, samples * math.prod(losses.shape[1:]))
        if sample_weight is None:
            return losses.sum() * scale, (kept, scale, y_pred.dtype)
        weights = sample_weight.astype(losses.dtype, copy=False) * scale
        if weights.ndim > losses.ndim and weights.shape[-1] == 1:
            weights = weights[..., 0]
        weights = weights.reshape(weights.shape + (1,) * (losses.ndim - weights.ndim))
        return (losses * weights).sum(), (kept, weights[..., None], y_pred.dtype)

    def backward(self, state: Any, factor: Any = None) -> Array:
        """d value / d y_pred, of y_pred's shape and dtype.

        Args:
            state: what `forward` returned beside the value.
            factor: what the gradient is multiplied by before it is rounded to y_pred's dtype, a
                number or a 0-d array: loss scaling, which keeps small gradients from becoming 0 in
                float16 (Micikevicius et al. 2017, arXiv:1710.03740).
        """
        kept, scale, dtype = state
        gradient = self.per_sample_gradient(kept, scale)
        if factor is not None:
            gradient = gradient * factor
        return gradient.astype(dtype, copy=False)

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Array:
        """`forward`'s value for a batch given as arrays of any kind; checks the targets."""
        y_pred = _float_array(y_pred)
        self.check_targets(y_true, tuple(y_pred.shape))
        if sample_weight is not None:
            sample_weight = backend.asarray(sample_weight)
        return self.forward(backend.asarray(y_true), y_pred, sample_weight)[0]


def _float_array(x: Any) -> Array:
    x = backend.asarray(x)
    return widened(x) if is_floating(x.dtype) else x.astype(backend.floatx())


class _CrossEntropy(Loss):
    """-sum_c t_c log p_c, with targets t from `_targets`."""

    from_logits: bool
    label_smoothing: float

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

    def with_logits(self) -> "_CrossEntropy":
        """This loss for a model whose closing softmax was left out."""
        loss = copy.copy(self)
        loss.from_logits = True
        return loss


def _check_smoothing(label_smoothing: float) -> float:
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"label_smoothing is a number from 0 to 1; got {label_smoothing!r}")
    return label_smoothing


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
        self.label_smoothing = _check_smoothing(label_smoothing)

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
        if not _fits(shape, output_shape[:-1]):
            hint = (
                "; one-hot targets belong to CategoricalCrossentropy"
                if _fits(y.shape, output_shape)
                else ""
            )
            raise ValueError(
                f"SparseCategoricalCrossentropy with a model of output shape {output_shape} takes "
                f"class numbers of shape {_legend(output_shape[:-1])}; got targets of shape "
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
                f"takes labels from 0 to {_last(classes)}"
            )


def _last(classes: int | None) -> int | str:
    return "C - 1" if classes is None else classes - 1


def _fits(shape: tuple[int, ...], expected: Shape) -> bool:
    return len(shape) == len(expected) and all(
        e is None or e == s for s, e in zip(shape, expected, strict=True)
    )


def _legend(shape: Shape) -> str:
    names = ["n" if s is None else str(s) for s in shape]
    return "(" + ", ".join(names) + (",)" if len(names) == 1 else ")")


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
        self.label_smoothing = _check_smoothing(label_smoothing)

    def _targets(self, y_true: Array, y_pred: Array) -> Array:
        targets = y_true.astype(y_pred.dtype, copy=False)
        if self.label_smoothing:
            smoothing = self.label_smoothing
            targets = targets * (1.0 - smoothing) + smoothing / y_pred.shape[-1]
        return targets

    def check_targets(self, y: Array, output_shape: Shape) -> None:
        shape = backend.shape_of(y)
        if _fits(shape, output_shape):
            return
        hint = ""
        labels = shape[:-1] if shape and shape[-1] == 1 and len(shape) > 1 else shape
        if _fits(labels, output_shape[:-1]):
            hint = (
                "; class numbers belong to SparseCategoricalCrossentropy, or go through "
                "minicnn.utils.to_categorical"
            )
        raise ValueError(
            f"CategoricalCrossentropy takes targets of the model's output shape "
            f"{_legend(output_shape)}; got shape {shape}{hint}"
        )


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
        shape = backend.shape_of(y)
        with_axis = (*shape, 1) if len(shape) == len(output_shape) - 1 else shape
        if not _fits(with_axis, output_shape):
            raise ValueError(
                f"MeanSquaredError takes targets of the model's output shape "
                f"{_legend(output_shape)}; got shape {shape}"
            )


# Keras's functions: one value per prediction, not reduced. As a model's loss each stands for the
# class of the same name.


def _losses(loss: Loss, y_true: Any, y_pred: Any) -> Array:
    y_pred = _float_array(y_pred)
    loss.check_targets(y_true, tuple(y_pred.shape))
    return loss.per_sample(backend.asarray(y_true), y_pred)[0]


def sparse_categorical_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, label_smoothing: float = 0.0
) -> Array:
    """-log p[label] of each prediction.

    Args:
        y_true: labels (N,) or (N, 1).
        y_pred: predictions (N, C).
        from_logits, label_smoothing: see `SparseCategoricalCrossentropy`.
    """
    return _losses(SparseCategoricalCrossentropy(from_logits, label_smoothing), y_true, y_pred)


def categorical_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, label_smoothing: float = 0.0
) -> Array:
    """-sum_c t_c log p_c of each prediction.

    Args:
        y_true: targets t, one-hot (N, C).
        y_pred: predictions (N, C).
        from_logits, label_smoothing: see `CategoricalCrossentropy`.
    """
    return _losses(CategoricalCrossentropy(from_logits, label_smoothing), y_true, y_pred)


def mean_squared_error(y_true: Any, y_pred: Any) -> Array:
    """Mean over the last axis of (y_pred - y_true)², one value per prediction."""
    return _losses(MeanSquaredError(), y_true, y_pred)


def get(identifier: Any) -> Loss | None:
    """A loss.

    Args:
        identifier: its name, configuration or class, an instance, or one of this module's
            functions; None stays None.

    Raises:
        ValueError: an unknown name; the message lists the near matches.
        TypeError: something else.
    """
    if inspect.isfunction(identifier) and identifier.__module__ == __name__:
        return LOSSES.get(identifier.__name__)
    if inspect.isfunction(identifier):
        raise TypeError(
            f"the function {identifier.__name__} has no gradient that training could follow: write "
            f"it as a subclass of minicnn.losses.Loss with per_sample and per_sample_gradient"
        )
    return LOSSES.get(identifier)
