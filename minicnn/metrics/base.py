"""What every metric is: sums that grow batch by batch, and a figure made of them at the end."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from minicnn import initializers
from minicnn.backend import array_module, is_array, to_numpy
from minicnn.losses.base import real_dtype
from minicnn.metrics.variable import Variable
from minicnn.registry import Configurable, Registry, checked_name, snake_case, unique_name
from minicnn.typing import Array, Shape

METRICS = Registry("metric")


class Metric(Configurable):
    """A figure over all the batches seen since `reset_state`.

    The sums live where the predictions live and are float64, so that counts stay exact;
    `update_state` only starts work there, and `result` waits for it. Your own metric defines those
    two:

        class MeanConfidence(Metric):
            direction = "up"

            def update_state(self, y_true, y_pred, sample_weight=None):
                self.add("confidence", y_pred.max(axis=-1).sum())
                self.add("images", len(y_pred))

            def result(self):
                return float(self.total("confidence") / self.total("images"))

    or counts in variables that `add_weight` makes, on the host, as Keras's metrics do.

    Args:
        name: key in the logs and in `History`; default: the class's name in snake case.
        dtype: "float32" or "float64", in which predictions are taken; default: their own. Sums are
            float64 in any case.

    Raises:
        ValueError: a name that is no string.

    Attributes:
        weighted: whether `fit` and `evaluate` give it the weights of samples too.
        direction: "up" if more is better, "down" if less is, None if it is no scale.
        order_only: whether only the order of a prediction's elements counts, so that logits do as
            well as the probabilities made of them.
        in_keras: whether Keras has a metric of the same name and arguments, so that a .keras file
            can say it.
    """

    direction: str | None = None
    order_only = False
    in_keras = True
    weighted = False

    def __init__(self, name: str | None = None, dtype: Any = None):
        self.dtype = real_dtype(dtype)
        self.name = checked_name(self, name) or unique_name(snake_case(type(self).__name__))
        self._sums: dict[str, Array] = {}
        self.variables: list[Variable] = []  # of `add_weight`
        self._read: dict[str, np.ndarray] = {}  # sums on the host, as `read_sums` found them

    def reset_state(self) -> None:
        """Forget all batches."""
        self._sums = {}
        self._read = {}
        for variable in self.variables:
            variable.assign(np.zeros_like(variable.value))

    def add_weight(
        self, shape: Any = (), initializer: Any = None, dtype: Any = None, name: str | None = None
    ) -> Variable:
        """A number, or an array, that your own metric counts in, on the host; `reset_state` sets it
        to 0.

        Args:
            shape: of the array; a name may stand in its place, as in older scripts.
            initializer: its first values; default: zeros.
            dtype: default: float32.
            name: for readers alone.
        """
        if isinstance(shape, str):
            shape, name = (), shape
        make: Any = initializers.get(initializer or "zeros")
        first = make(tuple(shape), dtype or "float32")
        self.variables.append(Variable(first, name))
        return self.variables[-1]

    add_variable = add_weight

    def update_state(self, *args: Any, **kwargs: Any) -> None:
        """Take in one batch: `update_state(y_true, y_pred, sample_weight=None)`.

        Args:
            y_true: targets, of the shapes that the class names.
            y_pred: predictions.
            sample_weight: one weight per sample.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define update_state")

    def result(self) -> Any:
        """The figure over all batches so far: a Python float, or an array."""
        raise NotImplementedError(f"{type(self).__name__} does not define result")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Take in one batch and return the result so far."""
        self.update_state(*args, **kwargs)
        return self.result()

    def arrays(self, y_true: Any, y_pred: Any) -> tuple[Array, Array]:
        """`y_true` and `y_pred` as arrays on the device of the predictions, those in the metric's
        dtype."""
        y_true, y_pred = as_arrays(y_true, y_pred)
        return y_true, y_pred if self.dtype is None else y_pred.astype(self.dtype, copy=False)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments by name, without the dtype if it is the default."""
        config = super().get_config()
        if self.dtype is None:
            config.pop("dtype", None)
        return config

    def add(self, key: str, part: Array) -> None:
        """Add `part`, a number or an array on the device, to the sum called `key`."""
        present = self._sums.get(key)
        self._sums[key] = part if present is None else present + part
        self._read.pop(key, None)

    def total(self, key: str) -> np.ndarray:
        """The sum called `key` on the host, in float64; 0 if nothing was added."""
        if key in self._read:
            return self._read[key]
        return np.asarray(to_numpy(self._sums.get(key, 0.0)), dtype=np.float64)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}>"


