import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minicnn import backend, gradcheck, losses
from minicnn.losses import (
    BinaryCrossentropy,
    CategoricalCrossentropy,
    MeanSquaredError,
    SparseCategoricalCrossentropy,
)

MAKERS = {
    "sparse": SparseCategoricalCrossentropy,
    "categorical": CategoricalCrossentropy,
    "binary": BinaryCrossentropy,
    "mse": MeanSquaredError,
}


def example(kind, rng, shape, from_logits=True, dtype="float64"):
    """Targets and predictions of a shape (N, ..., C)."""
    y_pred = rng.normal(size=shape) * 2
    if not from_logits:
        y_pred = rng.uniform(0.2, 0.9, size=shape)
    if kind == "sparse":
        return rng.integers(0, shape[-1], size=shape[:-1]), y_pred.astype(dtype)
    return rng.uniform(size=shape).astype(dtype), y_pred.astype(dtype)


def cases():
    yield "mse", {}
    for kind in ("sparse", "categorical", "binary"):
        for from_logits in (False, True):
            for smoothing in (0.0, 0.1):
                yield kind, {"from_logits": from_logits, "label_smoothing": smoothing}


CASES = list(cases())


@pytest.mark.parametrize("kind, arguments", CASES)
@given(
    st.integers(0, 2**32 - 1),
    st.lists(st.integers(1, 4), min_size=1, max_size=3),
    st.integers(2, 6),
    st.sampled_from(["sum_over_batch_size", "sum"]),
    st.booleans(),
    st.sampled_from([None, 7]),
)
@settings(max_examples=15, deadline=None)
def test_gradient_by_differences(kind, arguments, seed, lead, classes, reduction, weighted, total):
    rng = np.random.default_rng(seed)
    loss = MAKERS[kind](reduction=reduction, **arguments)
    y_true, y_pred = example(kind, rng, (*lead, classes), arguments.get("from_logits", True))
    weights = rng.uniform(size=lead[0]) if weighted else None
    value, state = loss.forward(y_true, y_pred, weights, total)
    gradient = loss.backward(state)
    assert gradient.shape == y_pred.shape and value.shape == ()
    direction = rng.normal(size=y_pred.shape)
    h = 1e-6
    above = loss.forward(y_true, y_pred + h * direction, weights, total)[0]
    below = loss.forward(y_true, y_pred - h * direction, weights, total)[0]
    slope = (above - below) / (2 * h)
    assert slope == pytest.approx((gradient * direction).sum(), rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("kind, arguments", CASES)
@given(
    seed=st.integers(0, 2**32 - 1),
    lead=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    classes=st.integers(2, 6),
    weighted=st.booleans(),
)
def test_gradcheck(kind, arguments, seed, lead, classes, weighted):
    rng = np.random.default_rng(seed)
    y_true, y_pred = example(kind, rng, (*lead, classes), arguments.get("from_logits", True))
    weights = rng.uniform(size=lead[0]) if weighted else None
    result = gradcheck(MAKERS[kind](**arguments), y_pred, y_true, sample_weight=weights, samples=4)
    assert result.max_error < 1e-6


@pytest.mark.parametrize("kind, arguments", CASES)
def test_dtype_kept(kind, arguments):
    rng = np.random.default_rng(0)
    for dtype in ("float32", "float64"):
        y_true, y_pred = example(kind, rng, (4, 5), arguments.get("from_logits", True), dtype)
        loss = MAKERS[kind](**arguments)
        before = y_pred.copy()
        for weights in (None, rng.uniform(size=4)):
            value, state = loss.forward(y_true, y_pred, weights)
            assert value.dtype == dtype
            assert loss.backward(state).dtype == dtype
        np.testing.assert_array_equal(y_pred, before)


@pytest.mark.parametrize("kind, arguments", CASES)
def test_runs_on_a_device_without_transfers(kind, arguments, strict):
    rng = np.random.default_rng(0)
    host = example(kind, rng, (4, 5), arguments.get("from_logits", True), "float32")
    loss = MAKERS[kind](**arguments)
    expected, _ = loss.forward(*host, np.ones(4, "float32"))
    y_true, y_pred, weights = (backend.asarray(a) for a in (*host, np.ones(4, "float32")))
    strict.reset()
    value, state = loss.forward(y_true, y_pred, weights)
    gradient = loss.backward(state)
    assert strict.to_host == strict.to_device == 0
    assert gradient.shape == y_pred.shape
    assert float(backend.to_numpy(value)) == pytest.approx(float(expected), rel=1e-6)


def test_values():
    p = np.array([[0.05, 0.95, 0], [0.1, 0.8, 0.1]])
    expected = -(math.log(0.95) + math.log(0.1)) / 2
    assert SparseCategoricalCrossentropy()([1, 2], p) == pytest.approx(expected)
    assert SparseCategoricalCrossentropy()([[1], [2]], p) == pytest.approx(expected)
    assert CategoricalCrossentropy()([[0, 1, 0], [0, 0, 1]], p) == pytest.approx(expected)
    assert MeanSquaredError()([[0.0, 1.0]], [[2.0, 4.0]]) == 6.5
    assert MeanSquaredError()([1.0, 2.0], [[2.0], [4.0]]) == 2.5
    np.testing.assert_allclose(
        losses.sparse_categorical_crossentropy([1, 2], p), [-math.log(0.95), -math.log(0.1)]
    )


def test_probabilities_are_normalised_and_clipped():
    p = np.array([[2.0, 6.0], [0.0, 1.0]])
    values = losses.sparse_categorical_crossentropy([0, 0], p)
    np.testing.assert_allclose(values, [-math.log(0.25), -math.log(1e-7)])
    loss = SparseCategoricalCrossentropy()
    gradient = loss.backward(loss.forward(np.array([0, 0]), p)[1])
    np.testing.assert_array_equal(gradient[1], 0)  # clipped: no gradient


def test_logits_agree_with_softmax_and_do_not_overflow():
    z = np.array([[1000.0, 0.0, -1000.0], [1.0, 2.0, 3.0]])
    loss = SparseCategoricalCrossentropy(from_logits=True)
    np.testing.assert_allclose(loss([0, 2], z), 0.5 * math.log(1 + math.exp(-1) + math.exp(-2)))
    assert np.isfinite(loss.backward(loss.forward(np.array([2, 0]), z)[1])).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_logits_at_the_far_end(dtype):
    """A class that is ruled out, and logits as far apart as can be, without a warning."""
    far = float(np.finfo(dtype).max)
    inf = np.inf
    z = np.array([[1, -inf, 0], [far, -far, 0], [far, -far, 0], [1, -inf, 0]], dtype)
    labels = np.array([0, 2, 0, 1])
    expected = [np.log1p(np.exp(-1)), far, 0, inf]
    s = 1 / (1 + np.exp(1))
    slopes = [[-s, 0, s], [1, 0, -1], [0, 0, 0], [1 - s, -1, s]]
    for loss, y in (
        (SparseCategoricalCrossentropy(True, reduction="sum"), labels),
        (CategoricalCrossentropy(True, reduction="sum"), np.eye(3)[labels]),
    ):
        each, kept = loss.per_sample(y, z)
        np.testing.assert_allclose(each, expected, rtol=1e-6)
        np.testing.assert_allclose(loss.per_sample_gradient(kept, 1.0), slopes, rtol=1e-6)
    z = np.array([far, -far, far, -far, inf, -inf, inf, -inf], dtype)[:, None]
    t = np.array([1, 0, 0, 1, 1, 0, 0, 1])[:, None]
    loss = BinaryCrossentropy(True, reduction="sum")
    each, kept = loss.per_sample(t, z)
    np.testing.assert_allclose(each, [0, 0, far, far, 0, 0, inf, inf])
    gradient = loss.per_sample_gradient(kept, 1.0)[:, 0]
    np.testing.assert_array_equal(gradient, [0, 0, 1, -1, 0, 0, 1, -1])


def test_binary_values():
    p, t = np.array([[0.2, 0.9], [1.0, 0.0]]), np.array([[0, 1], [0, 0]])
    first = -(math.log(0.8) + math.log(0.9)) / 2
    second = -(math.log(1e-7) + math.log(1 - 1e-7)) / 2  # clipped
    np.testing.assert_allclose(losses.binary_crossentropy(t, p), [first, second], rtol=1e-9)
    assert BinaryCrossentropy()(t, p) == pytest.approx((first + second) / 2)
    logits = np.log(p[:1] / (1 - p[:1]))
    assert BinaryCrossentropy(from_logits=True)(t[:1], logits) == pytest.approx(first)
    column = BinaryCrossentropy()([0, 1], [[0.2], [0.9]])  # targets (N,) for outputs (N, 1)
    assert column == pytest.approx(first)
    loss = BinaryCrossentropy()
    gradient = loss.backward(loss.forward(t, p)[1])
    np.testing.assert_array_equal(gradient[1], 0)  # clipped: no gradient


@pytest.mark.parametrize("from_logits", [False, True])
def test_a_binary_mean_over_another_axis(from_logits):
    """With weights of the samples, shapes other than the last axis's."""
    rng = np.random.default_rng(0)
    t, p = rng.uniform(size=(2, 3, 4, 5)), rng.uniform(0.1, 0.9, size=(3, 4, 5))
    loss = BinaryCrossentropy(from_logits, 0.1, axis=1)
    value = loss.per_sample(t[0], p)[0]
    last = BinaryCrossentropy(from_logits, 0.1)
    moved = [np.moveaxis(a, 1, -1) for a in (t[0], p)]
    np.testing.assert_allclose(value, last.per_sample(*moved)[0])
    assert value.shape == (3, 5)
    weights = rng.uniform(size=3)
    assert gradcheck(loss, p, t[0], sample_weight=weights).max_error < 1e-6


def test_smoothing_agrees_between_sparse_and_one_hot():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(6, 4))
    labels = rng.integers(0, 4, 6)
    sparse = SparseCategoricalCrossentropy(from_logits=True, label_smoothing=0.2)
    dense = CategoricalCrossentropy(from_logits=True, label_smoothing=0.2)
    assert float(sparse(labels, z)) == pytest.approx(float(dense(np.eye(4)[labels], z)), rel=1e-14)


