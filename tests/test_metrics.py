"""Metrics against hand-computed values and scikit-learn."""

import inspect

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from metric_cases import CASES, CLASSES, OF_VALUES
from metric_cases import batch as batch_for

from minicnn import backend, metrics
from minicnn.losses import SparseCategoricalCrossentropy
from minicnn.metrics import METRICS
from minicnn.registry import serialize

EVERY = [CLASSES[name](**arguments) for name, arguments in CASES if name not in OF_VALUES]
BY_NAME = [pytest.param(m, id=f"{m.name}-{i}") for i, m in enumerate(EVERY)]


def batch(seed=0, n=12, classes=4, dtype=np.float32):
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=n)
    return labels, rng.dirichlet(np.ones(classes), size=n).astype(dtype), rng.random(n)


def targets_for(metric, labels, classes=4):
    if type(metric).__name__.startswith("Sparse"):
        return labels
    return np.eye(classes, dtype=np.float32)[labels]


def given_to(metric):
    """Targets, predictions and weights of 12 samples that suit it."""
    arguments = metric.get_config()
    rng = np.random.default_rng(0)
    return *batch_for(type(metric).__name__, arguments, rng, 12), rng.random(12)


@st.composite
def predictions(draw):
    n, classes = draw(st.integers(1, 30)), draw(st.integers(2, 6))
    labels, scores, weight = batch(draw(st.integers(0, 2**16)), n, classes)
    return classes, labels, scores, weight if draw(st.booleans()) else None


def test_mean_by_hand():
    mean = metrics.Mean()
    assert mean.result() == 0
    mean.update_state([1, 3, 5, 7])
    assert mean.result() == 4
    mean.reset_state()
    mean.update_state([1, 3, 5, 7], sample_weight=[1, 1, 0, 0])
    assert mean.result() == 2
    mean.update_state([[4.0, 6.0]], sample_weight=[2])  # 2 entries of weight 2
    assert mean.result() == pytest.approx((4 + 20) / 6)


def test_accuracy_by_hand():
    y_pred = np.array([[0.1, 0.9, 0], [0.6, 0.3, 0.1], [0.2, 0.2, 0.6]], np.float32)
    metric = metrics.SparseCategoricalAccuracy()
    assert metric([1, 1, 2], y_pred) == pytest.approx(2 / 3)
    assert metric(np.array([[0], [1], [2]]), y_pred) == pytest.approx(3 / 6)
    assert metrics.CategoricalAccuracy()(np.eye(3)[[1, 1, 2]], y_pred) == pytest.approx(2 / 3)
    assert metrics.Accuracy()([1, 2, 3], [1, 2, 4]) == pytest.approx(2 / 3)
    assert metrics.BinaryAccuracy()([1, 0, 1], [[0.9], [0.9], [0.6]]) == pytest.approx(2 / 3)
    weighted = metrics.SparseCategoricalAccuracy()
    assert weighted([1, 1, 2], y_pred, sample_weight=[1, 2, 1]) == 0.5


def test_top_k_counts_ties_and_leaves_out_what_is_not_finite():
    tie = np.array([[0.2, 0.4, 0.4]])
    assert metrics.SparseTopKCategoricalAccuracy(1)([2], tie) == 1
    assert metrics.SparseTopKCategoricalAccuracy(2)([0], tie) == 0
    assert metrics.SparseTopKCategoricalAccuracy(3)([0], tie) == 1
    assert metrics.SparseTopKCategoricalAccuracy(1)([0], np.full((1, 3), np.nan)) == 0


@given(predictions(), st.integers(1, 6))
@settings(deadline=None, max_examples=40)
@pytest.mark.parity
def test_accuracies_equal_scikit_learn(case, k):
    sklearn = pytest.importorskip("sklearn.metrics")
    classes, labels, scores, weight = case
    expected = sklearn.accuracy_score(labels, scores.argmax(1), sample_weight=weight)
    for metric in (metrics.SparseCategoricalAccuracy(), metrics.CategoricalAccuracy()):
        y_true = targets_for(metric, labels, classes)
        assert metric(y_true, scores, weight) == pytest.approx(expected)
    rank = (scores > scores[np.arange(len(labels)), labels][:, None]).sum(1)
    expected = np.average(rank < k, weights=weight)
    for metric in (metrics.SparseTopKCategoricalAccuracy(k), metrics.TopKCategoricalAccuracy(k)):
        y_true = targets_for(metric, labels, classes)
        assert metric(y_true, scores, weight) == pytest.approx(expected)


