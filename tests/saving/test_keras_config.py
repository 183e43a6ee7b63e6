"""Keras's file formats without Keras: round trips, damaged files, what cannot be said."""

import io
import json
import zipfile

import numpy as np
import pytest

h5py = pytest.importorskip("h5py")

from minicnn import activations, layers, losses, metrics, optimizers  # noqa: E402
from minicnn.layers import (  # noqa: E402
    GELU,
    Add,
    BatchNormalization,
    Concatenate,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Dropout,
    Flatten,
    Input,
    Layer,
    RandomFlip,
)
from minicnn.models import Model, Sequential, load_model  # noqa: E402
from minicnn.saving import keras_state  # noqa: E402
from minicnn.saving.keras_order import operations  # noqa: E402

SUFFIXES = [".keras", ".h5", ".hdf5"]
SHAPE = (6, 6, 3)


def chain():
    return Sequential(
        [
            RandomFlip("horizontal", seed=2, input_shape=SHAPE),
            Conv2D(4, 3, groups=1, activation=activations.LeakyReLU(0.1), name="first"),
            BatchNormalization(),
            DepthwiseConv2D(2, activation="silu"),
            Flatten(),
            Dropout(0.2),
            Dense(3, activation="softmax"),
        ],
        name="chain",
    )


def graph():
    """Two inputs, two outputs, a shared layer, a frozen model inside."""
    base = Sequential([Input(SHAPE), Conv2D(3, 3, padding="same"), BatchNormalization()], name="b")
    base.trainable = False
    left, right = Input(SHAPE, name="left"), Input(SHAPE)
    shared = Dense(3)
    x = Add()([shared(base(left)), shared(right)])
    y = Concatenate()([x, base(right)])
    return Model([left, right], [Dense(2)(Flatten()(y)), Flatten()(shared(x))])


def predictions(model):
    rng = np.random.default_rng(0)
    x = [rng.normal(size=(2, *t.shape[1:])).astype("float32") for t in model.inputs]
    y = model.predict(x if len(x) > 1 else x[0], verbose=0)
    return y if isinstance(y, list) else [y]


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("build", [chain, graph])
def test_round_trip(build, suffix, tmp_path):
    model = build()
    model.save(tmp_path / f"model{suffix}")
    loaded = load_model(tmp_path / f"model{suffix}")
    for one, other in zip(predictions(model), predictions(loaded), strict=True):
        np.testing.assert_array_equal(one, other)
    assert loaded.name == model.name and type(loaded) is type(model)
    assert sorted(la.name for la in loaded.layers) == sorted(la.name for la in model.layers)
    for layer in model.layers:
        if not isinstance(layer, Model):
            assert loaded.get_layer(layer.name).get_config() == layer.get_config()
        assert loaded.get_layer(layer.name).trainable == layer.trainable