def test_weights_divide_by_the_number_of_samples():
    z = np.random.default_rng(0).normal(size=(4, 3))
    labels = np.array([0, 1, 2, 0])
    loss = SparseCategoricalCrossentropy(from_logits=True)
    weights = np.array([1.0, 0, 2, 0])
    each = losses.sparse_categorical_crossentropy(labels, z, from_logits=True)
    expected = (backend.to_numpy(each) * weights).sum() / 4
    assert float(loss(labels, z, weights)) == pytest.approx(expected)
    assert float(loss(labels, z, weights[:, None])) == pytest.approx(expected)


def test_shards_of_a_batch_sum_to_the_whole():
    rng = np.random.default_rng(0)
    z, labels = rng.normal(size=(10, 3)), rng.integers(0, 3, 10)
    loss = SparseCategoricalCrossentropy(from_logits=True)
    shards = [loss.forward(labels[s], z[s], total=10) for s in (slice(0, 3), slice(3, 10))]
    value, state = loss.forward(labels, z)
    assert sum(v for v, _ in shards) == pytest.approx(value)
    gradient = np.concatenate([loss.backward(s) for _, s in shards])
    np.testing.assert_allclose(gradient, loss.backward(state), rtol=1e-12)


def test_which_activation_a_loss_takes_over():
    assert MeanSquaredError().takes_over is None
    for make, closing in (
        (SparseCategoricalCrossentropy, "softmax"),
        (CategoricalCrossentropy, "softmax"),
        (BinaryCrossentropy, "sigmoid"),
    ):
        assert make().takes_over == closing
        assert make(from_logits=True).takes_over is make().with_logits().takes_over is None


