"""Cross-entropy of outputs that are the probability of one of two classes each."""

from typing import Any

from minicnn import backend
from minicnn.backend import array_module
from minicnn.kernels import cross_entropy
from minicnn.losses.base import LOSSES, check_same_shape, each
from minicnn.losses.probabilities import EPSILON, OfProbabilities, check_smoothing
from minicnn.typing import Array, Shape


@LOSSES.register("bce")
class BinaryCrossentropy(OfProbabilities):
    """Mean over one axis of -t log p - (1 - t) log(1 - p): each output is the probability of one of
    two classes, targets t are 0 or 1, or between.

    Args:
        from_logits: predictions are logits; else probabilities, such as a sigmoid gives, which are
            clipped to [1e-7, 1 - 1e-7].
        label_smoothing: the target is (1 - label_smoothing) t + label_smoothing / 2.
        axis: over which the mean is taken; not that of the batch.
        reduction, name: see `Loss`.

    Raises:
        ValueError: label_smoothing outside 0 to 1, an axis of 0, or another reduction.
    """

    closing = "sigmoid"

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str = "sum_over_batch_size",
        name: str | None = "binary_crossentropy",
    ):
        super().__init__(reduction, name)
        self.from_logits = from_logits
        self.label_smoothing = check_smoothing(label_smoothing)
        if axis == 0:
            raise ValueError("BinaryCrossentropy takes no mean over the batch; axis must not be 0")
        self.axis = axis

    def per_sample(self, y_true: Array, y_pred: Array) -> tuple[Array, Any]:
        xp, smoothing = array_module(y_pred), self.label_smoothing
        t = y_true.astype(y_pred.dtype, copy=False).reshape(y_pred.shape)
        if smoothing:
            t = t * (1.0 - smoothing) + 0.5 * smoothing
        t, y_pred = (xp.moveaxis(a, self.axis, -1) for a in (t, y_pred))
        if self.from_logits:
            return cross_entropy.of_binary_logits(y_pred, t).mean(axis=-1), (y_pred, t)
        p = xp.clip(y_pred, EPSILON, 1 - EPSILON)
        losses = -(t * xp.log(p) + (1.0 - t) * xp.log(1.0 - p))
        return losses.mean(axis=-1), (y_pred, t)

    def per_sample_gradient(self, kept: Any, scale: Any) -> Array:
        """On logits (p - t) / C; on probabilities (p - t) / (p (1 - p)) / C, 0 where clipped."""
        y_pred, t = kept
        xp, scale = array_module(t), scale / t.shape[-1]
        if self.from_logits:
            gradient = cross_entropy.of_binary_logits_gradient(y_pred, t, scale)
        else:
            p = xp.clip(y_pred, EPSILON, 1 - EPSILON)
            gradient = (p - t) / (p * (1.0 - p))
            gradient *= p == y_pred
            gradient *= scale
        return xp.moveaxis(gradient, -1, self.axis)

    def check_targets(self, y: Array, output_shape: Shape) -> None:
        check_same_shape(self, y, output_shape)
        y = backend.to_numpy(y)
        if y.size and not (y.min() >= 0 and y.max() <= 1):
            raise ValueError(
                f"BinaryCrossentropy takes targets from 0 to 1; they lie between {y.min()} and "
                f"{y.max()}; class numbers belong to SparseCategoricalCrossentropy"
            )


def binary_crossentropy(
    y_true: Any,
    y_pred: Any,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> Array:
    """Mean over `axis` of -t log p - (1 - t) log(1 - p).

    Args:
        y_true: targets t, of the shape of y_pred.
        y_pred: predictions (N, ...).
        from_logits, label_smoothing, axis: see `BinaryCrossentropy`.
    """
    return each(BinaryCrossentropy(from_logits, label_smoothing, axis), y_true, y_pred)
