"""Precision, recall and their mean, from counts of true and false positives and negatives.

    precision = TP / (TP + FP)      how much of what was called positive is
    recall    = TP / (TP + FN)      how much of what is positive was found
    F_b       = (1 + b^2) P R / (b^2 P + R)

A quotient without cases (0 / 0) counts as 0.
"""

from typing import Any

import numpy as np

from minicnn.metrics.base import METRICS, Metric, expand_weight, ratio
from minicnn.metrics.counts import Counted, same_shape


class _Quotient(Counted):
    direction = "up"

    def __init__(
        self, thresholds: Any = None, top_k: int | None = None, class_id: int | None = None,
        name: str | None = None, dtype: Any = None,
    ):  # fmt: skip
        super().__init__(
            0.5 if thresholds is None else thresholds, False, top_k, class_id, name, dtype
        )
        if thresholds is None and top_k is not None:
            self._levels = [-1e10]  # the k highest, whatever they are
        self.thresholds = thresholds
        self.top_k = top_k
        self.class_id = class_id


@METRICS.register()
class Precision(_Quotient):
    """TP / (TP + FP): how much of what was called positive is positive.

    Counts over all elements (sample, class) of the predictions. Targets are one-hot (N, C), or
    class numbers (N,) or (N, 1); predictions (N, C).

    Args:
        thresholds: an element above it is called positive; a number in [0, 1], default 0.5, or
            several, each of which gives a result. Logits need other thresholds than
            probabilities: 0 stands for 0.5.
        top_k: call the k highest elements of each sample positive instead of those above 0.5.
        class_id: look at this class only.
        name, dtype: see `Metric`.

    Raises:
        ValueError: a threshold outside [0, 1], or a top_k below 1.
    """

    def result(self) -> float | np.ndarray:
        """A float, or an array with a value for each of several thresholds."""
        hits, alarms, _, _ = self.counts()
        return self.in_order(ratio(hits, hits + alarms))


@METRICS.register()
class Recall(_Quotient):
    """TP / (TP + FN): how much of what is positive was found.

    Counts over all elements (sample, class) of the predictions. Targets are one-hot (N, C), or
    class numbers (N,) or (N, 1); predictions (N, C).

    Args:
        thresholds: an element above it is called positive; a number in [0, 1], default 0.5, or
            several, each of which gives a result. Logits need other thresholds than
            probabilities: 0 stands for 0.5.
        top_k: call the k highest elements of each sample positive instead of those above 0.5.
        class_id: look at this class only.
        name, dtype: see `Metric`.

    Raises:
        ValueError: a threshold outside [0, 1], or a top_k below 1.
    """

    def result(self) -> float | np.ndarray:
        """A float, or an array with a value for each of several thresholds."""
        hits, _, _, misses = self.counts()
        return self.in_order(ratio(hits, hits + misses))


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
        name, dtype: see `Metric`.

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
        dtype: Any = None,
    ):
        super().__init__(name, dtype)
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
        y_true, y_pred = same_shape(*self.arrays(y_true, y_pred))
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
        name, dtype: see `Metric`.
    """

    def __init__(
        self, average: str | None = None, threshold: float | None = None, name: str = "f1_score",
        dtype: Any = None,
    ):  # fmt: skip
        super().__init__(average, 1.0, threshold, name, dtype)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["beta"]
        return config