def test_with_logits_is_a_copy():
    loss = CategoricalCrossentropy(label_smoothing=0.1)
    assert loss.with_logits().from_logits and not loss.from_logits
    assert loss.with_logits().label_smoothing == 0.1


def test_get():
    for name, cls in [
        ("sparse_categorical_crossentropy", SparseCategoricalCrossentropy),
        ("SparseCategoricalCrossentropy", SparseCategoricalCrossentropy),
        ("categorical_crossentropy", CategoricalCrossentropy),
        ("mse", MeanSquaredError),
        ("MSE", MeanSquaredError),
        ("mean_squared_error", MeanSquaredError),
        (losses.categorical_crossentropy, CategoricalCrossentropy),
        ("binary_crossentropy", BinaryCrossentropy),
        ("bce", BinaryCrossentropy),
        (losses.binary_crossentropy, BinaryCrossentropy),
        (MeanSquaredError, MeanSquaredError),
    ]:
        assert isinstance(losses.get(name), cls)
    loss = SparseCategoricalCrossentropy(from_logits=True, label_smoothing=0.1)
    config = {"class_name": "SparseCategoricalCrossentropy", "config": loss.get_config()}
    assert losses.get(config).get_config() == loss.get_config()


@pytest.mark.parametrize(
    "loss, y, shape, message",
    [
        ("sparse", [0, 10], (None, 10), "between 0 and 10.*10 outputs takes labels from 0 to 9"),
        ("sparse", [-1, 3], (None, 10), "between -1 and 3"),
        ("sparse", [1, 0.5], (None, 10), "whole numbers from 0 to 9; got float64 .* such as 0.5$"),
        ("sparse", [np.nan, 1], (None, 10), "whole numbers from 0 to 9"),
        ("sparse", np.eye(10), (None, 10), r"got targets of shape \(10, 10\); one-hot"),
        ("sparse", [0, 1], (3, 10), r"shape \(3,\); got targets of shape \(2,\)"),
        ("categorical", [0, 1], (None, 10), r"\(n, 10\); got shape \(2,\); class numbers"),
        ("categorical", [[0], [1]], (None, 10), "to_categorical"),
        ("categorical", np.eye(9), (None, 10), r"got shape \(9, 9\)$"),
        ("mse", np.eye(9), (None, 10), r"\(n, 10\); got shape \(9, 9\)"),
        ("sparse", [0, 1], (None, 1), "labels from 0 to 0; one output .* use BinaryCrossentropy"),
        ("categorical", [[0], [1]], (None, 1), r"two outputs .*\(n, 1\).* use BinaryCrossentropy"),
        ("binary", [0, 1, 2], (None, 1), "lie between 0 and 2; .* SparseCategoricalCrossentropy"),
        ("binary", [[0.0], [-0.5]], (None, 1), "from 0 to 1; they lie between -0.5 and 0.0"),
        ("binary", [0, 1], (None, 3), r"BinaryCrossentropy takes targets .*\(n, 3\); got .*\(2,\)"),
    ],
)
def test_target_errors(loss, y, shape, message):
    with pytest.raises(ValueError, match=message):
        MAKERS[loss]().check_targets(np.asarray(y), shape)


