"""Models as JSON, and single objects as the configurations that Keras 3 writes."""

import json
from typing import Any

from minicnn.activations import ACTIVATIONS
from minicnn.custom_objects import CustomObjectScope, get_registered_name, get_registered_object
from minicnn.initializers import INITIALIZERS
from minicnn.layers.base import LAYERS, Layer
from minicnn.losses import LOSSES
from minicnn.metrics.base import METRICS
from minicnn.models import Model
from minicnn.optimizers import OPTIMIZERS
from minicnn.optimizers.schedules import SCHEDULES
from minicnn.registry import Configurable, Registry
from minicnn.regularizers import REGULARIZERS
from minicnn.saving import keras_writing
from minicnn.saving.keras_reading import ConfigReader
from minicnn.saving.reading import from_json, to_json

_REGISTRIES = {
    "layers": LAYERS, "losses": LOSSES, "metrics": METRICS, "optimizers": OPTIMIZERS,
    "schedules": SCHEDULES, "initializers": INITIALIZERS, "regularizers": REGULARIZERS,
    "activations": ACTIVATIONS,
}  # fmt: skip


def model_to_json(model: Model, **kwargs: Any) -> str:
    """The architecture of `model`, and how it is compiled, as `model_from_json` and Keras read it.

    Args:
        model: any.
        kwargs: of `json.dumps`, such as indent=2.

    Raises:
        ValueError: Keras does not have something in it.
    """
    text = to_json(keras_writing.model_config(model, model.loss is not None))
    return json.dumps(json.loads(text), **kwargs) if kwargs else text


def model_from_json(json_string: str, custom_objects: dict[str, Any] | None = None) -> Model:
    """A model, with new weights, from what its `to_json` gave, here or in Keras.

    Args:
        json_string: that.
        custom_objects: {name: class} for what is not the library's.

    Raises:
        ValueError: it is no such text, or minicnn does not support something in it.
    """
    with CustomObjectScope(custom_objects):
        reader = ConfigReader(None, unbuilt=True)
        config = from_json(json_string, "json_string")
        model = reader.model(config)
        if config.get("compile_config"):
            reader.compile(model, config["compile_config"])
    return model


def serialize_keras_object(obj: Any) -> Any:
    """`obj` (a layer, model, loss, metric, optimizer, schedule, initializer, regularizer or
    activation, a function that is registered, or a list or dict of such) in terms of JSON.

    Raises:
        ValueError: Keras has nothing like it.
    """
    if isinstance(obj, Layer):
        return keras_writing.ConfigWriter().layer(obj)
    if isinstance(obj, Configurable):
        return keras_writing.described(obj)
    if isinstance(obj, (list, tuple)):
        return [serialize_keras_object(value) for value in obj]
    if isinstance(obj, dict):
        return {key: serialize_keras_object(value) for key, value in obj.items()}
    return get_registered_name(obj) if callable(obj) else obj


def deserialize_keras_object(
    config: Any, custom_objects: dict[str, Any] | None = None, safe_mode: bool = True
) -> Any:
    """The object that a configuration describes.

    Args:
        config: what `serialize_keras_object` gave, here or in Keras.
        custom_objects: {name: class or function} for what is not the library's.
        safe_mode: a configuration runs no code, whatever this says.

    Raises:
        ValueError: minicnn does not support it.
    """
    if isinstance(config, list):
        return [deserialize_keras_object(c, custom_objects) for c in config]
    with CustomObjectScope(custom_objects):
        if isinstance(config, str):
            found = get_registered_object(config)
            return config if found is None else found
        if not isinstance(config, dict) or "class_name" not in config:
            return config
        reader = ConfigReader(None, unbuilt=True)
        kind = str(config.get("module")).rpartition(".")[2]
        registry = _REGISTRIES.get(kind) or _knowing(config["class_name"])
        return reader.layer(config) if registry is LAYERS else reader.object(registry, config)


def _knowing(name: str) -> Registry:
    """The first registry that knows a class called `name`; else that of layers."""
    return next((r for r in _REGISTRIES.values() if name in r.names()), LAYERS)
