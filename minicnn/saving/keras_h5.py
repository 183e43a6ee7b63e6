"""The .h5 file, Keras's older format: one HDF5 file with the configurations as attributes.

attributes        keras_version, backend, model_config and training_config (JSON)
model_weights     a group per layer, whose attribute "weight_names" orders its arrays: those that
                  learn first
optimizer_weights the optimizer's variables, ordered the same way

Keras 3 cannot go on training a model that it read with optimizer_weights (it builds the optimizer
for no weights: "Unknown variable"). So minicnn reads them, but writes them under a name that Keras
does not look for: Keras then starts the optimizer afresh.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from minicnn.files import atomic_write
from minicnn.layers.base import Layer
from minicnn.layers.weight import Weight
from minicnn.models import Model
from minicnn.saving.keras_archive import VERSION, check_version
from minicnn.saving.keras_order import keras_layers, ordered_weights
from minicnn.saving.keras_reading import ConfigReader
from minicnn.saving.keras_state import (
    host,
    load_optimizer_variables,
    opened,
    optimizer_variables,
    read_array,
    require_h5py,
)
from minicnn.saving.keras_writing import ConfigWriter, compile_config

_OPTIMIZER, _OWN_OPTIMIZER = "optimizer_weights", "minicnn_optimizer_weights"

_ATTRIBUTE_LIMIT = 64512  # bytes; HDF5 has no larger attributes


def save(model: Model, path: Path) -> None:
    """Write a .h5 file.

    Args:
        model: built; if it is compiled, how it is being trained is written too.
        path: of the file.
    """
    h5py = require_h5py()
    entry = ConfigWriter(legacy=True).layer(model)
    training = None
    if model.loss is not None:
        training = compile_config(model)
        training["optimizer_config"] = training.pop("optimizer")
    with atomic_write(path) as temporary, h5py.File(temporary, "w") as file:
        file.attrs["keras_version"] = VERSION
        file.attrs["backend"] = "minicnn"
        file.attrs["model_config"] = json.dumps(entry).encode()
        place = file.create_group("model_weights")
        place.attrs["keras_version"] = VERSION.encode()
        place.attrs["backend"] = b"minicnn"
        layers = keras_layers(model)
        _set_names(place, "layer_names", [layer.name for layer in layers])
        for layer in sorted(layers, key=lambda la: la.name):
            weights = {path: host(w) for w, path in _learning_first(layer).items()}
            _write(place.create_group(layer.name), weights)
        _write(place.create_group("top_level_model_weights"), {})
        if training is not None:
            file.attrs["training_config"] = json.dumps(training).encode()
            name = model.optimizer.name
            variables = optimizer_variables(model).items()
            _write(file.create_group(_OWN_OPTIMIZER), {f"{name}/{k}": v for k, v in variables})


def load(path: Path, custom_objects: dict[str, type] | None, compile: bool) -> Model:
    """Read a .h5 file.

    Args:
        path: of the file.
        custom_objects, compile: see `minicnn.saving.load_model`.
    """
    with opened(path, "the file") as file:
        config = _json(file, "model_config")
        if config is None:
            raise ValueError(
                "there is no model_config in it: it holds weights alone, or is not Keras's"
            )
        check_version(_text(file.attrs.get("keras_version", "2")))
        reader = ConfigReader(custom_objects)
        model = reader.model(config)
        if "model_weights" not in file:
            raise ValueError("the group model_weights is missing")
        for layer in keras_layers(model):
            _load_layer(file["model_weights"], layer)
        training = _json(file, "training_config")
        if compile and training is not None:
            reader.compile(model, training)
            found = [file[name] for name in (_OPTIMIZER, _OWN_OPTIMIZER) if name in file]
            for group in found:
                load_optimizer_variables(model, group, _names(group, "weight_names"))
    return model


def _learning_first(layer: Layer) -> dict[Weight, str]:
    weights = ordered_weights(layer)
    return dict(sorted(weights.items(), key=lambda item: not item[0].trainable))


def _load_layer(file: Any, layer: Layer) -> None:
    weights = _learning_first(layer)
    if not weights:
        return
    names = _names(file[layer.name], "weight_names") if layer.name in file else []
    if len(names) != len(weights):
        raise ValueError(
            f"it has {len(names)} weights for {layer.described}, which has {len(weights)}"
        )
    pairs = zip(weights, names, strict=True)
    values = [read_array(file[layer.name], name, w.shape) for w, name in pairs]
    for weight, value in zip(weights, values, strict=True):
        weight.assign(value)


def _write(group: Any, arrays: dict[str, np.ndarray]) -> None:
    _set_names(group, "weight_names", list(arrays))
    for name, array in arrays.items():
        group[name] = array


def _set_names(group: Any, key: str, names: list[str]) -> None:
    """Keep a list of names as the attribute `key`, or as key0, key1 ... if it is too long."""
    data = np.array([name.encode() for name in names]) if names else np.array([])
    if data.nbytes <= _ATTRIBUTE_LIMIT:
        group.attrs[key] = data
        return
    pieces = -(-data.nbytes // _ATTRIBUTE_LIMIT) + 1
    for i, piece in enumerate(np.array_split(data, pieces)):
        group.attrs[f"{key}{i}"] = piece


def _names(group: Any, key: str) -> list[str]:
    if key in group.attrs:
        return [_text(name) for name in group.attrs[key]]
    names: list[str] = []
    i = 0
    while f"{key}{i}" in group.attrs:
        names += [_text(name) for name in group.attrs[f"{key}{i}"]]
        i += 1
    return names


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _json(file: Any, key: str) -> dict[str, Any] | None:
    if key not in file.attrs:
        return None
    try:
        value = json.loads(_text(file.attrs[key]))
    except ValueError as error:
        raise ValueError(f"{key} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{key} holds a {type(value).__name__}, not an object")
    return value