@pytest.mark.parametrize("algorithm", [None, "im2col", "winograd"])
def test_how_a_convolution_is_computed_is_not_kept(algorithm, tmp_path):
    """Keras's layer has no such argument, and refuses what it does not know."""
    model = Sequential([Input(SHAPE), Conv2D(4, 3, algorithm=algorithm), Flatten()])
    model.save(tmp_path / "model.keras")
    model.save(tmp_path / "model.h5")
    with zipfile.ZipFile(tmp_path / "model.keras") as file:
        texts = [file.read("config.json").decode()]
    with h5py.File(tmp_path / "model.h5") as file:
        texts.append(str(file.attrs["model_config"]))
    for text in texts:
        assert '"kernel_size"' in text and "algorithm" not in text
    for suffix in ("keras", "h5"):
        loaded = load_model(tmp_path / f"model.{suffix}")
        assert loaded.layers[0].algorithm is None
        np.testing.assert_allclose(
            predictions(loaded)[0], predictions(model)[0], rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize("name", sorted({*activations.ACTIVATIONS.names()} - {"Threshold"}))
def test_every_activation_is_kept(name, tmp_path):
    activation = activations.get(name)
    model = Sequential([Input((4,)), Dense(3, activation=activation), layers.Activation(name)])
    model.save(tmp_path / "model.keras")
    loaded = load_model(tmp_path / "model.keras")
    for layer in loaded.layers:
        assert type(layer.activation) is type(activation)
        assert layer.activation.get_config() == activation.get_config()


def test_a_layer_twice_in_a_chain_becomes_a_graph(tmp_path):
    twice = Dense(4)
    model = Sequential([Input((4,)), twice, layers.ReLU(), twice])
    model.save(tmp_path / "model.keras")
    loaded = load_model(tmp_path / "model.keras")
    assert not isinstance(loaded, Sequential) and loaded.count_params() == model.count_params()
    np.testing.assert_array_equal(predictions(loaded)[0], predictions(model)[0])


@pytest.mark.parametrize("suffix", SUFFIXES[:2])
@pytest.mark.parametrize(
    "optimizer",
    [
        lambda: optimizers.SGD(0.1, momentum=0.9),
        lambda: optimizers.RMSprop(0.01, momentum=0.1, centered=True, clipvalue=1.0),
        lambda: optimizers.Adam(optimizers.schedules.ExponentialDecay(0.01, 5, 0.5), amsgrad=True),
        lambda: optimizers.AdamW(0.01, global_clipnorm=1.0),
    ],
)
def test_training_goes_on(optimizer, suffix, tmp_path):
    model = Sequential([Input((4,)), Dense(5, activation="tanh"), Dense(3)])
    loss = losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1)
    model.compile(optimizer(), loss, ["acc", metrics.Precision(top_k=1), "mae"])
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(8, 4)).astype("float32"), np.eye(3, dtype="float32")[[0, 1, 2, 0] * 2]
    for _ in range(3):
        model.train_on_batch(x, y)
    model.save(tmp_path / f"model{suffix}")
    loaded = load_model(tmp_path / f"model{suffix}")
    assert loaded.optimizer.iterations == 3
    assert loaded.loss.get_config() == loss.get_config()
    one = model.train_on_batch(x, y, return_dict=True)
    other = loaded.train_on_batch(x, y, return_dict=True)
    assert list(one) == list(other)
    assert one == pytest.approx(other, rel=1e-5)
    for w, v in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_allclose(w, v, rtol=1e-5, atol=1e-7)  # the rate is kept in float32
    assert load_model(tmp_path / f"model{suffix}", compile=False).loss is None


def test_weights_alone_from_a_whole_file(tmp_path):
    model, other = chain(), chain()
    model.save(tmp_path / "model.keras")
    other.load_weights(tmp_path / "model.keras")
    np.testing.assert_array_equal(predictions(model)[0], predictions(other)[0])


def test_operations_in_keras_order():
    inputs = Input((4,), name="in")
    near, far = Dense(4, name="near"), Dense(4, name="far")
    model = Model(inputs, Add(name="add")([near(inputs), layers.ReLU(name="relu")(far(inputs))]))
    names = [getattr(o, "name", "in") for o in operations(model)]
    assert names == ["in", "far", "near", "relu", "add"]


def test_an_older_file_is_left_when_writing_fails(tmp_path, monkeypatch):
    path = tmp_path / "model.keras"
    path.write_bytes(b"before")
    monkeypatch.setattr(zipfile.ZipFile, "writestr", lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        chain().save(path)
    assert path.read_bytes() == b"before" and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("suffix", SUFFIXES[:2])
def test_h5py_is_asked_for(suffix, tmp_path, monkeypatch):
    chain().save(tmp_path / f"model{suffix}")
    monkeypatch.setattr(
        keras_state.importlib, "import_module", lambda name: (_ for _ in ()).throw(ImportError())
    )
    with pytest.raises(ImportError, match=r"pip install minicnn\[keras\]"):
        load_model(tmp_path / f"model{suffix}")
    with pytest.raises(ImportError, match=r"pip install minicnn\[keras\]"):
        chain().save(tmp_path / f"other{suffix}")
    with pytest.raises(ImportError, match=r"pip install minicnn\[keras\]"):
        chain().save_weights(tmp_path / "other.weights.h5")


# Damaged files


@pytest.mark.parametrize("suffix", SUFFIXES[:2])
@pytest.mark.parametrize("fraction", [0.0, 0.01, 0.3, 0.6, 0.95])
def test_cut_short(suffix, fraction, tmp_path):
    path = tmp_path / f"model{suffix}"
    chain().save(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(fraction * len(data))])
    with pytest.raises(ValueError, match=f"model{suffix}.* cut short"):
        load_model(path)


