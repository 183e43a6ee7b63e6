"""How far predictions are from their targets: losses read as metrics."""

import inspect
from typing import Any

import numpy as np

from minicnn import losses
from minicnn.dtypes import is_floating
from minicnn.losses.formula import ElementLoss
from minicnn.metrics.base import METRICS, MeanMetric, Metric, as_arrays, expand_weight
from minicnn.registry import serialize
from minicnn.typing import Array


@METRICS.register()
class LossValue(MeanMetric):
    """A loss as a metric: its mean over all samples seen, weighted if they have weights.

    Args:
        loss: a loss, its name or its configuration.
        name: key in the logs; default: the loss's own name.
        dtype: see `Metric`.
    """

    direction = "down"
    in_keras = False

    def __init__(self, loss: Any, name: str | None = None, dtype: Any = None):
        self.loss = losses.LOSSES.get(loss)
        super().__init__(name or self.loss.name, dtype)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:  # type: ignore[override]
        y_true, y_pred = as_arrays(y_true, y_pred)
        if y_pred.ndim == 1 and (sample_weight is not None or isinstance(self.loss, ElementLoss)):
            y_pred = y_pred[:, None]  # N predictions of one number each
        counted = self.loss.counted(y_true)
        if counted is not None:
            counted = counted.reshape(y_pred.shape[:-1])
            weight = 1.0 if sample_weight is None else expand_weight(sample_weight, counted)
            sample_weight = counted * weight
        super().update_state(y_true, y_pred, sample_weight)

    def values(self, y_true: Array, y_pred: Array) -> Array:
        if not is_floating(y_pred.dtype):
            y_pred = y_pred.astype("float32")
        return self.loss.per_sample(y_true, self.loss.taken(y_pred))[0]


