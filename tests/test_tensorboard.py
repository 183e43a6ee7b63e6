"""What the callback TensorBoard writes, read back from its files."""

import json
import struct
import sys
from pathlib import Path

import numpy as np
import pytest

from minicnn.callbacks import TensorBoard
from minicnn.layers import Conv2D, Dense, Flatten, Input
from minicnn.models import Sequential, model_from_json
from minicnn.optimizers.schedules import ExponentialDecay

pytest.importorskip("tensorboardX")
event_pb2 = pytest.importorskip("tensorboardX.proto.event_pb2")

X = np.random.default_rng(0).normal(size=(8, 5, 5, 3)).astype("float32")
Y = np.arange(8) % 2


def values_in(folder):
    """{tag: [(step, value), ...]} of all files in a folder, which are records of
    (length, its checksum, data, their checksum)."""
    found = {}
    for path in sorted(Path(folder).glob("events.*")):
        data = path.read_bytes()
        while data:
            (length,) = struct.unpack("<Q", data[:8])
            event = event_pb2.Event.FromString(data[12 : 12 + length])
            data = data[16 + length :]
            for value in event.summary.value:
                found.setdefault(value.tag, []).append((event.step, value))
    return found


def scalars_in(folder):
    return {
        tag: [(step, v.simple_value) for step, v in values]
        for tag, values in values_in(folder).items()
        if values[0][1].HasField("simple_value")
    }


def model(rate=0.1):
    layers = [Conv2D(4, 3, name="first"), Flatten(), Dense(2, activation="softmax", name="last")]
    made = Sequential([Input((5, 5, 3)), *layers])
    made.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    made.optimizer.learning_rate = rate
    return made


def fit(made, callback, **options):
    options = {"epochs": 3, "batch_size": 2, "verbose": 0, **options}
    return made.fit(X, Y, callbacks=[callback], **options).history


def assert_equal(found, expected):
    steps, values = zip(*found, strict=True)
    assert list(steps) == [step for step, _ in expected]
    np.testing.assert_allclose(values, [v for _, v in expected], rtol=1e-6)


def test_epochs(tmp_path):
    history = fit(model(), TensorBoard(tmp_path), validation_data=(X, Y))
    train, validation = scalars_in(tmp_path / "train"), scalars_in(tmp_path / "validation")
    assert set(train) == {"epoch_loss", "epoch_accuracy", "epoch_learning_rate"}
    for name in ("loss", "accuracy"):
        assert_equal(train[f"epoch_{name}"], list(enumerate(history[name])))
        figures = history[f"val_{name}"]
        assert_equal(validation[f"epoch_{name}"], list(enumerate(figures)))
        tag = f"evaluation_{name}_vs_iterations"
        assert_equal(validation[tag], list(zip((4, 8, 12), figures, strict=True)))
    assert_equal(train["epoch_learning_rate"], [(0, 0.1), (1, 0.1), (2, 0.1)])


def test_a_schedule(tmp_path):
    made = model()
    made.optimizer.learning_rate = ExponentialDecay(0.1, 4, 0.5)
    fit(made, TensorBoard(tmp_path, write_graph=False), epochs=2)
    rates = scalars_in(tmp_path / "train")["epoch_learning_rate"]
    assert_equal(rates, [(0, 0.05), (1, 0.025)])


@pytest.mark.parametrize("update_freq, steps", [("batch", range(1, 13)), (5, (5, 10))])
def test_batches(update_freq, steps, tmp_path):
    callback = TensorBoard(tmp_path, update_freq=update_freq, write_steps_per_second=True)
    history = fit(model(), callback)
    train = scalars_in(tmp_path / "train")
    for name in ("batch_loss", "batch_accuracy", "batch_steps_per_second"):
        assert [step for step, _ in train[name]] == list(steps)
    assert all(value > 0 for _, value in train["epoch_steps_per_second"])
    if update_freq == "batch":  # the figures of the last batch are those of the epoch
        assert_equal([train["batch_loss"][3]], [(4, history["loss"][0])])


def test_weights(tmp_path):
    made = model()
    fit(made, TensorBoard(tmp_path, histogram_freq=2, write_images=True))
    found = values_in(tmp_path / "train")
    for weight in made.weights:
        values = found[f"{weight.path}/histogram"]
        assert [step for step, _ in values] == [0, 2]
        last = values[-1][1].histo
        assert last.num == weight.value.size
        np.testing.assert_allclose(last.sum, float(weight.numpy().sum()), rtol=1e-4, atol=1e-5)
    path = made.get_layer("last").kernel.path
    image = found[f"{path}/image"][0][1].image  # (36, 2) lies on its side
    assert (image.height, image.width) == (2, 36)
    assert f"{made.get_layer('first').kernel.path}/image" in found


def test_the_graph(tmp_path):
    made = model()
    fit(made, TensorBoard(tmp_path))
    ((step, value),) = values_in(tmp_path / "train")["keras"]
    assert value.metadata.plugin_data.plugin_name == "graph_keras_model" and step == 0
    again = model_from_json(json.loads(json.dumps(value.tensor.string_val[0].decode())))
    assert [layer.name for layer in again.layers] == [layer.name for layer in made.layers]
    fit(model(), TensorBoard(tmp_path / "without", write_graph=False))
    assert "keras" not in values_in(tmp_path / "without" / "train")


def test_evaluate_by_itself_and_several_fits(tmp_path):
    made, callback = model(), TensorBoard(tmp_path)
    fit(made, callback, epochs=1)
    figures = made.evaluate(X, Y, verbose=0, callbacks=[callback])
    again = made.evaluate(X, Y, verbose=0, callbacks=[callback])
    fit(made, callback, initial_epoch=1, epochs=2)
    found = scalars_in(tmp_path / "validation")["evaluation_loss_vs_iterations"]
    assert_equal(found, [(4, figures[0]), (4, again[0])])
    assert [step for step, _ in scalars_in(tmp_path / "train")["epoch_loss"]] == [0, 1]


def test_lost_training_is_told(tmp_path):
    made = model()
    made.layers[0].kernel.assign(np.full(made.layers[0].kernel.shape, np.nan))
    callback = TensorBoard(tmp_path, histogram_freq=1)
    callback.set_model(made)
    with pytest.warns(UserWarning, match="kernel' holds NaN or infinity, of which no histogram"):
        callback.on_epoch_begin(0)
        callback.on_epoch_end(0, {})
    callback.on_train_end()


@pytest.mark.parametrize(
    "options, text",
    [
        ({"profile_batch": 2}, r"profile_batch=2\): model.profile\(x\) times every layer"),
        ({"embeddings_freq": 1}, "for layers with embeddings, which minicnn does not have"),
        ({"update_freq": "epochs"}, "'epoch', 'batch' or a number of batches, not 'epochs'"),
        ({"update_freq": 0}, "or a number of batches, not 0"),
    ],
)
def test_errors(options, text):
    with pytest.raises(ValueError, match=text):
        TensorBoard(**options)


def test_the_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(ImportError, match=r"needs tensorboardX.*pip install minicnn\[tensorb"):
        TensorBoard()
