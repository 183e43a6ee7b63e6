"""What an optimizer keeps beside the weights, to files and from files."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from minicnn import backend
from minicnn.backend import array_module
from minicnn.typing import Array


def state_arrays(
    iterations: int, slots: Mapping[Any, Mapping[str, Array]], keys: Mapping[Any, str]
) -> dict[str, np.ndarray]:
    """Copies on the host: "iterations" and "<name of the slot>/<key of the weight>".

    Args:
        iterations: optimizer steps taken.
        slots: {weight: {name: array}}.
        keys: {weight: its key}.
    """
    state = {"iterations": np.array(iterations, np.int64)}
    for weight, key in keys.items():
        for name, slot in slots.get(weight, {}).items():
            state[f"{name}/{key}"] = np.array(backend.to_numpy(slot))
    return state


def read_state(
    owner: str, names: Sequence[str], arrays: Mapping[str, Any], keys: Mapping[Any, str]
) -> tuple[int, dict[Any, dict[str, Array]]]:
    """(iterations, slots) of what `state_arrays` returned. Slots lie where the weights lie and have
    their dtype; weights without an entry are left out.

    Args:
        owner: the optimizer's class, for messages.
        names: of the slots that each weight has.
        arrays: as `state_arrays` made them.
        keys: {weight: its key}.

    Raises:
        ValueError: no "iterations", a wrong shape, or some but not all slots of a weight.
    """
    if "iterations" not in arrays:
        raise ValueError(
            f"optimizer state without 'iterations'; it has {', '.join(sorted(arrays)) or None}"
        )
    loaded: dict[Any, dict[str, Array]] = {}
    for weight, key in keys.items():
        found = [name for name in names if f"{name}/{key}" in arrays]
        if not found:
            continue
        if len(found) != len(names):
            raise ValueError(f"optimizer state of {key} has {found}; {owner} keeps {list(names)}")
        for name in names:
            shape = tuple(arrays[f"{name}/{key}"].shape)
            if shape != tuple(weight.value.shape):
                raise ValueError(
                    f"optimizer state {name}/{key} has shape {shape}; the weight has shape "
                    f"{tuple(weight.value.shape)}"
                )
        xp = array_module(weight.value)
        loaded[weight] = {
            n: xp.array(backend.to_numpy(arrays[f"{n}/{key}"]), dtype=weight.value.dtype)
            for n in names
        }
    return int(arrays["iterations"]), loaded
