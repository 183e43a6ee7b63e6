"""What holds for every registered loss, without Keras."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loss_cases import ALONG_AN_AXIS, CASES, CLASSES, data

from minicnn import Sequential, backend, gradcheck, layers, losses
from minicnn.losses import Loss, SparseCategoricalCrossentropy
from minicnn.registry import serialize
from minicnn.utils import set_random_seed

REDUCTIONS = ["sum_over_batch_size", "mean", "sum", "mean_with_sample_weight"]
every_case = pytest.mark.parametrize(("name", "arguments"), CASES)


@every_case
@given(
    seed=st.integers(0, 2**16),
    lead=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    classes=st.integers(2, 6),
    weighted=st.booleans(),
    reduction=st.sampled_from(REDUCTIONS),
)
@settings(max_examples=10, deadline=None)
def test_gradients_by_differences(name, arguments, seed, lead, classes, weighted, reduction):
    rng = np.random.default_rng(seed)
    y_true, y_pred = data(name, arguments, rng, (*lead, classes))
    weights = rng.uniform(size=lead[0]) if weighted else None
    loss = CLASSES[name](reduction=reduction, **arguments)
    result = gradcheck(loss, y_pred, y_true, sample_weight=weights, samples=4)
    assert result.max_error < 1e-6


@pytest.mark.parametrize("name", sorted(ALONG_AN_AXIS))
def test_an_axis_is_the_last_one_moved(name):
    rng = np.random.default_rng(0)
    y_true, y_pred = data(name, {"axis": 1}, rng, (3, 4, 2, 5))
    loss = CLASSES[name](axis=1)
    found, kept = loss.per_sample(y_true, y_pred)
    moved = y_true if "Sparse" in name else np.moveaxis(y_true, 1, -1)
    expected, kept_last = CLASSES[name]().per_sample(moved, np.moveaxis(y_pred, 1, -1))
    np.testing.assert_allclose(found, expected)
    gradient = CLASSES[name]().per_sample_gradient(kept_last, 1.0)
    np.testing.assert_allclose(
        loss.per_sample_gradient(kept, 1.0), np.moveaxis(gradient, -1, 1), rtol=1e-12
    )


@every_case
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dtype_kept_and_nothing_written_over(name, arguments, dtype):
    rng = np.random.default_rng(0)
    y_true, y_pred = data(name, arguments, rng, (4, 5), dtype)
    before = y_true.copy(), y_pred.copy()
    for weights in (None, rng.uniform(size=4)):
        value, state = CLASSES[name](**arguments).forward(y_true, y_pred, weights)
        assert value.dtype == dtype
        assert CLASSES[name](**arguments).backward(state).dtype == dtype
    np.testing.assert_array_equal(y_true, before[0])
    np.testing.assert_array_equal(y_pred, before[1])


@every_case
def test_computed_in_another_dtype(name, arguments):
    y_true, y_pred = data(name, arguments, np.random.default_rng(0), (4, 5), "float32")
    loss = CLASSES[name](dtype="float64", **arguments)
    value, state = loss.forward(y_true, y_pred)
    assert value.dtype == "float64"
    assert loss.backward(state).dtype == "float32"
    assert value == CLASSES[name](**arguments).forward(y_true, y_pred.astype("float64"))[0]
    twin = losses.get(serialize(loss))
    assert twin.get_config() == loss.get_config() and twin.dtype == "float64"


@every_case
@pytest.mark.parametrize("reduction", ["mean", "mean_with_sample_weight"])
@pytest.mark.parametrize("weighted", [False, True])
def test_runs_on_a_device_without_transfers(name, arguments, reduction, weighted, strict):
    rng = np.random.default_rng(0)
    host = data(name, arguments, rng, (4, 5), "float32")
    loss, weights = CLASSES[name](reduction=reduction, **arguments), np.ones(4, "float32")
    expected, _ = loss.forward(*host, weights if weighted else None)
    y_true, y_pred, w = (backend.asarray(a) for a in (*host, weights))
    strict.reset()
    value, state = loss.forward(y_true, y_pred, w if weighted else None)
    gradient = loss.backward(state)
    assert strict.to_host == strict.to_device == 0
    assert gradient.shape == y_pred.shape
    assert float(backend.to_numpy(value)) == pytest.approx(float(expected), rel=1e-6)


@every_case
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("weighted", [False, True])
def test_shards_of_a_batch_sum_to_the_whole(name, arguments, reduction, weighted):
    rng = np.random.default_rng(0)
    y_true, y_pred = data(name, arguments, rng, (10, 3))
    weights = rng.uniform(size=10) if weighted else None
    loss = CLASSES[name](reduction=reduction, **arguments)
    total = loss.total(y_true, weights)
    shards = []
    for s in (slice(0, 3), slice(3, 10)):
        shard_weights = None if weights is None else weights[s]
        shards.append(loss.forward(y_true[s], y_pred[s], shard_weights, total))
    value, state = loss.forward(y_true, y_pred, weights)
    assert sum(v for v, _ in shards) == pytest.approx(value)
    gradient = np.concatenate([loss.backward(s) for _, s in shards])
    np.testing.assert_allclose(gradient, loss.backward(state), rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize(
    "loss",
    [
        SparseCategoricalCrossentropy(ignore_class=2),
        SparseCategoricalCrossentropy(reduction="mean_with_sample_weight"),
        SparseCategoricalCrossentropy(True, ignore_class=0, reduction="mean_with_sample_weight"),
    ],
)
def test_training_does_not_depend_on_shards(loss, monkeypatch):
    rng = np.random.default_rng(0)
    x, y, weights = rng.normal(size=(24, 6)), rng.integers(0, 3, 24), rng.uniform(size=24)
    found = []
    for shards in (1, 3):
        monkeypatch.setenv("MINICNN_SHARDS", str(shards))
        set_random_seed(0)
        model = Sequential([layers.Input((6,)), layers.Dense(3, "softmax", dtype="float64")])
        model.compile("sgd", loss)
        model.fit(x, y, sample_weight=weights, epochs=2, verbose=0, shuffle=False)
        found.append(model.get_weights()[0])
    np.testing.assert_allclose(found[0], found[1], rtol=1e-6)


def test_ignored_labels_do_not_count():
    p = np.array([[0.2, 0.8], [0.5, 0.5], [0.9, 0.1]])
    loss = SparseCategoricalCrossentropy(ignore_class=-1)
    value = loss([1, -1, 0], p)
    assert value == pytest.approx(-(np.log(0.8) + np.log(0.9)) / 2)
    assert loss([-1, -1, -1], p) == 0
    gradient = loss.backward(loss.forward(np.array([1, -1, 0]), p)[1])
    np.testing.assert_array_equal(gradient[1], 0)
    # the sum of the weights that count; Keras: the same
    weighted = SparseCategoricalCrossentropy(ignore_class=-1, reduction="mean_with_sample_weight")
    expected = -(3 * np.log(0.8) + np.log(0.9)) / 4
    assert weighted([1, -1, 0], p, [3.0, 5.0, 1.0]) == pytest.approx(expected)


def test_all_weights_of_0_give_0():
    loss = losses.MeanSquaredError(reduction="mean_with_sample_weight")
    value, state = loss.forward(np.ones((2, 3)), np.zeros((2, 3)), np.zeros(2))
    assert value == 0
    np.testing.assert_array_equal(loss.backward(state), 0)


def test_values_by_hand():
    t, p = np.array([[1.0, 2.0]]), np.array([[3.0, 1.0]])
    for name, expected in [
        ("mae", 1.5),
        ("mse", 2.5),
        ("mape", 125),
        ("huber", (1.5 + 0.5) / 2),
        ("msle", (np.log(2) ** 2 + np.log(1.5) ** 2) / 2),
        ("cosine_similarity", -5 / np.sqrt(5 * 10)),
        ("poisson", (3 - np.log(3) + 1) / 2),
        ("log_cosh", (np.log(np.cosh(2)) + np.log(np.cosh(1))) / 2),
    ]:
        assert losses.get(name)(t, p) == pytest.approx(expected, rel=1e-6)
    assert losses.get("hinge")([[1, -1]], [[0.5, 2]]) == pytest.approx((0.5 + 3) / 2)
    assert losses.get("squared_hinge")([[1, 0]], [[0.5, 2]]) == pytest.approx((0.25 + 9) / 2)
    assert losses.get("categorical_hinge")([[0, 1, 0]], [[3.0, 1, 2]]) == 3


def test_large_numbers_do_not_overflow():
    for name in ("log_cosh", "huber"):
        value = losses.get(name)(np.zeros((1, 1), "float32"), np.full((1, 1), 1e30, "float32"))
        assert value == pytest.approx(1e30)


def test_predictions_without_an_axis_of_outputs_may_be_weighted():
    loss = losses.MeanSquaredError()
    assert loss([1.0, 2, 3], [1.0, 3, 5], [1.0, 2, 0]) == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: losses.Hinge()([[2.0]], [[1.0]]), "Hinge takes targets of -1 and 1, or of 0 and"),
        (lambda: losses.Hinge()([[-1.0, 0, 1]], [[1.0] * 3]), "lie between -1.0 and 1.0"),
        (lambda: losses.Huber(reduction="avg"), "reduction must be one of 'sum_over_batch_size', "),
        (
            lambda: losses.Huber(dtype="float16"),
            "dtype is 'float32' or 'float64', .* got 'float16'",
        ),
        (lambda: losses.CosineSimilarity(axis=0), "CosineSimilarity goes along one axis of each"),
        (lambda: losses.CategoricalCrossentropy(axis=True), "the axis must not be True"),
        (lambda: losses.CategoricalGeneralizedCrossEntropy(q=1), "q lies between 0 and 1; got 1"),
        (lambda: losses.Huber(reduction=None).forward(np.ones(2), np.ones(2)), "needs one number"),
        (lambda: losses.get("ctc"), "minicnn leaves out CTC: it is for sequences"),
        (lambda: losses.get("circle"), "leaves out Circle: it compares the images of a batch"),
        (lambda: losses.get("hubert"), "unknown loss 'hubert'; did you mean 'huber'"),
        (lambda: losses.KLDivergence()([[1.0, 2]], [[1.0, 2, 3]]), "KLDivergence takes targets of"),
        (lambda: SparseCategoricalCrossentropy(ignore_class=9)([9, 3], np.eye(2)), "between 3 and"),
    ],
)
def test_errors(call, text):
    with pytest.raises(ValueError, match=text):
        call()


def test_names_that_are_not_there():
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        losses.Nothing  # noqa: B018
    with pytest.raises(AttributeError, match="leaves out Dice: it is for segmentation"):
        losses.Dice  # noqa: B018
    with pytest.raises(ImportError, match="leaves out Tversky: it is for segmentation"):
        from minicnn.losses import Tversky  # noqa: F401


def test_a_loss_written_for_keras_says_what_is_missing():
    class Own(Loss):
        def call(self, y_true, y_pred):
            return y_pred

    with pytest.raises(NotImplementedError, match="Own does not define per_sample; it has Keras's"):
        Own()([1.0], [[1.0]])


def test_serialized_functions_and_own_classes():
    assert losses.serialize(losses.mae) == "mean_absolute_error"
    assert isinstance(losses.deserialize("mae"), losses.MeanAbsoluteError)
    function = {"class_name": "function", "config": "mean_absolute_error"}
    assert isinstance(losses.deserialize(function), losses.MeanAbsoluteError)

    class Own(losses.Huber):
        pass

    found = losses.deserialize(losses.serialize(Own(0.5)), custom_objects={"Own": Own})
    assert type(found) is Own and found.delta == 0.5