@given(predictions(), st.sampled_from(["macro", "micro", "weighted", None]))
@settings(deadline=None, max_examples=40)
@pytest.mark.parity
def test_f1_and_confusion_matrix_equal_scikit_learn(case, average):
    sklearn = pytest.importorskip("sklearn.metrics")
    classes, labels, scores, weight = case
    predicted, every = scores.argmax(1), range(classes)
    options = {"labels": every, "sample_weight": weight}
    expected = sklearn.fbeta_score(
        labels, predicted, beta=0.5, average=average, zero_division=0, **options
    )
    for y_true in (labels, labels[:, None], np.eye(classes)[labels]):
        metric = metrics.FBetaScore(average, 0.5)
        np.testing.assert_allclose(metric(y_true, scores, weight), expected, rtol=1e-10)
        matrix = metrics.ConfusionMatrix(classes)(y_true, scores, weight)
        np.testing.assert_allclose(matrix, sklearn.confusion_matrix(labels, predicted, **options))
    assert (matrix.dtype == np.int64) == (weight is None)


def test_confusion_matrix_makes_no_product(strict, monkeypatch):
    """cuBLAS refuses them while a CUDA graph is captured."""
    scores, labels = np.eye(3, dtype="float32")[[0, 1, 1, 2]], np.array([0, 1, 2, 2])
    expected = metrics.ConfusionMatrix(3)(labels, scores)
    on_device = backend.asarray(labels), backend.asarray(scores)
    monkeypatch.delattr(type(on_device[0]), "__matmul__")
    np.testing.assert_array_equal(metrics.ConfusionMatrix(3)(*on_device), expected)
    np.testing.assert_array_equal(expected, [[1, 0, 0], [0, 1, 0], [0, 1, 1]])


@given(predictions(), st.floats(0.05, 0.95))
@settings(deadline=None, max_examples=40)
@pytest.mark.parity
def test_precision_and_recall_equal_scikit_learn(case, threshold):
    sklearn = pytest.importorskip("sklearn.metrics")
    classes, labels, scores, weight = case
    truth, called = np.eye(classes, dtype=int)[labels], scores > threshold
    weights = None if weight is None else np.repeat(weight, classes)
    for cls, function in (
        (metrics.Precision, sklearn.precision_score),
        (metrics.Recall, sklearn.recall_score),
    ):
        expected = function(truth.ravel(), called.ravel(), sample_weight=weights, zero_division=0)
        one = function(truth[:, 1], called[:, 1], sample_weight=weight, zero_division=0)
        for y_true in (labels, labels[:, None], truth):
            assert cls(threshold)(y_true, scores, weight) == pytest.approx(expected)
            assert cls(threshold, class_id=1)(y_true, scores, weight) == pytest.approx(one)
        several = cls([threshold, 0.99])(labels, scores, weight)
        assert several.shape == (2,)
        assert several[0] == pytest.approx(expected)


def test_top_k_precision_by_hand():
    scores = np.array([[0.1, 0.5, 0.4], [0.8, 0.1, 0.1]])
    precision, recall = metrics.Precision(top_k=2), metrics.Recall(top_k=2)
    assert precision([2, 2], scores) == 0.25  # classes 1, 2 and 0, 1 are called, one rightly
    assert recall([2, 2], scores) == 0.5
    assert metrics.Precision(0.45, top_k=2)([1, 0], scores) == 1


def test_precision_of_one_output():
    assert metrics.Precision()([1, 0, 1], [[0.9], [0.7], [0.1]]) == 0.5
    assert metrics.Recall()([1, 0, 1], [0.9, 0.7, 0.1]) == 0.5


@pytest.mark.parametrize("metric", BY_NAME)
def test_batches_add_up_and_reset_forgets(metric):
    metric.reset_state()
    y_true, y_pred, weight = given_to(metric)
    whole = metric(y_true, y_pred, weight)
    metric.reset_state()
    for rows in (slice(0, 5), slice(5, 12)):
        metric.update_state(y_true[rows], y_pred[rows], weight[rows])
    np.testing.assert_allclose(metric.result(), whole, rtol=1e-6)
    metric.reset_state()
    nothing = metric.result()
    assert np.all(np.isnan(nothing)) if isinstance(metric, metrics.R2Score) else not np.any(nothing)


@pytest.mark.parametrize("metric", BY_NAME)
def test_config_makes_an_equal_metric(metric):
    twin = metrics.get(serialize(metric))
    assert type(twin) is type(metric)
    assert twin.get_config() == metric.get_config()


