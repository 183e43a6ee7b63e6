"""The library's own format: one safetensors file.

The arrays are the weights, "weights/<layer>/<weight>", and the optimizer's state, "optimizer/...".
The header's metadata has an entry "minicnn" with everything else as JSON:

    {"version": 1, "weights": [names in the model's order], "model": {"class_name", "config"},
     "compile": {"optimizer", "loss", "metrics", "weighted_metrics",
     "undecayed": [names of weights]}, "checked": true}

and "minicnn_crc32", the checksum of that text and of all arrays; older files have neither it nor
"checked".
Any reader of safetensors can read the weights. Nothing in the file is ever executed.
"""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from minicnn.arrays_file import Arrays, read_arrays, write_arrays
from minicnn.backend import to_numpy
from minicnn.layers.base import Layer
from minicnn.layers.deferred import values_follow
from minicnn.layers.weight import Weight
from minicnn.losses import LOSSES
from minicnn.metrics.base import METRICS
from minicnn.models import Model, layer_from_config
from minicnn.optimizers import OPTIMIZERS
from minicnn.registry import Configurable, Registry, is_library_code, serialize
from minicnn.saving.matching import take_over, undecayed
from minicnn.saving.reading import from_json, most_bytes, to_json, warn

VERSION = 1

_WEIGHTS, _OPTIMIZER = "weights/", "optimizer/"


def save(model: Model, path: Path, with_training: bool) -> None:
    """Write architecture and weights.

    Args:
        model: built.
        path: of the file.
        with_training: whether to write how it is being trained, too; it is compiled then.

    Raises:
        ValueError: something in the model, or a metric, cannot be written to a file.
    """
    keys = model.weight_keys()
    arrays = _weights(keys)
    header = _header(keys) | description(model, with_training)
    if with_training:
        header["compile"]["undecayed"] = [keys[w] for w in undecayed(model)]
        state = model.optimizer.state_arrays(keys)
        arrays.update({_OPTIMIZER + k: np.asarray(v, order="C") for k, v in state.items()})
    _write(arrays, header, path)


def description(model: Model, with_training: bool) -> dict[str, Any]:
    """What `save` writes in words.

    Args:
        model, with_training: as for `save`.

    Raises:
        ValueError: as in `save`.
    """
    described: dict[str, Any] = {"model": serialize(model)}
    if with_training:
        described["compile"] = {
            "optimizer": serialize(model.optimizer),
            "loss": serialize(model.loss),
            "metrics": [_metric_config(m) for m in model.metric_identifiers],
            "weighted_metrics": [_metric_config(m) for m in model.weighted_metric_identifiers],
        }
    return described


def save_weights(model: Model, path: Path) -> None:
    """Write the weights alone.

    Args:
        model: built.
        path: of the file.
    """
    keys = model.weight_keys()
    _write(_weights(keys), _header(keys), path)


def load(path: Path, custom_objects: dict[str, type] | None, compile: bool) -> Model:
    """Read what `save` wrote.

    Args:
        path: of the file.
        custom_objects, compile: see `minicnn.saving.load_model`.

    Raises:
        ValueError: a file that this library did not write, a truncated one, one of a newer version,
            or weights alone.
    """
    header, arrays = _read(path)
    if "model" not in header:
        raise ValueError(
            "it holds weights alone; build the model and call model.load_weights(path)"
        )
    with values_follow(most_bytes(path)):
        model = layer_from_config(header["model"], custom_objects)
        if not isinstance(model, Model):
            raise ValueError(f"it holds a {type(model).__name__}, which is not a model")
        keys = _names_in_file(model, header)
        _check_said_names(model.weight_keys(), keys, header["model"])
        take_over(*_places(keys, arrays), skip_mismatch=None)
    if compile and "compile" in header:
        _compile(model, header["compile"], custom_objects)
        _load_state(model, keys, arrays)
        names = header["compile"].get("undecayed", [])
        if names:
            weights = {key: weight for weight, key in keys.items()}
            model.optimizer.exclude_from_weight_decay([weights[name] for name in names])
    return model


def load_weights(model: Model, path: Path, skip_mismatch: bool) -> None:
    """Take over the weights of a file; all of them or, after an error, none.

    Args:
        model: built; has the layers of the model in the file.
        path: of a file that `save` or `save_weights` wrote.
        skip_mismatch: see `minicnn.saving.load_weights`.

    Raises:
        ValueError: as in `load`, or the weights belong to another model.
    """
    header, arrays = _read(path)
    take_over(*_places(_names_in_file(model, header), arrays), skip_mismatch)


# How a model is trained


def _compile(model: Model, parts: dict[str, Any], custom_objects: dict[str, type] | None) -> None:
    def made(registry: Registry, identifier: Any) -> Any:
        if not isinstance(identifier, dict):
            return identifier
        cls: Any = registry.find_saved(identifier["class_name"], custom_objects)
        return cls.from_config(identifier["config"])

    model.compile(
        made(OPTIMIZERS, parts["optimizer"]),
        made(LOSSES, parts["loss"]),
        [made(METRICS, m) for m in parts["metrics"]],
        auto_scale_loss=False,  # the optimizer in the file does it, or not
        weighted_metrics=[made(METRICS, m) for m in parts.get("weighted_metrics", [])],
    )


