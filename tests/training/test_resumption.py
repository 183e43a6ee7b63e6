"""Runs that are interrupted and go on end as if they had not been."""

import functools
import re
import warnings
from pathlib import Path

import interrupted
import numpy as np
import pytest
from interrupted import EPOCHS, SCENARIOS, X, Y
from small_problem import network

from minicnn import Sequential, arrays_file, callbacks, layers, losses, optimizers, parallel
from minicnn.callbacks import BackupAndRestore, Callback
from minicnn.layers import Dropout
from minicnn.utils import PyDataset, set_random_seed

pytestmark = [
    pytest.mark.cpu_only("trains many networks"),
    pytest.mark.filterwarnings("ignore:the data ran out"),
]


class Interruption(Exception):
    pass


class Interrupting(Callback):
    """Raises in the middle of a training step's or an epoch's end."""

    def __init__(self, steps=None, epoch=None):
        super().__init__()
        self.steps, self.epoch = steps, epoch

    def on_train_begin(self, logs=None):
        self.left = self.steps

    def on_train_batch_end(self, batch, logs=None):
        if self.left is not None:
            self.left -= 1
            if self.left == 0:
                raise Interruption

    def on_epoch_end(self, epoch, logs=None):
        if epoch == self.epoch:
            raise Interruption

    def state(self):
        return {}


@functools.cache
def uninterrupted(scenario, tmp):
    folder = Path(tmp) / "uninterrupted"
    folder.mkdir(parents=True)
    return interrupted.digest(*interrupted.train(scenario, folder, backup=False), folder)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
@pytest.mark.parametrize(("save_freq", "steps"), [("epoch", (7,)), (1, (2, 3)), (3, (5, 6))])
def test_a_run_that_was_interrupted_ends_with_the_same_bits(
    scenario, save_freq, steps, tmp_path_factory
):
    tmp = tmp_path_factory.getbasetemp() / re.sub(r"\W+", "_", str(scenario))
    expected = uninterrupted(scenario, tmp)
    folder = tmp_path_factory.mktemp("run")
    for more in steps:
        with pytest.raises(Interruption):
            interrupted.train(scenario, folder, save_freq, [Interrupting(more)])
        np.random.random(3)
    run = interrupted.train(scenario, folder, save_freq, [Interrupting()])
    assert interrupted.digest(*run, folder) == expected


def test_after_the_last_step_of_an_epoch_and_before_its_validation(tmp_path):
    expected = uninterrupted(SCENARIOS[0], tmp_path)
    for watcher in (Interrupting(steps=5), Interrupting(epoch=0), Interrupting(epoch=EPOCHS - 1)):
        with pytest.raises(Interruption):
            interrupted.train(SCENARIOS[0], tmp_path, 1, [watcher])
    run = interrupted.train(SCENARIOS[0], tmp_path, 1, [Interrupting()])
    assert interrupted.digest(*run, tmp_path) == expected


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_the_loss_scale_is_kept(tmp_path, policy):
    if policy == "mixed_bfloat16":
        pytest.importorskip("ml_dtypes")

    def trained(folder, steps=None, resumed=False):
        model = network(extra=[Dropout(0.5, dtype=policy)])
        optimizer = optimizers.LossScaleOptimizer(optimizers.Adam(0.01), 2.0**20, 2)
        model.compile(optimizer, "sparse_categorical_crossentropy")
        watchers = [BackupAndRestore(folder, 2), Interrupting(steps)]
        model.fit(X, Y, 16, epochs=2, verbose=0, callbacks=watchers)
        return [*model.get_weights(), np.array(optimizer.scale_and_steps)]

    expected = trained(tmp_path / "a")
    with pytest.raises(Interruption):
        trained(tmp_path / "b", 7)
    for a, b in zip(expected, trained(tmp_path / "b"), strict=True):
        np.testing.assert_array_equal(a, b)
    assert expected[-1][0] != 2.0**20


def test_the_same_call_goes_on_in_the_same_process(tmp_path):
    """As in a notebook: the model, its optimizer and its callbacks are those that were there."""
    expected = fitted(tmp_path / "a")
    model = network(extra=[Dropout(0.5)])
    watchers = [callbacks.ReduceLROnPlateau("loss", 0.5, 1), BackupAndRestore(tmp_path / "b", 2)]
    options = {"batch_size": 16, "epochs": 3, "verbose": 0}
    with pytest.raises(Interruption):
        model.fit(X, Y, callbacks=[*watchers, Interrupting(8)], **options)
    history = model.fit(X, Y, callbacks=watchers, **options)
    assert history.history == expected.history and history.epoch == [0, 1, 2]


