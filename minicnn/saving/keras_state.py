"""The arrays in Keras's files: weights of a layer, variables of an optimizer, and HDF5 itself."""

import importlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from minicnn.backend import to_numpy
from minicnn.layers.weight import Weight
from minicnn.models import Model
from minicnn.optimizers import LossScaleOptimizer
from minicnn.saving.keras_order import ordered_weights
from minicnn.saving.matching import undecayed

# Keras's variables of a LossScaleOptimizer; those of the optimizer inside follow.
LOSS_SCALE = ("outer_iteration", "outer_learning_rate", "step_counter", "dynamic_scale")


def require_h5py() -> Any:
    """The module h5py.

    Raises:
        ImportError: it is not installed.
    """
    try:
        return importlib.import_module("h5py")
    except ImportError as error:
        raise ImportError(
            "files of Keras (.keras, .h5) need h5py, which is not installed: "
            "pip install minicnn[keras]"
        ) from error


@contextmanager
def opened(source: Any, what: str) -> Iterator[Any]:
    """An HDF5 file for reading.

    Args:
        source: a path or a file object.
        what: the beginning of messages, such as "the file".

    Raises:
        ValueError: it is not HDF5, or not all of it.
    """
    h5py = require_h5py()
    try:
        with h5py.File(source, "r") as file:
            yield file
    except (NotImplementedError, RecursionError):  # RuntimeErrors, but not of HDF5
        raise
    except (OSError, RuntimeError) as error:
        size = f" ({source.stat().st_size:,} bytes)" if isinstance(source, Path) else ""
        raise ValueError(f"{what}{size} is not an HDF5 file or is cut short: {error}") from error


def item(file: Any, name: str) -> Any:
    """The group or dataset `name` in an HDF5 file; None if there is none.

    HDF5 can point to other files: links are not followed, wherever on the way they stand.

    Args:
        file: an HDF5 file or group.
        name: the path in it.

    Raises:
        ValueError: there is a link on the way, or an array.
    """
    h5py = require_h5py()
    here = file
    for part in name.strip("/").split("/"):
        _require_group(here)
        link = here.get(part, getlink=True)
        if link is None:
            return None
        if not isinstance(link, h5py.HardLink):
            raise ValueError(f"{name!r} points to somewhere else; such links are not followed")
        here = here[part]
    return here


def group_at(file: Any, name: str) -> Any:
    """The group `name` in the HDF5 `file`, as in `item`; an array in its place is a ValueError."""
    found = item(file, name)
    if found is not None:
        _require_group(found)
    return found


def group_size(file: Any, name: str) -> int:
    """How many members the group `name` in the HDF5 `file` has; 0 if there is none."""
    found = group_at(file, name)
    return 0 if found is None else len(found)


def _require_group(found: Any) -> None:
    if not isinstance(found, require_h5py().Group):
        raise ValueError(f"{found.name!r} in it is an array, where a group of arrays belongs")


