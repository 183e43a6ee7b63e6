"""Arrays and a text in one safetensors file, with a checksum over both.

Any reader of safetensors can read the arrays. Nothing in the file is ever executed.
"""

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from minicnn.backend import is_array, to_numpy
from minicnn.files import atomic_write

_TEXT, _CHECKSUM = "minicnn", "minicnn_crc32"
_TREE, _ARRAY, _TUPLE, _ITEMS = "tree", "array", "tuple", "items"

Arrays = dict[str, np.ndarray]


class Contents(NamedTuple):
    """What a file holds.

    Attributes:
        text: as it was given.
        arrays: by name.
        whole: whether the checksum is right; None where there is none.
    """

    text: str
    arrays: Arrays
    whole: bool | None


def write_arrays(path: Path, text: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Write a file, beside its place first.

    Args:
        path: of the file.
        text: what the arrays are.
        arrays: by name, in C order.

    Raises:
        OSError: it cannot be written; the message names it.
    """
    metadata = {_TEXT: text, _CHECKSUM: _checksum(text, arrays)}
    with atomic_write(path) as temporary:
        try:
            save_file(dict(arrays), temporary, metadata=metadata)
        except SafetensorError as error:  # a full disk
            raise OSError(str(error)) from error


def read_arrays(path: Path) -> Contents:
    """Read what `write_arrays` wrote.

    Args:
        path: of the file.

    Raises:
        ValueError: it is no safetensors file, cut short, or has no text of this library.
    """
    try:
        with safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, ValueError, KeyError) as error:
        raise ValueError(
            f"{path.stat().st_size:,} bytes that are not a safetensors file or are cut short: "
            f"{error}"
        ) from error
    if _TEXT not in metadata:
        raise ValueError(
            f"a safetensors file, but not one that minicnn wrote (it has no {_TEXT!r} entry in its "
            f"metadata)"
        )
    text, kept = metadata[_TEXT], metadata.get(_CHECKSUM)
    return Contents(text, arrays, None if kept is None else kept == _checksum(text, arrays))


def _checksum(text: str, arrays: Mapping[str, np.ndarray]) -> str:
    crc = zlib.crc32(text.encode())
    for name, array in sorted(arrays.items()):
        crc = zlib.crc32(f"{name} {array.dtype.str} {array.shape}".encode(), crc)
        crc = zlib.crc32(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data, crc)
    return f"{crc:08x}"


# Nested values


def is_plain(value: Any) -> bool:
    """Whether `write_state` can write a value: None, a bool, number, text, array, or a list, tuple
    or dictionary of these.

    Args:
        value: anything.
    """
    if isinstance(value, (list, tuple)):
        return type(value) in (list, tuple) and all(map(is_plain, value))
    if isinstance(value, dict):
        return type(value) is dict and all(map(is_plain, (*value, *value.values())))
    if isinstance(value, np.generic) or is_array(value):
        return value.dtype.kind in "biuf"
    return value is None or isinstance(value, (bool, int, float, str))


def write_state(path: Path, state: dict[str, Any]) -> None:
    """Write nested values so that `read_state` gives the same: numbers to the bit, arrays of any
    backend as arrays of NumPy.

    Args:
        path: of the file.
        state: of values that are plain, see `is_plain`.

    Raises:
        OSError: the file cannot be written; the message names it.
    """
    arrays: Arrays = {}
    write_arrays(path, json.dumps({_TREE: _packed(state, arrays)}), arrays)


def read_state(path: Path) -> dict[str, Any]:
    """Read what `write_state` wrote.

    Args:
        path: of the file.

    Raises:
        ValueError: it is not whole.
    """
    text, arrays, whole = read_arrays(path)
    if not whole:
        raise ValueError("its checksum differs from that of what is in it")
    state: dict[str, Any] = _unpacked(json.loads(text)[_TREE], arrays)
    return state


def _packed(value: Any, arrays: Arrays) -> Any:
    """`value` as JSON holds it; arrays go to `arrays`."""
    if isinstance(value, (np.generic, np.ndarray)) or is_array(value):
        name = f"{len(arrays):06d}"
        arrays[name] = np.array(to_numpy(value), order="C")
        return {_ARRAY: name}
    if isinstance(value, tuple):
        return {_TUPLE: [_packed(item, arrays) for item in value]}
    if isinstance(value, list):
        return [_packed(item, arrays) for item in value]
    if isinstance(value, dict):  # whose keys may be numbers
        return {_ITEMS: [[_packed(k, arrays), _packed(v, arrays)] for k, v in value.items()]}
    return value


def _unpacked(value: Any, arrays: Arrays) -> Any:
    if isinstance(value, list):
        return [_unpacked(item, arrays) for item in value]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == _ARRAY:
        return arrays[content]
    if kind == _TUPLE:
        return tuple(_unpacked(item, arrays) for item in content)
    return {_unpacked(k, arrays): _unpacked(v, arrays) for k, v in content}
