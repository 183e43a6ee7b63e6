"""A small problem and a small network that the tests of training share."""

import numpy as np

from minicnn import Input, Sequential
from minicnn.layers import (
    Conv2D,
    Dense,
    GlobalAveragePooling2D,
)
from minicnn.losses import SparseCategoricalCrossentropy
from minicnn.optimizers import Adam
from minicnn.utils import set_random_seed

CLASSES = 3


def problem(n=96, seed=0):
    """Images whose class is the brightest channel: easy for any network."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, CLASSES, n)
    x = rng.random((n, 8, 8, CLASSES), "float32") * 0.6
    x[np.arange(n), :, :, y] += 0.4
    return x, y


def network(closing="softmax", extra=(), seed=0, **compiled):
    set_random_seed(seed)
    model = Sequential(
        [
            Input((8, 8, CLASSES)),
            Conv2D(6, 3, activation="relu"),
            *extra,
            GlobalAveragePooling2D(),
            Dense(CLASSES, activation=closing),
        ]
    )
    compiled.setdefault("loss", SparseCategoricalCrossentropy(from_logits=closing is None))
    model.compile(**{"optimizer": Adam(0.01), "metrics": ["accuracy"], **compiled})
    return model


def equal_weights(a, b):
    return all(np.array_equal(x, y) for x, y in zip(a.get_weights(), b.get_weights(), strict=True))


def close_weights(a, b, tolerance=1e-5):
    for x, y in zip(a.get_weights(), b.get_weights(), strict=True):
        np.testing.assert_allclose(x, y, rtol=tolerance, atol=tolerance)


X, Y = problem()