@pytest.mark.parametrize(("name", "arguments"), CASES)
def test_dtype(name, arguments):
    metric = CLASSES[name](dtype="float64", **arguments)
    assert metrics.get(serialize(metric)).dtype == metric.get_config()["dtype"] == "float64"
    given = batch_for(name, arguments, np.random.default_rng(0), 9)
    wide = [a.astype("float64") for a in given]
    np.testing.assert_allclose(metric(*given), CLASSES[name](**arguments)(*wide), rtol=1e-14)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("metric", BY_NAME)
def test_update_state_stays_on_the_device(metric, weighted, strict):
    metric.reset_state()
    host = given_to(metric)
    y_true, y_pred, sample_weight = (backend.asarray(a) for a in host)
    strict.reset()
    for _ in range(2):
        metric.update_state(y_true, y_pred, sample_weight if weighted else None)
    assert (strict.to_host, strict.to_device) == (0, 0)
    found = metric.result()
    assert strict.to_host > 0
    metric.reset_state()
    backend.set_backend("numpy")
    for _ in range(2):
        metric.update_state(*host[:2], host[2] if weighted else None)
    np.testing.assert_allclose(found, metric.result(), rtol=1e-6)
    metric.reset_state()


def test_targets_of_the_host_are_taken_to_the_device(strict):
    labels, scores, weight = batch()
    metric = metrics.SparseCategoricalAccuracy()
    found = metric(labels, backend.asarray(scores), weight)
    assert found == metrics.SparseCategoricalAccuracy()(labels, scores, weight)


def test_counts_stay_exact_beyond_float32():
    metric = metrics.Mean()
    metric.update_state(np.ones(1, np.float32), sample_weight=np.array([2.0**24]))
    metric.update_state(np.ones(3, np.float32))
    assert metric.total("total") == 2**24 + 3


def test_loss_value_is_the_mean_over_samples():
    labels, scores, weight = batch()
    nll = -np.log(scores[np.arange(12), labels])
    metric = metrics.SparseCategoricalCrossentropy()
    assert metric(labels, scores) == pytest.approx(nll.mean(), rel=1e-5)
    metric = metrics.LossValue("sparse_categorical_crossentropy")
    assert metric.name == "sparse_categorical_crossentropy"
    assert metric(labels, scores, weight) == pytest.approx(np.average(nll, weights=weight), 1e-5)


@pytest.mark.parametrize(
    ("y_true", "y_pred", "expected"),
    [
        ((None, 1), (None, 1), metrics.BinaryAccuracy),
        ((None,), (None, 10), metrics.SparseCategoricalAccuracy),
        ((None, 1), (None, 10), metrics.SparseCategoricalAccuracy),
        ((None, 10), (None, 10), metrics.CategoricalAccuracy),
    ],
)
def test_accuracy_is_chosen_by_the_targets(y_true, y_pred, expected):
    for name in ("accuracy", "acc", "Accuracy"):
        metric = metrics.resolve(name, y_true, y_pred)
        assert type(metric) is expected
        assert metric.name == name


def test_accuracy_is_chosen_by_the_loss():
    loss = SparseCategoricalCrossentropy()
    sparse, categorical = metrics.SparseCategoricalAccuracy, metrics.CategoricalAccuracy
    assert isinstance(metrics.resolve("accuracy", None, (None, 10), loss), sparse)
    name = "sparse_categorical_crossentropy"
    assert isinstance(metrics.resolve("accuracy", None, (None, 10), name), sparse)
    other = "categorical_crossentropy"
    assert isinstance(metrics.resolve("accuracy", None, (None, 10), other), categorical)


def test_names_functions_losses_and_instances():
    shapes = ((None,), (None, 10))
    assert metrics.resolve("mse", *shapes).name == "mse"
    assert isinstance(metrics.resolve("mse", *shapes), metrics.MeanSquaredError)
    found = metrics.resolve("sparse_top_k_categorical_accuracy", *shapes)
    assert (type(found).__name__, found.k) == ("SparseTopKCategoricalAccuracy", 5)
    own = metrics.F1Score("macro", name="own")
    assert metrics.resolve(own, *shapes) is own
    assert isinstance(metrics.get(metrics.F1Score), metrics.F1Score)
    assert isinstance(metrics.get(SparseCategoricalCrossentropy()), metrics.LossValue)

    def largest(y_true, y_pred):
        return y_pred.max(axis=-1)

    metric = metrics.resolve(largest, *shapes)
    assert metric.name == "largest"
    assert metric([0, 0], np.array([[0.5, 0.1], [0.2, 0.7]])) == pytest.approx(0.6)


def test_every_name_is_found():
    for name in METRICS.names():
        if set(inspect.signature(METRICS.find(name)).parameters) <= {"name", "dtype"}:
            assert isinstance(metrics.get(name), metrics.Metric)


