"""Models as JSON and objects as configurations, back and forth."""

import json

import numpy as np
import pytest

from minicnn import initializers, layers, losses, metrics, optimizers, regularizers, saving
from minicnn.models import Model, Sequential, load_model, model_from_json
from minicnn.optimizers import schedules

SHAPE = (6, 6, 3)


def chain():
    model = Sequential(
        [
            layers.Input(SHAPE),
            layers.Conv2D(4, 3, kernel_regularizer="l2", activation="relu", name="first"),
            layers.BatchNormalization(),
            layers.Flatten(),
            layers.Dense(2, activation="softmax"),
        ]
    )
    model.compile(optimizers.Adam(0.1), "sparse_categorical_crossentropy", ["accuracy"])
    return model


def test_models_as_json():
    model = chain()
    again = model_from_json(model.to_json())
    assert type(again) is Sequential and again.layers[0].name == "first"
    assert [w.shape for w in again.weights] == [w.shape for w in model.weights]
    assert again.optimizer.learning_rate == 0.1 and again.metric_identifiers == ["accuracy"]
    assert json.loads(model.to_json(indent=1)) == json.loads(model.to_json())
    assert model.to_json(indent=1).startswith("{\n ")
    inputs = layers.Input(SHAPE)
    x = layers.Conv2D(3, 1)(inputs)
    graph = Model(inputs, layers.Add()([x, inputs]))
    again = model_from_json(graph.to_json())
    again.set_weights(graph.get_weights())
    x = np.random.default_rng(0).normal(size=(2, *SHAPE))
    np.testing.assert_array_equal(again.predict(x, verbose=0), graph.predict(x, verbose=0))


def test_a_model_of_unknown_shape():
    again = model_from_json(Sequential([layers.Dense(3), layers.Dense(2)]).to_json())
    assert not again.built and [layer.units for layer in again.layers] == [3, 2]
    again.build((None, 5))
    assert again.count_params() == 5 * 3 + 3 + 3 * 2 + 2


def test_json_errors():
    with pytest.raises(ValueError, match="json_string is not JSON"):
        model_from_json("{")
    text = chain().to_json().replace("Conv2D", "Conv2E")
    with pytest.raises(ValueError, match="no layer 'Conv2E'; did you mean 'Conv2D'"):
        model_from_json(text)


OBJECTS = [
    layers.Dense(3, activation="relu", kernel_initializer="he_normal"),
    losses.CategoricalCrossentropy(label_smoothing=0.1),
    optimizers.SGD(schedules.ExponentialDecay(0.1, 5, 0.5), momentum=0.9),
    schedules.ExponentialDecay(0.1, 5, 0.5),
    initializers.RandomNormal(stddev=0.3),
    regularizers.L1L2(0.1, 0.2),
    metrics.TopKCategoricalAccuracy(k=3),
]


@pytest.mark.parametrize("thing", OBJECTS, ids=lambda o: type(o).__name__)
def test_objects(thing):
    config = json.loads(json.dumps(saving.serialize_keras_object(thing)))
    assert set(config) >= {"module", "class_name", "config", "registered_name"}
    for described in (config, {k: config[k] for k in ("class_name", "config")}):  # as Keras 2 did
        again = saving.deserialize_keras_object(described)
        assert type(again) is type(thing) and again.get_config() == thing.get_config()


def test_what_is_no_object():
    things = {"a": [1, None, OBJECTS[0]], "b": "text"}
    config = saving.serialize_keras_object(things)
    assert config["a"][:2] == [1, None] and config["b"] == "text"
    assert saving.deserialize_keras_object(config["a"])[2].units == 3
    assert saving.deserialize_keras_object("text") == "text"
    with pytest.raises(ValueError, match="no loss 'Nothing'"):
        saving.deserialize_keras_object(
            {"module": "keras.losses", "class_name": "Nothing", "config": {}}
        )


def test_your_own_objects():
    class Mine(losses.MeanSquaredError):
        pass

    config = saving.serialize_keras_object(Mine(name="n"))
    again = saving.deserialize_keras_object(config, {"Mine": Mine})
    assert type(again) is Mine and again.name == "n"
    assert saving.deserialize_keras_object("mine", {"mine": Mine}) is Mine


@pytest.mark.parametrize("suffix", [".safetensors", ".keras", ".h5"])
def test_options_of_saving(suffix, tmp_path):
    pytest.importorskip("h5py")
    path = tmp_path / f"m{suffix}"
    chain().save(path, include_optimizer=False)
    assert load_model(path).optimizer is None
    chain().save(path, zipped=True)
    with pytest.warns(UserWarning, match="safe_mode=False: code in a file is refused all the same"):
        assert load_model(path, safe_mode=False).optimizer is not None
    with pytest.raises(ValueError, match="into one file; it does not support zipped=False"):
        chain().save(path, zipped=False)
