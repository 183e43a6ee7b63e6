"""Precision, recall and their mean, from counts of true and false positives and negatives.

    precision = TP / (TP + FP)      how much of what was called positive is
    recall    = TP / (TP + FN)      how much of what is positive was found
    F_b       = (1 + b^2) P R / (b^2 P + R)

A quotient without cases (0 / 0) counts as 0.
"""

from typing import Any

import numpy as np

from minicnn.backend import array_module
from minicnn.metrics.base import (
    METRICS,
    Metric,
    as_arrays,
    class_numbers,
    expand_weight,
    is_sparse,
    one_hot,
    ratio,
)
from minicnn.typing import Array


class _Thresholded(Metric):
    """Counts true and false positives and false negatives for each threshold."""

    direction = "up"

    def __init__(
        self,
        thresholds: Any = None,
        top_k: int | None = None,
        class_id: int | None = None,
        name: str | None = None,
    ):
        super().__init__(name)
        levels = np.atleast_1d(np.asarray(0.5 if thresholds is None else thresholds, dtype=float))
        if levels.ndim != 1 or not len(levels) or not np.all((levels >= 0) & (levels <= 1)):
            raise ValueError(f"thresholds lie between 0 and 1, got {thresholds!r}")
        self._levels: tuple[float, ...] = tuple(levels.tolist())
        if top_k is not None and top_k < 1:
            raise ValueError(f"top_k must be at least 1, got {top_k!r}")
        self.thresholds = thresholds
        self.top_k = top_k
        self.class_id = class_id

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Targets one-hot (N, C), or class numbers (N,) or (N, 1), for predictions (N, C)."""
        y_true, y_pred = same_shape(y_true, y_pred)
        if self.class_id is not None and not 0 <= self.class_id < y_pred.shape[-1]:
            raise ValueError(
                f"{self.name} has class_id={self.class_id}, but there are {y_pred.shape[-1]} "
                f"classes; give 0 to {y_pred.shape[-1] - 1}"
            )
        truth = y_true > 0
        for i, called in enumerate(self._called_positive(y_pred)):
            hits, alarms, misses = called & truth, called & ~truth, ~called & truth
            for key, cases in (("tp", hits), ("fp", alarms), ("fn", misses)):
                if self.class_id is not None:
                    cases = cases[..., self.class_id]
                if sample_weight is not None:
                    cases = cases * expand_weight(sample_weight, cases)
                self.add(f"{key}{i}", cases.sum(dtype="float64"))

    def _called_positive(self, y_pred: Array) -> list[Array]:
        """For each threshold a boolean (N, C)."""
        if self.top_k is None:
            return [y_pred > level for level in self._levels]
        highest = _highest(y_pred, self.top_k)
        if self.thresholds is None:
            return [highest]
        return [(y_pred > level) & highest for level in self._levels]

    def _quotient(self, other: str) -> float | np.ndarray:
        """TP / (TP + `other`)."""
        count = len(self._levels)
        hits = np.array([self.total(f"tp{i}") for i in range(count)])
        others = np.array([self.total(f"{other}{i}") for i in range(count)])
        values = ratio(hits, hits + others)
        return values.item() if count == 1 else values


@METRICS.register()
class Precision(_Thresholded):
    """TP / (TP + FP): how much of what was called positive is positive.

    Counts over all elements (sample, class) of the predictions. Targets are one-hot (N, C), or
    class numbers (N,) or (N, 1); predictions (N, C).

    Args:
        thresholds: an element above it is called positive; a number in [0, 1], default 0.5, or
            several, each of which gives a result. Logits need other thresholds than
            probabilities: 0 stands for 0.5.
        top_k: call the k highest elements of each sample positive instead of those above 0.5.
        class_id: look at this class only.
        name: key in the logs; default: the class's name in snake case.

    Raises:
        ValueError: a threshold outside [0, 1], or a top_k below 1.
    """

    def result(self) -> float | np.ndarray:
        """A float, or an array with a value for each of several thresholds."""
        return self._quotient("fp")


@METRICS.register()
class Recall(_Thresholded):
    """TP / (TP + FN): how much of what is positive was found.

    Counts over all elements (sample, class) of the predictions. Targets are one-hot (N, C), or
    class numbers (N,) or (N, 1); predictions (N, C).

    Args:
        thresholds: an element above it is called positive; a number in [0, 1], default 0.5, or
            several, each of which gives a result. Logits need other thresholds than
            probabilities: 0 stands for 0.5.
        top_k: call the k highest elements of each sample positive instead of those above 0.5.
        class_id: look at this class only.
        name: key in the logs; default: the class's name in snake case.

    Raises:
        ValueError: a threshold outside [0, 1], or a top_k below 1.
    """

    def result(self) -> float | np.ndarray:
        """A float, or an array with a value for each of several thresholds."""
        return self._quotient("fn")


@METRICS.register()
class FBetaScore(Metric):
    """Weighted harmonic mean of precision and recall, per class or averaged.

    Targets are one-hot (N, C), or class numbers (N,) or (N, 1); predictions (N, C).

    Args:
        average: None for an array with a score per class; "macro" for their mean, "weighted" for
            the mean weighted by how often each class is the target; "micro" for one score from
            the counts of all classes together.
        beta: how many times recall weighs more than precision.
        threshold: an element above it is called positive; default: the highest of a sample is.
        name: key in the logs.

    Raises:
        ValueError: another average, a beta not above 0, or a threshold outside (0, 1].
    """

    direction = "up"

    def __init__(
        self,
        average: str | None = None,
        beta: float = 1.0,
        threshold: float | None = None,
        name: str = "fbeta_score",
    ):
        super().__init__(name)
        if average not in (None, "micro", "macro", "weighted"):
            raise ValueError(f"average is None, 'micro', 'macro' or 'weighted', got {average!r}")
        if beta <= 0:
            raise ValueError(f"beta must be above 0, got {beta!r}")
        if threshold is not None and not 0 < threshold <= 1:
            raise ValueError(f"threshold must be above 0 and at most 1, got {threshold!r}")
        self.average = average
        self.beta = beta
        self.threshold = threshold

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        y_true, y_pred = same_shape(y_true, y_pred)
        if y_pred.ndim != 2:
            raise ValueError(
                f"{self.name} takes predictions of shape (samples, classes), got {y_pred.shape}"
            )
        if self.threshold is None:
            # a row of zeros has no class
            called = (y_pred >= y_pred.max(axis=-1, keepdims=True)) & (abs(y_pred) > 1e-9)
        else:
            called = y_pred > self.threshold
        truth = y_true > 0
        for key, cases in (
            ("tp", called & truth),
            ("fp", called & ~truth),
            ("fn", ~called & truth),
        ):
            if sample_weight is not None:
                cases = cases * expand_weight(sample_weight, cases)
            self.add(key, cases.sum(axis=0, dtype="float64"))

    def result(self) -> float | np.ndarray:
        """A float, or for average=None an array (C,)."""
        tp, fp, fn = self.total("tp"), self.total("fp"), self.total("fn")
        support = tp + fn
        if self.average == "micro":
            tp, fp, fn = tp.sum(), fp.sum(), fn.sum()
        # (1 + b^2) P R / (b^2 P + R) with P and R written out, both sides times their denominators
        b2 = self.beta**2
        scores = ratio((1 + b2) * tp, (1 + b2) * tp + b2 * fn + fp)
        if self.average is None:
            return scores
        if self.average == "weighted":
            return ratio((scores * support).sum(), support.sum()).item()
        return float(scores.mean())


@METRICS.register("f1")
class F1Score(FBetaScore):
    """Harmonic mean of precision and recall, 2 P R / (P + R), per class or averaged.

    Args:
        average, threshold: see `FBetaScore`.
        name: key in the logs.
    """

    def __init__(
        self, average: str | None = None, threshold: float | None = None, name: str = "f1_score"
    ):
        super().__init__(average, 1.0, threshold, name)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["beta"]
        return config


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