@pytest.mark.parity
@pytest.mark.parametrize("name", METRICS.names())
def test_a_metric_is_said_to_be_in_keras_if_keras_takes_its_arguments(name, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    pytest.importorskip("torch")
    keras = pytest.importorskip("keras")
    cls = METRICS.find(name)
    theirs = getattr(keras.metrics, cls.__name__, None)
    takes = {} if theirs is None else inspect.signature(theirs).parameters
    assert cls.in_keras == (inspect.signature(cls).parameters.keys() <= takes.keys())


def test_names_count_up_where_keras_lets_them():
    backend.clear_session()
    assert [metrics.Precision().name, metrics.Precision().name] == ["precision", "precision_1"]


def test_your_own_metric():
    class MeanConfidence(metrics.Metric):
        def update_state(self, y_true, y_pred, sample_weight=None):
            self.add("confidence", y_pred.max(axis=-1).sum())
            self.add("images", len(y_pred))

        def result(self):
            return float(self.total("confidence") / self.total("images"))

    assert MeanConfidence(name="c")([0], np.array([[0.25, 0.75]])) == 0.75


LABELS, SCORES, _ = batch()


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: metrics.get("acuracy"), "unknown metric 'acuracy'; did you mean 'accuracy'"),
        (lambda: metrics.TopKCategoricalAccuracy(0), "k must be a whole number of at least 1"),
        (lambda: metrics.AUC(1), "num_thresholds must be at least 2, got 1"),
        (lambda: metrics.AUC(curve="RoC2"), "curve is 'ROC', 'PR' or 'PRGAIN', got 'RoC2'"),
        (lambda: metrics.AUC(summation_method="mid"), "summation_method is .* got 'mid'"),
        (lambda: metrics.AUC(num_labels=3), "num_labels is for multi_label=True"),
        (lambda: metrics.AUC(multi_label=True, num_labels=3)(LABELS, SCORES), r"\(samples, 3\)"),
        (lambda: metrics.AUC(label_weights=[1])(LABELS, SCORES), "1 label_weights for predictions"),
        (lambda: metrics.AUC(thresholds=[2.0]), "thresholds lie between 0 and 1"),
        (lambda: metrics.PrecisionAtRecall(1.5), "recall lies between 0 and 1, got 1.5"),
        (lambda: metrics.PrecisionAtRecall(0.5, 0), "num_thresholds must be at least 1, got 0"),
        (lambda: metrics.R2Score("mean"), "class_aggregation is 'uniform_average'"),
        (lambda: metrics.R2Score(num_regressors=-1), "num_regressors must be at least 0"),
        (lambda: metrics.R2Score()(LABELS, SCORES), r"shape \(samples, outputs\)"),
        (lambda: metrics.Mean(dtype="int32"), "dtype is 'float32' or 'float64', .* got 'int32'"),
        (lambda: metrics.get("MeanIoU"), "minicnn leaves out MeanIoU: it is for segmentation"),
        (lambda: metrics.get("ctc"), "minicnn leaves out CTC: it is for sequences"),
        (lambda: metrics.Precision(1.5), "thresholds lie between 0 and 1, got 1.5"),
        (lambda: metrics.Precision(top_k=0), "top_k must be at least 1"),
        (lambda: metrics.Precision(class_id=4)(LABELS, SCORES), "class_id=4.*give 0 to 3"),
        (lambda: metrics.F1Score("mean"), "average is None, 'micro'.* got 'mean'"),
        (lambda: metrics.FBetaScore(beta=0), "beta must be above 0"),
        (lambda: metrics.F1Score(threshold=0), "threshold must be above 0"),
        (
            lambda: metrics.BinaryAccuracy(threshold="0"),
            "threshold must be a finite number, not '0'",
        ),
        (lambda: metrics.ConfusionMatrix(1), "num_classes must be at least 2"),
        (lambda: metrics.ConfusionMatrix(3)(LABELS, SCORES), r"\(samples, 3\); got \(12, 4\)"),
        (
            lambda: metrics.ConfusionMatrix(4)([0, 4, -1], SCORES[:3]),
            "2 of 3 targets given to confusion_matrix are not classes from 0 to 3",
        ),
        (
            lambda: metrics.SparseCategoricalAccuracy()(np.eye(4)[LABELS], SCORES),
            "use the categorical metric",
        ),
        (lambda: metrics.CategoricalAccuracy()(LABELS, SCORES), "use the Sparse... metric"),
        (lambda: metrics.Accuracy()(LABELS, SCORES), "use SparseCategoricalAccuracy"),
        (lambda: metrics.Recall()(LABELS[:5], SCORES), r"give shape \(12,\)"),
        (lambda: metrics.Recall()(np.eye(3), SCORES), "give one-hot targets of that shape"),
        (lambda: metrics.Mean()([1, 2], [1, 2, 3]), "one weight for each of the 2 samples"),
        (lambda: metrics.MeanSquaredError()([1, 2], [[1, 2]] * 2), "one value per output"),
    ],
)
def test_errors(call, text):
    with pytest.raises(ValueError, match=text):
        call()