def _load_state(model: Model, keys: dict[Weight, str], arrays: Arrays) -> None:
    state = {k.removeprefix(_OPTIMIZER): v for k, v in arrays.items() if k.startswith(_OPTIMIZER)}
    if not state:
        name = type(model.optimizer).__name__
        warn(f"there is no state of the {name} in it: the optimizer starts afresh")
        return
    slots, known = model.optimizer.all_slots(), set(keys.values())
    for name, array in state.items():
        slot, _, key = name.partition("/")
        if slot in slots and key not in known:
            raise ValueError(f"the optimizer's {slot!r} is of a weight {key!r} that is not there")
        if slot in slots:
            _check_numbers(name, array)
    model.optimizer.load_state_arrays(state, keys)


def _metric_config(identifier: Any) -> Any:
    if isinstance(identifier, Configurable):
        return serialize(identifier)
    if inspect.isfunction(identifier) and is_library_code(identifier):
        return identifier.__name__
    if not isinstance(identifier, (str, dict)):
        raise ValueError(
            f"the metric {identifier!r} cannot be written to a file; compile with a name or a "
            f"Metric object, or save_weights instead"
        )
    return identifier


# The file


def _header(keys: dict[Weight, str]) -> dict[str, Any]:
    return {"version": VERSION, "weights": list(keys.values())}


def _weights(keys: dict[Weight, str]) -> Arrays:
    return {_WEIGHTS + k: np.asarray(to_numpy(w.value), order="C") for w, k in keys.items()}


def _write(arrays: Arrays, header: dict[str, Any], path: Path) -> None:
    write_arrays(path, to_json(header | {"checked": True}), arrays)


def _read(path: Path) -> tuple[dict[str, Any], Arrays]:
    text, arrays, whole = read_arrays(path)
    entry = "the 'minicnn' entry of its metadata"
    header = from_json(text, entry)
    version, names = header.get("version"), header.get("weights", [])
    if not isinstance(version, int) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{entry} is damaged: its version is {version!r:.50}")
    if version > VERSION:
        raise ValueError(
            f"it has format version {version}; this minicnn reads up to {VERSION}: upgrade minicnn "
            f"to load it"
        )
    if whole is False or (whole is None and header.get("checked")):
        raise ValueError(
            "it is damaged: its arrays or its description are not those that were written (the "
            "checksum differs)"
        )
    return header, arrays


# Names


def _names_in_file(model: Model, header: dict[str, Any]) -> dict[Weight, str]:
    """What the file calls each weight. Automatic names count up ("conv2d_3"), so a network that is
    built again has different ones: then the order decides, if there are as many of each name."""
    keys, stored = model.weight_keys(), header.get("weights", [])
    if len(set(stored)) != len(stored):
        twice = next(name for name in stored if stored.count(name) > 1)
        raise ValueError(
            f"it has one array for several weights called {twice!r}, whose others are lost: it was "
            f"written by an earlier version of minicnn; train anew, or save again from there with "
            f"another name for each weight of a layer"
        )
    own = list(keys.values())
    if set(own) == set(stored) or list(map(_last, own)) != list(map(_last, stored)):
        return keys
    return dict(zip(keys, stored, strict=True))


def _last(key: str) -> str:
    return key.rpartition("/")[2]


def _check_said_names(own: dict[Weight, str], keys: dict[Weight, str], described: Any) -> None:
    """Raise where a layer's name is in the file's description, but its weights have another: only
    layers of your own that do not keep their names may be matched by order."""
    said = _names_said(described)
    for weight, key in keys.items():
        if key != own[weight] and weight.layer.name in said:
            raise ValueError(
                f"it is damaged: a weight is called {own[weight]!r} in the model's description and "
                f"{key!r} in the list of weights"
            )


def _names_said(described: Any) -> set[str]:
    names, left = set(), [described]
    while left:
        part = left.pop()
        if isinstance(part, dict):
            names.add(str(part.get("name")))
            left += part.values()
        elif isinstance(part, list):
            left += part
    return names


# Arrays


def _places(
    keys: dict[Weight, str], arrays: Arrays
) -> tuple[list[tuple[str, list[Weight], Callable[[], list[np.ndarray]]]], list[str]]:
    """What `take_over` takes: the layers with their weights, and what the model does not have."""
    layers: dict[Layer, list[Weight]] = {}
    for weight in keys:
        layers.setdefault(weight.layer, []).append(weight)

    def reads(weights: list[Weight]) -> Callable[[], list[np.ndarray]]:
        return lambda: [_array(arrays, w, keys[w]) for w in weights]

    places = [(layer.described, weights, reads(weights)) for layer, weights in layers.items()]
    known = {_WEIGHTS + key for key in keys.values()}
    found = [k for k in arrays if k.startswith(_WEIGHTS) and k not in known]
    return places, [k.removeprefix(_WEIGHTS) for k in found]


def _array(arrays: Arrays, weight: Weight, key: str) -> np.ndarray:
    array = arrays.get(_WEIGHTS + key)
    if array is None:
        raise ValueError(f"it has no weight {key!r}: it belongs to another model")
    if array.shape != weight.shape:
        raise ValueError(
            f"its weight {key!r} has shape {array.shape}, the model's {weight.path!r} has "
            f"{weight.shape}"
        )
    _check_numbers(key, array)
    return array


def _check_numbers(name: str, array: np.ndarray) -> None:
    if array.dtype.kind != "f":
        raise ValueError(f"{name!r} holds {array.dtype} numbers, not floating-point numbers")