class _OfLoss(LossValue):
    """A metric of a loss's name. It takes a name, a dtype and those of the loss's arguments that
    its class lists in `takes`.

    Attributes:
        of: the loss.
    """

    in_keras = True
    of: type[losses.Loss]
    takes: tuple[str, ...] = ()
    called: str | None = None

    def __init_subclass__(cls) -> None:
        name = inspect.Parameter("name", inspect.Parameter.POSITIONAL_OR_KEYWORD, default=None)
        of_loss = inspect.signature(cls.of).parameters
        own = [of_loss[n].replace(kind=name.kind) for n in ("dtype", *cls.takes)]
        cls.__signature__ = inspect.Signature([name, *own])  # type: ignore[attr-defined]

    def __init__(self, *args: Any, **kwargs: Any):
        arguments = inspect.signature(type(self)).bind(*args, **kwargs).arguments
        name = arguments.pop("name", None) or self.called
        super().__init__(self.of(**arguments), name, arguments.get("dtype"))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments; the loss is made of them."""
        config = Metric.get_config(self) | {n: serialize(getattr(self.loss, n)) for n in self.takes}
        del config["loss"]
        return config


@METRICS.register("mse")
class MeanSquaredError(_OfLoss):
    """Mean of (y_true - y_pred)². Args: name, dtype."""

    of = losses.MeanSquaredError


@METRICS.register()
class RootMeanSquaredError(_OfLoss):
    """Square root of the mean of (y_true - y_pred)². Args: name, dtype."""

    of = losses.MeanSquaredError
    called = "root_mean_squared_error"

    def result(self) -> float:
        return float(np.sqrt(super().result()))


@METRICS.register("mae")
class MeanAbsoluteError(_OfLoss):
    """Mean of |y_true - y_pred|. Args: name, dtype."""

    of = losses.MeanAbsoluteError


@METRICS.register("mape")
class MeanAbsolutePercentageError(_OfLoss):
    """Mean of 100 |y_true - y_pred| / |y_true|. Args: name, dtype."""

    of = losses.MeanAbsolutePercentageError


@METRICS.register("msle")
class MeanSquaredLogarithmicError(_OfLoss):
    """Mean of (log(1 + y_true) - log(1 + y_pred))². Args: name, dtype."""

    of = losses.MeanSquaredLogarithmicError


@METRICS.register()
class LogCoshError(_OfLoss):
    """Mean of log cosh(y_pred - y_true). Args: name, dtype."""

    of = losses.LogCosh
    called = "logcosh"


@METRICS.register()
class CosineSimilarity(_OfLoss):
    """Mean of the cosine of the angle between y_true and y_pred: 1 for the same direction, where
    the loss of the same name is -1. Args: name, dtype, axis."""

    direction = "up"
    of = losses.CosineSimilarity
    takes = ("axis",)

    def values(self, y_true: Array, y_pred: Array) -> Array:
        return -super().values(y_true, y_pred)


@METRICS.register()
class Hinge(_OfLoss):
    """Mean of max(1 - y_true y_pred, 0), targets -1 and 1, or 0 and 1. Args: name, dtype."""

    of = losses.Hinge


@METRICS.register()
class SquaredHinge(_OfLoss):
    """Mean of max(1 - y_true y_pred, 0)², targets -1 and 1, or 0 and 1. Args: name, dtype."""

    of = losses.SquaredHinge


@METRICS.register()
class CategoricalHinge(_OfLoss):
    """Mean of what the highest wrong score lacks to the right one less 1. Args: name, dtype."""

    of = losses.CategoricalHinge


@METRICS.register("kld")
class KLDivergence(_OfLoss):
    """Mean of sum_c y_true log(y_true / y_pred). Args: name, dtype."""

    of = losses.KLDivergence


@METRICS.register()
class Poisson(_OfLoss):
    """Mean of y_pred - y_true log y_pred. Args: name, dtype."""

    of = losses.Poisson


@METRICS.register("bce")
class BinaryCrossentropy(_OfLoss):
    """Mean of -t log p - (1 - t) log(1 - p) over all outputs; targets t of their shape, 0 or 1.
    Args: name, dtype, from_logits, label_smoothing."""

    of = losses.BinaryCrossentropy
    takes = ("from_logits", "label_smoothing")


@METRICS.register()
class CategoricalCrossentropy(_OfLoss):
    """Mean of -sum_c t_c log p_c; targets t one-hot (N, C). Args: name, dtype, from_logits,
    label_smoothing, axis."""

    of = losses.CategoricalCrossentropy
    takes = ("from_logits", "label_smoothing", "axis")


@METRICS.register()
class SparseCategoricalCrossentropy(_OfLoss):
    """Mean of -log p[target]; targets (N,) or (N, 1) class numbers. Args: name, dtype, from_logits,
    ignore_class, axis."""

    of = losses.SparseCategoricalCrossentropy
    takes = ("from_logits", "ignore_class", "axis")


@METRICS.register()
class R2Score(Metric):
    """Coefficient of determination: 1 - sum (y_true - y_pred)² / sum (y_true - mean)², of each
    output; 1 is perfect, 0 no better than the mean of the targets.

    Args:
        class_aggregation: "uniform_average" of the outputs, "variance_weighted_average", or None
            for an array with one figure each.
        num_regressors: p of the adjusted score 1 - (1 - R²)(n - 1) / (n - p - 1); 0 for R² itself.
        name, dtype: see `Metric`.

    Raises:
        ValueError: another class_aggregation, or a negative num_regressors.
    """

    direction = "up"

    def __init__(
        self, class_aggregation: str | None = "uniform_average", num_regressors: int = 0,
        name: str = "r2_score", dtype: Any = None,
    ):  # fmt: skip
        super().__init__(name, dtype)
        if class_aggregation not in (None, "uniform_average", "variance_weighted_average"):
            raise ValueError(
                f"class_aggregation is 'uniform_average', 'variance_weighted_average' or None, got "
                f"{class_aggregation!r}"
            )
        if num_regressors < 0:
            raise ValueError(f"num_regressors must be at least 0, got {num_regressors!r}")
        self.class_aggregation = class_aggregation
        self.num_regressors = num_regressors

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        y_true, y_pred = self.arrays(y_true, y_pred)
        if y_pred.ndim == 1:
            y_pred = y_pred[:, None]
        if y_pred.ndim != 2 or y_true.size != y_pred.size:
            raise ValueError(
                f"{self.name} takes targets and predictions of shape (samples, outputs), got "
                f"{tuple(y_true.shape)} and {tuple(y_pred.shape)}"
            )
        t, p = (a.reshape(y_pred.shape).astype("float64") for a in (y_true, y_pred))
        weight: Any = 1.0 if sample_weight is None else expand_weight(sample_weight, p)
        self.add("weight", (p * 0 + weight).sum(axis=0))
        self.add("sum", (t * weight).sum(axis=0))
        self.add("squares", (t * t * weight).sum(axis=0))
        self.add("residual", ((t - p) ** 2 * weight).sum(axis=0))
        self.add("seen", t.size)

    def result(self) -> float | np.ndarray:
        """A float, or for class_aggregation=None an array (outputs,); NaN before the first batch.
        An output whose targets are all the same has 0, as in Keras."""
        with np.errstate(divide="ignore", invalid="ignore"):
            total = self.total("squares") - self.total("sum") ** 2 / self.total("weight")
            scores = 1.0 - self.total("residual") / total
            scores = np.where(np.isinf(scores), 0.0, scores)
            score = scores
            if self.class_aggregation == "uniform_average":
                score = scores.mean()
            elif self.class_aggregation is not None:
                score = (scores * total).sum() / total.sum()
            n, p = self.total("seen"), self.num_regressors
            if p and p < n - 1:
                score = 1.0 - (1.0 - score) * (n - 1) / (n - p - 1)
        return score if self.class_aggregation is None else float(score)
