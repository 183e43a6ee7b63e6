"""A file as Keras 2 wrote them, of which no other test has any."""

import json

import numpy as np
import pytest

h5py = pytest.importorskip("h5py")

from minicnn.models import load_model  # noqa: E402


def test_a_file_of_keras_2(tmp_path):
    conv = {
        "name": "c", "trainable": True, "dtype": "float32", "filters": 2, "kernel_size": [3, 3],
        "kernel_initializer": {"class_name": "GlorotUniform", "config": {"seed": None}},
        "bias_constraint": None, "activation": "relu", "batch_input_shape": [None, 6, 6, 3],
    }  # fmt: skip
    leaky = {"name": "l", "trainable": True, "dtype": "float32", "alpha": 0.25}
    inner_conv = {**conv, "name": "inner_conv", "filters": 2}
    inner = {
        "name": "inner",
        "layers": [
            {
                "class_name": "InputLayer",
                "name": "i",
                "config": {"batch_input_shape": [None, 4, 4, 2], "dtype": "float32", "name": "i"},
                "inbound_nodes": [],
            },
            {
                "class_name": "Conv2D",
                "name": "inner_conv",
                "config": inner_conv,
                "inbound_nodes": [[["i", 0, 0, {}]]],
            },
        ],
        "input_layers": [["i", 0, 0]],
        "output_layers": [["inner_conv", 0, 0]],
    }
    config = {
        "name": "model",
        "layers": [
            {
                "class_name": "InputLayer",
                "name": "in",
                "config": {"batch_input_shape": [None, 6, 6, 3], "dtype": "float32", "name": "in"},
                "inbound_nodes": [],
            },
            {
                "class_name": "Conv2D", "name": "c", "config": conv,
                "inbound_nodes": [[["in", 0, 0, {}]]],
            },
            {
                "class_name": "Functional", "name": "inner", "config": inner,
                "inbound_nodes": [[["c", 0, 0, {"training": None}]]],
            },
            {
                "class_name": "LeakyReLU", "name": "l", "config": leaky,
                "inbound_nodes": [[["inner", 1, 0, {}]]],
            },
            {
                "class_name": "Add", "name": "a", "config": {"name": "a", "dtype": "float32"},
                "inbound_nodes": [[["inner", 1, 0, {}], ["l", 0, 0, {}]]],
            },
        ],
        "input_layers": [["in", 0, 0]],
        "output_layers": [["a", 0, 0]],
    }  # fmt: skip
    training = {
        "loss": {
            "class_name": "SparseCategoricalCrossentropy",
            "config": {"reduction": "auto", "name": "x", "from_logits": True, "ignore_class": None},
        },
        "metrics": [["accuracy"]],
        "weighted_metrics": None,
        "loss_weights": None,
        "optimizer_config": {
            "class_name": "RMSprop",
            "config": {"name": "RMSprop", "learning_rate": 0.25, "decay": 0.0, "rho": 0.5},
        },
    }
    path = tmp_path / "old.h5"
    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"] = "2.10.0"
        file.attrs["model_config"] = json.dumps({"class_name": "Functional", "config": config})
        file.attrs["training_config"] = json.dumps(training)
        for group, name, channels in (("c", "c", 3), ("inner", "inner_conv", 2)):
            place = file.create_group(f"model_weights/{group}")
            place.attrs["weight_names"] = [f"{name}/kernel:0".encode(), f"{name}/bias:0".encode()]
            place[f"{name}/kernel:0"] = rng.normal(size=(3, 3, channels, 2)).astype("float32")
            place[f"{name}/bias:0"] = np.zeros(2, "float32")
    with pytest.warns(UserWarning, match=r"old.h5': there is no state of the RMSprop in it"):
        model = load_model(path)
    assert model.output_shape == (None, 2, 2, 2)
    assert model.get_layer("l").negative_slope == 0.25
    assert model.optimizer.rho == 0.5 and model.optimizer.learning_rate == 0.25
    assert model.loss.from_logits
    assert model.predict(rng.normal(size=(2, 6, 6, 3)), verbose=0).std() > 0
