"""What training makes small: the distance between predictions and targets.

A loss gives one value per prediction (`per_sample`); over a batch these are weighted, summed and
divided by the number of predictions, whatever the weights, as in Keras:

    value = sum_i weight_i · loss_i / total
"""

import math
from typing import Any

from minicnn import backend
from minicnn.dtypes import is_floating, widened
from minicnn.registry import Configurable, Registry, checked_name
from minicnn.typing import Array, Shape

LOSSES = Registry("loss")


class Loss(Configurable):
    """Base class. Your own defines `per_sample` and `per_sample_gradient`; predictions of 16 bits
    reach them in float32.

    Args:
        reduction: "sum_over_batch_size" divides the sum by the number of predictions, "sum" does
            not.
        name: for reports.

    Raises:
        ValueError: another reduction, or a name that is no string.
    """

    def __init__(self, reduction: str = "sum_over_batch_size", name: str | None = None):
        if reduction not in ("sum_over_batch_size", "sum"):
            raise ValueError(f"reduction must be 'sum_over_batch_size' or 'sum', not {reduction!r}")
        self.reduction = reduction
        self.name = checked_name(self, name)

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

    @property
    def takes_over(self) -> str | None:
        """The activation, as Keras calls it, with which a model may close and which this loss could
        apply itself; None for none. `with_logits` is then the loss that does."""
        return None

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
        y_pred = float_array(y_pred)
        self.check_targets(y_true, tuple(y_pred.shape))
        if sample_weight is not None:
            sample_weight = backend.asarray(sample_weight)
        return self.forward(backend.asarray(y_true), y_pred, sample_weight)[0]


def float_array(x: Any) -> Array:
    """x as an array of floating-point numbers, as losses take predictions."""
    x = backend.asarray(x)
    return widened(x) if is_floating(x.dtype) else x.astype(backend.floatx())


def each(loss: Loss, y_true: Any, y_pred: Any) -> Array:
    """What Keras's functions return: the `loss` of each prediction of `y_pred` with the targets
    `y_true`, not reduced."""
    y_pred = float_array(y_pred)
    loss.check_targets(y_true, tuple(y_pred.shape))
    return loss.per_sample(backend.asarray(y_true), y_pred)[0]


# Shapes of targets


def fits(shape: tuple[int, ...], expected: Shape) -> bool:
    """Whether `shape` is the `expected` one, in which None stands for any size."""
    return len(shape) == len(expected) and all(
        e is None or e == s for s, e in zip(shape, expected, strict=True)
    )


def legend(shape: Shape) -> str:
    """`shape` as a message says it, "n" for any size."""
    names = ["n" if s is None else str(s) for s in shape]
    return "(" + ", ".join(names) + (",)" if len(names) == 1 else ")")


def check_same_shape(loss: Loss, y: Array, output_shape: Shape) -> None:
    """Raise a ValueError that names the `loss` unless targets `y` have the `output_shape` of a
    model; for one output they may lack the last axis."""
    shape = backend.shape_of(y)
    with_axis = (*shape, 1) if len(shape) == len(output_shape) - 1 else shape
    if not fits(with_axis, output_shape):
        raise ValueError(
            f"{type(loss).__name__} takes targets of the model's output shape "
            f"{legend(output_shape)}; got shape {shape}"
        )