def read_array(file: Any, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The dataset `name` of an HDF5 file.

    HDF5 can claim a shape of terabytes: it is checked before anything is read.

    Args:
        file: an HDF5 file or group.
        name: the path of the dataset in it.
        shape: what the array has to have.

    Raises:
        ValueError: there is no such dataset, it has another shape, or it does not hold numbers.
    """
    here = item(file, name)
    if here is None:
        raise ValueError(f"there is no array {name!r}")
    if not isinstance(here, require_h5py().Dataset) or here.external or here.is_virtual:
        raise ValueError(f"{name!r} is not an array stored in the file")
    if here.dtype.kind not in "fiu":
        raise ValueError(f"{name!r} holds {here.dtype} values; minicnn reads plain numbers")
    if here.shape != tuple(shape):
        raise ValueError(f"{name!r} has shape {here.shape}; the model's weight has {tuple(shape)}")
    if here.size and not here.id.get_storage_size():
        raise ValueError(f"{name!r} has a shape, but no data were ever written to it")
    return np.asarray(here[()])


def host(weight: Weight) -> np.ndarray:
    """The value of `weight` as a contiguous NumPy array."""
    return np.ascontiguousarray(to_numpy(weight.value)).reshape(weight.shape)  # () stays ()


def _slot_names(model: Model) -> list[tuple[str, Weight]]:
    """("momentum/<weight's path>", weight) in Keras's order, for the weights that learn."""
    learning = {w: path for w, path in ordered_weights(model).items() if w.trainable}
    return [
        (f"{slot}/{path}", weight)
        for group in model.optimizer.slot_groups()
        for weight, path in learning.items()
        for slot in group
    ]


def optimizer_variables(model: Model) -> dict[str, np.ndarray]:
    """Keras's variables of the optimizer by name, in Keras's order.

    Args:
        model: compiled.
    """
    optimizer = model.optimizer
    variables: dict[str, np.ndarray] = {}
    if isinstance(optimizer, LossScaleOptimizer):
        scale, steps = to_numpy(optimizer.scale_and_steps)
        unused = np.zeros((), np.int32), np.zeros((), np.float32)
        values = *unused, np.array(steps, np.int32), np.array(scale, np.float32)
        variables = dict(zip(LOSS_SCALE, values, strict=True))
    variables["iteration"] = np.array(optimizer.batches, np.int32)
    if isinstance(optimizer._learning_rate, float):
        variables["learning_rate"] = np.array(optimizer.learning_rate, np.float32)
    state = optimizer.state_arrays(ordered_weights(model))
    for name, weight in _slot_names(model):
        present = state.get(name)
        if present is None:  # a weight that has not learned yet
            present = to_numpy(optimizer._slots_of(weight)[name.partition("/")[0]])
        variables[name] = present
    derived = optimizer.derived_state()
    return variables | {name: np.array(value, np.float32) for name, value in derived.items()}


def load_optimizer_variables(model: Model, file: Any, names: list[str]) -> None:
    """Take over an optimizer's variables.

    Args:
        model: compiled.
        file: an HDF5 group.
        names: of its datasets, in Keras's order.
    """
    optimizer = model.optimizer
    if not names:
        return
    slots, derived = _slot_names(model), len(optimizer.derived_state())
    scale: dict[str, Any] = {}
    # a file written before the loss was scaled does not have them
    if isinstance(optimizer, LossScaleOptimizer) and len(names) > 2 + len(slots) + derived:
        steps, factor = (float(read_array(file, name, ())) for name in names[2:4])
        scale = {"loss_scale": np.array([factor, steps], np.float32)}
        names = names[len(LOSS_SCALE) :]
    state: dict[str, Any] = {"iterations": read_array(file, names[0], ())}
    left = names[1:]
    if isinstance(optimizer._learning_rate, float) and left:
        rate = float(read_array(file, left.pop(0), ()))
        if rate != np.float32(optimizer.learning_rate):  # of which this is all that float32 keeps
            optimizer.learning_rate = rate
    if derived and len(left) == len(slots) + derived:
        left = left[:-derived]
    if left and len(left) != len(slots):  # none: it was saved before its first optimizer step
        warnings.warn(
            f"the file's {type(optimizer).__name__} has {len(left)} arrays, but the weights that "
            f"learn need {len(slots)}: it starts afresh (was `trainable` changed after training?)",
            stacklevel=2,
        )
        return
    if left:
        for (key, weight), name in zip(slots, left, strict=True):
            state[key] = read_array(file, name, weight.shape)
    optimizer.load_state_arrays(state | scale, ordered_weights(model))


# Keras does not keep what `exclude_from_weight_decay` says: it is an attribute of our own, the
# numbers of the weights in Keras's order.
_UNDECAYED = "minicnn_undecayed"


def write_undecayed(model: Model, group: Any) -> None:
    """Keep which weights of a `model` do not decay as an attribute of a `group`."""
    numbers = {weight: i for i, weight in enumerate(ordered_weights(model))}
    excluded = [numbers[weight] for weight in undecayed(model)]
    if excluded:
        group.attrs[_UNDECAYED] = np.array(excluded, np.int32)


def read_undecayed(model: Model, group: Any) -> None:
    """Take over into a `model` what `write_undecayed` kept, if the `group` is there and has it."""
    if group is not None and _UNDECAYED in group.attrs:
        weights = list(ordered_weights(model))
        numbers = np.asarray(group.attrs[_UNDECAYED]).ravel().tolist()
        model.optimizer.exclude_from_weight_decay([weights[i] for i in numbers])
