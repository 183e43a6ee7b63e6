"""Training over shards: the same bits each time, the same sums for any number of threads."""

import numpy as np
import pytest
from small_problem import CLASSES, X, Y, close_weights, equal_weights, network

from minicnn import Input, Sequential
from minicnn.layers import (
    Activation,
    BatchNormalization,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    Layer,
)
from minicnn.losses import SparseCategoricalCrossentropy
from minicnn.optimizers import SGD
from minicnn.parallel.steps import batch_gradients, shards_of
from minicnn.utils import set_random_seed


def varied():
    return network(extra=[BatchNormalization(), Dropout(0.3), Conv2D(4, 3, activation="relu")])


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_same_seed_and_threads_give_the_same_bits(monkeypatch, threads):
    monkeypatch.setenv("MINICNN_NUM_THREADS", str(threads))
    a, b = varied(), varied()
    results = []
    for model in (a, b):
        set_random_seed(5)
        results.append(model.fit(X, Y, epochs=2, validation_split=0.2, verbose=0).history)
    assert results[0] == results[1] and equal_weights(a, b)
    np.testing.assert_array_equal(a.predict(X, verbose=0), b.predict(X, verbose=0))


def test_the_number_of_threads_changes_only_the_rounding(monkeypatch):
    """BatchNormalization across shards has the statistics of the whole batch."""
    models = []
    for threads in (1, 2, 3, 4):
        monkeypatch.setenv("MINICNN_NUM_THREADS", str(threads))
        model = network(
            optimizer=SGD(0.05, momentum=0.9),
            extra=[BatchNormalization(momentum=0.8), Conv2D(4, 3), BatchNormalization()],
        )
        loss = model.fit(X, Y, batch_size=48, epochs=3, shuffle=False, verbose=0).history["loss"]
        models.append((model, loss, model.predict(X, verbose=0)))
    first, loss, predicted = models[0]
    for model, other_loss, other_predicted in models[1:]:
        close_weights(model, first, 1e-4)
        np.testing.assert_allclose(other_loss, loss, rtol=1e-5)
        np.testing.assert_allclose(other_predicted, predicted, rtol=1e-4, atol=1e-5)


def test_batch_statistics_and_gradients_across_shards_in_float64(monkeypatch):
    def gradients(threads):
        monkeypatch.setenv("MINICNN_NUM_THREADS", str(threads))
        set_random_seed(0)
        model = Sequential(
            [Input((8, 8, 3), dtype="float64"), Conv2D(4, 3, dtype="float64"),
             BatchNormalization(dtype="float64"), Activation("tanh", dtype="float64"),
             Flatten(), Dense(CLASSES, dtype="float64")], dtype="float64",
        )  # fmt: skip
        model.compile("sgd", SparseCategoricalCrossentropy(from_logits=True))
        x, y, w = model._prepare((X[:50], Y[:50], np.linspace(0, 2, 50)))
        generators = [None] * shards_of(x)
        loss, y_pred, grads, updates = batch_gradients(
            model, model.loss, x, y, w, generators, wants_logits=False
        )
        return [loss, y_pred, *(grads[v] for v in model.trainable_weights), *updates.values()]

    whole = gradients(1)
    for threads in (2, 3, 4):
        for a, b in zip(gradients(threads), whole, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


def test_dropout_differs_from_shard_to_shard_and_step_to_step(monkeypatch):
    monkeypatch.setenv("MINICNN_NUM_THREADS", "2")
    set_random_seed(0)
    seen = []

    class Look(Layer):
        def forward(self, x, ctx):
            if ctx.training:
                seen.append((ctx.comm.rank, x.copy()))
            return x

        def backward(self, dy, ctx):
            return dy

    model = Sequential([Input((50,)), Dropout(0.5), Look(), Dense(1)])
    model.compile("sgd", "mse")
    model.fit(np.ones((32, 50)), np.ones(32), batch_size=16, verbose=0)
    masks = [m for _, m in sorted(seen, key=lambda s: s[0])]
    assert len(masks) == 4
    for i in range(4):
        for j in range(i):
            assert not np.array_equal(masks[i], masks[j])


def test_a_seed_governs_the_next_fit_of_a_model_that_has_trained():
    model = Sequential([Input((5,)), Dense(5), Dropout(0.5), Dense(1)])
    model.compile("sgd", "mse")
    start, losses = model.get_weights(), []
    for _ in range(2):
        model.set_weights(start)
        set_random_seed(1)
        history = model.fit(np.ones((32, 5)), np.ones(32), epochs=2, verbose=0)
        losses.append(history.history["loss"])
    assert losses[0] == losses[1]


class TwoBiases(Layer):
    """y = x + a + b: the gradients of both are one array."""

    def build(self, input_shape):
        self.a = self.add_weight("a", (input_shape[-1],), "zeros")
        self.b = self.add_weight("b", (input_shape[-1],), "zeros")

    def forward(self, x, ctx):
        return x + self.a.value + self.b.value

    def backward(self, dy, ctx):
        total = dy.sum(0)
        ctx.add_gradient(self.a, total)
        ctx.add_gradient(self.b, total)
        return dy


def test_two_weights_may_share_one_gradient(monkeypatch):
    steps = []
    for threads in "12":
        monkeypatch.setenv("MINICNN_NUM_THREADS", threads)
        model = Sequential([Input((3,)), TwoBiases()])
        model.compile(SGD(1.0), "mse")
        model.train_on_batch(np.arange(96).reshape(32, 3) / 96, np.zeros((32, 3)))
        steps.append(model.get_weights())
    np.testing.assert_allclose(steps[0], steps[1], rtol=1e-5)


def test_a_batch_smaller_than_a_shard(monkeypatch):
    monkeypatch.setenv("MINICNN_NUM_THREADS", "4")
    model = network(extra=[BatchNormalization()])
    model.fit(X[:33], Y[:33], batch_size=32, verbose=0)  # 32, then 1
    assert all(np.isfinite(w).all() for w in model.get_weights())
