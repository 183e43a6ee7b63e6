"""Callbacks, driven by hand around a model that only pretends."""

import csv
import math
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from small_problem import X, Y, network

from minicnn import metrics
from minicnn.callbacks import (
    Callback,
    CallbackList,
    CSVLogger,
    EarlyStopping,
    History,
    LambdaCallback,
    LazyLogs,
    LearningRateScheduler,
    ModelCheckpoint,
    ReduceLROnPlateau,
    TerminateOnNaN,
)
from minicnn.optimizers import SGD


@pytest.fixture(autouse=True)
def fake_models_can_be_saved(monkeypatch):
    monkeypatch.setattr("minicnn.saving.require_saveable", lambda *arguments: None)


class FakeModel:
    """Its one weight is the number of the epoch it was trained in."""

    def __init__(self):
        self.stop_training = False
        self.optimizer = SimpleNamespace(learning_rate=0.1)
        self.metrics = [metrics.Mean("loss"), metrics.F1Score(name="my_score")]
        self.values = [np.array(-1)]

    def get_weights(self):
        return [w.copy() for w in self.values]

    def set_weights(self, weights):
        self.values = weights

    @property
    def weights(self):
        return [SimpleNamespace(value=value, path="d/kernel") for value in self.values]

    def save(self, path):
        with open(path, "w") as file:
            file.write(f"model {self.values[0]}")

    def save_weights(self, path):
        with open(path, "w") as file:
            file.write(f"weights {self.values[0]}")


def train(callbacks, epochs, batches=0, model=None):
    """Run through `epochs`, a list of logs; returns the model and the epochs it took."""
    model = model or FakeModel()
    every = CallbackList(callbacks, True, model, epochs=len(epochs), steps=batches, verbose=0)
    every.on_train_begin()
    done = 0
    for epoch, logs in enumerate(epochs):
        every.on_epoch_begin(epoch)
        model.values = [np.array(epoch)]
        for batch in range(batches):
            every.on_train_batch_begin(batch)
            every.on_train_batch_end(batch, LazyLogs(lambda logs=logs: logs))
            if model.stop_training:
                break
        every.on_epoch_end(epoch, dict(logs))
        done += 1
        if model.stop_training:
            break
    every.on_train_end()
    return model, done


def losses(*values):
    return [{"loss": 9.0, "val_loss": v} for v in values]


# The list, the logs, the history


def test_hooks_are_called_in_order():
    seen = []

    class Recorder(Callback):
        def __init__(self, name):
            super().__init__()
            self.name = name

        def on_epoch_end(self, epoch, logs=None):
            seen.append((self.name, epoch, logs["loss"]))

        def on_batch_end(self, batch, logs=None):
            seen.append((self.name, "batch", batch))

    model, _ = train([Recorder("a"), Recorder("b")], [{"loss": 1.0}], batches=1)
    assert seen == [("a", "batch", 0), ("b", "batch", 0), ("a", 0, 1.0), ("b", 0, 1.0)]
    assert model.history.params == {"epochs": 1, "steps": 1, "verbose": 0}


def test_callback_list_takes_one_several_or_none():
    history = History()
    assert CallbackList(history, True).history is history
    assert len(CallbackList(None)) == 0
    assert len(CallbackList(None, add_history=True)) == 1
    inner = CallbackList([History()])
    assert list(CallbackList(inner)) == list(inner)
    with pytest.raises(
        TypeError, match=r"is not a minicnn.callbacks.Callback; create it with \(\)"
    ):
        CallbackList([History])
    with pytest.raises(AttributeError, match="on_everything"):
        inner.on_everything()


def test_history_goes_on_in_a_second_fit():
    history = History()
    train([history], losses(3, 2))
    model, _ = train([history], losses(1))
    assert history.history == {"loss": [9.0] * 3, "val_loss": [3, 2, 1]}
    assert history.epoch == [0, 1, 0]
    assert model.history is history


def test_lazy_logs_are_read_once_and_only_when_looked_at():
    reads = []

    def read():
        reads.append(1)
        return {"loss": 0.5}

    logs = LazyLogs(read)
    logs = logs or {}
    assert not reads
    assert logs["loss"] == 0.5
    assert logs.get("accuracy") is None
    assert {**logs} == logs.copy() == {"loss": 0.5}
    assert list(logs) == ["loss"]
    assert repr(logs) == "{'loss': 0.5}"
    assert len(reads) == 1