@pytest.mark.parametrize("suffix", SUFFIXES[:2])
def test_something_else(suffix, tmp_path):
    path = tmp_path / f"picture{suffix}"
    path.write_bytes(b"\x89PNG" * 100)
    with pytest.raises(ValueError, match=f"picture{suffix}.*400 bytes.*(is|are) not"):
        load_model(path)


def rewritten(path, **changes):
    """A .keras file with some members replaced, by a function or (None) taken out."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            key = name.split(".")[0]
            if key not in changes:
                archive.writestr(name, data)
            elif changes[key] is not None:
                archive.writestr(name, changes[key](data))


def edited(change):
    def apply(data):
        value = json.loads(data)
        change(value)
        return json.dumps(value)

    return apply


def edited_h5(change):
    def apply(data):
        buffer = io.BytesIO(data)
        with h5py.File(buffer, "r+") as file:
            change(file)
        return buffer.getvalue()

    return apply


def replace_first(file, **dataset):
    del file["layers/conv2d/vars/0"]
    if dataset:
        file["layers/conv2d/vars"].create_dataset("0", **dataset)


def link_elsewhere(file):
    replace_first(file)
    file["layers/conv2d/vars/0"] = h5py.ExternalLink("other.h5", "/x")


DAMAGE = {
    "config.json is missing": {"config": None},
    "metadata.json is missing": {"metadata": None},
    "model.weights.h5 is missing": {"model": None},
    "written by Keras 4.1": {"metadata": edited(lambda m: m.update(keras_version="4.1"))},
    "Keras of no version": {"metadata": edited(lambda m: m.clear())},
    "config.json is not JSON": {"config": lambda data: data[:50]},
    "config.json holds a list": {"config": lambda data: "[]"},
    "not as Keras writes it": {"config": edited(lambda c: c.pop("config"))},
    "no layer 'Conv3D'; did you mean 'Conv2D'": {
        "config": edited(lambda c: c["config"]["layers"][2].update(class_name="Conv3D"))
    },
    "'other', not of Keras": {
        "config": edited(lambda c: c["config"]["layers"][2].update(module="other"))
    },
    "lora_rank=4, an argument that minicnn's Conv2D does not support": {
        "config": edited(lambda c: c["config"]["layers"][2]["config"].update(lora_rank=4))
    },
    "model.weights.h5 in it is not an HDF5": {"model": lambda data: data[:100]},
    "1 weights at 'layers/conv2d/vars' for Conv2D 'first'": {"model": edited_h5(replace_first)},
    "points to somewhere else": {"model": edited_h5(link_elsewhere)},
    r"has shape \(100000, 100000, 100\)": {
        "model": edited_h5(lambda f: replace_first(f, shape=(10**5, 10**5, 100), dtype="f4"))
    },
    "minicnn reads plain numbers": {
        "model": edited_h5(lambda f: replace_first(f, data=np.zeros((3, 3, 3, 4), "S1")))
    },
}


@pytest.mark.parametrize("message", DAMAGE)
def test_damage_is_named(message, tmp_path):
    path = tmp_path / "model.keras"
    chain().save(path)
    rewritten(path, **DAMAGE[message])
    with pytest.raises(ValueError, match=f"model.keras.*{message}"):
        load_model(path)


def test_damage_in_h5_is_named(tmp_path):
    path = tmp_path / "model.h5"
    chain().save(path)
    with h5py.File(path, "r+") as file:
        del file["model_weights/first/first/kernel"]
    with pytest.raises(ValueError, match="model.h5.*no array 'first/kernel'"):
        load_model(path)
    with h5py.File(path, "r+") as file:
        del file["model_weights/first"]
    with pytest.raises(ValueError, match="0 weights for Conv2D 'first', which has 2"):
        load_model(path)
    with h5py.File(path, "r+") as file:
        file.attrs["keras_version"] = "5.0"
    with pytest.raises(ValueError, match="written by Keras 5.0"):
        load_model(path)
    with h5py.File(path, "r+") as file:
        del file.attrs["model_config"]
    with pytest.raises(ValueError, match="weights alone"):
        load_model(path)


# What Keras does not support


class Doubled(Layer):
    def compute_output_shape(self, input_shape):
        return input_shape

    def forward(self, x, ctx):
        return 2 * x

    def backward(self, dy, ctx):
        return 2 * dy


class Tripled(activations.ReLU):
    def forward(self, z, out=None):
        return 3 * super().forward(z, out)


@pytest.mark.parametrize(
    "layer, message",
    [
        (GELU(approximate=True), "activation GELU with .*approximate"),
        (Dense(2, activation=activations.GELU(approximate=True)), "activation GELU"),
    ],
)
def test_parts_keras_does_not_support(layer, message, tmp_path):
    model = Sequential([Input((4,)), layer])
    with pytest.raises(ValueError, match=f"{message}.*safetensors"):
        model.save(tmp_path / "model.keras")
    assert not list(tmp_path.iterdir())


def test_training_keras_does_not_support(tmp_path):
    model = Sequential([Input((4,)), Dense(3)])
    loss = losses.SparseCategoricalCrossentropy(from_logits=True, label_smoothing=0.1)
    model.compile("sgd", loss)
    with pytest.raises(ValueError, match="has no label_smoothing"):
        model.save(tmp_path / "model.keras")

    model.compile("sgd", "mse", ["accuracy", metrics.ConfusionMatrix(3)])
    with pytest.warns(UserWarning, match="no metric like <ConfusionMatrix"):
        model.save(tmp_path / "model.keras")
    assert load_model(tmp_path / "model.keras").metric_identifiers == ["accuracy"]


def test_custom_layers_are_read(tmp_path):
    path = tmp_path / "model.keras"
    chain().save(path)

    def custom(config):
        entry = config["config"]["layers"][3]
        entry.update(module="mine", class_name="Doubled", registered_name="mine>Doubled")
        entry["config"] = {"name": "doubled"}

    rewritten(path, config=edited(custom))
    loaded = load_model(path, custom_objects={"Doubled": Doubled})
    assert isinstance(loaded.get_layer("doubled"), Doubled)


def test_other_custom_objects_are_read(tmp_path):
    class Error(losses.MeanSquaredError):
        pass

    class Mean(metrics.Mean):
        pass

    path = tmp_path / "model.keras"
    model = Sequential([Input((4,)), Dense(3, activation="relu")])
    model.compile("sgd", "mse", [metrics.Mean()])
    model.save(path)

    def custom(config):
        for entry in (config["compile_config"]["loss"], *config["compile_config"]["metrics"]):
            entry["module"] = "mine"
        config["compile_config"]["loss"]["class_name"] = "Error"
        config["config"]["layers"][1]["config"]["activation"] = "tripled"

    rewritten(path, config=edited(custom))
    loaded = load_model(path, {"Error": Error, "Mean": Mean, "tripled": Tripled})
    assert type(loaded.loss) is Error and type(loaded.layers[0].activation) is Tripled
    loaded.evaluate(np.ones((2, 4)), np.ones((2, 3)), verbose=0)
    assert type(loaded.metrics[1]) is Mean


def test_long_lists_of_names_in_h5(tmp_path):
    name = "a_rather_long_name_for_a_layer_" * 20
    model = Sequential([Input((2,)), *(Dense(1, name=f"{name}{i}") for i in range(120))])
    model.save(tmp_path / "model.h5")
    with h5py.File(tmp_path / "model.h5") as file:
        assert "layer_names0" in file["model_weights"].attrs
    loaded = load_model(tmp_path / "model.h5")
    np.testing.assert_array_equal(predictions(loaded)[0], predictions(model)[0])
