"""Arguments and data for every registered metric: a new one takes a line here if it has some."""

import numpy as np

from minicnn.metrics import METRICS

TWO = [{}, {"thresholds": [0.1, 0.6, 0.35]}]
POINTS = [{"num_thresholds": 50}, {"class_id": 1}, {"num_thresholds": 1}]
ARGUMENTS = {
    "AUC": [
        {"curve": curve, "summation_method": method, **more}
        for curve in ("ROC", "PR", "PRGAIN")
        for method in ("interpolation", "majoring", "minoring")
        for more in (
            {},
            {"multi_label": True, "num_thresholds": 40},
            {"thresholds": [0.9, 0.2, 0.33]},
        )
    ]
    + [
        {"label_weights": [1.0, 0.5, 2.0, 0.0]},
        {"multi_label": True, "num_labels": 4, "label_weights": [1.0, 0.5, 2.0, 0.0]},
        {"from_logits": True},
        {"num_thresholds": 2},
    ],
    "BinaryAccuracy": [{}, {"threshold": 0.3}],
    "BinaryCrossentropy": [{}, {"from_logits": True, "label_smoothing": 0.1}],
    "CategoricalCrossentropy": [{}, {"from_logits": True, "label_smoothing": 0.1}],
    "CosineSimilarity": [{}, {"axis": -1}],
    "F1Score": [{}, {"average": "macro"}, {"average": "weighted", "threshold": 0.2}],
    "FBetaScore": [{"average": "micro", "beta": 2.0}, {"average": "weighted", "beta": 0.5}],
    "FalseNegatives": TWO,
    "FalsePositives": TWO,
    "Precision": [*TWO, {"top_k": 2}, {"class_id": 1, "thresholds": 0.2}],
    "PrecisionAtRecall": [{"recall": 0.6, **more} for more in POINTS],
    "R2Score": [
        {},
        {"class_aggregation": None},
        {"class_aggregation": "variance_weighted_average"},
        {"num_regressors": 3},
    ],
    "Recall": [*TWO, {"top_k": 2, "thresholds": 0.3}, {"class_id": 3}],
    "RecallAtPrecision": [{"precision": 0.4, **more} for more in POINTS],
    "SensitivityAtSpecificity": [{"specificity": 0.7, **more} for more in POINTS],
    "SparseCategoricalCrossentropy": [{}, {"from_logits": True}],
    "SparseTopKCategoricalAccuracy": [{"k": 1}, {"k": 2}, {"k": 3, "from_sorted_ids": True}],
    "SpecificityAtSensitivity": [{"sensitivity": 0.6, **more} for more in POINTS],
    "TopKCategoricalAccuracy": [{"k": 1}, {"k": 3}],
    "TrueNegatives": TWO,
    "TruePositives": TWO,
    "ConfusionMatrix": [{"num_classes": 4}],
    "LossValue": [{"loss": "huber"}, {"loss": "categorical_focal_crossentropy"}],
}
CLASSES = {METRICS.find(name).__name__: METRICS.find(name) for name in METRICS.names()}
IN_KERAS = [name for name, cls in CLASSES.items() if cls.in_keras]
CASES = [(name, arguments) for name in CLASSES for arguments in ARGUMENTS.get(name, [{}])]
OF_VALUES = {"Mean", "Sum"}


def batch(name, arguments, rng, n, dtype="float32"):
    """Targets and predictions (n, 4) that suit the metric called `name`."""
    labels = rng.integers(4, size=n)
    scores = rng.dirichlet(np.ones(4), size=n).astype(dtype)
    if arguments.get("from_logits"):
        scores = rng.normal(size=(n, 4)).astype(dtype)
    if name in OF_VALUES:
        return (scores,)
    if arguments.get("from_sorted_ids"):
        return labels, np.stack([rng.permutation(4) for _ in range(n)]).astype(dtype)
    if name.startswith("Sparse"):
        return labels, scores
    if name == "Accuracy":
        return labels, rng.integers(4, size=n).astype(dtype)
    if "Hinge" in name or name in ("R2Score", "CosineSimilarity", "LogCoshError") or "Mean" in name:
        scores = rng.normal(size=(n, 4)).astype(dtype)
    return np.eye(4, dtype=dtype)[labels], scores
