"""How far predictions are from their targets, and losses read as metrics."""

from typing import Any

from minicnn.backend import array_module, floatx
from minicnn.losses import LOSSES
from minicnn.metrics.base import METRICS, MeanMetric, Metric, as_arrays, beside, ratio
from minicnn.registry import checked_name, snake_case
from minicnn.typing import Array


@METRICS.register("mse")
class MeanSquaredError(MeanMetric):
    """Mean of (y_true - y_pred)^2 over all elements.

    Args:
        name: key in the logs.
    """

    direction = "down"

    def __init__(self, name: str = "mean_squared_error"):
        super().__init__(name)

    def values(self, y_true: Array, y_pred: Array) -> Array:
        return _by_sample((_fitting(y_true, y_pred) - y_pred) ** 2)


@METRICS.register("mae")
class MeanAbsoluteError(MeanMetric):
    """Mean of |y_true - y_pred| over all elements.

    Args:
        name: key in the logs.
    """

    direction = "down"

    def __init__(self, name: str = "mean_absolute_error"):
        super().__init__(name)

    def values(self, y_true: Array, y_pred: Array) -> Array:
        return _by_sample(array_module(y_pred).abs(_fitting(y_true, y_pred) - y_pred))


@METRICS.register()
class LossValue(Metric):
    """A loss as a metric: its mean over all samples seen, weighted if they have weights.

    Args:
        loss: a loss, its name or its configuration.
        name: key in the logs; default: the loss's own name.
    """

    direction = "down"
    in_keras = False

    def __init__(self, loss: Any, name: str | None = None):
        self.loss = LOSSES.get(loss)
        default = self.loss.name or snake_case(type(self.loss).__name__)
        super().__init__(checked_name(self, name) or default)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        y_true, y_pred = as_arrays(y_true, y_pred)
        if y_pred.dtype.kind != "f":
            y_pred = y_pred.astype(floatx())
        if sample_weight is None:
            self.add("weight", y_pred.shape[0])
        else:
            sample_weight = beside(sample_weight, y_pred).astype(y_pred.dtype, copy=False)
            self.add("weight", sample_weight.sum(dtype="float64"))
        value, _ = self.loss.forward(y_true, y_pred, sample_weight, total=1)  # the sum, no mean
        self.add("total", value.astype("float64"))

    def result(self) -> float:
        return ratio(self.total("total"), self.total("weight")).item()


@METRICS.register()
class SparseCategoricalCrossentropy(LossValue):
    """Mean of -log p[target]; targets (N,) or (N, 1) class numbers.

    Args:
        name: key in the logs.
        from_logits: predictions are logits instead of probabilities.
    """

    in_keras = True

    def __init__(self, name: str = "sparse_categorical_crossentropy", *, from_logits: bool = False):
        config = {"from_logits": from_logits}
        super().__init__({"class_name": "SparseCategoricalCrossentropy", "config": config}, name)
        self.from_logits = from_logits

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments; the loss is made of them."""
        return {"name": self.name, "from_logits": self.from_logits}


@METRICS.register()
class CategoricalCrossentropy(LossValue):
    """Mean of -sum(target * log p); targets (N, C) one-hot.

    Args:
        name: key in the logs.
        from_logits: predictions are logits instead of probabilities.
        label_smoothing: see `losses.CategoricalCrossentropy`.
    """

    in_keras = True

    def __init__(
        self,
        name: str = "categorical_crossentropy",
        *,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
    ):
        config = {"from_logits": from_logits, "label_smoothing": label_smoothing}
        super().__init__({"class_name": "CategoricalCrossentropy", "config": config}, name)
        self.from_logits = from_logits
        self.label_smoothing = label_smoothing

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments; the loss is made of them."""
        return {
            "name": self.name,
            "from_logits": self.from_logits,
            "label_smoothing": self.label_smoothing,
        }


@METRICS.register("bce")
class BinaryCrossentropy(LossValue):
    """Mean of -t log p - (1 - t) log(1 - p) over all outputs; targets t of their shape, 0 or 1.

    Args:
        name: key in the logs.
        from_logits: predictions are logits instead of probabilities.
        label_smoothing: see `losses.BinaryCrossentropy`.
    """

    in_keras = True

    def __init__(
        self,
        name: str = "binary_crossentropy",
        *,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
    ):
        config = {"from_logits": from_logits, "label_smoothing": label_smoothing}
        super().__init__({"class_name": "BinaryCrossentropy", "config": config}, name)
        self.from_logits = from_logits
        self.label_smoothing = label_smoothing

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments; the loss is made of them."""
        return {
            "name": self.name,
            "from_logits": self.from_logits,
            "label_smoothing": self.label_smoothing,
        }


def _fitting(y_true: Array, y_pred: Array) -> Array:
    """The targets in the dtype and shape of the predictions."""
    if y_true.shape != y_pred.shape:
        if y_true.size != y_pred.size:
            raise ValueError(
                f"targets of shape {tuple(y_true.shape)} do not fit predictions of shape "
                f"{tuple(y_pred.shape)}; give one value per output"
            )
        y_true = y_true.reshape(y_pred.shape)
    return y_true.astype(y_pred.dtype, copy=False)


def _by_sample(values: Array) -> Array:
    return values.reshape(values.shape[0], -1).mean(axis=1, dtype="float64")
