"""Cross-entropy of classes that exclude each other."""

from typing import Any

import numpy as np

from minicnn import backend
from minicnn.backend import array_module
from minicnn.kernels import cross_entropy
from minicnn.kernels.activations import softmax, softmax_gradient
from minicnn.losses.base import EPSILON, LOSSES, fits, legend
from minicnn.losses.formula import RowLoss
from minicnn.losses.probabilities import OfProbabilities
from minicnn.typing import Array, Shape

ONE_OUTPUT = (
    "; one output is the probability of one class: use BinaryCrossentropy and a sigmoid, or as "
    "many outputs as there are classes"
)


class _CrossEntropy(OfProbabilities):
    """sum_c t_c term(p_c), with targets t and term(p) = -log p."""

    closing: str | None = "softmax"
    fused = True  # on logits the kernel computes the loss, exact where softmax would round to 0

    def term(self, xp: Any, p: Array) -> Array:
        """-log p."""
        return -xp.log(p)

    def term_slope(self, xp: Any, p: Array) -> Array:
        """-1 / p."""
        return -1.0 / p

    def per_sample(self, y_true: Array, y_pred: Array) -> tuple[Array, Any]:
        t, x = self.rows(y_true, y_pred)
        if self.from_logits and self.fused:
            return cross_entropy.of_logits(x, t)
        xp = array_module(x)
        x = softmax(x) if self.from_logits else x
        total = x.sum(axis=-1, keepdims=True)
        p = x / total
        losses = (t * self.term(xp, xp.clip(p, EPSILON, 1 - EPSILON))).sum(axis=-1)
        return losses, (t, p, total)

    def per_sample_gradient(self, kept: Any, scale: Any) -> Array:
        """On logits z: p · sum(t) - t.

        On values x with p = x / s, s = sum(x): with g = t dterm/dp, 0 where p was clipped,
        dL/dx = (g - sum(g · p)) / s.
        """
        if self.from_logits and self.fused:
            gradient = cross_entropy.of_logits_gradient(kept[0], kept[1], scale)
            return self.moved(gradient, -1, self.axis)
        t, p, total = kept
        xp = array_module(p)
        gradient = t * self.term_slope(xp, xp.clip(p, EPSILON, 1 - EPSILON))
        gradient *= (p >= EPSILON) & (p <= 1 - EPSILON)
        gradient -= (gradient * p).sum(axis=-1, keepdims=True)
        gradient /= total
        gradient *= scale
        if self.from_logits:
            gradient = softmax_gradient(gradient, p)
        return self.moved(gradient, -1, self.axis)


class _OfLabels(RowLoss):
    """What losses share whose targets are class numbers; they take them as one-hot rows."""

    label_smoothing = 0.0
    ignore_class: int | None = None

    def rows(self, y_true: Array, y_pred: Array) -> tuple[Array, Array]:
        xp, p = array_module(y_pred), self.moved(y_pred, self.axis, -1)
        labels = y_true.astype(xp.int64, copy=False).reshape(-1)
        counted = self.counted(labels)
        if counted is not None:
            labels = labels * counted
        t = cross_entropy.one_hot(labels, p.shape[-1], self.label_smoothing, p.dtype)
        if counted is not None:
            t *= counted[:, None]
        return t.reshape(p.shape), p

    def counted(self, y_true: Array) -> Array | None:
        return None if self.ignore_class is None else y_true != self.ignore_class

    def check_targets(self, y: Array, output_shape: Shape) -> None:
        y = backend.to_numpy(y)
        positions = list(output_shape)
        classes = positions.pop(self.axis)
        shape = y.shape
        if y.ndim == len(output_shape) and y.shape[self.axis] == 1:
            shape = y.squeeze(self.axis).shape
        if not fits(shape, tuple(positions)):
            hint = (
                "; one-hot targets belong to CategoricalCrossentropy"
                if fits(y.shape, output_shape)
                else ""
            )
            raise ValueError(
                f"{type(self).__name__} with a model of output shape {output_shape} takes "
                f"class numbers of shape {legend(tuple(positions))}; got targets of shape "
                f"{y.shape}{hint}"
            )
        if self.ignore_class is not None:
            y = y[y != self.ignore_class]
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
class SparseCategoricalCrossentropy(_OfLabels, _CrossEntropy):
    """-log p[label]: labels are class numbers (N,) or (N, 1), predictions (N, C).

    Predictions may have more axes, (N, ..., C) with labels (N, ...): one class per pixel.

    Args:
        from_logits: predictions are logits; else probabilities, which are divided by their sum
            and clipped to [1e-7, 1 - 1e-7].
        ignore_class: a label, such as -1 or 255, that stands for no class: it does not count.
        axis: of the classes.
        reduction, name, dtype: see `Loss`.
        label_smoothing: the target is (1 - label_smoothing) one-hot + label_smoothing / C
            (Szegedy et al. 2015, arXiv:1512.00567, section 7). Keras does not have it here.

    Raises:
        ValueError: label_smoothing outside 0 to 1, an axis of 0, or another reduction or dtype.
    """

    def __init__(
        self,
        from_logits: bool = False,
        ignore_class: int | None = None,
        reduction: str | None = "sum_over_batch_size",
        axis: int = -1,
        name: str | None = None,
        dtype: Any = None,
        *,
        label_smoothing: float = 0.0,
    ):
        super().__init__(from_logits, label_smoothing, axis, reduction, name, dtype)
        self.ignore_class = ignore_class


