"""What training says of bad input, and that an error leaves everything as it was."""

import re
import warnings

import numpy as np
import pytest
from small_problem import X, Y, network
from threadpoolctl import threadpool_info

from minicnn import Input, Sequential
from minicnn.callbacks import Callback, LambdaCallback, TerminateOnNaN
from minicnn.layers import (
    BatchNormalization,
    Conv2D,
    Dense,
    Layer,
)
from minicnn.optimizers import SGD
from minicnn.utils import to_categorical


def blas_threads():
    return [i["num_threads"] for i in threadpool_info() if i["user_api"] == "blas"]


class Fails(Layer):
    """Raises in the backward pass of one shard."""

    def forward(self, x, ctx):
        return x

    def backward(self, dy, ctx):
        if ctx.comm.rank == ctx.comm.size - 1:
            raise ArithmeticError("on purpose")
        return dy


@pytest.mark.parametrize("threads", [1, 2])
def test_an_error_in_a_step_is_raised_and_blas_gets_its_threads_back(monkeypatch, threads):
    monkeypatch.setenv("MINICNN_NUM_THREADS", str(threads))
    before = blas_threads()
    model = network(extra=[BatchNormalization(), Fails()])
    weights = model.get_weights()
    with pytest.raises(ArithmeticError, match="on purpose"):
        model.fit(X, Y, verbose=0)
    assert blas_threads() == before
    assert all(np.array_equal(a, b) for a, b in zip(weights, model.get_weights(), strict=True))


