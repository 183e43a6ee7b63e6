"""Every registered metric against Keras's on its torch backend: results and configurations."""

import inspect
import os
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

os.environ.setdefault("KERAS_BACKEND", "torch")
torch = pytest.importorskip("torch")
keras = pytest.importorskip("keras")

from metric_cases import ARGUMENTS, CASES, CLASSES, IN_KERAS, batch  # noqa: E402

from minicnn import metrics  # noqa: E402
from minicnn.metrics import METRICS  # noqa: E402

pytestmark = pytest.mark.parity

IN_BOTH = [(name, arguments) for name, arguments in CASES if name in IN_KERAS]


def result(metric):
    found = metric.result()
    return found.cpu().numpy() if isinstance(found, torch.Tensor) else found


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("name", "arguments"), IN_BOTH)
def test_equals_keras(name, arguments, weighted):
    rng = np.random.default_rng(3)
    ours, theirs = (getattr(m, name)(**arguments) for m in (metrics, keras.metrics))
    for n in (20, 7):
        given = batch(name, arguments, rng, n)
        weight = rng.random(n).astype("float32") if weighted else None
        ours.update_state(*given, weight)
        theirs.update_state(*given, weight)
    np.testing.assert_allclose(ours.result(), result(theirs), rtol=3e-5, atol=1e-5)


@pytest.mark.parametrize("name", sorted({"AUC", "PrecisionAtRecall", "SpecificityAtSensitivity"}))
@given(
    seed=st.integers(0, 2**16),
    n=st.integers(1, 40),
    thresholds=st.integers(2, 60),
    which=st.integers(0, 30),
    grid=st.booleans(),
)
@settings(max_examples=25, deadline=None)
def test_thresholds(name, seed, n, thresholds, which, grid):
    """Predictions that coincide with thresholds too, and batches of one class only."""
    rng = np.random.default_rng(seed)
    arguments = dict(ARGUMENTS[name][which % len(ARGUMENTS[name])])
    if "num_labels" in arguments or arguments.get("thresholds"):
        thresholds = None
    else:
        arguments["num_thresholds"] = thresholds
    y_true, y_pred = batch(name, arguments, rng, n)
    if grid and thresholds:
        y_pred = (np.rint(y_pred * (thresholds - 1)) / (thresholds - 1)).astype("float32")
    ours, theirs = (getattr(m, name)(**arguments) for m in (metrics, keras.metrics))
    ours.update_state(y_true, y_pred)
    theirs.update_state(y_true, y_pred)
    np.testing.assert_allclose(ours.result(), result(theirs), rtol=3e-5, atol=2e-5)


@pytest.mark.parametrize("shape", [(9,), (9, 1)])
@pytest.mark.parametrize(
    "name",
    ["AUC", "TruePositives", "FalseNegatives", "Precision", "Recall", "MeanSquaredError", "Hinge",
     "MeanAbsoluteError", "BinaryAccuracy", "RootMeanSquaredError", "BinaryCrossentropy"],
)  # fmt: skip
def test_one_output(name, shape):
    rng = np.random.default_rng(0)
    y_pred, labels = rng.random(shape).astype("float32"), rng.integers(0, 2, 9)
    for y_true in (labels, labels.reshape(shape)):
        ours, theirs = (getattr(m, name)() for m in (metrics, keras.metrics))
        ours.update_state(y_true, y_pred)
        theirs.update_state(labels.reshape(shape).astype("float32"), y_pred)
        np.testing.assert_allclose(ours.result(), result(theirs), rtol=1e-5)


@pytest.mark.parametrize("name", IN_KERAS)
def test_constructors(name):
    """The same arguments in the same order with the same defaults, and the same name."""
    ours = inspect.signature(CLASSES[name]).parameters
    theirs = inspect.signature(getattr(keras.metrics, name)).parameters
    assert list(ours) == list(theirs)
    defaults = {n: p.default for n, p in theirs.items() if n != "name"}
    assert {n: ours[n].default for n in defaults} == defaults
    arguments = ARGUMENTS.get(name, [{}])[0]
    if theirs["name"].default is not None:
        assert CLASSES[name](**arguments).name == getattr(keras.metrics, name)(**arguments).name


@pytest.mark.parametrize(("name", "arguments"), IN_BOTH)
def test_configurations_both_ways(name, arguments):
    arguments = {**arguments, "name": "mine"}
    ours, theirs = CLASSES[name](**arguments), getattr(keras.metrics, name)(**arguments)
    written, expected = metrics.serialize(ours), theirs.get_config()
    assert written["class_name"] == name
    if expected.get("label_weights") is not None:  # Keras writes a tensor
        expected["label_weights"] = expected["label_weights"].tolist()
    assert {k: v for k, v in expected.items() if k not in ("dtype",)} == {
        k: v for k, v in written["config"].items() if k in expected
    } | {k: v for k, v in expected.items() if k == "from_sorted_ids"}
    twin = metrics.deserialize({"class_name": name, "config": expected})
    again = type(theirs).from_config(written["config"])
    given = batch(name, arguments, np.random.default_rng(0), 12)
    for metric in (ours, theirs, twin, again):
        metric.update_state(*given)
    for metric in (ours, twin, again):
        np.testing.assert_allclose(result(metric), result(theirs), rtol=3e-5, atol=1e-5)


def test_every_name_of_keras():
    module = keras.src.metrics
    left_out = {"IoU", "BinaryIoU", "MeanIoU", "OneHotIoU", "OneHotMeanIoU", "PearsonCorrelation",
                "ConcordanceCorrelation"}  # fmt: skip
    for name, cls in module.ALL_OBJECTS_DICT.items():
        if cls.__name__ in left_out:
            with pytest.raises(ValueError, match="minicnn leaves out"):
                metrics.get(name)
            assert not hasattr(metrics, name)
        elif cls.__name__ not in ("Metric", "MeanMetricWrapper"):
            assert METRICS.find(name).__name__ == cls.__name__
        if cls.__name__ not in left_out:
            assert hasattr(metrics, cls.__name__)
    lowered = {name.lower() for name in left_out}
    public = [n for n in dir(keras.metrics) if n[0] != "_" and n.replace("_", "") not in lowered]
    assert [n for n in public if n not in left_out and not hasattr(metrics, n)] == []


FUNCTIONS = ["binary_accuracy", "categorical_accuracy", "sparse_categorical_accuracy",
             "top_k_categorical_accuracy", "sparse_top_k_categorical_accuracy"]  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name):
    ours, theirs = getattr(metrics, name), getattr(keras.metrics, name)
    assert [(p.name, p.default) for p in inspect.signature(ours).parameters.values()] == [
        (p.name, p.default) for p in inspect.signature(theirs).parameters.values()
    ]
    y_true, y_pred = batch(name.title().replace("_", ""), {}, np.random.default_rng(0), 9)
    more = [{}] if "top_k" not in name else [{"k": 1}, {"k": 2}]
    for arguments in more:
        found = ours(y_true, y_pred, **arguments)
        np.testing.assert_array_equal(found, theirs(y_true, y_pred, **arguments).numpy())
        assert found.dtype == "float32"


def test_r2_of_more_regressors_than_samples_and_of_equal_targets():
    for y_true in ([[1.0], [2], [4]], [[1.0], [1], [1]]):
        ours, theirs = metrics.R2Score(num_regressors=9), keras.metrics.R2Score(num_regressors=9)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Keras's
            for metric in (ours, theirs):
                metric.update_state(
                    np.array(y_true, "float32"), np.array([[1.0], [2], [3]], "float32")
                )
            np.testing.assert_allclose(ours.result(), result(theirs), rtol=1e-5)
