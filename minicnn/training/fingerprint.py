"""What a run of `fit` was begun with, in a form that can be compared with that of another one."""

import json
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from minicnn import backend
from minicnn.layers.base import with_inner_layers
from minicnn.registry import serialize
from minicnn.typing import Array

_BLOCK = 1 << 24  # bytes of an array that are copied at a time, where it has gaps

Fingerprint = dict[str, str]  # what a message calls it: what it is


def of_model(model: Any) -> Fingerprint:
    """Layers, weights' shapes, optimizer and loss; the learning rate before the first step.

    Args:
        model: built and compiled.
    """
    optimizer = serialize(model.optimizer)
    config = optimizer["config"]
    rate = config.get("inner_optimizer", optimizer)["config"].pop("learning_rate", None)
    layers = [[type(la).__name__, _without_names(la)] for la in with_inner_layers(model)]
    weights = [f"{w.name} {w.dtype} {tuple(w.shape)}" for w in model.weights]
    made = {
        "the model": f"{len(layers)} layers, {len(weights)} weights, {_crc_of([layers, weights])}",
        "the optimizer": _text_of(optimizer),
        "the loss": _text_of(serialize(model.loss)),
    }
    if model.optimizer.iterations == 0:  # later callbacks may have changed it
        made["the learning rate"] = _text_of(rate)
    return made


def of_data(batches: Any, what: str) -> Fingerprint:
    """The arrays, to the bit; or what can be known of an iterator without drawing from it.

    Args:
        batches: see `minicnn.training.batches`.
        what: what messages call them: "training", "validation".
    """
    if hasattr(batches, "xs"):
        source, arrays = batches, {"x": batches.xs, "y": batches.y}
        arrays["sample_weight"] = batches.sample_weight
    else:
        source = batches.source
        arrays = {name: getattr(source, name, None) for name in ("x", "y", "sample_weight")}
        arrays = {n: a for n, a in arrays.items() if backend.is_array(a)}
    names = [str(path) for path in getattr(source, "file_paths", getattr(source, "filepaths", []))]
    parts = [f"{name} {_of_arrays(a)}" for name, a in arrays.items() if a is not None]
    if source is not batches:
        parts.append(type(source).__name__)
    if names:
        parts.append(f"{len(names)} files {_crc_of(names)}")
    shuffle = getattr(source, "shuffle", None)
    if isinstance(shuffle, bool):
        parts.append("shuffled" if shuffle else "in their order")
    return {
        f"the {what} data": ", ".join(parts),
        f"the batch size in {what}": str(getattr(source, "batch_size", None)),
        f"the steps per epoch of {what}": str(batches.steps),
    }


def _of_arrays(arrays: Array | Sequence[Array]) -> str:
    together: Sequence[Array] = arrays if isinstance(arrays, list) else [arrays]
    return " and ".join(f"{a.dtype} {tuple(a.shape)} {_crc_of_array(a)}" for a in together)


def _crc_of_array(array: Array) -> str:
    """Row by row where it is not in one piece: there may be no memory for a copy of all of it."""
    crc = 0
    rows = max(1, _BLOCK * len(array) // max(1, array.nbytes))
    for start in range(0, len(array), rows):
        block = np.ascontiguousarray(backend.to_numpy(array[start : start + rows]))
        crc = zlib.crc32(block.reshape(-1).view(np.uint8).data, crc)
    return f"{crc:08x}"


def _without_names(layer: Any) -> Any:
    """Its configuration, without the names that count up with each model that is made."""
    config = {} if hasattr(layer, "layers") else dict(layer.get_config())
    config.pop("name", None)
    return config


def _text_of(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def _crc_of(value: Any) -> str:
    return f"{zlib.crc32(_text_of(value).encode()):08x}"
