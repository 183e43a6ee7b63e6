"""Checks of what a user hands over: what they find, and that they look at nothing twice."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_problem import X, Y, network

from minicnn import Sequential
from minicnn.layers import Dense, Flatten
from minicnn.losses import SparseCategoricalCrossentropy
from minicnn.training import data_checks, trainer
from minicnn.training.data_checks import check_finite, check_integer


@pytest.mark.parametrize("value", [True, "32", -1, None])
def test_batch_sizes(value):
    with pytest.raises(ValueError, match="batch_size must be an integer above 0"):
        check_integer("batch_size", value)
    assert check_integer("batch_size", np.int64(3)) == 3


@settings(deadline=None, max_examples=20)
@given(where=st.integers(0, 2599), bad=st.sampled_from([np.nan, np.inf, -np.inf]))
def test_numbers_that_are_not_finite_are_found(where, bad):
    x = np.zeros((2600, 2), "float32")
    check_finite(x)
    x[where, 1] = bad
    with pytest.raises(ValueError, match=f"image {where} of x holds NaN or infinity"):
        check_finite(x)


def test_large_numbers_are_finite():
    check_finite(np.full((4, 3), 3e38, "float32"))
    check_finite(np.full((4, 3), 1e308))


def test_numbers_that_the_model_could_not_hold_are_found():
    """Each fits the array, and would be infinite in the dtype of the model."""
    for dtype, kind, value, ends in [
        ("float32", "float64", 1e39, "3.40282e\\+38"),
        ("float32", "float64", -1e300, "3.40282e\\+38"),
        ("float32", "longdouble", 1e39, "3.40282e\\+38"),
        ("float16", "float32", 1e5, "65504"),
        ("float16", "int32", -70_000, "65504"),
        ("float16", "uint16", 65_535, "65504"),
    ]:
        x = np.zeros((2600, 2), kind)
        check_finite(x, dtype=dtype)
        x[1500, 1] = value
        check_finite(x)
        check_finite(x, dtype="float64")
        with pytest.raises(ValueError, match=f"image 1500 of x holds .*takes {dtype}.* at {ends}"):
            check_finite(x, dtype=dtype)
        if x.dtype.kind == "f":
            x[1200] = np.nan
            with pytest.raises(ValueError, match="image 1200 of x holds NaN or infinity"):
                check_finite(x, dtype=dtype)
    check_finite(np.full((4, 3), 3.4e38), dtype="float32")
    check_finite(np.zeros((3, 0)), dtype="float32")


@pytest.mark.parametrize("name", ["x", "y", "sample_weight"])
@pytest.mark.parametrize("form", ["arrays", "batches"])
def test_numbers_beyond_float32_never_reach_the_weights(name, form):
    model = Sequential([Flatten(), Dense(3)])
    model.compile("sgd", "mean_squared_error")
    data = {"x": X.astype("float64"), "y": np.zeros((96, 3)), "sample_weight": np.ones(96)}
    model.fit(**data, verbose=0)
    before = model.get_weights()
    data[name].reshape(96, -1)[7, 0] = 1e39
    what = "image" if name == "x" else "entry"
    for work in (model.fit, model.evaluate, model.train_on_batch, model.test_on_batch):
        if form == "batches" and work in (model.train_on_batch, model.test_on_batch):
            continue
        given = data if form == "arrays" else {"x": _Anew([tuple(data.values())])}
        with pytest.raises(ValueError, match=f"{what} 7 of {name} holds 1e\\+39, but the model"):
            work(**given)
    if name == "x":
        with pytest.raises(ValueError, match="image 7 of x holds 1e"):
            model.predict(data["x"] if form == "arrays" else _Anew([data["x"]]), verbose=0)
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("shape", [(96, 2), (96, 1, 1), (96, 3)])
def test_several_weights_for_an_image(shape):
    message = r"sample_weight holds one number per image, shape \(96,\); got shape \(96, "
    weights = np.ones(shape, "float32")
    model = network()
    with pytest.raises(ValueError, match=message):
        model.fit(X, Y, sample_weight=weights, verbose=0)
    with pytest.raises(ValueError, match=message):
        model.fit(_Anew([(X, Y, weights)]), verbose=0)


def test_weights_that_an_iterator_may_give():
    """A column, and one weight for each position of an output that has several."""
    column = network()
    column.fit(_Anew([(X, Y, np.ones((96, 1)))]), class_weight={1: 2.0}, verbose=0)
    flat = network()
    flat.fit(_Anew([(X, Y, np.ones(96))]), class_weight={1: 2.0}, verbose=0)
    for a, b in zip(column.get_weights(), flat.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    pixels = Sequential([Dense(2, activation="softmax")])
    pixels.compile("sgd", "sparse_categorical_crossentropy")
    pixels.fit(_Anew([(X, np.zeros((96, 8, 8), int), np.ones((96, 8, 8)))]), verbose=0)


# How often


@pytest.fixture
def looks(monkeypatch):
    """{check: how often it was made}, counted wherever the library calls it."""
    counts = Counter()

    def count(owner, name):
        check = getattr(owner, name)

        def counting(*args, **kwargs):
            counts[name] += 1
            return check(*args, **kwargs)

        monkeypatch.setattr(owner, name, counting)

    count(data_checks, "check_finite")
    count(trainer, "check_input_shapes")
    count(SparseCategoricalCrossentropy, "check_targets")
    return counts


@pytest.mark.parametrize(("batch_size", "epochs"), [(96, 1), (16, 1), (16, 3), (7, 2)])
def test_arrays_are_looked_at_once_whatever_the_batches_and_epochs(looks, batch_size, epochs):
    model = network()
    model.fit(X, Y, batch_size=batch_size, epochs=epochs, verbose=0)
    assert looks == {"check_finite": 2, "check_input_shapes": 1, "check_targets": 1}  # x, y
    model.fit(
        X, Y, batch_size=batch_size, epochs=epochs, validation_data=(X, Y),
        sample_weight=np.ones(len(X)), verbose=0,
    )  # fmt: skip
    # x, y, weights; x and y to validate on
    assert looks == {"check_finite": 2 + 5, "check_input_shapes": 1 + 2, "check_targets": 1 + 2}


@pytest.mark.parametrize("batch_size", [96, 16, 7])
def test_arrays_to_evaluate_and_to_predict_are_looked_at_once(looks, batch_size):
    model = network()
    model.evaluate(X, Y, batch_size=batch_size, verbose=0)
    assert looks == {"check_finite": 2, "check_input_shapes": 1, "check_targets": 1}
    looks.clear()
    model.predict(X, batch_size=batch_size, verbose=0)
    assert looks == {"check_finite": 1, "check_input_shapes": 1}


def test_a_batch_is_looked_at_once(looks):
    model = network()
    for work in (model.train_on_batch, model.test_on_batch):
        work(X, Y)
        assert looks == {"check_finite": 2, "check_input_shapes": 1, "check_targets": 1}
        looks.clear()


def test_batches_of_an_iterator_are_looked_at_as_they_come(looks):
    batches = [(X[i : i + 16], Y[i : i + 16]) for i in range(0, len(X), 16)]
    model = network()
    model.fit(_Anew(batches), epochs=2, verbose=0)
    assert looks == {"check_finite": 2 * 6 * 2, "check_input_shapes": 12, "check_targets": 12}
    looks.clear()
    model.predict(_Anew([x for x, _ in batches]), verbose=0)
    assert looks == {"check_finite": 6, "check_input_shapes": 6}


class _Anew:
    """An iterable that is no list of arrays."""

    def __init__(self, items):
        self.items = items

    def __iter__(self):
        return iter(self.items)


@pytest.mark.parametrize("deferred", [False, True])
def test_a_batch_that_does_not_fit_is_named_wherever_it_comes(deferred):
    """Also where the first batch has built the model."""
    model = Sequential([Flatten(), Dense(3, activation="softmax")]) if deferred else network()
    model.compile("sgd", "sparse_categorical_crossentropy")
    for batch, message in [
        ((X[..., :2], Y), r"takes inputs of shape \(n, 8, 8, 3\); got \(96, 8, 8, 2\)"),
        ((X, Y + 1), "labels lie between 1 and 3"),
        ((X, Y[:5]), "a batch has 96 images and 5 labels"),
        (([X, X], Y), "has 1 inputs; got 2"),
    ]:
        with pytest.raises(ValueError, match=message):
            model.fit(_Anew([(X, Y), batch]), verbose=0)
        with pytest.raises(ValueError, match=message):
            model.evaluate(_Anew([(X, Y), batch]), verbose=0)
    with pytest.raises(ValueError, match=r"takes inputs of shape \(n, 8, 8, 3\)"):
        model.predict(_Anew([X, X[..., :2]]), verbose=0)
