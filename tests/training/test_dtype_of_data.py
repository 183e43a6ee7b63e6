"""Data have to be finite in the dtype of the model, and classes those of its outputs."""

import numpy as np
import pytest
from small_problem import X, Y, network

from minicnn import Sequential
from minicnn.layers import Dense, Flatten


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


@pytest.mark.parametrize("form", ["arrays", "batches"])
def test_a_class_that_the_model_does_not_have(form):
    model = network()
    data = (X, Y) if form == "arrays" else (_Anew(), None)
    with pytest.raises(ValueError, match="class_weight has the key 7; .* since there are 3"):
        model.fit(*data, class_weight={7: 2.0}, verbose=0)


class _Anew:
    def __iter__(self):
        return iter([(X, Y)])
