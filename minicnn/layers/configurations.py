"""Layers to configurations of Keras and back: what files of Keras hold of one layer."""

from typing import Any

from minicnn.layers.base import Layer


def serialize(layer: Layer) -> dict[str, Any]:
    """The configuration of a `layer`, which may be a model, as Keras writes it."""
    from minicnn.saving import serialize_keras_object

    config: dict[str, Any] = serialize_keras_object(layer)
    return config


def deserialize(config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> Layer:
    """A layer from its configuration.

    Args:
        config: what `serialize` gave, here or in Keras.
        custom_objects: {name: class} for layers of your own.
    """
    from minicnn.saving import deserialize_keras_object

    layer: Layer = deserialize_keras_object(config, custom_objects)
    return layer
