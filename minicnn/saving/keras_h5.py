"""The .h5 file, Keras's older format: one HDF5 file with the configurations as attributes.

attributes        keras_version, backend, model_config and training_config (JSON)
model_weights     a group per layer, whose attribute "weight_names" orders its arrays: those that
                  learn first
optimizer_weights the optimizer's variables, ordered the same way

Keras 3 cannot go on training a model that it read with optimizer_weights (it builds the optimizer
for no weights: "Unknown variable"). So minicnn reads them, but writes them under a name that Keras
does not look for: Keras then starts the optimizer afresh.
"""

import io
import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from minicnn.files import atomic_write
from minicnn.layers.base import Layer
from minicnn.layers.deferred import values_follow
from minicnn.layers.weight import Weight
from minicnn.models import Model
from minicnn.saving.keras_archive import VERSION, check_version
from minicnn.saving.keras_order import keras_layers, ordered_weights
from minicnn.saving.keras_reading import ConfigReader
from minicnn.saving.keras_state import (
    group_at,
    host,
    item,
    load_optimizer_variables,
    opened,
    optimizer_variables,
    read_array,
    read_undecayed,
    require_h5py,
    write_undecayed,
)
from minicnn.saving.keras_writing import ConfigWriter, compile_config
from minicnn.saving.matching import take_over
from minicnn.saving.reading import from_json, most_bytes, to_json, warn

_TOP_LEVEL = "top_level_model_weights"
_OPTIMIZER, _OWN_OPTIMIZER = "optimizer_weights", "minicnn_optimizer_weights"

_ATTRIBUTE_LIMIT = 64512  # bytes; HDF5 has no larger attributes


def save(model: Model, path: Path, with_training: bool) -> None:
    """Write a .h5 file.

    Args:
        model: built.
        path: of the file.
        with_training: whether to write how it is being trained, too; it is compiled then.
    """
    h5py = require_h5py()
    entry, training = descriptions(model, with_training)
    layers = keras_layers(model)
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.attrs["keras_version"] = VERSION
        file.attrs["backend"] = "minicnn"
        file.attrs["model_config"] = to_json(entry).encode()
        place = file.create_group("model_weights")
        place.attrs["keras_version"] = VERSION.encode()
        place.attrs["backend"] = b"minicnn"
        _set_names(place, "layer_names", [layer.name for layer in layers])
        for layer in sorted(layers, key=lambda la: la.name):
            weights = {path: host(w) for w, path in _learning_first(layer).items()}
            _write(place.create_group(layer.name), weights)
        _write(place.create_group(_TOP_LEVEL), {})
        if training is not None:
            file.attrs["training_config"] = json.dumps(training).encode()
            name = model.optimizer.name
            variables = optimizer_variables(model).items()
            group = file.create_group(_OWN_OPTIMIZER)
            _write(group, {f"{name}/{k}": v for k, v in variables})
            write_undecayed(model, group)
    with atomic_write(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())


def descriptions(model: Model, with_training: bool) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """The attributes model_config and training_config.

    Args:
        model, with_training: as for `save`.

    Raises:
        ValueError: Keras does not have something in the model, or .h5 cannot hold a name.
    """
    for layer in keras_layers(model) if model.built else ():
        _check_name(layer)
    entry = ConfigWriter(legacy=True).layer(model)
    training = None
    if with_training:
        training = compile_config(model)
        training["optimizer_config"] = training.pop("optimizer")
    return entry, training


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
        with values_follow(most_bytes(path)):
            model = reader.model(config)
            if item(file, "model_weights") is None:
                raise ValueError("the group model_weights is missing")
            for layer in keras_layers(model):
                _load_layer(group_at(file, f"model_weights/{layer.name}"), layer)
        training = _json(file, "training_config")
        if compile and training is not None:
            reader.compile(model, training)
            group = group_at(file, _OWN_OPTIMIZER)
            group = group_at(file, _OPTIMIZER) if group is None else group
            most = len(optimizer_variables(model))
            names = [] if group is None else _names(group, "weight_names", most)
            load_optimizer_variables(model, group, names)
            read_undecayed(model, group)
    return model


