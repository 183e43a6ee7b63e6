"""Metrics: figures that say how good predictions are."""

from minicnn.metrics.accuracy import (
    Accuracy,
    BinaryAccuracy,
    CategoricalAccuracy,
    SparseCategoricalAccuracy,
    SparseTopKCategoricalAccuracy,
    TopKCategoricalAccuracy,
)
from minicnn.metrics.base import METRICS, Mean, MeanMetricWrapper, Metric
from minicnn.metrics.confusion import ConfusionMatrix
from minicnn.metrics.errors import (
    BinaryCrossentropy,
    CategoricalCrossentropy,
    LossValue,
    MeanAbsoluteError,
    MeanSquaredError,
    SparseCategoricalCrossentropy,
)
from minicnn.metrics.precision_recall import F1Score, FBetaScore, Precision, Recall
from minicnn.metrics.resolve import get, resolve

__all__ = [
    "METRICS",
    "Accuracy",
    "BinaryAccuracy",
    "BinaryCrossentropy",
    "CategoricalAccuracy",
    "CategoricalCrossentropy",
    "ConfusionMatrix",
    "F1Score",
    "FBetaScore",
    "LossValue",
    "Mean",
    "MeanAbsoluteError",
    "MeanMetricWrapper",
    "MeanSquaredError",
    "Metric",
    "Precision",
    "Recall",
    "SparseCategoricalAccuracy",
    "SparseCategoricalCrossentropy",
    "SparseTopKCategoricalAccuracy",
    "TopKCategoricalAccuracy",
    "get",
    "resolve",
]
