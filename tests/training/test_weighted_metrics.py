"""`metrics` count all samples alike, `weighted_metrics` by their weights."""

import numpy as np
import pytest

from minicnn import Sequential, layers, metrics
from minicnn.models import load_model


def problem():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(20, 5)).astype("float32"), rng.integers(0, 3, 20)
    return x, y, rng.uniform(0.1, 2, size=20).astype("float32")


def network(**compiled):
    model = Sequential([layers.Input((5,)), layers.Dense(3, "softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy", **compiled)
    return model


def test_each_kind_is_given_its_own():
    x, y, weights = problem()
    model = network(
        metrics=["accuracy"],
        weighted_metrics=["accuracy", metrics.SparseCategoricalCrossentropy(name="nll")],
    )
    found = model.evaluate(x, y, sample_weight=weights, verbose=0, return_dict=True, batch_size=8)
    right = model.predict(x, verbose=0).argmax(-1) == y
    assert list(found) == ["loss", "accuracy", "weighted_accuracy", "nll"]
    assert found["accuracy"] == pytest.approx(right.mean())
    assert found["weighted_accuracy"] == pytest.approx(np.average(right, weights=weights))
    p = model.predict(x, verbose=0)[np.arange(20), y]
    assert found["nll"] == pytest.approx(np.average(-np.log(p), weights=weights), rel=1e-5)
    alike = model.evaluate(x, y, verbose=0, return_dict=True)
    assert alike["accuracy"] == pytest.approx(alike["weighted_accuracy"])


def test_class_weights_are_weights_too():
    x, y, _ = problem()
    model = network(weighted_metrics=["accuracy"], metrics=["acc"])
    right = model.predict(x, verbose=0).argmax(-1) == y
    weight = {0: 0.0, 1: 2.0, 2: 0.5}
    found = model.train_on_batch(x, y, class_weight=weight, return_dict=True)
    expected = np.average(right, weights=[weight[label] for label in y])
    assert found["accuracy"] == pytest.approx(expected)
    assert found["acc"] == pytest.approx(right.mean())


def test_names_are_kept_apart():
    x, y, _ = problem()
    model = network(metrics=["acc", "acc"], weighted_metrics=["acc", "acc"])
    found = model.evaluate(x, y, verbose=0, return_dict=True)
    assert list(found) == ["loss", "acc", "acc_1", "weighted_acc", "weighted_acc_1"]


def test_one_metric_needs_no_list_and_unknown_names_are_told_at_once():
    assert network(weighted_metrics="accuracy").weighted_metric_identifiers == ["accuracy"]
    with pytest.raises(ValueError, match="unknown metric 'acuracy'; did you mean 'accuracy'"):
        network(weighted_metrics=["acuracy"])


def test_they_are_saved(tmp_path):
    pytest.importorskip("h5py")
    model = network(
        metrics=["accuracy", metrics.AUC(thresholds=[0.2, 0.6], name="area")],
        weighted_metrics=["accuracy", metrics.mse, metrics.TruePositives([0.3, 0.7])],
    )
    x, y, weights = problem()
    y = np.eye(3)[y]
    model.compile("sgd", "categorical_crossentropy", model.metric_identifiers,
                  weighted_metrics=model.weighted_metric_identifiers)  # fmt: skip
    expected = model.evaluate(x, y, sample_weight=weights, verbose=0, return_dict=True)
    for ending in ("safetensors", "keras", "h5"):
        model.save(tmp_path / f"model.{ending}")
        again = load_model(tmp_path / f"model.{ending}")
        found = again.evaluate(x, y, sample_weight=weights, verbose=0, return_dict=True)
        assert list(found) == list(expected)
        for name, value in expected.items():
            np.testing.assert_allclose(found[name], value, rtol=1e-6)


def test_functions_of_numpy_serve_as_metrics():
    def largest(y_true, y_pred):
        return y_pred.max(axis=-1)

    x, y, weights = problem()
    model = network(metrics=[largest, metrics.sparse_categorical_accuracy],
                    weighted_metrics=[largest])  # fmt: skip
    found = model.evaluate(x, y, sample_weight=weights, verbose=0, return_dict=True)
    highest = model.predict(x, verbose=0).max(-1)
    assert found["largest"] == pytest.approx(highest.mean())
    assert found["weighted_largest"] == pytest.approx(np.average(highest, weights=weights))
    assert "sparse_categorical_accuracy" in found