@METRICS.register()
class Mean(Metric):
    """Weighted mean of values; 0 before the first one.

    Args:
        name, dtype: see `Metric`.
    """

    def __init__(self, name: str = "mean", dtype: Any = None):
        super().__init__(name, dtype)

    def update_state(self, values: Any, sample_weight: Any = None) -> None:
        """Take in values.

        Args:
            values: an array of any shape.
            sample_weight: one weight for each entry of the values' first axis, an array of their
                own shape, or one number for all; default: 1.
        """
        values = values if is_array(values) else np.asarray(values)
        values = values if self.dtype is None else values.astype(self.dtype, copy=False)
        if sample_weight is None:
            sample_weight = 1
        if isinstance(sample_weight, (int, float)):  # a number is not sent to the device
            total = values.sum(dtype="float64")
            self.add("total", total if sample_weight == 1 else total * sample_weight)
            self.add("weight", values.size * sample_weight)
            return
        weight = expand_weight(sample_weight, values)
        self.add("total", (values * weight).sum(dtype="float64"))
        self.add("weight", weight.sum(dtype="float64") * (values.size // weight.size))

    def result(self) -> float:
        return ratio(self.total("total"), self.total("weight")).item()


@METRICS.register()
class Sum(Metric):
    """Weighted sum of values.

    Args:
        name, dtype: see `Metric`.
    """

    def __init__(self, name: str = "sum", dtype: Any = None):
        super().__init__(name, dtype)

    def update_state(self, values: Any, sample_weight: Any = None) -> None:
        """Take in values.

        Args:
            values, sample_weight: see `Mean`.
        """
        values = values if is_array(values) else np.asarray(values)
        if sample_weight is not None:
            values = values * expand_weight(sample_weight, values)
        self.add("total", values.sum(dtype="float64"))

    def result(self) -> float:
        return self.total("total").item()


class MeanMetric(Mean):
    """Mean of a value that each sample gets.

    A subclass defines `values(y_true, y_pred)`, (N, ...) arrays to an (N,) array.
    """

    def values(self, y_true: Array, y_pred: Array) -> Array:
        """The value of each sample, from its target `y_true` and its prediction `y_pred`."""
        raise NotImplementedError(f"{type(self).__name__} does not define values(y_true, y_pred)")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:  # type: ignore[override]
        y_true, y_pred = self.arrays(y_true, y_pred)
        super().update_state(self.values(y_true, y_pred), sample_weight)


class MeanMetricWrapper(MeanMetric):
    """Mean of what a function gives for each sample.

    Args:
        fn: `fn(y_true, y_pred, **kwargs)`, (N, ...) arrays to an (N,) array, or to one number for
            the batch.
        name: key in the logs; default: the name of fn.
        dtype: see `Metric`.
        kwargs: further arguments of fn.
    """

    in_keras = False

    def __init__(
        self, fn: Callable[..., Any], name: str | None = None, dtype: Any = None, **kwargs: Any
    ):
        default = str(getattr(fn, "__name__", type(fn).__name__))
        super().__init__(checked_name(self, name) or default, dtype)
        self.fn = fn
        self.kwargs = kwargs

    def values(self, y_true: Array, y_pred: Array) -> Array:
        return self.fn(y_true, y_pred, **self.kwargs)


def figures_of(metrics: Iterable[Metric]) -> dict[str, Any]:
    """The results of `metrics` by name, numbers as Python's; waits for the device, once for all."""
    metrics = list(metrics)
    read_sums(metrics)
    results = {metric.name: metric.result() for metric in metrics}
    return {k: v if np.ndim(v) else np.asarray(to_numpy(v)).item() for k, v in results.items()}


def read_sums(metrics: Iterable[Metric]) -> None:
    """Bring the sums of `metrics` from the device to the host, all in one copy, so that `result`
    finds them there."""
    found = [
        (metric, key, part)
        for metric in metrics
        for key, part in metric._sums.items()
        if key not in metric._read and array_module(part) is not np
    ]
    if not found:
        return
    parts = [part.astype("float64").reshape(-1) for _, _, part in found]
    values = to_numpy(array_module(parts[0]).concatenate(parts))
    start = 0
    for metric, key, part in found:
        metric._read[key] = values[start : start + part.size].reshape(part.shape)
        start += part.size


def as_arrays(y_true: Any, y_pred: Any) -> tuple[Array, Array]:
    """`y_true` and `y_pred` as arrays, the targets on the device of the predictions."""
    y_pred = y_pred if is_array(y_pred) else np.asarray(y_pred)
    return beside(y_true, y_pred), y_pred


def beside(x: Any, y_pred: Array) -> Array:
    """`x` as an array on the device of `y_pred`."""
    xp = array_module(y_pred)
    if is_array(x) and array_module(x) is xp:
        return x
    return xp.asarray(to_numpy(x))


def expand_weight(sample_weight: Any, values: Array) -> Array:
    """Weights in a shape that broadcasts over `values`.

    Args:
        sample_weight: (N,) or (N, 1), one weight per sample; or of the shape of `values`, or one
            for all.
        values: (N, ...).

    Raises:
        ValueError: there are more or fewer weights than samples.
    """
    weight = beside(sample_weight, values)
    if weight.ndim == 0 or weight.shape == values.shape:
        return weight
    if weight.shape[0] != values.shape[0]:
        raise ValueError(
            f"sample_weight has shape {tuple(weight.shape)} for values of shape "
            f"{tuple(values.shape)}; give one weight for each of the {values.shape[0]} samples"
        )
    while weight.ndim > 1 and weight.ndim > values.ndim and weight.shape[-1] == 1:
        weight = weight[..., 0]
    return weight.reshape(weight.shape + (1,) * (values.ndim - weight.ndim))


def ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """numerator / denominator on the host, 0 where the denominator is 0."""
    numerator, denominator = np.asarray(numerator), np.asarray(denominator)
    empty = denominator == 0
    return np.where(empty, 0.0, numerator / np.where(empty, 1.0, denominator))


def is_sparse(y_true_shape: Shape, y_pred_shape: Shape) -> bool:
    """Whether targets are class numbers.

    Args:
        y_true_shape: of the targets; that of class numbers is (N,) or (N, 1).
        y_pred_shape: of the predictions, (N, classes).
    """
    if len(y_true_shape) < len(y_pred_shape):
        return True
    return y_true_shape[-1] == 1 and y_pred_shape[-1] != 1


def class_numbers(y_true: Array, y_pred: Array) -> Array:
    """Sparse targets as integers (N,).

    Args:
        y_true: (N,) or (N, 1).
        y_pred: predictions (N, classes).

    Raises:
        ValueError: the shapes do not belong together.
    """
    if y_true.ndim == y_pred.ndim and y_true.shape[-1] == 1:
        y_true = y_true[..., 0]
    if y_true.shape != y_pred.shape[:-1]:
        raise ValueError(
            f"targets of shape {tuple(y_true.shape)} are not class numbers for predictions of "
            f"shape {tuple(y_pred.shape)}; give shape {tuple(y_pred.shape[:-1])}, or use the "
            "categorical metric for one-hot targets"
        )
    return y_true.astype("int64", copy=False)


def one_hot(labels: Array, width: int, dtype: Any = "float64") -> Array:
    """Rows with a 1 where the label is.

    Args:
        labels: class numbers (...); one outside 0 ... width - 1 gives a row of zeros.
        width: number of classes; the result is (..., width).
        dtype: of the result.
    """
    xp = array_module(labels)
    return (labels[..., None] == xp.arange(width)).astype(dtype)
