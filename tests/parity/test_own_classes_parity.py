"""Layers of your own go both ways between Keras and minicnn under their registered names."""

import os

import pytest

os.environ.setdefault("KERAS_BACKEND", "torch")
pytest.importorskip("torch")
pytest.importorskip("h5py")
keras = pytest.importorskip("keras")

import numpy as np  # noqa: E402

import minicnn  # noqa: E402

pytestmark = [
    pytest.mark.parity,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # Keras on NumPy 2
    pytest.mark.filterwarnings("ignore:.*HDF5 file.*"),
]

X = np.random.default_rng(0).normal(size=(4, 5, 5, 3)).astype("float32")


class KerasScale(keras.layers.Layer):
    def __init__(self, factor=2.0, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def build(self, input_shape):
        self.s = self.add_weight(shape=(input_shape[-1],), initializer="ones", name="s")

    def call(self, x):
        return x * self.factor * self.s

    def get_config(self):
        return {**super().get_config(), "factor": self.factor}


class Scale(minicnn.Layer):
    def __init__(self, factor=2.0, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def build(self, input_shape):
        self.s = self.add_weight("s", (input_shape[-1],), "ones")

    def forward(self, x, ctx):
        return x * self.factor * self.s.value


KerasScale.__name__ = Scale.__name__ = "Scale"


@pytest.fixture(params=["Scale", "mine>Scale"])
def registered(request, monkeypatch):
    """Under its own name, or registered in both libraries; what `custom_objects` are given."""
    from keras.src.saving import object_registration

    if request.param == "Scale":
        return {"Scale": KerasScale}, {"Scale": Scale}
    for module in (object_registration, minicnn.custom_objects):
        for name in dir(module):
            if name in ("GLOBAL_CUSTOM_OBJECTS", "GLOBAL_CUSTOM_NAMES", "_objects", "_names"):
                monkeypatch.setattr(module, name, {})
    keras.saving.register_keras_serializable("mine")(KerasScale)
    minicnn.saving.register_keras_serializable("mine")(Scale)
    return None, None


def model(k, layer):
    made = k.Sequential(
        [
            k.Input((5, 5, 3)),
            k.layers.Conv2D(4, 3),
            layer(3.0, name="own"),
            k.layers.Flatten(),
            layer(0.5, name="other"),
            k.layers.Dense(2),
        ]
    )
    made.set_weights([np.linspace(0, 1, w.size).reshape(w.shape) for w in made.get_weights()])
    made.compile("adam", "mse")
    return made


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_files_go_both_ways(registered, suffix, tmp_path):
    keras_objects, objects = registered
    theirs, ours = model(keras, KerasScale), model(minicnn, Scale)
    expected = theirs.predict(X, verbose=0)
    theirs.save(tmp_path / f"theirs{suffix}")
    ours.save(tmp_path / f"ours{suffix}")
    read = minicnn.models.load_model(tmp_path / f"theirs{suffix}", objects)
    assert type(read.get_layer("own")) is Scale and read.get_layer("own").factor == 3.0
    np.testing.assert_allclose(read.predict(X, verbose=0), expected, rtol=1e-5)
    read = keras.models.load_model(tmp_path / f"ours{suffix}", keras_objects)
    assert type(read.get_layer("own")) is KerasScale and read.get_layer("own").factor == 3.0
    np.testing.assert_allclose(read.predict(X, verbose=0), expected, rtol=1e-5)
    assert type(read.optimizer).__name__ == "Adam"