def test_most_callbacks_do_not_read_the_logs_of_a_batch():
    def fail():
        raise RuntimeError("read")

    every = [History(), EarlyStopping(), ModelCheckpoint("x.keras"), ReduceLROnPlateau()]
    CallbackList(every, model=FakeModel()).on_train_batch_end(0, LazyLogs(fail))


# EarlyStopping


def test_early_stopping_waits_for_patience():
    stop = EarlyStopping(patience=2)
    model, done = train([stop], losses(3, 2, 2.5, 2.1, 1))
    assert (done, stop.best, stop.best_epoch, stop.stopped_epoch) == (4, 2, 1, 3)
    assert model.values[0] == 3


@pytest.mark.parametrize(("values", "done"), [((3, 2, 2.5, 2.1, 1), 4), ((3, 2, 2.5), 3)])
def test_best_weights_are_restored_also_without_a_stop(values, done, capsys):
    stop = EarlyStopping(patience=2, restore_best_weights=True, verbose=1)
    model, found = train([stop], losses(*values))
    assert found == done
    assert model.values[0] == 1
    printed = capsys.readouterr().out
    assert "Restoring the weights of the best epoch, 2" in printed
    assert ("early stopping" in printed) == (done == 4)


def test_early_stopping_directions():
    rising = [{"accuracy": v, "my_score": v, "odd": v} for v in (0.1, 0.2, 0.3)]
    for name in ("accuracy", "my_score"):
        assert train([EarlyStopping(name)], rising)[1] == 3
    assert train([EarlyStopping("accuracy", mode="min")], rising)[1] == 2
    with pytest.raises(ValueError, match="pass mode='max' or mode='min'"):
        train([EarlyStopping("odd")], rising)


def test_min_delta_baseline_and_start_from_epoch():
    assert train([EarlyStopping(min_delta=0.5)], losses(3, 2.8, 1))[1] == 2
    assert train([EarlyStopping(min_delta=-0.5)], losses(3, 2.4, 2.3))[1] == 3
    assert train([EarlyStopping(baseline=1, patience=2)], losses(3, 2.8, 2.9, 2.7, 2.6))[1] == 3
    assert train([EarlyStopping(baseline=5, patience=2)], losses(3, 2.8, 2.7, 2.6))[1] == 4
    assert train([EarlyStopping(start_from_epoch=3)], losses(1, 2, 3, 4, 5, 6))[1] == 5


def test_nan_is_never_best():
    stop = EarlyStopping(patience=3, restore_best_weights=True)
    model, _ = train([stop], losses(math.nan, 2, math.nan, 1.5, math.nan))
    assert (stop.best, model.values[0]) == (1.5, 3)


def test_missing_figure_is_named():
    with pytest.warns(
        UserWarning, match="'val_los', which the logs do not have; did you mean 'val_loss"
    ):
        _, done = train([EarlyStopping("val_los")], losses(1, 2, 3))
    assert done == 3
    with pytest.warns(UserWarning, match="pass validation_data .*known: loss"):
        train([EarlyStopping()], [{"loss": 1.0}])
    with pytest.warns(UserWarning, match="is an array"):
        train([EarlyStopping("f1_score")], [{"f1_score": np.ones(3)}])
    with pytest.raises(ValueError, match="mode is 'auto', 'min' or 'max'"):
        EarlyStopping(mode="up")


# ModelCheckpoint


def test_checkpoint_every_epoch(tmp_path, capsys):
    path = tmp_path / "new" / "{epoch:02d}-{val_loss:.2f}.keras"
    train([ModelCheckpoint(path, verbose=1)], losses(3, 2.345))
    assert sorted(p.name for p in path.parent.iterdir()) == ["01-3.00.keras", "02-2.35.keras"]
    assert (path.parent / "01-3.00.keras").read_text() == "model 0"
    assert "Epoch 1: saving to" in capsys.readouterr().out


