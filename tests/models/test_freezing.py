"""Frozen layers and models: what does not learn, and what backward leaves out below it."""

import numpy as np
import pytest

from minicnn import Input, Model, Sequential
from minicnn.layers import (
    Activation,
    BatchNormalization,
    Conv2D,
    Dense,
    Dropout,
    GlobalAveragePooling2D,
    Layer,
    Rescaling,
)
from minicnn.losses import SparseCategoricalCrossentropy


def images(n):
    return np.random.default_rng(0).random((n, 8, 8, 3), "float32")


class CountsBackward(Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.backwards = 0

    def forward(self, x, ctx):
        return x

    def backward(self, dy, ctx):
        self.backwards += 1
        return dy


def test_freezing_a_model_freezes_all_layers_inside():
    inner = Sequential([Input((3,)), Dense(3), BatchNormalization()])
    model = Sequential([Input((3,)), inner, Dense(2)])
    assert len(model.trainable_weights) == 6 and len(model.non_trainable_weights) == 2
    inner.trainable = False
    assert len(model.trainable_weights) == 2 and not inner.layers[0].trainable
    model.trainable = True
    assert len(model.trainable_weights) == 6
    model.layers[0].layers[0].trainable = False
    assert len(model.trainable_weights) == 4


def test_models_may_be_made_frozen():
    x = Input((3,))
    for model in (
        Sequential([Input((3,)), Dense(2)], trainable=False),
        Sequential([Dense(2)], trainable=False),
        Model(x, Dense(2)(x), trainable=False),
    ):
        model(np.ones((1, 3)))
        assert len(model.weights) == 2 and model.trainable_weights == []


def frozen_base():
    counter = CountsBackward(name="counter")
    base = Sequential(
        [
            Input((8, 8, 3)),
            Conv2D(4, 3, kernel_regularizer="l2"),
            counter,
            BatchNormalization(),
            Activation("relu"),
            Dropout(0.2),
        ],
        name="base",
    )
    base.set_weights([w + 0.1 for w in base.get_weights()])
    base.trainable = False
    return base, counter


@pytest.mark.parametrize("form", ["sequential", "functional"])
def test_transfer_learning_leaves_a_frozen_base_as_it_was(form):
    base, counter = frozen_base()
    if form == "sequential":
        model = Sequential([base, GlobalAveragePooling2D(), Dense(3)])
    else:
        x = Input((8, 8, 3))
        model = Model(x, Dense(3)(GlobalAveragePooling2D()(base(Rescaling(2.0)(x)))))
    model.compile("adam", SparseCategoricalCrossentropy(from_logits=True), ["accuracy"])
    before, head = base.get_weights(), model.layers[-1].get_weights()
    y = np.arange(32) % 3
    model.fit(images(32), y, epochs=2, batch_size=16, verbose=0)
    for a, b in zip(before, base.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert counter.backwards == 0
    assert (model.layers[-1].get_weights()[0] != head[0]).all()
    base.trainable = True  # fine-tuning: read at the next step, without compiling again
    model.fit(images(32), y, batch_size=16, verbose=0)
    assert counter.backwards > 0
    assert all((a != b).any() for a, b in zip(before, base.get_weights(), strict=True))


def test_a_frozen_layer_in_the_middle_passes_the_gradient_on():
    model = Sequential([Input((3,)), Dense(3), Dense(3, trainable=False), Dense(2)])
    model.compile("sgd", "mse")
    before = model.get_weights()
    model.train_on_batch(np.ones((4, 3)), np.ones((4, 2)))
    changed = [bool((a != b).any()) for a, b in zip(before, model.get_weights(), strict=True)]
    assert changed == [True, True, False, False, True, True]
