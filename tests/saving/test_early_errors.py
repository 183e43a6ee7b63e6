"""What cannot be saved is told before the first step of training, not after the last."""

import sys

import numpy as np
import pytest

from minicnn.callbacks import Callback, ModelCheckpoint
from minicnn.layers import GELU, Dense, Input, Layer
from minicnn.metrics import ConfusionMatrix
from minicnn.models import Sequential
from minicnn.saving import require_saveable

SUFFIXES = [".safetensors", ".keras", ".h5"]
X, Y = np.ones((4, 3), "float32"), np.ones((4, 2), "float32")


class Forgetful(Layer):
    """Does not keep its argument."""

    def __init__(self, k=1, **kwargs):
        super().__init__(**kwargs)
        self.size = k

    def forward(self, x, ctx):
        return x

    def backward(self, dy, ctx):
        return dy

    def get_config(self):
        return {**super().get_config(), "k": object()}


class Steps(Callback):
    def __init__(self):
        super().__init__()
        self.count = 0

    def on_train_batch_begin(self, batch, logs=None):
        self.count += 1


def compiled(*layers, built=True, **options):
    model = Sequential([*([Input((3,))] if built else []), *layers, Dense(2)])
    model.compile("sgd", "mse", **options)
    return model


def batches():
    yield X, Y


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("built", [True, False])
def test_a_layer_that_cannot_be_written(suffix, built, tmp_path):
    pytest.importorskip("h5py")
    model, steps = compiled(Forgetful(), built=built), Steps()
    data = (X, Y) if built else (batches(),)  # of which the model is built in the first step
    with pytest.raises(ValueError, match="ModelCheckpoint cannot save to '.*best.*not JSON"):
        model.fit(*data, callbacks=[steps, ModelCheckpoint(tmp_path / f"best{suffix}")], verbose=0)
    assert steps.count == 0 and not list(tmp_path.iterdir())


def test_what_keras_does_not_have(tmp_path):
    pytest.importorskip("h5py")
    steps = Steps()
    for layer in (GELU(approximate=True), Dense(2, activation=GELU(approximate=True).activation)):
        with pytest.raises(ValueError, match="ModelCheckpoint cannot save .* activation GELU"):
            callbacks = [steps, ModelCheckpoint(tmp_path / "{epoch}.keras")]
            compiled(layer).fit(X, Y, callbacks=callbacks, verbose=0)
        checkpoint = ModelCheckpoint(tmp_path / "w{epoch}.weights.h5", save_weights_only=True)
        compiled(layer).fit(X, Y, callbacks=[checkpoint], verbose=0)  # weights are no problem
    assert steps.count == 0


def test_metrics_that_are_left_out_are_told_early(tmp_path):
    pytest.importorskip("h5py")
    model = compiled(metrics=[ConfusionMatrix(2)])
    with pytest.warns(UserWarning, match="no metric like <ConfusionMatrix"):
        require_saveable(model, tmp_path / "m.keras")


def test_functions_as_metrics_in_safetensors(tmp_path):
    def hits(y_true, y_pred):
        return np.ones(len(y_pred))

    steps = Steps()
    with pytest.raises(ValueError, match="metric <function .*hits.* cannot be written to a file"):
        callbacks = [steps, ModelCheckpoint(tmp_path / "m.safetensors")]
        compiled(metrics=[hits]).fit(X, Y, callbacks=callbacks, verbose=0)
    assert steps.count == 0


@pytest.mark.parametrize("name", ["m.keras", "m.h5", "m.weights.h5"])
def test_a_missing_package(name, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    steps = Steps()
    checkpoint = ModelCheckpoint(tmp_path / name, save_weights_only=".weights" in name)
    with pytest.raises(ImportError, match="ModelCheckpoint cannot save to .*need h5py, which"):
        compiled().fit(X, Y, callbacks=[steps, checkpoint], verbose=0)
    assert steps.count == 0


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_nothing_is_said_of_what_can_be_saved(suffix, tmp_path):
    pytest.importorskip("h5py")
    for built in (True, False):
        model = compiled(built=built)
        require_saveable(model, tmp_path / f"m{suffix}")
        assert model.built == built and not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="the file name must end in .safetensors, .keras or .h5"):
        require_saveable(model, tmp_path / "m.txt")