def test_checkpoint_of_the_best(tmp_path, capsys):
    path = tmp_path / "best.weights.h5"
    keep = ModelCheckpoint(str(path), save_best_only=True, save_weights_only=True, verbose=1)
    train([keep], losses(3, 1, 2))
    assert path.read_text() == "weights 1"
    printed = capsys.readouterr().out
    assert "val_loss improved from 3.00000 to 1.00000, saving" in printed
    assert "Epoch 3: val_loss 2.00000 did not improve from 1.00000" in printed


def test_checkpoint_better_than_a_threshold(tmp_path):
    path = tmp_path / "best.keras"
    keep = ModelCheckpoint(
        path, "accuracy", save_best_only=True, mode="max", initial_value_threshold=0.5
    )
    train([keep], [{"accuracy": 0.4}])
    assert not path.exists()
    train([keep], [{"accuracy": 0.6}])
    assert path.exists()


def test_checkpoint_every_few_batches(tmp_path):
    keep = ModelCheckpoint(tmp_path / "{epoch}-{batch}.keras", save_freq=3)
    train([keep], losses(1, 1), batches=4)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["1-3.keras", "2-2.keras"]


def test_checkpoint_without_the_figure_keeps_the_latest(tmp_path):
    with pytest.warns(UserWarning, match="ModelCheckpoint watches 'val_loss'"):
        train([ModelCheckpoint(tmp_path / "m.keras", save_best_only=True)], [{"loss": 1.0}])
    assert (tmp_path / "m.keras").exists()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("weights_only", [False, True])
def test_checkpoint_keeps_the_file_of_finite_weights(tmp_path, bad, weights_only):
    """Also where the figure says that the model has become better."""
    name = "x.weights.h5" if weights_only else "x.safetensors"
    for only_best in (False, True):
        folder = tmp_path / str(only_best)
        keep = ModelCheckpoint(
            folder / name, save_best_only=only_best, save_weights_only=weights_only
        )
        model = network()
        model.fit(X, Y, validation_data=(X, Y), verbose=0, callbacks=[keep])
        good, best = (folder / name).read_bytes(), keep.best
        kernel = model.layers[0].kernel
        kernel.value[0, 0, 0, 0] = bad
        keep.best = best and np.inf
        message = rf"saves nothing to .*{name}', and what is there stays: weight '.*kernel' holds"
        with pytest.warns(UserWarning, match=message):
            keep.on_epoch_end(1, {"val_loss": 0.0})
        assert (folder / name).read_bytes() == good and keep.best == (best and np.inf)
        kernel.value[0, 0, 0, 0] = 1.0
        keep.on_epoch_end(2, {"val_loss": 0.0})
        assert (folder / name).read_bytes() != good


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # the overflows that lead there
def test_a_loss_that_becomes_nan_leaves_the_checkpoint_alone(tmp_path):
    path = tmp_path / "good.safetensors"
    model = network(optimizer=SGD(1e38))
    model.save(path)
    good = path.read_bytes()
    with pytest.warns(UserWarning) as caught:
        model.fit(X, Y, epochs=2, verbose=0, callbacks=[TerminateOnNaN(), ModelCheckpoint(path)])
    assert any("ModelCheckpoint saves nothing" in str(w.message) for w in caught)
    assert not all(np.isfinite(w).all() for w in model.get_weights())
    assert path.read_bytes() == good


def test_checkpoint_errors(tmp_path):
    with pytest.raises(ValueError, match="has a field 'val_los'; did you mean 'val_loss'"):
        train([ModelCheckpoint(tmp_path / "{val_los}.keras")], losses(1))
    with pytest.raises(ValueError, match="save_freq is 'epoch' or a number of batches"):
        ModelCheckpoint("x.keras", save_freq="batch")
    (tmp_path / "file").write_text("")
    keep = ModelCheckpoint(tmp_path / "file" / "x.keras")
    keep.set_model(FakeModel())
    with pytest.raises(OSError, match="cannot write into the folder"):
        keep.on_train_begin()


# Learning rate


def test_plateau_reduces_the_rate(capsys):
    reduce = ReduceLROnPlateau(patience=2, factor=0.5, min_lr=0.03, cooldown=1, verbose=1)
    model, _ = train([reduce], losses(1, 1, 1, 1, 1, 1, 1, 1))
    # two epochs without improvement, one of cooldown that counts already as its last, ...
    assert model.history.history["learning_rate"] == [0.1] * 3 + [0.05] * 2 + [0.03] * 3
    assert "Epoch 3: learning rate reduced to 0.05" in capsys.readouterr().out
    with pytest.raises(ValueError, match="factor must lie between 0 and 1"):
        ReduceLROnPlateau(factor=1.5)


