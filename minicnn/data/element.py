"""What a data set is made of: arrays and texts, alone or in tuples and dictionaries.

Within a data set elements are plain NumPy arrays and strings. Users get them with a method
`numpy()`, for scripts written for TensorFlow's tensors.
"""

import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minicnn import backend
from minicnn.typing import Shape


class DataArray(np.ndarray):
    """A NumPy array with a method `numpy()`; what is taken out of it has one, too."""

    def numpy(self) -> Any:
        """The same as a plain array, or number where there are no axes."""
        return np.asarray(self)[()]

    def __getitem__(self, index: Any) -> Any:
        return np.asarray(super().__getitem__(index)).view(DataArray)

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))


class Text(str):
    """A string with a method `numpy()`."""

    def numpy(self) -> bytes:
        """The text as bytes, as TensorFlow's strings are."""
        return self.encode()


def mapped(function: Callable[..., Any], first: Any, *others: Any) -> Any:
    """`function` of each leaf of `first`, and those in its place in the `others`, in the same
    tuples and dictionaries; a ValueError if structures differ."""
    if not isinstance(first, (tuple, dict)):
        return function(first, *others)
    for other in others:
        if type(other) is not type(first) or len(other) != len(first):
            raise ValueError(f"elements differ in structure: {first!r:.200}, then {other!r:.200}")
    if isinstance(first, dict):
        return {key: mapped(function, first[key], *(o[key] for o in others)) for key in first}
    parts = [mapped(function, *of_place) for of_place in zip(first, *others, strict=True)]
    return getattr(first, "_make", tuple)(parts)  # named tuples stay such


def leaves(element: Any) -> list[Any]:
    """The arrays and texts of an element, in their order."""
    found: list[Any] = []
    mapped(found.append, element)
    return found


@dataclass(frozen=True)
class TensorSpec:
    """What is known of an array: its `shape`, None for axes of any length, and its `dtype`."""

    shape: Shape
    dtype: Any = "float32"

    @staticmethod
    def of(leaf: Any) -> "TensorSpec":
        """That of one `leaf`, an array or a text."""
        array = np.asarray(leaf)
        return TensorSpec(array.shape, array.dtype)


def read_only(leaf: Any) -> Any:
    """`leaf` as a view that cannot be changed: what a data set keeps is the same in each pass."""
    if not isinstance(leaf, np.ndarray):
        return leaf
    view = leaf.view()
    view.flags.writeable = False
    return view


def plain(value: Any) -> Any:
    """The `value` that a user's function or generator gave, as an element.

    As in TensorFlow, Python's numbers, and lists of them, become int32 and the library's default
    floating-point type, arrays keep their dtype; a list is an array, a tuple a structure.
    """
    return mapped(_plain_leaf, value)


def _plain_leaf(value: Any) -> Any:
    if value is None or isinstance(value, (str, os.PathLike)):
        return value if value is None else os.fspath(value)
    if isinstance(value, bytes):
        return value.decode()
    if hasattr(value, "dtype"):
        array = backend.to_numpy(value)
    else:
        array = np.asarray(_as_strings(value))
        narrow = {"f": backend.floatx(), "i": "int32"}.get(array.dtype.kind)
        if narrow and array.itemsize > np.dtype(narrow).itemsize and _is_pythons(value):
            if narrow != "int32" or array.size == 0 or abs(array).max() < 2**31:
                array = array.astype(narrow)
    if array.dtype.kind in "US" and array.ndim == 0:
        return str(array)
    if array.dtype.kind not in "fiubcUSV" or array.dtype.names:
        raise TypeError(
            f"an element of a data set holds arrays of numbers, texts, and tuples and "
            f"dictionaries of them; got {type(value).__name__} {str(value)[:80]}"
        )
    return np.asarray(array)


def _as_strings(value: Any) -> Any:
    """A list of paths as one of strings; everything else as it is."""
    if isinstance(value, list) and value and isinstance(value[0], os.PathLike):
        return [os.fspath(path) for path in value]
    return value


def _is_pythons(value: Any) -> bool:
    """Whether nested lists hold Python's own numbers, which say nothing of a size."""
    while isinstance(value, (list, tuple)) and len(value):
        value = value[0]
    return not hasattr(value, "dtype")


def for_user(element: Any) -> Any:
    """An element with `numpy()` on its leaves."""
    return mapped(_leaf_for_user, element)


def _leaf_for_user(leaf: Any) -> Any:
    if leaf is None or isinstance(leaf, str):
        return leaf and Text(leaf)
    return np.asarray(leaf).view(DataArray)


def called(function: Callable[..., Any], element: Any) -> Any:
    """What a user's `function` makes of an element, or of its parts where it is a tuple."""
    element = for_user(element)
    return function(*element) if isinstance(element, tuple) else function(element)


def cast(dtype: Any, leaf: Any) -> Any:
    """A leaf in another dtype; texts stay."""
    return leaf if leaf is None or isinstance(leaf, str) else leaf.astype(dtype, copy=False)


def fitted(spec: TensorSpec, leaf: Any) -> Any:
    """A `leaf` in the dtype of `spec`; a TypeError if it has another shape."""
    leaf = cast(spec.dtype, leaf)
    shape, wanted = np.shape(leaf), tuple(spec.shape)
    pairs = zip(wanted, shape, strict=False)
    if len(shape) != len(wanted) or any(w not in (None, s) for w, s in pairs):
        raise TypeError(
            f"the generator gave an array of shape {shape}; output_signature says {wanted}"
        )
    return leaf


def as_numpy(element: Any) -> Any:
    """An element as plain arrays, numbers and bytes."""
    return mapped(lambda leaf: leaf if leaf is None else leaf.numpy(), for_user(element))


def stacked(elements: Sequence[Any]) -> Any:
    """Several `elements` as one, their leaves along a new first axis."""

    def of_place(*parts: Any) -> Any:
        if parts[0] is None or isinstance(parts[0], str):
            return None if parts[0] is None else np.array(parts)
        try:
            return np.stack(parts)
        except ValueError:
            other = next(p for p in parts if np.shape(p) != np.shape(parts[0]))
            raise ValueError(
                f"elements of different shapes do not fit into a batch: {np.shape(parts[0])}, "
                f"then {np.shape(other)}; bring them to one shape with map before batch"
            ) from None

    return mapped(of_place, *elements)


def at(element: Any, index: int) -> Any:
    """Entry `index` along the first axis of every leaf of an `element`."""

    def entry(leaf: Any) -> Any:
        value = leaf[index]
        return str(value) if isinstance(value, (str, bytes)) else value

    return mapped(lambda leaf: None if leaf is None else entry(leaf), element)


def common_length(element: Any) -> int:
    """The length of the first axis of all leaves of an `element`; a ValueError if they differ."""
    arrays = [leaf for leaf in leaves(element) if leaf is not None]
    lengths = {len(a) if np.ndim(a) else None for a in arrays}
    if len(lengths) != 1 or None in lengths:
        raise ValueError(
            f"arrays are cut along their first axis, which must be as long in all of them; got "
            f"{mapped(TensorSpec.of, element)}"
        )
    return int(lengths.pop() or 0)


def shuffled(elements: Iterator[Any], size: int, rng: np.random.Generator) -> Iterator[Any]:
    """The `elements` in another order: each is drawn with `rng` from a buffer of some `size`, which
    they refill."""
    buffer = list(itertools.islice(elements, size))
    while True:
        for place in rng.integers(size, size=256):
            try:
                following = next(elements)
            except StopIteration:
                yield from (buffer[i] for i in rng.permutation(len(buffer)))
                return
            yield buffer[place]
            buffer[place] = following
