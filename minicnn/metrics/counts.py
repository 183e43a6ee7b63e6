"""True and false positives and negatives, for one threshold or many at once."""

from typing import Any

import numpy as np

from minicnn.backend import array_module
from minicnn.dtypes import widened
from minicnn.metrics.base import (
    METRICS,
    Metric,
    as_arrays,
    class_numbers,
    expand_weight,
    is_sparse,
    one_hot,
)
from minicnn.typing import Array


class Counted(Metric):
    """Counts, for each threshold, the elements above it and the others, by what their targets are.

    Each element is sorted in by how many of the thresholds lie below it; what a single threshold
    counts are sums of those numbers, taken at the end.

    Args:
        thresholds: a number in [0, 1] or several; or, for `even`, how many evenly spaced from 0
            to 1.
        even: whether there are so many of them.
        top_k: only the k highest elements of each sample can be above a threshold.
        class_id: look at this class only.
        name, dtype: see `Metric`.

    Raises:
        ValueError: a threshold outside [0, 1], or a top_k below 1.
    """

    def __init__(
        self, thresholds: Any, even: bool = False, top_k: int | None = None,
        class_id: int | None = None, name: str | None = None, dtype: Any = None,
    ):  # fmt: skip
        super().__init__(name, dtype)
        levels = np.linspace(0, 1, thresholds) if even else np.atleast_1d(thresholds).astype(float)
        if levels.ndim != 1 or not len(levels) or not np.all((levels >= 0) & (levels <= 1)):
            raise ValueError(f"thresholds lie between 0 and 1, got {thresholds!r}")
        self._levels: list[float] = levels.tolist()
        self._even = even
        self._by_label = False
        if top_k is not None and top_k < 1:
            raise ValueError(f"top_k must be at least 1, got {top_k!r}")
        self._top_k = top_k
        self._class_id = class_id

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Targets one-hot (N, C), or class numbers (N,) or (N, 1), for predictions (N, C)."""
        y_true, y_pred = same_shape(*self.arrays(y_true, y_pred))
        xp, classes = array_module(y_pred), y_pred.shape[-1]
        below, truth = self._below(widened(y_pred)), y_true > 0
        if self._class_id is not None:
            if not 0 <= self._class_id < classes:
                raise ValueError(
                    f"{self.name} has class_id={self._class_id}, but there are {classes} "
                    f"classes; give 0 to {classes - 1}"
                )
            below, truth = below[..., self._class_id], truth[..., self._class_id]
        weight = xp.ones(below.shape)
        if sample_weight is not None:
            weight = weight * expand_weight(sample_weight, weight)
        # neither bincount nor a product of one-hot rows: see `ConfusionMatrix`
        shape = (2, len(self._levels) + 1, classes if self._by_label else 1)
        places = (truth * shape[1] + below) * shape[2]
        places += xp.arange(classes) if self._by_label else 0
        counts = xp.zeros(shape[0] * shape[1] * shape[2])
        xp.add.at(counts, places.reshape(-1), weight.reshape(-1))
        self.add("counts", counts.reshape(shape))

    def _below(self, y_pred: Array) -> Array:
        """How many of the thresholds lie below each element."""
        xp = array_module(y_pred)
        if self._even:
            share = xp.clip(xp.nan_to_num(y_pred), 0.0, 1.0)
            below = xp.ceil(share * (len(self._levels) - 1)).astype("int64")
        else:
            below = sum((y_pred > level).astype("int64") for level in self._levels)
        return below if self._top_k is None else below * _highest(y_pred, self._top_k)

    def counts(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Numbers of true positives, false positives, true negatives and false negatives, each an
        array with one for each threshold, from the lowest, or (thresholds, labels)."""
        counts = self.total("counts")
        if counts.ndim == 0:  # nothing seen
            counts = np.zeros((2, len(self._levels) + 1, 1))
        counts = counts if self._by_label else counts[..., 0]
        above = np.cumsum(counts[:, ::-1], axis=1)[:, ::-1]  # [k]: at least k thresholds below
        negatives = np.cumsum(counts, axis=1)[:, :-1]
        return above[1, 1:], above[0, 1:], negatives[0], negatives[1]

    def in_order(self, values: np.ndarray) -> float | np.ndarray:
        """`values`, one for each threshold, in the order in which these were given; a float for
        one."""
        ranks = np.argsort(np.argsort(self._levels, kind="stable"), kind="stable")
        return values.item() if len(values) == 1 else values[ranks]


class _Count(Counted):
    which: int

    def __init__(self, thresholds: Any = None, name: str | None = None, dtype: Any = None):
        super().__init__(0.5 if thresholds is None else thresholds, name=name, dtype=dtype)
        self.thresholds = thresholds

    def result(self) -> float | np.ndarray:
        """A float, or an array with a value for each of several thresholds."""
        return self.in_order(self.counts()[self.which])


@METRICS.register()
class TruePositives(_Count):
    """How many elements above the threshold have a target of 1.

    Args:
        thresholds: a number in [0, 1], default 0.5, or several, each of which gives a result.
        name, dtype: see `Metric`.
    """

    which = 0


@METRICS.register()
class FalsePositives(_Count):
    """How many elements above the threshold have a target of 0.

    Args:
        thresholds, name, dtype: see `TruePositives`.
    """

    which = 1


@METRICS.register()
class TrueNegatives(_Count):
    """How many elements that are not above the threshold have a target of 0.

    Args:
        thresholds, name, dtype: see `TruePositives`.
    """

    which = 2


@METRICS.register()
class FalseNegatives(_Count):
    """How many elements that are not above the threshold have a target of 1.

    Args:
        thresholds, name, dtype: see `TruePositives`.
    """

    which = 3


def same_shape(y_true: Any, y_pred: Any) -> tuple[Array, Array]:
    """Both as arrays of one shape.

    Args:
        y_true: targets; class numbers become one-hot rows of the predictions' width.
        y_pred: predictions.

    Raises:
        ValueError: the shapes do not belong together.
    """
    y_true, y_pred = as_arrays(y_true, y_pred)
    if y_true.shape == y_pred.shape:
        return y_true, y_pred
    if y_pred.shape[-1] == 1 and y_true.shape == y_pred.shape[:-1]:  # one output: yes or no
        return y_true[..., None], y_pred
    if is_sparse(y_true.shape, y_pred.shape):
        return one_hot(class_numbers(y_true, y_pred), y_pred.shape[-1], "bool"), y_pred
    raise ValueError(
        f"targets of shape {tuple(y_true.shape)} do not fit predictions of shape "
        f"{tuple(y_pred.shape)}; give one-hot targets of that shape, or class numbers of shape "
        f"{tuple(y_pred.shape[:-1])}"
    )


def _highest(y_pred: Array, k: int) -> Array:
    """Where the k highest elements of the last axis stand, as booleans; of equal ones the first."""
    xp = array_module(y_pred)
    order = xp.argsort(-y_pred, axis=-1, kind="stable")  # (N, C): the class at each rank
    return xp.argsort(order, axis=-1) < k  # the inverse permutation: the rank of each class