def fitted(folder, save_freq=2, steps=None, epochs=3, compiled=None, **given):
    """The History of a run with backups."""
    model = network(extra=[Dropout(0.5)], **compiled or {})
    given = {"x": X, "y": Y, "batch_size": 16, "verbose": 0, **given}
    watchers = [callbacks.ReduceLROnPlateau("loss", 0.5, 1), Interrupting(steps)]
    watchers += given.pop("callbacks", [])
    backup = BackupAndRestore(folder, save_freq)
    return model.fit(epochs=epochs, callbacks=[backup, *watchers], **given)


def interrupt(folder, steps=8, **options):
    with pytest.raises(Interruption):
        fitted(folder, steps=steps, **options)
    return sorted(folder.iterdir())


def test_two_backups_are_kept_and_removed_at_the_end(tmp_path):
    kept = interrupt(tmp_path / "run")
    assert [path.name for path in kept] == [f"backup-{n:08d}.safetensors" for n in (1, 2)]
    fitted(tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_only_backups_are_removed(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    fitted(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_run_that_is_over_begins_anew(tmp_path):
    first = fitted(tmp_path / "run")
    again = fitted(tmp_path / "run")
    assert first.history == again.history


def test_more_epochs_may_be_asked_for(tmp_path):
    whole = fitted(tmp_path / "a", epochs=5)
    interrupt(tmp_path / "b", epochs=2)
    assert fitted(tmp_path / "b", epochs=5).history == whole.history


@pytest.mark.parametrize(("save_freq", "steps"), [(2, 8), ("epoch", 13)])
def test_fewer_epochs_than_are_done_are_an_error(tmp_path, save_freq, steps):
    kept = interrupt(tmp_path, steps=steps, save_freq=save_freq)
    with pytest.raises(ValueError, match=r"is in epoch [23] already, and fit was asked for 1: ask"):
        fitted(tmp_path, epochs=1)
    assert sorted(tmp_path.iterdir()) == kept


@pytest.mark.parametrize("damage", ["cut", "empty", "flipped", "other"])
def test_a_damaged_backup_is_passed_over(tmp_path, damage):
    expected = fitted(tmp_path / "a")
    older, newest = interrupt(tmp_path / "b")
    data = bytearray(newest.read_bytes())
    data[-5] ^= 1
    content = {"cut": data[:-100], "empty": b"", "flipped": data, "other": b"{}" * 100}[damage]
    newest.write_bytes(content)
    with pytest.warns(UserWarning, match=f"{newest.name}' is not whole.*going on.*{older.name}"):
        assert fitted(tmp_path / "b").history == expected.history


def test_damaged_backups_alone_are_an_error(tmp_path):
    for path in interrupt(tmp_path):
        path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"is not whole.*; remove '.*' to begin anew"):
        fitted(tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_killed_write_leaves_the_backup_before(tmp_path, monkeypatch):
    expected = fitted(tmp_path / "a")
    run = tmp_path / "run"
    interrupt(run)
    before = {path: path.read_bytes() for path in run.iterdir()}

    def fails(path, state):
        Path(path).with_name(".half").write_bytes(b"half of it")
        raise Interruption

    with monkeypatch.context() as patch:
        patch.setattr("minicnn.callbacks.backup.write_state", fails)
        with pytest.raises(Interruption):
            fitted(run)
    assert before.items() <= {path: path.read_bytes() for path in run.iterdir()}.items()
    assert fitted(run).history == expected.history


# What a run is begun with

OTHERS = {
    "the training data was x float32 .* and is x float32": {"x": X + np.float32(0.1)},
    "the training data was .*y int64 .* and is": {"y": (Y + 1) % 3},
    "sample_weight": {"sample_weight": np.ones(len(X))},
    "in their order": {"shuffle": False},
    "the batch size in training was 16 and is 32": {"batch_size": 32},
    "the steps per epoch of training was 5 and is 4": {"steps_per_epoch": 4},
    "the validation data was .*x float32": {"validation_data": (X[1:9], Y[1:9])},
    'the optimizer was .*"Adam".* and is .*"SGD"': {"compiled": {"optimizer": "sgd"}},
    "the learning rate was 0.01 and is 0.02": {"compiled": {"optimizer": optimizers.Adam(0.02)}},
    "the loss was": {"compiled": {"loss": losses.SparseCategoricalCrossentropy(reduction="sum")}},
    "the model was": {"compiled": {"extra": [layers.Dense(3)]}},
}


@pytest.mark.parametrize("text", OTHERS)
def test_a_run_that_was_begun_otherwise_does_not_go_on(tmp_path, text, monkeypatch):
    given = {"validation_data": (X[:8], Y[:8])}
    kept = interrupt(tmp_path, **given)
    other = {**given, **OTHERS[text]}
    if "extra" in other.get("compiled", {}):
        compiled = other.pop("compiled")
        monkeypatch.setitem(globals(), "Dropout", lambda rate: compiled["extra"][0])
    with pytest.raises(ValueError, match=f"cannot go on, since it was begun otherwise: .*{text}"):
        fitted(tmp_path, **other)
    assert sorted(tmp_path.iterdir()) == kept


def test_another_seed_is_another_run(tmp_path, monkeypatch):
    interrupt(tmp_path)
    monkeypatch.setattr("small_problem.set_random_seed", lambda seed: set_random_seed(seed + 1))
    with pytest.raises(ValueError, match="the seed was 0 and is 1"):
        fitted(tmp_path)


def test_another_number_of_shards_is_told(tmp_path):
    parallel.set_shards(2)
    interrupt(tmp_path)
    parallel.set_shards(3)
    try:
        with pytest.warns(UserWarning, match=r"into 2 shards, and goes on with 3: .*set_shards\(2"):
            fitted(tmp_path)
    finally:
        parallel.set_shards(None)


@pytest.mark.parametrize("save_freq", [0, -1, 1.5, True, False, "batch", None])
def test_when_to_save(save_freq):
    with pytest.raises(ValueError, match="'epoch' or a number of training steps above 0, not"):
        BackupAndRestore("backup", save_freq)


def test_a_folder_is_needed(tmp_path):
    with pytest.raises(ValueError, match="backup_dir is empty"):
        BackupAndRestore("")
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="cannot write into the folder"):
        fitted(tmp_path / "file" / "run")


def test_one_is_enough(tmp_path):
    with pytest.raises(ValueError, match="one BackupAndRestore is enough"):
        fitted(tmp_path, callbacks=[BackupAndRestore(tmp_path / "other")])


# Callbacks


class Counting(Callback):
    """Keeps plain values of all kinds, and something that is none."""

    def __init__(self, start, *rest, scale=1, **more):
        super().__init__()
        self.start, self.scale = start, scale
        self.file = object()
        self.seen = []
        self.by_epoch = {}
        self.mean = np.zeros(2, "float32")
        self.pair = (start, None, "text", float("inf"))

    def on_train_batch_end(self, batch, logs=None):
        self.seen.append(float(logs["loss"]))
        self.mean += np.float32(batch)

    def on_epoch_end(self, epoch, logs=None):
        self.by_epoch[epoch] = np.float64(logs["loss"])


def test_a_callback_of_your_own_goes_on_too(tmp_path):
    whole, half = Counting(1, scale=5), Counting(1, scale=5)
    fitted(tmp_path / "a", callbacks=[whole])
    with pytest.raises(Interruption):
        fitted(tmp_path / "b", steps=8, callbacks=[half])
    resumed = Counting(1, scale=7)
    fitted(tmp_path / "b", callbacks=[resumed])
    assert resumed.seen == whole.seen and resumed.by_epoch == whole.by_epoch
    np.testing.assert_array_equal(resumed.mean, whole.mean)
    assert resumed.mean.dtype == "float32" and resumed.pair == whole.pair
    assert resumed.scale == 7  # what the constructor was given is as it was given
    assert resumed.file is not half.file


def test_a_callback_that_is_missing_is_told(tmp_path):
    with pytest.raises(Interruption):
        fitted(tmp_path, steps=8, callbacks=[Counting(0)])
    with pytest.warns(UserWarning, match="the run had a callback Counting, which is missing"):
        fitted(tmp_path)


def test_the_backup_comes_after_all_callbacks(tmp_path):
    backup, history = BackupAndRestore(tmp_path), callbacks.History()
    watchers = callbacks.CallbackList([backup, Counting(0), history])
    assert list(watchers)[1:] == [history, backup]


def test_what_was_frozen_in_mid_training_stays_frozen(tmp_path):
    class Freezing(Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                self.model.layers[0].trainable = False

    whole = fitted(tmp_path / "a", callbacks=[Freezing()])
    interrupt(tmp_path / "b", steps=13, save_freq="epoch", callbacks=[Freezing()])
    assert fitted(tmp_path / "b", callbacks=[Callback()]).history == whole.history


# Data that the library cannot look into


class Hidden(PyDataset):
    def __init__(self, shuffle=True):
        super().__init__()
        self.order = np.random.default_rng(0)
        self.chosen = np.arange(80)

    def __len__(self):
        return 5

    def __getitem__(self, index):
        chosen = self.chosen[index * 16 : (index + 1) * 16]
        return X[chosen], Y[chosen]

    def on_epoch_end(self):
        self.order.shuffle(self.chosen)


class Plain(PyDataset):
    def __len__(self):
        return 5

    def __getitem__(self, index):
        return X[index * 16 : index * 16 + 16], Y[index * 16 : index * 16 + 16]


def from_source(folder, source, steps=None):
    watchers = [BackupAndRestore(folder, 2), Interrupting(steps)]
    return network().fit(source, epochs=3, verbose=0, callbacks=watchers)


def test_an_order_that_the_epochs_ends_make_is_made_again_with_a_warning(tmp_path):
    with pytest.warns(UserWarning, match=r"Hidden.on_epoch_end does is not in a backup: .*state\("):
        whole = from_source(tmp_path / "a", Hidden())
    with warnings.catch_warnings(action="ignore"):
        with pytest.raises(Interruption):
            from_source(tmp_path / "b", Hidden(), 8)
        assert from_source(tmp_path / "b", Hidden()).history == whole.history


def test_batches_by_number_need_no_more(tmp_path):
    whole = from_source(tmp_path / "a", Plain())
    with pytest.raises(Interruption):
        from_source(tmp_path / "b", Plain(), 8)
    assert from_source(tmp_path / "b", Plain()).history == whole.history


def test_a_model_that_the_first_batch_builds(tmp_path):
    def run(folder, steps=None):
        set_random_seed(0)
        model = Sequential([layers.Flatten(), layers.Dense(3, activation="softmax")])
        model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        watchers = [BackupAndRestore(folder, 2), Interrupting(steps)]
        return model.fit(Plain(), epochs=3, verbose=0, callbacks=watchers).history

    whole = run(tmp_path / "a")
    with pytest.raises(Interruption):
        run(tmp_path / "b", 8)
    assert run(tmp_path / "b") == whole


# Random numbers by their place


def test_two_calls_of_fit_are_one():
    def run(*calls):
        model = network(extra=[layers.RandomFlip(seed=1), Dropout(0.5)])
        for epochs, first in calls:
            model.fit(X, Y, 16, epochs=epochs, initial_epoch=first, verbose=0)
        return model.get_weights()

    expected = run((4, 0))
    for calls in ([(2, 0), (4, 2)], [(2, 0), (2, 0)], [(1, 0), (3, 0)]):
        for a, b in zip(expected, run(*calls), strict=True):
            np.testing.assert_array_equal(a, b)


def test_epochs_steps_models_and_shards_have_numbers_of_their_own():
    parallel.set_shards(2)
    drawn = []

    class Recording(layers.Layer):
        def forward(self, x, ctx):
            if ctx.training:
                drawn.append(float(ctx.rng.random()))
            return x

        def backward(self, dy, ctx):
            return dy

    try:
        set_random_seed(0)
        for _ in range(2):
            model = Sequential([layers.Input((8, 8, 3)), Recording(), layers.Flatten()])
            model.add(layers.Dense(3))
            model.compile("sgd", losses.SparseCategoricalCrossentropy(from_logits=True))
            model.fit(X, Y, 40, epochs=2, verbose=0)
            model.train_on_batch(X, Y)
            model.fit(X, Y, 40, epochs=1, verbose=0)
    finally:
        parallel.set_shards(None)
    assert len(drawn) == len(set(drawn)) == 2 * 2 * (2 * 2 + 1 + 2)


def test_a_seed_set_between_two_fits_governs_the_second():
    model = network(extra=[Dropout(0.5)])
    weights = model.get_weights()
    histories = []
    for _ in range(2):
        model.set_weights(weights)
        model.compile("sgd", "sparse_categorical_crossentropy")
        set_random_seed(7)
        histories.append(model.fit(X, Y, 16, epochs=2, verbose=0).history)
    assert histories[0] == histories[1]


# The file


def test_nested_values_come_back_as_they_were(tmp_path):
    state = {
        "numbers": [1, 2**80, -0.1, float("inf"), True, None],
        3: {"tuple": (1, (2, [3])), "empty": {}, "text": "äß"},
        "arrays": [np.arange(6, dtype="float32").reshape(2, 3).T, np.float64(0.1), np.zeros(0)],
    }
    arrays_file.write_state(tmp_path / "a.safetensors", state)
    found = arrays_file.read_state(tmp_path / "a.safetensors")
    assert found["numbers"] == state["numbers"] and found[3] == state[3]
    for a, b in zip(found["arrays"], state["arrays"], strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)
    assert np.isnan(_round_trip(tmp_path, float("nan")))


def _round_trip(folder, value):
    arrays_file.write_state(folder / "b.safetensors", {"value": value})
    return arrays_file.read_state(folder / "b.safetensors")["value"]


@pytest.mark.parametrize(
    "value", [object(), {"a": object()}, [print], np.array(["a"]), {(1,): {2}}]
)
def test_what_is_not_plain(value):
    assert not arrays_file.is_plain(value)
