"""Callbacks that look at averages of weights, or are there for their names."""

import numpy as np
import pytest

from minicnn.callbacks import (
    Callback,
    LambdaCallback,
    ModelCheckpoint,
    ProgbarLogger,
    SwapEMAWeights,
)
from minicnn.layers import Dense, Input
from minicnn.models import Sequential, load_model
from minicnn.optimizers import SGD, LossScaleOptimizer

X = np.random.default_rng(0).normal(size=(8, 3)).astype("float32")
Y = np.random.default_rng(1).normal(size=(8, 2)).astype("float32")


def model(optimizer=None):
    made = Sequential([Input((3,)), Dense(2)])
    made.set_weights([np.full((3, 2), 0.5), np.zeros(2)])
    made.compile(optimizer or SGD(0.1, use_ema=True, ema_momentum=0.5), "mse")
    return made


def averages(made):
    optimizer = getattr(made.optimizer, "inner_optimizer", made.optimizer)
    return [optimizer.average_of(w).copy() for w in made.trainable_weights]


class Watch(Callback):
    """What the weights are at each hook."""

    def __init__(self):
        super().__init__()
        self.seen = {}

    def note(self, hook):
        weights = [w.value.copy() for w in self.model.trainable_weights]
        self.seen.setdefault(hook, []).append((weights, averages(self.model)))

    def on_test_batch_begin(self, batch, logs=None):
        self.note("test")

    def on_predict_batch_begin(self, batch, logs=None):
        self.note("predict")

    def on_epoch_end(self, epoch, logs=None):
        self.note("epoch")


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.cpu_only("looks at weights with NumPy")
@pytest.mark.parametrize("scaled", [False, True])
def test_averages_are_evaluated_and_weights_trained(scaled):
    def optimizer():
        plain = SGD(0.1, use_ema=True, ema_momentum=0.5)
        return LossScaleOptimizer(plain, initial_scale=1.0) if scaled else plain

    runs = []
    for extra in ([], [SwapEMAWeights()]):
        made, watch = model(optimizer()), Watch()
        made.fit(
            X, Y, batch_size=4, epochs=3, shuffle=False, verbose=0,
            validation_data=(X, Y), callbacks=[*extra, watch],
        )  # fmt: skip
        runs.append((made, watch.seen))
    (plain, without), (swapped, seen) = runs
    for (weights, means), (shown, kept) in zip(without["test"], seen["test"], strict=True):
        assert same(shown, means) and same(kept, weights) and not same(weights, means)
    for before, after in zip(without["epoch"], seen["epoch"], strict=True):
        assert same(before[0], after[0]) and same(before[1], after[1])
    assert same(plain.get_weights(), swapped.get_weights())


@pytest.mark.cpu_only("looks at weights with NumPy")
def test_evaluate_and_predict_by_themselves():
    made, watch = model(), Watch()
    made.fit(X, Y, batch_size=4, verbose=0)
    made.layers[0].kernel.assign(np.ones((3, 2)))
    weights, means = [w.value.copy() for w in made.trainable_weights], averages(made)
    callbacks = [SwapEMAWeights(), watch]
    made.evaluate(X, Y, verbose=0, callbacks=callbacks)
    made.predict(X, verbose=0, callbacks=callbacks)
    for hook in ("test", "predict"):
        assert same(watch.seen[hook][0][0], means)
    assert same(made.get_weights(), weights) and same(averages(made), means)


@pytest.mark.cpu_only("looks at weights with NumPy")
def test_files_hold_the_averages(tmp_path):
    pytest.importorskip("h5py")

    def stop(epoch, logs):
        made.stop_training = epoch == 1

    for last, stops in ((3, []), (2, [LambdaCallback(on_epoch_end=stop)])):
        made, watch = model(), Watch()
        path = tmp_path / "{epoch}.keras"
        callbacks = [*stops, SwapEMAWeights(swap_on_epoch=True), ModelCheckpoint(path), watch]
        made.fit(X, Y, batch_size=4, epochs=3, shuffle=False, verbose=0, callbacks=callbacks)
        plain, plainly = model(), Watch()
        plain.fit(X, Y, batch_size=4, epochs=3, shuffle=False, verbose=0, callbacks=plainly)
        assert len(watch.seen["epoch"]) == last
        for epoch in range(last):
            saved = load_model(tmp_path / f"{epoch + 1}.keras")
            assert same(saved.get_weights(), plainly.seen["epoch"][epoch][1])
        assert same(made.get_weights(), plainly.seen["epoch"][last - 1][1])  # and are what is left


def test_optimizers_without_averages():
    with pytest.raises(ValueError, match=r"compile with SGD\(use_ema=True\)"):
        model(SGD(0.1)).fit(X, Y, validation_data=(X, Y), verbose=0, callbacks=[SwapEMAWeights()])


def test_progbar_logger_changes_nothing(capsys):
    for verbose in (0, 2):
        model().fit(X, Y, verbose=verbose)
        without = capsys.readouterr().out
        model().fit(X, Y, verbose=verbose, callbacks=[ProgbarLogger()])
        assert capsys.readouterr().out.count("\n") == without.count("\n") == (verbose > 0)
