"""Batches for the training loop: from arrays, or from any iterator of batches.

Arrays stay as they are (bytes stay bytes); only a batch is ever converted. Arrays that fit on a GPU
are copied there once, before the first step, and each batch is taken from them there.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from operator import attrgetter
from typing import Any

import numpy as np

from minicnn import backend, random

Batch = tuple[Any, Any, Any]  # x (an array or a list of them), y or None, sample weights or None

FREE_SHARE = 0.5  # of a device's free memory for data; the rest is for what a step computes
# Data on their way to a device pass through page-locked memory of their size, so many of them go in
# pieces. Fewer than one piece are sooner copied than it is found out how much memory is free.
PIECE_BYTES = 1 << 26
# Outputs wait on the device until they are so many: each copy to the host waits for the device.
WAITING_BYTES = 1 << 27


class ArrayBatches:
    """Batches cut from arrays in memory.

    Args:
        x: (N, ...), or a list of such for a model with several inputs.
        y: (N, ...) or None.
        sample_weight: (N,) or None.
        batch_size: images in a batch; the last one may be smaller.
        shuffle: a new order each time.
        steps: batches taken at most each time; all where not given.

    Raises:
        ValueError: no data, different lengths, a batch size below 1, NaN or infinity.
    """

    def __init__(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        batch_size: int | None = 32,
        shuffle: bool = False,
        steps: int | None = None,
    ):
        self.many_inputs = isinstance(x, (list, tuple)) and len(x) > 0 and _is_array_like(x[0])
        self.xs = [_as_array(a, "x") for a in (x if self.many_inputs else [x])]
        self.y = None if y is None else _as_array(y, "y")
        self.sample_weight = (
            None if sample_weight is None else _as_array(sample_weight, "sample_weight")
        )
        self.shuffle = shuffle
        self.samples = len(self.xs[0])
        if self.samples == 0:
            raise ValueError(f"x holds no images (shape {tuple(self.xs[0].shape)})")
        self.batch_size = check_integer("batch_size", 32 if batch_size is None else batch_size)
        whole = -(-self.samples // self.batch_size)
        self.steps = whole if steps is None else min(whole, steps)
        for name, array in [
            *((f"x[{i}]", a) for i, a in enumerate(self.xs[1:], 1)),
            ("y", self.y),
            ("sample_weight", self.sample_weight),
        ]:
            if array is not None and len(array) != self.samples:
                raise ValueError(
                    f"x has {self.samples} images and {name} has {len(array)} entries; they must "
                    f"be as many"
                )
        if self.sample_weight is not None and self.sample_weight.ndim != 1:
            raise ValueError(
                f"sample_weight holds one number an image, shape ({self.samples},); got shape "
                f"{self.sample_weight.shape}"
            )
        for array in self.xs:
            check_finite(array)
        for name, array in (("y", self.y), ("sample_weight", self.sample_weight)):
            if array is not None:
                check_finite(array, name)

    def __iter__(self) -> Iterator[Batch]:
        orders: dict[Any, Any] = {}  # the host's, and a copy where arrays lie on a device
        if self.shuffle:
            order = random.host_generator().permutation(self.samples)
            arrays = [a for a in (*self.xs, self.y, self.sample_weight) if a is not None]
            orders = {xp: xp.asarray(order) for xp in {backend.array_module(a) for a in arrays}}

        def batch_of(array: Any) -> Any:
            if array is None:
                return None
            if not self.shuffle:
                return array[start:stop]
            return array[orders[backend.array_module(array)][start:stop]]

        for start in range(0, self.samples, self.batch_size)[: self.steps]:
            stop = min(start + self.batch_size, self.samples)
            xs = [batch_of(a) for a in self.xs]
            yield xs if self.many_inputs else xs[0], batch_of(self.y), batch_of(self.sample_weight)

    def weigh_classes(self, class_weight: dict[int, float] | None, dtype: Any) -> None:
        """Multiply the weight of each sample by that of its class, in `dtype`."""
        if class_weight is not None:
            self.sample_weight = _weighed(self.y, self.sample_weight, class_weight, dtype)

    def bytes_to_copy(self, dtype: Any) -> int:
        """What `to_device(dtype)` copies."""
        widest = np.dtype(dtype).itemsize
        sizes = [(a, min(a.itemsize, widest)) for a in self.xs]
        if self.y is not None:
            sizes.append((self.y, self.y.itemsize))
        if self.sample_weight is not None:
            sizes.append((self.sample_weight, widest))
        rows = self._samples_used()
        return sum(a.size // len(a) * rows * size for a, size in sizes if not _is_on_device(a))

    def to_device(self, dtype: Any) -> None:
        """From now on keep on the active backend what the batches are taken from.

        Args:
            dtype: the model's. Inputs of a wider one are converted on the way; others, such as
                bytes, stay what they are.
        """
        used, widest = slice(self._samples_used()), np.dtype(dtype)
        dtypes = [min(a.dtype, widest, key=attrgetter("itemsize")) for a in self.xs]
        self.xs = [_on_device(a[used], kept) for a, kept in zip(self.xs, dtypes, strict=True)]
        if self.y is not None:
            self.y = _on_device(self.y[used], self.y.dtype)
        if self.sample_weight is not None:
            self.sample_weight = _on_device(self.sample_weight[used], widest)

    def _samples_used(self) -> int:
        """So many from the first on; the rest is beyond the last step."""
        return self.samples if self.shuffle else min(self.samples, self.steps * self.batch_size)


class IteratorBatches:
    """Batches from an iterable of x, (x, y) or (x, y, sample_weight).

    Args:
        source: an iterable (a fresh pass an epoch, ended by itself or after `steps`), or a
            generator that goes on from epoch to epoch.
        steps: batches an epoch; needed for endless generators.

    Attributes:
        check: called with the list of inputs and the targets of each batch as it comes, to raise
            where they do not fit the model; None for no check.

    Raises:
        ValueError: a batch of another form, or NaN or infinity in it; a source that is empty.
    """

    def __init__(self, source: Iterable[Any], steps: int | None = None):
        self.source = source
        self.steps = steps
        if steps is None and isinstance(source, Sized):
            self.steps = len(source)  # also where the source itself goes round for ever
        self.check: Callable[[list[Any], Any], None] | None = None
        self._class_weight: tuple[dict[int, float], Any] | None = None
        self._running = iter(source) if iter(source) is source else None

    def __iter__(self) -> Iterator[Batch]:
        iterator = self._running if self._running is not None else iter(self.source)
        count = 0
        while self.steps is None or count < self.steps:
            try:
                item = next(iterator)
            except StopIteration:
                break
            count += 1
            x, y, sample_weight = _as_batch(item)
            if self.check is not None:
                self.check(x if isinstance(x, list) else [x], y)
            if self._class_weight is not None:
                sample_weight = _weighed(y, sample_weight, *self._class_weight)
            yield x, y, sample_weight
        if count == 0:
            raise ValueError(
                "the iterator of batches gave none; a generator can be used up only once: pass an "
                "iterable that starts anew each epoch, or steps_per_epoch with an endless one"
            )
        if hasattr(self.source, "on_epoch_end"):
            self.source.on_epoch_end()

    def weigh_classes(self, class_weight: dict[int, float] | None, dtype: Any) -> None:
        """Multiply the weight of each sample by that of its class, in `dtype`, as it comes."""
        self._class_weight = None if class_weight is None else (class_weight, dtype)


class Outputs:
    """What a model makes of one batch after the other, put together on the host.

    On a device they wait there for each other: one copy to the host for many batches.
    """

    def __init__(self) -> None:
        self._parts: list[list[np.ndarray]] = []  # on the host
        self._waiting: list[list[Any]] = []
        self._bytes = 0

    def add(self, outputs: list[Any]) -> None:
        """Take in those of a batch, one array (N, ...) for each output of the model."""
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


def _joined(parts: Sequence[Any]) -> Any:
    xp = backend.array_module(parts[0])
    return parts[0] if len(parts) == 1 else xp.concatenate(parts)


def make_batches(
    x: Any,
    y: Any = None,
    sample_weight: Any = None,
    batch_size: int | None = None,
    shuffle: bool = False,
    steps: int | None = None,
) -> ArrayBatches | IteratorBatches:
    """Batches from what `fit`, `evaluate` or `predict` was given."""
    if x is None:
        raise ValueError("no data: x is None; pass images, or an iterator of batches")
    if steps is not None and steps < 1:
        raise ValueError(f"the number of steps must be above 0, or None for all; got {steps}")
    if _is_array_like(x) or isinstance(x, (list, tuple)):
        return ArrayBatches(x, y, sample_weight, batch_size, shuffle, steps)
    if not hasattr(x, "__iter__"):
        raise TypeError(
            f"x must be an array, a list of arrays or an iterator of batches, not "
            f"{type(x).__name__}"
        )
    if y is not None or sample_weight is not None:
        raise ValueError(
            "y and sample_weight come with the batches where x is an iterator: let it give "
            "(x, y) or (x, y, sample_weight)"
        )
    return IteratorBatches(x, steps)


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
    if sum(b.bytes_to_copy(dtype) for b in batches) > PIECE_BYTES:
        room = FREE_SHARE * backend.device_info().get("free_bytes", math.inf)
    for b in batches:
        size = b.bytes_to_copy(dtype)
        if size <= room:
            b.to_device(dtype)
            room -= size


def _is_on_device(array: Any) -> bool:
    return backend.array_module(array) is backend.current_module()


def _on_device(array: Any, dtype: np.dtype) -> Any:
    """`array` (N, ...) on the active backend; a copy has the given dtype."""
    if _is_on_device(array):
        return array
    dtype = dtype.newbyteorder("=")
    row_bytes = array.size // len(array) * dtype.itemsize
    rows = max(1, PIECE_BYTES // max(1, row_bytes))
    if rows >= len(array):
        return backend.asarray(array, dtype)
    copy = backend.current_module().empty(array.shape, dtype)
    for start in range(0, len(array), rows):
        copy[start : start + rows] = backend.asarray(array[start : start + rows], dtype)
    return copy


def check_integer(argument: str, value: Any, allow_zero: bool = False) -> int:
    """`value` as an int.

    Raises:
        ValueError: it is no integer, or too small; the message names the argument.
    """
    if isinstance(value, bool) or not hasattr(value, "__index__") or value < (not allow_zero):
        bound = "of at least 0" if allow_zero else "above 0"
        raise ValueError(f"{argument} must be an integer {bound}, not {value!r}")
    return int(value)


def check_finite(x: Any, name: str = "x") -> None:
    """Raise if floating-point data hold NaN or infinity; the message says where."""
    if x.dtype.kind != "f":
        return
    xp = backend.array_module(x)
    # on a device all at once, since each look waits for it, and many sums, to be added in parallel
    rows, axis = (1024, None) if xp is np else (max(1, len(x)), 0)
    for start in range(0, len(x), rows):
        part = x[start : start + rows]
        # a sum is NaN or infinite if any number is: one pass, no array of flags
        with np.errstate(over="ignore", invalid="ignore"):
            total = part.sum(axis=axis, dtype="float64")
        if not bool(xp.isfinite(total).all()) and not bool(xp.isfinite(part).all()):
            flags = backend.to_numpy(xp.isfinite(part).reshape(len(part), -1).all(axis=1))
            what = "image" if name == "x" else "entry"
            raise ValueError(
                f"{what} {start + int(flags.argmin())} of {name} holds NaN or infinity; clean the "
                f"data first, for instance with numpy.nan_to_num"
            )


def class_weights(y: Any, class_weight: dict[int, float]) -> np.ndarray:
    """The weight of each sample from that of its class; classes not named weigh 1.

    Args:
        y: labels (N,) or (N, 1), or one-hot rows (N, classes).
    """
    if not isinstance(class_weight, dict):
        raise TypeError(f"class_weight is {{label: weight}}, not {class_weight!r}")
    y = backend.to_numpy(y)
    labels = y.argmax(-1) if y.ndim > 1 and y.shape[-1] > 1 else y.reshape(-1)
    weights = np.ones(len(labels), "float32")
    for label, weight in class_weight.items():
        weights[labels == label] = weight
    return weights


def _weighed(y: Any, sample_weight: Any, class_weight: dict[int, float], dtype: Any) -> np.ndarray:
    """The weight of each sample times that of its class."""
    by_class = class_weights(y, class_weight).astype(dtype, copy=False)
    if sample_weight is None:
        return by_class
    return backend.to_numpy(sample_weight).astype(dtype, copy=False) * by_class


def split(
    x: Any, y: Any, sample_weight: Any, fraction: float
) -> tuple[tuple[Any, Any, Any], tuple[Any, Any, Any]]:
    """The last `fraction` of arrays as validation data, as Keras cuts it: before any shuffling."""
    if not 0 < fraction < 1:
        raise ValueError(f"validation_split must be above 0 and below 1, not {fraction!r}")
    if not (_is_array_like(x) or isinstance(x, (list, tuple))):
        raise ValueError("validation_split needs arrays; with an iterator, pass validation_data")
    many = isinstance(x, (list, tuple)) and len(x) > 0 and _is_array_like(x[0])
    samples = len(x[0]) if many else len(x)
    cut = int(samples * (1 - fraction))
    if cut == 0 or cut == samples:
        raise ValueError(
            f"validation_split={fraction} of {samples} images leaves nothing on one side"
        )

    def part(a: Any, index: slice) -> Any:
        return None if a is None else a[index]

    sides = []
    for index in (slice(0, cut), slice(cut, None)):
        xs = [a[index] for a in x] if many else x[index]
        sides.append((xs, part(y, index), part(sample_weight, index)))
    return sides[0], sides[1]


def _is_array_like(x: Any) -> bool:
    return backend.is_array(x) or (hasattr(x, "__array__") and hasattr(x, "shape"))


def _as_array(x: Any, name: str) -> Any:
    if backend.is_array(x):
        array = x
    else:
        array = np.asarray(x)
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{name} must hold numbers; got dtype {array.dtype}")
    if array.ndim == 0:
        raise ValueError(f"{name} must have a batch axis; got the single value {array}")
    return array


def _as_batch(item: Any) -> Batch:
    if isinstance(item, (tuple, list)):
        if not 1 <= len(item) <= 3:
            raise ValueError(
                f"a batch is x, (x, y) or (x, y, sample_weight); got {len(item)} parts"
            )
        x, y, weight = (*item, None, None)[:3]
    else:
        x, y, weight = item, None, None
    many = isinstance(x, (list, tuple)) and len(x) > 0 and _is_array_like(x[0])
    xs = [_as_array(a, "x") for a in (x if many else [x])]
    for array in xs:
        check_finite(array)
    if len(xs[0]) == 0:
        raise ValueError(f"a batch holds no images (shape {tuple(xs[0].shape)})")
    y = None if y is None else _as_array(y, "y")
    weight = None if weight is None else _as_array(weight, "sample_weight")
    for name, array in (("labels", y), ("sample weights", weight)):
        if array is not None and len(array) != len(xs[0]):
            raise ValueError(f"a batch has {len(xs[0])} images and {len(array)} {name}")
    for name, array in (("y", y), ("sample_weight", weight)):
        if array is not None:
            check_finite(array, name)
    return (xs if many else xs[0]), y, weight
