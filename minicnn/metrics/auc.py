"""What is reached over all thresholds: the area under a curve, and the best point on demand."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from minicnn.backend import array_module
from minicnn.dtypes import widened
from minicnn.kernels.activations import sigmoid
from minicnn.metrics.base import METRICS, expand_weight, ratio
from minicnn.metrics.counts import Counted
from minicnn.typing import Array


@METRICS.register()
class AUC(Counted):
    """Area under the curve that a classifier draws as its threshold falls from 1 to 0; 1 is
    perfect. Under "ROC", where 0.5 is no better than chance, that is the probability that a
    positive is put above a negative.

    Targets are 0 or 1 and of the shape of the predictions, or class numbers (N,) or (N, 1) for
    predictions (N, C). With `multi_label` each of the C outputs has a curve of its own.

    Args:
        num_thresholds: how many points the curve has, at least 2.
        curve: "ROC", recall over the rate of false positives; "PR", precision over recall;
            "PRGAIN", precision gain over recall gain.
        summation_method: "interpolation", along straight lines (under "PR" along those of the
            counts, Davis and Goadrich 2006, doi:10.1145/1143844.1143874); "minoring" and "majoring"
            take the lower and the higher end of each step.
        name, dtype: see `Metric`.
        thresholds: in place of `num_thresholds`, those between 0 and 1.
        multi_label: the mean of the areas of the outputs; else one area for all elements.
        num_labels: C, of `multi_label`, if it is to be checked.
        label_weights: a weight for each of the C outputs.
        from_logits: predictions are logits, of which a sigmoid makes probabilities.

    Raises:
        ValueError: another curve or summation_method, fewer thresholds, or thresholds outside
            [0, 1].

    Source of "PRGAIN": Flach and Kull 2015, Precision-Recall-Gain Curves, NeurIPS 28.
    """

    direction = "up"

    def __init__(
        self, num_thresholds: int = 200, curve: str = "ROC",
        summation_method: str = "interpolation", name: str | None = None, dtype: Any = None,
        thresholds: Sequence[float] | None = None, multi_label: bool = False,
        num_labels: int | None = None, label_weights: Sequence[float] | None = None,
        from_logits: bool = False,
    ):  # fmt: skip
        if str(curve).upper() not in ("ROC", "PR", "PRGAIN"):
            raise ValueError(f"curve is 'ROC', 'PR' or 'PRGAIN', got {curve!r}")
        if str(summation_method).lower() not in ("interpolation", "minoring", "majoring"):
            raise ValueError(
                f"summation_method is 'interpolation', 'minoring' or 'majoring', got "
                f"{summation_method!r}"
            )
        if num_thresholds < 2:
            raise ValueError(f"num_thresholds must be at least 2, got {num_thresholds!r}")
        if num_labels and not multi_label:
            raise ValueError("num_labels is for multi_label=True")
        if thresholds is not None:
            num_thresholds = len(thresholds) + 2
        levels = None if thresholds is None else [0.0, *sorted(map(float, thresholds)), 1.0]
        super().__init__(levels or num_thresholds, levels is None, name=name, dtype=dtype)
        self.num_thresholds = num_thresholds
        self.curve = str(curve).upper()
        self.summation_method = str(summation_method).lower()
        self.thresholds = None if levels is None else levels[1:-1]
        self.multi_label = self._by_label = multi_label
        self.num_labels = num_labels
        self.label_weights = None if label_weights is None else [float(w) for w in label_weights]
        self.from_logits = from_logits

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        y_true, y_pred = self.arrays(y_true, y_pred)
        labels = y_pred.shape[-1]
        if self.multi_label and (y_pred.ndim != 2 or self.num_labels not in (None, labels)):
            raise ValueError(
                f"{self.name} takes predictions of shape (samples, {self.num_labels or 'labels'}), "
                f"got {tuple(y_pred.shape)}"
            )
        if self.label_weights is not None and len(self.label_weights) != labels:
            raise ValueError(
                f"{self.name} has {len(self.label_weights)} label_weights for predictions of shape "
                f"{tuple(y_pred.shape)}"
            )
        if self.label_weights is not None and not self.multi_label:
            xp = array_module(y_pred)
            weight = xp.ones(y_pred.shape)
            for label, of_label in enumerate(self.label_weights):
                weight[..., label] = of_label
            if sample_weight is not None:
                weight *= expand_weight(sample_weight, weight)
            sample_weight = weight
        super().update_state(y_true, y_pred, sample_weight)

    def _below(self, y_pred: Array) -> Array:
        p = sigmoid(widened(y_pred)) if self.from_logits else y_pred
        xp = array_module(p)
        # the outer thresholds lie a little outside [0, 1], so that the curve has both its ends
        return xp.clip(super()._below(p), 1, self.num_thresholds - 1)

    def result(self) -> float:
        hits, alarms, quiet, misses = self.counts()
        recall = ratio(hits, hits + misses)
        if self.curve == "PR" and self.summation_method == "interpolation":
            areas = self._interpolated(hits, hits + alarms, hits + misses)
            return self._mean(areas)
        if self.curve == "ROC":
            x, y = ratio(alarms, alarms + quiet), recall
        elif self.curve == "PR":
            x, y = recall, ratio(hits, hits + alarms)
        else:
            odds = ratio(hits + misses, alarms + quiet)
            x = np.maximum(np.where(hits == 0, 0.0, 1.0 - odds * ratio(misses, hits)), 0.0)
            y = np.where(hits == 0, 1.0, 1.0 - odds * ratio(alarms, hits))
        heights = {
            "interpolation": (y[:-1] + y[1:]) / 2,
            "minoring": np.minimum(y[:-1], y[1:]),
            "majoring": np.maximum(y[:-1], y[1:]),
        }[self.summation_method]
        return self._mean((x[:-1] - x[1:]) * heights)

    def _interpolated(self, hits: np.ndarray, called: np.ndarray, all_: np.ndarray) -> np.ndarray:
        """Between two thresholds true positives are taken as a + b · (positives called), so that
        precision is a / called + b, and its integral has a logarithm."""
        b = ratio(hits[:-1] - hits[1:], called[:-1] - called[1:])
        a = hits[1:] - b * called[1:]
        both = (called[:-1] > 0) & (called[1:] > 0)
        growth = np.where(both, ratio(called[:-1], called[1:]), 1.0)
        return ratio(b * (hits[:-1] - hits[1:] + a * np.log(growth)), all_[1:])

    def _mean(self, areas: np.ndarray) -> float:
        areas = areas.sum(axis=0)
        if not self.multi_label or self.label_weights is None:
            return float(areas.mean())
        return float(ratio((areas * self.label_weights).sum(), np.sum(self.label_weights)))


class _BestPoint(Counted):
    """The highest value of one quotient among the thresholds at which another one is at least what
    is demanded; 0 if it is nowhere."""

    direction = "up"
    demanded: str
    sought: str

    def __init__(
        self, value: float, num_thresholds: int, class_id: int | None, name: str | None, dtype: Any
    ):
        if num_thresholds < 1:
            raise ValueError(f"num_thresholds must be at least 1, got {num_thresholds!r}")
        if not 0 <= value <= 1:
            raise ValueError(f"{self.demanded} lies between 0 and 1, got {value!r}")
        even = num_thresholds > 1
        levels = num_thresholds if even else 0.5
        super().__init__(levels, even, class_id=class_id, name=name, dtype=dtype)
        self.num_thresholds = num_thresholds
        self.class_id = class_id
        setattr(self, self.demanded, value)

    def result(self) -> float:
        hits, alarms, quiet, misses = self.counts()
        quotients = {
            "precision": ratio(hits, hits + alarms),
            "recall": ratio(hits, hits + misses),
            "sensitivity": ratio(hits, hits + misses),
            "specificity": ratio(quiet, quiet + alarms),
        }
        feasible = quotients[self.demanded] >= getattr(self, self.demanded)
        return float(np.where(feasible, quotients[self.sought], 0.0).max())


@METRICS.register()
class SensitivityAtSpecificity(_BestPoint):
    """The highest TP / (TP + FN) at a threshold with at least a given TN / (TN + FP).

    Args:
        specificity: what is demanded, from 0 to 1.
        num_thresholds: how many are tried, evenly spaced from 0 to 1; of one, 0.5.
        class_id: look at this class only.
        name, dtype: see `Metric`.

    Raises:
        ValueError: a demand outside [0, 1], or no threshold.
    """

    demanded, sought = "specificity", "sensitivity"

    def __init__(
        self, specificity: float, num_thresholds: int = 200, class_id: int | None = None,
        name: str | None = None, dtype: Any = None,
    ):  # fmt: skip
        super().__init__(specificity, num_thresholds, class_id, name, dtype)


@METRICS.register()
class SpecificityAtSensitivity(_BestPoint):
    """The highest TN / (TN + FP) at a threshold with at least a given TP / (TP + FN).

    Args:
        sensitivity: what is demanded, from 0 to 1.
        num_thresholds, class_id, name, dtype: see `SensitivityAtSpecificity`.
    """

    demanded, sought = "sensitivity", "specificity"

    def __init__(
        self, sensitivity: float, num_thresholds: int = 200, class_id: int | None = None,
        name: str | None = None, dtype: Any = None,
    ):  # fmt: skip
        super().__init__(sensitivity, num_thresholds, class_id, name, dtype)


@METRICS.register()
class PrecisionAtRecall(_BestPoint):
    """The highest TP / (TP + FP) at a threshold with at least a given TP / (TP + FN).

    Args:
        recall: what is demanded, from 0 to 1.
        num_thresholds, class_id, name, dtype: see `SensitivityAtSpecificity`.
    """

    demanded, sought = "recall", "precision"

    def __init__(
        self, recall: float, num_thresholds: int = 200, class_id: int | None = None,
        name: str | None = None, dtype: Any = None,
    ):  # fmt: skip
        super().__init__(recall, num_thresholds, class_id, name, dtype)


@METRICS.register()
class RecallAtPrecision(_BestPoint):
    """The highest TP / (TP + FN) at a threshold with at least a given TP / (TP + FP).

    Args:
        precision: what is demanded, from 0 to 1.
        num_thresholds, class_id, name, dtype: see `SensitivityAtSpecificity`.
    """

    demanded, sought = "precision", "recall"

    def __init__(
        self, precision: float, num_thresholds: int = 200, class_id: int | None = None,
        name: str | None = None, dtype: Any = None,
    ):  # fmt: skip
        super().__init__(precision, num_thresholds, class_id, name, dtype)
