"""Metrics against Keras's own, on its torch backend."""

import os

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "torch")
pytest.importorskip("torch")
keras = pytest.importorskip("keras")

from minicnn import metrics  # noqa: E402

pytestmark = pytest.mark.parity

CASES = [
    ("SparseCategoricalAccuracy", {}, "sparse"),
    ("CategoricalAccuracy", {}, "one-hot"),
    ("SparseTopKCategoricalAccuracy", {"k": 2}, "sparse"),
    ("SparseTopKCategoricalAccuracy", {}, "sparse"),
    ("TopKCategoricalAccuracy", {"k": 3}, "one-hot"),
    ("Precision", {}, "one-hot"),
    ("Precision", {"thresholds": [0.1, 0.35]}, "one-hot"),
    ("Precision", {"top_k": 2}, "one-hot"),
    ("Precision", {"top_k": 2, "thresholds": 0.3}, "one-hot"),
    ("Precision", {"class_id": 1, "thresholds": 0.2}, "one-hot"),
    ("Recall", {}, "one-hot"),
    ("Recall", {"thresholds": [0.1, 0.35]}, "one-hot"),
    ("Recall", {"top_k": 2}, "one-hot"),
    ("Recall", {"class_id": 3, "thresholds": 0.2}, "one-hot"),
    ("F1Score", {}, "one-hot"),
    ("F1Score", {"average": "macro"}, "one-hot"),
    ("F1Score", {"average": "micro"}, "one-hot"),
    ("F1Score", {"average": "weighted", "threshold": 0.2}, "one-hot"),
    ("FBetaScore", {"average": "weighted", "beta": 2.0}, "one-hot"),
    ("MeanSquaredError", {}, "one-hot"),
    ("MeanAbsoluteError", {}, "one-hot"),
    ("SparseCategoricalCrossentropy", {}, "sparse"),
    ("CategoricalCrossentropy", {}, "one-hot"),
    ("CategoricalCrossentropy", {"label_smoothing": 0.1}, "one-hot"),
    ("BinaryCrossentropy", {}, "one-hot"),
    ("BinaryCrossentropy", {"label_smoothing": 0.1}, "one-hot"),
]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("name", "arguments", "form"), CASES)
def test_equals_keras(name, arguments, form, weighted):
    rng = np.random.default_rng(3)
    ours, theirs = (getattr(m, name)(**arguments) for m in (metrics, keras.metrics))
    for n in (20, 7):
        labels = rng.integers(6, size=n)
        scores = rng.dirichlet(np.ones(6), size=n).astype(np.float32)
        weight = rng.random(n).astype(np.float32) if weighted else None
        y_true = labels if form == "sparse" else np.eye(6, dtype=np.float32)[labels]
        ours.update_state(y_true, scores, weight)
        theirs.update_state(y_true, scores, weight)
    expected = theirs.result().cpu().numpy()
    np.testing.assert_allclose(ours.result(), expected, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["Precision", "Recall", "F1Score", "SparseCategoricalAccuracy"])
def test_defaults_equal_kerass(name):
    ours, theirs = (getattr(m, name)().get_config() for m in (metrics, keras.metrics))
    for key in ours.keys() - {"name"}:
        assert ours[key] == theirs[key]


def test_mean_equals_keras():
    rng = np.random.default_rng(0)
    for shape, weight_shape in (((4,), None), ((4,), (4,)), ((4, 3), (4, 3))):
        values = rng.random(shape).astype(np.float32)
        weight = None if weight_shape is None else rng.random(weight_shape).astype(np.float32)
        ours, theirs = metrics.Mean(), keras.metrics.Mean()
        ours.update_state(values, weight)
        theirs.update_state(values, weight)
        np.testing.assert_allclose(ours.result(), float(theirs.result()), rtol=1e-6)
