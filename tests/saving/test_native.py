"""The library's own file: everything comes back, and a bad file is named and changes nothing."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from minicnn import Input, Model, Sequential, losses, metrics
from minicnn.layers import (
    Add,
    BatchNormalization,
    Conv2D,
    Dense,
    Flatten,
    GlobalAveragePooling2D,
    Layer,
    MaxPooling2D,
)
from minicnn.models import load_model
from minicnn.optimizers import (
    SGD,
    Adadelta,
    Adagrad,
    Adam,
    Adamax,
    AdamW,
    Lion,
    Nadam,
    RMSprop,
)
from minicnn.optimizers.schedules import CosineDecay
from minicnn.utils import set_random_seed

X = np.random.default_rng(0).random((40, 8, 8, 3), "float32")
Y = np.arange(40) % 3


def network(optimizer="adam"):
    set_random_seed(0)
    model = Sequential(
        [
            Input((8, 8, 3)),
            Conv2D(4, 3, activation="relu", kernel_regularizer="l2", name="conv"),
            BatchNormalization(name="norm"),
            MaxPooling2D(2),
            Flatten(),
            Dense(3, activation="softmax", name="head"),
        ],
        name="small",
    )
    model.compile(optimizer, "sparse_categorical_crossentropy", ["accuracy"])
    return model


def branched():
    set_random_seed(0)
    x = Input((8, 8, 3), name="image")
    inner = Sequential([Dense(4, activation="relu"), Dense(4)], name="inner")
    h = Conv2D(4, 1, name="conv")(x)
    y = GlobalAveragePooling2D()(Add()([inner(h), inner(inner(h))]))
    model = Model(x, Dense(3)(y), name="branched")
    model.compile(RMSprop(1e-2), losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def equal(a, b):
    return all(np.array_equal(x, y) for x, y in zip(a.get_weights(), b.get_weights(), strict=True))


OPTIMIZERS = {
    "sgd": lambda: SGD(0.05),
    "momentum": lambda: SGD(0.05, momentum=0.9, nesterov=True, weight_decay=1e-3),
    "rmsprop": lambda: RMSprop(1e-2),
    "rmsprop_centered": lambda: RMSprop(1e-2, momentum=0.5, centered=True),
    "adam": lambda: Adam(1e-2, clipnorm=1.0),
    "amsgrad": lambda: Adam(1e-2, amsgrad=True),
    "adamw": lambda: AdamW(1e-2),
    "lion": lambda: Lion(1e-3),
    "nadam": lambda: Nadam(1e-2),
    "adamax": lambda: Adamax(1e-2, gradient_accumulation_steps=2),
    "adagrad": lambda: Adagrad(1e-2, loss_scale_factor=8.0),
    # the averages take the weights' places at the end of each `fit`, too: after 3 and 6 steps
    "adadelta": lambda: Adadelta(1.0, use_ema=True, ema_overwrite_frequency=3),
    "scheduled": lambda: SGD(CosineDecay(0.1, 8, warmup_target=0.2, warmup_steps=3)),
}


@pytest.mark.parametrize("make", [network, branched])
def test_everything_comes_back(make, tmp_path):
    model = make()
    model.fit(X, Y, verbose=0)
    model.save(tmp_path / "m.safetensors")
    again = load_model(tmp_path / "m.safetensors")
    assert type(again) is type(model) and again.name == model.name
    assert equal(model, again) and again.get_config() == model.get_config()
    np.testing.assert_array_equal(model.predict(X, verbose=0), again.predict(X, verbose=0))
    assert again.evaluate(X, Y, verbose=0) == model.evaluate(X, Y, verbose=0)
    assert again.optimizer.get_config() == model.optimizer.get_config()
    assert again.loss.get_config() == model.loss.get_config()


@pytest.mark.parametrize("optimizer", list(OPTIMIZERS))
def test_two_epochs_and_two_more_are_four(optimizer, tmp_path):
    """Saving in the middle of training, optimizer state included, changes not a bit."""
    through = network(OPTIMIZERS[optimizer]())
    through.fit(X, Y, epochs=4, shuffle=False, batch_size=16, verbose=0)
    first = network(OPTIMIZERS[optimizer]())
    first.fit(X, Y, epochs=2, shuffle=False, batch_size=16, verbose=0)
    first.save(tmp_path / "half.safetensors")
    second = load_model(tmp_path / "half.safetensors")
    assert second.optimizer.batches == 6
    second.fit(X, Y, epochs=4, initial_epoch=2, shuffle=False, batch_size=16, verbose=0)
    assert equal(through, second) and second.optimizer.batches == 12


def test_metrics_and_losses_come_back(tmp_path):
    model = network()
    model.compile(
        "sgd",
        losses.SparseCategoricalCrossentropy(label_smoothing=0.1),
        ["accuracy", metrics.SparseTopKCategoricalAccuracy(k=2, name="top2")],
    )
    model.save(tmp_path / "m.safetensors")
    again = load_model(tmp_path / "m.safetensors")
    assert again.evaluate(X, Y, verbose=0, return_dict=True) == model.evaluate(
        X, Y, verbose=0, return_dict=True
    )
    assert again.loss.label_smoothing == 0.1


def test_a_metric_that_is_a_function_cannot_be_written(tmp_path):
    model = network()
    model.compile("sgd", "mse", [lambda y, p: p.sum(-1)])
    with pytest.raises(ValueError, match="cannot be written to a file; compile with a name"):
        model.save(tmp_path / "m.safetensors")
    assert not list(tmp_path.iterdir())


def test_without_compile(tmp_path):
    model = network()
    model.save(tmp_path / "m.safetensors")
    assert load_model(tmp_path / "m.safetensors", compile=False).loss is None
    plain = Sequential([Input((3,)), Dense(2)])
    plain.save(tmp_path / "plain.safetensors")
    assert load_model(tmp_path / "plain.safetensors").optimizer is None


def test_frozen_layers_stay_frozen(tmp_path):
    model = branched()
    model.get_layer("inner").trainable = False
    model.save(tmp_path / "m.safetensors")
    again = load_model(tmp_path / "m.safetensors")
    assert not again.get_layer("inner").trainable
    assert len(again.trainable_weights) == len(model.trainable_weights) == 4


def test_a_shared_layer_stays_shared(tmp_path):
    shared = Dense(3)
    model = Sequential([Input((3,)), shared, shared])
    model.save(tmp_path / "m.safetensors")
    again = load_model(tmp_path / "m.safetensors")
    assert again.layers[0] is again.layers[1] and again.count_params() == 12


class Scale(Layer):
    """y = factor x."""

    def __init__(self, factor=2.0, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def forward(self, x, ctx):
        return x * self.factor

    def backward(self, dy, ctx):
        return dy * self.factor


def test_layers_of_your_own(tmp_path):
    inner = Sequential([Scale(3.0)], name="inner")
    model = Sequential([Input((3,)), inner, Dense(2)])
    path = tmp_path / "m.safetensors"
    model.save(path)
    again = load_model(path, custom_objects={"Scale": Scale})
    np.testing.assert_array_equal(again(np.ones((1, 3))), model(np.ones((1, 3))))
    with pytest.raises(ValueError, match="unknown layer 'Scale'"):
        load_model(path)


class Times(Scale):
    """Keeps its argument under another name."""

    def __init__(self, k, **kwargs):
        super().__init__(**kwargs)
        self.factor = k


def test_a_layer_that_does_not_keep_its_argument(tmp_path):
    """It trains, and says so when it is saved rather than when it is loaded."""
    model = Sequential([Input((3,)), Times(3.0), Dense(2)])
    model.compile("sgd", "mse")
    model.fit(np.ones((4, 3)), np.ones((4, 2)), verbose=0)
    model.save_weights(tmp_path / "w.safetensors")
    with pytest.raises(ValueError, match="Times needs the argument 'k' but does not keep it"):
        model.save(tmp_path / "m.safetensors")
    assert not (tmp_path / "m.safetensors").exists()


def test_weights_alone(tmp_path):
    model, other = network(), network()
    model.fit(X, Y, verbose=0)
    path = tmp_path / "w.safetensors"
    model.save_weights(path)
    assert not equal(model, other)
    other.load_weights(path)
    assert equal(model, other)
    with pytest.raises(ValueError, match="holds weights alone; build the model and call"):
        load_model(path)
    model.save(tmp_path / "m.safetensors")  # a whole model has weights too
    other.set_weights([w * 0 for w in other.get_weights()])
    other.load_weights(tmp_path / "m.safetensors")
    assert equal(model, other)


def test_weights_of_another_model_change_nothing(tmp_path):
    path = tmp_path / "w.safetensors"
    network().save_weights(path)
    for layers, text in [
        ([Dense(3, name="head")], "head/kernel' has shape"),
        ([Dense(3, name="other")], "has no weight 'other/kernel': it belongs to another model"),
        ([Flatten(name="flat")], "weights that the model does not have, such as 'conv/bias'"),
    ]:
        model = Sequential([Input((3,)), *layers])
        before = model.get_weights()
        with pytest.raises(ValueError, match=text):
            model.load_weights(path)
        for a, b in zip(before, model.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)


def test_what_is_in_the_file(tmp_path):
    """Any reader of safetensors finds the weights by name, and the rest as JSON."""
    model = network()
    model.train_on_batch(X, Y)
    path = tmp_path / "m.safetensors"
    model.save(path)
    arrays = load_file(path)
    np.testing.assert_array_equal(arrays["weights/conv/kernel"], model.get_weights()[0])
    assert "weights/norm/moving_mean" in arrays and "optimizer/iterations" in arrays
    raw = path.read_bytes()
    header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    text = json.loads(header["__metadata__"]["minicnn"])
    assert text["version"] == 1 and text["model"]["class_name"] == "Sequential"
    assert text["compile"]["metrics"] == ["accuracy"]


# Bad files


def saved(tmp_path):
    path = tmp_path / "m.safetensors"
    network().save(path)
    return path


@pytest.mark.parametrize("keep", [0, 4, 100, 0.5, 0.999])
def test_a_truncated_file(tmp_path, keep):
    path = saved(tmp_path)
    whole = path.read_bytes()
    cut = whole[: keep if isinstance(keep, int) else int(len(whole) * keep)]
    path.write_bytes(cut)
    model = network()
    before = model.get_weights()
    text = f"m.safetensors': {len(cut):,} bytes that are not a safetensors file or are cut short"
    for load in (load_model, model.load_weights):
        with pytest.raises(ValueError, match=text):
            load(path)
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_no_safetensors_at_all(tmp_path):
    path = tmp_path / "photo.safetensors"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(1000))
    with pytest.raises(ValueError, match="photo.safetensors': 1,008 bytes that are not a safet"):
        load_model(path)


def test_a_file_of_somebody_else(tmp_path):
    path = tmp_path / "other.safetensors"
    save_file({"a": np.ones(3)}, path)
    with pytest.raises(ValueError, match="but not one that minicnn wrote"):
        load_model(path)


def rewritten(path, change):
    header, arrays = None, load_file(path)
    raw = path.read_bytes()
    metadata = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])["__metadata__"]
    header = json.loads(metadata["minicnn"])
    change(header, arrays)
    header.pop("checked")
    save_file(arrays, path, metadata={"minicnn": json.dumps(header)})


def test_a_newer_version(tmp_path):
    path = saved(tmp_path)
    rewritten(path, lambda header, arrays: header.update(version=99))
    with pytest.raises(ValueError, match="has format version 99.*reads up to 1: upgrade minicnn"):
        load_model(path)


def test_a_missing_array(tmp_path):
    path = saved(tmp_path)
    rewritten(path, lambda header, arrays: arrays.pop("weights/head/bias"))
    with pytest.raises(ValueError, match="m.safetensors': it has no weight 'head/bias'"):
        load_model(path)


def test_no_such_file(tmp_path):
    for load in (load_model, network().load_weights):
        with pytest.raises(FileNotFoundError, match="there is no file.*gone.safetensors"):
            load(tmp_path / "gone.safetensors")


# Bad targets


def test_an_unwritable_folder(tmp_path):
    file = tmp_path / "file"
    file.write_text("kept")
    with pytest.raises(OSError, match="cannot write into the folder.*file"):
        network().save(file / "below" / "m.safetensors")
    assert file.read_text() == "kept"
    folder = tmp_path / "folder.safetensors"
    folder.mkdir()
    with pytest.raises(IsADirectoryError, match="is a folder"):
        network().save(folder)


def test_folders_on_the_way_are_made(tmp_path):
    network().save(tmp_path / "a" / "b" / "m.safetensors")
    assert [p.name for p in (tmp_path / "a" / "b").iterdir()] == ["m.safetensors"]


def test_overwrite(tmp_path):
    path = saved(tmp_path)
    before = path.read_bytes()
    for save in (network().save, network().save_weights):
        with pytest.raises(FileExistsError, match="save with overwrite=True to replace it"):
            save(path, overwrite=False)
    assert path.read_bytes() == before
    network().save_weights(path)
    assert path.read_bytes() != before


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = saved(tmp_path)
    before = path.read_bytes()

    def fails(arrays, target, metadata):
        target.write_bytes(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr("minicnn.saving.native.save_file", fails)
    with pytest.raises(OSError, match="no space left"):
        network().save(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["m.safetensors"]


def test_the_ending_says_the_format(tmp_path):
    with pytest.raises(ValueError, match="must end in .safetensors, .keras or .h5.*got.*m.pkl"):
        network().save(tmp_path / "m.pkl")
    for name in ("m.keras", "m.h5"):
        with pytest.raises(ValueError, match="weights alone are .* or to .weights.h5 as Keras"):
            network().save_weights(tmp_path / name)
    with pytest.raises(IsADirectoryError, match="is a folder; give the file to load a model from"):
        load_model(tmp_path)


def test_losses_and_metrics_of_your_own(tmp_path):
    class Halved(losses.MeanSquaredError):
        pass

    class Error(metrics.MeanSquaredError):
        pass

    model = Sequential([Input((3,)), Dense(2)])
    model.compile("sgd", Halved(), metrics=[Error()])
    model.save(tmp_path / "m.safetensors")
    loaded = load_model(tmp_path / "m.safetensors", {"Halved": Halved, "Error": Error})
    assert isinstance(loaded.loss, Halved)
    with pytest.raises(ValueError, match="unknown loss 'Halved'"):
        load_model(tmp_path / "m.safetensors")


def test_a_model_that_is_not_built(tmp_path):
    with pytest.raises(ValueError, match="has no weights yet: give it an Input"):
        Sequential([Dense(2)]).save(tmp_path / "m.safetensors")
    with pytest.raises(ValueError, match="has no weights yet"):
        Sequential([Dense(2)]).save_weights(tmp_path / "m.safetensors")
    network().save_weights(tmp_path / "m.safetensors")
    with pytest.raises(ValueError, match="has no weights yet"):
        Sequential([Dense(2)]).load_weights(tmp_path / "m.safetensors")


def test_weights_of_the_same_network_built_again(tmp_path):
    """Automatic names have counted up meanwhile: the order of the layers tells."""

    def build(units=3):
        return Sequential([Input((4,)), Dense(5), BatchNormalization(), Dense(units)])

    first, second = build(), build()
    first.save_weights(tmp_path / "w.safetensors")
    second.load_weights(tmp_path / "w.safetensors")
    for a, b in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(ValueError, match=r"dense.*/kernel' has shape \(5, 3\).*has \(5, 2\)"):
        build(units=2).load_weights(tmp_path / "w.safetensors")


@pytest.mark.parametrize("text", ["no JSON", '{"version": "x"}', "{}", "[]"])
def test_damaged_metadata(tmp_path, text):
    path = tmp_path / "m.safetensors"
    save_file({"weights/a/b": np.zeros(3, "float32")}, path, metadata={"minicnn": text})
    with pytest.raises(ValueError, match="m.safetensors': the 'minicnn' entry of its metadata"):
        load_model(path)
