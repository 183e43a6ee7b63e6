"""What training makes small: the distance between predictions and targets.

A loss gives one value per prediction (`per_sample`); over a batch these are weighted, summed and
divided by the number of predictions, whatever the weights, as in Keras:

    value = sum_i weight_i · loss_i / total
"""

import math
from typing import Any

from minicnn import backend
from minicnn.backend import array_module
from minicnn.dtypes import is_floating, widened
from minicnn.registry import Configurable, Registry, snake_case
from minicnn.typing import Array, Shape

LOSSES = Registry("loss")
EPSILON = 1e-7  # below this no divisor and no argument of a logarithm goes, as in Keras
REDUCTIONS = ("sum_over_batch_size", "mean", "mean_with_sample_weight", "sum", "none", None)


class Loss(Configurable):
    """Base class. Your own defines `per_sample` and `per_sample_gradient`; predictions of 16 bits
    reach them in float32.

    Args:
        name: for reports; default: the class's name in snake case.
        reduction: "sum_over_batch_size", or "mean", divides the sum by the number of predictions,
            "mean_with_sample_weight" by the sum of their weights; "sum" divides by nothing. None,
            or "none", leaves an array with one loss per prediction, of which there is no training.
        dtype: "float32" or "float64", in which the loss is computed; default: that of the
            predictions, float32 for those of 16 bits.

    Raises:
        ValueError: another reduction or dtype.
    """

    def __init__(
        self,
        name: str | None = None,
        reduction: str | None = "sum_over_batch_size",
        dtype: Any = None,
    ):
        if reduction not in REDUCTIONS:
            raise ValueError(
                f"reduction must be one of {', '.join(map(repr, REDUCTIONS))}, not {reduction!r}"
            )
        self.reduction = reduction
        self.name = name or snake_case(type(self).__name__)
        self.dtype = real_dtype(dtype)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments by name, without the dtype if it is the default."""
        config = super().get_config()
        if self.dtype is None:
            config.pop("dtype", None)
        return config

    def per_sample(self, y_true: Array, y_pred: Array) -> tuple[Array, Any]:
        """Losses of shape y_pred.shape[:-1], and whatever the gradient needs.

        Args:
            y_true: targets, on the device of y_pred.
            y_pred: predictions (N, ..., C).
        """
        hint = ""
        if hasattr(self, "call"):
            hint = (
                "; it has Keras's call(y_true, y_pred), but nothing here derives a gradient by "
                "itself: define per_sample and per_sample_gradient"
            )
        raise NotImplementedError(f"{type(self).__name__} does not define per_sample{hint}")

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

    def counted(self, y_true: Array) -> Array | None:
        """Which of the targets `y_true` count, as booleans in the shape of the losses; None for
        all. The losses of the others are 0."""
        return None

    def total(self, y_true: Array, sample_weight: Array | None = None) -> Any:
        """What the sum of a whole batch's losses is divided by, which its shards have to know: the
        number of samples, or the sum of their weights, and of each sample the share that counts.

        Args:
            y_true: targets of all samples.
            sample_weight: their weights.

        Returns:
            A number, or a 0-d array on the device.
        """
        counted, by_weight = self.counted(y_true), self.reduction == "mean_with_sample_weight"
        if not by_weight or sample_weight is None:
            if counted is None:
                return len(y_true)
            return counted.sum() / max(1, math.prod(counted.shape[1:]))
        if counted is not None:
            sample_weight = fitted_weight(sample_weight, counted) * counted
        return sample_weight.sum() / max(1, math.prod(sample_weight.shape[1:]))

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
        total: Any = None,
    ) -> tuple[Array, Any]:
        """The loss over a batch, a 0-d array, and the state `backward` reads.

        Args:
            y_true: targets, on the device of y_pred.
            y_pred: predictions (N, ..., C); of those of 16 bits the loss is float32.
            sample_weight: (N,), or one weight for each of (N, ...).
            total: what `total` says of the batch, where these are a shard of it; default: of these.

        Raises:
            ValueError: a reduction of None, with which there is no such loss.
        """
        if self.reduction in (None, "none"):
            raise ValueError(
                f"{type(self).__name__} has reduction={self.reduction!r} and gives a loss for each "
                f"prediction; training needs one number: reduction='sum_over_batch_size' or 'sum'"
            )
        losses, kept = self.per_sample(y_true, self.taken(y_pred))
        scale: Any = 1.0
        if self.reduction != "sum":
            samples = self.total(y_true, sample_weight) if total is None else total
            samples = samples if losses.ndim else 1  # predictions (C,) are one
            positions = max(1, math.prod(losses.shape[1:]))
            if isinstance(samples, int):
                scale = 1.0 / max(1, samples * positions)
            else:
                xp = array_module(losses)
                samples = xp.asarray(samples, losses.dtype) * positions  # 0 / 0 is 0, as in Keras
                scale = xp.where(samples == 0, 0.0, 1.0 / xp.where(samples == 0, 1.0, samples))
                scale = xp.broadcast_to(scale.astype(losses.dtype), losses.shape)
        if sample_weight is not None:
            scale = fitted_weight(sample_weight, losses) * scale
        elif isinstance(scale, float):
            return losses.sum() * scale, (kept, scale, y_pred.dtype)
        return (losses * scale).sum(), (kept, scale[..., None], y_pred.dtype)

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
        """`forward`'s value for a batch given as arrays of any kind; checks the targets. With a
        reduction of None the weighted loss of each prediction."""
        y_pred = float_array(y_pred)
        if sample_weight is not None:
            sample_weight = backend.asarray(sample_weight)
            if y_pred.ndim == 1:  # (N,) with weights are N predictions, without them may be one
                y_pred = y_pred[:, None]
        self.check_targets(y_true, tuple(y_pred.shape))
        y_true = backend.asarray(y_true)
        if self.reduction not in (None, "none"):
            return self.forward(y_true, y_pred, sample_weight)[0]
        losses = self.per_sample(y_true, self.taken(y_pred))[0]
        return losses if sample_weight is None else losses * fitted_weight(sample_weight, losses)

    def taken(self, y_pred: Array) -> Array:
        """Predictions `y_pred` in the dtype in which the loss is computed."""
        return widened(y_pred) if self.dtype is None else y_pred.astype(self.dtype, copy=False)


def real_dtype(dtype: Any) -> str | None:
    """The name of a `dtype`, or of the one that a dtype policy computes in, if it is float32,
    float64 or None; else a ValueError."""
    name = getattr(dtype, "compute_dtype", dtype)
    name = None if name is None else getattr(name, "name", None) or getattr(name, "__name__", name)
    if name not in (None, "float32", "float64"):
        raise ValueError(
            f"dtype is 'float32' or 'float64', in which losses and metrics are computed, or None "
            f"for that of the predictions; got {dtype!r}"
        )
    return name


def float_array(x: Any) -> Array:
    """x as an array of floating-point numbers, as losses take predictions."""
    x = backend.asarray(x)
    return widened(x) if is_floating(x.dtype) else x.astype(backend.floatx())


def fitted_weight(sample_weight: Array, losses: Array) -> Array:
    """Weights in the dtype of the `losses` (N, ...), in a shape that broadcasts over theirs.

    Args:
        sample_weight: (N,), (N, 1), or one for each of (N, ...).
        losses: an array of that shape.
    """
    dtype = losses.dtype if is_floating(losses.dtype) else sample_weight.dtype
    weight = sample_weight.astype(dtype, copy=False)
    if weight.ndim > losses.ndim and weight.shape[-1] == 1:
        weight = weight[..., 0]
    return weight.reshape(weight.shape + (1,) * (losses.ndim - weight.ndim))


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
    model; a last axis of 1 may be there or not."""
    shape = backend.shape_of(y)
    forms = [shape, (*shape, 1), *([shape[:-1]] if shape[-1:] == (1,) else [])]
    if not any(fits(form, output_shape) for form in forms):
        raise ValueError(
            f"{type(loss).__name__} takes targets of the model's output shape "
            f"{legend(output_shape)}; got shape {shape}"
        )