def test_stop_training():
    class Stop(Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = epoch == 1

    model = network()
    assert model.fit(X, Y, epochs=9, callbacks=[Stop()], verbose=0).epoch == [0, 1]
    assert model.fit(X, Y, epochs=1, callbacks=Stop(), verbose=0).epoch == [0]


class Watch(Callback):
    """Writes down the hooks that are called, with what."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def __getattribute__(self, name):
        if not name.startswith("on_"):
            return super().__getattribute__(name)
        return lambda *args: self.calls.append((name.removeprefix("on_"), *args))

    def names(self):
        return [name for name, *_ in self.calls]


def test_hooks_come_in_order_with_their_logs():
    watch, model = Watch(), network()
    history = model.fit(X[:32], Y[:32], batch_size=16, callbacks=[watch], validation_split=0.5,
                        verbose=0).history  # fmt: skip
    batch = ["batch_begin", "batch_end"]
    assert watch.names() == [
        "train_begin",
        "epoch_begin",
        *(f"train_{b}" for b in batch),
        "test_begin",
        *(f"test_{b}" for b in batch),
        "test_end",
        "epoch_end",
        "train_end",
    ]
    calls = {name: args for name, *args in watch.calls}
    assert calls["train_begin"] == [{}] and calls["epoch_begin"] == [0, {}]
    last = {name: values[-1] for name, values in history.items()}
    assert calls["epoch_end"] == [0, last] and calls["train_end"] == [last]
    assert set(calls["train_batch_end"][1]) == {"loss", "accuracy"}

    watch.calls.clear()
    model.evaluate(X[:32], Y[:32], callbacks=[watch], verbose=0)
    assert watch.names() == ["test_begin", *(f"test_{b}" for b in batch), "test_end"]
    watch.calls.clear()
    model.predict(X[:64], callbacks=watch, verbose=0)
    assert watch.names() == ["predict_begin", *(f"predict_{b}" for b in batch * 2), "predict_end"]


def test_not_compiled():
    model = Sequential([Input((3,)), Dense(2)])
    for what in ("fit", "evaluate", "train_on_batch", "test_on_batch"):
        with pytest.raises(RuntimeError, match=f"must be compiled before {what}: model.compile"):
            getattr(model, what)(np.ones((2, 3)), np.ones((2, 2)))


@pytest.mark.parametrize(
    "arguments, text",
    [
        ({"optimizer": "adm"}, "unknown optimizer 'adm'; did you mean '[Aa]dam'"),
        ({"loss": "sparse_categorical_crossentropi"}, "unknown loss.*did you mean"),
        ({"metrics": ["acuracy"]}, "unknown metric 'acuracy'; did you mean '[Aa]ccuracy'"),
        ({"optimizer": None}, "compile needs an optimizer, such as optimizer='adam'; it got None"),
    ],
)
def test_unknown_names(arguments, text):
    model = Sequential([Input((3,)), Dense(2)])
    with pytest.raises(ValueError, match=text):
        model.compile(**{"optimizer": "adam", "loss": "mse", **arguments})


@pytest.mark.parametrize(
    "layer, text",
    [
        (
            lambda: Dense(2, activation="rellu"),
            "unknown activation 'rellu'; did you mean '(relu|ReLU)'",
        ),
        (lambda: Dense(2, kernel_initializer="he_norml"), "did you mean '(he_normal|HeNormal)'"),
        (lambda: Dense(2, kernel_regularizer="l3"), "unknown regularizer 'l3'.*L2"),
        (lambda: Conv2D(2, 3, padding="sme"), "'?same"),
    ],
)
def test_unknown_names_in_layers(layer, text):
    with pytest.raises(ValueError, match=text):
        layer()


def nan_images():
    x = X.copy()
    x[41, 2, 3, 1] = np.nan
    return x


@pytest.mark.parametrize(
    "x, y, arguments, text",
    [
        (X, Y + 1, {}, "labels lie between 1 and 3, but a model with 3 outputs.*from 0 to 2"),
        (X, Y - 1, {}, "labels lie between -1 and 1"),
        (X, Y[:90], {}, "x has 96 images and y has 90 entries"),
        (X, Y + 0.5, {}, "labels are whole numbers"),
        (X, to_categorical(Y), {}, "one-hot targets belong to CategoricalCrossentropy"),
        (X, None, {}, "there are no targets: pass y beside x"),
        (nan_images(), Y, {}, "image 41 of x holds NaN or infinity"),
        (X, np.where(Y == 1, np.nan, Y), {}, "entry .* of y holds NaN or infinity"),
        (X[:0], Y[:0], {}, "x holds no images"),
        (X, Y, {"batch_size": 0}, "batch_size must be an integer above 0, not 0"),
        (X, Y, {"batch_size": -4}, "not -4"),
        (X, Y, {"epochs": 0}, "epochs must be an integer above 0, not 0"),
        (X, Y, {"epochs": 2.0}, "epochs must be an integer above 0, not 2.0"),
        (X, Y, {"validation_freq": 0}, "validation_freq must be an integer above 0, not 0"),
        (X, Y, {"validation_freq": [1, 2]}, r"validation_freq must be .*, not \[1, 2\]"),
        (X, Y, {"steps_per_epoch": 0}, "number of steps must be above 0, or None for all; got 0"),
        (X, Y, {"initial_epoch": -1}, "initial_epoch must be an integer of at least 0, not -1"),
        (X, Y, {"initial_epoch": "3"}, "initial_epoch must be .*, not '3'"),
        (X, Y, {"validation_split": 1.5}, "validation_split must be above 0 and below 1, not 1.5"),
        (X, Y, {"validation_data": (X, Y + 1)}, "labels lie between 1 and 3"),
        (X, Y, {"validation_data": (X[..., :2], Y)}, r"takes inputs of shape \(n, 8, 8, 3\)"),
        (X, Y, {"sample_weight": np.ones(3)}, "sample_weight has 3 entries"),
        (iter([]), None, {}, "the iterator of batches gave none"),
        (iter([(X, Y + 1)]), None, {}, "labels lie between 1 and 3"),
        (iter([(X[..., :2], Y)]), None, {}, r"takes inputs of shape \(n, 8, 8, 3\)"),
        (iter([(nan_images(), Y)]), None, {}, "image 41 of x holds NaN"),
        (iter([X]), None, {}, "there are no targets"),
    ],
)
def test_bad_data(x, y, arguments, text):
    model = network()
    weights = model.get_weights()
    with pytest.raises(ValueError, match=text):
        model.fit(x, y, **{"verbose": 0, **arguments})
    assert all(np.array_equal(a, b) for a, b in zip(weights, model.get_weights(), strict=True))


def test_class_numbers_for_categorical_crossentropy():
    model = network(loss="categorical_crossentropy")
    with pytest.raises(ValueError, match="SparseCategoricalCrossentropy.*to_categorical"):
        model.fit(X, Y, verbose=0)


def test_empty_batches():
    model = network()
    for what in ("train_on_batch", "test_on_batch", "evaluate"):
        with pytest.raises(ValueError, match="x holds no images"):
            getattr(model, what)(X[:0], Y[:0])
    with pytest.raises(ValueError, match="x holds no images"):
        model.predict(X[:0])


def test_a_compile_that_fails_changes_nothing():
    model = network()
    before = model.optimizer, model.loss, model.metric_identifiers
    with pytest.raises(ValueError, match="unknown metric 'acuracy'"):
        model.compile("sgd", "mse", metrics=["acuracy"])
    assert (model.optimizer, model.loss, model.metric_identifiers) == before
    model.fit(X, Y, verbose=0)


def test_layers_that_a_callback_takes_off():
    model = network()
    while_training = LambdaCallback(on_train_batch_end=lambda batch, logs: take_all_off(model))
    with pytest.raises(ValueError, match="is not built"):
        model.fit(X, Y, verbose=0, callbacks=while_training)


def take_all_off(model):
    while model.layers:
        model.pop()


@pytest.mark.parametrize(("rate", "warned"), [(1e38, 1), (0.01, 0)])
def test_a_lost_training_is_told_once(rate, warned):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        history = network(optimizer=SGD(rate)).fit(X, Y, epochs=3, verbose=0).history
    texts = [str(w.message) for w in caught if w.category is UserWarning]
    assert np.isfinite(history["loss"]).all() == (not warned)
    assert len(texts) == warned
    assert all(
        re.match("the loss of epoch 1 is (nan|inf), and training does not recover from", text)
        for text in texts
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        network(optimizer=SGD(rate)).fit(X, Y, epochs=3, verbose=0, callbacks=TerminateOnNaN())
    assert not any("does not recover" in str(w.message) for w in caught)