def test_scheduler_with_one_or_two_arguments(capsys):
    model, _ = train([LearningRateScheduler(lambda epoch, lr: lr / 2, verbose=1)], losses(1, 1))
    assert model.history.history["learning_rate"] == [0.05, 0.025]
    assert "Epoch 2: learning rate set to 0.025" in capsys.readouterr().out
    model, _ = train([LearningRateScheduler(lambda epoch: np.float32(2.0**-epoch))], losses(1, 1))
    assert model.history.history["learning_rate"] == [1.0, 0.5]
    assert isinstance(model.optimizer.learning_rate, float)


def test_scheduler_does_not_hide_errors_of_the_schedule():
    def schedule(epoch, lr):
        return lr + "1"

    with pytest.raises(TypeError, match="unsupported operand"):
        train([LearningRateScheduler(schedule)], losses(1))
    for wrong in (None, "0.1", -1.0, math.nan, True):

        def constant(epoch, lr, value=wrong):
            return value

        with pytest.raises(ValueError, match="a learning rate is a number of at least 0"):
            train([LearningRateScheduler(constant)], losses(1))


def test_scheduler_wants_a_function():
    with pytest.raises(TypeError, match="schedule is a function of the epoch.*; got 0.1"):
        LearningRateScheduler(0.1)


# Tables, NaN, functions


def test_csv_logger(tmp_path):
    path = tmp_path / "new" / "log.csv"
    train([CSVLogger(path)], [{"b": 2.0, "a": 1.0}, {"a": 0.5, "b": np.array([1, 2])}])
    expected = [["epoch", "a", "b"], ["0", "1.0", "2.0"], ["1", "0.5", "[1, 2]"]]
    assert list(csv.reader(path.read_text().splitlines())) == expected
    train([CSVLogger(path, append=True)], [{"a": 3.0, "c": 1.0}])
    assert list(csv.reader(path.read_text().splitlines())) == [*expected, ["0", "3.0", "NA"]]
    train([CSVLogger(path, separator=";")], [{"a": 3.0}])
    assert path.read_text().splitlines() == ["epoch;a", "0;3.0"]


def test_csv_logger_says_what_it_cannot_write(tmp_path):
    with pytest.raises(OSError, match="give the name of a file"):
        train([CSVLogger(tmp_path)], losses(1))
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="cannot write into the folder"):
        train([CSVLogger(tmp_path / "file" / "log.csv")], losses(1))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_terminate_on_nan(value, capsys):
    model, done = train([TerminateOnNaN()], [{"loss": 1.0}, {"loss": value}, {"loss": 1.0}], 2)
    assert (model.stop_training, done) == (True, 2)
    assert "Batch 0: the loss is" in capsys.readouterr().out
    with pytest.raises(RuntimeError, match="a lower learning rate"):
        train([TerminateOnNaN(raise_error=True)], [{"loss": value}], 1)


def test_lambda_callback():
    seen = []
    callback = LambdaCallback(
        on_epoch_end=lambda epoch, logs: seen.append(logs["loss"]),
        on_train_batch_end=lambda batch, logs: seen.append(batch),
        on_test_begin=lambda logs: seen.append("test"),
    )
    train([callback], [{"loss": 4.0}], batches=1)
    callback.on_test_begin(None)
    assert seen == [0, 4.0, "test"]
    with pytest.raises(TypeError, match="no hook is called 'on_epoch_ends'; did you mean"):
        LambdaCallback(on_epoch_ends=print)


def test_no_warnings_where_all_is_well():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train([EarlyStopping("loss"), ReduceLROnPlateau()], losses(1, 1))


@pytest.mark.parametrize("name, weights_only", [("a.pt", False), ("a.pt", True), ("a.h5", True)])
def test_checkpoint_names_that_say_no_format(name, weights_only):
    with pytest.raises(ValueError, match=f"{name}'"):
        ModelCheckpoint(name, save_weights_only=weights_only)
