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
        ((X[:, :7], Y), r"takes inputs of shape \(n, 8, 8, 3\); got \(96, 7, 8, 3\)"),
        ((X, Y + 1), "labels lie between 1 and 3"),
        ((X, Y[:5]), "a batch has 96 images and 5 labels"),
        (([X, X], Y), "has 1 inputs; got 2"),
    ]:
        with pytest.raises(ValueError, match=message):
            model.fit(_Anew([(X, Y), batch]), verbose=0)
        with pytest.raises(ValueError, match=message):
            model.evaluate(_Anew([(X, Y), batch]), verbose=0)
    with pytest.raises(ValueError, match=r"takes inputs of shape \(n, 8, 8, 3\)"):
        model.predict(_Anew([X, X[:, :7]]), verbose=0)
