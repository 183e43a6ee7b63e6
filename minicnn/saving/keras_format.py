"""Files of Keras 3, both ways: .keras, its .weights.h5, and the older .h5.

    keras_archive, keras_h5         the two containers
    keras_writing, keras_reading    configurations, from minicnn's terms to Keras's and back
    keras_order                     in which order Keras goes through layers and weights
    keras_state                     the arrays

Keras itself is not needed, only h5py. Nothing in a file is ever executed or unpacked to disk.
"""

from pathlib import Path

import numpy as np

from minicnn.files import KERAS_WEIGHTS
from minicnn.layers.base import Layer
from minicnn.models import Model
from minicnn.saving import keras_archive, keras_h5
from minicnn.saving.keras_archive import check_count, load_groups
from minicnn.saving.keras_order import weight_groups
from minicnn.saving.keras_state import host, require_h5py
from minicnn.saving.keras_writing import model_config
from minicnn.saving.reading import to_json


def save(model: Model, path: Path, with_training: bool) -> None:
    """Write a model.

    Args:
        model: built.
        path: ends in .keras, .h5 or .hdf5.
        with_training: whether to write how it is being trained, too; it is compiled then.

    Raises:
        ImportError: h5py is not installed.
        ValueError: the model has a part that Keras does not support.
    """
    require_h5py()
    (keras_archive if path.suffix == ".keras" else keras_h5).save(model, path, with_training)


def require_saveable(model: Model, path: Path, weights_only: bool) -> None:
    """Raise what `save`, or `save_weights`, would raise, without writing anything.

    Args:
        model: built or not.
        path: as for `save`.
        weights_only: whether `save_weights` is to be called.
    """
    require_h5py()
    with_training = model.loss is not None
    if path.suffix == ".keras" and not weights_only:
        to_json(model_config(model, with_training))
    elif not weights_only:
        for description in keras_h5.descriptions(model, with_training):
            to_json(description or {})


def load(path: Path, custom_objects: dict[str, type] | None, compile: bool) -> Model:
    """Read a model that Keras or `save` wrote.

    Args:
        path: ends in .keras, .h5 or .hdf5.
        custom_objects, compile: see `minicnn.saving.load_model`.

    Raises:
        ImportError: h5py is not installed.
        ValueError: the file is of another kind or damaged, or the model has a part that minicnn
            does not support; the message names the file and what is wrong.
    """
    require_h5py()
    container = keras_archive if path.suffix == ".keras" else keras_h5
    return container.load(path, custom_objects, compile)


def save_weights(model: Model, path: Path) -> None:
    """Write the weights alone.

    Args:
        model: built.
        path: ends in .weights.h5.

    Raises:
        ImportError: h5py is not installed.
    """
    require_h5py()
    keras_archive.save_weights(model, path)


def load_weights(model: Model, path: Path, skip_mismatch: bool, by_name: bool = False) -> None:
    """Take over the weights of a file that Keras, `save` or `save_weights` wrote.

    Args:
        model: built; has the layers of the model in the file.
        path: ends in .weights.h5, .keras, .h5 or .hdf5.
        skip_mismatch, by_name: see `minicnn.saving.load_weights`.

    Raises:
        ImportError: h5py is not installed.
        ValueError: the file is of another kind, damaged, or of another model; no weight is changed.
    """
    require_h5py()
    if path.name.endswith(KERAS_WEIGHTS):
        keras_archive.load_weights(model, path, skip_mismatch)
        return
    if path.suffix != ".keras" and (by_name or keras_h5.holds_weights_alone(path)):
        keras_h5.load_weights(model, path, skip_mismatch, by_name)
        return
    source = load(path, None, compile=False)
    shapes = [[w.shape for w in weights] for weights in (model.weights, source.weights)]
    if shapes[0] == shapes[1]:
        model.set_weights([w.value for w in source.weights])
        return
    found = dict(weight_groups(source, {}))

    def read(place: str, layer: Layer) -> list[np.ndarray]:
        weights = found[place].weights if place in found else []
        check_count(len(weights), place, layer)
        for weight, other in zip(layer.weights, weights, strict=True):
            if weight.shape != other.shape:
                raise ValueError(
                    f"its {other.path!r} has shape {other.shape}; the model's {weight.path!r} has "
                    f"{weight.shape}"
                )
        return [host(weight) for weight in weights]

    load_groups(model, found.keys(), read, skip_mismatch)
