"""Losses and metrics in saved models, both ways with Keras, and training with weighted metrics."""

import os

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "torch")
pytest.importorskip("torch")
keras = pytest.importorskip("keras")

from loss_cases import CASES as LOSS_CASES  # noqa: E402
from metric_cases import CASES as METRIC_CASES  # noqa: E402
from metric_cases import IN_KERAS, OF_VALUES  # noqa: E402

import minicnn  # noqa: E402

pytestmark = [
    pytest.mark.parity,
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # Keras's
    pytest.mark.filterwarnings("ignore:More independent predictors:UserWarning"),
]


OF_ONE_HOT = [
    (name, arguments)
    for i, (name, arguments) in enumerate(METRIC_CASES)
    if name in set(IN_KERAS) - OF_VALUES - {"Accuracy"}
    and not name.startswith("Sparse")
    and "label_weights" not in arguments  # of which Keras writes a tensor
    and (name != "AUC" or i % 5 == 0)
]


def network(library, loss, metrics=(), weighted=()):
    layers = library.layers
    model = library.Sequential([layers.Input((5,)), layers.Dense(4, "softmax")])
    model.compile("sgd", loss, metrics=list(metrics), weighted_metrics=list(weighted))
    return model


def figures(model, y):
    rng = np.random.default_rng(0)
    x, weights = rng.normal(size=(12, 5)).astype("float32"), rng.uniform(size=12).astype("float32")
    return model.evaluate(x, y, sample_weight=weights, verbose=0, return_dict=True)


def there_and_back(make, y, path):
    """The figures of a model of either library, saved and loaded by itself and by the other."""
    for one, other in ((minicnn, keras), (keras, minicnn)):
        model = make(one)
        expected = figures(model, y)
        model.save(path)
        for library in (one, other):
            found = figures(library.models.load_model(path), y)
            assert sorted(found) == sorted(expected)
            for name, value in expected.items():
                np.testing.assert_allclose(found[name], value, rtol=2e-4, atol=1e-6, err_msg=name)


# of Huber, Keras does not write delta
WRITTEN = [(name, arguments) for name, arguments in LOSS_CASES if name != "Huber" or not arguments]


@pytest.mark.parametrize(("name", "arguments"), WRITTEN)
def test_losses(name, arguments, tmp_path):
    labels = np.random.default_rng(1).integers(0, 4, 12)
    sparse = name in ("SparseCategoricalCrossentropy", "CategoricalGeneralizedCrossEntropy")
    y = labels if sparse else np.eye(4, dtype="float32")[labels]
    there_and_back(
        lambda library: network(library, getattr(library.losses, name)(**arguments)),
        y,
        tmp_path / "model.keras",
    )


@pytest.mark.parametrize(("name", "arguments"), OF_ONE_HOT)
def test_metrics(name, arguments, tmp_path):
    y = np.eye(4, dtype="float32")[np.random.default_rng(1).integers(0, 4, 12)]

    def make(library):
        metric = getattr(library.metrics, name)(**arguments, name="mine")
        return network(library, "mse", [metric], ["mae", "MSE"])

    there_and_back(make, y, tmp_path / "model.keras")


def test_functions_and_strings(tmp_path):
    labels = np.random.default_rng(1).integers(0, 4, 12)
    y = np.eye(4, dtype="float32")[labels]

    def make(library):
        functions = [library.metrics.binary_accuracy, library.metrics.mean_absolute_error]
        return network(library, library.losses.log_cosh, functions, ["accuracy", "AUC"])

    for one, other in ((minicnn, keras), (keras, minicnn)):
        model = make(one)
        model.save(tmp_path / "model.keras")
        expected, found = (
            figures(model, y),
            figures(other.models.load_model(tmp_path / "model.keras"), y),
        )
        assert sorted(found) == sorted(expected)
        for name, value in expected.items():
            np.testing.assert_allclose(found[name], value, rtol=2e-4)


def test_names_and_weights_of_training():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(12, 5)).astype("float32"), rng.integers(0, 4, 12)
    weights, found = rng.uniform(size=12).astype("float32"), {}
    start = None
    for library in (minicnn, keras):
        model = network(
            library, "sparse_categorical_crossentropy", ["accuracy"], ["accuracy", "acc"]
        )
        start = model.get_weights() if start is None else start
        model.set_weights(start)
        history = model.fit(x, y, sample_weight=weights, validation_data=(x, y, weights), verbose=0,
                            class_weight=None, batch_size=12, epochs=2)  # fmt: skip
        found[library] = history.history
    assert sorted(found[minicnn]) == sorted(found[keras])
    for name, values in found[keras].items():
        np.testing.assert_allclose(found[minicnn][name], values, rtol=1e-4)