@given(predictions(), st.sampled_from(["ROC", "PR"]))
@settings(deadline=None, max_examples=40)
@pytest.mark.parity
def test_the_area_comes_near_scikit_learns(case, curve):
    """With many thresholds, where no two predictions share one."""
    sklearn = pytest.importorskip("sklearn.metrics")
    _, labels, scores, weight = case
    truth, score = labels == 0, (np.argsort(np.argsort(scores[:, 0])) + 0.5) / len(labels)
    if truth.all() or not truth.any() or curve == "PR" and len(labels) < 2:
        return
    metric = metrics.AUC(2000, curve, summation_method="interpolation")
    found = metric(truth, score, weight)
    if curve == "ROC":
        expected = sklearn.roc_auc_score(truth, score, sample_weight=weight)
        assert found == pytest.approx(expected, abs=1e-6)
    else:  # interpolation lies below the steps of average precision
        assert found <= sklearn.average_precision_score(truth, score, sample_weight=weight) + 1e-6


def test_an_r2_score_that_cannot_be_adjusted_says_so():
    metric = metrics.R2Score(num_regressors=2)
    with pytest.warns(UserWarning, match="2 regressors need more than 3 targets, and there are 3"):
        assert metric([[1.0], [2], [4]], [[1.0], [2], [3]]) == metrics.R2Score()(
            [[1.0], [2], [4]], [[1.0], [2], [3]]
        )


def test_areas_by_hand():
    truth, score = [0, 0, 1, 1], [0.0, 0.5, 0.3, 0.9]
    assert metrics.AUC(num_thresholds=3)(truth, score) == pytest.approx(0.75)
    logits = np.array([-50.0, 0, -0.85, 2.2])
    assert metrics.AUC(200, from_logits=True)(truth, logits) == pytest.approx(0.75)
    assert metrics.AUC()([0, 1, 2], np.eye(3)) == 1  # class numbers
    assert metrics.AUC()([0, 1], [np.nan, 0.5]) == 1  # a training that went astray goes on


def test_counts_keep_the_order_of_thresholds():
    counts = metrics.TruePositives([0.9, 0.1, 0.5])([1, 1, 0], [0.95, 0.3, 0.2])
    np.testing.assert_array_equal(counts, [1, 2, 1])
    assert metrics.FalseNegatives()([1, 1, 0], [0.95, 0.3, 0.2]) == 1


def test_ignored_labels_do_not_count():
    metric = metrics.SparseCategoricalCrossentropy(ignore_class=-1)
    p = np.array([[0.2, 0.8], [0.5, 0.5], [0.9, 0.1]])
    expected = -(np.log(0.8) + np.log(0.9)) / 2
    assert metric([1, -1, 0], p) == pytest.approx(expected)
    metric.reset_state()
    assert metric([[1], [-1], [0]], p, [1, 7, 1]) == pytest.approx(expected)


def test_functions_of_the_library_are_its_metrics():
    for function, cls, name in (
        (metrics.binary_accuracy, metrics.BinaryAccuracy, "binary_accuracy"),
        (metrics.mse, metrics.MeanSquaredError, "mean_squared_error"),
        (metrics.huber, metrics.LossValue, "huber"),
    ):
        found = metrics.get(function)
        assert (type(found), found.name) == (cls, name)
        assert metrics.serialize(function) == name
        assert type(metrics.deserialize({"class_name": "function", "config": name})) is cls


@pytest.mark.parametrize(
    "name", ["AUC", "auc", "mse", "MSE", "mean_squared_error", "kld", "LogCosh"]
)
def test_strings_keep_their_spelling(name):
    assert metrics.resolve(name, (None, 3), (None, 3)).name == name


def test_a_function_of_the_batch():
    def scikit_like(y_true, y_pred):
        return float((y_true == y_pred.argmax(-1)).mean())

    metric = metrics.get(scikit_like)
    metric.update_state(np.array([0, 1]), np.eye(2))
    metric.update_state(np.array([1, 1]), np.eye(2))
    assert metric.result() == 0.75
