"""The .keras file: a zip of metadata.json, config.json and model.weights.h5.

A .weights.h5 file is the last of these by itself.
"""

import datetime
import io
import json
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from minicnn.files import atomic_write
from minicnn.layers.base import Layer
from minicnn.models import Model
from minicnn.optimizers import LossScaleOptimizer
from minicnn.saving.keras_order import weight_groups
from minicnn.saving.keras_reading import ConfigReader
from minicnn.saving.keras_state import (
    LOSS_SCALE,
    host,
    load_optimizer_variables,
    opened,
    optimizer_variables,
    read_array,
    require_h5py,
)
from minicnn.saving.keras_writing import ConfigWriter, compile_config

VERSION = "3.15.1"  # the version of Keras whose files these are

_WEIGHTS = "model.weights.h5"
_OPTIMIZER, _INNER_OPTIMIZER = "optimizer/vars", "optimizer/inner_optimizer/vars"
_OLD_LAYERS = "_layer_checkpoint_dependencies/"  # "layers/" in Keras 2.13 and before

# A member that unpacks to more than this, and a hundredfold, was made to fill the memory: Keras
# stores without compression.
_BOMB = 1 << 30


def save(model: Model, path: Path) -> None:
    """Write a .keras file.

    Args:
        model: built; if it is compiled, how it is being trained is written too.
        path: of the file.
    """
    config = ConfigWriter().layer(model)
    if model.loss is not None:
        config["compile_config"] = compile_config(model)
    now = datetime.datetime.now().strftime("%Y-%m-%d@%H:%M:%S")
    weights = _weights_file(model, with_optimizer=model.loss is not None)
    with atomic_write(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": VERSION, "date_saved": now}))
        archive.writestr("config.json", json.dumps(config))
        archive.writestr(_WEIGHTS, weights)


def load(path: Path, custom_objects: dict[str, type] | None, compile: bool) -> Model:
    """Read a .keras file.

    Args:
        path: of the file.
        custom_objects, compile: see `minicnn.saving.load_model`.
    """
    metadata, config, weights = _members(path)
    check_version(str(metadata.get("keras_version", "")))
    reader = ConfigReader(custom_objects)
    model = reader.model(config)
    with opened(io.BytesIO(weights), f"{_WEIGHTS} in it") as file:
        for group, layer in weight_groups(model, reader.class_names):
            layer.set_weights(_read_layer(file, group, layer))
        if compile and config.get("compile_config"):
            reader.compile(model, config["compile_config"])
            count = len(file[_OPTIMIZER]) if _OPTIMIZER in file else 0
            names = [f"{_OPTIMIZER}/{i}" for i in range(count)]
            load_optimizer_variables(model, file, names)
    return model


def save_weights(model: Model, path: Path) -> None:
    """Write a .weights.h5 file, without the optimizer's variables.

    Args:
        model: built.
        path: of the file.
    """
    weights = _weights_file(model, with_optimizer=False)
    with atomic_write(path) as temporary:
        temporary.write_bytes(weights)


def load_weights(model: Model, path: Path) -> None:
    """Take over the weights of a .weights.h5 file; all of them or, after an error, none.

    Args:
        model: built; has the layers of the model in the file.
        path: of the file.
    """
    with opened(path, "the file") as file:
        if "model_weights" in file:
            raise ValueError("it holds a whole model: rename it to end in .h5 alone, and load that")
        places = dict(weight_groups(model, {}))
        values = {layer: _read_layer(file, group, layer) for group, layer in places.items()}
        surplus = _weight_groups_of(file) - places.keys()
        if surplus:
            raise ValueError(
                f"it has weights at {min(surplus)!r}, where the model has none: it belongs to "
                f"another model"
            )
    for layer, arrays in values.items():
        layer.set_weights(arrays)


def check_version(version: str) -> None:
    """Raise unless minicnn reads files of this version of Keras.

    Args:
        version: such as "3.15.1", or empty.
    """
    if version.split(".")[0] not in ("2", "3"):
        raise ValueError(
            f"written by Keras {version or 'of no version'}; minicnn reads files of Keras 3 and "
            f"2: save it with one of these, or upgrade minicnn"
        )


def _weights_file(model: Model, with_optimizer: bool) -> bytes:
    h5py = require_h5py()
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.create_group("vars").attrs["name"] = model.name
        for group, layer in weight_groups(model, {}):
            place = file.create_group(group)
            place.attrs["name"] = layer.name
            for i, weight in enumerate(layer.weights):
                place[str(i)] = host(weight)
        if with_optimizer:
            variables = list(optimizer_variables(model).values())
            places = [(_OPTIMIZER, model.optimizer.name, variables)]
            if isinstance(model.optimizer, LossScaleOptimizer):  # Keras writes them twice
                inner = variables[len(LOSS_SCALE) :]
                places.append((_INNER_OPTIMIZER, model.optimizer.inner_optimizer.name, inner))
            for group, name, values in places:
                place = file.create_group(group)
                place.attrs["name"] = name
                for i, variable in enumerate(values):
                    place[str(i)] = variable
    return buffer.getvalue()


def _read_layer(file: Any, group: str, layer: Layer) -> list[np.ndarray]:
    place = group if group in file else group.replace("layers/", _OLD_LAYERS)
    count = len(file[place]) if place in file else 0
    if count != len(layer.weights):
        raise ValueError(
            f"it has {count} weights at {group!r} for {layer.described}, which has "
            f"{len(layer.weights)}"
        )
    return [read_array(file, f"{place}/{i}", w.shape) for i, w in enumerate(layer.weights)]


def _weight_groups_of(file: Any) -> set[str]:
    """The groups with weights of layers in a file: "layers/conv2d/vars"."""
    groups: set[str] = set()

    def visit(name: str, item: Any) -> None:
        group, _, last = name.replace(_OLD_LAYERS, "layers/").rpartition("/")
        # Keras also keeps the optimizer's variables and the state of random generators
        if last.isdigit() and group.startswith("layers/") and "/seed_generator/" not in group:
            groups.add(group)

    file.visititems(visit)
    return groups


def _members(path: Path) -> tuple[dict[str, Any], dict[str, Any], bytes]:
    size = path.stat().st_size
    try:
        with zipfile.ZipFile(path) as archive:
            wanted = ("metadata.json", "config.json", _WEIGHTS)
            missing = [name for name in wanted if name not in archive.namelist()]
            if missing:
                raise ValueError(
                    f"a .keras file holds {', '.join(wanted)}; {', '.join(missing)} is missing"
                )
            for name in wanted:
                info = archive.getinfo(name)
                if info.file_size > max(_BOMB, 100 * info.compress_size):
                    raise ValueError(f"{name} would unpack to {info.file_size:,} bytes")
            metadata, config, weights = (archive.read(name) for name in wanted)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError) as error:
        raise ValueError(
            f"{size:,} bytes that are not a .keras file (a zip archive) or are cut short: {error}"
        ) from error
    return _json(metadata, "metadata.json"), _json(config, "config.json"), weights


def _json(text: bytes, name: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{name} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{name} holds a {type(value).__name__}, not an object")
    return value
