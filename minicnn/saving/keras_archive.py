"""The .keras file: a zip of metadata.json, config.json and model.weights.h5.

A .weights.h5 file is the last of these by itself.
"""

import datetime
import io
import json
import zipfile
import zlib
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from minicnn.files import atomic_write
from minicnn.layers.base import Layer
from minicnn.layers.deferred import values_follow
from minicnn.models import Model
from minicnn.optimizers import LossScaleOptimizer
from minicnn.saving.keras_order import weight_groups
from minicnn.saving.keras_reading import ConfigReader
from minicnn.saving.keras_state import (
    LOSS_SCALE,
    group_size,
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
from minicnn.saving.keras_writing import model_config
from minicnn.saving.matching import take_over
from minicnn.saving.reading import MOST_TEXT, from_json, most_bytes, to_json

VERSION = "3.15.1"  # the version of Keras whose files these are

_WEIGHTS = "model.weights.h5"
_OPTIMIZER, _INNER_OPTIMIZER = "optimizer/vars", "optimizer/inner_optimizer/vars"
_OLD_LAYERS = "_layer_checkpoint_dependencies/"  # "layers/" in Keras 2.13 and before


def save(model: Model, path: Path, with_training: bool) -> None:
    """Write a .keras file.

    Args:
        model: built.
        path: of the file.
        with_training: whether to write how it is being trained, too; it is compiled then.
    """
    config = model_config(model, with_training)
    now = datetime.datetime.now().strftime("%Y-%m-%d@%H:%M:%S")
    weights = _weights_file(model, with_optimizer=with_training)
    text = to_json(config)
    with atomic_write(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": VERSION, "date_saved": now}))
        archive.writestr("config.json", text)
        archive.writestr(_WEIGHTS, weights)


def load(path: Path, custom_objects: dict[str, type] | None, compile: bool) -> Model:
    """Read a .keras file.

    Args:
        path: of the file.
        custom_objects, compile: see `minicnn.saving.load_model`.
    """
    most = most_bytes(path)
    metadata, config, weights = _members(path, most)
    check_version(str(metadata.get("keras_version", "")))
    reader = ConfigReader(custom_objects)
    with opened(io.BytesIO(weights), f"{_WEIGHTS} in it") as file:
        with values_follow(most):
            model = reader.model(config)
            for group, layer in weight_groups(model, reader.class_names):
                layer.set_weights(_read_layer(file, group, layer))
        if compile and config.get("compile_config"):
            reader.compile(model, config["compile_config"])
            names = [f"{_OPTIMIZER}/{i}" for i in range(group_size(file, _OPTIMIZER))]
            load_optimizer_variables(model, file, names)
            read_undecayed(model, item(file, _OPTIMIZER))
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


def load_weights(model: Model, path: Path, skip_mismatch: bool) -> None:
    """Take over the weights of a .weights.h5 file; all of them or, after an error, none.

    Args:
        model: built; has the layers of the model in the file.
        path: of the file.
        skip_mismatch: see `minicnn.saving.load_weights`.
    """
    with opened(path, "the file") as file:
        if item(file, "model_weights") is not None:
            raise ValueError("it holds a whole model: rename it to end in .h5 alone, and load that")

        def read(group: str, layer: Layer) -> list[np.ndarray]:
            return _read_layer(file, group, layer)

        load_groups(model, _weight_groups_of(file), read, skip_mismatch)


def load_groups(
    model: Model,
    found: Iterable[str],
    read: Callable[[str, Layer], list[np.ndarray]],
    skip_mismatch: bool,
) -> None:
    """Take over weights by the places that Keras gives layers, see `weight_groups`.

    Args:
        model: built.
        found: the places in the file.
        read: the arrays of one of them for a layer; raises a ValueError if they do not fit.
        skip_mismatch: see `minicnn.saving.load_weights`.
    """
    groups = dict(weight_groups(model, {}))
    places = [(la.described, la.weights, partial(read, g, la)) for g, la in groups.items()]
    take_over(places, set(found) - groups.keys(), skip_mismatch)


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
            write_undecayed(model, file[_OPTIMIZER])
    return buffer.getvalue()


def check_count(count: int, place: str, layer: Layer) -> None:
    """Raise unless `count`, how many arrays stand at `place`, is how many weights `layer` has."""
    if count != len(layer.weights):
        raise ValueError(
            f"it has {count} weights at {place!r} for {layer.described}, which has "
            f"{len(layer.weights)}"
        )


def _read_layer(file: Any, group: str, layer: Layer) -> list[np.ndarray]:
    older = group.replace("layers/", _OLD_LAYERS)
    place = group if item(file, group) is not None else older
    check_count(group_size(file, place), group, layer)
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


def _members(path: Path, most: int) -> tuple[dict[str, Any], dict[str, Any], bytes]:
    size = path.stat().st_size
    limits = {"metadata.json": MOST_TEXT, "config.json": MOST_TEXT, _WEIGHTS: most}
    try:
        with zipfile.ZipFile(path) as archive:
            missing = limits.keys() - archive.namelist()
            if missing:
                raise ValueError(
                    f"a .keras file holds {', '.join(limits)}; {', '.join(sorted(missing))} is "
                    f"missing"
                )
            members = [_member(archive, name, limit) for name, limit in limits.items()]
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError) as error:
        raise ValueError(
            f"{size:,} bytes that are not a .keras file (a zip archive) or are cut short: {error}"
        ) from error
    metadata, config, weights = members
    return from_json(metadata, "metadata.json"), from_json(config, "config.json"), weights


def _member(archive: zipfile.ZipFile, name: str, limit: int) -> bytes:
    """What a member holds, if it is not more than `limit` bytes, whatever the archive says."""
    info = archive.getinfo(name)
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # known to be bounded
        raise ValueError(f"{name} is packed in a way (number {info.compress_type}) not of Keras")
    too_large = ValueError(f"{name} would unpack to more than {limit:,} bytes")
    if info.file_size > limit:
        raise too_large
    with archive.open(info) as member:
        data = member.read(limit + 1)
    if len(data) > limit:
        raise too_large
    return data
