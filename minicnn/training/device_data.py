"""Data on a GPU: arrays that are copied there once, and outputs that wait there.

Arrays that fit are copied before the first training step, and each batch is taken from them there.
"""

import math
from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import Any

import numpy as np

from minicnn import backend
from minicnn.parallel.slices import chunks
from minicnn.training.batches import ArrayBatches
from minicnn.typing import Array

FREE_SHARE = 0.5  # of a device's free memory for data; the rest is for what a step computes
# Data on their way to a device pass through page-locked memory of their size, so many of them go in
# pieces. Less than one piece is copied without asking how much memory is free: that takes longer.
PIECE_BYTES = 1 << 26
# Outputs wait on the device until they are so many: each copy to the host waits for the device.
WAITING_BYTES = 1 << 27


def keep_on_device(sources: Iterable[Any], dtype: Any) -> None:
    """Copy arrays to the device of the active backend, where there is one and they fit.

    They fit while all together take no more than half of the memory that is free. Batches of other
    arrays, and those of iterators, are copied one by one.

    Args:
        sources: `ArrayBatches`, the most important first; anything else is passed over.
        dtype: the model's.
    """
    if backend.get_backend() == "numpy":
        return
    batches = [s for s in sources if isinstance(s, ArrayBatches)]
    room = math.inf
    if sum(bytes_to_copy(b, dtype) for b in batches) > PIECE_BYTES:
        room = FREE_SHARE * backend.device_info().get("free_bytes", math.inf)
    for b in batches:
        size = bytes_to_copy(b, dtype)
        if size <= room:
            to_device(b, dtype)
            room -= size


def bytes_to_copy(batches: ArrayBatches, dtype: Any) -> int:
    """What `to_device` copies.

    Args:
        batches, dtype: as there.
    """
    widest = np.dtype(dtype).itemsize
    sizes = [(a, min(a.itemsize, widest)) for a in batches.xs]
    if batches.y is not None:
        sizes.append((batches.y, batches.y.itemsize))
    if batches.sample_weight is not None:
        sizes.append((batches.sample_weight, widest))
    rows = batches.samples_used
    return sum(a.size // len(a) * rows * size for a, size in sizes if not _is_on_device(a))


def to_device(batches: ArrayBatches, dtype: Any) -> None:
    """Have batches taken from arrays on the active backend from now on.

    Args:
        batches: their arrays are replaced.
        dtype: the model's. Inputs of a wider one are converted on the way; others, such as bytes,
            stay what they are.
    """
    used, widest = slice(batches.samples_used), np.dtype(dtype)
    dtypes = [min(a.dtype, widest, key=attrgetter("itemsize")) for a in batches.xs]
    batches.xs = [_on_device(a[used], kept) for a, kept in zip(batches.xs, dtypes, strict=True)]
    if batches.y is not None:
        batches.y = _on_device(batches.y[used], batches.y.dtype)
    if batches.sample_weight is not None:
        batches.sample_weight = _on_device(batches.sample_weight[used], widest)


def _is_on_device(array: Array) -> bool:
    return backend.array_module(array) is backend.current_module()


def _on_device(array: Array, dtype: np.dtype) -> Array:
    """`array` (N, ...) on the active backend; a copy has the given dtype."""
    if _is_on_device(array):
        return array
    dtype = dtype.newbyteorder("=")
    row_bytes = array.size // len(array) * dtype.itemsize
    pieces = chunks(len(array), row_bytes, PIECE_BYTES)
    if len(pieces) == 1:
        return backend.asarray(array, dtype)
    copy = backend.current_module().empty(array.shape, dtype)
    for piece in pieces:
        copy[piece] = backend.asarray(array[piece], dtype)
    return copy


class Outputs:
    """What a model makes of one batch after the other, put together on the host.

    On a device they wait there for each other: one copy to the host for many batches.
    """

    def __init__(self) -> None:
        self._parts: list[list[np.ndarray]] = []  # on the host
        self._waiting: list[list[Array]] = []
        self._bytes = 0

    def add(self, outputs: list[Array]) -> None:
        """Take in `outputs` of a batch, one array (N, ...) for each output of the model."""
        if backend.array_module(outputs[0]) is np:
            self._parts.append(outputs)
            return
        self._waiting.append(outputs)
        self._bytes += sum(y.nbytes for y in outputs)
        if self._bytes >= WAITING_BYTES:
            self._fetch()

    def whole(self) -> list[np.ndarray]:
        """Those of all batches so far; waits for the device."""
        self._fetch()
        return [np.concatenate(column) for column in zip(*self._parts, strict=True)]

    def _fetch(self) -> None:
        if self._waiting:
            columns = zip(*self._waiting, strict=True)
            self._parts.append([backend.to_numpy(_joined(column)) for column in columns])
        self._waiting, self._bytes = [], 0


def _joined(parts: Sequence[Array]) -> Array:
    xp = backend.array_module(parts[0])
    return parts[0] if len(parts) == 1 else xp.concatenate(parts)
