"""Data have to be finite in the dtype of the model, and classes those of its outputs."""

import numpy as np
import pytest
from small_problem import X, Y, network

from minicnn import Input, Sequential
from minicnn.layers import (
    AveragePooling2D,
    BatchNormalization,
    Conv2D,
    Dense,
    Flatten,
    Rescaling,
)
from minicnn.losses import SparseCategoricalCrossentropy


@pytest.mark.parametrize(("dtype", "fits"), [("float32", 3e38), ("float64", 1e300)])
def test_the_limit_is_that_of_the_model(dtype, fits):
    model = Sequential(
        [Flatten(dtype=dtype), Dense(1, kernel_initializer="zeros", dtype=dtype)], dtype=dtype
    )
    model.compile("sgd", "mse")
    x = np.zeros((2, 3))
    x[1] = fits
    model.predict(x, verbose=0)
    x[1] = fits * 1e10 if dtype == "float32" else np.inf
    for work in (model.predict, lambda x: model.evaluate(x, np.ones(2)), model.predict_on_batch):
        with pytest.raises(ValueError, match="image 1 of x holds"):
            work(x)


FIRST = {
    "rescaling": lambda: Rescaling(2.0),
    "convolution": lambda: Conv2D(4, 3),
    "Winograd": lambda: Conv2D(4, 3, algorithm="winograd"),
    "pooling": lambda: AveragePooling2D(),
    "normalization": lambda: BatchNormalization(),
}


@pytest.mark.cpu_only("a GPU tells of no overflow; there only fit looks at the loss")
@pytest.mark.parametrize("first", FIRST)
@pytest.mark.parametrize("threads", ["1", "2"])
def test_pixels_near_the_limit_do_not_become_infinite_without_a_word(monkeypatch, first, threads):
    """They are numbers of float32, but what is made of them is not."""
    monkeypatch.setenv("MINICNN_NUM_THREADS", threads)
    model = Sequential([Input((8, 8, 3)), FIRST[first](), Flatten(), Dense(3)])
    model.compile("sgd", SparseCategoricalCrossentropy(from_logits=True))
    x = np.full_like(X, 3e38)
    for work in (lambda: model.predict(x, verbose=0), lambda: model.evaluate(x, Y, verbose=0)):
        with pytest.warns(RuntimeWarning, match="overflow|invalid value"):
            assert not np.isfinite(work()).all()
    with pytest.warns(RuntimeWarning), pytest.warns(UserWarning, match="loss of epoch 1 is nan"):
        model.fit(x, Y, verbose=0)


def test_pixels_near_the_limit_may_be_rescaled():
    model = Sequential([Input((8, 8, 3)), Rescaling(1 / 3e38), Flatten(), Dense(3)])
    assert np.isfinite(model.predict(np.full_like(X, 3e38), verbose=0)).all()


@pytest.mark.parametrize("form", ["arrays", "batches"])
def test_a_class_that_the_model_does_not_have(form):
    model = network()
    data = (X, Y) if form == "arrays" else (_Anew(), None)
    with pytest.raises(ValueError, match="class_weight has the key 7; .* since there are 3"):
        model.fit(*data, class_weight={7: 2.0}, verbose=0)


class _Anew:
    def __iter__(self):
        return iter([(X, Y)])
