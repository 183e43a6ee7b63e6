"""Weights alone in Keras's .weights.h5: round trips, bad files, and no weight changed by them."""

import numpy as np
import pytest

h5py = pytest.importorskip("h5py")

from minicnn.callbacks import ModelCheckpoint  # noqa: E402
from minicnn.layers import (  # noqa: E402
    BatchNormalization,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    Input,
    Layer,
)
from minicnn.models import Model, Sequential  # noqa: E402


class Scale(Layer):
    """y = g x."""

    def build(self, input_shape):
        self.g = self.add_weight("g", (input_shape[-1],), "ones")

    def forward(self, x, ctx):
        ctx.save(x)
        return x * self.g.value

    def backward(self, dy, ctx):
        (x,) = ctx.saved
        ctx.add_gradient(self.g, (dy * x).reshape(-1, x.shape[-1]).sum(0))
        return dy * self.g.value


def network(*extra, units=3):
    """A model inside a model, a layer at two places, your own layer."""
    inner = Sequential([Conv2D(3, 1), BatchNormalization()], name="inner")
    shared, x = Conv2D(3, 1), Input((4, 4, 3))
    y = Flatten()(Scale()(shared(inner(shared(x)))))
    for layer in (Dense(units), Dropout(0.5), *extra):
        y = layer(y)
    return Model(x, y)


def shaken(model):
    rng = np.random.default_rng(0)
    model.set_weights([rng.uniform(0.1, 1, w.shape) for w in model.get_weights()])
    return model


def assert_equal(one, other):
    for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def assert_refused(model, path, text):
    before = model.get_weights()
    with pytest.raises(ValueError, match=f"{path.name}.*{text}"):
        model.load_weights(path)
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def edited(path, change):
    with h5py.File(path, "r+") as file:
        change(file)


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "w.weights.h5"
    shaken(network()).save_weights(file)
    return file


def test_round_trip(path):
    model = network()
    model.load_weights(str(path))
    assert_equal(model, shaken(network()))


def test_a_checkpoint_holds_no_optimizer(tmp_path):
    model, other = network(), network()
    model.compile("adam", "mse")
    keep = ModelCheckpoint(tmp_path / "{epoch}.weights.h5", save_weights_only=True)
    x, y = np.ones((2, 4, 4, 3)), np.ones((2, 3))
    model.fit(x, y, epochs=2, callbacks=keep, verbose=0)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["1.weights.h5", "2.weights.h5"]
    other.load_weights(tmp_path / "2.weights.h5")
    assert_equal(model, other)
    with h5py.File(tmp_path / "2.weights.h5") as file:
        assert sorted(file) == ["layers", "vars"]


def test_what_keras_keeps_besides_is_passed_over(path):
    def change(file):
        file["optimizer/vars/0"] = np.int32(3)
        file["layers/dropout/seed_generator/vars/0"] = np.array([1, 2], "uint32")
        file.create_group("layers/flatten/vars")

    edited(path, change)
    model = network()
    model.load_weights(path)
    assert_equal(model, shaken(network()))


def test_the_older_name_of_the_layers(path):
    edited(path, lambda file: file.move("layers", "_layer_checkpoint_dependencies"))
    edited(
        path,
        lambda file: file.move(
            "_layer_checkpoint_dependencies/sequential/layers",
            "_layer_checkpoint_dependencies/sequential/_layer_checkpoint_dependencies",
        ),
    )
    model = network()
    model.load_weights(path)
    assert_equal(model, shaken(network()))


@pytest.mark.parametrize("fraction", [0.0, 0.01, 0.3, 0.6, 0.95])
def test_cut_short(fraction, path):
    data = path.read_bytes()
    path.write_bytes(data[: int(fraction * len(data))])
    assert_refused(network(), path, "cut short")


@pytest.mark.parametrize(
    "make, text",
    [
        (lambda: network(units=4), "vars/0' has shape .*48, 3.*; the model's weight has .*48, 4"),
        (lambda: network(Dense(2)), "0 weights at 'layers/dense_1/vars' for Dense .*, which has 2"),
        (lambda: Sequential([Input((3,)), Flatten()]), "the model does not have, .*another model"),
    ],
)
def test_another_model(make, text, path):
    assert_refused(make(), path, text)


def test_surplus_layers(tmp_path):
    path = tmp_path / "more.weights.h5"
    network(Dense(3)).save_weights(path)
    assert_refused(network(), path, "the model does not have, such as 'layers/dense_1/vars'")


def test_damaged_arrays(path):
    def elsewhere(file):
        del file["layers/dense/vars/1"]
        file["layers/dense/vars/1"] = h5py.ExternalLink("other.h5", "/x")

    edited(path, elsewhere)
    assert_refused(network(), path, "points to somewhere else")


def test_a_whole_model_under_that_name(tmp_path):
    path = tmp_path / "whole.weights.h5"
    model = Sequential([Input((3,)), Dense(2)])
    with pytest.raises(ValueError, match="says weights alone: write these with save_weights"):
        model.save(path)
    assert not path.exists()
    model.save(tmp_path / "whole.h5")
    (tmp_path / "whole.h5").rename(path)
    assert_refused(model, path, "holds a whole model: rename it to end in .h5")


def test_a_failed_save_leaves_the_old_file(path, monkeypatch):
    before = path.read_bytes()
    monkeypatch.setattr("pathlib.Path.write_bytes", lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        network().save_weights(path)
    assert path.read_bytes() == before and len(list(path.parent.iterdir())) == 1
