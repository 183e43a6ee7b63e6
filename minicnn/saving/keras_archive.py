"""The .keras file: a zip of metadata.json, config.json and model.weights.h5."""

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
from minicnn.saving.keras_order import weight_groups
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

VERSION = "3.15.1"  # the version of Keras whose files these are

_WEIGHTS = "model.weights.h5"
_OPTIMIZER = "optimizer/vars"

# A member that unpacks to more than this, and a hundredfold, was made to fill the memory: Keras
# stores without compression.
_BOMB = 1 << 30


def save(model: Model, path: Path) -> None:
    """Write a .keras file."""
    config = ConfigWriter().layer(model)
    if model.loss is not None:
        config["compile_config"] = compile_config(model)
    now = datetime.datetime.now().strftime("%Y-%m-%d@%H:%M:%S")
    weights = _weights_file(model)
    with atomic_write(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": VERSION, "date_saved": now}))
        archive.writestr("config.json", json.dumps(config))
        archive.writestr(_WEIGHTS, weights)


def load(path: Path, custom_objects: dict[str, type] | None, compile: bool) -> Model:
    """Read a .keras file."""
    metadata, config, weights = _members(path)
    check_version(str(metadata.get("keras_version", "")))
    reader = ConfigReader(custom_objects)
    model = reader.model(config)
    with opened(io.BytesIO(weights), f"{_WEIGHTS} in it") as file:
        for group, layer in weight_groups(model, reader.class_names):
            _load_layer(file, group, layer)
        if compile and config.get("compile_config"):
            reader.compile(model, config["compile_config"])
            count = len(file[_OPTIMIZER]) if _OPTIMIZER in file else 0
            names = [f"{_OPTIMIZER}/{i}" for i in range(count)]
            load_optimizer_variables(model, file, names)
    return model


def check_version(version: str) -> None:
    """Raise unless files of this version of Keras are known."""
    if version.split(".")[0] not in ("2", "3"):
        raise ValueError(
            f"written by Keras {version or 'of no version'}; minicnn reads files of Keras 3 "
            f"(and 2): save it with one of these, or upgrade minicnn"
        )


def _weights_file(model: Model) -> bytes:
    h5py = require_h5py()
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.create_group("vars").attrs["name"] = model.name
        for group, layer in weight_groups(model, {}):
            place = file.create_group(group)
            place.attrs["name"] = layer.name
            for i, weight in enumerate(layer.weights):
                place[str(i)] = host(weight)
        if model.loss is not None:
            place = file.create_group(_OPTIMIZER)
            place.attrs["name"] = model.optimizer.name
            for i, variable in enumerate(optimizer_variables(model).values()):
                place[str(i)] = variable
    return buffer.getvalue()


def _load_layer(file: Any, group: str, layer: Layer) -> None:
    if group not in file:  # so called by Keras 2.13 and before
        group = group.replace("layers/", "_layer_checkpoint_dependencies/")
    count = len(file[group]) if group in file else 0
    if count != len(layer.weights):
        raise ValueError(
            f"{_WEIGHTS} has {count} weights for {layer.described} at {group!r}, which has "
            f"{len(layer.weights)}"
        )
    values: list[np.ndarray] = []
    for i, weight in enumerate(layer.weights):
        values.append(read_array(file, f"{group}/{i}", weight.shape))
    layer.set_weights(values)


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
            f"{size:,} bytes that are no .keras file (a zip archive) or are cut short: {error}"
        ) from error
    return _json(metadata, "metadata.json"), _json(config, "config.json"), weights


def _json(text: bytes, name: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{name} is no JSON: {error}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{name} holds a {type(value).__name__}, not an object")
    return value