def holds_weights_alone(path: Path) -> bool:
    """Whether the .h5 file at `path` has no model, as `save_weights` of Keras 2 wrote them."""
    with opened(path, "the file") as file:
        return "model_config" not in file.attrs and "layer_names" in file.attrs


def load_weights(model: Model, path: Path, skip_mismatch: bool, by_name: bool) -> None:
    """Take over weights layer by layer, whatever else a .h5 file holds.

    Args:
        model: built.
        path: of the file.
        skip_mismatch: see `minicnn.saving.load_weights`.
        by_name: of the layers that have the name of one in the file; else of all, in their order.
    """
    layers = [layer for layer in keras_layers(model) if layer.weights]
    with opened(path, "the file") as file:
        stored = group_at(file, "model_weights")
        stored = file if stored is None else stored
        names = [layer.name for layer in layers]
        if not by_name:
            names = _names(stored, "layer_names", 10 * len(layers) + 100)
            names = [n for n in names if _names(group_at(stored, n), "weight_names", 1000)]
            if len(names) != len(layers):
                raise ValueError(
                    f"it has {len(names)} layers with weights, and the model {len(layers)}; "
                    f"by_name=True takes over those that have the same name"
                )
        pairs = [(layer, group_at(stored, name)) for layer, name in zip(layers, names, strict=True)]
        pairs = [(layer, group) for layer, group in pairs if group is not None]
        if not pairs:
            warn(f"no weights are taken over: no layer in it is called {', '.join(names)}")
        places = [
            (layer.described, list(_learning_first(layer)), partial(_arrays, group, layer))
            for layer, group in pairs
        ]
        take_over(places, (), skip_mismatch)


def _learning_first(layer: Layer) -> dict[Weight, str]:
    weights = ordered_weights(layer)
    return dict(sorted(weights.items(), key=lambda item: not item[0].trainable))


def _check_name(layer: Layer) -> None:
    """Raise where a layer has a name that HDF5 would not find again."""
    if layer.name == _TOP_LEVEL or "\0" in layer.name or {"", "."} & {*layer.name.split("/")}:
        raise ValueError(
            f"{layer.described}: a .h5 file cannot hold a layer of that name; give it another, or "
            f"save as .keras or .safetensors"
        )


def _load_layer(group: Any, layer: Layer) -> None:
    if layer.weights:
        for weight, value in zip(_learning_first(layer), _arrays(group, layer), strict=True):
            weight.assign(value)


def _arrays(group: Any, layer: Layer) -> list[np.ndarray]:
    """What `group` holds for the weights of `layer`, those that learn first."""
    weights = _learning_first(layer)
    names = [] if group is None else _names(group, "weight_names", len(weights))
    if len(names) != len(weights):
        raise ValueError(
            f"it has {len(names)} weights for {layer.described}, which has {len(weights)}"
        )
    pairs = zip(weights, names, strict=True)
    return [read_array(group, name, w.shape) for w, name in pairs]


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


def _names(group: Any, key: str, expected: int) -> list[str]:
    """The list of names that `_set_names` kept; not read if it is much longer than `expected`,
    since many names may be one long text in the file."""
    keys = [key] if key in group.attrs else []
    while f"{key}{len(keys)}" in group.attrs and keys != [key]:
        keys.append(f"{key}{len(keys)}")
    count = sum(group.attrs.get_id(k).get_space().get_simple_extent_npoints() for k in keys)
    if count > expected + 100:
        raise ValueError(f"{key} in it has {count:,} names, where {expected} are expected")
    return [_text(name) for k in keys for name in group.attrs[k]]


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _json(file: Any, key: str) -> dict[str, Any] | None:
    return from_json(_text(file.attrs[key]), key) if key in file.attrs else None