@LOSSES.register()
class CategoricalCrossentropy(_CrossEntropy):
    """-sum_c t_c log p_c: targets are one-hot or other probabilities (N, C).

    Args:
        from_logits: predictions are logits; else probabilities, which are divided by their sum
            and clipped to [1e-7, 1 - 1e-7].
        label_smoothing: the target is (1 - label_smoothing) t + label_smoothing / C.
        axis: of the classes.
        reduction, name, dtype: see `Loss`.

    Raises:
        ValueError: label_smoothing outside 0 to 1, an axis of 0, or another reduction or dtype.
    """

    def targets(self, t: Array) -> Array:
        smoothing = self.label_smoothing
        return t * (1.0 - smoothing) + smoothing / t.shape[self.axis] if smoothing else t

    def check_targets(self, y: Array, output_shape: Shape) -> None:
        shape = backend.shape_of(y)
        if output_shape[self.axis] == 1:
            raise ValueError(
                f"{type(self).__name__} needs two outputs or more; the model's output shape is "
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
            f"{type(self).__name__} takes targets of the model's output shape "
            f"{legend(output_shape)}; got shape {shape}{hint}"
        )


@LOSSES.register()
class CategoricalFocalCrossentropy(CategoricalCrossentropy):
    """Cross-entropy, less of it the surer the right class is: -sum_c t_c alpha (1 - p_c)^gamma
    log p_c.

    Args:
        alpha: factor of the loss.
        gamma: how fast the loss of sure predictions fades.
        from_logits: predictions are logits, of which a softmax makes probabilities.
        label_smoothing, axis, reduction, name, dtype: see `CategoricalCrossentropy`.

    Source: Lin et al. 2017, arXiv:1708.02002, equation 5.
    """

    closing = None  # Keras clips the probabilities of logits too
    fused = False

    def __init__(
        self,
        alpha: float = 0.25,
        gamma: float = 2.0,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
    ):
        super().__init__(from_logits, label_smoothing, axis, reduction, name, dtype)
        self.alpha = alpha
        self.gamma = gamma

    def term(self, xp: Any, p: Array) -> Array:
        """-alpha (1 - p)^gamma log p."""
        return -self.alpha * (1.0 - p) ** self.gamma * xp.log(p)

    def term_slope(self, xp: Any, p: Array) -> Array:
        """alpha (1 - p)^gamma (gamma log p / (1 - p) - 1 / p)."""
        inner = self.gamma * xp.log(p) / (1.0 - p) - 1.0 / p
        return self.alpha * (1.0 - p) ** self.gamma * inner


@LOSSES.register()
class CategoricalGeneralizedCrossEntropy(_OfLabels):
    """(1 - p[label]^q) / q, between cross-entropy (q near 0) and the absolute error (q near 1), and
    less led astray by wrong labels: labels (N,) or (N, 1), probabilities (N, C).

    Args:
        q: between 0 and 1.
        reduction, name, dtype: see `Loss`.

    Raises:
        ValueError: another q.

    Source: Zhang and Sabuncu 2018, arXiv:1805.07836, equation 6.
    """

    def __init__(
        self,
        q: float = 0.5,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
    ):
        super().__init__(reduction, name, dtype)
        if not 0 < q < 1:
            raise ValueError(f"q lies between 0 and 1; got {q!r}")
        self.q = q

    def formula(self, xp: Any, t: Array, p: Array) -> Array:
        return (1.0 - (t * p).sum(axis=-1) ** self.q) / self.q

    def derivative(self, xp: Any, t: Array, p: Array) -> Array:
        """-p^(q - 1) at the label."""
        return -t * (t * p).sum(axis=-1, keepdims=True) ** (self.q - 1.0)