def test_good_targets_pass():
    SparseCategoricalCrossentropy().check_targets(np.array([[0], [9]], "uint8"), (None, 10))
    SparseCategoricalCrossentropy().check_targets(np.array([0.0, 9.0]), (None, 10))
    SparseCategoricalCrossentropy().check_targets(np.zeros((2, 4, 4), int), (None, 4, 4, 3))
    CategoricalCrossentropy().check_targets(np.eye(10), (None, 10))
    MeanSquaredError().check_targets(np.zeros(5), (None, 1))
    for y in (np.array([0, 1]), np.array([[True], [False]]), np.array([0.5, 0.25])):
        BinaryCrossentropy().check_targets(y, (None, 1))
    BinaryCrossentropy().check_targets(np.eye(3, dtype="uint8"), (None, 3))


def test_targets_on_a_device_are_checked(strict):
    one_hot = backend.asarray(np.eye(3, dtype="float32"))
    for make in (CategoricalCrossentropy, MeanSquaredError):
        make().check_targets(one_hot, (None, 3))
        with pytest.raises(ValueError, match=r"shape \(3, 3\)"):
            make().check_targets(one_hot, (None, 4))


def test_argument_errors():
    with pytest.raises(ValueError, match="did you mean 'categorical_crossentropy'"):
        losses.get("categorical_crosentropy")
    with pytest.raises(ValueError, match="from 0 to 1; got 2"):
        CategoricalCrossentropy(label_smoothing=2)
    with pytest.raises(ValueError, match="axis must not be 0"):
        BinaryCrossentropy(axis=0)
    with pytest.raises(ValueError, match="'sum', 'none', None, not 'avg'"):
        MeanSquaredError(reduction="avg")


def test_your_own_function_is_no_loss():
    def cubed(y_true, y_pred):
        return abs(y_pred - y_true) ** 3

    with pytest.raises(TypeError, match="cubed has no gradient.*per_sample_gradient"):
        losses.get(cubed)
