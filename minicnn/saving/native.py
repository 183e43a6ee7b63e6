"""The library's own format: one safetensors file.

The arrays are the weights, "weights/<layer>/<weight>", and the optimizer's state, "optimizer/...".
The header's metadata has one entry, "minicnn", with everything else as JSON:

    {"version": 1, "weights": [names in the model's order], "model": {"class_name", "config"},
     "compile": {"optimizer", "loss", "metrics"}}

Any reader of safetensors can read the weights. Nothing in the file is ever executed.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from minicnn.backend import to_numpy
from minicnn.files import atomic_write
from minicnn.layers.weight import Weight
from minicnn.models import Model, layer_from_config
from minicnn.registry import Configurable, serialize

VERSION = 1


def save(model: Model, path: Path) -> None:
    """Write architecture, weights and, if the model is compiled, how it is being trained.

    Args:
        model: built.
        path: of the file.

    Raises:
        ValueError: something in the model, or a metric, cannot be written to a file.
    """
    keys = model.weight_keys()
    arrays = _weights(keys)
    header = _header(keys) | {"model": serialize(model)}
    if model.loss is not None:
        header["compile"] = {
            "optimizer": serialize(model.optimizer),
            "loss": serialize(model.loss),
            "metrics": [_metric_config(m) for m in model.metric_identifiers],
        }
        state = model.optimizer.state_arrays(keys)
        arrays.update({f"optimizer/{k}": np.asarray(v, order="C") for k, v in state.items()})
    _write(arrays, header, path)


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
            f"{str(path)!r} holds weights alone; build the model and call model.load_weights(path)"
        )
    model = layer_from_config(header["model"], custom_objects)
    if not isinstance(model, Model):
        raise ValueError(f"{str(path)!r} holds a {type(model).__name__}, which is not a model")
    keys = model.weight_keys()
    _assign(keys, arrays, header, path)
    if compile and "compile" in header:
        parts = header["compile"]
        model.compile(
            _custom_or_as_is(parts["optimizer"], custom_objects),
            _custom_or_as_is(parts["loss"], custom_objects),
            [_custom_or_as_is(m, custom_objects) for m in parts["metrics"]],
            auto_scale_loss=False,  # the optimizer in the file does it, or not
        )
        prefix = "optimizer/"
        state = {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
        if state:
            model.optimizer.load_state_arrays(state, keys)
    return model


def load_weights(model: Model, path: Path) -> None:
    """Take over the weights of a file; all of them or, after an error, none.

    Args:
        model: built; has the layers of the model in the file.
        path: of a file that `save` or `save_weights` wrote.

    Raises:
        ValueError: as in `load`, or the weights belong to another model.
    """
    header, arrays = _read(path)
    _assign(model.weight_keys(), arrays, header, path)


def _custom_or_as_is(identifier: Any, custom_objects: dict[str, type] | None) -> Any:
    """An object of one of the custom classes; what is the library's is left to `compile`."""
    if isinstance(identifier, dict) and custom_objects:
        cls: Any = custom_objects.get(identifier["class_name"])
        return identifier if cls is None else cls.from_config(identifier["config"])
    return identifier


def _metric_config(identifier: Any) -> Any:
    if isinstance(identifier, Configurable):
        return serialize(identifier)
    if not isinstance(identifier, (str, dict)):
        raise ValueError(
            f"the metric {identifier!r} cannot be written to a file; compile with a name or a "
            f"Metric object, or save_weights instead"
        )
    return identifier


def _header(keys: dict[Weight, str]) -> dict[str, Any]:
    return {"version": VERSION, "weights": list(keys.values())}


def _weights(keys: dict[Weight, str]) -> dict[str, np.ndarray]:
    return {f"weights/{k}": np.asarray(to_numpy(w.value), order="C") for w, k in keys.items()}


def _write(arrays: dict[str, np.ndarray], header: dict[str, Any], path: Path) -> None:
    try:
        text = json.dumps(header)
    except TypeError as error:
        raise ValueError(f"the model's configuration is not JSON ({error})") from error
    with atomic_write(path) as temporary:
        save_file(arrays, temporary, metadata={"minicnn": text})


def _read(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    try:
        with safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, ValueError, KeyError) as error:
        size = path.stat().st_size
        raise ValueError(
            f"{str(path)!r} ({size:,} bytes) is not a safetensors file or is cut short: {error}"
        ) from error
    if "minicnn" not in metadata:
        raise ValueError(
            f"{str(path)!r} is a safetensors file, but not one that minicnn wrote (it has no "
            f"'minicnn' entry in its metadata)"
        )
    try:
        header = json.loads(metadata["minicnn"])
        newer = header["version"] > VERSION
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{str(path)!r}: the 'minicnn' entry of its metadata is damaged "
            f"({type(error).__name__}: {error})"
        ) from error
    if newer:
        raise ValueError(
            f"{str(path)!r} has format version {header['version']}; this minicnn reads up to "
            f"{VERSION}: upgrade minicnn to load it"
        )
    return header, arrays


def _assign(
    keys: dict[Weight, str], arrays: dict[str, np.ndarray], header: dict[str, Any], path: Path
) -> None:
    arrays = _renamed(keys, arrays, header.get("weights", []))
    for weight, key in keys.items():
        array = arrays.get(f"weights/{key}")
        if array is None:
            raise ValueError(f"{str(path)!r} has no weight {key!r}: it belongs to another model")
        if array.shape != weight.shape:
            raise ValueError(
                f"{str(path)!r}: weight {key!r} has shape {array.shape}, the model's has "
                f"{weight.shape}"
            )
    known = {f"weights/{key}" for key in keys.values()}
    surplus = [k for k in arrays if k.startswith("weights/") and k not in known]
    if surplus:
        raise ValueError(
            f"{str(path)!r} has weights that the model does not have, such as "
            f"{surplus[0].removeprefix('weights/')!r}: it belongs to another model"
        )
    for weight, key in keys.items():
        weight.assign(arrays[f"weights/{key}"])


def _renamed(
    keys: dict[Weight, str], arrays: dict[str, np.ndarray], stored: list[str]
) -> dict[str, np.ndarray]:
    """The file's arrays under the model's names. Automatic names count up ("conv2d_3"), so a
    network that is built again has different ones: then the order decides, if all shapes agree."""
    names = list(keys.values())
    paired = list(zip(keys, stored, strict=False))
    if set(names) == set(stored) or len(names) != len(stored):
        return arrays
    for weight, name in paired:
        array = arrays.get(f"weights/{name}")
        if array is None or array.shape != weight.shape or name.split("/")[-1] != weight.name:
            return arrays
    return {f"weights/{keys[weight]}": arrays[f"weights/{name}"] for weight, name in paired}
